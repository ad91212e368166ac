"""Derived tolerances: an estimate may differ from the truth by z standard errors, no more."""

import numpy as np
from arviz_stats.base import array_stats
from numpy.typing import ArrayLike, NDArray
from scipy import stats

# Two-sided 5.7e-7 per comparison if the standard error is known. The effective sample size is estimated, which makes
# tails heavier, so estimates must rest on many effective draws before they are compared (`MIN_ESS`).
Z = 5.0
MIN_ESS = 100.0


def mean_and_error(draws: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean over (chain, draw, ...), its standard error sd/sqrt(ESS), and the effective sample size."""
    x = np.asarray(draws, float)
    ess = np.asarray(array_stats.ess(x, chain_axis=0, draw_axis=1, method="mean"))
    return x.mean((0, 1)), x.std((0, 1)) / np.sqrt(ess), ess


def assert_mean(draws: ArrayLike, truth: ArrayLike, z: float = Z, min_ess: float = MIN_ESS) -> None:
    """The mean over (chain, draw, ...) agrees with the truth within z standard errors."""
    mean, error, ess = mean_and_error(draws)
    assert np.min(ess) > min_ess, f"too few effective draws to compare: {np.min(ess):.0f}"
    deviation = np.abs(mean - truth) / error
    worst = np.unravel_index(np.argmax(deviation), deviation.shape)
    text = f"{np.max(deviation):.2f} standard errors at {worst}: {mean[worst]:.6g} +- {error[worst]:.2g}"
    assert np.max(deviation) < z, f"{text} against {np.broadcast_to(truth, mean.shape)[worst]:.6g}"


def assert_means_agree(one: ArrayLike, other: ArrayLike, z: float = Z, min_ess: float = MIN_ESS) -> None:
    """The means of two independent runs agree within z standard errors of their difference."""
    mean1, error1, ess1 = mean_and_error(one)
    mean2, error2, ess2 = mean_and_error(other)
    assert min(np.min(ess1), np.min(ess2)) > min_ess, (np.min(ess1), np.min(ess2))
    deviation = np.abs(mean1 - mean2) / np.hypot(error1, error2)
    assert np.max(deviation) < z, f"{np.max(deviation):.2f} standard errors at {np.argmax(deviation)}"


def assert_estimate(value: float, error: float, n: int, truth: float, largest_error: float) -> None:
    """An estimate whose error comes from the spread of n independent ones agrees with the truth.

    Its z-score follows Student's law with n - 1 degrees of freedom: the bound is that of `Z` standard errors of a Gaussian.
    """
    assert 0.0 < error < largest_error, f"an error of {error:.2g} compares nothing"
    bound = stats.t.isf(stats.norm.sf(Z), n - 1)
    z = (value - truth) / error
    assert abs(z) < bound, (
        f"{z:.2f} standard errors (bound {bound:.1f}): {value:.6g} +- {error:.2g}, not {truth:.6g}"
    )
