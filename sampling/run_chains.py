"""The host's side of a run: warm-up and sampling in segments; between them draws are handed on, the state is saved, progress told."""

import time
from typing import Any

import jax
import numpy as np

from hiddencodes.sampling import engine, processes
from hiddencodes.sampling import health as chain_health
from hiddencodes.sampling.checkpoint import Checkpoint, Position
from hiddencodes.sampling.observables import Observable
from hiddencodes.sampling.placement import Placed, checkpoint_of, code_parameters, named, place, restored
from hiddencodes.sampling.plan import Clock, Finished, Host, Moved, Progress, Segment, Setup, segment_length
from hiddencodes.sampling.store import rows_of
from hiddencodes.sampling.sweeps import Sweeps
from hiddencodes.sampling.target import observed_names, recorded
from hiddencodes.sampling.warm_up import Warm, initial, warm_up


def run_chains(run: Setup, host: Host, saved: Checkpoint | None = None) -> Finished:
    """Warm up and sample all lanes.

    Args:
        run: What is sampled, and how.
        host: What happens between segments.
        saved: Where to go on, with the lanes of all processes; None to begin.

    Raises:
        KeyboardInterrupt: If somebody stopped the run before its first draw.
        ChainsLostError: If more chains are lost than may be.
    """
    seconds = {"compile": 0.0, "warmup": 0.0, "sampling": 0.0}
    placed = place(run)
    if saved is None or saved.position.phase == 0:
        warm, per_iteration = warm_up(run, placed, host, saved, seconds)
        return _sample(run, placed, host, warm, None, seconds, per_iteration)
    return _sample(run, placed, host, None, saved, seconds, None)


def _sample(
    run: Setup,
    placed: Placed,
    host: Host,
    warm: Warm | None,
    saved: Checkpoint | None,
    seconds: dict[str, float],
    per_iteration: float | None,
) -> Finished:
    """Sampling from the end of warm-up or from a checkpoint."""
    plan, how = run.plan, run.how
    thin = np.int32(plan.thin)
    begin = time.perf_counter()
    fresh = warm or initial(run)
    state, tuning = engine.start_sampling(
        how, run.sampler, run.target, fresh.q, fresh.state, placed.data, placed.beta
    )
    health = how.spread(chain_health.fresh(len(plan.seeds), plan.chains))
    learned, done = fresh.learned, 0
    counts: list[np.ndarray] = []
    if saved is None:
        intervals = tuple(k for k, _ in recorded(run.target))
        length: int = processes.agreed(segment_length, plan, intervals, per_iteration)
    else:
        lanes, shared = (state, health), (tuning, code_parameters(run, learned))
        (state, health), (tuning, parameters), counts = restored(run, saved, lanes, shared)
        counts = [each[:, how.own(plan.chains)] for each in counts]
        learned, done, length = named(parameters, saved), saved.position.done, saved.manifest["segment"]
        seconds.update(saved.manifest["seconds"])
        # What was too much when the run ended is too much to go on with.
        _refuse_lost(run, chain_health.status(how.to_host(health), done), done, host)
    sweeps = Sweeps(np.int32(run.every if run.moves else 0), code_parameters(run, learned))
    on_host = how.to_host((tuning, sweeps.parameters))

    def launch(first: int, n: int, state: Any, health: Any) -> engine.SegmentResult:
        return engine.sampling_segment(
            how, run.sampler, run.target, run.moves, plan.capacity, np.int32(first), np.int32(n), thin,
            placed.sampling_keys, state, health, placed.data, tuning, placed.beta, sweeps,
        )  # fmt: skip

    def save(done: int, lanes: Any) -> None:
        if host.save is not None:
            names = [each.names for each in learned]
            host.save(
                checkpoint_of(
                    Position(1, done),
                    (lanes, counts),
                    on_host,
                    names=names,
                    seconds=seconds,
                    segment=length,
                    capacity=plan.capacity,
                )
            )

    def n_of(first: int) -> int:
        """Draws of the segment that begins there: to the next multiple of the length, so that it fills its chunks."""
        return min(length - first % length, plan.draws - first)

    # A call with zero draws compiles the program and changes nothing.
    result = launch(done, 0, state, health)
    lanes = how.to_host((result.state, result.health))
    seconds["compile"] += time.perf_counter() - begin
    if saved is None:
        save(0, lanes)
    host.report(Progress("compile", 2, 2, 0.0, float("nan"), float("nan")))

    clock = Clock("sampling", plan.draws, plan.lanes, host.report, done)
    spent = seconds["sampling"]
    running = done < plan.draws
    if running:
        result = launch(done, n_of(done), result.state, result.health)
    while running:
        n = n_of(done)
        finished = result
        lanes = how.to_host((finished.state, finished.health))
        stop = processes.any_of(host.stop())
        running = done + n < plan.draws and not stop
        if running:  # the devices go on while the host stores what they have done
            result = launch(done + n, n_of(done + n), finished.state, finished.health)
        segment = _on_host(run, finished, lanes[1], done, n, length)
        moved = jax.tree.leaves(how.to_host(finished.moves))
        counts = [c + m for c, m in zip(counts or [np.int64(0)] * len(moved), moved, strict=True)]
        done += n
        seconds["sampling"] = spent + time.perf_counter() - clock.start
        host.consume(segment)
        save(done, lanes)
        if host.monitor is not None:
            host.monitor.add({o.name: segment.observed[o.name] for o in watched(run.target)})
        worst = float("nan") if host.monitor is None else host.monitor.worst()
        clock.tick(done, float(np.mean(segment.stats["acceptance_rate"])), worst)
        assert segment.status is not None
        _refuse_lost(run, segment.status, done, host)
    per_move = processes.all_lanes(how, [counts[i : i + 2] for i in range(0, len(counts), 2)])
    moved = tuple(
        Moved(move.name, each.names, *info)
        for move, each, info in zip(run.moves, learned, per_move, strict=True)
    )
    u = processes.all_lanes(how, lanes[0].position)
    return Finished(u * on_host[0].scale[:, None, :], on_host[0], seconds, done, moved)


def _on_host(
    run: Setup, result: engine.SegmentResult, health: Any, first: int, n: int, length: int
) -> Segment:
    every = {name: k for k, part in recorded(run.target) for name in observed_names(part)}
    observed, stats = run.how.to_host((result.observed, result.stats), copy=False)
    observed = {
        name: np.array(value[:, :, : rows_of(every.get(name, 1), first, n).n])
        for name, value in observed.items()
    }
    stats = {name: np.array(value[:, :, :n]) for name, value in stats.items()}
    return Segment(first, n, observed, stats, chain_health.status(health, first + n), length)


def watched(target: Any) -> tuple[Observable, ...]:
    """The observables of which R-hat is watched: invariant ones of every draw."""
    return tuple(o for o in getattr(target, "observables", ()) if o.invariant and o.every == 1)


def _refuse_lost(run: Setup, own: Any, done: int, host: Host) -> None:
    status, since = processes.all_lanes(run.how, own)
    where = f"draw {done} of {run.plan.draws} is the last" + (" and has been saved" if host.save else "")
    chain_health.check(status, since, run.plan.seeds, host.lost_share, where)
