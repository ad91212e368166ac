"""ArviZ's statistics of the chains of one scalar, with what they share computed once."""

from typing import Any, NamedTuple, cast

import numpy as np
from arviz_stats.base.array import array_stats
from jaxtyping import Float, Int
from scipy.special import ndtri  # pyright: ignore[reportMissingTypeStubs]
from scipy.stats import rankdata  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

_stats = cast("Any", array_stats)  # arviz_stats has no annotations

# ArviZ gives no number for fewer, and counts those of a half-chain where it is handed half-chains.
_LEAST_DRAWS = 4


class ChainStatistics(NamedTuple):
    """How well chains agree on a scalar (arXiv 1903.08008; nested R-hat: arXiv 2110.13017).

    Attributes:
        rhat: The larger one of the rank-normalized split R-hat and that of the distances to the median.
        nested_rhat: The same between superchains.
        ess_bulk: Effective sample size of the rank-normalized draws.
        ess_tail: The smaller one of those of the 5 % and the 95 % quantile.
        mcse_mean: Monte-Carlo standard error of the mean.
    """

    rhat: float
    nested_rhat: float
    ess_bulk: float
    ess_tail: float
    mcse_mean: float


def assess(values: Float[np.ndarray, "chain draw"], superchain: Int[np.ndarray, " chain"]) -> ChainStatistics:
    """ArviZ's numbers. Three of its five functions rank all draws anew, four fifths of the time; here they are ranked once.

    Args:
        values: Draws, at least 4 of at least 2 chains.
        superchain: Chains with equal numbers started from one point. For nested R-hat superchains are cut to the size of the smallest.

    >>> draws = np.random.default_rng(0).standard_normal((4, 500))
    >>> print(f"{assess(draws, np.arange(4)).rhat:.3f}")
    1.001
    """
    number = np.unique(superchain, return_inverse=True)[1]
    size = np.bincount(number).min()
    # Chains in the order of their superchains, and how many of its superchain come before each.
    order = np.argsort(number, kind="stable")
    before = np.arange(len(number)) - np.searchsorted(number[order], number[order])
    members = np.sort(order[before < size])
    ids = number[members]
    tail = lambda: _stats.ess(values, method="tail", prob=(0.05, 0.95))
    error = lambda: _stats.mcse(values, method="mean")
    # A chain that stands still among moving ones has no variance to divide by: its R-hat is rightly infinite.
    with np.errstate(divide="ignore", invalid="ignore"):
        if values.shape[1] < 2 * _LEAST_DRAWS:
            nested = _stats.rhat_nested(values[members], superchain_ids=ids)
            return _floats(_stats.rhat(values), nested, _stats.ess(values, method="bulk"), tail(), error())
        ranked = _normalized(values)
        of_members = ranked if len(members) == len(values) else _normalized(values[members])
        ids = np.tile(ids, 2)
        return _floats(
            # The maximum of a number and NaN is NaN.
            np.maximum(*(_stats.rhat(z, method="identity") for z in ranked)),
            np.maximum(*(_stats.rhat_nested(z, superchain_ids=ids, method="identity") for z in of_members)),
            _stats.ess(ranked[0], method="identity"),
            tail(),
            error(),
        )


def _floats(*values: Any) -> ChainStatistics:
    return ChainStatistics(*(float(value) for value in values))


def _normalized(values: Float[np.ndarray, "chain draw"]) -> tuple[np.ndarray, np.ndarray]:
    """Normal scores of half-chains and of their distances to the median."""
    half = values.shape[1] // 2
    halves = np.concatenate([values[:, :half], values[:, -half:]])
    return _normal_scores(halves), _normal_scores(np.abs(halves - np.median(halves)))


def _normal_scores(values: np.ndarray) -> np.ndarray:
    """Normal quantiles of the ranks by Blom's rule, ``(rank - 3/8) / (n + 1/4)``; ties share their mean rank."""
    ranks: np.ndarray = cast("Any", rankdata)(values, method="average", axis=None).reshape(values.shape)
    return ndtri((ranks - 0.375) / (values.size + 0.25))
