"""What the progress bar says of convergence while a run goes on: the worst R-hat so far, from sums alone."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

# Entries of an observable, and of all of them, that are watched; blocks of draws that are told apart.
_ENTRIES_OF_ONE, _ENTRIES, _BLOCKS = 8, 32, 16


class _Block(NamedTuple):
    """Draws of all chains, as sums (seed, chain, entry)."""

    n: int
    mean: np.ndarray
    squares: np.ndarray


def _joined(a: _Block, b: _Block) -> _Block:
    n = a.n + b.n
    shift = b.mean - a.mean
    return _Block(n, a.mean + shift * (b.n / n), a.squares + b.squares + shift**2 * (a.n * b.n / n))


class Monitor:
    """Moments of a few scalars along the chains, in memory that does not grow with the number of draws.

    Split R-hat of the two halves of every chain, as in Gelman et al., Bayesian Data Analysis, 3rd ed., section 11.4. ArviZ's
    rank-normalized R-hat in the report is what counts; this one is for watching.

    Example:
        >>> monitor = Monitor()
        >>> monitor.add({"x": np.random.default_rng(0).standard_normal((1, 4, 100))})
        >>> monitor.add({"x": np.random.default_rng(1).standard_normal((1, 4, 100))})
        >>> monitor.worst() < 1.1
        True
    """

    def __init__(self) -> None:  # noqa: D107
        self._blocks: list[_Block] = []

    def add(self, values: dict[str, np.ndarray]) -> None:
        """Add draws of observables, (seed, chain, draw, ...) each."""
        watched = [v.reshape(*v.shape[:3], -1)[..., :_ENTRIES_OF_ONE] for v in values.values() if v.shape[2]]
        if not watched:
            return
        x = np.concatenate([np.asarray(w, np.float64) for w in watched], axis=-1)[..., :_ENTRIES]
        # Chains that left the finite numbers are left out below.
        with np.errstate(invalid="ignore", over="ignore"):
            mean = x.mean(2)
            self._blocks.append(_Block(x.shape[2], mean, ((x - mean[:, :, None]) ** 2).sum(2)))
            if len(self._blocks) > _BLOCKS:
                pairs = zip(self._blocks[::2], self._blocks[1::2], strict=False)
                rest = self._blocks[len(self._blocks) // 2 * 2 :]
                self._blocks = [_joined(a, b) for a, b in pairs] + rest

    def worst(self) -> float:
        """The largest R-hat over seeds and entries, over the chains that are finite; NaN where nothing can be said."""
        total = sum(block.n for block in self._blocks)
        halves: list[_Block] = []
        rest = list(self._blocks)
        while rest and sum(b.n for b in halves) < total / 2:
            halves.append(rest.pop(0))
        if not halves or not rest:
            return float("nan")
        with np.errstate(invalid="ignore", over="ignore"):
            sides = [_sum(halves), _sum(rest)]
            found = [
                _r_hat(sides, seed, np.isfinite(sides[0].mean[seed] + sides[1].mean[seed]))
                for seed in range(len(sides[0].mean))
            ]
        finite = [value for value in found if np.isfinite(value)]
        return max(finite, default=float("nan"))


def _sum(blocks: list[_Block]) -> _Block:
    total = blocks[0]
    for block in blocks[1:]:
        total = _joined(total, block)
    return total


def _r_hat(sides: list[_Block], seed: int, finite: Bool[np.ndarray, "chain entry"]) -> float:
    """Largest split R-hat over entries: root of (W (n - 1) / n + B / n) / W."""
    chains = finite.any(axis=1)
    entries = finite[chains].all(axis=0)
    mean = np.concatenate([side.mean[seed][chains][:, entries] for side in sides])
    n = np.repeat([side.n for side in sides], int(chains.sum()))[:, None].astype(float)
    squares = np.concatenate([side.squares[seed][chains][:, entries] for side in sides])
    if mean.size == 0 or n.min() < 2:
        return float("nan")
    within = (squares / (n - 1)).mean(0)
    ratio = ((n - 1) / n).mean() + np.divide(
        mean.var(0, ddof=1), within, out=np.full_like(within, np.nan), where=within > 0
    )
    return float(np.sqrt(np.nanmax(ratio))) if np.isfinite(ratio).any() else float("nan")
