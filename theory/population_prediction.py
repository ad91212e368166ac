"""Predictions of a wide network from the single units of its saddle point, with their errors over replicates.

With F the outputs a_r φ_μ of one unit on the training set and G = a_s φ(x) that on a test pattern, the network's outputs
are averages of N such units. Under the law P(a, z) of the units at the saddle point they are Gaussian to leading order,
with covariance C/N; the likelihood multiplies exp(-N |δ⟨F⟩|²/2NT), terms linear in δ⟨F⟩ cancelling at the saddle point.
Hence

    E f(x)   = k_1(x)ᵀ (K_1 + (N T/σ_a²) I)⁻¹ Y,   k_1(x)_μ = ⟨φ(z_μ) φ(z(x))⟩,
    Var f(x) = (1/N) [C_GG - C_GF (C_FF + N T I)⁻¹ C_FG].
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hiddencodes.models.activations import Activation
from hiddencodes.models.gaussian_integrals import evaluate
from hiddencodes.theory.positive_definite import cholesky_factor, solve_factored

_ENTRIES_PER_BLOCK = 2**24


class MonteCarloPrediction(NamedTuple):
    """Posterior of the outputs at test patterns; errors are standard errors of the Monte Carlo estimate.

    Attributes:
        mean: For N → ∞, (test_pattern, output).
        mean_error: (test_pattern, output).
        variance: Over posterior draws of a network of the width asked for, leading order in 1/N, (test_pattern, output).
        variance_error: (test_pattern, output).
    """

    mean: Float[np.ndarray, "test_pattern output"]
    mean_error: Float[np.ndarray, "test_pattern output"]
    variance: Float[np.ndarray, "test_pattern output"]
    variance_error: Float[np.ndarray, "test_pattern output"]


class UnitPopulations(NamedTuple):
    """Replicates of weighted single units and what they were drawn for.

    Attributes:
        activation: φ.
        root: R with R Rᵀ = K_0, (pattern, coordinate).
        coordinates: ξ with z = R ξ, (replicate, unit, coordinate).
        weights: Sum to one in every replicate, (replicate, unit).
        multiplier: t of every replicate, (replicate, pattern, output).
        targets: Y, (pattern, output).
        readout_variance: σ_a².
        n_temperature: N T.
    """

    activation: Activation
    root: Float[np.ndarray, "pattern coordinate"]
    coordinates: Float[np.ndarray, "replicate unit coordinate"]
    weights: Float[np.ndarray, "replicate unit"]
    multiplier: Float[np.ndarray, "replicate pattern output"]
    targets: Float[np.ndarray, "pattern output"]
    readout_variance: float
    n_temperature: float


class _Estimates(NamedTuple):
    """Averages over a set of replicates: of the training kernel, of F and of F Fᵀ."""

    kernel: Float[np.ndarray, "pattern pattern"]
    mean: Float[np.ndarray, " statistic"]
    second: Float[np.ndarray, "statistic statistic"]


def _leave_one_out(values: Float[np.ndarray, "replicate ..."]) -> Iterator[Float[np.ndarray, "..."]]:
    """The average over all replicates, then without each in turn."""
    total = np.sum(values, axis=0)
    yield total / len(values)
    for each in values:
        yield (total - each) / (len(values) - 1)


def _jackknife(
    estimates: Float[np.ndarray, "set ..."],
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """Estimate without its bias of order 1/replicates, and its standard error, from `_leave_one_out`'s order."""
    whole, parts = estimates[0], estimates[1:]
    count = len(parts)
    center = np.mean(parts, axis=0)
    error = np.sqrt((count - 1) / count * np.sum(np.square(parts - center), axis=0))
    return count * whole - (count - 1) * center, error


def _conditional_preactivations(
    units: UnitPopulations,
    k_cross: Float[np.ndarray, "pattern test_pattern"],
    k_test: Float[np.ndarray, " test_pattern"],
) -> tuple[Float[np.ndarray, "coordinate test_pattern"], Float[np.ndarray, " test_pattern"]]:
    """Coefficients c and variances v of z(x) | ξ ~ N(c(x)·ξ, v(x))."""
    n_train = len(units.targets)
    if k_cross.shape[0] != n_train:
        raise ValueError(
            f"k_cross must have a row per training pattern, {n_train}, got the shape {k_cross.shape}"
        )
    # R has full column rank, so that its pseudo-inverse whitens; patterns outside its range have no covariance.
    coefficients = np.linalg.pinv(units.root) @ k_cross
    variance = k_test - np.sum(np.square(coefficients), axis=0)
    scale = 1e-6 * max(float(np.max(np.abs(k_test), initial=0.0)), 1e-300)
    if np.min(variance, initial=0.0) < -scale:
        raise ValueError(
            f"k_test must be the diagonal of the kernel that k_cross belongs to; it leaves a test pattern the "
            f"conditional variance {np.min(variance)}"
        )
    return coefficients, np.maximum(variance, 0.0)


