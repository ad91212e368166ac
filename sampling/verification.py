"""Whether the draws on disk are what was written."""

from pathlib import Path

import numpy as np
import zarr

from hiddencodes.sampling.checkpoint import DamagedError
from hiddencodes.sampling.store import ArraySpec, RunStore, draw_numbers

# What is read at a time.
_BLOCK_BYTES = 64e6


def verify(store: RunStore, draws: int) -> None:
    """Read the first draws of a process's chains, whose checksums are then compared.

    Args:
        store: Where they are.
        draws: How many.

    Raises:
        DamagedError: If any of it is missing or not what was written.
        OSError: If it cannot be read for another reason.
    """
    where = ""
    try:
        for spec in store.specs:
            where = f"{spec.group}/{spec.name}"
            _verify_rows(store, spec, draws // spec.every)
        for group, every in store.every.items():
            where, rows = f"{group}/draw", draws // every
            if not np.array_equal(store.array(group, "draw")[:rows], draw_numbers(every, 0, rows)):
                raise DamagedError("not what was written")
    except (ValueError, TypeError, KeyError, RuntimeError, FileNotFoundError) as error:
        raise DamagedError(f"{where}: {error}") from error


def verify_group(path: Path, group: str) -> None:
    """Read a group that was written as a whole.

    Args:
        path: The run's folder.
        group: Its name.

    Raises:
        DamagedError: If any of it is missing or not what was written.
    """
    where = group
    try:
        for name, array in zarr.open_group(path / group, mode="r").arrays():
            where = f"{group}/{name}"
            if array.nchunks_initialized < array.nchunks:
                raise DamagedError(f"{array.nchunks - array.nchunks_initialized} chunks are not there")
            array[...]
    except (ValueError, TypeError, KeyError, RuntimeError, FileNotFoundError) as error:
        raise DamagedError(f"{where}: {error}") from error


def _verify_rows(store: RunStore, spec: ArraySpec, rows: int) -> None:
    array = store.array(spec.group, spec.name)
    if array.shape[2] < rows:
        raise DamagedError(f"{array.shape[2]} rows, expected {rows}")
    length = array.chunks[2]
    chunks = max(1, int(_BLOCK_BYTES * array.shape[2] / max(1, array.nbytes)) // length)
    for first in range(0, rows, length * chunks):
        stop = min(first + length * chunks, rows)
        for row in range(first, stop, length):
            # A reader takes what is missing for what was never written.
            place = (0, store.chains.start // array.chunks[1], row // length, *(0 for _ in spec.shape))
            file = store.path / spec.group / spec.name / array.metadata.encode_chunk_key(place)
            if array.size and not file.is_file():
                raise DamagedError(f"rows {row} to {min(row + length, rows) - 1} are not there")
        array[:, store.chains, first:stop]
