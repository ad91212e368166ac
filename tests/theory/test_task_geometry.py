"""The mechanism of task geometry: closed forms, the flow of infinitely many units, and networks of finite width."""

import math

import jax
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

import hiddencodes as hc


@pytest.mark.parametrize(
    ("d", "relu", "tanh"),
    [(4, (0.905, 0.870, 0.5), (1, 0.577, 1)), (8, (0.898, 0.747, 0.5), (1, 0.378, 1))],
)
def test_rich_limits_have_their_closed_forms(d, relu, tanh):
    np.testing.assert_allclose(hc.rich_relu(d), relu, atol=5e-4)
    np.testing.assert_allclose(hc.rich_saturating(d), tanh, atol=5e-4)


def measured(kernel: np.ndarray, s: np.ndarray) -> tuple[float, ...]:
    d = len(s)
    return (
        float(hc.kernel_alignment(kernel, np.outer(s, s))),
        float(hc.kernel_alignment(kernel, np.eye(d))),
        float(hc.parallelism_score(kernel, s)),
    )


def labels(d: int) -> np.ndarray:
    return np.where(np.arange(d) < d // 2, 1.0, -1.0)


@pytest.mark.parametrize("d", [4, 6, 8])
def test_the_flow_of_relu_units_ends_in_the_rich_limit(d):
    kernel = hc.decoupled_flow(hc.relu, labels(d), initial_std=1e-3, growth=4.0)
    np.testing.assert_allclose(measured(kernel, labels(d)), hc.rich_relu(d), atol=1e-3)


@pytest.mark.parametrize("activation", [hc.tanh, hc.erf, hc.hard_tanh], ids=str)
def test_the_flow_of_saturating_units_ends_in_the_targets(activation):
    kernel = hc.decoupled_flow(activation, labels(4), initial_std=1e-3, growth=60.0, steps=20_000)
    np.testing.assert_allclose(measured(kernel, labels(4)), hc.rich_saturating(4), atol=2e-3)


def test_lazy_layers_stay_with_the_inputs_and_the_gap_closes():
    found = [
        measured(hc.decoupled_flow(a, labels(8), initial_std=2.0, growth=0.2), labels(8))
        for a in (hc.relu, hc.tanh)
    ]
    for target, inputs, parallelism in found:
        assert inputs > 0.97
        assert target < 0.55
        assert abs(parallelism) < 0.25
    rich = [hc.rich_relu(8).input_alignment, hc.rich_saturating(8).input_alignment]
    assert abs(found[0][1] - found[1][1]) < 0.1 * (rich[0] - rich[1])


@pytest.mark.parametrize("activation", [hc.relu, hc.tanh], ids=str)
def test_the_flow_is_that_of_a_wide_network(activation):
    # Squared loss at a small output: the error is the target, and the flow that of the theory.
    d, width, std = 4, 4000, 0.3
    s = labels(d)
    rng = np.random.default_rng(0)
    h = std * rng.standard_normal((width, d))
    sign = np.where(np.arange(width) % 2, 1.0, -1.0)
    slope = jax.jit(jax.vmap(jax.vmap(jax.grad(activation))))
    h = jax.numpy.asarray(h)
    push = jax.numpy.asarray(2e-3 * sign[:, None] * s)
    for _ in range(1500):
        h = h + push * slope(h)
    phi = np.asarray(activation(h))
    kernel = hc.decoupled_flow(activation, s, initial_std=std, growth=3.0, nodes=400)
    error = 4 * phi.std() ** 2 / np.sqrt(width)
    np.testing.assert_allclose(phi.T @ phi / width, kernel, atol=5 * error)


@pytest.mark.parametrize("activation", [hc.relu, hc.tanh, hc.shifted_relu(0.5)], ids=str)
@pytest.mark.parametrize("noise", [0.0, 0.7])
def test_the_expected_gradient_is_the_mean_gradient_of_a_unit(activation, noise):
    task = hc.xor_conditions(0.5, 6, noise=noise)
    s, rng = task.targets[:, 0], np.random.default_rng(1)
    w = rng.standard_normal(6)
    n = 200_000 if noise else 1
    x = task.means[:, None, :] + noise * rng.standard_normal((4, n, 6))
    h = x @ w
    slopes = np.asarray(jax.vmap(jax.grad(activation))(h.ravel())).reshape(h.shape)
    found = hc.expected_gradient(w, task.means, s, activation, noise=noise, sign=-1.0)
    each = -np.einsum("c,cn,cni->ni", s, slopes, x) / 8
    by_hand, error = each.mean(0), each.std(0) / np.sqrt(n)
    np.testing.assert_allclose(found, by_hand, rtol=0, atol=1e-12 + 5 * np.max(error))


def test_relu_smoothed_by_noise_is_the_error_function():
    m = np.linspace(-2, 2, 9)
    expected = [0.5 * (1 + math.erf(x / (math.sqrt(2) * 0.8))) for x in m]
    np.testing.assert_allclose(hc.smoothed_gate(hc.relu, m, 0.8).slope, expected, atol=1e-12)
    np.testing.assert_array_equal(hc.smoothed_gate(hc.hard_tanh, [-2.0, 0.0, 2.0], 0.0).slope, [0, 1, 0])


@pytest.mark.parametrize("std", [0.1, 1.0, 3.0, 10.0, 50.0])
@pytest.mark.parametrize("mean", [0.0, 1.3])
def test_the_smoothed_gate_of_tanh_is_its_integral(mean, std):
    def integral(f):
        # Where the slope is: tanh' is nothing beyond 20.
        low, high = max(-20.0, mean - 12 * std), min(20.0, mean + 12 * std)
        return quad(
            lambda h: f(h) * norm.pdf(h, mean, std), low, high, limit=500, epsabs=1e-13, points=[0.0, mean]
        )[0]

    found = hc.smoothed_gate(hc.tanh, mean, std)
    assert float(found.slope) == pytest.approx(integral(lambda h: math.cosh(h) ** -2), abs=1e-9)
    assert float(found.change) == pytest.approx(
        integral(lambda h: -2 * math.tanh(h) / math.cosh(h) ** 2), abs=1e-9
    )


def test_plain_exclusive_or_gives_odd_units_no_gradient_and_relu_units_some():
    task = hc.xor_conditions(0.0, 6)
    w = np.random.default_rng(0).standard_normal((5, 6))
    s = task.targets[:, 0]
    np.testing.assert_allclose(hc.expected_gradient(w, task.means, s, hc.tanh), 0, atol=1e-15)
    assert np.min(np.linalg.norm(hc.expected_gradient(w, task.means, s, hc.relu), axis=1)) > 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hc.rich_relu(5), "n_conditions: expected an even number from 4, got 5"),
        (lambda: hc.decoupled_flow(hc.relu, [1, 0], initial_std=1.0, growth=1.0), "labels: expected"),
        (lambda: hc.decoupled_flow(hc.relu, [1, -1], initial_std=0.0, growth=1.0), "initial_std"),
    ],
)
def test_what_the_theory_is_not_about_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
