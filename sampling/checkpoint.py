"""Checkpoints: where a run is, in files that are whole or refused.

A file is the SHA-256 sum of what follows, a newline, and NumPy's archive of the arrays with a JSON manifest. It is written under
another name, flushed to the disk and renamed, so that a process that is killed leaves the one before. Nothing in it is executed when
it is read: arrays of objects, which NumPy would pickle, are refused both ways.
"""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FOLDER = ".checkpoint"
_SUFFIX = ".state"
# Newest ones that are kept, besides the one at the end of warm-up, from which every draw can be made again.
_KEPT = 2


class DamagedError(ValueError):
    """A file is not what was written."""


class Position(NamedTuple):
    """How far a run is; positions are ordered.

    Attributes:
        phase: 0 for warm-up, 1 for sampling.
        done: Iterations or draws that are finished.
    """

    phase: int
    done: int

    def __str__(self) -> str:
        """In words."""
        return f"{'draw' if self.phase else 'warm-up iteration'} {self.done}"


class Checkpoint(NamedTuple):
    """The state of a run, or of the chains of one of its processes.

    Attributes:
        position: How far the run is.
        manifest: What else is known, as plain data.
        arrays: Arrays in the order in which they were given.
    """

    position: Position
    manifest: dict[str, Any]
    arrays: list[np.ndarray]


def folder(run: Path) -> Path:
    """Where the checkpoints of a run are."""
    return run / FOLDER


def is_run(path: Path) -> bool:
    """Whether a folder is a run that can be gone on with, or one that was killed before it wrote anything but its lock."""
    return folder(path).is_dir() or (
        path.is_dir() and all(p.name.startswith(".lock") for p in path.iterdir())
    )


def file_name(run: Path, position: Position, process: int) -> Path:
    """The file of one process."""
    return folder(run) / f"{position.phase}-{position.done:012d}-{process}{_SUFFIX}"


def write(run: Path, saved: Checkpoint, process: int = 0) -> None:
    """Write the checkpoint of one process; older ones stay.

    Args:
        run: The run's folder.
        saved: What to keep.
        process: Number of the process.

    Raises:
        OSError: If it cannot be written; the ones before are then still there.
    """
    manifest = np.frombuffer(json.dumps(saved.manifest).encode(), np.uint8)
    archive = io.BytesIO()
    named = {f"{i:04d}": array for i, array in enumerate(saved.arrays)}
    np.savez(archive, allow_pickle=False, manifest=manifest, **named)
    content = archive.getbuffer()
    write_atomically(
        file_name(run, saved.position, process), hashlib.sha256(content).hexdigest().encode() + b"\n", content
    )


def write_atomically(path: Path, *parts: Any) -> None:
    """A file that is there as a whole or not at all, also after the machine lost its power."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as stream:
            for part in parts:
                stream.write(part)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def clear(run: Path) -> None:
    """Make the folder of the checkpoints, or delete all that is in it: a folder without it would not be a run."""
    folder(run).mkdir(exist_ok=True)
    for old in folder(run).iterdir():
        old.unlink()


def prune(run: Path, newest: Position, process: int = 0) -> None:
    """Delete the checkpoints of one process but the newest ones and the end of warm-up.

    Args:
        run: The run's folder.
        newest: The one just written. Those that are further on were passed over because they are damaged.
        process: Number of the process.
    """
    found = positions(run, process)
    kept = [p for p in found if p <= newest and p != Position(1, 0)][:_KEPT]
    for position in found:
        if position not in (*kept, Position(1, 0)):
            file_name(run, position, process).unlink(missing_ok=True)


def positions(run: Path, process: int = 0) -> list[Position]:
    """Positions of one process's checkpoints, newest first."""
    names = [path.stem.split("-") for path in folder(run).glob(f"*-{process}{_SUFFIX}")]
    return sorted((Position(int(phase), int(done)) for phase, done, _ in names), reverse=True)


def read(run: Path, position: Position, process: int = 0) -> Checkpoint:
    """Read the checkpoint of one process.

    Args:
        run: The run's folder.
        position: Which one.
        process: Number of the process that wrote it.

    Raises:
        DamagedError: If the file is not what was written.
        OSError: If it cannot be read.
    """
    path = file_name(run, position, process)
    total, _, content = path.read_bytes().partition(b"\n")
    if hashlib.sha256(content).hexdigest().encode() != total:
        raise DamagedError(f"checkpoint {path.name}: its checksum is wrong")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            manifest = json.loads(archive["manifest"].tobytes())
            arrays = [archive[name] for name in sorted(set(archive.files) - {"manifest"})]
    except (ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DamagedError(f"checkpoint {path.name}: {error}") from error
    return Checkpoint(position, manifest, arrays)


def differences(before: Any, now: Any, path: str = "") -> list[str]:
    """What differs between two pieces of plain data, one line per value.

    Example:
        >>> differences({"chains": 4, "moves": {"a": 1}}, {"chains": 8, "moves": {"a": 1}})
        ['chains: 4 -> 8']
    """
    if isinstance(before, dict) and isinstance(now, dict):
        lines: list[str] = []
        for key in sorted({*before, *now}, key=str):
            lines += differences(before.get(key), now.get(key), f"{path}.{key}" if path else str(key))
        return lines
    lists = isinstance(before, Sequence) and isinstance(now, Sequence) and not isinstance(before, str)
    if lists and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        return [line for i, pair in pairs for line in differences(*pair, f"{path}[{i}]")]
    return [] if before == now else [f"{path}: {json.dumps(before)} -> {json.dumps(now)}"]
