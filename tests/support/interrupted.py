"""Runs that are killed: a small run, the moments at which its folder changes, and processes that sample it.

A moment is the instant before a file in the run's folder is opened for writing, renamed or removed, or a folder made or removed.
Nothing changes on disk between two moments: a copy of the folder at a moment is what a process leaves that is killed there.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import jax.numpy as jnp
import numpy as np
import xarray as xr
import zarr

import hiddencodes as hc
from hiddencodes.sampling.observables import readout, train_loss

TASK = hc.orthogonal_classes(n_train=8, n_test=4, y_minus=0.5)
MLP = hc.MLP(TASK.n_inputs, TASK.n_outputs, 6, 1, hc.sigmoidal, hc.mean_field)
POSTERIOR = hc.Posterior(MLP, TASK, n_temperature=0.05)
NORMS = hc.Observable(
    "norms", ("unit",), lambda c: jnp.sum(c.params["readout"]["kernel"] ** 2, axis=1), False, 3, "float16"
)
# Draws are no multiple of a segment, and a segment is none of the interval of what is kept every third draw.
SETTINGS: dict[str, Any] = {
    "chains": 2,
    "draws": 22,
    "warmup": 48,
    "segment": 4,
    "observables": (train_loss, readout, NORMS),
    "verbose": False,
}


def sample(out: Path | None, **settings: Any) -> xr.DataTree:
    """The small run, begun or gone on with; in memory if there is no folder."""
    return hc.sample(POSTERIOR, out=out, resume=out is not None, **(SETTINGS | settings))


def assert_same(run: xr.DataTree, other: xr.DataTree, groups: Iterable[str] | None = None) -> None:
    """Every bit of every array of these groups, or of all."""
    if groups is None:
        assert set(run.children) == set(other.children)
    for group in groups or run.children:
        one, two = run[group].to_dataset(), other[group].to_dataset()
        assert set(one.variables) == set(two.variables), group
        for name in one.variables:
            a, b = one[name], two[name]
            assert (a.dims, a.shape) == (b.dims, b.shape), f"{group}/{name}"
            if a.dtype.kind in "biuf":
                same = a.dtype == b.dtype and a.values.tobytes() == b.values.tobytes()
            else:  # texts are objects in memory and strings on disk
                same = a.values.tolist() == b.values.tolist()
            assert same, f"{group}/{name} differs from {np.argwhere(a.values != b.values)[:1]} on"


class Crash(Exception):
    """What ends a run from within."""


def crash_at(phase: str, done: int) -> Callable[[hc.Progress], None]:
    """A report of progress that ends the run when it is so far."""

    def report(event: hc.Progress) -> None:
        if event.phase == phase and event.done >= done:
            raise Crash(f"{phase} {event.done}")

    return report


_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate")
_one_at_a_time = threading.RLock()
_hooked = False
_watching: tuple[Path, Callable[[str], None]] | None = None


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if _watching is None or not (event in _CHANGES or (event == "open" and _writes(args[1], args[2]))):
        return
    with _one_at_a_time:
        # A tree is removed by names relative to a descriptor.
        if _watching is not None and (event == "os.remove" or str(args[0]).startswith(str(_watching[0]))):
            _watching[1](event)


def _writes(mode: str | None, flags: int) -> bool:
    return bool(flags & (os.O_WRONLY | os.O_RDWR)) if mode is None else not set(mode).isdisjoint("wax+")


@contextmanager
def at_every_moment(folder: Path, function: Callable[[int, str], None]) -> Generator[None]:
    """Call a function with the number and the name of every moment; zarr then does one thing at a time.

    What the function does to files is no moment. The change is not made if it raises.
    """
    global _watching, _hooked
    if not _hooked:
        sys.addaudithook(_hook)  # for good
        _hooked = True
    count = 0

    def moment(event: str) -> None:
        nonlocal count
        global _watching
        kept, _watching = _watching, None
        try:
            function(count, event)
        finally:
            _watching = kept
            count += 1

    with zarr.config.set({"async.concurrency": 1}):
        _watching = folder, moment
        try:
            yield
        finally:
            _watching = None


def copy_run(run: Path, to: Path) -> None:
    """Copy a run's folder, also while zarr renames what it has written."""

    def copy(source: str, target: str) -> None:
        try:
            shutil.copy2(source, target)
        except FileNotFoundError:
            if not source.endswith(".partial"):
                raise

    shutil.copytree(run, to, copy_function=copy)


class Samplers:
    """A process that forks one that samples, again and again.

    Attributes:
        log: A line for every state that was resumed or saved and every segment that was computed, of all of them.
    """

    def __init__(self, folder: Path) -> None:
        """Args: ``folder``, for its log and the compiled programs."""
        self.log = folder / "log"
        environment = {
            **os.environ,
            "JAX_ENABLE_X64": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "JAX_COMPILATION_CACHE_DIR": str(folder / "programs"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("sampler_process.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def begin(self, out: Path, die: int | None = None, **settings: Any) -> int:
        """Let a child sample the small run in a folder; its number.

        Args:
            out: The folder.
            die: The moment at which it kills itself.
            settings: Of `sample`.
        """
        return self._ask({"out": str(out), "log": str(self.log), "die": die, "settings": settings})

    def end(self) -> int:
        """Wait for the child; minus the number of the signal that killed it, or its exit status."""
        return self._ask({})

    def lines(self) -> list[str]:
        """The log."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def _ask(self, request: dict[str, Any]) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """The process ends with its input."""
        self.process.communicate(timeout=60)
