import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special
from statistics_of_chains import assert_mean, mean_and_error

import hiddencodes as hc
from hiddencodes.theory.kernel_blocks import kernel_class_blocks
from hiddencodes.theory.linear import linear_saddle, overlap_density, readout_overlap_exact
from hiddencodes.theory.linear_exact import deep_linear_exact, deep_linear_prediction
from hiddencodes.theory.linear_prediction import linear_prediction
from hiddencodes.theory.linear_recursion import OverlapRecursion


class Problem(NamedTuple):
    k_input: np.ndarray
    k_cross: np.ndarray
    k_test: np.ndarray
    y: np.ndarray


def problem(n_train: int, n_inputs: int, seed: int = 0, n_outputs: int = 1) -> Problem:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_train + 2, n_inputs))
    kernel = x @ x.T / n_inputs
    y = rng.standard_normal((n_train, n_outputs))
    return Problem(kernel[:n_train, :n_train], kernel[:n_train, n_train:], np.diagonal(kernel)[n_train:], y)


@pytest.mark.parametrize(("width", "n_train"), [(50, 40), (40, 60), (300, 20), (2000, 3), (3, 5)])
def test_one_layer_is_the_generalized_inverse_gaussian_law(width: int, n_train: int) -> None:
    k_input, y = np.eye(n_train), np.full((n_train, 1), 0.8)
    law = deep_linear_exact(k_input, y, 1, width, 0.1)
    expected = readout_overlap_exact(k_input, y, width, 0.1)
    assert law.readout_overlap == pytest.approx(expected.mean, rel=1e-12)
    assert law.readout_overlap_variance == pytest.approx(expected.variance, rel=1e-9)
    assert law.output_overlap == pytest.approx(expected.mean, rel=1e-12)


@given(
    depth=st.integers(1, 5),
    width=st.integers(3, 400),
    log_variance=st.floats(-7.0, 4.0),
    n_temperature=st.sampled_from([0.0, 1e-3, 0.5]),
)
@settings(max_examples=30, deadline=None)
def test_mean_obeys_the_exact_moment_identity(
    depth: int, width: int, log_variance: float, n_temperature: float
) -> None:
    # ∫ d/ds_l [joint density] = 0 for the log s_l of every factor: E q_l = 1 + (2/N) E d log p(y | Q_1)/d log Q_1.
    k_input, _, _, y = problem(6, 10)
    variance = math.exp(log_variance)
    law = deep_linear_exact(k_input, y, depth, width, variance, n_temperature=n_temperature)
    density = overlap_density(k_input, y, width, variance, n_temperature / width)
    recursion = OverlapRecursion(density, depth)
    signal = np.outer(recursion.output_overlap, density.eigenvalues)
    spread = signal + n_temperature
    pull = np.sum(signal * density.targets**2 / spread**2 - signal / spread / width, axis=1)
    assert law.readout_overlap / variance == pytest.approx(1.0 + recursion.posterior @ pull, rel=1e-11)


def test_two_layers_against_quadrature() -> None:
    # Of the two factors one is integrated over by adaptive quadrature, the other by a Bessel function: T = 0, and
    # ∫ dq_1 dq_2 (q_1 q_2)^ν q_2^k/(q_1 q_2) exp(-(N/2)(q_1 + q_2 + A/(σ_a² q_1 q_2))), ν = (N - P)/2.
    k_input, _, _, y = problem(4, 9)
    width, variance = 5, 0.7
    norm = float(np.sum(y * np.linalg.solve(k_input, y))) / variance
    order = 0.5 * (width - 4)

    def moment(power: float, power_below: float) -> float:
        """E q_2^power q_1^power_below up to a constant."""

        def integrand(q: float) -> float:
            inner_order = order + power_below
            root = math.sqrt(norm / q)
            inner = 2.0 * root**inner_order * special.kv(inner_order, width * root)
            return q ** (order + power - 1.0) * math.exp(-0.5 * width * q) * inner

        return float(integrate.quad(integrand, 0.0, math.inf, epsabs=0.0, epsrel=1e-12, limit=300)[0])

    total = moment(0.0, 0.0)
    law = deep_linear_exact(k_input, y, 2, width, variance)
    mean = moment(1.0, 0.0) / total
    assert law.readout_overlap == pytest.approx(variance * mean, rel=1e-9)
    assert law.readout_overlap_variance == pytest.approx(
        variance**2 * (moment(2.0, 0.0) / total - mean**2), rel=1e-8
    )
    assert law.output_overlap == pytest.approx(variance * moment(1.0, 1.0) / total, rel=1e-9)
    first = (1.0 - 1.0 / width) * k_input + moment(-1.0, -1.0) / total / variance * y @ y.T
    second = (1.0 - 1.0 / width) * first + moment(-1.0, 0.0) / total / variance * y @ y.T
    np.testing.assert_allclose(law.kernels, [first, second], rtol=1e-9)


