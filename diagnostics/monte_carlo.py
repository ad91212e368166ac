"""Means of Markov-chain series with errors that stay honest when chains freeze."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class ChainMean(NamedTuple):
    """Mean of a series over chains and draws, and its standard error two ways.

    Attributes:
        mean: Mean over chains and draws, shape (...).
        error: The larger of the two errors below; NaN where neither can be had.
        within: sqrt(W tau / (C D)) from the autocorrelation time tau inside the chains; NaN below 4 draws.
        between: Standard deviation of the C chain means over sqrt(C); NaN for one chain.
    """

    mean: Float[np.ndarray, "..."]
    error: Float[np.ndarray, "..."]
    within: Float[np.ndarray, "..."]
    between: Float[np.ndarray, "..."]


def autocorrelation_time(series: Float[np.ndarray, "*batch chain draw"]) -> Float[np.ndarray, "*batch"]:
    """Integrated autocorrelation time, pooled over chains and centered within each.

    tau = -1 + 2 sum_k (rho_2k + rho_2k+1), the sum stopped before its first non-positive pair (Geyer's initial
    positive sequence), and at least 1. A series without variance has tau = 1.

    Args:
        series: Draws, last axis; chains, last but one.

    Returns:
        tau in units of the spacing of the draws.

    >>> autocorrelation_time(np.array([[0.0, 1.0, 0.0, 1.0, 0.0, 1.0]]))
    array(1.)
    """
    covariance = autocovariance(series).mean(-2)
    variance = covariance[..., 0]
    lags, kept = np.arange(int(covariance.shape[-1])), 2 * positive_pairs(covariance)[..., None]
    ratio = np.divide(
        np.where(lags < kept, covariance, 0.0).sum(-1),
        variance,
        out=np.ones_like(variance),
        where=variance > 0,
    )
    return np.asarray(np.maximum(2 * ratio - 1, 1.0))


def autocovariance(series: Float[np.ndarray, "*batch draw"]) -> Float[np.ndarray, "*batch lag"]:
    """Autocovariance at all lags, centered in the series: (1/n) sum_s (x_s - m)(x_{s+k} - m), k = 0..n-1.

    Args:
        series: Draws, last axis.

    Returns:
        Lags, last axis.

    >>> autocovariance(np.array([1.0, -1.0, 1.0, -1.0])).round(6)
    array([ 1.  , -0.75,  0.5 , -0.25])
    """
    n = series.shape[-1]
    centered = series - series.mean(-1, keepdims=True)
    spectrum = np.fft.rfft(centered, 2 * n, axis=-1)
    return np.fft.irfft(np.abs(spectrum) ** 2, 2 * n, axis=-1)[..., :n] / n


def positive_pairs(covariance: Float[np.ndarray, "*batch lag"]) -> Int[np.ndarray, "*batch"]:
    """Geyer's initial positive sequence: how many pairs of lags (0, 1), (2, 3), ... precede the first pair whose
    autocovariances do not add up to more than zero. The autocorrelation time is summed over these.

    Args:
        covariance: Autocovariances at lags 0, 1, ...

    Returns:
        Number of pairs kept.

    >>> int(positive_pairs(np.array([1.0, 0.5, 0.25, 0.125, -0.1, 0.0])))
    2
    """
    n = covariance.shape[-1]
    pairs = covariance[..., : n // 2 * 2].reshape(*covariance.shape[:-1], n // 2, 2).sum(-1)
    return np.asarray(np.cumprod(pairs > 0, axis=-1).sum(-1))


def chain_mean(series: Float[np.ndarray, "*batch chain draw"]) -> ChainMean:
    """Mean over chains and draws with its standard error.

    A frozen chain has no within-chain error, and slow drift makes the within-chain error too small; the spread
    between independent chains knows about both, so the larger of the two errors is reported.

    Args:
        series: Draws, last axis; chains, last but one.

    Returns:
        `ChainMean` of arrays of shape `batch`.

    >>> frozen = np.repeat([[0.2], [0.4]], 100, axis=1)
    >>> result = chain_mean(frozen)
    >>> round(float(result.mean), 3), round(float(result.within), 3), round(float(result.error), 3)
    (0.3, 0.0, 0.1)
    """
    series = np.asarray(series, dtype=np.float64)
    n_chain, n_draw = series.shape[-2:]
    mean = np.asarray(series.mean((-2, -1)))
    within, between = np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    if n_draw >= 4:
        variance = series.var(-1, ddof=1).mean(-1)
        within = np.asarray(np.sqrt(variance * autocorrelation_time(series) / (n_chain * n_draw)))
    if n_chain >= 2:
        between = np.asarray(series.mean(-1).std(-1, ddof=1) / np.sqrt(n_chain))
    return ChainMean(mean, np.asarray(np.fmax(within, between)), within, between)
