"""What is compared in a panel of the phase diagram: trained networks against published cells, and shape against accuracy."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import spearmanr  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Claim, Settings
from hiddencodes.benchmarks.papers.spring_block.published import SLOPES, Panel

CLEAR, STRAIGHT = 0.03, 0.01
"""Published areas beyond the first have a sign; up to the second a curve is straight, as far as they were read."""


class Measured(NamedTuple):
    """A panel of trained networks; arrays are (slope, noise, ...).

    Attributes:
        slopes: Its rows, positions among `SLOPES`.
        columns: Its columns, positions among the published ones.
        noise: Their noise.
        curves: Load curves of mean separations.
        loads_error: Standard errors of the loads over networks.
        area_error: Standard errors of the areas.
        accuracy: In percent.
        accuracy_error: Standard errors of the accuracies.
        runs: Descriptions of the runs.
    """

    slopes: tuple[int, ...]
    columns: tuple[int, ...]
    noise: tuple[float, ...]
    curves: hc.LoadCurve
    loads_error: Float[np.ndarray, "slope noise layer"]
    area_error: Float[np.ndarray, "slope noise"]
    accuracy: Float[np.ndarray, "slope noise"]
    accuracy_error: Float[np.ndarray, "slope noise"]
    runs: dict[str, object]

    @property
    def names(self) -> list[str]:
        """Names of the cells."""
        return [f"slope {SLOPES[i]:g}, {x:g}" for i in self.slopes for x in self.noise]

    def of(self, panel: Panel) -> tuple[np.ndarray, np.ndarray]:
        """The published accuracies and areas of the same cells."""
        chosen = np.ix_(self.slopes, self.columns)
        return panel.accuracy[chosen], panel.area[chosen]

    @property
    def correlation(self) -> float:
        """Spearman's between accuracy and the distance from a straight curve."""
        return _rank_correlation(self.accuracy, np.abs(self.curves.area))


def signs(area: np.ndarray, measured: np.ndarray, where: str = "") -> Claim:
    """Whether curves are concave, convex and straight where published ones clearly are."""
    clear, straight = np.abs(area) >= CLEAR, np.abs(area) <= STRAIGHT
    right = (np.sign(area) == np.sign(measured)) & clear | (np.abs(measured) <= STRAIGHT + CLEAR) & straight

    def count(which: np.ndarray) -> str:
        return f"{int(right[which].sum())} of {int(which.sum())}"

    return Claim.statement_true(
        "signs", f"Load curves are concave, convex and straight where the published ones are (areas beyond {CLEAR:g}, and within {STRAIGHT:g}, which are to be within {STRAIGHT + CLEAR:g} here{'; ' + where if where else ''})",
        bool(right[clear | straight].all()), f"{count(clear)} curved and {count(straight)} straight cells", grade="text",
    )  # fmt: skip


def against_published(panel: Panel, found: Measured, settings: Settings) -> list[Claim]:
    """Signs, areas, accuracies and whole curves, cell by cell."""
    accuracy, area = found.of(panel)
    return [
        signs(area, found.curves.area),
        *_within("area", "areas of load curves", area, found.curves.area, found.area_error, 0.03, found.names, settings),
        *_within("accuracy", "test accuracies (%)", accuracy, found.accuracy, found.accuracy_error, 1.0, found.names, settings),
        *_curves(panel, found),
    ]  # fmt: skip


def _within(
    name: str, what: str, published_: np.ndarray, measured: np.ndarray, error: np.ndarray, within: float, names: list[str], settings: Settings
) -> list[Claim]:  # fmt: skip
    """Agreement as it was asked for, where the scatter of networks lets it be seen, and with that scatter where it does not."""
    off = np.abs(measured - published_)
    outside = [f"{n} ({m:.3g}, published {p:g})" for n, m, p, o in zip(names, measured.ravel(), published_.ravel(), off.ravel(), strict=True) if o > within]  # fmt: skip
    evidence = f"{off.size - len(outside)} of {off.size} within {within:g}" + (
        f"; not: {', '.join(outside)}" if outside else ""
    )
    if settings.quick:
        # Two networks do not tell their scatter.
        return [Claim.agrees(name, f"The {what}, cell by cell", published_, measured, grade="text", extra=2.5 * within, extra_reason="two networks per cell", entries=names, evidence=evidence)]  # fmt: skip
    # The published means are of as many networks: their errors are as large.
    both = np.sqrt(2.0) * error
    seen = 4.0 * both <= within
    claims = [
        Claim.agrees(
            f"{name}-noisy", f"The other {int((~seen).sum())} cells, whose networks differ more", published_[~seen], measured[~seen], both[~seen], grade="text", extra=within,
            extra_reason="what is asked for", entries=[n for n, s in zip(names, seen.ravel(), strict=True) if not s], evidence=evidence,
        )
    ] if not seen.all() else []  # fmt: skip
    if seen.any():
        first = Claim.agrees(
            f"{name}", f"The {what} within {within:g} in {int(seen.sum())} cells, where four errors of a difference of two means over ten networks are less than that",
            published_[seen], measured[seen], grade="text", extra=within, extra_reason="what is asked for", entries=[n for n, s in zip(names, seen.ravel(), strict=True) if s], evidence=evidence,
        )  # fmt: skip
        claims.insert(0, first)
    return claims


