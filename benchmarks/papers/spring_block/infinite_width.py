"""Infinitely wide networks that have learned nothing: the exact load curve, and draws from the prior beside it."""

import jax
import numpy as np

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Claim, Section, Settings, drawing
from hiddencodes.benchmarks.papers.spring_block import figures
from hiddencodes.benchmarks.papers.spring_block.networks import (
    DEPTH,
    digits,
    mlp,
    prior_separations,
    standard_error,
)

# D_0 .. D_7 of 1500 standardized digits by slope, measured with another implementation on other digits.
MEASURED = {
    0.0: (1.420, 1.685, 1.863, 1.998, 2.102, 2.183, 2.248, 2.299),
    0.4: (1.420, 1.482, 1.539, 1.592, 1.642, 1.689, 1.733, 1.774),
    0.8: (1.420, 1.425, 1.429, 1.433, 1.438, 1.442, 1.446, 1.451),
}


def infinite_width(settings: Settings) -> Section:
    """What layers do to classes before anything is learned: infinite width, and draws from the prior."""
    x, labels = standardized(1500)
    measured = {slope: MEASURED[slope] for slope in settings.choose(full=tuple(MEASURED), quick=(0.0,))}
    exact = {slope: hc.prior_load_curve(hc.leaky_relu(slope), x @ x.T / x.shape[1], labels, DEPTH) for slope in (*measured, 1.0)}  # fmt: skip
    claims = [
        Claim.agrees(
            f"table-{slope:g}".replace(".", "-"), f"Slope {slope:g}: D rises from the inputs to layer l by what was measured on other digits",
            np.array(values[1:]) - values[0], -np.cumsum(exact[slope].loads), grade="measured", extra=0.08 * (values[-1] - values[0]),
            extra_reason="other digits: 8 % of the whole rise",
        )
        for slope, values in measured.items()
    ]  # fmt: skip
    claims += [
        Claim.agrees("linear", "Linear layers of infinite width change nothing", np.zeros(DEPTH), exact[1.0].loads, grade="derived", extra=1e-10, extra_reason="rounding"),
        Claim.below("negative", "Nonlinear ones mix classes up: every load is negative", 0.0, np.concatenate([exact[s].loads for s in measured]), grade="derived"),
    ]  # fmt: skip
    few, few_labels = standardized(settings.choose(full=500, quick=200))
    panels: dict[str, list[drawing.CurveRow]] = {}
    for slope in settings.choose(full=(0.0, 0.4, 1.0), quick=(0.0, 1.0)):
        theory = hc.prior_load_curve(hc.leaky_relu(slope), few @ few.T / few.shape[1], few_labels, DEPTH)
        mean, error = _extrapolated(settings, slope, few, few_labels)
        name = f"prior-draws-{slope:g}".replace(".", "-")
        claims.append(
            Claim.agrees(name, f"Slope {slope:g}: draws from the prior have this curve at infinite width", theory.separation[1:], mean, error, grade="derived")
        )  # fmt: skip
        panels[f"slope {slope:g}"] = [
            figures.predicted("infinite width", theory.separation),
            figures.measured("prior draws", np.append(theory.separation[0], mean), np.append(0.0, error)),
        ]
    found, first, bn_claims = _normalized(settings, few, few_labels)
    return Section(
        title="Before learning",
        question="How are classes separated layer by layer in networks that have learned nothing?",
        claims=(*claims, *bn_claims),
        figures={"prior": drawing.curve_panels(panels | {"batch normalization, draws": found}, x_label="layer", y_label="D", share_y=False)},
        captions={
            "prior": f"Separation D of {len(few)} digits in networks of 7 hidden layers. Lines: exact, infinite width, without batch normalization; points: draws from the "
            "prior at two widths, extrapolated linearly in 1/N; last panel: with batch normalization, by slope."
        },
        settings={"digits of the table": 1500, "digits of the draws": len(few), "widths": widths(settings), "draws": draws(settings), "D of the inputs": first},
        notes=("Units that batch normalization has scaled by the patterns at hand have no closed form here; their curve is measured.",),
    )  # fmt: skip


def _normalized(
    settings: Settings, x: np.ndarray, labels: np.ndarray
) -> tuple[list[drawing.CurveRow], float, list[Claim]]:
    """Networks with batch normalization that have learned nothing: the baseline of the phase diagrams."""
    slopes = (0.0, 0.4, 1.0)
    each: list[np.ndarray] = []
    for width in widths(settings):
        key = jax.random.key(settings.random_key(f"normalized, {width}"))
        keys = jax.random.split(key, draws(settings))
        each.append(np.stack([prior_separations(mlp(slope, width=width), keys, x, labels, batch_norm=True) for slope in slopes]))  # fmt: skip
    first = float(hc.feature_separation(x, labels))
    narrow, wide = each
    mean = 2 * wide.mean(1) - narrow.mean(1)
    error = np.hypot(2 * standard_error(wide.swapaxes(1, 2)), standard_error(narrow.swapaxes(1, 2)))
    curves = [
        figures.measured(f"slope {slope:g}", np.append(first, m), np.append(0.0, e))
        for slope, m, e in zip(slopes, mean, error, strict=True)
    ]
    # The widest networks themselves: an extrapolation has three times their error.
    rise, scatter = wide[:, :, -1].mean(1) - first, standard_error(wide[:, :, -1])
    return curves, first, [
        Claim.above(
            "normalized", "With batch normalization linear layers mix classes up as well, since it scales units apart: rise of D to the last layer, by slope", 0.0, rise, scatter,
            grade="new", entries=[f"slope {slope:g}" for slope in slopes],
        ),
        Claim.below("normalized-slope", "and less so than nonlinear ones: rise of linear networks over that of ReLU networks", 1.0, float(rise[2] / rise[0]), float(np.hypot(scatter[2], rise[2] / rise[0] * scatter[0]) / rise[0]), grade="new"),
    ]  # fmt: skip


def standardized(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Digits whose pixels have mean 0 and variance 1 (those that never change are 0), and their labels."""
    task = digits(n).task
    x = np.asarray(task.x_train, float)
    std = x.std(0)
    return (x - x.mean(0)) / np.where(std > 1e-9, std, 1.0), np.asarray(task.labels_train)


def widths(settings: Settings) -> tuple[int, int]:
    """Two widths for an extrapolation."""
    return settings.choose(full=(500, 1000), quick=(200, 400))


def draws(settings: Settings) -> int:
    """Networks drawn at each width."""
    return settings.choose(full=200, quick=30)


def _extrapolated(
    settings: Settings, slope: float, x: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """D of prior draws and its error at infinite width: what is of order 1/N cancels in ``2 D(2N) - D(N)``."""
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for width in widths(settings):
        network = mlp(slope, width=width, bias=False)
        key = jax.random.key(settings.random_key(f"{slope:g}, {width}"))
        values = prior_separations(network, jax.random.split(key, draws(settings)), x, labels)
        found.append((values.mean(0), standard_error(values.T)))
    (narrow, narrow_error), (wide, wide_error) = found
    return 2 * wide - narrow, np.hypot(2 * wide_error, narrow_error)