@pytest.mark.parametrize(("depth", "n_train"), [(1, 3), (2, 3), (3, 2)])
def test_against_weighted_prior_networks(depth: int, n_train: int) -> None:
    """Whole networks drawn from the prior and weighted by the likelihood: no formula is shared with the code."""
    k_input, k_cross, k_test, y = problem(n_train, 5, seed=3)
    width, variance, n_temperature, draws = 4, 0.8, 1.2, 200_000
    rng = np.random.default_rng(7)
    everything = np.block([[k_input, k_cross], [k_cross.T, np.zeros((2, 2))]])
    everything[n_train:, n_train:] = np.diag(k_test)
    rows = problem_inputs(n_train, 5, seed=3)
    z = np.einsum("pi,din->dpn", rows, rng.standard_normal((draws, 5, width))) / math.sqrt(5)
    kernels = [np.einsum("dpn,dqn->dpq", z[:, :n_train], z[:, :n_train]) / width]
    for _ in range(depth - 1):
        z = np.einsum("dpn,dnk->dpk", z, rng.standard_normal((draws, width, width))) / math.sqrt(width)
        kernels.append(np.einsum("dpn,dqn->dpq", z[:, :n_train], z[:, :n_train]) / width)
    a = math.sqrt(variance) * rng.standard_normal((draws, width))
    f = np.einsum("dpn,dn->dp", z, a) / width
    residual = y[:, 0] - f[:, :n_train]
    log_weight = -0.5 * width / n_temperature * np.sum(residual**2, axis=1)
    weight = np.exp(log_weight - np.max(log_weight))
    weight /= np.sum(weight)
    assert 1.0 / np.sum(weight**2) > 2000

    law = deep_linear_exact(k_input, y, depth, width, variance, n_temperature=n_temperature)
    prediction = deep_linear_prediction(
        k_input, k_cross, k_test, y, depth, width, variance, n_temperature=n_temperature
    )
    overlap, test = np.sum(a**2, axis=1) / width, f[:, n_train:]
    checks = [
        (overlap, law.readout_overlap),
        ((overlap - law.readout_overlap) ** 2, law.readout_overlap_variance),
        (np.stack(kernels, axis=1), law.kernels),
        (residual / n_temperature, law.multiplier[:, 0]),
        (test, prediction.mean[:, 0]),
        ((test - prediction.mean[:, 0]) ** 2, prediction.variance[:, 0]),
    ]
    for sample, expected in checks:
        estimate = np.tensordot(weight, sample, axes=1)
        # Delta-method standard error of a self-normalized average, five of them.
        error = np.sqrt(np.tensordot(weight**2, np.square(sample - estimate), axes=1))
        assert np.all(np.abs(estimate - expected) < 5.0 * error)
    # The data move all of it: the comparison is not one of the prior with itself.
    assert law.readout_overlap > 1.1 * variance
    assert np.max(np.abs(law.kernels - k_input)) > 0.1


def problem_inputs(n_train: int, n_inputs: int, seed: int) -> np.ndarray:
    """The inputs of `problem`."""
    return np.random.default_rng(seed).standard_normal((n_train + 2, n_inputs))


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("n_temperature", [0.0, 0.3])
def test_saddle_is_the_limit_of_large_width(depth: int, n_temperature: float) -> None:
    k_input, k_cross, k_test, y = problem(24, 40)
    errors = []
    for width in (4000, 8000):
        law = deep_linear_exact(k_input, y, depth, width, 0.3, n_temperature=n_temperature)
        wide = linear_saddle(k_input, y, depth, 0.3, n_temperature=n_temperature, width=width)
        limit = linear_saddle(k_input, y, depth, 0.3, n_temperature=n_temperature)
        exact = deep_linear_prediction(
            k_input, k_cross, k_test, y, depth, width, 0.3, n_temperature=n_temperature
        )
        saddle = linear_prediction(
            k_input, k_cross, k_test, y, depth, width, 0.3, n_temperature=n_temperature
        )
        errors.append(
            [
                wide.readout_overlap[0, 0] - law.readout_overlap,
                limit.readout_overlap[0, 0] - law.readout_overlap,
                np.max(np.abs(wide.kernels - law.kernels)),
                np.max(np.abs(limit.kernels - law.kernels)),
                np.max(np.abs(wide.multiplier - law.multiplier)),
                width * np.max(np.abs(saddle.variance - exact.variance)),
            ]
        )
    # All are of order 1/N (P/N without the width): they halve, up to their own corrections.
    np.testing.assert_allclose(np.divide(*errors), 2.0, atol=0.05)
    # What the width corrects is most of it.
    assert np.all(np.abs(np.array(errors)[:, 2]) < 0.5 * np.abs(np.array(errors)[:, 3]))


