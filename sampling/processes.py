"""Several processes that sample one run together (``jax.distributed``): what they agree on and tell each other."""

import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from hiddencodes.sampling.lanes import Lanes


def agreed(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the first process finds; the others take its word. Texts, numbers and lists of them.

    What is measured differs from process to process; what follows from it must not.
    """
    if jax.process_count() == 1:
        return function(*arguments)
    found: dict[str, Any] = {}
    error: Exception | None = None
    if jax.process_index() == 0:
        try:
            found = {"value": function(*arguments)}
        except Exception as raised:  # noqa: BLE001  the others must hear of it, or they would wait for ever
            error, found = raised, {"error": str(raised)}
    text = json.dumps(found).encode()
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    padded = np.frombuffer(text[:size].ljust(size), np.uint8)
    told = json.loads(np.asarray(multihost_utils.broadcast_one_to_all(padded)).astype(np.uint8).tobytes())
    if error is not None:
        raise error
    if "error" in told:
        raise RuntimeError(f"in the first process: {told['error']}")
    return told["value"]


def index() -> int:
    """The number of this process."""
    return int(jax.process_index())


def any_of(value: bool) -> bool:
    """Whether it is true in any process."""
    if jax.process_count() == 1:
        return value
    return bool(np.any(multihost_utils.process_allgather(np.asarray(value))))


def wait(name: str) -> None:
    """Wait until all processes are here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def all_lanes(how: Lanes, tree: Any) -> Any:
    """Lanes of this process (seed, own chain, ...) on the host, as lanes of all processes (seed, chain, ...)."""
    if how.processes == 1:
        return tree

    def join(leaf: np.ndarray) -> np.ndarray:
        # As bytes: what travels through JAX would otherwise be rounded to the types that it is set to.
        raw = np.ascontiguousarray(leaf).view(np.uint8) if leaf.ndim else leaf
        parts = np.asarray(multihost_utils.process_allgather(raw))
        return np.concatenate([np.ascontiguousarray(part).view(leaf.dtype) for part in parts], axis=1)

    return jax.tree.map(join, tree)
