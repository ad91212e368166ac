"""The family of tasks with a given alignment of inputs and targets, in the plane of alignments."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Claim, Section, Settings
from hiddencodes.benchmarks.papers.section import describe_training
from hiddencodes.benchmarks.papers.task_geometry import figures
from hiddencodes.benchmarks.papers.task_geometry.comparisons import (
    ONE_SAMPLE,
    SHORTER,
    agrees_with_row,
    row_of,
)
from hiddencodes.benchmarks.papers.task_geometry.networks import OPTIONS, initial_weights, networks

WIDTH = 128
ACTIVATIONS = (hc.tanh, hc.relu)
NAMES = ("input_alignment", "target_alignment", "parallelism", "dimension")
# 8 conditions; (targets, share of the largest unstructured alignment): tanh, ReLU.
REFERENCE = {
    (1, 0.0): ((0.765, 0.627, 0.23, 6.3), (0.738, 0.645, 0.23, 6.0)),
    (1, 0.5): ((0.405, 0.973, 0.73, 2.3), (0.747, 0.764, 0.35, 5.1)),
    (1, 1.0): ((0.463, 0.995, 0.88, 1.5), (0.757, 0.869, 0.48, 4.0)),
    (3, 0.0): ((0.921, 0.327, -0.11, 5.8), (0.763, 0.326, -0.02, 4.4)),
    (3, 0.5): ((0.513, 0.968, 0.50, 4.4), (0.880, 0.683, 0.05, 6.6)),
    (3, 1.0): ((0.717, 0.986, 0.69, 3.6), (0.937, 0.832, 0.19, 6.1)),
}


def alignment_family(settings: Settings) -> Section:
    """Tasks of every alignment: tanh layers on the targets' side of the arc, ReLU layers towards the inputs."""
    claims: list[Claim] = []
    runs: dict[str, object] = {}
    for targets in settings.choose(full=(1, 3), quick=(1,)):
        more, runs[f"8 conditions, {targets} targets, reference"] = _reference_rows(settings, targets)
        claims += more
    panels: dict[str, tuple[float, list[figures.Cloud]]] = {}
    for d in settings.choose(full=(8, 16, 32), quick=(8,)):
        for targets in settings.choose(full=(1, d.bit_length() - 1), quick=(1,)):
            more, runs[f"{d} conditions, {targets} targets"] = _family(settings, d, targets, panels)
            claims += more
    if not settings.quick:
        more, runs["random spectra"] = _random_spectra(settings)
        claims += more
    return Section(
        title="Inputs and targets aligned by degrees",
        question="Which of the geometries that are possible does a layer take?",
        claims=tuple(claims),
        figures={"planes": figures.alignment_planes(panels)},
        captions={
            "planes": "Alignment of layers with inputs and with targets, one point per network; the line is the arc that no layer can cross."
        },
        notes=(ONE_SAMPLE, *((SHORTER,) if settings.quick else ())),
        settings={"runs": runs},
        unknown=("The figure's number, its lengths of training and numbers of networks.",),
    )


def _train(
    settings: Settings, label: str, tasks: Sequence[hc.ConditionTask], each: int, epochs: int
) -> tuple[xr.DataTree, xr.Dataset]:
    posteriors = networks(tasks, ACTIVATIONS, WIDTH, bias=True)
    run = settings.train(
        label, posteriors, networks=each, epochs=epochs, snapshots=1, batch_size=64,
        start=initial_weights(posteriors, each, "normal", settings.random_key(label)), **OPTIONS,
    )  # fmt: skip
    return run, hc.geometry(run, measures=NAMES)


