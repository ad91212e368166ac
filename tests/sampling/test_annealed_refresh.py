"""The annealed refresh leaves the posterior as it is: against quadrature with correlated inputs, and in whole runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from statistics_of_chains import assert_mean, assert_means_agree
from two_units import SCALE, WEIGHT, N, P, Y, by_quadrature, functions

import hiddencodes as hc
from hiddencodes.sampling.annealed_refresh import PathSettings, hamiltonian_step, refresh_along_paths
from hiddencodes.sampling.code_proposals import Codes

CORRELATION = 0.7
# Pre-activations over SCALE have unit variance and this correlation.
INPUTS = SCALE * np.linalg.cholesky(np.array([[1.0, CORRELATION], [CORRELATION, 1.0]]))
CODES = Codes(
    jnp.log(jnp.array([0.6, 0.4])),
    jnp.array([[1.0], [-1.5]]),
    jnp.array([[[1.0]], [[1.2]]]),
    jnp.zeros((2, P)),  # what the cavity refresh expands about is not used here
)


@pytest.mark.parametrize("temperature", [0.03, pytest.param(0.3, marks=pytest.mark.slow)])
def test_two_units_with_correlated_inputs_against_quadrature(temperature):
    def sweep(x, key):
        one = lambda key, x: refresh_along_paths(
            key, x, jnp.asarray(INPUTS), jnp.asarray(Y), jnp.asarray(WEIGHT), jnp.asarray(temperature), CODES,
            jnp.asarray(0.6), hc.sigmoidal, PathSettings(3, 2),
        )  # fmt: skip
        x, info = jax.vmap(one)(jax.random.split(key, len(x)), x)
        return x, (x, info.accepted.sum(0), info.proposed.sum(0))

    x = jax.random.normal(jax.random.key(0), (16, N, P))
    keys = jax.random.split(jax.random.key(1), 1000)
    _, (xs, accepted, proposed) = jax.jit(lambda x: jax.lax.scan(sweep, x, keys))(x)
    z = np.swapaxes(np.asarray(xs)[100:], 0, 1) @ INPUTS.T
    assert 0.05 < np.sum(accepted) / np.sum(proposed) < 0.98
    found = functions(z / SCALE, np.asarray(hc.sigmoidal(jnp.asarray(z))))
    assert_mean(found, by_quadrature(hc.sigmoidal, temperature, CORRELATION))


def test_hamiltonian_steps_leave_a_gaussian_as_it_is():
    # Starting in equilibrium, one transition with a large step stays there, and is not always accepted.
    keys = jax.random.split(jax.random.key(0), 20000)
    scale = jnp.array([1.0, 0.3])

    def one(key):
        start, move = jax.random.split(key)
        x = scale * jax.random.normal(start, (2,))
        return hamiltonian_step(move, x, lambda x: -0.5 * jnp.sum((x / scale) ** 2), jnp.asarray(0.5), 3)

    x, chance = jax.vmap(one)(keys)
    assert 0.3 < chance.mean() < 0.95
    error = np.sqrt(2.0 / len(keys))
    np.testing.assert_allclose(np.mean((np.asarray(x) / np.asarray(scale)) ** 2, axis=0), 1.0, atol=5 * error)


def posterior_of(depth):
    # Correlated inputs: clusters in fewer dimensions than patterns.
    task = hc.gaussian_clusters(n_train=8, n_inputs=5, n_test=3)
    mlp = hc.MLP(5, task.n_outputs, 6, depth, hc.sigmoidal, hc.mean_field)
    return hc.Posterior(mlp, task, n_temperature=0.2)


def invariants(run):
    posterior = run["posterior"]
    return {
        name: posterior[name].values[0]
        for name in ("kernel_blocks", "readout_overlap", "train_loss", "test_predictions")
    }


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 2])
def test_runs_with_the_move_agree_with_plain_ones(depth):
    posterior = posterior_of(depth)
    options = {"chains": 16, "draws": 2500, "warmup": 500, "verbose": False}
    plain = invariants(hc.sample(posterior, thin=4, key=1, **options))
    move = hc.annealed_refresh(points=6, steps=2)
    for reduce in (lambda p: p, lambda p: hc.integrate_readout(hc.project_inputs(p))):
        run = hc.sample(reduce(posterior), moves=move, moves_every=1, key=2, **options)
        assert run["moves"]["accepted"].sum() > 0.02 * run["moves"]["proposed"].sum()
        for name, values in invariants(run).items():
            assert_means_agree(values, plain[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [({"bias": True}, "without biases"), ({"likelihood": "categorical"}, "Gaussian likelihood")],
)
def test_networks_that_the_move_is_not_made_for(change, message):
    task = hc.gaussian_clusters(n_train=9, n_inputs=5)
    likelihood = change.pop("likelihood", "gaussian")
    mlp = hc.MLP(5, task.n_outputs, 6, 1, hc.sigmoidal, hc.mean_field, **change)
    posterior = hc.Posterior(mlp, task, likelihood=likelihood, n_temperature=0.1)
    with pytest.raises(ValueError, match=message):
        hc.sample(posterior, moves=hc.annealed_refresh(), chains=2, draws=8, warmup=2, verbose=False)


@pytest.mark.parametrize("settings", [{"points": 0}, {"steps": -1}])
def test_settings_are_checked(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        hc.annealed_refresh(**settings)
