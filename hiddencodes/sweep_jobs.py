"""Sampling the points of a sweep: jobs that submitit hands to a scheduler, or to processes on this machine.

submitit pickles a job as the names of `sample_point`, of the sweep's folder and of the point. What a job did is known from the sweep's
folder alone: nothing that it returns is read.
"""

import contextlib
import itertools
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock

from hiddencodes import sweep_slurm
from hiddencodes.rules import Contradiction, slug
from hiddencodes.sampling import Progress
from hiddencodes.sampling.checkpoint import write_atomically
from hiddencodes.sampling.interruption import asked_to_stop
from hiddencodes.sampling.store import locked
from hiddencodes.sweep import (
    PointState,
    Tell,
    failure_file,
    is_taken,
    point_lock,
    point_state,
    read_jobs,
    read_sweep,
    run_folder,
    same_sweep,
    write_jobs,
    write_sweep,
)
from hiddencodes.sweep_file import Grid, Point, refused

# Seconds between two looks at whether jobs have ended.
_LOOK = 0.2
# Seconds that a job waits for those who only look whether its point is taken.
_PATIENCE = 10.0
_SAY_EVERY = 30.0


def run_sweep(
    folder: str | Path,
    grid: Grid | None = None,
    *,
    wait: bool = True,
    watch: Callable[[Mapping[str, str]], None] | None = None,
) -> list[PointState]:
    """Sample what is missing of a sweep: finished points are left alone, interrupted ones gone on with.

    Ctrl-C, or SIGTERM, ends jobs on this machine after the segment in progress, and this function after them. Jobs of a scheduler stay
    where they are.

    Args:
        folder: The sweep's folder; it is made if there is none.
        grid: The grid; None for the one that the folder was begun with.
        wait: Whether to wait for a scheduler's jobs.
        watch: Called when something changes, with the state of every point by name; ``"running"`` is one of them.

    Returns:
        The state of every point, in the order of the grid.

    Raises:
        ValueError: If it is not the folder of a sweep, its grid is not what it was, or submitit is missing or refuses the executor.
        FileExistsError: If the folder is full of something else.
        BlockingIOError: If another process is at work on the sweep.
        OSError: If the scheduler cannot be asked.
    """
    folder = Path(folder).absolute()
    if grid is None or (folder / "sweep.json").is_file():
        grid = same_sweep(folder, grid)
    elif folder.exists() and (
        not folder.is_dir() or {p.name for p in folder.iterdir()} - {".lock", "grid.toml"}
    ):
        raise FileExistsError(f"{folder} exists and is not an empty folder; name a new one with --out")
    cluster, parallel, _ = grid.executor
    if not wait and cluster != "slurm":
        raise ValueError(
            f'--no-wait: with cluster = "{cluster}" there is nobody else who would start the jobs'
        )
    with locked(folder):
        write_sweep(folder, grid)
        executor = _executor(folder, grid)
        states = {point.name: point_state(folder, point).state for point in grid.points}
        todo = [point for point in grid.points if states[point.name] != "finished"]

        def tell(name: str, state: str) -> None:
            states[name] = state
            if watch is not None:
                watch(states)

        tell(grid.points[0].name, states[grid.points[0].name])
        waiting: set[str] = set()
        if cluster == "slurm":
            waiting = sweep_slurm.submit(executor, sample_point, folder, todo, wait, tell)
        elif cluster == "debug":
            _in_this_process(executor, folder, todo, tell)
        else:
            _on_this_machine(executor, folder, todo, parallel or 1, tell)
    jobs = read_jobs(folder)
    found = [point_state(folder, point, jobs.get(point.name)) for point in grid.points]
    return [s._replace(state="submitted", detail="") if s.name in waiting else s for s in found]


def sample_point(folder: str, name: str) -> None:
    """Sample a point of a sweep, from where it is: what a job does.

    Args:
        folder: The sweep's folder.
        name: The point's name.

    Raises:
        SystemExit: With code 130, if somebody stopped it: by SIGTERM, after the segment in progress.
        Exception: Whatever went wrong; it is written into the folder as well.
    """
    from hiddencodes.runner import resume_study, run_study

    place = Path(folder)
    grid = read_sweep(place)
    point = next(point for point in grid.points if point.name == name)
    if grid.executor.cluster != "debug":
        _become_a_job(grid.executor.cluster)
    run, failure = run_folder(place, name), failure_file(place, name)
    said: dict[str, float] = {}

    def say(label: str, event: Progress) -> None:
        if time.monotonic() - said.get(label, -_SAY_EVERY) >= _SAY_EVERY:
            said[label] = time.monotonic()
            print(f"{label}: {event.phase} {event.done:g}/{event.total:g}", file=sys.stderr, flush=True)

    try:
        with point_lock(place, name).acquire(timeout=_PATIENCE):
            failure.unlink(missing_ok=True)
            if (run / "plan.json").is_file():
                resume_study(run, study=point.study, progress=say)
            else:
                # Without a plan nothing was sampled: the attempt before was killed while it began.
                shutil.rmtree(run, ignore_errors=True)
                run_study(point.study, run, progress=say)
    except filelock.Timeout:
        print(f"another process is sampling {name}", file=sys.stderr)
    except KeyboardInterrupt:
        if grid.executor.cluster == "debug":
            raise
        print("stopped; the sweep can be gone on with", file=sys.stderr, flush=True)
        if grid.executor.cluster == "slurm":
            sweep_slurm.requeue_if_preempted()
        raise SystemExit(130) from None
    except Exception:
        write_atomically(failure, traceback.format_exc().encode())
        raise


