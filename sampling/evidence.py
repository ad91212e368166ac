"""Averages over independent estimates of a normalizing constant, and their errors."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp


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
