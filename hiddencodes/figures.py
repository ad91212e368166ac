"""Figures of hidden layers: activations sorted by code, and kernels before and after learning."""

# pyright: reportUnknownMemberType=false
# matplotlib's methods take keyword arguments without types.

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure, SubFigure

from hiddencodes.diagnostics.codes import class_means, codes, run_rule
from hiddencodes.diagnostics.run_access import variable
from hiddencodes.drawing import (
    DIVERGING,
    RECTIFIED,
    SEQUENTIAL,
    activation_name,
    array,
    class_names,
    code_name,
    color_bar,
    grid_of,
    healthy_chains,
    mark_classes,
    new_figure,
    patterns_by_class,
    say,
    styled,
)

SATURATING = ("sigmoidal", "erf", "tanh", "hard_tanh", "clipped_relu")
MOST_ACTIVE = 9


def unit_order(
    phi: Float[np.ndarray, "unit pattern"],
    means: Float[np.ndarray, "unit class"],
    unit_codes: Bool[np.ndarray, "unit class"],
    activation: str,
) -> Int[np.ndarray, " unit"]:
    """The order in which units are drawn, top first.

    Saturating activations: by code, then by activity. Rectified ones: by sum over patterns of phi^2, largest first. Others:
    by the mean activity of the first class.

    Args:
        phi: Activations of a layer.
        means: Class means of the activations.
        unit_codes: Which classes activate a unit.
        activation: Name of the activation.

    Example:
        >>> phi = np.array([[0.0, 0.1], [2.0, 0.0], [0.0, 1.0]])
        >>> unit_order(phi, phi, phi > 1.0, "relu").tolist()
        [1, 2, 0]
    """
    if activation in RECTIFIED:
        return np.argsort(-(phi**2).sum(axis=1), kind="stable")
    if activation in SATURATING:
        return np.lexsort((-phi.mean(axis=1), *(~unit_codes.T[::-1])))
    return np.argsort(-means[:, 0], kind="stable")


@styled
def activations(runs: Mapping[str, xr.DataTree], *, seed: int = 0, layer: int = -1) -> Figure:
    """Activations at the last draw of one chain, units sorted by code, one panel per network.

    Args:
        runs: Runs by label. The first chain that stayed finite is shown.
        seed: Position of the seed.
        layer: Position of the hidden layer; the last one, which the readout reads, by default.
    """
    rows, columns = grid_of(len(runs))
    figure = new_figure(4.3 * columns, 3.5 * rows)
    panels = _panels(figure, rows, columns)
    for panel, (label, run) in zip(panels, runs.items(), strict=False):
        chains = healthy_chains(run, seed)
        if len(chains):
            _activation_panel(panel, label, run, seed, int(chains[0]), layer)
        else:
            say(panel.subplots(), label, "no chain stayed finite")
    return figure


def _panels(figure: Figure, rows: int, columns: int) -> list[SubFigure]:
    grid: Any = figure.subfigures(rows, columns, wspace=0.04, hspace=0.05, squeeze=False)
    return list(grid.ravel())


def _activation_panel(
    panel: SubFigure, label: str, run: xr.DataTree, seed: int, chain: int, layer: int
) -> None:
    activation = activation_name(run)
    labels, edges, patterns = patterns_by_class(run, seed)
    stored = variable(run, "final", "activations").isel(seed=seed, chain=chain, layer=layer)
    final = stored.transpose("unit", "pattern")
    phi = np.asarray(final.values, dtype=np.float64)[:, patterns]
    try:
        means = class_means(phi, labels)
        unit_codes = codes(means, run_rule(run))
    except ValueError:
        say(panel.subplots(), label, "codes undecided")
        return
    order = unit_order(phi, means, unit_codes, activation)
    sorted_phi = phi[order]
    norm, colors = _activation_scale(phi, activation)
    magnify = activation in RECTIFIED and len(phi) > 2 * MOST_ACTIVE
    axes = panel.subplots(2 if magnify else 1, 1, squeeze=False)[:, 0]
    for part, rows in zip(axes, [sorted_phi[:MOST_ACTIVE], sorted_phi][-len(axes) :], strict=True):
        part.imshow(rows, aspect="auto", interpolation="nearest", cmap=colors, norm=norm)
        mark_classes(part, edges, class_names(run))
        part.set_yticks([])
    axes[0].set_title(label)
    axes[-1].set_xlabel("training patterns, by class")
    axes[-1].set_ylabel(f"{len(phi)} units")
    if magnify:
        axes[0].set_ylabel(f"{MOST_ACTIVE} most active")
        axes[0].set_xticks([])
    elif activation in SATURATING:
        _mark_codes(axes[0], unit_codes[order])
    color_bar(panel, axes, "activation φ")


