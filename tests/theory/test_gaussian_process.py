import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hiddencodes.models.activations import linear, relu, sigmoidal
from hiddencodes.models.nngp import nngp_kernels
from hiddencodes.tasks.task import Task
from hiddencodes.theory.gaussian_process import gaussian_process_regression, lazy_prediction, log_evidence
from hiddencodes.theory.positive_definite import cholesky_factor, solve_factored

N_TRAIN, N_TEST = 7, 4


@pytest.fixture(scope="module")
def kernel() -> np.ndarray:
    x = np.random.default_rng(0).standard_normal((N_TRAIN + N_TEST, 20))
    return x @ x.T / 20


@pytest.fixture(scope="module")
def y() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((N_TRAIN, 2))


def regression(
    kernel: np.ndarray, y: np.ndarray, temperature: float, readout_variance: float
) -> tuple[np.ndarray, np.ndarray]:
    prediction = gaussian_process_regression(
        kernel[:N_TRAIN, :N_TRAIN],
        kernel[:N_TRAIN, N_TRAIN:],
        kernel[N_TRAIN:, N_TRAIN:],
        y,
        temperature,
        readout_variance,
    )
    return prediction.mean, prediction.variance


@pytest.mark.parametrize("temperature", [0.0, 1e-3, 0.7])
def test_dense_inverse(kernel: np.ndarray, y: np.ndarray, temperature: float) -> None:
    readout_variance = 1.7
    mean, covariance = regression(kernel, y, temperature, readout_variance)
    inverse = np.linalg.inv(kernel[:N_TRAIN, :N_TRAIN] + temperature / readout_variance * np.eye(N_TRAIN))
    cross = kernel[:N_TRAIN, N_TRAIN:]
    np.testing.assert_allclose(mean, cross.T @ inverse @ y, rtol=1e-9)
    explained = cross.T @ inverse @ cross
    np.testing.assert_allclose(
        covariance, readout_variance * (kernel[N_TRAIN:, N_TRAIN:] - explained), atol=1e-12
    )


def test_conditional_of_the_joint_gaussian(kernel: np.ndarray, y: np.ndarray) -> None:
    # The precision matrix of (y, f*) holds the conditional law of f*: covariance Λ_**⁻¹, mean -Λ_**⁻¹ Λ_*y y.
    temperature, readout_variance = 0.3, 2.0
    joint = readout_variance * kernel
    joint[:N_TRAIN, :N_TRAIN] += temperature * np.eye(N_TRAIN)
    precision = np.linalg.inv(joint)
    expected_covariance = np.linalg.inv(precision[N_TRAIN:, N_TRAIN:])
    mean, covariance = regression(kernel, y, temperature, readout_variance)
    np.testing.assert_allclose(covariance, expected_covariance, rtol=0, atol=1e-11)
    np.testing.assert_allclose(
        mean, -expected_covariance @ precision[N_TRAIN:, :N_TRAIN] @ y, rtol=0, atol=1e-11
    )


def test_the_diagonal_suffices(kernel: np.ndarray, y: np.ndarray) -> None:
    _, covariance = regression(kernel, y, 0.1, 1.3)
    prediction = gaussian_process_regression(
        kernel[:N_TRAIN, :N_TRAIN], kernel[:N_TRAIN, N_TRAIN:], np.diagonal(kernel)[N_TRAIN:], y, 0.1, 1.3
    )
    np.testing.assert_allclose(prediction.variance, np.diagonal(covariance))


def test_zero_temperature_interpolates(kernel: np.ndarray, y: np.ndarray) -> None:
    train = kernel[:N_TRAIN, :N_TRAIN]
    mean, variance = gaussian_process_regression(train, train, np.diagonal(train), y, temperature=0.0)
    np.testing.assert_allclose(mean, y, rtol=0, atol=1e-12)
    np.testing.assert_allclose(variance, 0.0, rtol=0, atol=1e-12)


@given(st.floats(1e-3, 10.0), st.floats(0.1, 10.0), st.floats(0.1, 10.0))
@settings(max_examples=20, deadline=None)
def test_only_the_ratio_of_temperature_and_readout_variance_moves_the_mean(
    temperature: float, readout_variance: float, factor: float
) -> None:
    x = np.random.default_rng(2).standard_normal((N_TRAIN + N_TEST, 5))
    kernel, y = x @ x.T / 5, x[:N_TRAIN, :1]
    mean, covariance = regression(kernel, y, temperature, readout_variance)
    scaled_mean, scaled_covariance = regression(kernel, y, factor * temperature, factor * readout_variance)
    np.testing.assert_allclose(scaled_mean, mean, rtol=0, atol=1e-10)
    np.testing.assert_allclose(scaled_covariance, factor * covariance, rtol=0, atol=1e-9)


@pytest.mark.parametrize("temperature", [0.0, 0.2])
def test_log_evidence(kernel: np.ndarray, y: np.ndarray, temperature: float) -> None:
    train = kernel[:N_TRAIN, :N_TRAIN]
    law = stats.multivariate_normal(np.zeros(N_TRAIN), 1.7 * train + temperature * np.eye(N_TRAIN))
    expected = sum(float(law.logpdf(column)) for column in y.T)
    assert log_evidence(train, y, temperature, 1.7) == pytest.approx(expected, rel=1e-10)


