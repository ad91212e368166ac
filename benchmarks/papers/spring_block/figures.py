"""Figures of load curves: a phase diagram of small curves, and curves beside their theory."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# matplotlib's methods take keyword arguments without types.

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from hiddencodes.drawing import GRAY, INK, PALETTE, grid_of, new_figure, styled


class Curve(NamedTuple):
    """A load curve in a panel.

    Attributes:
        label: What it is.
        y: D_0 .. D_L, or y - x_l of a chain.
        error: Standard errors; None for a line of theory.
    """

    label: str
    y: Float[np.ndarray, " position"]
    error: Float[np.ndarray, " position"] | None = None


@styled
def phase_diagram(
    curves: Float[np.ndarray, "row column position"],
    shade: Float[np.ndarray, "row column"] | None,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    row_label: str,
    column_label: str,
    shade_label: str = "",
) -> Figure:
    """A cell for every point, each with its load curve scaled to the cell and the straight line it is compared with.

    Args:
        curves: Load curves.
        shade: Gray level of every cell, light for large; None for white cells.
        rows: Labels of the rows.
        columns: Labels of the columns.
        row_label: What rows differ in.
        column_label: What columns differ in.
        shade_label: What gray levels show.
    """
    n, m, length = curves.shape
    figure = new_figure(1.6 + 0.78 * m, 0.9 + 0.78 * n)
    axes = figure.subplots(n, m, squeeze=False, sharex=True, sharey=True)
    level: Any = None
    if shade is not None:
        level = ScalarMappable(Normalize(float(shade.min()), float(shade.max())), "gray")
    for i in range(n):
        for j in range(m):
            y, cell = curves[i, j], axes[i, j]
            span = float(y.max() - y.min())
            u = (y - y.min()) / span if span > 0 else np.full(length, 0.5)
            cell.plot([0, length - 1], [u[0], u[-1]], color=GRAY, linewidth=0.6)
            cell.plot(np.arange(length), u, color=PALETTE[1], linewidth=1.6)
            if level is not None and shade is not None:
                cell.set_facecolor(level.to_rgba(float(shade[i, j])))
            cell.set_xlim(-0.5, length - 0.5)
            cell.set_ylim(-0.12, 1.12)
            cell.set_xticks([])
            cell.set_yticks([])
            for spine in cell.spines.values():
                spine.set_visible(True)
    for i, text in enumerate(rows):
        axes[i, 0].set_ylabel(text, rotation=0, ha="right", va="center", color=INK)
    for j, text in enumerate(columns):
        axes[-1, j].set_xlabel(text, color=INK)
    figure.supxlabel(column_label, fontsize=8.5)
    figure.supylabel(row_label, fontsize=8.5)
    if level is not None:
        bar = figure.colorbar(level, ax=axes.ravel().tolist(), fraction=0.03, pad=0.02)
        bar.set_label(shade_label)
    return figure


@styled
def load_curves(
    panels: Mapping[str, Sequence[Curve]], *, y_label: str = "D", x_label: str = "layer"
) -> Figure:
    """Curves along the layers, one panel per heading.

    Args:
        panels: By heading.
        y_label: What the vertical axes show.
        x_label: What the horizontal axes show.
    """
    rows, columns = grid_of(len(panels), 3)
    figure = new_figure(3.2 * columns + (1.2 if columns == 1 else 0.0), 2.7 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes, (heading, lines) in zip(grid, panels.items(), strict=False):
        for i, line in enumerate(lines):
            color, x = PALETTE[i % len(PALETTE)], np.arange(len(line.y))
            if line.error is None:
                axes.plot(x, line.y, color=color, label=line.label, linewidth=1.3)
            else:
                axes.errorbar(x, line.y, line.error, fmt="o", color=color, label=line.label, markersize=3.5)
        axes.set_title(heading)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.legend(fontsize=7)
    return figure
