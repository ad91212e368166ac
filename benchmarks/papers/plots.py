"""Curves and histograms with theory beside samples: readout weights, scaling with size, shares of codes."""

# pyright: reportUnknownMemberType=false
# matplotlib's methods take keyword arguments without types.

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from hiddencodes.drawing import GRAY, INK, PALETTE, grid_of, new_figure, say, styled

NO_THEORY = "no prediction"
SAMPLES, THEORY = PALETTE[0], PALETTE[1]


class ReadoutRow(NamedTuple):
    """One row of `readout_panels`.

    Attributes:
        label: What it is.
        x: Where the density is given; None if there is no prediction.
        density: The predicted density.
        samples: Measured values.
        marks: Positions to point out in the theory, with a text each; branches for instance.
    """

    label: str
    x: Float[np.ndarray, " point"] | None
    density: Float[np.ndarray, " point"] | None
    samples: Float[np.ndarray, "..."]
    marks: Sequence[tuple[float, str]] = ()


class CurveRow(NamedTuple):
    """One quantity of `curves`: points with error bars for what was measured, a line for what is predicted.

    Attributes:
        label: What it is.
        x: Where it was measured; None if it was not.
        y: Measured values.
        error: Their standard errors.
        theory_x: Where it is predicted; None if it is not.
        theory_y: Predicted values.
    """

    label: str
    x: Float[np.ndarray, " point"] | None = None
    y: Float[np.ndarray, " point"] | None = None
    error: Float[np.ndarray, " point"] | None = None
    theory_x: Float[np.ndarray, " theory_point"] | None = None
    theory_y: Float[np.ndarray, " theory_point"] | None = None

    @classmethod
    def measured(
        cls,
        label: str,
        x: Float[np.ndarray, " point"],
        y: Float[np.ndarray, " point"],
        error: Float[np.ndarray, " point"] | None = None,
    ) -> "CurveRow":
        """Points only."""
        return cls(label, x, y, error)

    @classmethod
    def predicted(
        cls, label: str, x: Float[np.ndarray, " theory_point"], y: Float[np.ndarray, " theory_point"]
    ) -> "CurveRow":
        """A line only."""
        return cls(label, theory_x=x, theory_y=y)


class CodeRow(NamedTuple):
    """One panel of `code_bars`.

    Attributes:
        label: What it is.
        codes: Names of the codes.
        theory: Predicted shares of units; None if there is no prediction.
        sampled: Measured shares.
        error: Their standard errors.
    """

    label: str
    codes: Sequence[str]
    theory: Float[np.ndarray, " code"] | None
    sampled: Float[np.ndarray, " code"]
    error: Float[np.ndarray, " code"] | None = None


@styled
def readout_panels(
    rows: Sequence[ReadoutRow], *, x_label: str = "readout weight", log: bool = False, bins: int = 120
) -> Figure:
    """Densities on the left, histograms of samples on the right, on the same axes; the prediction is drawn thin over both.

    Args:
        rows: What is compared.
        x_label: What the horizontal axis shows.
        log: Whether densities are on a logarithmic scale, which shows the few outliers of rectified networks.
        bins: Bins of the histogram.
    """
    figure = new_figure(8.2, 0.5 + 1.75 * len(rows))
    grid = figure.subplots(len(rows), 2, squeeze=False, sharex="row", sharey="row")
    for row, (left, right) in zip(rows, grid, strict=True):
        _histogram(right, row, log, bins)
        if row.x is None or row.density is None:
            left.text(0.5, 0.5, NO_THEORY, color=GRAY, ha="center", va="center", transform=left.transAxes)
        else:
            left.fill_between(row.x, row.density, color=THEORY, alpha=0.25, linewidth=0)
            left.plot(row.x, row.density, color=THEORY)
            right.plot(row.x, row.density, color=THEORY, linewidth=0.9)
        for position, _ in row.marks:
            left.axvline(position, color=GRAY, linestyle=":", linewidth=0.8)
        low, high = left.get_xlim()
        for position, text in _spaced(row.marks, 0.1 * (high - low)):
            left.annotate(
                text, (position, 0.97), xycoords=left.get_xaxis_transform(), xytext=(2, 0),
                textcoords="offset points", va="top", fontsize=7, family="DejaVu Sans Mono", color=INK,
            )  # fmt: skip
        left.set_title(row.label)
        left.set_ylabel("density (log scale)" if log else "density")
        for axes in (left, right):
            axes.set_yticks([])
            axes.set_yticks([], minor=True)
            axes.spines["left"].set_visible(False)
            # Shared axes hide the labels of upper rows, but each row has its own range.
            axes.tick_params(labelbottom=True)
    for axes, side in zip(grid[-1], ("theory", "samples"), strict=True):
        axes.set_xlabel(f"{x_label}: {side}")
    return figure