def predict_from_units(
    units: UnitPopulations,
    k_cross: Float[np.ndarray, "pattern test_pattern"],
    k_test: Float[np.ndarray, " test_pattern"],
    width: int,
    key: int,
) -> MonteCarloPrediction:
    """Mean and variance of the outputs; `hiddencodes.theory.population.MonteCarloSaddle.predict` documents them.

    Averages over units are pooled over replicates; the delete-one jackknife gives the errors and takes off the bias of
    first order in the number of units, which ratios of averages have.

    Example:
        >>> from hiddencodes.models.activations import linear
        >>> rng = np.random.default_rng(0)
        >>> xi = rng.standard_normal((4, 500, 1))
        >>> even, zero, one = np.full((4, 500), 1 / 500), np.zeros((4, 1, 1)), np.ones((1, 1))
        >>> prior = UnitPopulations(linear, one, xi, even, zero, 0 * one, 1.0, n_temperature=1.0)
        >>> prediction = predict_from_units(prior, one, np.ones(1), width=10, key=0)
        >>> deviation = abs(prediction.variance.item() - 0.05) / prediction.variance_error.item()
        >>> prediction.mean.item(), bool(deviation < 5)
        (0.0, True)
    """
    coefficients, variance = _conditional_preactivations(units, k_cross, k_test)
    n_train, n_outputs = units.targets.shape
    n_units = units.weights.shape[1]
    phi = evaluate(units.activation, units.coordinates @ units.root.T)
    readout = units.readout_variance * (phi @ units.multiplier)
    weighted = phi * units.weights[:, :, None]
    kernels = np.swapaxes(weighted, 1, 2) @ phi

    def statistic(replicate: int) -> Float[np.ndarray, "unit statistic"]:
        return (phi[replicate][:, :, None] * readout[replicate][:, None, :]).reshape(n_units, -1)

    means, seconds = list[np.ndarray](), list[np.ndarray]()
    for replicate, weights in enumerate(units.weights):
        values = statistic(replicate)
        means.append(weights @ values)
        seconds.append((values * weights[:, None]).T @ values)
    conditional = np.eye(n_outputs)
    ridge = units.n_temperature / units.readout_variance
    pooled, factors, coupled = list[_Estimates](), list[np.ndarray](), list[np.ndarray]()
    for kernel, mean, second in zip(
        _leave_one_out(kernels),
        _leave_one_out(np.stack(means)),
        _leave_one_out(np.stack(seconds)),
        strict=True,
    ):
        pooled.append(_Estimates(kernel, mean, second))
        covariance = second - np.outer(mean, mean) + units.readout_variance * np.kron(kernel, conditional)
        covariance += units.n_temperature * np.eye(len(covariance))
        factors.append(cholesky_factor("the covariance of the units' outputs", covariance))
        coupled.append(np.linalg.solve(kernel + ridge * np.eye(n_train), units.targets))

    rng = np.random.default_rng(key)
    outcomes = list[tuple[np.ndarray, ...]]()
    step = max(1, _ENTRIES_PER_BLOCK // (units.weights.size + n_train * n_outputs**2 * len(units.weights)))
    for first in range(0, len(k_test), step):
        here = slice(first, first + step)
        center = units.coordinates @ coefficients[:, here]
        noise = rng.standard_normal(center.shape)
        test = evaluate(units.activation, center + np.sqrt(variance[here]) * noise)
        n_test = test.shape[2]
        cross = np.swapaxes(weighted, 1, 2) @ test
        weight = units.weights[:, :, None]
        self_second = np.stack(
            [
                np.sum(weight * np.square(test) * (units.readout_variance + readout[:, :, [r]] ** 2), axis=1)
                for r in range(n_outputs)
            ],
            axis=2,
        )
        outputs = (test[:, :, :, None] * readout[:, :, None, :]).reshape(*test.shape[:2], -1)
        output_means = np.sum(weight * outputs, axis=1)
        cross_second = np.stack(
            [
                (outputs[replicate] * weight[replicate]).T @ statistic(replicate)
                for replicate in range(len(outputs))
            ]
        )
        prediction_means, prediction_variances = list[np.ndarray](), list[np.ndarray]()
        for index, (k_1, own, output_mean, joint) in enumerate(
            zip(
                _leave_one_out(cross),
                _leave_one_out(self_second),
                _leave_one_out(output_means),
                _leave_one_out(cross_second),
                strict=True,
            )
        ):
            prediction_means.append(k_1.T @ coupled[index])
            coupling: np.ndarray = joint - np.outer(output_mean, pooled[index].mean)
            coupling += units.readout_variance * np.kron(k_1.T, conditional)
            explained = np.sum(np.square(solve_factored(factors[index], coupling.T)), axis=0)
            explained += np.square(output_mean)
            prediction_variances.append((own - explained.reshape(n_test, n_outputs)) / width)
        outcomes.append(
            (*_jackknife(np.stack(prediction_means)), *_jackknife(np.stack(prediction_variances)))
        )
    if not outcomes:
        empty = np.zeros((0, n_outputs))
        return MonteCarloPrediction(empty, empty, empty, empty)
    return MonteCarloPrediction(*(np.concatenate(parts) for parts in zip(*outcomes, strict=True)))
