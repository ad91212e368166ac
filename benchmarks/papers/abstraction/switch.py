"""The first-order switch: which eigenvalue of the inputs decides whether minima are abstract."""

import numpy as np

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Claim, Section, Settings, drawing
from hiddencodes.benchmarks.papers.abstraction.certificates import RATE
from hiddencodes.benchmarks.papers.abstraction.networks import Ensembles, Group, parallelism, sectors, train

PARITY = 0.5
PRINTED = {0.3: 1.08322, 0.5: 1.12474, 0.7: 1.20384, 3.0: 1.63205}
BELOW, ABOVE = 0.45, 0.55


def switch(settings: Settings) -> Section:
    """Mean activity of the inputs against their conjunctions: which wins decides, at once."""
    networks, epochs = settings.choose(full=5, quick=3), settings.choose(full=60_000, quick=8_000)
    rate = settings.choose(full=RATE, quick=0.02)
    grid = settings.choose(
        full=(0.1, 0.2, 0.3, 0.4, BELOW, 0.5, ABOVE, 0.6, 0.7, 1.0, 1.5, 3.0), quick=(0.3, BELOW, 0.5, ABOVE, 0.7, 3.0)
    )  # fmt: skip
    runs: dict[str, object] = {}
    tasks = [hc.latent_conditions(2, hc.factorial_kernel([k, 1.0, PARITY])) for k in grid]
    two = train(settings, "two latents", Group(tasks, [hc.relu] * len(grid)), networks, epochs, rate)
    runs["two latents"] = two.description
    theory = [hc.factorial_minimum(t.means @ t.means.T, t.targets, hc.relu) for t in tasks]
    claims = _claims(grid, two, theory)
    panels = {"two latents": _curves(grid, two, theory, 2)}
    if not settings.quick:
        # Products of three have the eigenvalue of the latents.
        three_tasks = [hc.latent_conditions(3, hc.factorial_kernel([k, 1.0, PARITY, PARITY])) for k in grid]
        three = train(
            settings, "three latents", Group(three_tasks, [hc.relu] * len(grid)), networks, epochs, rate
        )
        runs["three latents"] = three.description
        of_three = [hc.factorial_minimum(t.means @ t.means.T, t.targets, hc.relu) for t in three_tasks]
        panels["three latents"] = _curves(grid, three, of_three, 3)
        claims += _three(grid, three, of_three)
    return Section(
        title="A first-order switch in the spectrum of the inputs",
        question="What about the inputs decides whether the global minimum is abstract?",
        claims=tuple(claims),
        figures={"switch": drawing.curve_panels(panels, x_label="eigenvalue on the constant", y_label="parallelism score")},
        captions={
            "switch": f"Inputs with eigenvalue 1 on the latents and {PARITY} on their products, by the eigenvalue on the constant (mean activity): "
            "parallelism scores that theory allows and those of trained networks."
        },
        settings={"runs": runs},
        notes=("The switch is derived here.",),
    )  # fmt: skip


def _claims(grid: tuple[float, ...], found: Ensembles, theory: list[hc.FactorialMinimum]) -> list[Claim]:
    kernels = found.kernels[:, :, -1]
    kappa = sectors(kernels, 2)[..., 1]
    score = parallelism(kernels, 2)
    printed = [i for i, k in enumerate(grid) if k in PRINTED]
    n = kappa.shape[1]

    def at(k: float) -> int:
        return grid.index(k)

    equal = found.objective[at(0.5)]
    spread = float((equal.max() - equal.min()) / equal.mean())

    return [
        Claim.agrees(
            "printed", "Eigenvalue of the hidden kernel on the latents, as tabulated",
            np.array([PRINTED[grid[i]] for i in printed]), kappa[printed].mean(1), kappa[printed].std(1, ddof=1) / np.sqrt(n),
            grade="measured", extra=2e-3, extra_reason="0.001 of the largest, what training leaves", entries=[f"k_0 = {grid[i]:g}" for i in printed],
        ),
        Claim.agrees(
            "eigenvalue", "and from theory, for all inputs",
            np.array([t.eigenvalue for t in theory]), kappa.mean(1), kappa.std(1, ddof=1) / np.sqrt(n),
            grade="derived", extra=2e-3, extra_reason="0.001 of the largest, what training leaves", entries=[f"k_0 = {k:g}" for k in grid],
        ),
        Claim.below("below", f"Constant at {BELOW:g}, below the products' {PARITY:g}: no parallelism, all networks below 0.01", 0.01, float(np.abs(score[at(BELOW)]).max()), 0.0, grade="derived"),
        Claim.above("above", f"Constant at {ABOVE:g}, above it: abstract, all networks above 0.999", 0.999, float(score[at(ABOVE)].min()), 0.0, grade="derived"),
        Claim.below(
            "certified", "All of them are at their global minima: certified gap below 0.001 (worst network)", 1e-3, float(found.gap.max()), 0.0, grade="derived",
        ),
        Claim.statement_true(
            "at-the-switch", "At the switch itself minima of both kinds and their mixtures have the same objective: networks end in between",
            bool(np.all((score[at(0.5)] > -0.01) & (score[at(0.5)] < 1.001)) and spread < 1e-3),
            f"parallelism {', '.join(f'{s:.2f}' for s in np.sort(score[at(0.5)]))}; objectives differ by {spread:.0e}",
            grade="derived",
        ),
    ]  # fmt: skip


def _three(grid: tuple[float, ...], found: Ensembles, theory: list[hc.FactorialMinimum]) -> list[Claim]:
    score = parallelism(found.kernels[:, :, -1], 3)
    known = [i for i, t in enumerate(theory) if t.abstract is not None]
    expected = np.array([theory[i].parallelism[0] for i in known])
    return [
        Claim.agrees(
            "three", "Three latents: parallelism scores where theory fixes them", expected, score[known].mean(1),
            score[known].std(1, ddof=1) / np.sqrt(score.shape[1]), grade="derived", extra=2e-3,
            extra_reason="0.002, what training leaves", entries=[f"k_0 = {grid[i]:g}" for i in known],
        )
    ]  # fmt: skip


def _curves(
    grid: tuple[float, ...], found: Ensembles, theory: list[hc.FactorialMinimum], n: int
) -> list[drawing.CurveRow]:
    score = parallelism(found.kernels[:, :, -1], n)
    x = np.array(grid)
    error = score.std(1, ddof=1) / np.sqrt(score.shape[1])
    return [
        drawing.CurveRow.predicted("theory, least", x, np.array([t.parallelism.min() for t in theory])),
        drawing.CurveRow.predicted("theory, most", x, np.array([t.parallelism.max() for t in theory])),
        drawing.CurveRow.measured("trained", x, score.mean(1), error),
    ]