def _reference_rows(settings: Settings, targets: int) -> tuple[list[Claim], dict[str, object]]:
    shares = [share for k, share in REFERENCE if k == targets]
    largest = hc.isotropic_alignment(8, targets)
    # Every training set has networks of its own: the accidents of a sample are part of the error.
    n_samples, each = settings.choose(full=5, quick=2), 2
    tasks = [hc.aligned_conditions(8, targets, share * largest) for share in shares for _ in range(n_samples)]
    epochs = settings.choose(full=200, quick=100)
    run, found = _train(settings, f"reference-{targets}", tasks, each, epochs)
    claims = [
        agrees_with_row(
            f"{activation}-k{targets}-c{share:g}".replace(".", ""),
            f"{activation}, 8 conditions, {targets} targets at {share:g} of the unstructured alignment, after {epochs} epochs",
            dict(zip(NAMES, REFERENCE[targets, share][a], strict=True)),
            row_of(found, range(a * len(tasks) + i * n_samples, a * len(tasks) + (i + 1) * n_samples)),
            z=settings.choose(full=3.0, quick=None),
        )
        for i, share in enumerate(shares)
        for a, activation in enumerate(ACTIVATIONS)
    ]
    return claims, describe_training(run)


def _family(
    settings: Settings, d: int, targets: int, panels: dict[str, tuple[float, list[figures.Cloud]]]
) -> tuple[list[Claim], dict[str, object]]:
    largest = hc.isotropic_alignment(d, targets)
    shares = np.linspace(0.0, 1.0, settings.choose(full=12, quick=3))
    tasks = [hc.aligned_conditions(d, targets, float(share) * largest) for share in shares]
    each, epochs = settings.choose(full=10, quick=4), settings.choose(full=40, quick=30)
    run, found = _train(settings, f"family-{d}-{targets}", tasks, each, epochs)
    n = len(shares)
    last = found.isel(draw=-1)
    target, inputs = (
        last[name].values.reshape(2, n, each) for name in ("target_alignment", "input_alignment")
    )
    for i in range(0, n, max(1, (n - 1) // 3)):
        clouds = [figures.Cloud(str(a), inputs[j, i], target[j, i]) for j, a in enumerate(ACTIVATIONS)]
        panels[f"d={d}, k={targets}, c={shares[i] * largest:.2f}"] = (float(tasks[i].alignment), clouds)
    linear = shares >= 0.5

    def gap(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        difference = values[0, linear].mean(1) - values[1, linear].mean(1)
        error = np.sqrt(values[:, linear].var(2, ddof=1).sum(0) / each)
        return difference, error

    entries = [f"c = {share * largest:.2f}" for share in shares[linear]]
    words = f"{d} conditions, {targets} targets: from half of the unstructured alignment on tanh layers are"
    claims = [
        Claim.above(f"target-d{d}-k{targets}", f"{words} more aligned with the targets than ReLU layers", 0.0, *gap(target), grade="text", entries=entries),
        Claim.below(f"input-d{d}-k{targets}", f"{words} less aligned with the inputs", 0.0, *gap(inputs), grade="text", entries=entries),
    ]  # fmt: skip
    return claims, describe_training(run)


def _random_spectra(settings: Settings) -> tuple[list[Claim], dict[str, object]]:
    """The claim does not rest on flat spectra."""
    largest = hc.isotropic_alignment(8, 1)
    tasks = [
        hc.aligned_conditions(8, 1, share * largest, scale=0.5, seed=seed)
        for share in (0.5, 1.0)
        for seed in range(12)
    ]
    run, found = _train(settings, "random-spectra", tasks, 2, 60)
    rows = [
        [row_of(found, range((2 * a + i) * 12, (2 * a + i + 1) * 12)) for i in range(2)] for a in range(2)
    ]
    name = "target_alignment"
    claim = Claim.above(
        "random-spectra",
        "8 conditions, 1 target, random spectra of the inputs: tanh layers are more aligned with the target than ReLU layers",
        0.0,
        np.asarray([rows[0][i].mean[name] - rows[1][i].mean[name] for i in range(2)]),
        np.asarray([np.hypot(rows[0][i].error[name], rows[1][i].error[name]) for i in range(2)]),
        grade="text",
        entries=["half of the unstructured alignment", "all of it"],
    )
    return [claim], describe_training(run)
