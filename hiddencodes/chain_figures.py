"""Trace and rank plots of what does not change when hidden units are permuted."""

# pyright: reportUnknownMemberType=false
# matplotlib's methods take keyword arguments without types.

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import rankdata  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from hiddencodes.diagnostics.run_access import dataset
from hiddencodes.drawing import (
    GRAY,
    PALETTE,
    array,
    class_names,
    healthy_chains,
    new_figure,
    say,
    styled,
    train_labels,
)

MAX_BINS = 20


class Series(NamedTuple):
    """One scalar along the chains of a seed.

    Attributes:
        name: What it is.
        values: One row per chain.
    """

    name: str
    values: Float[np.ndarray, "chain draw"]


def spread(values: Float[np.ndarray, "chain draw"]) -> float:
    """Variance of the chains' means over the mean variance within chains: large where chains disagree.

    Example:
        >>> spread(np.array([[0.0, 2.0], [4.0, 6.0]]))
        4.0
    """
    within = float(values.var(axis=1).mean())
    between = float(values.mean(axis=1).var())
    return between / within if within > 0 else float(between > 0)


def main_invariants(run: xr.DataTree, seed: int) -> list[Series]:
    """The series to look at first: of every family of invariants the member on which the chains agree least.

    Args:
        run: A run.
        seed: Position of the seed.
    """
    families: dict[str, list[Series]] = {}
    for family, series in _members(run, seed):
        families.setdefault(family, []).append(series)
    return [max(members, key=lambda m: spread(m.values)) for members in families.values()]


def _members(run: xr.DataTree, seed: int) -> Iterator[tuple[str, Series]]:
    names = class_names(run)
    finite = healthy_chains(run, seed)

    def values(name: str) -> np.ndarray:
        return array(run, f"posterior/{name}")[seed, finite]

    yield "loss", Series("training loss", values("train_loss"))
    blocks = values("kernel_blocks")
    for layer, c, d in np.ndindex(blocks.shape[2:]):
        if d <= c:
            which = f"within class {names[c]}" if c == d else f"classes {names[d]}, {names[c]}"
            series = Series(f"kernel, layer {layer + 1}\n{which}", blocks[:, :, layer, c, d])
            yield f"kernel {c == d}", series
    overlap = values("readout_overlap")
    for r in range(overlap.shape[-1]):
        yield "overlap", Series(f"readout overlap\nof output {r}", overlap[:, :, r, r])
    if "residual_multiplier" in dataset(run, "posterior"):
        t = values("residual_multiplier")
        labels = train_labels(run, seed)
        for c in np.unique(labels):
            for r in range(t.shape[-1]):
                title = f"residual multiplier\nclass {names[c]}, output {r}"
                yield "multiplier", Series(title, t[:, :, labels == c, r].mean(axis=-1))


@styled
def chains(run: xr.DataTree, *, seed: int = 0) -> Figure:
    """Traces and rank histograms of the main invariants of one seed, one color per chain.

    The ranks of a chain's draws among all draws are uniform if all chains sample the same distribution (rank plots:
    arXiv 1903.08008); the dashed line is that uniform count.

    Args:
        run: A run.
        seed: Position of the seed.
    """
    if not len(healthy_chains(run, seed)):
        figure = new_figure(8.6, 1.0)
        say(figure.subplots(), "", "no chain stayed finite")
        return figure
    series = main_invariants(run, seed)
    figure = new_figure(8.6, 0.3 + 1.15 * len(series))
    grid = figure.subplots(len(series), 2, width_ratios=[2.4, 1], squeeze=False)
    for i, (row, (name, values)) in enumerate(zip(grid, series, strict=True)):
        _trace(row[0], values, dataset(run, "posterior")["draw"].values.astype(np.float64))
        _ranks(row[1], values)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for axes in row:
            axes.tick_params(labelbottom=i == len(series) - 1)
    grid[0, 0].set_title("trace")
    grid[0, 1].set_title("ranks")
    grid[-1, 0].set_xlabel("draw")
    grid[-1, 1].set_xlabel("rank among all draws (%)")
    figure.align_ylabels(grid[:, 0].tolist())
    return figure


def _trace(axes: Axes, values: Float[np.ndarray, "chain draw"], draws: Float[np.ndarray, " draw"]) -> None:
    for c, chain in enumerate(values):
        axes.plot(draws, chain, color=PALETTE[c % len(PALETTE)], linewidth=0.7, alpha=0.85)
    axes.margins(x=0.01)
    axes.locator_params(axis="y", nbins=4)


def _ranks(axes: Axes, values: Float[np.ndarray, "chain draw"]) -> None:
    n_draws = values.shape[1]
    ranks: Float[np.ndarray, "chain draw"] = (
        100 * (rankdata(values).reshape(values.shape) - 0.5) / values.size
    )
    bins = min(MAX_BINS, max(2, n_draws // 5))
    edges = np.linspace(0.0, 100.0, bins + 1)
    chain: Float[np.ndarray, " draw"]
    for c, chain in enumerate(ranks):
        counts, _ = np.histogram(chain, edges)
        axes.stairs(counts, edges, color=PALETTE[c % len(PALETTE)], linewidth=1.1)
    axes.axhline(n_draws / bins, color=GRAY, linestyle="--", linewidth=0.8)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, None)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
