"""The Monte Carlo saddle point of deep networks against the linear closed form, one layer, and sampled networks."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import hiddencodes as hc
from hiddencodes.models import linear, mean_field, sigmoidal
from hiddencodes.tasks import Task
from hiddencodes.theory.linear import linear_saddle
from hiddencodes.theory.population import single_unit_monte_carlo
from hiddencodes.theory.population_depth import deep_unit_monte_carlo
from hiddencodes.theory.population_depth_sweep import _wanted_coupling

REPLICATES = 12
# Five standard errors: the quantile of Student's law of that probability, the error being estimated from replicates.
BOUND = float(stats.t.isf(stats.norm.sf(5.0), REPLICATES - 1))


def agree(measured: np.ndarray, error: np.ndarray, exact: np.ndarray, precision: float) -> None:
    """`measured` is within its errors of `exact`, and these are small enough to tell a wrong result."""
    assert np.all(error <= precision)
    assert np.all(np.abs(measured - exact) <= BOUND * error + 1e-12 * np.max(np.abs(exact)))


@pytest.mark.slow
@pytest.mark.parametrize("depth", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_linear_units_against_the_closed_form(depth) -> None:
    labels = np.repeat([0, 1], [7, 5])
    y = np.array([1.0, -0.5])[labels][:, None]
    variance = 12.0 ** (-1 / depth)
    exact = linear_saddle(np.eye(12), y, depth, variance, n_temperature=0.02)
    saddle = deep_unit_monte_carlo(
        linear,
        np.eye(12),
        y,
        depth,
        readout_variance=variance,
        n_temperature=0.02,
        units=512,
        replicates=REPLICATES,
        relaxation=100,
        sweeps=100,
    )
    assert saddle.converged
    agree(saddle.readout_overlap, saddle.readout_overlap_error, exact.readout_overlap, 0.02)
    agree(saddle.multiplier, saddle.multiplier_error, exact.multiplier, 0.03)
    agree(saddle.kernels, saddle.kernels_error, exact.kernels, 0.03)
    # The saddle point's own equation for A_1, from the closed form of the layer above: A_1 = K_1⁻¹ (⟨zzᵀ⟩ - K_1) K_1⁻¹.
    inverse = np.linalg.inv(exact.kernels[0])
    coupling = inverse @ (exact.kernels[1] - exact.kernels[0]) @ inverse
    agree(saddle.couplings[0], saddle.couplings_error[0], coupling, 0.02)


def test_couplings_with_and_without_second_derivatives() -> None:
    """Both forms of A are the same average over units of the layer above; here these are prior units with weights."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 6))
    root = np.linalg.cholesky(x @ x.T / 6)
    coupling = np.array([[1.0, 0.3, -0.5], [0.3, -0.4, 0.2], [-0.5, 0.2, 0.8]])
    kinked = replace(sigmoidal, kinks=(0.0,))

    def both() -> np.ndarray:
        xi = rng.standard_normal((20000, 3))
        phi = np.asarray(sigmoidal(jnp.asarray(xi @ root.T)))
        weights = np.exp(0.5 * np.einsum("up,pq,uq->u", phi, coupling, phi))
        arrays = map(jnp.asarray, (root, coupling, xi, weights / weights.sum()))
        arguments = tuple(arrays)
        return np.asarray(_wanted_coupling(sigmoidal, *arguments) - _wanted_coupling(kinked, *arguments))

    differences = np.stack([both() for _ in range(REPLICATES)])
    error = np.std(differences, axis=0, ddof=1) / np.sqrt(REPLICATES)
    agree(np.mean(differences, axis=0), error, np.zeros((3, 3)), 0.01)


@pytest.mark.slow
def test_one_layer_is_the_single_unit_problem() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((8, 6))
    kernel, y = x @ x.T / 6, rng.standard_normal((6, 1))
    arguments = {"readout_variance": 1 / 6, "n_temperature": 0.1, "units": 1024, "replicates": REPLICATES}
    one = single_unit_monte_carlo(sigmoidal, kernel[:6, :6], y, **arguments)
    deep = deep_unit_monte_carlo(sigmoidal, kernel[:6, :6], y, 1, relaxation=30, sweeps=80, **arguments)
    assert one.converged
    assert deep.converged
    agree(deep.multiplier, np.hypot(deep.multiplier_error, one.multiplier_error), one.multiplier, 0.05)
    agree(deep.kernels[0], np.hypot(deep.kernels_error[0], one.kernel_error), one.kernel, 0.02)
    mean, error = deep.predict_mean(kernel[:6, 6:], np.diagonal(kernel)[6:])
    prediction = one.predict(kernel[:6, 6:], np.diagonal(kernel)[6:], 1)
    agree(mean, np.hypot(error, prediction.mean_error), prediction.mean, 0.05)


@pytest.mark.slow
def test_two_layers_against_sampled_networks() -> None:
    """Two widths remove the correction of order 1/N; what is left is of order 1/N²."""
    rng = np.random.default_rng(4)
    n_train, n_inputs, n_temperature = 5, 5, 0.2
    x = rng.standard_normal((7, n_inputs))
    y = np.array([1.0, 1.0, -0.5, -0.5, 0.3])[:, None]
    labels = np.array([0, 0, 1, 1, 1])
    task = Task(x[:5], y, labels, x[5:], np.zeros((2, 1)), np.zeros(2, int), ("a", "b"), "{}")
    kernel = x @ x.T / n_inputs
    saddle = deep_unit_monte_carlo(
        sigmoidal,
        kernel[:5, :5],
        y,
        2,
        readout_variance=1 / n_train,
        n_temperature=n_temperature,
        labels=labels,
        units=2048,
        replicates=REPLICATES,
        relaxation=250,
    )
    assert saddle.converged
    mean, mean_error = saddle.predict_mean(kernel[:5, 5:], np.diagonal(kernel)[5:])

    def measure(width: int) -> list[np.ndarray]:
        mlp = hc.MLP(n_inputs, 1, width, 2, sigmoidal, mean_field)
        posterior = hc.Posterior(mlp, task, prior=hc.GaussianPrior("1/P"), n_temperature=n_temperature)
        run = hc.sample(posterior, chains=REPLICATES, draws=1000, warmup=500, thin=3, verbose=False)
        group = run["posterior"]
        names = ("residual_multiplier", "kernel_blocks", "test_predictions")
        return [group[name].values[0].mean(1) for name in names]

    assert saddle.kernel_blocks is not None
    assert saddle.kernel_blocks_error is not None
    predicted = [
        (saddle.multiplier, saddle.multiplier_error),
        (saddle.kernel_blocks, saddle.kernel_blocks_error),
        (mean, mean_error),
    ]
    for at_20, at_40, (value, error) in zip(measure(20), measure(40), predicted, strict=True):
        extrapolated = 2.0 * at_40 - at_20
        spread = np.std(extrapolated, axis=0, ddof=1) / np.sqrt(REPLICATES)
        agree(extrapolated.mean(0), np.hypot(spread, error), value, 0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 0}, "depth"),
        ({"relaxation": 0}, "relaxation"),
        ({"units": 1}, "units"),
        ({"readout_variance": -1.0}, "readout_variance"),
        ({"labels": np.arange(4) * 5}, "labels"),
        ({"k_input": -np.eye(4)}, "positive semidefinite"),
    ],
)
def test_refuses(change, message) -> None:
    arguments = {"k_input": np.eye(4), "y": np.ones((4, 1)), "depth": 2, "readout_variance": 1.0} | change
    with pytest.raises(ValueError, match=message):
        deep_unit_monte_carlo(sigmoidal, **arguments)
