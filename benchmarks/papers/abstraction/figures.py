"""Figures of abstraction: kernels by degree, measures along a parameter."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# matplotlib's methods take keyword arguments without types.

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from hiddencodes.drawing import GRAY, PALETTE, grid_of, new_figure, styled


class Spectrum(NamedTuple):
    """Kernels by degree, over the eigenvalue on the latents.

    Attributes:
        theory: Of the minima with the least and the most products of latents.
        trained: Of networks.
    """

    theory: Float[np.ndarray, "two degree"]
    trained: Float[np.ndarray, "network degree"]


@styled
def spectra(panels: Mapping[str, Spectrum]) -> Figure:
    """One panel per case: bars for theory, dots for networks.

    Args:
        panels: By heading.
    """
    rows, columns = grid_of(len(panels), 4)
    figure = new_figure(2.6 * columns, 2.1 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes, (heading, found) in zip(grid, panels.items(), strict=False):
        degree = np.arange(found.theory.shape[1])
        for i, (values, color) in enumerate(zip(found.theory, (PALETTE[0], GRAY), strict=True)):
            axes.bar(degree + 0.36 * i - 0.18, np.nan_to_num(values), 0.34, color=color, alpha=0.6)
        for row in found.trained:
            axes.plot(degree, row, "o", color=PALETTE[1], markersize=3, alpha=0.7)
        axes.set_title(heading)
        axes.set_xticks(degree)
        axes.set_xlabel("degree")
    return figure


class Curve(NamedTuple):
    """A line of theory or points of networks.

    Attributes:
        label: What it is.
        x: Where.
        y: Values.
        error: Their standard errors; None for a line.
    """

    label: str
    x: Float[np.ndarray, " point"]
    y: Float[np.ndarray, " point"]
    error: Float[np.ndarray, " point"] | None = None


@styled
def curves(panels: Mapping[str, Sequence[Curve]], *, x_label: str, y_label: str = "") -> Figure:
    """Lines and points, one panel per heading.

    Args:
        panels: By heading.
        x_label: What the horizontal axes show.
        y_label: What the vertical axes show.
    """
    rows, columns = grid_of(len(panels), 3)
    figure = new_figure(3.4 * columns + (1.2 if columns == 1 else 0.0), 2.8 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes, (heading, lines) in zip(grid, panels.items(), strict=False):
        for i, line in enumerate(lines):
            color = PALETTE[i % len(PALETTE)]
            if line.error is None:
                axes.plot(line.x, line.y, color=color, label=line.label, linewidth=1.4)
            else:
                axes.errorbar(
                    line.x, line.y, line.error, fmt="o", color=color, label=line.label, markersize=3.5
                )
        axes.set_title(heading)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.legend(frameon=False, fontsize=7)
    return figure
