"""The points of a sweep as jobs of Slurm: submitted with submitit, followed in Slurm's queue."""

import contextlib
import itertools
import os
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hiddencodes.sampling.interruption import asked_to_stop
from hiddencodes.sweep import Tell, point_state, read_jobs, write_jobs

if TYPE_CHECKING:
    from hiddencodes.sweep_file import Point

# Slurm takes arrays of up to 1001 jobs unless it is told otherwise.
_ARRAY = 1000
# Seconds between two looks at the queue, which others ask as well, and at whether somebody asked to stop.
_LOOK_AT_QUEUE, _LOOK = 10.0, 0.2


def submit(
    executor: Any,
    job: Callable[[str, str], None],
    folder: Path,
    points: "Sequence[Point]",
    wait: bool,
    tell: Tell,
) -> set[str]:
    """Submit points that are not in the queue already, and wait until they have left it or somebody asks to stop.

    Args:
        executor: submitit's, for Slurm.
        job: What samples a point, from the folder of the sweep and the point's name.
        folder: The sweep's folder.
        points: The points.
        wait: Whether to wait.
        tell: Is told what becomes of them.

    Returns:
        The names of points that are in the queue still.

    Raises:
        OSError: If Slurm does not answer, or does not take the jobs.
    """
    jobs, queue = read_jobs(folder), _queue()
    left = {point.name: point for point in points}
    with asked_to_stop(verbose=False) as asked:
        for names in itertools.batched([n for n in left if jobs.get(n) not in queue], _ARRAY):
            jobs |= _submit_array(executor, job, folder, names)
            write_jobs(folder, jobs)
        for name in left:
            tell(name, "submitted")
        gone: set[str] = set()
        while wait and left and not asked():
            _sleep(_LOOK_AT_QUEUE, asked)
            with contextlib.suppress(OSError):  # a scheduler that does not answer now will later
                queue = _queue()
            for name in [name for name in left if jobs[name] not in queue]:
                found = point_state(folder, left[name]).state
                # Files that another machine has written may take a moment to be seen here.
                if name in gone or found in ("finished", "failed"):
                    del left[name]
                    tell(name, found)
                gone.add(name)
    return set(left)


def requeue_if_preempted() -> None:
    """Put the job that this process is back into the queue, if it is being stopped because others come first.

    Slurm does so by itself with jobs that it has to kill, but not with those that end when they are asked to.
    """
    job = os.environ["SLURM_JOB_ID"]
    shown = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True, check=False)
    if re.search(r"\bPreemptTime=\d", shown.stdout):
        subprocess.run(["scontrol", "requeue", job], check=False)


def _submit_array(
    executor: Any, job: Callable[[str, str], None], folder: Path, names: Sequence[str]
) -> dict[str, str]:
    from submitit.core.utils import FailedJobError
    from submitit.helpers import clean_env, environment_variables

    # A job that submits others must not pass on what it was told about itself, but where Slurm is is no part of that.
    where = {name: os.environ[name] for name in ("SLURM_CONF",) if name in os.environ}
    try:
        with clean_env(), environment_variables(**where):
            submitted = executor.map_array(job, [str(folder)] * len(names), names)
    except FailedJobError as error:
        raise OSError(f"Slurm does not take the jobs: {error}") from error
    return {name: str(taken.job_id) for name, taken in zip(names, submitted, strict=True)}


def _sleep(seconds: float, asked: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not asked():
        time.sleep(_LOOK)


def _queue() -> set[str]:
    """The jobs of this user that wait or run: asked of the queue, since Slurm need not keep the accounts that submitit would ask."""
    command = ["squeue", "--me", "--array", "--noheader", "--format=%i"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise OSError(f"{' '.join(command)}: {answer.stderr.strip()}")
    return set(answer.stdout.split())
