"""What is done to every unit of a population between two moves of its law: resampling and Metropolis moves."""

# JAX and BlackJAX leave parts of their signatures untyped; this file calls little else.
# pyright: reportMissingTypeStubs=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Callable
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
from blackjax.smc.ess import log_ess
from blackjax.smc.resampling import systematic
from jaxtyping import Array, Float, PRNGKeyArray

# BlackJAX annotates the arrays of its states and reports as float and bool.
_kernel: Any = blackjax.hmc.build_kernel()
_init: Any = blackjax.hmc.init
_systematic: Any = systematic
log_effective_size: Any = log_ess

_LEAPFROG_STEPS = 5
_TARGET_ACCEPTANCE = 0.8
_RESAMPLING_SIZE = 0.8

# ½ of the quadratic form in φ by which the law of a unit differs from its prior.
Tilt = Callable[[Float[Array, " coordinate"]], Float[Array, ""]]


def even_log_weights(units: int, dtype: Any) -> Float[Array, " unit"]:
    """Logarithms of 1/units."""
    return jnp.full(units, -jnp.log(jnp.asarray(units, dtype)), dtype)


def resample(
    coordinates: Float[Array, "unit coordinate"], log_weights: Float[Array, " unit"], key: PRNGKeyArray
) -> tuple[Float[Array, "unit coordinate"], Float[Array, " unit"]]:
    """Draw units by their normalized weights (systematic resampling) if the effective sample size has become low."""
    units, dtype = len(log_weights), log_weights.dtype
    uneven = log_effective_size(log_weights) < jnp.log(jnp.asarray(_RESAMPLING_SIZE * units, dtype))
    drawn = _systematic(key, jnp.exp(log_weights), units)
    chosen = jnp.where(uneven, drawn, jnp.arange(units, dtype=drawn.dtype))
    return coordinates[chosen], jnp.where(uneven, even_log_weights(units, dtype), log_weights)


def mutate(
    tilt: Tilt, coordinates: Float[Array, "unit coordinate"], log_step: Float[Array, ""], key: PRNGKeyArray
) -> tuple[Float[Array, "unit coordinate"], Float[Array, ""], Float[Array, ""]]:
    """A reflection and a trajectory of Hamiltonian Monte Carlo per unit, for the density ∝ N(ξ) exp(tilt(ξ)).

    The prior is even in ξ, so that the reflection ξ → -ξ is a Metropolis proposal. It changes a code into its complement,
    and is accepted throughout where φ is odd up to a constant that the tilt does not feel.

    Args:
        tilt: Of one unit.
        coordinates: ξ.
        log_step: Logarithm of the leapfrog step.
        key: Random key.

    Returns:
        The units, the step for next time, adapted to its target acceptance, and the mean acceptance.
    """

    def log_density(xi: Float[Array, " coordinate"]) -> Float[Array, ""]:
        return tilt(xi) - 0.5 * jnp.sum(jnp.square(xi))

    def move(
        key: PRNGKeyArray, xi: Float[Array, " coordinate"], step: Float[Array, ""]
    ) -> tuple[Float[Array, " coordinate"], Float[Array, ""]]:
        state = _init(xi, log_density)
        state, info = _kernel(key, state, log_density, step, jnp.ones_like(xi), _LEAPFROG_STEPS)
        return state.position, info.acceptance_rate

    units = len(coordinates)
    lengths, trajectories, reflections = jax.random.split(key, 3)
    gain = jax.vmap(tilt)(-coordinates) - jax.vmap(tilt)(coordinates)
    reflected = jnp.log(jax.random.uniform(reflections, (units,), coordinates.dtype)) < gain
    coordinates = jnp.where(reflected[:, None], -coordinates, coordinates)
    # Trajectories of one length could leave a mode of that period where it was.
    jitter = jax.random.uniform(lengths, (units,), coordinates.dtype, minval=0.6, maxval=1.4)
    keys = jax.random.split(trajectories, units)
    moved, acceptances = jax.vmap(move)(keys, coordinates, jnp.exp(log_step) * jitter)
    acceptance = jnp.mean(acceptances)
    return moved, log_step + 0.5 * (acceptance - _TARGET_ACCEPTANCE), acceptance