@pytest.mark.parametrize("depth", [1, 3])
def test_mean_predictor_without_noise_is_the_lazy_one(depth: int) -> None:
    k_input, k_cross, k_test, y = problem(7, 12)
    lazy = hc.gaussian_process_regression(k_input, k_cross, k_test, y, 0.0, 2.0)
    saddle = linear_saddle(k_input, y, depth, 0.3, width=30)
    wide = linear_prediction(k_input, k_cross, k_test, y, depth, 30, 0.3)
    exact = deep_linear_prediction(k_input, k_cross, k_test, y, depth, 30, 0.3)
    law = deep_linear_exact(k_input, y, depth, 30, 0.3)
    for prediction, overlap in ((wide, saddle.output_overlap[0, 0]), (exact, law.output_overlap)):
        np.testing.assert_allclose(prediction.mean, lazy.mean, rtol=0, atol=1e-10)
        np.testing.assert_allclose(prediction.variance[:, 0] / lazy.variance, overlap / (30 * 2.0), rtol=1e-9)
        np.testing.assert_allclose(prediction.variance_of_mean, 0.0, rtol=0, atol=1e-20)


def test_variance_of_several_outputs_against_weighted_prior_overlaps() -> None:
    """Q of one hidden layer and two outputs is Wishart: prior draws weighted by N(vec Y; 0, K_0 ⊗ Q/N + T)."""
    k_input, _, _, y = problem(3, 6, seed=5, n_outputs=2)
    # Test patterns in the span of the training patterns, where the noise alone leaves the output free.
    combination = np.array([[2.0, 0.0, 0.0], [2.0, -1.0, 1.0]])
    k_cross, k_test = k_input @ combination.T, np.diagonal(combination @ k_input @ combination.T)
    y = 0.4 * y + np.array([1.5, 0.0])
    width, variance, n_temperature, draws = 200, 0.6, 1.0, 100_000
    # Drawn around the saddle; the weights make up for it, so that the saddle decides about the error only.
    center = linear_saddle(k_input, y, 1, variance, n_temperature=n_temperature, width=width).readout_overlap
    rng = np.random.default_rng(11)
    factor = np.zeros((draws, 2, 2))
    factor[:, 0, 0] = np.sqrt(rng.chisquare(width, draws))
    factor[:, 1, 1] = np.sqrt(rng.chisquare(width - 1, draws))
    factor[:, 1, 0] = rng.standard_normal(draws)
    factor = np.linalg.cholesky(center) @ factor / math.sqrt(width)
    overlap = factor @ factor.transpose(0, 2, 1)
    prior = np.einsum("pq,dij->dpiqj", k_input, overlap).reshape(draws, 6, 6)
    spread = prior + n_temperature * np.eye(6)
    solved = np.linalg.solve(spread, np.broadcast_to(y.reshape(6, 1), (draws, 6, 1)))[:, :, 0]
    log_weight = -0.5 * (width * solved @ y.ravel() + np.linalg.slogdet(spread)[1])
    tilt = np.eye(2) / variance - np.linalg.inv(center)
    log_weight -= 0.5 * width * np.einsum("ij,dji->d", tilt, overlap)
    weight = np.exp(log_weight - np.max(log_weight))
    weight /= np.sum(weight)
    assert 1.0 / np.sum(weight**2) > 500

    cross = np.einsum("px,dij->dpixj", k_cross, overlap).reshape(draws, 6, 4)
    mean = np.einsum("dkx,dk->dx", cross, solved)
    explained = np.einsum("dkx,dkx->dx", cross, np.linalg.solve(spread, cross))
    given = (np.einsum("x,djj->dxj", k_test, overlap).reshape(draws, 4) - explained) / width
    center = weight @ mean
    sample = given + (mean - center) ** 2
    estimate = weight @ sample
    error = np.sqrt(weight**2 @ (sample - estimate) ** 2)

    prediction = linear_prediction(
        k_input, k_cross, k_test, y, 1, width, variance, n_temperature=n_temperature
    )
    found = prediction.variance.ravel()
    # What is left out is of relative order 1/N, far less than what the fluctuations of Q contribute.
    assert np.min(prediction.variance_of_mean / prediction.variance) > 10.0 / width
    assert np.all(np.abs(estimate - found) < 5.0 * error + 2.0 / width * found)
    np.testing.assert_allclose(prediction.mean.ravel(), center, rtol=0, atol=1.0 / width)


