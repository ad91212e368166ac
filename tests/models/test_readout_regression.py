"""The readout integrated out, against Bayesian linear regression in the space of weights."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hiddencodes as hc
from hiddencodes.models.readout_regression import readout_regression, readout_weight

RNG = np.random.default_rng(0)
SCALINGS = [hc.mean_field, hc.ntk, hc.standard, hc.mup]


def brute_force(phi, phi_test, y, multiplier: float, variance: float, temperature: float):
    """Posterior of the readout weights a ~ N(0, variance) given y = multiplier phi a + noise, then of the outputs."""
    design, test_design = multiplier * phi, multiplier * phi_test
    covariance = np.linalg.inv(design.T @ design / temperature + np.eye(phi.shape[1]) / variance)
    mean = covariance @ design.T @ y / temperature
    return test_design @ mean, np.einsum("qi,ij,qj->q", test_design, covariance, test_design)


@pytest.mark.parametrize("scaling", SCALINGS, ids=lambda p: p.name)
@pytest.mark.parametrize(("n_train", "width"), [(5, 9), (9, 5), (6, 6)])
def test_against_regression_in_weight_space(scaling, n_train, width):
    phi, phi_test = RNG.standard_normal((n_train, width)), RNG.standard_normal((4, width))
    y, std, temperature = RNG.standard_normal((n_train, 3)), 0.7, 0.02
    mlp = hc.MLP(2, 3, width, 1, hc.relu, scaling)
    weight = readout_weight(mlp, std)
    found = readout_regression(jnp.asarray(phi), jnp.asarray(phi_test), jnp.asarray(y), weight, temperature)
    multiplier = scaling.readout.multiplier(width, 3)
    mean, variance = brute_force(phi, phi_test, y, multiplier, std**2, temperature)
    # Rounding times the condition number of the smaller system, below 10^4 here.
    np.testing.assert_allclose(found.mean, mean, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(found.variance, variance, rtol=1e-10)


def test_the_mean_field_formula():
    """E f = k^T (K + (N T / sigma_a^2) I)^-1 Y and the variance (sigma_a^2 / N) [K(x, x) - k^T (...)^-1 k]."""
    width, sigma2, n_temperature = 30, 0.05, 0.01
    phi, phi_test = RNG.standard_normal((8, width)), RNG.standard_normal((3, width))
    y = RNG.standard_normal((8, 2))
    mlp = hc.MLP(2, 2, width, 1, hc.relu, hc.mean_field)
    weight = readout_weight(mlp, np.sqrt(sigma2))
    found = readout_regression(
        jnp.asarray(phi), jnp.asarray(phi_test), jnp.asarray(y), weight, n_temperature / width
    )
    kernel, cross = phi @ phi.T / width, phi @ phi_test.T / width
    solved = np.linalg.solve(kernel + n_temperature / sigma2 * np.eye(8), cross)
    np.testing.assert_allclose(found.mean, solved.T @ y, rtol=1e-11, atol=1e-12)
    expected = sigma2 / width * ((phi_test**2).sum(1) / width - (cross * solved).sum(0))
    np.testing.assert_allclose(found.variance, expected, rtol=1e-11)


@pytest.mark.parametrize(("n_train", "width"), [(6, 10), (10, 6)])
@pytest.mark.parametrize("temperature", [1e-12, 1e-4, 1e6])
def test_limits_of_the_temperature_at_training_patterns(n_train, width, temperature):
    phi = jnp.asarray(RNG.standard_normal((n_train, width)))
    y = jnp.asarray(RNG.standard_normal((n_train, 2)))
    mean, variance = readout_regression(phi, phi, y, 1.0, temperature)
    # The variance at a training pattern lies below both the prior's and the noise's.
    assert (variance >= 0).all()
    assert (variance <= jnp.sum(phi**2, axis=1) * (1 + 1e-12)).all()
    assert (variance <= temperature * (1 + 1e-6) + 1e-13).all()
    if temperature == 1e-12 and n_train < width:
        np.testing.assert_allclose(mean, y, rtol=1e-9)
    if temperature == 1e6:
        # E f -> w Phi Phi^T y / T, the next order smaller by |Phi|^2 / T < 10^-3.
        np.testing.assert_allclose(mean, phi @ (phi.T @ y) / 1e6, rtol=0, atol=1e-3 * 1e-3)


@pytest.mark.parametrize(("n_train", "width"), [(20, 60), (60, 20)])
def test_single_precision_at_a_temperature_below_its_rounding(n_train, width):
    # Equal rows would make the matrix singular: the ridge is 1e-12 of its trace.
    phi = np.repeat(RNG.standard_normal((n_train // 2, width)), 2, axis=0)
    phi_test, y = (
        RNG.standard_normal((5, width)),
        np.repeat(RNG.standard_normal((n_train // 2, 1)), 2, axis=0),
    )

    def compute(dtype):
        arrays = (jnp.asarray(a, dtype) for a in (phi, phi_test, y))
        return readout_regression(*arrays, 1.0, 1e-9)

    exact = compute(np.float64)
    with jax.enable_x64(False):
        found = compute(np.float32)
    assert found.mean.dtype == found.variance.dtype == np.float32
    # The floor of the ridge is P eps of the mean diagonal: relative changes of some P eps times the condition number of the
    # part of the matrix that is not zero (below 100).
    scale = float(jnp.abs(exact.mean).max())
    tolerance = 100 * max(n_train, width) * np.finfo(np.float32).eps
    np.testing.assert_allclose(found.mean, exact.mean, rtol=0, atol=tolerance * scale)
    assert (np.asarray(found.variance) >= 0).all()
    largest = float((phi_test**2).sum(1).max())
    np.testing.assert_allclose(found.variance, exact.variance, rtol=0, atol=tolerance * largest)


@partial(jax.jit, static_argnums=1)
def gaussian_readout(params, posterior: hc.Posterior):
    """Mode and covariance of f on the test set as the posterior's log-density itself has them, readout free."""
    x_test = jnp.asarray(posterior.task.x_test)
    shape = params["readout"]["kernel"].shape

    def with_readout(a):
        return {**params, "readout": {"kernel": a.reshape(shape)}}

    def energy(a):
        return -posterior.log_density(with_readout(a))

    def output(a):
        return posterior.mlp.apply(with_readout(a), x_test).output.ravel()

    zero = jnp.zeros(shape[0] * shape[1])
    hessian = jax.hessian(energy)(zero)
    mode = -jnp.linalg.solve(hessian, jax.grad(energy)(zero))
    jacobian = jax.jacobian(output)(zero)
    return output(mode), jnp.diagonal(jacobian @ jnp.linalg.solve(hessian, jacobian.T))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("scaling", SCALINGS, ids=lambda p: p.name)
def test_it_is_the_conditional_law_of_the_posterior(scaling, bias):
    task = hc.gaussian_clusters(n_train=7, n_inputs=4, n_test=5)
    mlp = hc.MLP(4, 3, 6, 2, hc.tanh, scaling, bias)
    posterior = hc.Posterior(mlp, task, hc.GaussianPrior(0.3), temperature=0.05)
    params, data = posterior.sample_prior(jax.random.key(1)), posterior.data()
    mean, variance = gaussian_readout(params, posterior)
    found = readout_regression(
        mlp.apply(params, jnp.asarray(task.x_train)).postactivations[-1],
        mlp.apply(params, jnp.asarray(task.x_test)).postactivations[-1],
        jnp.asarray(task.y_train),
        readout_weight(mlp, data.prior_std["readout"]["kernel"]),
        data.temperature,
    )
    np.testing.assert_allclose(found.mean.ravel(), mean, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(np.repeat(found.variance, 3), variance, rtol=1e-9)
