"""Exclusive-or made linearly separable by degrees, with input noise (Fig. 3 of arXiv 2401.13558)."""

import numpy as np
from matplotlib.figure import Figure

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

WIDTH = 120
# (separability, noise): target alignment, input alignment, parallelism of tanh, then of ReLU.
REFERENCE = {
    (0.0, 0.1): ((0.424, 0.903, -0.20), (0.571, 0.817, -0.01)),
    (0.25, 0.1): ((1.000, 0.053, 0.99), (0.571, 0.833, 0.00)),
    (0.5, 0.1): ((1.000, 0.184, 0.99), (0.583, 0.898, 0.01)),
    (1.0, 0.1): ((1.000, 0.580, 1.00), (0.749, 0.961, 0.24)),
    (0.0, 1.0): ((0.427, 0.903, -0.20), (0.553, 0.820, -0.02)),
    (0.25, 1.0): ((0.991, 0.167, 0.84), (0.574, 0.838, 0.00)),
    (1.0, 1.0): ((1.000, 0.580, 1.00), (0.861, 0.899, 0.42)),
}
NAMES = ("target_alignment", "input_alignment", "parallelism")
ACTIVATIONS = (hc.tanh, hc.relu)
ODD_UNITS = (
    "At separability 0 the expected initial gradient of odd units vanishes: what they learn begins with biases and accidents of the "
    "sample, and the gap between the nonlinearities reverses."
)


def separability(settings: Settings) -> Section:
    """Exclusive-or by degrees: any linear trace of the target turns tanh layers into it."""
    claims, table = _reference_rows(settings)
    grid_claims, grid, maps = _grid(settings)
    return Section(
        title="From exclusive-or to unstructured clusters",
        question="How separable does a target have to be for a layer to take its geometry, and what does input noise do?",
        claims=(*claims, *grid_claims),
        figures={"maps": maps},
        captions={
            "maps": "Target alignment, input alignment and parallelism (clipped at 0) over separability and noise: tanh above, ReLU below."
        },
        settings={"runs": {"reference rows": table, "grid": grid}},
        notes=(ODD_UNITS, ONE_SAMPLE, *((SHORTER,) if settings.quick else ())),
        unknown=("Separabilities, noise and length of training of the published maps.",),
    )


def _reference_rows(settings: Settings) -> tuple[list[Claim], dict[str, object]]:
    chosen = settings.choose(full=tuple(REFERENCE), quick=((0.25, 0.1), (1.0, 1.0)))
    # Every training set has networks of its own: the accidents of a sample are part of the error.
    n_samples, each = settings.choose(full=5, quick=2), 2
    epochs = settings.choose(full=400, quick=200)
    tasks = [hc.xor_conditions(s, noise=noise) for s, noise in chosen for _ in range(n_samples)]
    posteriors = networks(tasks, ACTIVATIONS, WIDTH, bias=True)
    run = settings.train(
        "reference-rows", posteriors, networks=each, epochs=epochs, snapshots=1, batch_size=200,
        start=initial_weights(posteriors, each, "uniform", settings.random_key("rows")), **OPTIONS,
    )  # fmt: skip
    found = hc.geometry(run, measures=NAMES)
    claims = [
        agrees_with_row(
            f"{activation}-s{s:g}-n{noise:g}".replace(".", ""),
            f"{activation} at separability {s:g} and noise {noise:g}, after {epochs} epochs",
            dict(zip(NAMES, REFERENCE[s, noise][a], strict=True)),
            row_of(found, range(a * len(tasks) + i * n_samples, a * len(tasks) + (i + 1) * n_samples)),
            z=settings.choose(full=3.0, quick=None),
        )
        for i, (s, noise) in enumerate(chosen)
        for a, activation in enumerate(ACTIVATIONS)
    ]
    return claims, describe_training(run)


def _grid(settings: Settings) -> tuple[list[Claim], dict[str, object], Figure]:
    separabilities = np.linspace(0.0, 1.0, settings.choose(full=21, quick=3))
    noises = settings.choose(full=(0.0, 0.1, 0.2, 0.3), quick=(0.1, 0.3))
    each = settings.choose(full=20, quick=4)
    tasks = [hc.xor_conditions(float(s), noise=noise) for noise in noises for s in separabilities]
    posteriors = networks(tasks, ACTIVATIONS, WIDTH, bias=True)
    run = settings.train(
        "grid", posteriors, networks=each, epochs=40, snapshots=1, batch_size=200,
        start=initial_weights(posteriors, each, "uniform", settings.random_key("grid")), **OPTIONS,
    )  # fmt: skip
    found = hc.geometry(run, measures=NAMES).isel(draw=-1)
    shape = (2, len(noises), len(separabilities))
    mean = {name: found[name].mean("chain").values.reshape(shape) for name in NAMES}
    error = {name: found[name].std("chain", ddof=1).values.reshape(shape) / np.sqrt(each) for name in NAMES}
    entries = [f"separability {s:.2g}, noise {n:g}" for n in noises for s in separabilities if s >= 0.25]
    far = separabilities >= 0.25
    gap = mean["target_alignment"][0][:, far] - mean["target_alignment"][1][:, far]
    gap_error = np.hypot(error["target_alignment"][0][:, far], error["target_alignment"][1][:, far])
    claims = [
        Claim.above(
            "gap",
            "Wherever the target is linearly separable (from separability 0.25) tanh layers are more aligned with it than ReLU layers",
            0.0,
            gap.ravel(),
            gap_error.ravel(),
            grade="text",
            entries=entries,
        ),
        Claim.below(
            "reversal",
            "At the plain exclusive-or they are not: the gap reverses",
            0.0,
            (mean["target_alignment"][0] - mean["target_alignment"][1])[:, 0],
            np.hypot(error["target_alignment"][0], error["target_alignment"][1])[:, 0],
            grade="measured",
            entries=[f"noise {n:g}" for n in noises],
        ),
    ]
    inputs, spread = mean["input_alignment"][0], error["input_alignment"][0]
    lowest = np.argmin(inputs, axis=1)
    rows = np.arange(len(noises))
    ends = [0, -1]
    claims.append(
        Claim.above(
            "tanh-not-monotonic",
            "The input alignment of tanh layers is not monotonic in separability: it is lower in between than at both ends",
            0.0,
            (inputs[:, ends] - inputs[rows, lowest][:, None]).ravel(),
            np.hypot(spread[:, ends], spread[rows, lowest][:, None]).ravel(),
            grade="secondary",
            entries=[f"noise {n:g}, separability {s}" for n in noises for s in (0, 1)],
            evidence=f"lowest at separability {', '.join(f'{separabilities[i]:.2g}' for i in lowest)}",
        )
    )
    panels = [
        figures.Heat(f"{activation}: {name.replace('_', ' ')}", np.clip(mean[name][a], 0.0, 1.0))
        for a, activation in enumerate(ACTIVATIONS)
        for name in NAMES
    ]
    maps = figures.heat_maps(
        panels, x=separabilities.tolist(), y=noises, x_label="separability", y_label="noise", columns=3
    )
    return claims, describe_training(run), maps
