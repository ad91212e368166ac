"""Figures of what units carry: readout weights, and the share of units per code."""

# pyright: reportUnknownMemberType=false
# matplotlib's methods take keyword arguments without types.

import math
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hiddencodes.drawing import (
    GRAY,
    INK,
    PALETTE,
    RECTIFIED,
    activation_name,
    array,
    grid_of,
    healthy_chains,
    model_of,
    new_figure,
    say,
    styled,
)
from hiddencodes.models.parameterization import parameterization


@styled
def readouts(runs: Mapping[str, xr.DataTree], *, max_outputs: int = 4) -> Figure:
    """Histogram of the readout weights of all units, chains, seeds and draws, per output, over the prior's density.

    Args:
        runs: Runs by label.
        max_outputs: How many outputs to show.
    """
    n_outputs = min(max(model_of(run)["n_outputs"] for run in runs.values()), max_outputs)
    figure = new_figure(0.6 + 2.7 * n_outputs, 0.2 + 1.9 * len(runs))
    grid = figure.subplots(len(runs), n_outputs, squeeze=False)
    for i, (row, (label, run)) in enumerate(zip(grid, runs.items(), strict=True)):
        a = np.concatenate(
            [
                array(run, "units/readout")[s, healthy_chains(run, s)]
                for s in range(run["units"].sizes["seed"])
            ]
        )
        scale = prior_readout_scale(run)
        logarithmic = activation_name(run) in RECTIFIED
        for r, axes in enumerate(row):
            if r >= a.shape[-2] or not a.size:
                axes.set_axis_off()
                continue
            _readout_panel(axes, a[..., r, :].ravel(), scale, logarithmic)
            axes.set_xlabel(f"readout weight, output {r}" if i == len(runs) - 1 else "")
        row[0].set_ylabel("density (log scale)" if logarithmic else "density")
        row[0].set_title(label)
    handles, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper right", ncols=2, handlelength=1.4)
    return figure


def prior_readout_scale(run: xr.DataTree) -> float:
    """Standard deviation of a stored readout weight under the prior: sigma_a, times that of the parameterization."""
    model = model_of(run)
    layer = parameterization(model["parameterization"]).readout
    return math.sqrt(
        float(run.attrs["readout_variance"]) * layer.variance(model["width"], model["n_outputs"])
    )


def _readout_panel(axes: Axes, values: Float[np.ndarray, " value"], scale: float, logarithmic: bool) -> None:
    """One histogram with the density of N(0, scale^2); a log scale shows the few outliers of rectified networks."""
    low, high = min(float(values.min()), -3 * scale), max(float(values.max()), 3 * scale)
    edges = np.linspace(low, high, 91)
    heights, _, _ = axes.hist(
        values, bins=edges.tolist(), density=True, color=PALETTE[0], label="posterior", log=logarithmic
    )
    x = np.linspace(low, high, 800)
    density = np.exp(-0.5 * (x / scale) ** 2) / (scale * math.sqrt(2 * math.pi))
    axes.plot(x, density, color=PALETTE[1], label="prior")
    if logarithmic:
        one_weight = 1.0 / (len(values) * (edges[1] - edges[0]))
        axes.set_ylim(0.5 * one_weight, 2.0 * max(float(np.max(heights)), float(density.max())))
    axes.yaxis.set_ticks([], minor=True)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


@styled
def code_shares(tables: Mapping[str, Sequence[tuple[str, float, float]]]) -> Figure:
    """Share of units per code, with Monte-Carlo errors, one panel per network.

    Args:
        tables: Per network, rows (code, fraction of units, its standard error).
    """
    rows, columns = grid_of(len(tables))
    most = max((len(table) for table in tables.values()), default=1)
    figure = new_figure(4.3 * columns, (0.9 + 0.22 * max(most, 3)) * rows)
    for axes, (label, table) in zip(
        figure.subplots(rows, columns, squeeze=False).ravel(), tables.items(), strict=False
    ):
        if not table:
            say(axes, label, "no codes")
            continue
        axes.set_title(label)
        axes.set_xlabel("share of units (%)")
        y = np.arange(len(table))
        values = 100 * np.array([row[1] for row in table])
        errors = 100 * np.array([row[2] for row in table])
        axes.barh(y, values, height=0.66, color=PALETTE[0])
        axes.errorbar(values, y, xerr=errors, fmt="none", ecolor=INK, elinewidth=1.0, capsize=2.5)
        axes.set_yticks(y, [row[0] for row in table], family="DejaVu Sans Mono")
        axes.set_ylim(max(most, 3) - 0.4, -0.6)
        axes.set_xlim(0, None)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color=GRAY, alpha=0.25, linewidth=0.5)
        axes.set_axisbelow(True)
    return figure