def test_evidence_of_one_more_target_is_its_predictive_density(kernel: np.ndarray) -> None:
    y = np.random.default_rng(4).standard_normal((N_TRAIN + 1, 1))
    size, temperature = N_TRAIN + 1, 0.1
    mean, variance = gaussian_process_regression(
        kernel[:N_TRAIN, :N_TRAIN],
        kernel[:N_TRAIN, N_TRAIN:size],
        np.diagonal(kernel)[N_TRAIN:size],
        y[:-1],
        temperature,
    )
    gain = log_evidence(kernel[:size, :size], y, temperature) - log_evidence(
        kernel[:N_TRAIN, :N_TRAIN], y[:-1], temperature
    )
    law = stats.norm(mean[0, 0], math.sqrt(variance[0] + temperature))
    assert gain == pytest.approx(float(law.logpdf(y[-1, 0])), rel=1e-9)


def make_task(n_test: int) -> Task:
    rng = np.random.default_rng(6)
    labels = np.array([0, 1, 0, 1, 1])
    return Task(
        rng.standard_normal((5, 8)),
        np.where(labels[:, None] == np.arange(2), 1.0, -0.5),
        labels,
        rng.standard_normal((n_test, 8)),
        np.zeros((n_test, 2)),
        np.zeros(n_test, dtype=int),
        ("a", "b"),
        '{"generator": "by hand"}',
    )


def test_lazy_linear_network_is_ridge_regression() -> None:
    # At depth one f = w.x/√N0 with w ~ N(0, σ_a² σ_w²): the maximum of the posterior is the ridge solution.
    task = make_task(3)
    prediction = lazy_prediction(task, linear, 1, temperature=0.05, weight_variance=1.5, readout_variance=0.8)
    x = task.x_train / math.sqrt(task.n_inputs)
    precision = x.T @ x / 0.05 + np.eye(task.n_inputs) / (1.5 * 0.8)
    weights = np.linalg.solve(precision, x.T @ task.y_train / 0.05)
    x_test = task.x_test / math.sqrt(task.n_inputs)
    np.testing.assert_allclose(prediction.mean_train, x @ weights, rtol=0, atol=1e-12)
    np.testing.assert_allclose(prediction.mean_test, x_test @ weights, rtol=0, atol=1e-12)
    variance = np.sum(x_test * np.linalg.solve(precision, x_test.T).T, axis=1)
    np.testing.assert_allclose(prediction.variance_test, variance, rtol=0, atol=1e-12)


def test_lazy_network_of_two_layers() -> None:
    task = make_task(2)
    prediction = lazy_prediction(task, relu, 2, temperature=0.01, weight_variance=2.0, bias_variance=0.1)
    x = np.concatenate([task.x_train, task.x_test])
    kernel = nngp_kernels(relu, x @ x.T / 8, 2, weight_variance=2.0, bias_variance=0.1).postactivation[1]
    mean, variance = gaussian_process_regression(
        kernel[:5, :5], kernel[:5, 5:], np.diagonal(kernel)[5:], task.y_train, 0.01
    )
    np.testing.assert_allclose(prediction.mean_test, mean)
    np.testing.assert_allclose(prediction.variance_test, variance)
    assert prediction.log_evidence == log_evidence(kernel[:5, :5], task.y_train, 0.01)


def test_no_test_set() -> None:
    prediction = lazy_prediction(make_task(0), sigmoidal, 1, temperature=0.0)
    assert prediction.mean_test.shape == (0, 2)
    assert prediction.variance_test.shape == (0,)
    np.testing.assert_allclose(prediction.mean_train, make_task(0).y_train, rtol=0, atol=1e-10)


def test_solve_factored() -> None:
    matrix = np.array([[2.0, 0.5], [0.5, 1.0]])
    half = solve_factored(cholesky_factor("matrix", matrix), np.eye(2))
    np.testing.assert_allclose(half.T @ half, np.linalg.inv(matrix))


@pytest.mark.parametrize(
    ("temperature", "readout_variance", "message"),
    [
        (-1.0, 1.0, r"temperature must be finite and non-negative, got -1\.0"),
        (math.nan, 1.0, "temperature"),
        (1.0, 0.0, r"readout_variance must be finite and positive, got 0\.0"),
        (0.0, 1.0, r"k_train .3 x 3. is singular to working precision: its rank is 2"),
    ],
)
def test_refuses(temperature: float, readout_variance: float, message: str) -> None:
    x = np.random.default_rng(7).standard_normal((3, 2))
    with pytest.raises(ValueError, match=message):
        log_evidence(x @ x.T, np.ones((3, 1)), temperature, readout_variance)


def test_refuses_an_asymmetric_kernel() -> None:
    with pytest.raises(ValueError, match="k_train must be a symmetric matrix"):
        log_evidence(np.array([[1.0, 0.5], [0.0, 1.0]]), np.ones((2, 1)), 0.0)
