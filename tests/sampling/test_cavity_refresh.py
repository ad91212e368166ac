"""The cavity refresh leaves the posterior as it is: against quadrature, and whatever it believes about codes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from statistics_of_chains import assert_mean
from two_units import SCALE, WEIGHT, N, P, Y, by_quadrature, functions

import hiddencodes as hc
from hiddencodes.sampling.cavity_refresh import refresh
from hiddencodes.sampling.code_proposals import Codes


def codes(kind: str) -> Codes:
    """Two codes and an unused row: good ones, or ones that are off."""
    off = 0.0 if kind == "sensible" else 1.5
    return Codes(
        jnp.log(jnp.array([0.5, 0.5, 0.0])) if kind == "sensible" else jnp.log(jnp.array([0.9, 0.1, 0.0])),
        jnp.array([[1.0 + off], [-1.0], [0.0]]),
        jnp.array([[[1.0]], [[1.4]], [[1.0]]]),
        jnp.array([[0.8, 0.3], [0.2, 0.9 - 0.5 * off], [0.0, 0.0]]),
    )


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


@pytest.mark.parametrize(
    ("activation", "temperature"),
    [
        (hc.sigmoidal, 0.03),
        (hc.relu, 0.3),
        *(
            pytest.param(activation, temperature, marks=pytest.mark.slow)
            for activation, temperature in [
                (hc.sigmoidal, 0.3),
                (hc.tanh, 0.03),
                (hc.tanh, 0.3),
                (hc.relu, 0.03),
            ]
        ),
    ],
    ids=str,
)
def test_two_units_against_quadrature(activation, temperature):
    found, rate = chains(activation, temperature, "sensible")
    assert rate > 0.05
    assert_mean(found, by_quadrature(activation, temperature))


@pytest.mark.slow
def test_wrong_beliefs_about_codes_cost_acceptance_and_nothing_else():
    found, rate = chains(hc.sigmoidal, 0.1, "off", sweeps=2500)
    assert rate < 0.8 * chains(hc.sigmoidal, 0.1, "sensible", sweeps=100)[1]
    assert_mean(found, by_quadrature(hc.sigmoidal, 0.1))


def test_quadrature_at_high_temperature_is_the_prior():
    # 1.2e-6 of a Gaussian variance lies beyond 5.5 standard deviations.
    np.testing.assert_allclose(by_quadrature(hc.sigmoidal, 1e8)[3:5], N, rtol=3e-6)
