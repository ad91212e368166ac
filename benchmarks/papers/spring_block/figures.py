"""Figures of load curves: a phase diagram of small curves, and the rows of curves beside their theory."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# matplotlib's methods take keyword arguments without types.

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from hiddencodes.benchmarks.papers.drawing import CurveRow
from hiddencodes.drawing import INK, PALETTE, new_figure, styled


def predicted(label: str, curve: Float[np.ndarray, " position"]) -> CurveRow:
    """A load curve of theory, D_0 .. D_L or y - x_l of a chain, as a line."""
    return CurveRow.predicted(label, np.arange(len(curve)), curve)


def measured(
    label: str, curve: Float[np.ndarray, " position"], error: Float[np.ndarray, " position"]
) -> CurveRow:
    """A measured load curve and its standard errors, as points."""
    return CurveRow.measured(label, np.arange(len(curve)), curve, error)


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
            straight = INK
            if level is not None and shade is not None:
                gray = level.to_rgba(float(shade[i, j]))
                cell.set_facecolor(gray)
                straight = INK if gray[0] > 0.4 else "white"
            cell.plot([0, length - 1], [u[0], u[-1]], color=straight, linewidth=0.6)
            cell.plot(np.arange(length), u, color=PALETTE[1], linewidth=1.6)
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
