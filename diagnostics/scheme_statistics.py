"""The five statistics that decide the coding scheme, each with its error and its threshold."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import chdtri  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from hiddencodes.diagnostics.discreteness import discreteness, discreteness_error
from hiddencodes.diagnostics.monte_carlo import chain_mean

FEATURE_LEARNING = (
    0.2  # lambda; theory: O(1/N) lazy, (tr Y^T Y / P)^(1/2) >= 1 for linear units on orthogonal inputs
)
FALSE_ALARM = 1e-4  # probability that prior units alone exceed the significance threshold
HEAVIEST_TAIL = 2.2  # (2 + k) / 2 with k = 2.41, the excess kurtosis of a rectified Gaussian
PARTICIPATION = (
    1 / 4
)  # a signal shared equally by a fraction f of the units has f, a Gaussian one at least 1/3
TYPICAL_SIGNAL = 0.15  # a third of the 0.455 of a Gaussian population along one direction
DISCRETENESS = (
    0.6  # 0.41 uniform; 0.585 two Gaussian levels that tell a unit's level with 1 % errors; 1 discrete
)


class Statistic(NamedTuple):
    """A statistic, its standard error and the threshold it was held against."""

    value: float
    error: float
    threshold: float

    @property
    def relative(self) -> float:
        """(value - threshold) / threshold."""
        return (self.value - self.threshold) / self.threshold

    @property
    def standard_errors(self) -> float:
        """(value - threshold) / error; infinite for a vanishing error, NaN for an unknown one."""
        distance = self.value - self.threshold
        return math.copysign(math.inf, distance) if self.error == 0 else distance / self.error


def feature_learning_statistic(
    signal: Float[np.ndarray, "chain draw unit class"],
    covariance: Float[np.ndarray, "class class"],
    scale: float,
    fractions: Float[np.ndarray, " class"],
) -> Statistic:
    """lambda, with the noise of the prior taken off: step 1 of `classify_codes`."""
    n_chain, _, n_unit, _ = signal.shape
    root = np.sqrt(fractions)
    weighted = signal * root
    a = root[:, None] * covariance * root
    noise = (np.trace(a) ** 2 + np.trace(a @ a)) / n_unit
    change = np.swapaxes(weighted, -1, -2) @ weighted / n_unit - a
    per_draw = ((change**2).sum((-2, -1)) - noise) / scale**2
    if n_chain > 1:
        chains = change.mean(1)
        square = ((chains.sum(0) ** 2).sum() - (chains**2).sum()) / (n_chain * (n_chain - 1)) / scale**2
    else:
        square = per_draw.mean()
    d = change[0, 0]
    influence = 2 * (((weighted[0, 0] @ d) * weighted[0, 0]).sum(-1) - ((d + a) * d).sum()) / scale**2
    error = _error(per_draw, float(influence.std(ddof=1)) / math.sqrt(n_unit))
    value = math.sqrt(max(float(square), 0.0))
    return Statistic(value, error / (2 * value) if value > 0 else math.sqrt(error), FEATURE_LEARNING)


def significance_statistic(
    signal: Float[np.ndarray, "chain draw unit class"],
    covariance: Float[np.ndarray, "class class"],
    scale: float,
) -> Statistic:
    """Likelihood ratio of the second moment S against units drawn from the prior: step 1 of `classify_codes`."""
    n_chain, n_draw, n_unit, n_class = signal.shape
    # A prior without variance in some direction (one class, repeated patterns) gets a floor there.
    floor = 1e-6 * scale * np.eye(n_class)
    whiten = np.linalg.inv(np.linalg.cholesky(covariance + floor))
    z = signal @ whiten.T
    levels = np.linalg.eigvalsh(np.einsum("cdui,cduj->ij", z, z, optimize=True) / (n_chain * n_draw * n_unit))
    above = levels[levels > 1]
    value = n_chain * n_unit * float((above - 1 - np.log(above)).sum())
    threshold = HEAVIEST_TAIL * float(chdtri(n_class * (n_class + 1) / 2, FALSE_ALARM))
    # A chi^2 statistic far from its null hypothesis has standard deviation 2 sqrt(value).
    return Statistic(value, 2 * math.sqrt(value), threshold)


def participation_statistic(energy: Float[np.ndarray, "chain draw unit"]) -> Statistic:
    """Participation ratio of the learned signal over the number of units: step 2 of `classify_codes`."""
    mean, square = energy.mean(-1), (energy**2).mean(-1)
    ratio = np.divide(mean**2, square, out=np.ones_like(mean), where=square > 0)
    influence = (2 * energy * mean[..., None] - mean[..., None] ** 2 - ratio[..., None] * energy**2)[0, 0]
    over_units = float(influence.std(ddof=1) / square[0, 0]) if square[0, 0] > 0 else 0.0
    return _averaged(ratio, over_units, energy.shape[-1], PARTICIPATION)


def typical_signal_statistic(
    energy: Float[np.ndarray, "chain draw unit"],
    covariance: Float[np.ndarray, "class class"],
    fractions: Float[np.ndarray, " class"],
) -> Statistic:
    """Median over mean of the signal, both beyond what the inputs alone give: step 2 of `classify_codes`."""
    n = energy.shape[-1]
    inherited_mean, inherited_median = inherited_signal(covariance, fractions)
    mean = energy.mean(-1) - inherited_mean
    typical = np.median(energy, axis=-1) - inherited_median
    ratio = np.divide(typical, mean, out=np.ones_like(mean), where=mean > 0)
    # The order statistics at N/2 -+ sqrt(N)/2 bracket the median by one standard error, whatever the density.
    ordered = np.sort(energy[0, 0])
    low, high = (max(min(round(n / 2 + side * math.sqrt(n) / 2), n - 1), 0) for side in (-1, 1))
    over_units = (
        float((ordered[high] - ordered[low]) / 2 / mean[0, 0] * math.sqrt(n)) if mean[0, 0] > 0 else 0.0
    )
    return _averaged(ratio, over_units, n, TYPICAL_SIGNAL)


def inherited_signal(
    covariance: Float[np.ndarray, "class class"], fractions: Float[np.ndarray, " class"]
) -> tuple[float, float]:
    """Mean and median over prior units of e = sum_c p_c (m_c - mu_c)^2.

    e is a weighted sum of chi^2 variables with mean tr A and variance 2 tr A^2, A = p^(1/2) Sigma p^(1/2). Matched to one
    scaled chi^2 with k = (tr A)^2 / tr A^2 degrees of freedom, its median is tr A (1 - 2/(9k))^3 (Wilson and Hilferty).
    """
    root = np.sqrt(fractions)
    a = root[:, None] * covariance * root
    mean = float(np.trace(a))
    if mean <= 0.0:
        return 0.0, 0.0
    degrees = mean**2 / float(np.trace(a @ a))
    return mean, mean * (1.0 - 2.0 / (9.0 * degrees)) ** 3


def discreteness_statistic(
    m: Float[np.ndarray, "chain draw unit class"],
    mean: Float[np.ndarray, " class"],
    covariance: Float[np.ndarray, "class class"],
    fractions: Float[np.ndarray, " class"],
    draws: int,
) -> Statistic:
    """Discreteness over units, averaged over classes: step 3 of `classify_codes`."""
    n_draw, n_unit = m.shape[1:3]
    chosen = np.linspace(0, n_draw - 1, min(draws, n_draw), dtype=np.int64)
    m = np.swapaxes(m[:, chosen], -1, -2)
    weights = fractions * np.maximum(m.var(-1, ddof=1) - np.diag(covariance), 0.0)
    signal = ((m - mean[:, None]) ** 2).mean(-1) @ fractions - fractions @ np.diag(covariance)
    spread = weights.sum(-1)
    levels = discreteness(m)
    shared = spread <= 0.1 * signal
    delta = np.where(shared, 1.0, (weights * levels).sum(-1) / np.where(spread > 0, spread, 1.0))
    over_units = 0.0
    if not shared[0, 0] and spread[0, 0] > 0:
        # Classes see the same units, so their errors are added as if fully correlated.
        over_units = float(
            (weights[0, 0] * discreteness_error(m[0, 0])).sum() / spread[0, 0] * math.sqrt(n_unit)
        )
    return _averaged(delta, over_units, n_unit, DISCRETENESS)


def _averaged(
    series: Float[np.ndarray, "chain draw"], over_units: float, n_unit: int, threshold: float
) -> Statistic:
    return Statistic(float(series.mean()), _error(series, over_units / math.sqrt(n_unit)), threshold)


def _error(series: Float[np.ndarray, "chain draw"], over_units: float) -> float:
    """Error between chains or within; a single chain may be frozen, so the sampling error over units counts too."""
    error = float(chain_mean(series).error)
    return error if len(series) > 1 else float(np.fmax(error, over_units))
