"""A run on disk: a zarr folder to which every segment adds whole chunks, and which opens in ArviZ at any moment.

Arrays of draws are (seed, chain, draw, ...). A chunk holds the chains of one process and the draws of one segment, and carries a
checksum that every reader verifies. Readers take the shapes of all arrays from the consolidated metadata of the root, one file that is
replaced in one step after every segment: they see all of a segment or nothing of it.
"""

import json
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from hiddencodes.sampling import checkpoint
from hiddencodes.sampling.checkpoint import DamagedError
from hiddencodes.sampling.health import Status

SAMPLE_DIMS = ("seed", "chain", "draw")
# Variables of the group `health`: type and attributes.
HEALTH: tuple[tuple[str, str, dict[str, Any]], ...] = (
    (
        "status",
        "int8",
        {
            "flag_values": [int(status) for status in Status],
            "flag_meanings": " ".join(status.name.lower() for status in Status),
        },
    ),
    ("since", "int32", {"long_name": "draw from which the status has held, -1 for a chain that is well"}),
)
_LOCK = ".lock"


class ArraySpec(NamedTuple):
    """An array of draws.

    Attributes:
        group, name: Where it is.
        dims: Axes behind ``seed, chain, draw``.
        shape: Their sizes.
        dtype: Type of its entries.
        every: A row for every so many draws.
    """

    group: str
    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    every: int = 1


class Rows(NamedTuple):
    """What the draws ``first .. first + n`` add to arrays with a row for every ``every`` draws."""

    first: int
    stop: int

    @property
    def n(self) -> int:
        """How many rows."""
        return self.stop - self.first


