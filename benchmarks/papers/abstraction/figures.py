"""Figures of abstraction: kernels by degree."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# matplotlib's methods take keyword arguments without types.

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from hiddencodes.drawing import GRAY, PALETTE, grid_of, new_figure, styled


class Spectrum(NamedTuple):
    """Kernels by degree, over the eigenvalue on the latents.

    Attributes:
        theory: Of the minima with the least and the most products of latents; NaN where it is free.
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
            known = np.isfinite(values)
            axes.bar(degree[known] + 0.36 * i - 0.18, values[known], 0.34, color=color, alpha=0.6)
            for d in degree[~known]:
                axes.text(d, 0.0, "free", color=GRAY, ha="center", va="bottom", rotation=90)
        for row in found.trained:
            axes.plot(degree, row, "o", color=PALETTE[1], markersize=3, alpha=0.7)
        axes.set_title(heading)
        axes.set_xticks(degree)
        axes.set_xlabel("degree")
    return figure
