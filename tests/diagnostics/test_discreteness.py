import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiddencodes.diagnostics.discreteness import (
    GAUSSIAN_EXPLAINED,
    OPTIMISM,
    discreteness,
    discreteness_error,
    two_and_three_levels,
)


def brute_force(x: np.ndarray, k: int) -> float:
    """Best partition into at most k clusters, all assignments tried."""
    best = np.inf
    for assignment in itertools.product(range(k), repeat=len(x)):
        a = np.array(assignment)
        best = min(best, sum(((x[a == j] - x[a == j].mean()) ** 2).sum() for j in set(assignment)))
    return 1 - best / ((x - x.mean()) ** 2).sum()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_levels_are_the_optimal_clusters(seed):
    x = np.random.default_rng(seed).standard_normal(7)
    np.testing.assert_allclose(two_and_three_levels(x), [brute_force(x, 2), brute_force(x, 3)], rtol=1e-10)


def test_gaussian_reference_with_its_finite_size_correction():
    n, draws = 100, 2000
    explained = two_and_three_levels(np.random.default_rng(0).standard_normal((draws, n)))
    expected = 1 - (1 - GAUSSIAN_EXPLAINED) * (1 - OPTIMISM / n)
    # z = 5 standard errors, and the next order (b/N)^2 of the expansion.
    allowed = 5 * explained.std(0) / np.sqrt(draws) + (1 - GAUSSIAN_EXPLAINED) * (OPTIMISM / n) ** 2
    assert (np.abs(explained.mean(0) - expected) < allowed).all()


def test_closed_forms():
    grid = (np.arange(3000) + 0.5) / 3000
    assert discreteness(grid) == pytest.approx((8 / 9 - 0.8098254) / (1 - 0.8098254), abs=5e-3)
    assert discreteness(np.repeat([0.0, 1.0, 7.0], [5, 3, 9])) == pytest.approx(1.0)
    # Two Gaussian levels mu apart on either side: eta_2 = (E|x|)^2 / (1 + mu^2), here mu = Phi^-1(0.99).
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 2000)) + 2.3263 * np.where(np.arange(2000) % 2 == 0, 1, -1)
    values = discreteness(x)
    assert values.mean() == pytest.approx(0.585, abs=5 * values.std() / np.sqrt(20) + 2e-3)


def test_constant_values_are_discrete_and_certain():
    assert discreteness(np.full((2, 10), 0.3)).tolist() == [1.0, 1.0]
    assert discreteness_error(np.full(10, 0.3)).item() == 0.0


def test_error_is_the_spread_over_samples():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 400)) + 2.5 * rng.choice([-1, 1], (400, 400))
    predicted = discreteness_error(x).mean()
    observed = discreteness(x).std()
    # The standard deviation of 400 values is known to 1/sqrt(800); the delta method to O(N^-1/2).
    assert observed == pytest.approx(predicted, rel=5 / np.sqrt(800) + 1 / np.sqrt(400))


def test_too_few_units():
    with pytest.raises(ValueError, match="values: 3 units"):
        discreteness(np.zeros(3))