def rows_of(every: int, first: int, n: int) -> Rows:
    """Rows that are complete after draws ``first .. first + n``, and were not before.

    Example:
        >>> rows_of(10, 25, 10)
        Rows(first=2, stop=3)
    """
    return Rows(first // every, (first + n) // every)


@contextmanager
def quiet() -> Generator[None]:
    """Without zarr's warnings that its strings, its consolidated metadata and our hidden files are not in its specification."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore",
            message=".*(does not have a Zarr V3 specification|Consolidated metadata|not recognized as a component).*",
        )
        yield


@contextmanager
def locked(path: Path, process: int = 0) -> Generator[None]:
    """Hold a run's folder; the lock of a process that was killed is free.

    Args:
        path: The folder, which is made.
        process: Number of the process, of those that sample the run together.

    Raises:
        BlockingIOError: If another run holds it.
    """
    path.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path / f"{_LOCK}-{process}" if process else path / _LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise BlockingIOError(f"{path} is in use: another process is sampling this run") from None
    try:
        yield
    finally:
        lock.release()


def write(path: Path, datasets: dict[str, xr.Dataset], attrs: dict[str, Any]) -> None:
    """Write groups anew, and the attributes of the root."""
    with quiet():
        for group, dataset in datasets.items():
            dataset.to_zarr(path, group=group, mode="w", consolidated=False)
        xr.Dataset(attrs=attrs).to_zarr(path, mode="a", consolidated=False)
        zarr.consolidate_metadata(path)


class RunStore:
    """The arrays of draws of a run on disk.

    Attributes:
        path: The zarr folder.
        specs: What is stored.
    """

    def __init__(self, path: Path, specs: Sequence[ArraySpec], chains: slice) -> None:
        """Args: ``path``; ``specs``; ``chains``, those of this process."""
        self.path, self.specs = path, tuple(specs)
        self._chains = chains
        self._arrays: dict[tuple[str, str], Any] = {}

    def create(self, coords: dict[str, Any], segment: int, chains_per_process: int) -> None:
        """Make empty arrays, in place of whatever draws there are.

        Args:
            coords: Labels of every axis but ``draw``.
            segment: Draws per segment.
            chains_per_process: Chains per chunk.
        """
        n_seeds, n_chains = len(coords["seed"]), len(coords["chain"])
        with quiet():
            for group in dict.fromkeys(spec.group for spec in self.specs):
                members = [spec for spec in self.specs if spec.group == group]
                labels = {
                    name: coords[name]
                    for spec in members
                    for name in ("seed", "chain", *spec.dims)
                    if name in coords
                }
                xr.Dataset(coords=labels).to_zarr(self.path, group=group, mode="w", consolidated=False)
                root = zarr.open_group(self.path / group, mode="r+")
                length = _chunk_rows(members[0].every, segment)
                _create(root, "draw", (0,), (length,), np.dtype(np.int64), ("draw",))
                for spec in members:
                    _create(
                        root,
                        spec.name,
                        (n_seeds, n_chains, 0, *spec.shape),
                        (n_seeds, chains_per_process, length, *(max(n, 1) for n in spec.shape)),
                        spec.dtype,
                        (*SAMPLE_DIMS, *spec.dims),
                    )
            labels = {name: coords[name] for name in ("seed", "chain")}
            xr.Dataset(coords=labels).to_zarr(self.path, group="health", mode="w", consolidated=False)
            root = zarr.open_group(self.path / "health", mode="r+")
            for name, dtype, attrs in HEALTH:
                chunks = (n_seeds, chains_per_process)
                _create(root, name, (n_seeds, n_chains), chunks, np.dtype(dtype), ("seed", "chain"), attrs)

    def append(
        self, values: dict[str, np.ndarray], first: int, n: int, status: np.ndarray, since: np.ndarray
    ) -> None:
        """Add the rows of draws ``first .. first + n`` of this process's chains; readers do not see them yet.

        Args:
            values: Arrays (seed, own chain, row, ...) by name.
            first: Number of the first draw.
            n: How many.
            status, since: What every chain is after them (seed, own chain), and from which draw.
        """
        for name, current in (("status", status), ("since", since)):
            self._array("health", name)[:, self._chains] = current
        for spec in self.specs:
            rows = rows_of(spec.every, first, n)
            if rows.n:
                array = self._grown(spec.group, spec.name, rows.stop, axis=2)
                array[:, self._chains, rows.first : rows.stop] = values[spec.name]
        if self._chains.start == 0:
            for group, every in {spec.group: spec.every for spec in self.specs}.items():
                rows = rows_of(every, first, n)
                if rows.n:
                    draws = self._grown(group, "draw", rows.stop, axis=0)
                    draws[rows.first : rows.stop] = (np.arange(rows.first, rows.stop) + 1) * every - 1

    def publish(self) -> None:
        """Show readers what has been added; one process does so, after all have added theirs.

        Shapes alone are replaced in the root's consolidated metadata, since listing the folder anew takes longer than writing
        a segment.
        """
        root = self.path / "zarr.json"
        metadata = json.loads(root.read_bytes())
        known = metadata["consolidated_metadata"]["metadata"]
        arrays = [(spec.group, spec.name) for spec in self.specs]
        names = [f"{group}/{name}" for group, name in arrays] + [f"{group}/draw" for group, _ in arrays]
        if all(name in known for name in names):
            for name in names:
                known[name]["shape"] = list(self._array(*name.split("/")).shape)
            checkpoint.write_atomically(root, json.dumps(metadata).encode())
        else:
            with quiet():
                zarr.consolidate_metadata(self.path)

    def truncate(self, draws: int) -> None:
        """Forget what comes after so many draws."""
        for spec in self.specs:
            self._resize(spec.group, spec.name, draws // spec.every, axis=2)
        for group, every in {spec.group: spec.every for spec in self.specs}.items():
            self._resize(group, "draw", draws // every, axis=0)

    def verify(self, first: int, n: int) -> None:
        """Read draws ``first .. first + n`` of this process's chains.

        Raises:
            DamagedError: If any of it is missing or not what was written.
        """
        for spec in self.specs:
            rows = rows_of(spec.every, first, n)
            if not rows.n:
                continue
            where = f"{spec.group}/{spec.name}, draws {first} to {first + n - 1}"
            try:
                array = self._array(spec.group, spec.name)
                if array.shape[2] < rows.stop:
                    raise DamagedError(f"{where}: not there")
                length = array.chunks[2]
                for row in range(rows.first - rows.first % length, rows.stop, length):
                    place = (
                        0,
                        self._chains.start // array.chunks[1],
                        row // length,
                        *(0 for _ in spec.shape),
                    )
                    key = array.metadata.encode_chunk_key(place)
                    if array.size and not (self.path / spec.group / spec.name / key).is_file():
                        raise DamagedError(f"{where}: not there")
                array[:, self._chains, rows.first : rows.stop]
            except (ValueError, RuntimeError, OSError, KeyError) as error:
                raise DamagedError(f"{where}: {error}") from error

    def read(self, first: int, n: int) -> dict[str, np.ndarray]:
        """Draws ``first .. first + n`` of this process's chains, by name; those with a row for every draw."""
        return {
            spec.name: self._array(spec.group, spec.name)[:, self._chains, first : first + n]
            for spec in self.specs
            if spec.every == 1
        }

    def _array(self, group: str, name: str) -> Any:
        if (group, name) not in self._arrays:
            # Chunks that hold nothing but the fill value are written as well: a missing one is damage.
            self._arrays[group, name] = zarr.open_array(
                self.path / group / name, mode="r+", config={"write_empty_chunks": True}
            )
        return self._arrays[group, name]

    def _resize(self, group: str, name: str, rows: int, axis: int) -> Any:
        array = self._array(group, name)
        if array.shape[axis] != rows:
            array.resize((*array.shape[:axis], rows, *array.shape[axis + 1 :]))
        return array

    def _grown(self, group: str, name: str, rows: int, axis: int) -> Any:
        return self._resize(group, name, max(rows, self._array(group, name).shape[axis]), axis)


def _chunk_rows(every: int, segment: int) -> int:
    # Segments of ten draws add rows of every fourth draw in twos and threes: one row per chunk fits any of them.
    return segment // every if segment % every == 0 else 1


def _create(
    group: Any,
    name: str,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dtype: np.dtype[Any],
    dims: tuple[str, ...],
    attrs: dict[str, Any] | None = None,
) -> None:
    group.create_array(
        name,
        shape=shape,
        chunks=chunks,
        dtype=dtype,
        compressors=[BloscCodec(cname="zstd", clevel=1, shuffle="shuffle"), Crc32cCodec()],
        fill_value=np.nan if dtype.kind == "f" else 0,
        dimension_names=dims,
        attributes=attrs,
        overwrite=True,
    )
