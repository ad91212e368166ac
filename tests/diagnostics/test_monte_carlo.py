import numpy as np
import pytest
from synthetic_run import autoregressive

from hiddencodes.diagnostics.monte_carlo import autocorrelation_time, chain_mean


def test_autocorrelation_time_of_an_autoregressive_series():
    rho, n = 0.8, 20_000
    x = autoregressive(np.random.default_rng(0), (1, 4, n), rho)[0]
    expected = (1 + rho) / (1 - rho)
    # Windowed estimators have relative variance about 2 (2 M + 1) / n with a window of some 10 tau.
    assert abs(autocorrelation_time(x).item() / expected - 1) < 5 * np.sqrt(2 * (20 * expected + 1) / (4 * n))


def test_error_covers_the_truth():
    """Standardized errors of the mean of AR(1) chains: their mean square is 1 up to the estimate of the error."""
    rng = np.random.default_rng(1)
    z = []
    for _ in range(200):
        result = chain_mean(autoregressive(rng, (1, 8, 400), 0.5)[0])
        z.append(result.mean.item() / result.within.item())
    # 200 squares of t-like numbers: standard deviation sqrt(2/200); tau is known to about 10 %.
    assert abs(np.mean(np.square(z)) - 1) < 5 * np.sqrt(2 / 200) + 0.1


def test_frozen_chains_have_the_error_between_chains():
    x = np.repeat(np.random.default_rng(0).standard_normal((5, 1)), 50, axis=1)
    result = chain_mean(x)
    assert result.within.item() == pytest.approx(0, abs=1e-15)
    np.testing.assert_allclose(result.error, x[:, 0].std(ddof=1) / np.sqrt(5))


def test_unknown_errors_are_nan():
    assert np.isnan(chain_mean(np.ones((1, 3))).error)
    assert chain_mean(np.ones((1, 4))).error.item() == 0
