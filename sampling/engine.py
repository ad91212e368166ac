"""The compiled programs that run chains: one for warm-up, one for sampling, both in segments over all lanes at once.

A lane is one chain of one seed. Shapes lead with (seed, chain). The host calls a program again and again for the next
segment; keys, positions, data and tuning are arguments, so that nothing but a new shape or a new target compiles anew.
Where and how lanes run is in `Lanes`, the first argument of every program.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Key, PRNGKeyArray

from hiddencodes.sampling import adaptation
from hiddencodes.sampling import health as chain_health
from hiddencodes.sampling.adaptation import AdaptationState, Schedule, Tuning
from hiddencodes.sampling.health import Health
from hiddencodes.sampling.lanes import Lanes
from hiddencodes.sampling.move import Move, MoveInfo
from hiddencodes.sampling.sampler import Sampler, StepInfo
from hiddencodes.sampling.sweeps import Sweeps, is_due, no_counts, sweep_lanes
from hiddencodes.sampling.target import Density, Target, recorded

# Folded into a lane's key after the number of the draw: the stream from which what is not sampled is drawn.
_OBSERVE = np.uint32(2**32 - 1)


class SegmentResult(NamedTuple):
    """What a sampling segment returns.

    Attributes:
        state: The kernels' states after the segment (seed, chain, ...).
        health: What decides on the status of every chain.
        observed: Observables, (seed, chain, draw, ...) each, with a row for every draw or, of those kept every k-th draw only,
            for every k of them.
        stats: ``acceptance_rate``, ``diverging``, ``energy``, ``n_steps``, ``finite``, each (seed, chain, draw).
        moves: Counts of every move over the segment, (seed, chain, code, code) each.
    """

    state: Any
    health: Health
    observed: dict[str, Array]
    stats: dict[str, Array]
    moves: tuple[MoveInfo, ...]


@partial(jax.jit, static_argnames=("how", "dimension", "dtype"))
def initial_positions(
    how: Lanes, keys: Key[Array, "seed 1"], superchain: Int[ArrayLike, " chain"], dimension: int, dtype: Any
) -> Float[Array, "seed chain dimension"]:
    """Independent draws from the prior, one for every superchain of every seed.

    Args:
        how: Where lanes are.
        keys: One key per seed.
        superchain: Chains with equal numbers share their starting point.
        dimension: D.
        dtype: Floating-point type.
    """
    one = lambda key, s: jax.random.normal(jax.random.fold_in(key, s), (dimension,), dtype)
    every = jax.vmap(jax.vmap(one, in_axes=(None, 0)), in_axes=(0, None))
    return how.scatter(every(keys[:, 0], jnp.asarray(superchain)))


def _step_lanes(
    how: Lanes,
    sampler: Sampler,
    target: Target,
    iteration: Int[Array, ""],
    keys: Key[Array, "seed chain"],
    state: Any,
    data: Any,
    tuning: Tuning,
    inverse_temperature: Float[Array, " seed"],
    steps: Int[Array, ""],
) -> tuple[Any, StepInfo]:
    """One transition of every lane with the same number of integration steps."""

    def lane(
        key: Any,
        state: Any,
        data: Any,
        step_size: Array,
        scale: Array,
        beta: Array,
        iteration: Array,
        steps: Array,
    ) -> tuple[Any, StepInfo]:
        density = Density(target, data, scale, beta)
        return sampler.step(
            jax.random.fold_in(key, iteration), state, density, step_size, steps, sampler.max_steps
        )

    lanes = how.over(lane, "lane", "lane", "seed", "seed", "seed", "seed", "shared", "shared")
    return lanes(keys, state, data, tuning.step_size, tuning.scale, inverse_temperature, iteration, steps)


def _init_lanes(
    how: Lanes,
    sampler: Sampler,
    target: Target,
    q: Array,
    data: Any,
    scale: Array,
    inverse_temperature: Array,
) -> Any:
    def lane(q: Array, data: Any, scale: Array, beta: Array) -> Any:
        return sampler.init(q / scale, Density(target, data, scale, beta))

    return how.over(lane, "lane", "seed", "seed", "seed")(q, data, scale, inverse_temperature)


def _finite(state: Any) -> Bool[Array, "seed chain"]:
    return jnp.isfinite(state.logdensity) & jnp.all(jnp.isfinite(state.position), axis=-1)


@partial(jax.jit, static_argnames=("how", "sampler"))
def init_adaptation(how: Lanes, sampler: Sampler, q: Float[Array, "seed chain dimension"]) -> AdaptationState:
    """The state before the first iteration; compiled, so that every leaf has a buffer of its own: they are donated one by one."""
    return how.gather(adaptation.init(sampler, how.gather(q)))


def _warmup_segment(
    how: Lanes,
    sampler: Sampler,
    target: Target,
    moves: tuple[Move, ...],
    first: Int[Array, ""],
    n_iterations: Int[Array, ""],
    keys: Key[Array, "seed chain"],
    q: Float[Array, "seed chain dimension"],
    state: AdaptationState,
    data: Any,
    inverse_temperature: Float[Array, " seed"],
    plan: Schedule,
    sweeps: Sweeps,
) -> tuple[Float[Array, "seed chain dimension"], AdaptationState, Float[Array, ""]]:
    """Run ``n_iterations`` of warm-up; returns positions, adaptation state and the mean acceptance."""
    groups = target.groups()
    dtype = q.dtype

    def body(i: Array, carry: tuple[Array, AdaptationState, Array]) -> tuple[Array, AdaptationState, Array]:
        q, state, acceptance = carry
        now: Schedule = jax.tree.map(lambda row: row[i], plan)
        beta = inverse_temperature * jnp.exp(-now.log_heat.astype(dtype))
        jitter = adaptation.halton(first + i, dtype)
        steps = adaptation.n_steps(sampler, state.log_step_size, state.log_length, jitter)
        tuning = Tuning(jnp.exp(state.log_step_size), jnp.exp(state.log_length), state.scale)
        # The temperature has changed since the last draw, and with it the density and its gradient.
        kernel_state = _init_lanes(how, sampler, target, q, data, state.scale, beta)
        kernel_state, info = _step_lanes(
            how, sampler, target, first + i, keys, kernel_state, data, tuning, beta, steps
        )
        new_q = kernel_state.position * state.scale[:, None, :]
        pooled = how.gather((q, new_q, _finite(kernel_state), info))
        state = how.gather(adaptation.update(sampler, groups, state, now, jitter, *pooled))
        if moves:
            new_q = jax.lax.cond(
                is_due(sweeps, first + i),
                lambda q: sweep_lanes(how, moves, target, first + i, keys, q, data, sweeps, beta)[0],
                lambda q: q,
                new_q,
            )
        return how.scatter(new_q), state, acceptance + jnp.mean(pooled[-1].acceptance_rate).astype(dtype)

    q, state, acceptance = jax.lax.fori_loop(0, n_iterations, body, (q, state, jnp.zeros((), dtype)))
    return q, state, acceptance / n_iterations.astype(dtype)


def _sampling_segment(
    how: Lanes,
    sampler: Sampler,
    target: Target,
    moves: tuple[Move, ...],
    capacity: int,
    first: Int[Array, ""],
    n_draws: Int[Array, ""],
    thin: Int[Array, ""],
    keys: Key[Array, "seed chain"],
    state: Any,
    health: Health,
    data: Any,
    tuning: Tuning,
    inverse_temperature: Float[Array, " seed"],
    sweeps: Sweeps,
) -> SegmentResult:
    """Run ``n_draws <= capacity`` draws of ``thin`` transitions each; rows of draws that were not made mean nothing."""
    dtype = tuning.scale.dtype
    lanes = keys.shape
    start = {
        "acceptance_rate": jnp.zeros(lanes, dtype),
        "diverging": jnp.zeros(lanes, bool),
        "energy": jnp.zeros(lanes, dtype),
        "n_steps": jnp.zeros(lanes, jnp.int32),
    }

    def swept(iteration: Array, state: Any, counts: Any) -> tuple[Any, Any]:
        q = state.position * tuning.scale[:, None, :]
        q, infos = sweep_lanes(how, moves, target, iteration, keys, q, data, sweeps, inverse_temperature)
        state = _init_lanes(how, sampler, target, q, data, tuning.scale, inverse_temperature)
        return state, jax.tree.map(jnp.add, counts, infos)

    def transitions(draw: Array, state: Any, counts: Any) -> tuple[Any, dict[str, Array], Any]:
        def one(k: Array, carry: tuple[Any, dict[str, Array], Any]) -> tuple[Any, dict[str, Array], Any]:
            state, stats, counts = carry
            iteration = (first + draw) * thin + k
            jitter = adaptation.halton(iteration, dtype)
            steps = adaptation.n_steps(sampler, jnp.log(tuning.step_size), jnp.log(tuning.length), jitter)
            state, info = _step_lanes(
                how, sampler, target, iteration, keys, state, data, tuning, inverse_temperature, steps
            )
            stats = {
                "acceptance_rate": stats["acceptance_rate"] + info.acceptance_rate.astype(dtype),
                "diverging": stats["diverging"] | info.diverging,
                "energy": info.energy.astype(dtype),
                "n_steps": stats["n_steps"] + info.n_steps.astype(jnp.int32),
            }
            if moves:
                state, counts = jax.lax.cond(
                    is_due(sweeps, iteration),
                    partial(swept, iteration),
                    lambda state, counts: (state, counts),
                    state,
                    counts,
                )
            return state, stats, counts

        state, stats, counts = jax.lax.fori_loop(0, thin, one, (state, start, counts))
        stats["acceptance_rate"] = stats["acceptance_rate"] / thin.astype(dtype)
        stats["finite"] = _finite(state)
        return state, stats, counts

    def observe(part: Target, draw: Array, state: Any) -> dict[str, Array]:
        def lane(key: Any, u: Array, scale: Array, data: Any, draw: Array) -> dict[str, Array]:
            return part.observe(scale * u, data, jax.random.fold_in(jax.random.fold_in(key, draw), _OBSERVE))

        lanes = how.over(lane, "lane", "lane", "seed", "seed", "shared")
        return lanes(keys, state.position, tuning.scale, data, draw)

    def rows(every: int) -> int:
        return capacity if every == 1 else capacity // every + 1

    def body(draw: Array, carry: tuple[Any, Any, Any, Any]) -> tuple[Any, Any, Any, Any]:
        state, health, buffers, counts = carry
        before = state.position
        state, stats, counts = transitions(draw, state, counts)
        moved = jnp.any(state.position != before, axis=-1)
        health = chain_health.after_draw(health, first + draw, stats["finite"], moved, stats["diverging"])
        for every, part in recorded(target):
            number = first + draw
            if every == 1:
                row = observe(part, number, state)
            else:
                shapes = jax.eval_shape(partial(observe, part), number, state)
                row = jax.lax.cond(
                    (number + 1) % every == 0,
                    partial(observe, part, number),
                    lambda _, shapes=shapes: jax.tree.map(lambda r: jnp.zeros(r.shape, r.dtype), shapes),
                    state,
                )
            # The last draw of a row's ``every`` draws is the one that stays.
            buffers = {**buffers, **_set(buffers, row, number // every - first // every)}
        return state, health, {**buffers, **_set(buffers, stats, draw)}, counts

    shapes = [(start | {"finite": start["diverging"]}, 1)]
    shapes += [
        (jax.eval_shape(partial(observe, part), first, state), every) for every, part in recorded(target)
    ]
    buffers = {
        name: how.scatter(jnp.zeros((*r.shape[:2], rows(every), *r.shape[2:]), r.dtype))
        for group, every in shapes
        for name, r in group.items()
    }
    none = no_counts(how, moves, target, keys, state.position, data, sweeps, inverse_temperature)
    state, health, buffers, counts = jax.lax.fori_loop(0, n_draws, body, (state, health, buffers, none))
    stats = {name: buffers.pop(name) for name in shapes[0][0]}
    return SegmentResult(*how.scatter((state, health, buffers, stats, counts)))


def _set(buffers: dict[str, Array], row: dict[str, Array], index: Array) -> dict[str, Array]:
    return {
        name: buffers[name].at[:, :, index].set(value.astype(buffers[name].dtype))
        for name, value in row.items()
    }


warmup_segment = jax.jit(
    _warmup_segment, static_argnames=("how", "sampler", "target", "moves"), donate_argnames=("q", "state")
)
sampling_segment = jax.jit(
    _sampling_segment,
    static_argnames=("how", "sampler", "target", "moves", "capacity"),
    donate_argnames=("state", "health"),
)


@partial(jax.jit, static_argnames=("how", "sampler", "target"))
def start_sampling(
    how: Lanes,
    sampler: Sampler,
    target: Target,
    q: Float[Array, "seed chain dimension"],
    state: AdaptationState,
    data: Any,
    inverse_temperature: Float[Array, " seed"],
) -> tuple[Any, Tuning]:
    """The kernels' states and the tuning with which sampling starts."""
    tuning = adaptation.finish(state)
    return _init_lanes(how, sampler, target, q, data, tuning.scale, inverse_temperature), how.gather(tuning)


@partial(jax.jit, static_argnames=("how", "chains"))
def lane_keys(
    how: Lanes, key: PRNGKeyArray, stream: Int[ArrayLike, ""], seeds: Int[ArrayLike, " seed"], chains: int
) -> Key[Array, "seed chain"]:
    """One key per (seed, chain): a lane's stream depends on its own seed and chain number only.

    Args:
        how: Where lanes are.
        key: The run's key.
        stream: What the keys are for.
        seeds: Numbers of the seeds.
        chains: Chains per seed.
    """
    key = jax.random.fold_in(key, stream)
    per_seed = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.asarray(seeds).astype(jnp.uint32))
    split = jax.vmap(jax.vmap(jax.random.fold_in, in_axes=(None, 0)), in_axes=(0, None))
    keys = split(per_seed, jnp.arange(chains, dtype=jnp.uint32))
    return keys if chains == 1 else how.scatter(keys)