def _spaced(marks: Sequence[tuple[float, str]], distance: float) -> list[tuple[float, str]]:
    """Marks whose texts would stand on top of each other share one."""
    spaced: list[tuple[float, str]] = []
    for place, name in sorted(marks):
        if spaced and place - spaced[-1][0] < distance:
            spaced[-1] = (spaced[-1][0], f"{spaced[-1][1]}, {name}")
        else:
            spaced.append((place, name))
    return spaced


def _histogram(axes: Axes, row: ReadoutRow, log: bool, bins: int) -> None:
    values = np.asarray(row.samples, np.float64).ravel()
    low, high = float(values.min()), float(values.max())
    if row.x is not None and row.density is not None:
        # The tails of the grid, where nothing is, would only squeeze the rest.
        seen = row.x[row.density > 1e-4 * float(row.density.max())]
        low, high = min(low, float(seen.min())), max(high, float(seen.max()))
    edges = np.linspace(low, high, bins + 1)
    heights, _, _ = axes.hist(values, bins=edges.tolist(), density=True, color=SAMPLES)
    axes.set_xlim(low, high)
    top = max(float(np.max(heights)), 0.0 if row.density is None else float(row.density.max()))
    if log:
        axes.set_yscale("log")
        axes.set_ylim(0.5 / (values.size * float(edges[1] - edges[0])), 2.0 * top)
    else:
        axes.set_ylim(0.0, 1.12 * top)


@styled
def curves(
    rows: Sequence[CurveRow],
    *,
    x_label: str,
    y_label: str,
    title: str = "",
    log_x: bool = True,
    log_y: bool = True,
) -> Figure:
    """Predicted lines and measured points, one color per quantity.

    Args:
        rows: The quantities.
        x_label: What the horizontal axis shows.
        y_label: What the vertical axis shows.
        title: Heading.
        log_x: Whether the horizontal axis is logarithmic.
        log_y: Whether the vertical axis is logarithmic.
    """
    figure = new_figure(5.4, 3.6)
    axes = figure.subplots()
    _curves(axes, rows, log_x, log_y)
    axes.set_title(title)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    return figure


@styled
def curve_panels(
    panels: Mapping[str, Sequence[CurveRow]],
    *,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    log_y: bool = False,
    share_y: bool = True,
) -> Figure:
    """Several panels of `curves` with the same horizontal axis.

    Args:
        panels: Quantities by heading.
        x_label: What the horizontal axes show.
        y_label: What the vertical axes show.
        log_x: Whether the horizontal axes are logarithmic.
        log_y: Whether the vertical axes are logarithmic.
        share_y: Whether they are the same, too.
    """
    n_rows, columns = grid_of(len(panels), 3)
    figure = new_figure(0.6 + 3.1 * columns + (1.2 if columns == 1 else 0.0), 0.3 + 2.7 * n_rows)
    grid = figure.subplots(n_rows, columns, squeeze=False, sharey=share_y)
    for axes in grid.ravel()[len(panels) :]:
        axes.set_axis_off()
    for axes, (title, rows) in zip(grid.ravel(), panels.items(), strict=False):
        _curves(axes, rows, log_x, log_y)
        axes.set_title(title)
        axes.set_xlabel(x_label)
    for row in grid:
        row[0].set_ylabel(y_label)
    return figure


