"""Warm-up in segments: chains fall to their temperature while step size, length, metric and codes are learned."""

import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hiddencodes.sampling import adaptation, engine, processes
from hiddencodes.sampling.adaptation import Schedule
from hiddencodes.sampling.checkpoint import Checkpoint, Position
from hiddencodes.sampling.move import Learned
from hiddencodes.sampling.placement import Placed, checkpoint_of, code_parameters, learn, named, restored
from hiddencodes.sampling.plan import Clock, Host, Progress, Setup
from hiddencodes.sampling.sweeps import Sweeps

# Share of the time that checkpoints of warm-up may take.
_SAVING_SHARE = 0.05
# Moves learn after every segment of warm-up: short ones, so that they follow what they change.
_WARMUP_CAPACITY = 16
# Share of warm-up after which moves begin: before, the layer has no codes yet.
_FIRST_SWEEP = 0.35


def _rows(plan: Schedule, first: int, n: int) -> Schedule:
    """Rows of the schedule, padded to the segment's fixed length."""

    def pad(row: np.ndarray) -> np.ndarray:
        part = row[first : first + n]
        return np.concatenate([part, np.zeros((_WARMUP_CAPACITY - n, *row.shape[1:]), row.dtype)])

    return Schedule(*(pad(row) for row in plan))


class Warm(NamedTuple):
    """The end of warm-up, or a state in the middle of it."""

    q: Any
    state: Any
    learned: list[Learned]


def initial(run: Setup) -> Warm:
    """Where warm-up begins."""
    plan, how = run.plan, run.how
    if run.start is None:
        keys = engine.lane_keys(how, run.key, np.int32(0), plan.seeds, 1)
        q = engine.initial_positions(how, keys, plan.superchain, run.target.dimension, np.dtype(run.dtype))
    else:
        q = how.spread(jnp.asarray(run.start, run.dtype))
    return Warm(q, engine.init_adaptation(how, run.sampler, q), learn(run, q, 0))


def warm_up(
    run: Setup, placed: Placed, host: Host, saved: Checkpoint | None, seconds: dict[str, float]
) -> tuple[Warm, float | None]:
    """Warm-up from its beginning or from a checkpoint; and the seconds that its last iterations took, each."""
    plan, how = run.plan, run.how
    schedule = adaptation.schedule(plan.warmup, run.temperature)
    if run.start is not None:
        schedule = schedule._replace(log_heat=np.zeros_like(schedule.log_heat))
    q, state, learned = initial(run)
    done = 0
    if saved is not None:
        done = saved.position.done
        q, (state, parameters), _ = restored(run, saved, q, (state, code_parameters(run, learned)))
        learned = named(parameters, saved)
        seconds.update(saved.manifest["seconds"])

    def segment(first: int, n: int, q: Any, state: Any, every: int) -> tuple[Any, Any, Any]:
        sweeps = Sweeps(np.int32(every), code_parameters(run, learned))
        return engine.warmup_segment(
            how, run.sampler, run.target, run.moves, np.int32(first), np.int32(n), placed.warmup_keys, q, state,
            placed.data, placed.beta, _rows(schedule, first, n), sweeps,
        )  # fmt: skip

    def due(first: int) -> int:
        """Transitions between sweeps after that many iterations; none before the layer has codes."""
        return run.every if run.moves and first >= _FIRST_SWEEP * plan.warmup else 0

    host.report(Progress("compile", 0, 2, 0.0, float("nan"), float("nan")))
    if plan.warmup == 0:
        return Warm(q, state, learned), None
    # A call with zero iterations compiles the program and changes nothing.
    begin = time.perf_counter()
    q, state, _ = segment(0, 0, q, state, 0)
    jax.block_until_ready(q)
    seconds["compile"] += time.perf_counter() - begin
    host.report(Progress("compile", 1, 2, 0.0, float("nan"), float("nan")))

    clock = Clock("warmup", plan.warmup, plan.lanes, host.report, done)
    per_iteration, spent, last_save, cost = None, seconds["warmup"], time.perf_counter(), 0.0
    while done < plan.warmup:
        n = min(_WARMUP_CAPACITY, plan.warmup - done)
        begin = time.perf_counter()
        q, state, acceptance = segment(done, n, q, state, due(done))
        acceptance = float(acceptance)
        per_iteration = (time.perf_counter() - begin) / n
        done += n
        if due(done):
            learned = learn(run, q, done)
        seconds["warmup"] = spent + time.perf_counter() - clock.start
        stop = processes.any_of(host.stop())
        if host.save is not None and (done < plan.warmup or stop):
            now = time.perf_counter()
            cheap = cost <= _SAVING_SHARE * (now - last_save)
            if stop or processes.agreed(bool, cheap):
                lanes, shared = how.to_host(q), how.to_host((state, code_parameters(run, learned)))
                names = [each.names for each in learned]
                host.save(checkpoint_of(Position(0, done), lanes, shared, names=names, seconds=seconds))
                last_save = time.perf_counter()
                cost = last_save - now
        clock.tick(done, acceptance)
        if stop:
            raise KeyboardInterrupt(f"stopped after iteration {done} of warm-up")
    return Warm(q, state, learned), per_iteration