def _again(folder: str, name: str) -> Any:
    """What submitit puts back into the queue when a job's time is over: the same job, which goes on from its last segment."""
    from submitit.helpers import DelayedSubmission

    return DelayedSubmission(sample_point, folder, name)


# Where submitit looks for it.
vars(sample_point)["checkpoint"] = _again


def _become_a_job(cluster: str) -> None:
    """The signals of a process that does nothing but sample a point.

    submitit has its jobs pass over SIGTERM; here it means what it means while `sample` runs, also before and after. Ctrl-C in a
    terminal goes to every process that was started from it: jobs on this machine leave the terminal, and hear of it once, from the
    process that waits for them.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    if cluster == "local":
        os.setsid()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _executor(folder: Path, grid: Grid) -> Any:
    """What takes jobs.

    Raises:
        ValueError: If submitit is missing, or refuses a parameter or the cluster.
    """
    try:
        import submitit
    except ImportError:
        raise ValueError("sweeps need submitit, which is missing: pip install 'hiddencodes[sweep]'") from None
    cluster, parallel, given = grid.executor
    parameters: dict[str, Any] = {"name": slug(grid.study.name), **given}
    if cluster == "local":
        # Left to itself, submitit ends jobs on this machine after two minutes.
        parameters.setdefault("timeout_min", 10 * 365 * 24 * 60)
    if cluster == "slurm" and parallel is not None:
        parameters.setdefault("slurm_array_parallelism", parallel)
    timeouts = {key: parameters.pop(key) for key in [f"{cluster}_max_num_timeout"] if key in parameters}
    try:
        executor = submitit.AutoExecutor(folder / "submitit", cluster, **timeouts)
        executor.update_parameters(**parameters)
    except (AssertionError, NameError, RuntimeError, TypeError, ValueError) as error:
        wrong = Contradiction(("executor",), f"submitit refuses it: {error}")
        raise refused(str(folder / "grid.toml"), grid.text, [wrong]) from error
    return executor


def _in_this_process(executor: Any, folder: Path, points: Sequence[Point], tell: Tell) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        for point in points:
            tell(point.name, "running")
            executor.submit(sample_point, str(folder), point.name).exception()
            tell(point.name, point_state(folder, point).state)


@contextlib.contextmanager
def _deaf_children() -> Generator[None]:
    """What is started here does not hear Ctrl-C in a terminal, until it says so."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _on_this_machine(executor: Any, folder: Path, points: Sequence[Point], parallel: int, tell: Tell) -> None:
    """Keep so many jobs running until there are no more points, or until somebody asks to stop."""
    jobs = read_jobs(folder)
    waiting = {point.name: point for point in points}
    running: dict[str, tuple[Point, Any]] = {}

    def stop() -> None:
        for _, job in running.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(job.job_id), signal.SIGTERM)

    stopped = False
    with asked_to_stop() as asked:
        try:
            while running or (waiting and not asked()):
                for name in [name for name, (_, job) in running.items() if job.done()]:
                    tell(name, point_state(folder, running.pop(name)[0]).state)
                if asked() and not stopped:
                    stopped = True
                    stop()
                # A process that an earlier sweep left behind may still be at work on a point.
                free = (
                    point for point in points if point.name in waiting and not is_taken(folder, point.name)
                )
                for point in itertools.islice(free, 0 if stopped else parallel - len(running)):
                    del waiting[point.name]
                    found = point_state(folder, point).state
                    if found != "finished":
                        with _deaf_children():
                            job = executor.submit(sample_point, str(folder), point.name)
                        running[point.name] = (point, job)
                        jobs[point.name] = str(job.job_id)
                        write_jobs(folder, jobs)
                        found = "running"
                    tell(point.name, found)
                time.sleep(_LOOK)
        except KeyboardInterrupt:
            stop()
