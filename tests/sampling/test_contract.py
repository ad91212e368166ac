"""One contract for every sampler: init, step, jit, vmap, dtypes; then the moments of a correlated Gaussian."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from gaussian_target import GaussianTarget, gaussian_data
from statistics_of_chains import assert_mean

import hiddencodes as hc
from hiddencodes.sampling.numpyro_nuts import run_model
from hiddencodes.sampling.plan import Host, Plan, Setup
from hiddencodes.sampling.run_chains import run_chains
from hiddencodes.sampling.target import Density

SAMPLERS = {
    "hmc": hc.hmc(),
    "nuts": hc.nuts(max_doublings=5),
    "adjusted_mclmc": hc.adjusted_mclmc(),
    "mala": hc.mala(),
}
DIMENSION, SEEDS, CHAINS = 5, 2, 8


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_step_keeps_shapes_and_types_under_jit_and_vmap(name, dtype):
    # `sample` runs single precision with 64-bit types off; BlackJAX mixes in double-precision constants otherwise.
    with jax.enable_x64(dtype == "float64"):
        sampler, target = SAMPLERS[name], GaussianTarget(DIMENSION)
        (a, c), _, _ = gaussian_data(1, DIMENSION)
        data = (jnp.asarray(a[0], dtype), jnp.asarray(c[0], dtype))
        density = Density(target, data, jnp.ones(DIMENSION, dtype), jnp.ones((), dtype))

        @jax.jit
        def step(key, position):
            state = sampler.init(position, density)
            step_size, n_steps = jnp.asarray(0.1, dtype), jnp.asarray(3, jnp.int32)
            return state, *sampler.step(key, state, density, step_size, n_steps, sampler.max_steps)

        keys, positions = jax.random.split(jax.random.key(0), 4), jnp.ones((4, DIMENSION), dtype)
        before, after, info = jax.vmap(step)(keys, positions)
        kinds = [jax.tree.map(lambda x: (x.shape, x.dtype), state) for state in (before, after)]
        assert kinds[0] == kinds[1]
        assert after.position.dtype == dtype
        assert info.proposal.shape == info.velocity.shape == (4, DIMENSION)
        assert np.all(
            (np.asarray(info.acceptance_rate) >= 0) & (np.asarray(info.acceptance_rate) <= 1 + 1e-6)
        )
        assert np.all(np.asarray(info.n_steps) >= 1)
        assert not np.any(info.diverging)
        # The state's log-density is that of its position.
        np.testing.assert_allclose(after.logdensity, jax.vmap(density)(after.position), rtol=1e-5)


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_are_values_that_share_programs(name):
    again = getattr(hc, name)(**({"max_doublings": 5} if name == "nuts" else {}))
    assert again == SAMPLERS[name]
    assert hash(again) == hash(SAMPLERS[name])


def _draws(name):
    """Draws of q by group, each (seed, chain, draw, ...)."""
    (a, c), _, _ = gaussian_data(SEEDS, DIMENSION)
    draws, thin = 1500, {"mala": 6}.get(name, 1)
    if name == "numpyro_nuts":
        # One seed: NumPyro compiles anew for each.
        _, mean, covariance = gaussian_data(SEEDS, DIMENSION)

        def model():
            numpyro.sample("q", dist.MultivariateNormal(jnp.asarray(mean[0]), jnp.asarray(covariance[0])))

        start = {"q": jax.random.normal(jax.random.key(0), (CHAINS, DIMENSION))}
        samples, _ = run_model(
            hc.numpyro_nuts(), model, start, jax.random.key(10), chains=CHAINS, warmup=300, draws=500, thin=1
        )
        q = np.asarray(samples["q"])[None]
        gradient = np.einsum("ij,scdj->scdi", np.linalg.inv(covariance[0]), q - mean[0])
        return {"q": q, "squares": q[..., None] * q[..., None, :], "virial": q * gradient}
    plan = Plan(np.arange(SEEDS), CHAINS, 400, draws, thin, np.arange(CHAINS), capacity=500)
    segments = []
    setup = Setup(
        GaussianTarget(DIMENSION), (jnp.asarray(a), jnp.asarray(c)), np.ones(SEEDS), SAMPLERS[name], plan,
        jax.random.key(1), np.dtype("float64"),
    )  # fmt: skip
    run_chains(setup, Host(segments.append))
    return {key: np.concatenate([s.observed[key] for s in segments], axis=2) for key in segments[0].observed}


@pytest.mark.parametrize("name", [*SAMPLERS, pytest.param("numpyro_nuts", marks=pytest.mark.slow)])
def test_correlated_gaussian(name):
    """Mean, all second moments, and the virial identity E[q dU/dq] = 1 per coordinate and per block."""
    _, mean, covariance = gaussian_data(SEEDS, DIMENSION)
    draws = _draws(name)
    for s in range(len(draws["q"])):
        assert_mean(draws["q"][s], mean[s])
        second = covariance[s] + np.outer(mean[s], mean[s])
        upper = np.triu_indices(DIMENSION)
        assert_mean(draws["squares"][s][..., *upper], second[upper])
        assert_mean(draws["virial"][s], np.ones(DIMENSION))
        for block in (slice(0, 2), slice(2, None)):
            size = len(range(DIMENSION)[block])
            assert_mean(draws["virial"][s][..., block].sum(-1), size)
