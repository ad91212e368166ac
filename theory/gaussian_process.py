"""Regression with a Gaussian process: the posterior of an infinitely wide network in the lazy (NTK) scaling.

With f(x) = N^(-1/2) Σ_i a_i φ(z_i(x)), a_i ~ N(0, σ_a²), the prior of f at N → ∞ is a Gaussian process with covariance
σ_a² K, K the kernel of the last hidden layer, and the posterior ∝ prior × exp(-|y - f|²/2T) is again Gaussian
(arXiv 1711.00165):

    E f(x)   = k(x)ᵀ (K + (T/σ_a²) I)⁻¹ Y
    Var f(x) = σ_a² [K(x, x) - k(x)ᵀ (K + (T/σ_a²) I)⁻¹ k(x)].
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hiddencodes.models.activations import Activation
from hiddencodes.models.nngp import nngp_kernels
from hiddencodes.tasks.task import Task
from hiddencodes.theory.positive_definite import cholesky_factor, solve_factored


class GaussianProcessPrediction(NamedTuple):
    """Posterior of the function values at the test patterns.

    Attributes:
        mean: (test_pattern, output).
        variance: Of every output alike: (test_pattern,), or the covariance (test_pattern, test_pattern) if the full
            test kernel was given.
    """

    mean: Float[np.ndarray, "test_pattern output"]
    variance: Float[np.ndarray, " test_pattern"] | Float[np.ndarray, "test_pattern test_pattern"]


class LazyPrediction(NamedTuple):
    """What the lazy network predicts on a task at infinite width.

    Attributes:
        mean_train: Posterior mean at the training patterns, (pattern, output).
        mean_test: Posterior mean at the test patterns, (test_pattern, output).
        variance_test: Posterior variance there, the same for every output, (test_pattern,).
        log_evidence: Log marginal likelihood of the training targets, in nats.
    """

    mean_train: Float[np.ndarray, "pattern output"]
    mean_test: Float[np.ndarray, "test_pattern output"]
    variance_test: Float[np.ndarray, " test_pattern"]
    log_evidence: float


def _regularized_factor(
    k_train: Float[np.ndarray, "pattern pattern"], temperature: float, readout_variance: float
) -> Float[np.ndarray, "pattern pattern"]:
    if not (math.isfinite(temperature) and temperature >= 0.0):
        raise ValueError(f"temperature must be finite and non-negative, got {temperature}")
    if not (math.isfinite(readout_variance) and readout_variance > 0.0):
        raise ValueError(f"readout_variance must be finite and positive, got {readout_variance}")
    name = "k_train" if temperature == 0.0 else "k_train + temperature/readout_variance"
    return cholesky_factor(name, k_train + temperature / readout_variance * np.eye(len(k_train)))


def gaussian_process_regression(
    k_train: Float[np.ndarray, "pattern pattern"],
    k_cross: Float[np.ndarray, "pattern test_pattern"],
    k_test: Float[np.ndarray, " test_pattern"] | Float[np.ndarray, "test_pattern test_pattern"],
    y: Float[np.ndarray, "pattern output"],
    temperature: float,
    readout_variance: float = 1.0,
) -> GaussianProcessPrediction:
    """Posterior mean and variance of f at test patterns, for the prior covariance σ_a² K.

    Args:
        k_train: K between training patterns, (pattern, pattern).
        k_cross: K between training and test patterns, (pattern, test_pattern).
        k_test: K between test patterns: its diagonal (test_pattern,) or all of it.
        y: Targets, (pattern, output).
        temperature: T, the variance of the noise of a target; 0 interpolates.
        readout_variance: σ_a².

    Returns:
        Mean, and variance (or covariance if `k_test` is a matrix).

    Raises:
        ValueError: if `temperature` is negative, `readout_variance` is not positive, or the matrix to invert is
            singular.

    Example:
        >>> one = np.ones((1, 1))
        >>> mean, variance = gaussian_process_regression(one, 0.5 * one, one[0], 2.0 * one, temperature=1.0)
        >>> print(mean, variance)
        [[0.5]] [0.875]
    """
    factor = _regularized_factor(k_train, temperature, readout_variance)
    cross = solve_factored(factor, k_cross)
    mean = cross.T @ solve_factored(factor, y)
    explained = np.sum(np.square(cross), axis=0) if k_test.ndim == 1 else cross.T @ cross
    return GaussianProcessPrediction(mean, readout_variance * (k_test - explained))


def log_evidence(
    k_train: Float[np.ndarray, "pattern pattern"],
    y: Float[np.ndarray, "pattern output"],
    temperature: float,
    readout_variance: float = 1.0,
) -> float:
    """Log marginal likelihood Σ_r log N(Y_r; 0, σ_a² K + T I), in nats.

    Args:
        k_train: K between training patterns, (pattern, pattern).
        y: Targets, (pattern, output).
        temperature: T.
        readout_variance: σ_a².

    Returns:
        The log density of all targets.

    Raises:
        ValueError: as `gaussian_process_regression`.

    Example:
        >>> one = np.ones((1, 1))
        >>> round(log_evidence(one, 0.0 * one, temperature=0.0) + 0.5 * math.log(2 * math.pi), 12)
        0.0
    """
    factor = _regularized_factor(k_train, temperature, readout_variance)
    n_train, n_outputs = y.shape
    quadratic = float(np.sum(np.square(solve_factored(factor, y)))) / readout_variance
    log_determinant = 2.0 * float(np.sum(np.log(np.diagonal(factor)))) + n_train * math.log(readout_variance)
    return -0.5 * (quadratic + n_outputs * (log_determinant + n_train * math.log(2.0 * math.pi)))


def lazy_prediction(
    task: Task,
    activation: Activation,
    depth: int,
    *,
    temperature: float,
    weight_variance: float = 1.0,
    bias_variance: float = 0.0,
    readout_variance: float = 1.0,
) -> LazyPrediction:
    """Gaussian-process prediction of the network f = N^(-1/2) Σ_i a_i φ(z_i) of infinite width; no readout bias.

    Args:
        task: Training and test patterns; the test set may be empty.
        activation: φ.
        depth: L, the number of hidden layers.
        temperature: T of the Gaussian likelihood; width-independent here.
        weight_variance: σ_w² of the hidden weights, multipliers taken out.
        bias_variance: σ_b² of the hidden biases.
        readout_variance: σ_a².

    Returns:
        Means on both sets, variance on the test set and the log evidence.

    Raises:
        ValueError: as `gaussian_process_regression` and `nngp_kernels`.

    Example:
        >>> from hiddencodes.models.activations import linear
        >>> x, y, label = np.ones((1, 1)), np.full((1, 1), 2.0), np.zeros(1, dtype=int)
        >>> task = Task(x, y, label, 3.0 * x, y, label, ("only",), "{}")
        >>> prediction = lazy_prediction(task, linear, 1, temperature=1.0)
        >>> print(prediction.mean_train, prediction.mean_test, prediction.variance_test)
        [[1.]] [[3.]] [4.5]
    """
    x = np.concatenate([task.x_train, task.x_test])
    kernels = nngp_kernels(
        activation,
        x @ x.T / task.n_inputs,
        depth,
        weight_variance=weight_variance,
        bias_variance=bias_variance,
    )
    kernel = kernels.postactivation[-1]
    n_train = task.n_train
    train = kernel[:n_train, :n_train]
    prediction = gaussian_process_regression(
        train, kernel[:n_train], np.diagonal(kernel), task.y_train, temperature, readout_variance
    )
    return LazyPrediction(
        mean_train=prediction.mean[:n_train],
        mean_test=prediction.mean[n_train:],
        variance_test=prediction.variance[n_train:],
        log_evidence=log_evidence(train, task.y_train, temperature, readout_variance),
    )
