"""What moves between codes propose: readouts from a mixture over the codes known so far."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray


class Codes(NamedTuple):
    """What is known of the codes of a layer's units, in units of the prior standard deviation of the readout.

    Attributes:
        log_weight: Logarithm of the probability with which a code is proposed; minus infinity for an unused row, (code,).
        mean: Mean readout, (code, output).
        factor: Lower Cholesky factor of the covariance of the readout, (code, output, output).
        activation: Mean activation on every training pattern, (code, pattern).
    """

    log_weight: Float[Array, "*seed code"]
    mean: Float[Array, "*seed code output"]
    factor: Float[Array, "*seed code output output"]
    activation: Float[Array, "*seed code pattern"]


class RefreshInfo(NamedTuple):
    """Counts of a sweep by the code that the unit had and the code that was proposed, (code, code) each."""

    proposed: Int[Array, "code code"]
    accepted: Int[Array, "code code"]


class Proposals(NamedTuple):
    """Proposed readouts of all units, drawn before a sweep.

    Attributes:
        alpha: Readouts (unit, output).
        terms: Logarithms of the terms of their density, (unit, code).
    """

    alpha: Float[Array, "unit output"]
    terms: Float[Array, "unit code"]


def propose(key: PRNGKeyArray, codes: Codes, n_units: int) -> Proposals:
    """Readouts from the mixture, one per unit."""
    code_key, noise_key = jax.random.split(key)
    n_outputs = codes.mean.shape[1]
    drawn = jax.random.categorical(code_key, codes.log_weight, shape=(n_units,))
    noise = jax.random.normal(noise_key, (n_units, n_outputs), codes.mean.dtype)
    alpha = codes.mean[drawn] + jnp.einsum("urs,us->ur", codes.factor[drawn], noise)
    return Proposals(alpha, jax.vmap(mixture(codes))(alpha))


def mixture(codes: Codes) -> Callable[[Float[Array, " output"]], Float[Array, " code"]]:
    """The terms of the density of proposed readouts, logarithms, as a function of the readout."""
    identity = jnp.eye(codes.mean.shape[1], dtype=codes.mean.dtype)
    whiten = jax.vmap(lambda f: jax.scipy.linalg.solve_triangular(f, identity, lower=True))(codes.factor)
    log_size = jnp.sum(jnp.log(jnp.diagonal(codes.factor, axis1=1, axis2=2)), axis=1)

    def terms(alpha: Float[Array, " output"]) -> Float[Array, " code"]:
        distance = jnp.einsum("crs,cs->cr", whiten, alpha[None, :] - codes.mean)
        return codes.log_weight - 0.5 * jnp.sum(distance**2, axis=1) - log_size

    return terms
