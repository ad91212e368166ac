"""Polygonal densities: what is drawn is drawn from exactly the density that is evaluated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hiddencodes as hc
from hiddencodes.sampling import unit_density

LINEAR = jnp.array([0.0, 3.0, -8.0, 12.0])
QUADRATIC = jnp.array([0.0, 0.5, 4.0, 30.0])


@pytest.fixture(scope="module")
def densities():
    return unit_density.polygons(LINEAR, QUADRATIC, hc.sigmoidal(unit_density.nodes(jnp.float64)))


def pointwise(densities, x):
    """Density of every pattern at every x, (pattern, x)."""
    x = jnp.asarray(x)
    return np.exp(jax.vmap(lambda x: unit_density.log_density(densities, jnp.full(4, x)), out_axes=1)(x))


def test_densities_integrate_to_one_and_vanish_outside(densities):
    nodes = np.asarray(unit_density.nodes(jnp.float64))
    # Simpson's rule is exact on every cell of a polygon.
    x = (1.0 - 1e-14) * np.linspace(nodes[0], nodes[-1], 2 * (len(nodes) - 1) + 1)
    weights = np.ones(len(x))
    weights[1:-1:2], weights[2:-1:2] = 4.0, 2.0
    np.testing.assert_allclose(pointwise(densities, x) @ weights * (x[1] - x[0]) / 3.0, 1.0, rtol=1e-12)
    assert not np.any(pointwise(densities, [nodes[0] - 1e-6, nodes[-1] + 1e-6]))


def test_densities_are_close_to_the_curves(densities):
    x = np.linspace(-5.4, 5.4, 4001)
    phi = np.asarray(hc.sigmoidal(jnp.asarray(x)))
    exponent = np.asarray(LINEAR)[:, None] * phi - 0.5 * np.asarray(QUADRATIC)[:, None] * phi**2 - 0.5 * x**2
    exact = np.exp(exponent - exponent.max(axis=1, keepdims=True))
    exact /= exact.sum(axis=1, keepdims=True) * (x[1] - x[0])
    found = pointwise(densities, x)
    divergence = np.sum(exact * np.log(exact / np.maximum(found, 1e-300)), axis=1) * (x[1] - x[0])
    # What a whole unit loses at 200 patterns in a field this strong is less than one nat.
    assert np.all(200 * divergence < 1.0)


def test_draws_have_the_distribution_function_of_the_density(densities):
    # Draws at equally spaced uniforms are the quantiles: integrating the density up to them gives the uniforms back.
    uniforms = jnp.linspace(0.0, 1.0, 999, endpoint=False)
    draw = jax.vmap(lambda u: unit_density.draw(densities, jnp.full(4, u)), out_axes=1)
    quantiles = np.asarray(draw(uniforms))
    nodes = np.asarray(unit_density.nodes(jnp.float64))
    for heights, found in zip(np.asarray(densities.heights).T, quantiles, strict=True):
        total = np.trapezoid(heights, nodes)
        for u, quantile in zip(np.asarray(uniforms)[::50], found[::50], strict=True):
            ends = np.append(nodes[nodes < quantile], quantile)
            area = np.trapezoid(np.interp(ends, nodes, heights), ends) if len(ends) > 1 else 0.0
            assert area / total == pytest.approx(u, abs=1e-12)
    assert np.all(np.diff(quantiles, axis=1) >= 0.0)


@pytest.mark.parametrize("activation", [hc.linear, hc.relu, hc.sigmoidal], ids=str)
@pytest.mark.parametrize("uniform", [0.0, 1.0 - 2.0**-23])
def test_ends_of_the_interval_are_drawn_where_there_is_density(activation, uniform):
    rng = np.random.default_rng(3)
    linear, quadratic = (jnp.asarray(rng.normal(scale=s, size=2000), jnp.float32) for s in (5.0, 20.0))
    densities = unit_density.polygons(linear, jnp.abs(quadratic), activation(unit_density.nodes(jnp.float32)))
    drawn = unit_density.draw(densities, jnp.full(2000, uniform, jnp.float32))
    assert np.all(np.isfinite(unit_density.log_density(densities, drawn)))
