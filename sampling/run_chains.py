"""The host's side of a run: warm-up and sampling in segments, with progress reported between them."""

import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from hiddencodes.sampling import adaptation, engine
from hiddencodes.sampling.adaptation import AdaptationState, Schedule, Tuning
from hiddencodes.sampling.devices import Layout, layout
from hiddencodes.sampling.move import Move, MoveInfo
from hiddencodes.sampling.sampler import Sampler
from hiddencodes.sampling.sweeps import Sweeps
from hiddencodes.sampling.target import Target

SEGMENTS = 20
# Moves learn after every segment of warm-up: short ones, so that they follow what they change.
_WARMUP_CAPACITY = 16
# Share of warm-up after which moves begin: before, the layer has no codes yet.
_FIRST_SWEEP = 0.35


class Progress(NamedTuple):
    """A report from the host between two segments.

    Attributes:
        phase: What is going on.
        done: Iterations (warm-up) or draws (sampling) finished.
        total: How many there will be.
        draws_per_second: Rate over all lanes, in this phase.
        acceptance: Mean acceptance over the last segment.
        seconds_left: Estimated time to the end of this phase.
    """

    phase: Literal["compile", "warmup", "sampling"]
    done: int
    total: int
    draws_per_second: float
    acceptance: float
    seconds_left: float


Report = Callable[[Progress], None]


class Plan(NamedTuple):
    """The sizes of a run.

    Attributes:
        seeds: Seed numbers.
        chains: Chains per seed.
        warmup: Warm-up iterations.
        draws: Stored draws per chain.
        thin: Transitions per stored draw.
        superchain: Number of the starting point of every chain (chain,).
        capacity: Draws per segment.
    """

    seeds: np.ndarray
    chains: int
    warmup: int
    draws: int
    thin: int
    superchain: np.ndarray
    capacity: int

    @property
    def lanes(self) -> int:
        """Chains times seeds."""
        return self.chains * len(self.seeds)


class Segment(NamedTuple):
    """Draws ``first .. first + n`` of all lanes, as NumPy arrays (draw, seed, chain, ...)."""

    first: int
    observed: dict[str, np.ndarray]
    stats: dict[str, np.ndarray]


class Finished(NamedTuple):
    """The end of a run.

    Attributes:
        q: Whitened positions at the last draw (seed, chain, dimension).
        tuning: What warm-up settled on.
        seconds: ``compile``, ``warmup`` and ``sampling``.
        moves: What the moves did while sampling.
    """

    q: Float[Array, "seed chain dimension"]
    tuning: Tuning
    seconds: dict[str, float]
    moves: tuple["Moved", ...] = ()


class Moved(NamedTuple):
    """What one move did while sampling.

    Attributes:
        name: The move.
        codes: Names of the codes of every seed, by row and column of the counts.
        proposed: How often a unit of the code of the row was proposed that of the column, (seed, chain, code, code).
        accepted: How often it was accepted.
    """

    name: str
    codes: tuple[tuple[str, ...], ...]
    proposed: np.ndarray
    accepted: np.ndarray


class _Clock:
    """Turns counts into progress reports."""

    def __init__(self, phase: Literal["warmup", "sampling"], total: int, lanes: int, report: Report) -> None:
        self.phase: Literal["warmup", "sampling"] = phase
        self.total, self.lanes, self.report = total, lanes, report
        self.start = time.perf_counter()

    def tick(self, done: int, acceptance: float) -> None:
        seconds = max(time.perf_counter() - self.start, 1e-9)
        rate = done * self.lanes / seconds
        left = (self.total - done) * seconds / max(done, 1)
        self.report(Progress(self.phase, done, self.total, rate, acceptance, left))


def _segments(total: int, capacity: int) -> Iterator[tuple[int, int]]:
    for first in range(0, total, capacity):
        yield first, min(capacity, total - first)


def _rows(plan: Schedule, first: int, n: int) -> Schedule:
    """Rows of the schedule, padded to the segment's fixed length."""

    def pad(row: np.ndarray) -> np.ndarray:
        part = row[first : first + n]
        return np.concatenate([part, np.zeros((_WARMUP_CAPACITY - n, *row.shape[1:]), row.dtype)])

    return Schedule(*(pad(row) for row in plan))


def adaptation_on(place: Layout, state: AdaptationState) -> AdaptationState:
    """What is adapted, with the sums over draws of every chain where the chain is."""
    own = place.spread((state.mean, state.squares))
    return place.repeat(state._replace(mean=None, squares=None))._replace(mean=own[0], squares=own[1])


