"""How discrete a population of numbers is: its best 2 or 3 levels against those of a Gaussian."""

import numpy as np
from jaxtyping import Float

# Fraction of a Gaussian's variance that its optimal k levels explain (2/pi for k = 2), k = 2, 3.
GAUSSIAN_EXPLAINED = np.array([2 / np.pi, 0.8098254])
# Finite samples explain more: E[1 - eta_k] = (1 - eta_k)(1 - b_k / N), with b_k = tr(H^-1 V) / (2 W) - 1 from the
# Hessian H of the k-means risk W and the covariance V of its gradient (the ratio's own corrections cancel).
OPTIMISM = np.array([2.7519, 7.2153])


def two_and_three_levels(values: Float[np.ndarray, "*batch unit"]) -> Float[np.ndarray, "*batch 2"]:
    """Share of the variance over units explained by the optimal two and three levels (exact 1-D k-means).

    In sorted order every optimal cluster is a run, so all split points (pairs of split points) are tried.

    Args:
        values: One number per unit, last axis.

    Returns:
        eta_2, eta_3; 1 where the values have no variance.

    Raises:
        ValueError: With fewer than 4 units.

    >>> two_and_three_levels(np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0]))
    array([1., 1.])
    """
    n = values.shape[-1]
    if n < 4:
        raise ValueError(f"values: {n} units, at least 4 are needed to look for three levels")
    x = np.sort(np.asarray(values, dtype=np.float64), axis=-1)
    x = x - x.mean(-1, keepdims=True)
    total = (x**2).sum(-1)
    sums = np.cumsum(x, axis=-1)[..., :-1]
    i = np.arange(1, n, dtype=np.float64)
    two = (sums**2 * (1 / i + 1 / (n - i))).max(-1)
    three = np.empty_like(two)
    gap = np.maximum(i[None, :] - i[:, None], 1)
    later = i[None, :] > i[:, None]
    for index in np.ndindex(two.shape):
        s = sums[index]
        middle = np.where(later, (s[None, :] - s[:, None]) ** 2 / gap, 0.0)
        outer = np.where(later, (s**2 / i)[:, None] + (s**2 / (n - i))[None, :], 0.0)
        three[index] = (middle + outer).max()
    explained = np.stack([two, np.maximum(three, two)], axis=-1)
    total = total[..., None]
    spread = total > n * _rounding(values)[..., None]
    return np.minimum(np.divide(explained, total, out=np.ones_like(explained), where=spread), 1.0)


def _rounding(values: Float[np.ndarray, "*batch unit"]) -> Float[np.ndarray, "*batch"]:
    """Variance below which values are constant: rounding leaves a variance of order eps^2."""
    return np.asarray((8 * np.finfo(np.float64).eps * np.abs(values).max(-1)) ** 2, dtype=np.float64)


def discreteness(values: Float[np.ndarray, "*batch unit"]) -> Float[np.ndarray, "*batch"]:
    """Excess of the variance explained by two or three levels over a Gaussian sample of the same size.

    delta = max_k (eta_k - eta_k^G) / (1 - eta_k^G), k = 2, 3, with eta_k^G the expectation for N Gaussian numbers.
    A Gaussian has delta = 0, a uniform distribution (eta_k = 1 - 1/k^2) delta = 0.41, any two- or three-valued
    distribution delta = 1.

    Args:
        values: One number per unit, last axis.

    Returns:
        delta, at most 1; slightly negative values occur for light-tailed samples.

    >>> float(discreteness(np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])))
    1.0
    >>> round(float(discreteness(np.linspace(0, 1, 2000))), 2)
    0.41
    """
    n = values.shape[-1]
    unexplained = (1 - GAUSSIAN_EXPLAINED) * np.maximum(1 - OPTIMISM / n, 1 / n)
    return np.asarray((1 - (1 - two_and_three_levels(values)) / unexplained).max(-1))


def discreteness_error(values: Float[np.ndarray, "*batch unit"]) -> Float[np.ndarray, "*batch"]:
    """Sampling error over units of `discreteness`, by the delta method.

    At the optimal levels 1 - eta = W/V moves to first order only through the units' squared distances d^2 to their
    level and x^2 to the mean: Var = Var_i[d_i^2 - (1 - eta) x_i^2] / (N V^2). The distances are those of the two
    levels; delta's error follows on division by 1 - eta^G.

    Args:
        values: One number per unit, last axis.

    Returns:
        Standard error of delta; 0 where the values have no variance.

    >>> float(discreteness_error(np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])))
    0.0
    """
    x = np.sort(np.asarray(values, dtype=np.float64), axis=-1)
    n = x.shape[-1]
    x = x - x.mean(-1, keepdims=True)
    i = np.arange(1, n, dtype=np.float64)
    sums = np.cumsum(x, axis=-1)[..., :-1]
    cut = 1 + np.asarray(np.argmax(sums**2 * (1 / i + 1 / (n - i)), axis=-1), dtype=np.int64)[..., None]
    left = np.arange(n, dtype=np.int64) < cut
    total = x.sum(-1, keepdims=True, where=left)
    level = np.where(left, total / cut, -total / (n - cut))
    distance = (x - level) ** 2
    variance = (x**2).mean(-1, keepdims=True)
    spread = variance > _rounding(values)[..., None]
    safe = np.where(spread, variance, 1.0)
    influence = (distance - distance.mean(-1, keepdims=True) / safe * x**2) / safe
    error = influence.std(-1) / np.sqrt(n) / (1 - GAUSSIAN_EXPLAINED[0])
    return np.asarray(np.where(spread[..., 0], error, 0.0))
