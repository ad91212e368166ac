import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiddencodes.theory.linear import LinearSaddle, linear_saddle
from hiddencodes.theory.linear_action import expansion, linear_problem, overlap_ratio


def problem(n_train: int, n_inputs: int, n_outputs: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_train, n_inputs))
    return x @ x.T / n_inputs, rng.standard_normal((n_train, n_outputs))


@pytest.mark.parametrize("width", [None, 30, 7])
@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("n_temperature", [1e-3, 0.03, 2.0])
@pytest.mark.parametrize("n_inputs", [14, 6])
def test_equations_of_any_input_kernel_and_outputs(
    width: int | None, depth: int, n_temperature: float, n_inputs: int
) -> None:
    # With 9 patterns of 6 inputs the kernel is singular, and Yᵀ h(K_0) Y do not commute for different h.
    k_input, y = problem(9, n_inputs, 3)
    variance, inverse_width = 0.4, 0.0 if width is None else 1.0 / width
    saddle = linear_saddle(k_input, y, depth, variance, n_temperature=n_temperature, width=width)
    ratio = saddle.readout_overlap / variance
    np.testing.assert_allclose(
        saddle.output_overlap, variance * np.linalg.matrix_power(ratio, depth), rtol=1e-10
    )

    # One equation for all patterns and outputs at once: S = K_0 ⊗ Q + N T.
    spread = np.kron(k_input, saddle.output_overlap) + n_temperature * np.eye(27)
    inverse = np.linalg.inv(spread)
    np.testing.assert_allclose(
        saddle.multiplier.ravel(),
        inverse @ y.ravel(),
        rtol=0,
        atol=1e-9 * np.max(np.abs(inverse @ y.ravel())),
    )
    traced = np.einsum("pq,qipj->ij", k_input, inverse.reshape(9, 3, 9, 3))
    right = variance * (saddle.multiplier.T @ k_input @ saddle.multiplier - inverse_width * traced)
    root = np.linalg.inv(ratio)
    left = np.linalg.matrix_power(root, depth - 1) - np.linalg.matrix_power(root, depth)
    np.testing.assert_allclose(left, right, rtol=0, atol=1e-7 * np.max(np.abs(left)))

    # Kernels: what the layer above adds to K_(l-1), for a Gaussian of f given Q.
    prior = np.kron(k_input, saddle.output_overlap)
    mean = (y.ravel() - n_temperature * saddle.multiplier.ravel()).reshape(9, 3)
    covariance = (inverse_width * n_temperature * prior @ inverse).reshape(9, 3, 9, 3)
    below = k_input
    for layer, kernel in enumerate(saddle.kernels, start=1):
        strength = np.linalg.matrix_power(root, depth - layer + 1) / variance
        learned = mean @ strength @ mean.T + np.einsum("piqj,ij->pq", covariance, strength)
        expected = (1.0 - 3 * inverse_width) * below + learned
        np.testing.assert_allclose(kernel, expected, rtol=0, atol=1e-7 * np.max(np.abs(expected)))
        below = kernel


def test_one_layer_is_the_optimum_of_the_dual() -> None:
    # Over t, Σ t y - (N T/2)|t|² + ½ log|I - σ_a² tᵀ K_0 t|, the log of a Gaussian integral over one unit, is concave.
    k_input, y = problem(8, 12, 2)
    saddle = linear_saddle(k_input, y, 1, 0.3, n_temperature=0.2)
    inverse = np.eye(2) / 0.3 - saddle.multiplier.T @ k_input @ saddle.multiplier
    np.testing.assert_allclose(np.linalg.inv(inverse), saddle.readout_overlap, rtol=0, atol=1e-9)
    gradient = y - 0.2 * saddle.multiplier - k_input @ saddle.multiplier @ saddle.readout_overlap
    np.testing.assert_allclose(gradient, 0.0, rtol=0, atol=1e-9)


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("width", [None, 40])
def test_zero_temperature_is_the_limit(depth: int, width: int | None) -> None:
    k_input, y = problem(10, 20, 2)
    zero, first, second = (
        linear_saddle(k_input, y, depth, 0.2, n_temperature=n_temperature, width=width)
        for n_temperature in (0.0, 2e-5, 1e-5)
    )
    for name in LinearSaddle._fields:
        limit, at_first, at_second = (getattr(saddle, name) for saddle in (zero, first, second))
        # The approach is linear in N T: Richardson's combination leaves its square.
        gap = np.max(np.abs(at_first - limit))
        assert gap > 0.0
        assert np.max(np.abs(2.0 * at_second - at_first - limit)) < 1e-2 * gap + 1e-9


