"""Which coding scheme a population of hidden units is in: lazy, analog, redundant or sparse (arXiv 2406.16689)."""

import math
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from hiddencodes.diagnostics.scheme_statistics import (
    Statistic,
    discreteness_statistic,
    feature_learning_statistic,
    participation_statistic,
    significance_statistic,
    typical_signal_statistic,
)

Scheme = Literal["lazy", "analog", "redundant", "sparse"]


class SchemeDecision(NamedTuple):
    """The scheme and the numbers that decided it.

    Attributes:
        scheme: "lazy" unless feature_learning and significance are both above their thresholds; else "sparse" if
            participation and typical_signal are both below theirs; else "redundant" if discreteness is above its
            threshold; else "analog".
        feature_learning: lambda, change of the class-block kernel in units of the prior variance of a unit.
        significance: Likelihood-ratio statistic against units drawn from the prior.
        participation: Participation ratio over units of the learned signal e_i, over N.
        typical_signal: Median over mean of e_i, each less its value for prior units.
        discreteness: 0 for Gaussian class means, 1 for class means that sit on two or three levels.
    """

    scheme: Scheme
    feature_learning: Statistic
    significance: Statistic
    participation: Statistic
    typical_signal: Statistic
    discreteness: Statistic

    @property
    def sentence(self) -> str:
        """One line with the statistics and thresholds that were needed."""
        if self.scheme == "lazy" and self.feature_learning.relative > 0:
            learning, ratio = self.feature_learning, self.significance
            return (
                f"lazy: feature learning {learning.value:.2g} (threshold {learning.threshold:.2g}) is not significant, "
                f"likelihood ratio {ratio.value:.2g} (threshold {ratio.threshold:.2g}): "
                "too few units or chains to tell"
            )
        parts = [("feature learning", self.feature_learning)]
        if self.scheme != "lazy":
            parts.append(("participation", self.participation))
            parts.append(("typical signal", self.typical_signal))
        if self.scheme in ("analog", "redundant"):
            parts.append(("discreteness", self.discreteness))
        text = (f"{name} {s.value:.2g} (threshold {s.threshold:.2g})" for name, s in parts)
        return f"{self.scheme}: {', '.join(text)}"

    def to_dict(self) -> dict[str, object]:
        """JSON-able: numbers with their errors, thresholds and margins; None for what is not known."""
        result: dict[str, object] = {"scheme": self.scheme}
        for name in self._fields[1:]:
            s: Statistic = getattr(self, name)
            entries = {
                "value": s.value,
                "error": s.error,
                "threshold": s.threshold,
                "relative_margin": s.relative,
                "margin_in_standard_errors": s.standard_errors,
            }
            result[name] = {key: x if math.isfinite(x) else None for key, x in entries.items()}
        return result


def decide(
    feature_learning: Statistic,
    significance: Statistic,
    participation: Statistic,
    typical_signal: Statistic,
    discrete: Statistic,
) -> SchemeDecision:
    """Hold the statistics against their thresholds, in the order lazy, sparse, redundant, analog.

    >>> learned = Statistic(1.0, 0.1, 0.2), Statistic(900.0, 10.0, 40.0)
    >>> decide(*learned, Statistic(0.9, 0.1, 0.25), Statistic(1, 0.1, 0.15), Statistic(0.95, 0.01, 0.6)).scheme
    'redundant'
    """
    scheme: Scheme
    if not (feature_learning.relative > 0 and significance.relative > 0):
        scheme = "lazy"
    elif participation.value < participation.threshold and typical_signal.value < typical_signal.threshold:
        scheme = "sparse"
    elif discrete.value > discrete.threshold:
        scheme = "redundant"
    else:
        scheme = "analog"
    return SchemeDecision(scheme, feature_learning, significance, participation, typical_signal, discrete)


