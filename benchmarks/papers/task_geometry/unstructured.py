"""Four unstructured clusters: geometry along training (Fig. 1 of arXiv 2401.13558)."""

import numpy as np
import xarray as xr

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Claim, Section, Settings
from hiddencodes.benchmarks.papers.section import describe_training
from hiddencodes.benchmarks.papers.task_geometry import figures
from hiddencodes.benchmarks.papers.task_geometry.comparisons import (
    MEASURES,
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
from hiddencodes.drawing import array

WIDTH, ALIGNMENT = 120, 0.646
REFERENCE = {
    "tanh": {"input_alignment": 0.648, "target_alignment": 1.000, "parallelism": 0.997, "dimension": 1.01},
    "relu": {"input_alignment": 0.894, "target_alignment": 0.915, "parallelism": 0.54, "dimension": 2.15},
}

# Alignments and parallelism of untrained networks of two tasks.
INITIAL = {"input_alignment": (0.96, 0.997), "target_alignment": (0.55, 0.69), "parallelism": (0.02, 0.20)}


def unstructured(settings: Settings) -> Section:
    """Four unstructured clusters: tanh layers become the target, ReLU layers stay half-way."""
    n_tasks, each = settings.choose(full=10, quick=3), 2
    epochs = settings.choose(full=300, quick=100)
    tasks = unstructured_tasks(n_tasks, ALIGNMENT)
    activations = [hc.tanh, hc.relu]
    posteriors = networks(tasks, activations, WIDTH, bias=False)
    run = settings.train(
        "clusters", posteriors, networks=each, epochs=epochs, snapshots=settings.choose(full=30, quick=10), batch_size=200,
        start=initial_weights(posteriors, each, "uniform, balanced readout", settings.random_key("start")),
        observables=[*hc.training_observables(4), hc.condition_activations], **OPTIONS,
    )  # fmt: skip
    found = hc.geometry(run)
    before = hc.geometry(run, group="initial")
    of = {str(a): list(range(i * n_tasks, (i + 1) * n_tasks)) for i, a in enumerate(activations)}
    rows = {name: row_of(found, seeds) for name, seeds in of.items()}
    claims = [
        agrees_with_row(
            f"{name}-row",
            f"{name}: alignments, parallelism and dimension after {epochs} epochs",
            expected,
            rows[name],
            z=settings.choose(full=3.0, quick=None),
        )
        for name, expected in REFERENCE.items()
    ]
    first = {name: before[name].values.reshape(2, -1).mean(1) for name in INITIAL}
    claims.append(
        Claim.statement_true(
            "initial-row",
            "Before training the means over networks lie in the ranges of the independent measurement",
            all(low <= value <= high for name, (low, high) in INITIAL.items() for value in first[name]),
            ", ".join(f"{name} {value:.3f}" for name, values in first.items() for value in values),
            grade="measured",
            expected=", ".join(f"{name} {low:g} to {high:g}" for name, (low, high) in INITIAL.items()),
        )
    )
    shattering = {name: row.mean["shattering"] for name, row in rows.items()}
    claims.append(
        Claim.not_compared(
            "shattering",
            "Accuracy over all balanced dichotomies of the clusters, tanh and ReLU",
            "there it is that of support vector machines on responses to noisy inputs, here of ridge readouts with isotropic noise in the layer",
            grade="measured",
            expected="0.99, 1.00",
            measured=f"{shattering['tanh']:.2f}, {shattering['relu']:.2f}",
        )
    )
    gap = {name: paired_gap(found, of["tanh"], of["relu"], name) for name in MEASURES}
    claims += [
        Claim.above(
            "gap-target",
            "Tanh layers are more aligned with the target than ReLU layers",
            0.0,
            *gap["target_alignment"],
            grade="text",
        ),
        Claim.below(
            "gap-input", "and less aligned with the inputs", 0.0, *gap["input_alignment"], grade="text"
        ),
        Claim.above(
            "gap-parallelism", "and code the target more in parallel", 0.0, *gap["parallelism"], grade="text"
        ),
    ]
    general = {name: row_of(found, seeds).mean["generalization"] for name, seeds in of.items()}
    claims.append(
        Claim.above(
            "generalization",
            "A readout of the target generalizes to held-out clusters in tanh layers: accuracy above 0.99",
            0.99,
            general["tanh"],
            rows["tanh"].error["generalization"],
            grade="secondary",
            evidence=f"ReLU {general['relu']:.3f}",
        )
    )
    claims.append(_null(run, of["tanh"]))
    return Section(
        title="Four unstructured clusters",
        question="How does the geometry of tanh and ReLU layers change along training, when inputs know nothing of the target?",
        claims=tuple(claims),
        figures={"along-training": figures.line_panels(_lines(found, before, of, epochs), x_label="epoch")},
        captions={
            "along-training": "Geometry along training, mean and standard error over tasks and networks; the first point is before training."
        },
        notes=(SHORTER,) if settings.quick else (),
        settings={"runs": {"clusters": describe_training(run)}},
        unknown=(
            "Whether the published curves are of one task or of several; their alignment of inputs and target.",
        ),
    )


def _lines(
    found: xr.Dataset, before: xr.Dataset, of: dict[str, list[int]], epochs: int
) -> dict[str, list[figures.Line]]:
    draws = found.sizes["draw"]
    x = np.linspace(0.0, epochs, draws + 1)
    panels: dict[str, list[figures.Line]] = {}
    for measure in hc.GEOMETRY_MEASURES:
        panels[measure.replace("_", " ")] = []
        for name, seeds in of.items():
            values = np.concatenate(
                [before[measure].values[seeds][..., None], found[measure].values[seeds]], axis=-1
            ).reshape(-1, draws + 1)
            error = values.std(0, ddof=1) / np.sqrt(len(values))
            panels[measure.replace("_", " ")].append(figures.Line(name, x, values.mean(0), error))
    return panels


def _null(run: xr.DataTree, seeds: list[int]) -> Claim:
    """Generalization when units are shuffled in every condition by itself."""
    responses = array(run, "units/condition_activations")[seeds, :, -1, -1]
    shuffled = np.stack([hc.shuffled_responses(responses, seed=i) for i in range(20)])
    kernels = shuffled @ np.swapaxes(shuffled, -1, -2)
    target = array(run, "constant_data/targets")[seeds[0], :, 0]
    found = hc.cross_condition_generalization(kernels, target)
    return Claim.agrees(
        "generalization-null",
        "With units shuffled in every cluster by itself it does not: accuracy 1/2",
        0.5,
        float(found.mean()),
        float(found.std(ddof=1) / np.sqrt(found.size)),
        grade="derived",
        extra=0.02,
        extra_reason="0.02, since shuffles of one layer share its mean activity",
    )
