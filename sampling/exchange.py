"""Replica exchange in one compiled program: every chain has a replica at every point of a path, and neighbours swap.

Replicas move by a local kernel at their point; at the prior they are drawn anew. Then neighbours (k, k+1), in turn those of
even and of odd k (arXiv 1905.02939), swap their positions with probability min(1, exp Δ),

    Δ = u_k(q_k) - u_k(q_{k+1}),     u_k(q) = log L_{k+1}(q) - log L_k(q),

which leaves the product of all densities invariant. The u_k are what Bennett's acceptance ratio needs
(`hiddencodes.sampling.evidence`).
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from hiddencodes.sampling import adaptation
from hiddencodes.sampling.annealing import LENGTH
from hiddencodes.sampling.path import Path, Schedule, coordinates, log_likelihood
from hiddencodes.sampling.sampler import Sampler
from hiddencodes.sampling.target import Target

# Folded into the number of an iteration: the streams of prior draws, swaps and observables.
_PRIOR, _SWAP, _OBSERVE = (np.uint32(2**32 - 1 - i) for i in range(3))


class Replicas(NamedTuple):
    """All replicas of all chains; rung 0 is the prior.

    Attributes:
        q: Whitened positions.
        fresh: Whether a replica has been at the prior since it was at the last rung.
        log_step_size: Of every rung but the prior.
    """

    q: Float[Array, "rung chain dimension"]
    fresh: Bool[Array, "rung chain"]
    log_step_size: Float[Array, " step"]


class Recorded(NamedTuple):
    """What is recorded; counts and averages are over the transitions of a stored draw.

    Attributes:
        observed: Observables at the last rung, (draw, chain, ...) each.
        forward: u_k at the replicas of rung k.
        backward: u_k at the replicas of rung k + 1.
        swaps: How many swaps between k and k + 1 were accepted.
        proposals: How many were proposed.
        acceptance: Acceptance of the local kernel at every rung but the prior.
        diverging: Whether the local kernel diverged at the last rung.
        n_steps: Gradients per transition at the last rung.
        arrivals: How many replicas came from the prior to the last rung.
        finite: Whether positions are finite at all rungs.
    """

    observed: dict[str, Array]
    forward: Float[Array, "draw pair chain"]
    backward: Float[Array, "draw pair chain"]
    swaps: Int[Array, "draw pair chain"]
    proposals: Int[Array, "draw pair chain"]
    acceptance: Float[Array, "draw step chain"]
    diverging: Bool[Array, "draw chain"]
    n_steps: Float[Array, " draw"]
    arrivals: Int[Array, "draw chain"]
    finite: Bool[Array, "draw chain"]


def swap_index(accepted: Bool[Array, "pair chain"]) -> Int[Array, "rung chain"]:
    """Where every rung takes its replica from, given which pairs of neighbours, none of them adjacent, swap."""
    none = jnp.zeros((1, accepted.shape[1]), jnp.int32)
    up = jnp.concatenate([accepted.astype(jnp.int32), none])
    down = jnp.concatenate([none, accepted.astype(jnp.int32)])
    return jnp.arange(up.shape[0], dtype=jnp.int32)[:, None] + up - down


def _differences(
    target: Target, path: Path, position: Float[Array, " rung"], q: Float[Array, "rung chain dimension"]
) -> tuple[Float[Array, "pair chain"], Float[Array, "pair chain"]]:
    """u_k at the replicas of rung k and at those of rung k + 1."""

    def at(positions: Array, q: Array) -> Array:
        one = lambda t, q: log_likelihood(target, path, q, coordinates(path, t))
        return jax.vmap(jax.vmap(one, in_axes=(None, 0)))(positions, q)

    own = at(position, q)
    return at(position[1:], q[:-1]) - own[:-1], own[1:] - at(position[:-1], q[1:])


def _iterate(
    sampler: Sampler,
    target: Target,
    key: Array,
    iteration: Int[Array, ""],
    gain: Float[Array, ""],
    path: Path,
    schedule: Schedule,
    replicas: Replicas,
) -> tuple[Replicas, dict[str, Array]]:
    """Local transitions, then swaps."""
    q, fresh, log_step = replicas
    rungs, chains, _ = q.shape
    dtype = q.dtype
    scale = jnp.asarray(schedule.scale)[:, target.groups()]
    position = jnp.concatenate([jnp.zeros(1, dtype), jnp.asarray(schedule.position)])
    here = jax.random.fold_in(key, iteration)
    length = jnp.asarray(np.log(LENGTH * sampler.length_unit(target.dimension)), dtype)
    jitter = adaptation.halton(iteration, dtype)

    def move(key: Any, q: Array, t: Array, scale: Array, log_step: Array) -> tuple[Array, Any]:
        at = coordinates(path, t)

        def density(u: Array) -> Array:
            x = scale * u
            return -0.5 * jnp.vdot(x, x) + log_likelihood(target, path, x, at)

        n_steps = adaptation.n_steps(sampler, log_step[None], length, jitter)
        state = sampler.init(q / scale, density)
        state, info = sampler.step(key, state, density, jnp.exp(log_step), n_steps, sampler.max_steps)
        return scale * state.position, info

    keys = jax.random.split(here, (rungs - 1, chains))
    all_rungs = jax.vmap(jax.vmap(move, in_axes=(0, 0, None, None, None)))
    moved, info = all_rungs(keys, q[1:], position[1:], scale, log_step)
    prior = jax.random.normal(jax.random.fold_in(here, _PRIOR), (1, *q.shape[1:]), dtype)
    q = jnp.concatenate([prior, moved])
    fresh = jnp.concatenate([jnp.ones((1, chains), bool), fresh[1:]])
    rate = info.acceptance_rate.astype(dtype)
    log_step = log_step + gain * (jnp.mean(rate, axis=1) - sampler.target_acceptance)

    forward, backward = _differences(target, path, position, q)
    active = (jnp.arange(rungs - 1, dtype=jnp.int32) + iteration) % 2 == 0
    uniform = jax.random.uniform(jax.random.fold_in(here, _SWAP), forward.shape, dtype)
    accepted = (jnp.log(uniform) < forward - backward) & active[:, None]
    index = swap_index(accepted)
    q = jnp.take_along_axis(q, index[:, :, None], axis=0)
    fresh = jnp.take_along_axis(fresh, index, axis=0)
    report = {
        "forward": forward,
        "backward": backward,
        "swaps": accepted.astype(jnp.int32),
        "proposals": jnp.broadcast_to(active[:, None], accepted.shape).astype(jnp.int32),
        "acceptance": rate,
        "diverging": info.diverging[-1],
        "n_steps": jnp.mean(info.n_steps[-1].astype(dtype)),
        "arrivals": fresh[-1].astype(jnp.int32),
        "finite": jnp.all(jnp.isfinite(q), axis=(0, 2)),
    }
    return Replicas(q, fresh.at[-1].set(False), log_step), report


def _exchange(
    sampler: Sampler,
    target: Target,
    draws: int,
    key: Array,
    warmup: Int[Array, ""],
    thin: Int[Array, ""],
    path: Path,
    schedule: Schedule,
    q: Float[Array, "rung chain dimension"],
) -> tuple[Replicas, Recorded]:
    """Warm up, which adapts the step sizes, and sample."""
    dtype = q.dtype
    one = partial(_iterate, sampler, target)
    warmup_key, sampling_key, observing_key = (jax.random.fold_in(key, i) for i in range(3))
    replicas = Replicas(q, jnp.zeros(q.shape[:2], bool), jnp.log(jnp.asarray(schedule.step_size)))

    def warm(i: Array, replicas: Replicas) -> Replicas:
        gain = (1.0 + i.astype(dtype)) ** -0.6
        return one(warmup_key, i, gain, path, schedule, replicas)[0]

    replicas = jax.lax.fori_loop(0, warmup, warm, replicas)
    replicas = replicas._replace(fresh=jnp.zeros(q.shape[:2], bool))
    shapes = jax.eval_shape(
        lambda r: one(sampling_key, jnp.zeros((), jnp.int32), jnp.zeros((), dtype), path, schedule, r)[1],
        replicas,
    )

    def draw(d: Array, carry: tuple[Replicas, Any]) -> tuple[Replicas, Any]:
        replicas, buffers = carry

        def transition(k: Array, carry: tuple[Replicas, Any]) -> tuple[Replicas, Any]:
            replicas, sums = carry
            replicas, report = one(sampling_key, d * thin + k, jnp.zeros((), dtype), path, schedule, replicas)
            sums = {
                **report,  # u_k of the last transition: one of every stored draw
                "swaps": sums["swaps"] + report["swaps"],
                "proposals": sums["proposals"] + report["proposals"],
                "acceptance": sums["acceptance"] + report["acceptance"] / thin.astype(dtype),
                "diverging": sums["diverging"] | report["diverging"],
                "n_steps": sums["n_steps"] + report["n_steps"] / thin.astype(dtype),
                "arrivals": sums["arrivals"] + report["arrivals"],
            }
            return replicas, sums

        start = {name: jnp.zeros(leaf.shape, leaf.dtype) for name, leaf in shapes.items()}
        replicas, sums = jax.lax.fori_loop(0, thin, transition, (replicas, start))
        row = (observe(d, replicas), sums)
        return replicas, jax.tree.map(lambda b, r: b.at[d].set(r.astype(b.dtype)), buffers, row)

    def observe(d: Array, replicas: Replicas) -> dict[str, Array]:
        keys = jax.random.split(jax.random.fold_in(observing_key, d), q.shape[1])
        return jax.vmap(lambda key, x: target.observe(x, path.data, key))(keys, replicas.q[-1])

    rows = (jax.eval_shape(observe, jnp.zeros((), jnp.int32), replicas), dict(shapes))
    buffers = jax.tree.map(lambda r: jnp.zeros((draws, *r.shape), r.dtype), rows)
    replicas, (observed, stats) = jax.lax.fori_loop(0, draws, draw, (replicas, buffers))
    return replicas, Recorded(observed, **stats)


exchange = jax.jit(_exchange, static_argnames=("sampler", "target", "draws"))
