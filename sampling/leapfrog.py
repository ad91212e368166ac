"""Leapfrog in the coordinates in which a gradient is cheapest: those of the weights.

BlackJAX's integrators see a function of the whitened, rescaled position u. With every gradient come then passes over all coordinates
that bring u to the weights and the gradient back, one for the prior, two half kicks, and a value that only the end point needs; beside
the matrix products of a network with 100 units that was a quarter of the time. Here ``w = stretch * u`` is what moves,

    w <- w + eps stretch * p,        p <- p + eps stretch * dL/dw - eps stretch slope^2 * w,

which is velocity Verlet in u for ``log pi(u) = L(w) - |slope * w|^2 / 2``, the same map as BlackJAX's up to rounding.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from blackjax.mcmc.hmc import HMCInfo
from blackjax.mcmc.integrators import IntegratorState
from blackjax.mcmc.proposal import safe_energy_diff, static_binomial_sampling
from jaxtyping import Array, Float, Int, PRNGKeyArray

from hiddencodes.sampling.sampler import LogDensity
from hiddencodes.sampling.target import Density, Network, flatten, unflatten

# BlackJAX annotates arrays as float, bool and trees of anything.
_safe_energy_diff: Any = safe_energy_diff
_metropolis: Any = static_binomial_sampling
_info: Any = HMCInfo


class Forces(NamedTuple):
    """A log-density ``log pi(u) = likelihood(w) - |slope * w|^2 / 2`` with ``w = stretch * u``, w a tree of arrays.

    Attributes:
        likelihood: A function of w.
        stretch: Weights per unit of u, a tree like w.
        slope: Prior-whitened coordinates per unit of w, numbers in a tree like w; zero if ``likelihood`` is the whole density.
        split: A flat vector as a tree like w.
        join: A tree like w as a flat vector.
    """

    likelihood: Callable[[Any], Float[Array, ""]]
    stretch: Any
    slope: Any
    split: Callable[[Float[Array, " dimension"]], Any]
    join: Callable[[Any], Float[Array, " dimension"]]


def forces(density: LogDensity, u: Float[Array, " dimension"]) -> Forces:
    """The forces of a density; a function of which nothing more is known is a likelihood of u.

    Args:
        density: A `Density`, or any function of a position.
        u: A position, for its shape and type.
    """
    if not (isinstance(density, Density) and isinstance(density.target, Network)):
        whole: Callable[[Any], Any] = lambda x: x
        return Forces(density, jnp.ones_like(u), jnp.zeros((), u.dtype), whole, whole)
    target, data = density.target, density.data
    shapes = target.shapes()
    split: Callable[[Any], Any] = lambda x: unflatten(shapes, x)
    std = target.prior_std(data)
    return Forces(
        lambda w: target.log_likelihood_of(w, data, density.inverse_temperature),
        jax.tree.map(jnp.multiply, split(density.scale), std),
        jax.tree.map(lambda s: 1.0 / s, std),
        split,
        flatten,
    )


def integrate(
    density: LogDensity, state: Any, step_size: Float[Array, ""], n_steps: Int[Array, ""]
) -> IntegratorState:
    """The end of a trajectory of ``n_steps >= 1`` leapfrog steps with the unit metric.

    Args:
        density: The log-density.
        state: Position, momentum, log-density and its gradient at the start.
        step_size: eps.
        n_steps: Number of steps, one gradient each.
    """
    f = forces(density, state.position)
    slope = jax.tree.map(jnp.square, f.slope)
    pace = jax.tree.map(lambda m: step_size * m, f.stretch)
    decay = jax.tree.map(jnp.multiply, pace, slope)
    drift = lambda w, p: jax.tree.map(lambda w, a, p: w + a * p, w, pace, p)
    force = lambda w, g: jax.tree.map(lambda a, g, b, w: a * g - b * w, pace, g, decay, w)

    def step(_: Array, at: tuple[Any, Any]) -> tuple[Any, Any]:
        w, p = at
        w = drift(w, p)
        return w, jax.tree.map(jnp.add, p, force(w, jax.grad(f.likelihood)(w)))

    w = jax.tree.map(jnp.multiply, f.stretch, f.split(state.position))
    p = f.split(state.momentum + 0.5 * step_size * state.logdensity_grad)
    w, p = jax.lax.fori_loop(0, n_steps - 1, step, (w, p))
    w = drift(w, p)
    value, gradient = jax.value_and_grad(f.likelihood)(w)
    p = jax.tree.map(lambda p, kick: p + 0.5 * kick, p, force(w, gradient))
    prior = sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(jax.tree.map(jnp.multiply, f.slope, w)))
    in_u = jax.tree.map(lambda m, g, s, w: m * g - m * s * w, f.stretch, gradient, slope, w)
    position = jax.tree.map(jnp.divide, w, f.stretch)
    return IntegratorState(f.join(position), f.join(p), value - 0.5 * prior, f.join(in_u))


def hand_over(density: LogDensity, kinetic_energy: Any) -> LogDensity:
    """In place of an integrator: BlackJAX hands what it gets here to `proposal`."""
    del kinetic_energy
    return density


def proposal(
    density: LogDensity, kinetic_energy: Any, step_size: Array, n_steps: Array, divergence_threshold: Any
) -> Callable[[PRNGKeyArray, IntegratorState], tuple[IntegratorState, HMCInfo, None]]:
    """The end point of a trajectory and its Metropolis test, for ``build_proposal`` of `blackjax.hmc.build_kernel`."""

    def energy(state: Any) -> Array:
        return -state.logdensity + kinetic_energy(state.momentum, position=state.position)

    def generate(key: PRNGKeyArray, state: Any) -> tuple[IntegratorState, HMCInfo, None]:
        end: Any = integrate(density, state, step_size, n_steps)
        # Flipped, the momentum makes the proposal an involution.
        end = end._replace(momentum=-end.momentum)
        after = energy(end)
        gain = _safe_energy_diff(energy(state), after)
        chosen, (accepted, rate, _) = _metropolis(key, gain, state, end)
        return (
            chosen,
            _info(state.momentum, rate, accepted, -gain > divergence_threshold, after, end, n_steps),
            None,
        )

    return generate