def run_chains(
    target: Target,
    data: Any,
    temperature: Float[np.ndarray, " seed"],
    sampler: Sampler,
    plan: Plan,
    key: PRNGKeyArray,
    dtype: Any,
    consume: Callable[[Segment], None],
    report: Report = lambda progress: None,
    *,
    moves: tuple[Move, ...] = (),
    every: int = 1,
    start: Float[np.ndarray, "seed chain dimension"] | None = None,
) -> Finished:
    """Warm up and sample all lanes.

    Args:
        target: What to sample.
        data: Its data, every array with a leading seed axis, floating-point arrays in ``dtype``.
        temperature: T of every seed.
        sampler: The kernel.
        plan: The sizes.
        key: The run's random key.
        dtype: Floating-point type of positions and energies.
        consume: Called with every finished segment.
        report: Called between segments.
        moves: Moves between codes.
        every: Local transitions between two sweeps.
        start: Where the chains start, whitened; the temperature is then the target's from the beginning. None for prior
            draws, which are annealed.
    """
    seconds = {"compile": 0.0, "warmup": 0.0, "sampling": 0.0}
    beta = jnp.asarray(1.0 / temperature, dtype)
    # Independent streams: starting points, warm-up, sampling, what is learned of codes.
    start_key, warmup_key, sampling_key, learning_key = (jax.random.fold_in(key, i) for i in range(4))
    start_keys = engine.lane_keys(start_key, plan.seeds, 1)[:, 0]
    place = layout(plan.chains)
    warmup_keys = place.spread(engine.lane_keys(warmup_key, plan.seeds, plan.chains))
    sampling_keys = place.spread(engine.lane_keys(sampling_key, plan.seeds, plan.chains))
    zero = np.int32(0)

    schedule = adaptation.schedule(plan.warmup, temperature)
    if start is not None:
        schedule = schedule._replace(log_heat=np.zeros_like(schedule.log_heat))
    if start is None:
        q = engine.initial_positions(
            start_keys, jnp.asarray(plan.superchain), target.dimension, np.dtype(dtype)
        )
    else:
        q = jnp.asarray(start, dtype)
    q = place.spread(q)
    state = adaptation_on(place, engine.init_adaptation(sampler, q))
    learned = [move.learn(target, q, data, jax.random.fold_in(learning_key, 0)) for move in moves]
    sweeps = Sweeps(zero, place.repeat(tuple(each.parameters for each in learned)))
    # A call with zero iterations compiles the program and changes nothing.
    report(Progress("compile", 0, 2, 0.0, float("nan"), float("nan")))
    begin = time.perf_counter()
    q, state, _ = engine.warmup_segment(
        sampler, target, moves, zero, zero, warmup_keys, q, state, data, beta, _rows(schedule, 0, 0), sweeps
    )
    # What goes in again is laid out as it was: another layout would compile anew.
    q, state = place.spread(q), adaptation_on(place, state)
    jax.block_until_ready(q)
    seconds["compile"] += time.perf_counter() - begin
    report(Progress("compile", 1, 2, 0.0, float("nan"), float("nan")))

    clock = _Clock("warmup", plan.warmup, plan.lanes, report)
    begin = time.perf_counter()
    for first, n in _segments(plan.warmup, _WARMUP_CAPACITY):
        rows = _rows(schedule, first, n)
        q, state, acceptance = engine.warmup_segment(
            sampler,
            target,
            moves,
            np.int32(first),
            np.int32(n),
            warmup_keys,
            q,
            state,
            data,
            beta,
            rows,
            sweeps,
        )
        q, state = place.spread(q), adaptation_on(place, state)
        if moves and first + n >= _FIRST_SWEEP * plan.warmup:
            stream = jax.random.fold_in(learning_key, first + n)
            learned = [move.learn(target, q, data, stream) for move in moves]
            sweeps = Sweeps(np.int32(every), place.repeat(tuple(each.parameters for each in learned)))
        clock.tick(first + n, float(acceptance))
    seconds["warmup"] = time.perf_counter() - begin

    begin = time.perf_counter()
    kernel_state, tuning = engine.start_sampling(sampler, target, q, state, data, beta)
    kernel_state, tuning = place.spread(kernel_state), place.repeat(tuning)
    thin = np.int32(plan.thin)
    sweeps = sweeps._replace(every=np.int32(every))

    def segment(first: int, n: int, kernel_state: Any) -> engine.SegmentResult:
        result = engine.sampling_segment(
            sampler, target, moves, plan.capacity, np.int32(first), np.int32(n), thin, sampling_keys, kernel_state, data,
            tuning, beta, sweeps,
        )  # fmt: skip
        return result._replace(state=place.spread(result.state))

    kernel_state = segment(0, 0, kernel_state).state
    jax.block_until_ready(kernel_state)
    seconds["compile"] += time.perf_counter() - begin
    report(Progress("compile", 2, 2, 0.0, float("nan"), float("nan")))

    clock = _Clock("sampling", plan.draws, plan.lanes, report)
    begin = time.perf_counter()
    counts: list[tuple[MoveInfo, ...]] = []
    for first, n in _segments(plan.draws, plan.capacity):
        kernel_state, observed, stats, of_moves = segment(first, n, kernel_state)
        host = jax.tree.map(lambda x, n=n: np.asarray(x)[:n], (observed, stats))
        counts.append(jax.tree.map(np.asarray, of_moves))
        consume(Segment(first, *host))
        clock.tick(first + n, float(np.mean(host[1]["acceptance_rate"])))
    seconds["sampling"] = time.perf_counter() - begin
    total = jax.tree.map(lambda *leaves: sum(leaf.astype(np.int64) for leaf in leaves), *counts)
    moved = tuple(
        Moved(move.name, each.names, *info) for move, each, info in zip(moves, learned, total, strict=True)
    )
    return Finished(kernel_state.position * tuning.scale[:, None, :], tuning, seconds, moved)
