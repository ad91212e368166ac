"""Which part of the nonlinearity decides: saturation on both sides, and what happens at the origin."""

import numpy as np

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Claim, Section, Settings
from hiddencodes.benchmarks.papers.section import describe_training
from hiddencodes.benchmarks.papers.task_geometry import figures
from hiddencodes.benchmarks.papers.task_geometry.comparisons import (
    SHORTER,
    agrees_with_row,
    paired_gap,
    row_of,
)
from hiddencodes.benchmarks.papers.task_geometry.networks import (
    OPTIONS,
    initial_weights,
    networks,
    unstructured_tasks,
)
from hiddencodes.benchmarks.papers.task_geometry.unstructured import ALIGNMENT, WIDTH

NAMES = ("input_alignment", "target_alignment", "parallelism", "dimension")
# ReLU(u + s) is shifted by -s here.
REFERENCE = {
    -0.5: (0.744, 0.989, 0.83, 1.39),
    0.5: (0.990, 0.690, 0.16, 2.89),
}


def nonlinearities(settings: Settings) -> Section:
    """Clipped, shifted and leaky variants of ReLU, and hard tanh, on unstructured clusters."""
    variants: list[hc.Activation] = [
        hc.shifted_relu(-0.5), hc.shifted_relu(0.5), hc.relu, hc.clipped_relu(1.0), hc.hard_tanh,
        *settings.choose(full=(hc.tanh, hc.clipped_relu(2.0), hc.leaky_relu(0.3), hc.erf), quick=()),
    ]  # fmt: skip
    n_tasks, each = settings.choose(full=10, quick=3), 2
    epochs = settings.choose(full=300, quick=100)
    posteriors = networks(unstructured_tasks(n_tasks, ALIGNMENT), variants, WIDTH, bias=False)
    run = settings.train(
        "variants", posteriors, networks=each, epochs=epochs, snapshots=1, batch_size=200,
        start=initial_weights(posteriors, each, "uniform, balanced readout", settings.random_key("start")), **OPTIONS,
    )  # fmt: skip
    found = hc.geometry(run, measures=NAMES)
    rows = {a: row_of(found, range(i * n_tasks, (i + 1) * n_tasks)) for i, a in enumerate(variants)}
    claims = [
        agrees_with_row(
            f"shift-{'up' if shift < 0 else 'down'}",
            f"relu(u {'+' if shift < 0 else '-'} 0.5), after {epochs} epochs",
            dict(zip(NAMES, expected, strict=True)),
            rows[hc.shifted_relu(shift)],
            z=settings.choose(full=3.0, quick=None),
        )
        for shift, expected in REFERENCE.items()
    ]

    of = {a: range(i * n_tasks, (i + 1) * n_tasks) for i, a in enumerate(variants)}

    def more_target(name: str, statement: str, first: hc.Activation, second: hc.Activation) -> Claim:
        gap = paired_gap(found, of[first], of[second], "target_alignment")
        return Claim.above(name, statement, 0.0, *gap, grade="secondary")

    claims += [
        more_target("clipped", "Clipped ReLU, which saturates on both sides, is more aligned with the target than ReLU", hc.clipped_relu(1.0), hc.relu),
        more_target("hard-tanh", "So is hard tanh", hc.hard_tanh, hc.relu),
        more_target("active", "ReLU that is active at the origin is more aligned with the target than ReLU", hc.shifted_relu(-0.5), hc.relu),
        more_target("silent", "ReLU is more aligned with it than ReLU that is silent at the origin", hc.relu, hc.shifted_relu(0.5)),
        Claim.above(
            "saturating-collapse",
            "Layers that saturate on both sides symmetrically become the target: alignment above 0.98",
            0.98,
            np.asarray([rows[a].mean["target_alignment"] for a in variants if a in (hc.hard_tanh, hc.tanh, hc.erf)]),
            np.asarray([rows[a].error["target_alignment"] for a in variants if a in (hc.hard_tanh, hc.tanh, hc.erf)]),
            grade="secondary",
            entries=[str(a) for a in variants if a in (hc.hard_tanh, hc.tanh, hc.erf)],
        ),
    ]  # fmt: skip
    last = found.isel(draw=-1)
    clouds = [
        figures.Cloud(str(a), *(last[n].values[i * n_tasks : (i + 1) * n_tasks].ravel() for n in NAMES[:2]))
        for i, a in enumerate(variants)
    ]
    return Section(
        title="Which part of the nonlinearity decides",
        question="Is it saturation, or what happens at the origin?",
        claims=tuple(claims),
        figures={"plane": figures.alignment_planes({f"d=4, k=1, c={ALIGNMENT}": (ALIGNMENT, clouds)})},
        captions={
            "plane": "Layers of networks with different nonlinearities, trained on unstructured clusters."
        },
        notes=(SHORTER,) if settings.quick else (),
        settings={"runs": {"variants": describe_training(run)}},
        unknown=("Which variants were published, and with which parameters.",),
    )
