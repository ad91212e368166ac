"""Averages over independent estimates of a normalizing constant, and their errors."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import expit, logsumexp


class LogMean(NamedTuple):
    """The logarithm of an average, and its standard error.

    Attributes:
        value: log of the average.
        error: Standard error of the average over the average (delta method).
    """

    value: Float[np.ndarray, "*step"]
    error: Float[np.ndarray, "*step"]


def weights(log_z: Float[np.ndarray, "*step estimate"]) -> Float[np.ndarray, "*step estimate"]:
    """The estimates over their sum."""
    return np.exp(log_z - logsumexp(log_z, axis=-1, keepdims=True))


def log_mean(log_z: Float[np.ndarray, "*step estimate"]) -> LogMean:
    """log of the mean of M estimates of Z given as logarithms, with the delta-method error sd(Z) / (√M mean(Z)).

    Args:
        log_z: Logarithms of independent estimates.

    Example:
        >>> value, error = log_mean(np.log(np.array([1.0, 2.0, 3.0])))
        >>> bool(np.isclose(value, np.log(2.0))), bool(np.isclose(error, 1.0 / (3**0.5 * 2.0)))
        (True, True)
    """
    n = log_z.shape[-1]
    relative = n * weights(log_z)
    return LogMean(
        np.asarray(logsumexp(log_z, axis=-1) - np.log(n)),
        np.asarray(np.std(relative, axis=-1, ddof=1) / np.sqrt(n)),
    )


def log_ratio(
    log_z: Float[np.ndarray, "*step estimate"], log_z_0: Float[np.ndarray, "*step estimate"]
) -> LogMean:
    """log of the ratio of the means of Z and Z₀, estimated together: the error is that of mean(Z/⟨Z⟩ - Z₀/⟨Z₀⟩).

    Args:
        log_z: Logarithms of independent estimates of Z.
        log_z_0: Of Z₀, in the same order.

    Example:
        >>> one = np.log(np.array([1.0, 2.0, 3.0]))
        >>> value, error = log_ratio(one + 0.5, one)
        >>> round(float(value), 6), float(error) < 1e-12
        (0.5, True)
    """
    n = log_z.shape[-1]
    difference = n * (weights(log_z) - weights(log_z_0))
    return LogMean(
        np.asarray(log_mean(log_z).value - log_mean(log_z_0).value),
        np.asarray(np.std(difference, axis=-1, ddof=1) / np.sqrt(n)),
    )


def weighted_mean(
    values: Float[np.ndarray, "*step estimate"], log_z: Float[np.ndarray, "*step estimate"]
) -> tuple[Float[np.ndarray, "*step"], Float[np.ndarray, "*step"]]:
    """Σ_m Z_m v_m / Σ_m Z_m and the delta-method error of this ratio.

    Args:
        values: Averages v_m over the particles of population m.
        log_z: log Z_m.

    Example:
        >>> mean, error = weighted_mean(np.array([1.0, 3.0]), np.log(np.array([3.0, 1.0])))
        >>> round(float(mean), 6)
        1.5
    """
    n = log_z.shape[-1]
    w = weights(log_z)
    mean = np.asarray(np.sum(w * values, axis=-1))
    influence = n * w * (values - mean[..., None])
    return mean, np.asarray(np.std(influence, axis=-1, ddof=1) / np.sqrt(n))


def bennett(
    forward: Float[np.ndarray, "*pair draw"], backward: Float[np.ndarray, "*pair draw"]
) -> Float[np.ndarray, "*pair"]:
    """log Z₁/Z₀ by Bennett's acceptance ratio, from as many draws of either density.

    With u = log of the unnormalized density 1 over that of 0, the estimate r solves

        Σ_{draws of 0} 1/(1 + exp(r - u)) = Σ_{draws of 1} 1/(1 + exp(u - r)),

    which of all estimates of this kind has the least variance (Bennett, J. Comput. Phys. 22, 1976).

    Args:
        forward: u at draws of density 0.
        backward: u at draws of density 1.

    Example:
        >>> float(bennett(np.full(10, 0.7), np.full(10, 0.7)).round(6))
        0.7
    """
    # The left side falls with r and the right one rises. At the largest u every term on the left is at most 1/2 and on the
    # right at least 1/2, at the smallest u the other way round.
    both = np.stack([forward.min(-1), backward.min(-1), forward.max(-1), backward.max(-1)])
    low, high = both.min(0), both.max(0)
    for _ in range(200):
        middle = 0.5 * (low + high)
        r = middle[..., None]
        excess = np.sum(expit(forward - r), axis=-1) - np.sum(expit(r - backward), axis=-1)
        low, high = np.where(excess > 0.0, middle, low), np.where(excess > 0.0, high, middle)
        if np.all(high - low <= 1e-12 * (1.0 + np.abs(middle))):
            break
    return np.asarray(0.5 * (low + high))


class Ratios(NamedTuple):
    """Logarithms of normalizing constants along a ladder, relative to its first rung.

    Attributes:
        value: At every rung, from all chains.
        error: Standard error by the jackknife over chains.
        without: From all chains but one, (rung, chain).
    """

    value: Float[np.ndarray, " rung"]
    error: Float[np.ndarray, " rung"]
    without: Float[np.ndarray, "rung chain"]


def ladder_ratios(
    forward: Float[np.ndarray, "pair chain draw"], backward: Float[np.ndarray, "pair chain draw"]
) -> Ratios:
    """Bennett's ratios between neighbours, added up, with errors from leaving out one chain at a time.

    Args:
        forward: log of the density of rung k + 1 over that of rung k at draws of rung k.
        backward: The same at draws of rung k + 1.

    Example:
        >>> u = np.full((2, 3, 5), 0.5)
        >>> ladder_ratios(u, u).value.round(6)
        array([0. , 0.5, 1. ])
    """
    pairs, chains, _ = forward.shape

    def of(kept: list[int]) -> np.ndarray:
        f, b = (leaf[:, kept].reshape(pairs, -1) for leaf in (forward, backward))
        return np.concatenate([[0.0], np.cumsum(bennett(f, b))])

    everyone = list(range(chains))
    without = np.stack([of([c for c in everyone if c != left_out]) for left_out in everyone], axis=1)
    deviations = without - without.mean(axis=1, keepdims=True)
    error = np.sqrt((chains - 1) / chains * np.sum(deviations**2, axis=1))
    return Ratios(of(everyone), error, without)