def test_infinite_temperature_is_the_prior() -> None:
    k_input, k_cross, k_test, y = problem(4, 3)
    law = deep_linear_exact(k_input, y, 3, 12, 0.7, n_temperature=1e9)
    assert law.readout_overlap == pytest.approx(0.7, rel=1e-6)
    # Products of independent factors of mean 1 and variance 2/N.
    assert law.output_overlap_variance == pytest.approx(0.49 * ((1.0 + 2.0 / 12) ** 3 - 1.0), rel=1e-6)
    np.testing.assert_allclose(law.kernels, np.stack([k_input] * 3), rtol=0, atol=1e-6)
    prediction = deep_linear_prediction(k_input, k_cross, k_test, y, 3, 12, 0.7, n_temperature=1e9)
    np.testing.assert_allclose(prediction.variance[:, 0], 0.7 * k_test / 12, rtol=1e-6)


@pytest.mark.slow
def test_sampled_network_of_two_layers() -> None:
    task = hc.gaussian_clusters(n_train=6, n_inputs=8, n_test=3, fractions=(0.5, 0.5), single_output=True)
    mlp = hc.MLP(task.n_inputs, 1, 10, 2, hc.linear, hc.mean_field)
    posterior = hc.Posterior(mlp, task, prior=hc.GaussianPrior(0.3), n_temperature=0.05)
    run = hc.sample(posterior, chains=8, draws=1500, warmup=500, verbose=False)
    kernel = task.input_kernel()
    k_cross = task.x_train @ task.x_test.T / task.n_inputs
    k_test = np.sum(task.x_test**2, axis=1) / task.n_inputs
    law = deep_linear_exact(kernel, task.y_train, 2, 10, 0.3, n_temperature=0.05)
    prediction = deep_linear_prediction(kernel, k_cross, k_test, task.y_train, 2, 10, 0.3, n_temperature=0.05)
    blocks = kernel_class_blocks(law.kernels, task.labels_train)
    draws = {name: variable.values[0] for name, variable in run["posterior"].data_vars.items()}
    assert_mean(draws["readout_overlap"][..., 0, 0], law.readout_overlap)
    assert_mean(draws["kernel_blocks"], blocks.blocks)
    assert_mean(draws["kernel_diagonal"], blocks.diagonal)
    assert_mean(draws["residual_multiplier"], law.multiplier)
    assert_mean(draws["test_predictions"], prediction.mean)
    assert_mean((draws["test_predictions"] - prediction.mean) ** 2, prediction.variance)
    # Learned kernels are far from the prior's.
    prior = kernel_class_blocks(kernel, task.labels_train).blocks
    assert np.max(np.abs(blocks.blocks[1] - prior) / mean_and_error(draws["kernel_blocks"])[1][1]) > 20.0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"width": 2}, r"width must be at least 3 for the moments of 1/Q_l to exist, got 2"),
        ({"depth": 0}, "depth must be at least 1, got 0"),
        ({"y": np.ones((2, 2))}, r"one output for the exact law, got shape \(2, 2\)"),
        ({"k_input": np.ones((2, 2))}, "k_input .2 x 2. is singular"),
    ],
)
def test_refuses_arguments(changed: dict[str, object], message: str) -> None:
    accepted = {"k_input": np.eye(2), "y": np.ones((2, 1)), "depth": 2, "width": 5, "readout_variance": 1.0}
    with pytest.raises(ValueError, match=message):
        deep_linear_exact(**{**accepted, **changed})  # pyright: ignore


@pytest.mark.parametrize(
    ("k_cross", "k_test", "message"),
    [
        (np.ones((3, 1)), np.ones(1), r"k_cross must be .* got \(3, 1\) and \(1,\) for 2 patterns"),
        (np.ones((2, 2)), np.ones(1), r"k_cross must be .* got \(2, 2\) and \(1,\)"),
        (np.ones((2, 1)), -np.ones(1), r"k_test must be non-negative, got -1\.0"),
    ],
)
def test_refuses_test_kernels(k_cross: np.ndarray, k_test: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        linear_prediction(np.eye(2), k_cross, k_test, np.ones((2, 1)), 1, 10, 1.0)