def _curves(panel: Panel, found: Measured) -> list[Claim]:
    rows: list[tuple[np.ndarray, np.ndarray]] = []
    for (i, noise), curve in panel.curves.items():
        if i in found.slopes and noise in found.noise:
            d = found.curves.separation[found.slopes.index(i), found.noise.index(noise)]
            rows.append((curve, (d - d.min()) / (d.max() - d.min())))
    if not rows:
        return []
    expected, measured = (np.stack([row[k] for row in rows]) for k in (0, 1))
    return [
        Claim.agrees("curves", f"{len(rows)} whole load curves, scaled to between 0 and 1", expected, measured, grade="text", extra=0.06, extra_reason="twice the mean largest deviation of another implementation")
    ]  # fmt: skip


def accuracy_and_shape(panel: Panel, found: Measured, settings: Settings) -> list[Claim]:
    """Whether straight curves go with high accuracy, as in the published cells."""
    if settings.quick:
        return []  # too few cells for a correlation
    accuracy, area = found.of(panel)
    there = _rank_correlation(accuracy, np.abs(area))
    nonlinear = [k for k, i in enumerate(found.slopes) if SLOPES[i] < 1.0]
    lost, lost_there = (
        [float(a[k].max() - a[k, np.argmin(np.abs(shape[k]))]) for k in nonlinear]
        for a, shape in ((found.accuracy, found.curves.area), (accuracy, area))
    )
    return [
        Claim.below("straight-is-accurate", "Straighter load curves go with higher accuracy: Spearman's correlation of accuracy and |area| below -0.5", -0.5, found.correlation, grade="text", evidence=f"{there:.2f} in the published cells"),
        Claim.agrees("correlation", "which is the published one", there, found.correlation, grade="text", extra=0.15, extra_reason="cells of nearly the same accuracy change places"),
        Claim.below("straightest", "Choosing the noise with the straightest curve costs less than a point of accuracy, mean over nonlinear rows", 1.0, float(np.mean(lost)), grade="derived", evidence=f"{_listed(lost)} by row; {_listed(lost_there)} in the published cells"),
    ]  # fmt: skip


def counter_examples(found: Measured) -> list[Claim]:
    """Cells that are straight and not accurate: a straight curve is not enough."""
    slow, row = found.noise.index(1e-4), found.slopes.index(4)
    area, lost = found.curves.area[row, slow], found.accuracy[row].max() - found.accuracy[row, slow]
    drop, fast, usual = found.curves.total_drop, found.noise.index(0.1), found.noise.index(0.01)
    relu, leaky, linear = (found.slopes.index(i) for i in (0, 2, 5))
    return [
        Claim.statement_true(
            "straight-and-poor", "A straight curve is not enough: at slope 0.8 and rate 0.0001 the area is below 0.06 and accuracy 2 points below the best of the row",
            bool(abs(area) < 0.06 and lost > 2.0), f"area {area:+.3f}, {lost:.1f} points", grade="text",
        ),
        Claim.below("linear-straight", "Linear networks are straight at that rate, too: distance of the area from 0", 0.06, float(abs(found.curves.area[linear, slow])), float(found.area_error[linear, slow]), grade="text"),
        Claim.above("linear-poor", "and no better than 90 %: the distance to 90", 0.0, 90.0 - found.accuracy[linear, slow], found.accuracy_error[linear, slow], grade="text"),
        Claim.below("drop", "Such cells separate less in all: drop at slope 0.4 and rate 0.0001, over that at 0.001", 0.8, float(drop[leaky, slow] / drop[leaky, found.noise.index(1e-3)]), grade="derived"),
        Claim.below("drop-fast", "and at slope 0 and rate 0.1, over that at 0.01", 0.9, float(drop[relu, fast] / drop[relu, usual]), grade="derived"),
    ]  # fmt: skip


def moves_with_noise(found: Measured, noise: str) -> list[Claim]:
    """What the abstract says of every panel, columns from most to least noise."""
    area = found.curves.area
    order = list(range(area.shape[1]))
    nonlinear = area[:-1]
    rises = [_rank_correlation(order, row) for row in nonlinear]
    falls = [_rank_correlation(list(range(len(area))), column) for column in area.T]
    return [
        Claim.above("more-noise", f"More {noise} makes curves of nonlinear networks more convex: Spearman's correlation of area and column, smallest of the rows", 0.5, min(rises), grade="text"),
        Claim.below("more-linear", "A larger slope makes them more convex: correlation of area and slope, largest of the columns", -0.4, max(falls), grade="text", evidence=", ".join(f"{r:.2f} at {x:g}" for r, x in zip(falls, found.noise, strict=True))),
        Claim.above("corner-concave", "ReLU with the least noise is concave: area", 0.0, float(area[0, -1]), float(found.area_error[0, -1]), grade="text"),
        Claim.below("linear-convex", "Linear networks are convex whatever the noise: largest area", 0.0, float(area[-1].max()), grade="text"),
        Claim.below("corner-convex", "Linear networks with the most noise are convex: area", 0.0, float(area[-1, 0]), float(found.area_error[-1, 0]), grade="text"),
    ]  # fmt: skip


def _listed(values: list[float]) -> str:
    return ", ".join(f"{x:.1f}" for x in values)


def _rank_correlation(x: np.ndarray | list[int], y: np.ndarray) -> float:
    found: Any = spearmanr(np.ravel(x), np.ravel(y))
    return float(found.statistic)
