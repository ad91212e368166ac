"""Ctrl-C and the signal with which schedulers end jobs: the segment in progress is finished first."""

import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def asked_to_stop(verbose: bool = True) -> Generator[Callable[[], bool]]:
    """A function that says whether somebody asked the process to stop; a second request stops it at once.

    Outside the main thread, which alone receives signals, nobody asks.

    Args:
        verbose: Whether a request is answered on the standard error stream.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    # What was not installed from Python, as by a cluster's runtime, cannot be put back and is left alone.
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    before = {number: handler for number, handler in handlers.items() if handler is not None}
    asked = False

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number: int, frame: Any) -> None:
        del number, frame
        nonlocal asked
        asked = True
        restore()
        if verbose:
            print("stopping after this segment; once more stops at once", file=sys.stderr, flush=True)

    for number in before:
        signal.signal(number, ask)
    try:
        yield lambda: asked
    finally:
        restore()
