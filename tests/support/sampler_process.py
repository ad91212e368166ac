"""A process that forks one that samples, for every request: a JSON object per line of its input.

What takes time to import is imported once, and nothing that starts JAX: a process that has started it cannot be forked.
"""

import importlib
import json
import os
import signal
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any

SLOW_TO_IMPORT = (
    "arviz",
    "flax.linen",
    "jax",
    "matplotlib.pyplot",
    "numpyro",
    "optax",
    "scipy.stats",
    "xarray",
    "zarr",
)


def _serve() -> None:
    child = 0
    for line in sys.stdin:
        request = json.loads(line)
        if request:
            child = os.fork()
            if child == 0:
                _child(request)
            print(child, flush=True)
        else:
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _child(request: dict[str, Any]) -> None:
    """Sample the small run, note what is going on, and die when it is time."""
    from interrupted import at_every_moment, sample

    from hiddencodes.sampling.recorder import OnDisk

    log = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(*words: object) -> None:
        os.write(log, (" ".join(map(str, words)) + "\n").encode())

    resume, consume, save = OnDisk.resume, OnDisk.consume, OnDisk.save

    def resume_(self: OnDisk) -> Any:
        saved = resume(self)
        note("resumed", *(saved.position if saved else (0, 0)))
        return saved

    def consume_(self: OnDisk, segment: Any) -> None:
        note("computed", segment.first, segment.n)
        consume(self, segment)

    def save_(self: OnDisk, saved: Any) -> None:
        save(self, saved)
        note("saved", *saved.position)

    OnDisk.resume, OnDisk.consume, OnDisk.save = resume_, consume_, save_
    out = Path(request["out"])

    def die(moment: int, event: str) -> None:
        if moment == request["die"]:
            os.kill(os.getpid(), signal.SIGKILL)

    with at_every_moment(out, die) if request["die"] is not None else nullcontext():
        sample(out, progress=lambda event: note("reported", event.phase, event.done), **request["settings"])
    os._exit(0)


if __name__ == "__main__":
    for name in SLOW_TO_IMPORT:
        importlib.import_module(name)
    warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called")  # which JAX says in any case
    _serve()