@given(seed=st.integers(0, 10**6), depth=st.integers(1, 4), n_temperature=st.sampled_from([0.0, 0.1]))
@settings(max_examples=15, deadline=None)
def test_rotated_outputs(seed: int, depth: int, n_temperature: float) -> None:
    k_input, y = problem(6, 9, 3, seed)
    rotation = np.linalg.qr(np.random.default_rng(seed + 1).standard_normal((3, 3)))[0]
    one = linear_saddle(k_input, y, depth, 0.5, n_temperature=n_temperature, width=50)
    other = linear_saddle(k_input, y @ rotation, depth, 0.5, n_temperature=n_temperature, width=50)
    scale = np.max(np.abs(one.readout_overlap))
    np.testing.assert_allclose(
        other.readout_overlap, rotation.T @ one.readout_overlap @ rotation, rtol=0, atol=1e-8 * scale
    )
    np.testing.assert_allclose(other.kernels, one.kernels, rtol=0, atol=1e-8 * np.max(np.abs(one.kernels)))


@pytest.mark.parametrize("width", [None, 20])
def test_a_repeated_pattern_is_one_pattern_of_half_the_noise(width: int | None) -> None:
    k_input, y = problem(5, 9, 2)
    single = linear_saddle(k_input, y, 2, 0.5, n_temperature=0.1, width=width)
    twice = np.tile(k_input, (2, 2))
    double = linear_saddle(twice, np.tile(y, (2, 1)), 2, 0.5, n_temperature=0.2, width=width)
    np.testing.assert_allclose(double.readout_overlap, single.readout_overlap, rtol=1e-9)
    np.testing.assert_allclose(double.kernels[:, :5, 5:], single.kernels, rtol=0, atol=1e-9)


def test_the_lower_of_two_minima_is_found() -> None:
    # Three layers at large N T: the prior and a learned solution are both stable, and exchange roles as N T grows.
    k_input, y = np.eye(1), np.full((1, 1), 4.0)
    overlaps = []
    for n_temperature in np.linspace(1.0, 8.0, 15):
        one = linear_problem(k_input, y, 3, 0.1, float(n_temperature), None)
        found = overlap_ratio(one)
        log_ratio = np.linspace(-0.1, 4.0, 20_001)
        spread = 0.1 * np.exp(3 * log_ratio) + n_temperature
        action = 3.0 * (np.exp(log_ratio) - log_ratio) + 16.0 / spread
        best = int(np.argmin(action))
        assert math.log(found.values[0]) == pytest.approx(log_ratio[best], abs=2.1e-4)
        assert expansion(one, found).value <= action[best] + 1e-12
        overlaps.append(found.values[0])
    assert max(np.abs(np.diff(np.log(overlaps)))) > 0.5


def test_width_enters_at_order_patterns_over_width() -> None:
    k_input, y = problem(10, 20, 2)
    limit = linear_saddle(k_input, y, 3, 0.2).readout_overlap
    errors = [
        np.max(np.abs(linear_saddle(k_input, y, 3, 0.2, width=n).readout_overlap - limit))
        for n in (2000, 4000)
    ]
    assert errors[0] / errors[1] == pytest.approx(2.0, abs=10 * 10 / 2000)
    # One output, by hand: r^(L+1) - (1 - P/N) r^L = g/σ_a².
    single = linear_saddle(np.eye(10), y[:, :1], 3, 0.2, width=15)
    ratio = single.readout_overlap[0, 0] / 0.2
    assert ratio**4 - (1.0 - 10 / 15) * ratio**3 == pytest.approx(np.sum(y[:, 0] ** 2) / 0.2, rel=1e-12)


def test_rank_deficient_targets_in_a_narrow_network() -> None:
    # One-hot targets less their mean have one output direction without a target: with N ≤ P its overlap vanishes with T.
    y = np.eye(3)[np.arange(9) % 3] - 1.0 / 3.0
    with pytest.raises(ValueError, match="width does not exceed the 9 patterns"):
        linear_saddle(np.eye(9), y, 2, 0.5, width=9)
    cold, colder = (
        linear_saddle(np.eye(9), y, 2, 0.5, n_temperature=n_temperature, width=9)
        for n_temperature in (1e-4, 1e-6)
    )
    smallest = [np.linalg.eigvalsh(saddle.readout_overlap)[0] for saddle in (cold, colder)]
    assert smallest[1] < 0.5 * smallest[0]
    np.testing.assert_allclose(colder.kernels, cold.kernels, rtol=0, atol=2e-2)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_temperature": -1.0}, r"n_temperature must be finite and non-negative, got -1\.0"),
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"depth": 0}, "depth must be at least 1, got 0"),
        ({"readout_variance": math.inf}, "readout_variance must be finite and positive, got inf"),
        ({"k_input": -np.eye(2), "n_temperature": 1.0}, "positive semidefinite, got the eigenvalue -1"),
        ({"k_input": np.triu(np.ones((2, 2))), "n_temperature": 1.0}, "k_input must be a symmetric matrix"),
    ],
)
def test_refuses_arguments(changed: dict[str, object], message: str) -> None:
    accepted = {"k_input": np.eye(2), "y": np.ones((2, 1)), "depth": 1, "readout_variance": 1.0}
    with pytest.raises(ValueError, match=message):
        linear_saddle(**{**accepted, **changed})  # pyright: ignore