def classify_codes(
    class_means: Float[np.ndarray, "..."],
    prior_mean: Float[np.ndarray, "..."],
    prior_covariance: Float[np.ndarray, "..."],
    prior_variance: Float[np.ndarray, "..."],
    class_fractions: Float[np.ndarray, "..."],
    *,
    discreteness_draws: int = 16,
) -> SchemeDecision:
    """Decide the coding scheme of one layer from the class-mean activations m_ic of its units.

    With mu, Sigma the prior mean and covariance over units of the class means, v the prior variance of one
    activation (p-weighted over classes), p_c the class fractions and D = S - Sigma,
    S = N^-1 sum_i (m_i - mu)(m_i - mu)^T:

    1. Lazy unless lambda > 0.2, lambda^2 = (sum_cc' p_c p_c' D_cc'^2 - noise) / v^2, and the change is significant.
       Under the prior the sum has mean noise = [(tr A)^2 + tr A^2] / N, A = p^(1/2) Sigma p^(1/2); with several
       chains D_cc'^2 is the mean product of two chains' D, free of noise without a formula. Significant: with l_j
       the eigenvalues of Sigma^-1 S, S averaged over C chains, C N sum_(j: l_j > 1) (l_j - 1 - log l_j) exceeds 2.2
       times the 1e-4 point of chi^2 with K(K+1)/2 degrees of freedom, its law for Gaussian units if all l_j are
       summed; 2.2 allows for the heaviest tail, a rectified Gaussian's. Closed forms, orthogonal inputs: lazy linear
       units have lambda = (tr Y^T Y / P)^(1/2) / N; analog units at readout variance 1/P the same without 1/N, at
       least 1 for one-hot targets.
    2. Sparse if the learned signal e_i = sum_c p_c (m_ic - mu_c)^2 sits on few units,
       PR/N = (sum e)^2 / (N sum e^2) < 1/4, and the typical unit carries none of it, median(e)/mean(e) < 0.15
       (each less its value for prior units, so that what correlated inputs give every unit does not count).
       A Gaussian population along one direction has 1/3 and 0.455, equally strong codes 1 and 1; sparse
       populations have PR = O(number of codes) and a vanishing typical signal, whatever N.
    3. Redundant if the class means over units sit on levels: discreteness (see `discreteness`), averaged with
       weights p_c max(Var_i m_ic - Sigma_cc, 0), above 0.6 (uniform distribution 0.41; two Gaussian levels
       4.7 standard deviations apart 0.585; discrete levels 1); otherwise analog. Where the spread of no class exceeds a tenth of the learned signal,
       all units share one code, which counts as discrete.

    Everything is computed per draw and averaged (the S of step 1 per chain first). Errors: between chains or
    within (`chain_mean`), the larger; for a single chain, which may be frozen, at least the sampling error over the
    N units of its first draw, by the delta method.
    The result does not depend on the order of the units, and not on that of the classes.

    Args:
        class_means: (unit, class), (draw, unit, class) or (chain, draw, unit, class).
        prior_mean: mu, shape (class,).
        prior_covariance: Sigma, shape (class, class).
        prior_variance: Prior variance of an activation, averaged over each class's patterns, shape (class,).
        class_fractions: p, shape (class,), summing to 1.
        discreteness_draws: At most this many draws per chain, evenly spaced, enter the discreteness.

    Returns:
        `SchemeDecision`.

    Raises:
        ValueError: Naming the argument: wrong shapes, entries that are not finite, variances that are not
            positive, fractions that do not sum to 1, fewer than 4 units.

    >>> m = np.repeat([[0.95, 0.05], [0.05, 0.95]], 50, axis=0)
    >>> half, orthogonal = np.array([0.5, 0.5]), 0.105 / 30 * np.eye(2)
    >>> decision = classify_codes(m, half, orthogonal, np.array([0.105, 0.105]), half)
    >>> decision.scheme, round(decision.feature_learning.value, 2), decision.discreteness.value
    ('redundant', 1.91, 1.0)
    """
    m, mean, covariance, variance, fractions = _checked(
        class_means, prior_mean, prior_covariance, prior_variance, class_fractions
    )
    signal = m - mean
    feature_learning = feature_learning_statistic(signal, covariance, float(fractions @ variance), fractions)
    energy = (signal**2) @ fractions
    return decide(
        feature_learning,
        significance_statistic(signal, covariance, float(fractions @ variance)),
        participation_statistic(energy),
        typical_signal_statistic(energy, covariance, fractions),
        discreteness_statistic(m, mean, covariance, fractions, discreteness_draws),
    )


def _checked(
    class_means: Float[np.ndarray, "..."], *rest: Float[np.ndarray, "..."]
) -> tuple[
    Float[np.ndarray, "chain draw unit class"],
    Float[np.ndarray, " class"],
    Float[np.ndarray, "class class"],
    Float[np.ndarray, " class"],
    Float[np.ndarray, " class"],
]:
    names = ("class_means", "prior_mean", "prior_covariance", "prior_variance", "class_fractions")
    m, mean, covariance, variance, fractions = (
        np.asarray(array, dtype=np.float64) for array in (class_means, *rest)
    )
    if not 2 <= m.ndim <= 4 or 0 in m.shape or m.shape[-2] < 4:
        raise ValueError(
            f"class_means: shape {m.shape}, expected (unit, class) with leading (draw,) or (chain, draw), "
            "none empty and at least 4 units"
        )
    n = m.shape[-1]
    expected = ((n,), (n, n), (n,), (n,))
    for name, array, shape in zip(names[1:], (mean, covariance, variance, fractions), expected, strict=True):
        if array.shape != shape:
            raise ValueError(f"{name}: shape {array.shape}, expected {shape} for {n} classes in class_means")
    for name, array in zip(names, (m, mean, covariance, variance, fractions), strict=True):
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: {int((~np.isfinite(array)).sum())} entries are not finite")
    if (variance <= 0).any():
        raise ValueError(f"prior_variance: {variance.min()}, must be positive")
    if not np.allclose(covariance, covariance.T, rtol=1e-5, atol=1e-8) or (np.diag(covariance) < 0).any():
        raise ValueError(f"prior_covariance: {covariance.tolist()} is not a covariance matrix")
    if (fractions <= 0).any() or abs(fractions.sum() - 1) > 1e-6:
        raise ValueError(f"class_fractions: {fractions.tolist()}, must be positive and sum to 1")
    return m.reshape((1,) * (4 - m.ndim) + m.shape), mean, covariance, variance, fractions
