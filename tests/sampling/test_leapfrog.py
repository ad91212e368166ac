"""The leapfrog in weights against BlackJAX's in whitened coordinates, transition by transition."""

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hiddencodes as hc
from hiddencodes.sampling import leapfrog
from hiddencodes.sampling.problem import problem
from hiddencodes.sampling.target import Density, flatten, unflatten

TASK = hc.orthogonal_classes(n_train=6)


def _posterior(likelihood: str = "gaussian", bias: bool = False, depth: int = 1) -> hc.Posterior:
    mlp = hc.MLP(TASK.n_inputs, TASK.n_outputs, 5, depth, hc.sigmoidal, hc.mean_field, bias=bias)
    return hc.Posterior(mlp, TASK, likelihood=likelihood, n_temperature=0.1)


POSTERIORS = {
    "all weights": lambda: _posterior(),
    "three layers with biases": lambda: _posterior(bias=True, depth=3),
    "categorical": lambda: _posterior("categorical"),
    "projected": lambda: hc.project_inputs(_posterior()),
    "white": lambda: hc.whiten_inputs(_posterior()),
    "integrated": lambda: hc.integrate_readout(hc.whiten_inputs(_posterior())),
}


def density_of(name: str) -> Density:
    setting = problem([POSTERIORS[name]()], None)
    data = jax.tree.map(lambda leaf: leaf[0], setting.data(np.dtype("float64")))
    scale = np.exp(0.3 * np.random.default_rng(1).standard_normal(setting.target.dimension))
    return Density(setting.target, data, jnp.asarray(scale), 1.0 / data.temperature)


def plain_density(dimension: int = 7):
    return lambda u: -0.5 * jnp.vdot(u, u) - jnp.sum(jnp.cos(u)), dimension


def case(name: str):
    if name == "a function":
        return plain_density()
    density = density_of(name)
    return density, density.target.dimension


@pytest.mark.parametrize("name", [*POSTERIORS, "a function"])
def test_a_transition_is_that_of_blackjax(name):
    density, dimension = case(name)
    u = jnp.asarray(np.random.default_rng(2).standard_normal((12, dimension)))
    keys = jax.random.split(jax.random.key(3), 12)
    # Small steps are accepted, large ones are not.
    sizes, steps = jnp.geomspace(0.02, 5.0, 12), jnp.asarray([1, 2, 7] * 4)
    theirs, ours = blackjax.hmc.build_kernel(), blackjax.hmc.build_kernel(leapfrog.hand_over, build_proposal=leapfrog.proposal)  # fmt: skip

    @jax.jit
    def both(key, u, size, n):
        state = blackjax.hmc.init(u, density)
        return tuple(kernel(key, state, density, size, jnp.ones(dimension), n) for kernel in (theirs, ours))

    (a, from_a), (b, from_b) = jax.vmap(both)(keys, u, sizes, steps)
    assert 0 < np.sum(from_a.is_accepted) < 12
    np.testing.assert_array_equal(from_a.is_accepted, from_b.is_accepted)
    np.testing.assert_array_equal(from_a.momentum, from_b.momentum)
    for x, y in zip(jax.tree.leaves((a, from_a)), jax.tree.leaves((b, from_b)), strict=True):
        scale = 1 + np.max(np.abs(np.where(np.isfinite(x), x, 0.0)))
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-10 * scale)


@pytest.mark.parametrize("name", ["three layers with biases", "integrated"])
def test_the_way_back_is_the_way(name):
    density = density_of(name)
    u, p = np.random.default_rng(4).standard_normal((2, density.target.dimension))
    start = blackjax.hmc.init(jnp.asarray(u), density)
    state = leapfrog.IntegratorState(start.position, jnp.asarray(p), start.logdensity, start.logdensity_grad)
    there = leapfrog.integrate(density, state, jnp.asarray(0.05), jnp.asarray(9))
    back = leapfrog.integrate(
        density, there._replace(momentum=-there.momentum), jnp.asarray(0.05), jnp.asarray(9)
    )
    assert np.max(np.abs(there.position - u)) > 0.1
    np.testing.assert_allclose(back.position, u, atol=1e-10)
    np.testing.assert_allclose(back.momentum, -p, atol=1e-10)
    value, gradient = jax.value_and_grad(density)(there.position)
    np.testing.assert_allclose(there.logdensity, value, rtol=1e-12)
    np.testing.assert_allclose(there.logdensity_grad, gradient, atol=1e-10)


def test_flatten_is_the_inverse_of_unflatten():
    shapes = density_of("three layers with biases").target.shapes()
    q = jnp.arange(sum(leaf.size for leaf in jax.tree.leaves(shapes)), dtype=float)
    np.testing.assert_array_equal(flatten(unflatten(shapes, q)), q)
