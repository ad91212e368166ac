"""The cavity refresh leaves the posterior as it is: against quadrature, and whatever it believes about codes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from statistics_of_chains import assert_mean

import hiddencodes as hc
from hiddencodes.sampling.cavity_refresh import Codes, refresh

N, P, Y = 2, 2, np.array([[1.2], [-0.4]])
WEIGHT, SCALE = 0.6, 1.3
# Gauss-Legendre nodes and weights between the places where something jumps or has a kink: 0 (a rectified unit), 1/2 (the count).
PIECES = [(-5.5, 0.0, 11), (0.0, 0.5, 4), (0.5, 5.5, 12)]


def codes(kind: str) -> Codes:
    """Two codes and an unused row: good ones, or ones that are off."""
    off = 0.0 if kind == "sensible" else 1.5
    return Codes(
        jnp.log(jnp.array([0.5, 0.5, 0.0])) if kind == "sensible" else jnp.log(jnp.array([0.9, 0.1, 0.0])),
        jnp.array([[1.0 + off], [-1.0], [0.0]]),
        jnp.array([[[1.0]], [[1.4]], [[1.0]]]),
        jnp.array([[0.8, 0.3], [0.2, 0.9 - 0.5 * off], [0.0, 0.0]]),
    )


def functions(x, phi):
    """Functions of the units that are not changed by exchanging them, last axes (unit, pattern)."""
    kernel = np.swapaxes(phi, -1, -2) @ phi / N
    squares = np.sum(x**2, axis=-2)
    active = np.sum(np.all(x > 0.5, axis=-1), axis=-1)
    return np.stack(
        [kernel[..., 0, 0], kernel[..., 0, 1], kernel[..., 1, 1], squares[..., 0], squares[..., 1], active,
         np.prod(x, axis=(-1, -2)), np.sum(x[..., 0] * x[..., 1], axis=-1)], axis=-1,
    )  # fmt: skip


def by_quadrature(activation: hc.Activation, temperature: float) -> np.ndarray:
    """Posterior means of `functions`, by integrating over all pre-activations."""
    rules = [(np.polynomial.legendre.leggauss(n), a, b) for a, b, n in PIECES]
    nodes = np.concatenate([0.5 * (a + b) + 0.5 * (b - a) * x for (x, _), a, b in rules])
    weights = np.concatenate([0.5 * (b - a) * w for (_, w), a, b in rules])
    x = np.stack(np.meshgrid(*[nodes] * (N * P), indexing="ij"), axis=-1).reshape(-1, N, P)
    volume = np.prod(np.stack(np.meshgrid(*[weights] * (N * P), indexing="ij"), axis=-1), axis=-1).ravel()
    phi = np.asarray(activation(jnp.asarray(SCALE * x)))
    gram = WEIGHT * np.swapaxes(phi, 1, 2) @ phi + temperature * np.eye(P)
    solved = np.linalg.solve(gram, np.broadcast_to(Y, (len(x), P, 1)))[..., 0]
    log = -0.5 * np.linalg.slogdet(gram)[1] - 0.5 * solved @ Y[:, 0] - 0.5 * np.sum(x**2, axis=(1, 2))
    weight = volume * np.exp(log - log.max())
    return weight @ functions(x, phi) / weight.sum()


def chains(
    activation: hc.Activation, temperature: float, kind: str, sweeps: int = 800
) -> tuple[np.ndarray, np.ndarray]:
    def sweep(x, key):
        keys = jax.random.split(key, len(x))
        one = lambda key, x: refresh(
            key,
            x,
            jnp.asarray(Y),
            jnp.asarray(SCALE),
            jnp.asarray(WEIGHT),
            jnp.asarray(temperature),
            codes(kind),
            activation,
        )
        x, info = jax.vmap(one)(keys, x)
        return x, (x, info.accepted.sum(0), info.proposed.sum(0))

    x = jax.random.normal(jax.random.key(0), (16, N, P))
    _, (xs, accepted, proposed) = jax.jit(
        lambda x: jax.lax.scan(sweep, x, jax.random.split(jax.random.key(1), sweeps))
    )(x)
    xs = np.swapaxes(np.asarray(xs)[sweeps // 10 :], 0, 1)
    rate = float(np.sum(accepted) / np.sum(proposed))
    assert not np.any(np.asarray(proposed)[:, 2]), "an unused row is never proposed"
    return functions(xs, np.asarray(activation(jnp.asarray(SCALE * xs)))), np.asarray(rate)


@pytest.mark.parametrize("activation", [hc.sigmoidal, hc.tanh, hc.relu], ids=lambda a: a.name)
@pytest.mark.parametrize("temperature", [0.03, 0.3])
def test_two_units_against_quadrature(activation, temperature):
    found, rate = chains(activation, temperature, "sensible")
    assert rate > 0.05
    assert_mean(found, by_quadrature(activation, temperature))


def test_wrong_beliefs_about_codes_cost_acceptance_and_nothing_else():
    found, rate = chains(hc.sigmoidal, 0.1, "off", sweeps=2500)
    assert rate < 0.8 * chains(hc.sigmoidal, 0.1, "sensible", sweeps=100)[1]
    assert_mean(found, by_quadrature(hc.sigmoidal, 0.1))


def test_quadrature_at_high_temperature_is_the_prior():
    # 1.2e-6 of a Gaussian variance lies beyond 5.5 standard deviations.
    np.testing.assert_allclose(by_quadrature(hc.sigmoidal, 1e8)[3:5], N, rtol=3e-6)