def _curves(axes: Axes, rows: Sequence[CurveRow], log_x: bool, log_y: bool) -> None:
    for i, row in enumerate(rows):
        color = PALETTE[i % len(PALETTE)]
        measured = row.x is not None and row.y is not None
        if row.theory_x is not None and row.theory_y is not None:
            label = f"{row.label}, theory" if measured else row.label
            axes.plot(row.theory_x, row.theory_y, color=color, linewidth=1.1, label=label)
        if row.x is not None and row.y is not None:
            label = f"{row.label}, samples" if row.theory_x is not None else row.label
            axes.errorbar(
                row.x, row.y, yerr=row.error, fmt="o", color=color, markersize=4.5, elinewidth=1.0,
                capsize=2.5, label=label,
            )  # fmt: skip
    places = np.concatenate(
        [np.asarray(x, float) for row in rows for x in (row.x, row.theory_x) if x is not None]
    )
    if not log_x and np.all(places == np.round(places)):
        # There is no layer 0.5.
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if log_x:
        axes.set_xscale("log")
        _plain_ticks(axes.xaxis)
        measured = [np.asarray(row.x) for row in rows if row.x is not None]
        if measured and len(points := np.unique(np.concatenate(measured))) <= 8:
            axes.set_xticks(points.tolist())
    if log_y:
        axes.set_yscale("log")
        _plain_ticks(axes.yaxis)
    axes.grid(color=GRAY, alpha=0.2, linewidth=0.5)
    axes.legend()


def _plain_number(value: float, position: int | None) -> str:
    del position
    return f"{value:g}"


def _plain_ticks(axis: Axis) -> None:
    """Numbers instead of powers of ten, at 1, 2 and 5 times them."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(_plain_number))
    axis.set_minor_formatter(NullFormatter())


@styled
def code_bars(rows: Sequence[CodeRow]) -> Figure:
    """Share of units per code: theory above, samples with standard errors below, one panel per row.

    Args:
        rows: What is compared.
    """
    n_rows, columns = grid_of(len(rows))
    most = max(3, *(len(row.codes) for row in rows))
    figure = new_figure(4.3 * columns, (1.0 + 0.34 * most) * n_rows)
    grid = figure.subplots(n_rows, columns, squeeze=False).ravel()
    for axes in grid[len(rows) :]:
        axes.set_axis_off()
    for axes, row in zip(grid, rows, strict=False):
        if not row.codes:
            say(axes, row.label, "no codes")
            continue
        y = np.arange(len(row.codes))
        if row.theory is not None:
            axes.barh(y - 0.19, 100 * row.theory, height=0.36, color=THEORY)
        axes.barh(y + 0.19, 100 * row.sampled, height=0.36, color=SAMPLES)
        if row.error is not None:
            axes.errorbar(
                100 * row.sampled, y + 0.19, xerr=100 * row.error, fmt="none", ecolor=INK, elinewidth=1.0, capsize=2.0
            )  # fmt: skip
        axes.set_yticks(y, list(row.codes), family="DejaVu Sans Mono")
        axes.set_ylim(most - 0.4, -0.6)
        axes.set_xlim(0, None)
        axes.tick_params(axis="y", length=0)
        axes.set_title(row.label)
        axes.set_xlabel("share of units (%)")
        axes.grid(axis="x", color=GRAY, alpha=0.25, linewidth=0.5)
        axes.set_axisbelow(True)
    patches = [Patch(color=THEORY, label="theory"), Patch(color=SAMPLES, label="samples")]
    figure.legend(handles=patches, loc="outside upper right", ncols=2, handlelength=1.4)
    return figure