def _activation_scale(phi: Float[np.ndarray, "unit pattern"], activation: str) -> tuple[Normalize, str]:
    if activation in ("sigmoidal",):
        return Normalize(0.0, 1.0), SEQUENTIAL
    if phi.min() >= 0.0:
        # Outlier units are sqrt(N) times as active as the others: a root scale shows both.
        return PowerNorm(0.5, 0.0, max(float(phi.max()), 1e-12)), SEQUENTIAL
    limit = float(np.abs(phi).max())
    return Normalize(-limit, limit), DIVERGING


def _mark_codes(axes: Axes, codes: Bool[np.ndarray, "unit class"]) -> None:
    """Separate the codes of sorted units and name those that have room for a name, with their share of units."""
    names = [code_name(code) for code in codes]
    starts = [i for i in range(len(names)) if i == 0 or names[i] != names[i - 1]]
    ticks: list[float] = []
    texts: list[str] = []
    for start, end in zip(starts, [*starts[1:], len(names)], strict=True):
        if start:
            axes.axhline(start - 0.5, color="white", linewidth=0.9)
        if end - start >= 0.045 * len(names):
            ticks.append((start + end - 1) / 2)
            texts.append(f"{names[start]}  {100 * (end - start) / len(names):.0f}%")
    axes.set_yticks(ticks, texts, family="DejaVu Sans Mono", fontsize=7.5)
    axes.tick_params(axis="y", length=0)


@styled
def kernels(runs: Mapping[str, xr.DataTree], *, seed: int = 0, layer: int = -1) -> Figure:
    """Kernel of the feature layer before and after learning, one row per network, one color scale per row.

    Before: the prior's kernel at infinite width. After: the mean over chains of N^-1 sum_i phi_i(mu) phi_i(nu) at the last
    draw.

    Args:
        runs: Runs by label.
        seed: Position of the seed.
        layer: Position of the hidden layer.
    """
    rows, columns = grid_of(len(runs))
    figure = new_figure(4.6 * columns, 2.5 * rows)
    panels = _panels(figure, rows, columns)
    for panel, (label, run) in zip(panels, runs.items(), strict=False):
        axes = panel.subplots(1, 2)
        if not len(healthy_chains(run, seed)):
            say(axes[0], label, "no chain stayed finite")
            axes[1].set_axis_off()
            continue
        _, edges, order = patterns_by_class(run, seed)
        prior = array(run, "constant_data/prior_kernel")[seed, layer]
        pair = [k[np.ix_(order, order)] for k in (prior, learned_kernel(run, seed, layer))]
        # The diagonal is often far above the blocks, and says nothing about classes: the scale follows the blocks.
        off = np.concatenate([k[~np.eye(len(k), dtype=bool)] for k in pair])
        low, high = float(np.quantile(off, 0.002)), float(np.quantile(off, 0.998))
        limit = max(-low, high)
        norm = Normalize(-limit, limit) if low < 0 else Normalize(0.0, high)
        for part, kernel, when in zip(axes, pair, ("prior", "learned"), strict=True):
            part.imshow(kernel, norm=norm, cmap=DIVERGING if low < 0 else SEQUENTIAL, interpolation="nearest")
            mark_classes(part, edges, class_names(run), both=True)
            part.set_xlabel(when)
        axes[0].set_title(label)
        color_bar(panel, axes, "kernel", extend="max")
    return figure


def learned_kernel(run: xr.DataTree, seed: int = 0, layer: int = -1) -> Float[np.ndarray, "pattern pattern"]:
    """The kernel N^-1 sum_i phi_i(mu) phi_i(nu) at the last draw, averaged over the chains of a seed that stayed finite.

    Args:
        run: A run.
        seed: Position of the seed.
        layer: Position of the hidden layer.
    """
    stored = variable(run, "final", "activations").isel(seed=seed, layer=layer)
    final = stored.transpose("chain", "unit", "pattern")
    phi = np.asarray(final.values, dtype=np.float64)[healthy_chains(run, seed)]
    return np.einsum("cum,cun->mn", phi, phi) / (phi.shape[0] * phi.shape[1])
