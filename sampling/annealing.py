"""Tempered sequential Monte Carlo in one compiled program: populations of particles walk a path from prior to posterior.

A step reweights the particles of every population from one point of the path to the next, resamples them (systematic
resampling) and moves them by transitions of a kernel at the new point. The averages of the weights multiply to an estimate of
the ratio of normalizing constants whose expectation is the truth (Del Moral, Doucet and Jasra, JRSS B 68, 2006), for
any number of particles and however badly the kernel moves them, where points and kernels were chosen beforehand.

Chosen on the way, they depend on the particles. They are therefore chosen from the particles of all populations together,
which biases an estimate by a part of order one over the number of all of them (arXiv 1306.6462), and are the same for all:

* the next point is where the effective sample size of all weights falls to a given share;
* the metric is the variance of the resampled particles, pooled over exchangeable coordinates;
* the step size follows the average acceptance after every transition, log ε += (accepted - target), and is carried over from
  point to point.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from blackjax.smc.ess import log_ess
from blackjax.smc.resampling import systematic
from blackjax.smc.solver import dichotomy
from jax.scipy.special import logsumexp
from jaxtyping import Array, Bool, Float, Int, Key

from hiddencodes.sampling import adaptation
from hiddencodes.sampling.path import Coordinates, Path, Schedule, coordinates, log_likelihood, next_corner
from hiddencodes.sampling.sampler import Sampler
from hiddencodes.sampling.target import Target

# Jittered over (0, L], a rotation by one radian per unit of time has lost its start on average when L is half a turn.
LENGTH = np.pi
# The effective sample size is met to this relative accuracy.
_ESS_TOLERANCE = 0.01
# Weight, in particles, with which a measured variance is drawn towards that of the prior (one).
_METRIC_PRIOR = 5.0


class Steps(NamedTuple):
    """What steps of the path report.

    Attributes:
        log_weight: Log of the average weight, per population.
        ess: Effective sample size of the weights of all populations, as a share of their number.
        acceptance: Average acceptance of the last transition.
        divergences: Divergent transitions, of all particles.
        n_steps: Gradients per transition, averaged.
        gradient: Average of the derivatives of the log-likelihood by λ and by log γ at the new point, per population.
    """

    log_weight: Float[Array, "step population"]
    ess: Float[Array, " step"]
    acceptance: Float[Array, " step"]
    divergences: Int[Array, " step"]
    n_steps: Float[Array, " step"]
    gradient: Coordinates


class Annealed(NamedTuple):
    """Particles at the end of the path.

    Attributes:
        q: Whitened positions.
        ancestor: Number of the prior draw that a particle descends from, within its population.
        n_done: Steps taken.
        position: Where the walk stopped; the end of the path unless steps ran out or weights were not finite.
        schedule: Points and tuning; rows beyond ``n_done`` are zero.
        steps: What the steps report.
        acceptance: Average acceptance of a particle over the transitions of the last step.
        diverging: Whether one of them diverged.
    """

    q: Float[Array, "population particle dimension"]
    ancestor: Int[Array, "population particle"]
    n_done: Int[Array, ""]
    position: Float[Array, ""]
    schedule: Schedule
    steps: Steps
    acceptance: Float[Array, "population particle"]
    diverging: Bool[Array, "population particle"]


class _Cloud(NamedTuple):
    """All particles at a point of the path."""

    q: Float[Array, "population particle dimension"]
    log_likelihood: Float[Array, "population particle"]
    ancestor: Int[Array, "population particle"]
    log_step_size: Float[Array, ""]
    acceptance: Float[Array, "population particle"]
    diverging: Bool[Array, "population particle"]


def each(function: Callable[..., Any]) -> Callable[..., Any]:
    """``vmap`` over populations and particles."""
    return jax.vmap(jax.vmap(function))


def pooled_scale(
    q: Float[Array, "population particle dimension"], groups: Int[np.ndarray, " dimension"]
) -> Float[Array, " group"]:
    """Root of the variance over all particles, pooled over exchangeable coordinates and drawn towards one."""
    n = q.shape[0] * q.shape[1]
    squares = jax.ops.segment_sum(n * jnp.var(q, axis=(0, 1)), groups, int(groups.max()) + 1)
    counts = np.bincount(groups).astype(q.dtype)
    return jnp.sqrt((squares / counts + _METRIC_PRIOR) / (n + _METRIC_PRIOR))


def particle_keys(keys: Key[Array, " population"], number: Int[Array, ""], n: int) -> Array:
    """A key for every particle, (population, particle)."""
    return jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, number), n))(keys)


def _move(
    sampler: Sampler,
    target: Target,
    transitions: int,
    keys: Key[Array, " population"],
    first: Int[Array, ""],
    path: Path,
    position: Float[Array, ""],
    cloud: _Cloud,
    scale: Float[Array, " dimension"],
    adapt: Bool[Array, ""],
) -> tuple[_Cloud, Float[Array, ""], Int[Array, ""], Float[Array, ""], Coordinates]:
    """Transitions of all particles at a point of the path; also the last acceptance, divergences, gradients and slopes."""
    dtype = cloud.q.dtype
    at = coordinates(path, position)

    def density(u: Float[Array, " dimension"]) -> Float[Array, ""]:
        q = scale * u
        return -0.5 * jnp.vdot(q, q) + log_likelihood(target, path, q, at)

    length = jnp.asarray(np.log(LENGTH * sampler.length_unit(target.dimension)), dtype)

    def body(i: Array, carry: tuple[Any, ...]) -> tuple[Any, ...]:
        state, log_step, acceptance, diverging, _, divergences, gradients = carry
        jitter = adaptation.halton(first + i, dtype)
        n_steps = adaptation.n_steps(sampler, log_step[None], length, jitter)
        step = lambda key, state: sampler.step(
            key, state, density, jnp.exp(log_step), n_steps, sampler.max_steps
        )
        state, info = each(step)(particle_keys(keys, first + i, cloud.q.shape[1]), state)
        rate = info.acceptance_rate.astype(dtype)
        mean = jnp.mean(rate)
        log_step = log_step + jnp.where(adapt, mean - sampler.target_acceptance, 0.0)
        return (
            state,
            log_step,
            acceptance + rate / transitions,
            diverging | info.diverging,
            mean,
            divergences + jnp.sum(info.diverging, dtype=jnp.int32),
            gradients + jnp.mean(info.n_steps.astype(dtype)) / transitions,
        )

    zero = jnp.zeros((), dtype)
    start = (
        each(lambda q: sampler.init(q / scale, density))(cloud.q),
        cloud.log_step_size,
        jnp.zeros(cloud.acceptance.shape, dtype),
        jnp.zeros(cloud.diverging.shape, bool),
        zero,
        jnp.zeros((), jnp.int32),
        zero,
    )
    state, log_step, acceptance, diverging, last, divergences, gradients = jax.lax.fori_loop(
        0, transitions, body, start
    )
    q = state.position * scale[None, None, :]
    by_path = jax.value_and_grad(lambda at, q: log_likelihood(target, path, q, at))
    everywhere = jax.tree.map(lambda leaf: jnp.full(q.shape[:2], leaf), at)
    log_l, slope = each(by_path)(everywhere, q)
    moved = _Cloud(q, log_l, cloud.ancestor, log_step, acceptance, diverging)
    return moved, last, divergences, gradients, jax.tree.map(lambda leaf: jnp.mean(leaf, axis=1), slope)


def _anneal(
    sampler: Sampler,
    target: Target,
    particles: int,
    transitions: int,
    keys: Key[Array, " population"],
    path: Path,
    ess_target: Float[Array, ""],
    given: Schedule,
    n_given: Int[Array, ""],
) -> Annealed:
    """Walk the path; at most as many steps as ``given`` has rows."""
    groups = target.groups()
    capacity, dtype = given.position.shape[0], given.scale.dtype
    populations = keys.shape[0]
    fixed = n_given > 0
    start_keys, resampling_keys, moving_keys = (
        jax.vmap(lambda key, i=i: jax.random.fold_in(key, i))(keys) for i in range(3)
    )

    def next_position(position: Array, cloud: _Cloud) -> Array:
        def excess(delta: Array) -> Array:
            return log_ess(jnp.ravel(log_weights(position + delta, cloud))) - jnp.log(
                ess_target * populations * particles
            )

        corner = next_corner(path, position)
        delta = dichotomy(excess, jnp.zeros((), dtype), corner - position, eps=_ESS_TOLERANCE)
        # Adding the difference to the position might miss the corner by a rounding error.
        return jnp.where(delta == corner - position, corner, position + delta)

    def log_weights(position: Array, cloud: _Cloud) -> Array:
        at = coordinates(path, position)
        return each(lambda q: log_likelihood(target, path, q, at))(cloud.q) - cloud.log_likelihood

    def more(carry: tuple[Any, ...]) -> Array:
        i, position, *_ = carry
        # Not so for NaN: weights that are not finite end the walk.
        return (i < jnp.where(fixed, n_given, capacity)) & (position < path.end)

    def body(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        i, position, cloud, schedule, steps = carry
        position = jax.lax.cond(fixed, lambda: given.position[i], lambda: next_position(position, cloud))
        weights = log_weights(position, cloud)
        log_sum = logsumexp(weights, axis=1)
        step_keys = jax.vmap(lambda key: jax.random.fold_in(key, i))(resampling_keys)
        index = jax.vmap(lambda key, w: systematic(key, w, particles))(
            step_keys, jnp.exp(weights - log_sum[:, None])
        )
        q = jnp.take_along_axis(cloud.q, index[:, :, None], axis=1)
        scale = jnp.where(fixed, given.scale[i], pooled_scale(q, groups))
        log_step = jnp.where(fixed, jnp.log(jnp.asarray(given.step_size[i])), cloud.log_step_size)
        resampled = cloud._replace(
            q=q, ancestor=jnp.take_along_axis(cloud.ancestor, index, axis=1), log_step_size=log_step
        )
        cloud, acceptance, divergences, gradients, slope = _move(
            sampler,
            target,
            transitions,
            moving_keys,
            i * transitions,
            path,
            position,
            resampled,
            scale[groups],
            ~fixed,
        )
        row = Steps(
            log_sum - np.log(particles).astype(dtype),
            jnp.exp(log_ess(jnp.ravel(weights))) / (populations * particles),
            acceptance,
            divergences,
            gradients,
            slope,
        )
        put = lambda buffer, value: buffer.at[i].set(value)
        schedule = jax.tree.map(put, schedule, Schedule(position, jnp.exp(cloud.log_step_size), scale))
        return i + 1, position, cloud, schedule, jax.tree.map(put, steps, row)

    normal = lambda key: jax.random.normal(key, (particles, target.dimension), dtype)
    flat = (populations, particles)
    cloud = _Cloud(
        jax.vmap(normal)(start_keys),
        jnp.zeros(flat, dtype),  # a likelihood to the power of zero
        jnp.broadcast_to(jnp.arange(particles, dtype=jnp.int32)[None, :], flat),
        jnp.asarray(np.log(sampler.initial_step_size(target.dimension)), dtype),
        jnp.zeros(flat, dtype),
        jnp.zeros(flat, bool),
    )
    one, each_population = jnp.zeros(capacity, dtype), jnp.zeros((capacity, populations), dtype)
    steps = Steps(
        each_population,
        one,
        one,
        jnp.zeros(capacity, jnp.int32),
        one,
        Coordinates(each_population, each_population),
    )
    start = (
        jnp.zeros((), jnp.int32),
        jnp.zeros((), dtype),
        cloud,
        jax.tree.map(jnp.zeros_like, given),
        steps,
    )
    n_done, position, cloud, schedule, steps = jax.lax.while_loop(more, body, start)
    return Annealed(
        cloud.q, cloud.ancestor, n_done, position, schedule, steps, cloud.acceptance, cloud.diverging
    )


anneal = jax.jit(_anneal, static_argnames=("sampler", "target", "particles", "transitions"))
