"""A run on disk: a zarr folder to which every segment adds whole chunks, and which opens in ArviZ at any moment.

Arrays of draws are (seed, chain, draw, ...). A chunk holds the chains of one process and the draws of one segment, and carries a
checksum that every reader verifies. What readers see of it is in `hiddencodes.sampling.listing`.
"""

import warnings
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from hiddencodes.sampling import listing
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
# A missing chunk is damage, also where it would hold nothing but the fill value.
_ANEW: Any = {"mode": "w", "consolidated": False, "write_empty_chunks": True}


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
        path: The folder, which is made, and removed again if nothing is written to it.
        process: Number of the process, of those that sample the run together.

    Raises:
        BlockingIOError: If another run holds it.
    """
    made = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path / f"{_LOCK}-{process}" if process else path / _LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise BlockingIOError(f"{path} is in use: another process is sampling this run") from None
    try:
        yield
    finally:
        if made and path.is_dir() and all(entry.name.startswith(_LOCK) for entry in path.iterdir()):
            with suppress(OSError):  # other processes of the run may hold it still
                Path(lock.lock_file).unlink()
                path.rmdir()
        lock.release()


def write(path: Path, datasets: dict[str, xr.Dataset], attrs: dict[str, Any]) -> None:
    """Write groups anew, and attributes of the root; readers see them when all of it is there."""
    listing.hide(path, datasets)
    with quiet():
        for group, dataset in datasets.items():
            checked = {str(name): {"compressors": _codecs()} for name in dataset.variables}
            dataset.to_zarr(path, group=group, encoding=checked, **_ANEW)
        zarr.consolidate_metadata(path)
    listing.set_attributes(path, **attrs)


def _codecs() -> list[Any]:
    """Compression and a checksum: bytes that have changed are refused when they are read."""
    return [BloscCodec(cname="zstd", clevel=1, shuffle="shuffle"), Crc32cCodec()]


class RunStore:
    """The arrays of draws of a run on disk.

    Attributes:
        path: The zarr folder.
        specs: What is stored.
        chains: The chains of this process.
    """

    def __init__(self, path: Path, specs: Sequence[ArraySpec], chains: slice) -> None:
        """Args: ``path``; ``specs``; ``chains``, those of this process."""
        self.path, self.specs, self.chains = path, tuple(specs), chains
        self._arrays: dict[tuple[str, str], Any] = {}

    def create(self, coords: dict[str, Any], segment: int, chains_per_process: int) -> None:
        """Make empty arrays, in place of whatever draws there are.

        Args:
            coords: Labels of every axis but ``draw``.
            segment: Draws per segment.
            chains_per_process: Chains per chunk.
        """
        n_seeds, n_chains = len(coords["seed"]), len(coords["chain"])
        self.hide()
        self._arrays.clear()
        with quiet():
            for group in dict.fromkeys(spec.group for spec in self.specs):
                members = [spec for spec in self.specs if spec.group == group]
                labels = {
                    name: coords[name]
                    for spec in members
                    for name in ("seed", "chain", *spec.dims)
                    if name in coords
                }
                xr.Dataset(coords=labels).to_zarr(self.path, group=group, **_ANEW)
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
            xr.Dataset(coords=labels).to_zarr(self.path, group="health", **_ANEW)
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
            self.array("health", name)[:, self.chains] = current
        for spec in self.specs:
            rows = rows_of(spec.every, first, n)
            if rows.n:
                array = self._grown(spec.group, spec.name, rows.stop, axis=2)
                array[:, self.chains, rows.first : rows.stop] = values[spec.name]
        if self.chains.start == 0:
            for group, every in self.every.items():
                rows = rows_of(every, first, n)
                if rows.n:
                    draws = self._grown(group, "draw", rows.stop, axis=0)
                    draws[rows.first : rows.stop] = draw_numbers(every, *rows)

    def publish(self) -> None:
        """Show readers what has been added; one process does so, after all have added theirs.

        Shapes alone are replaced where that is enough, since listing the folder anew takes longer than writing a segment.
        """
        shapes = {
            f"{group}/{name}": self.array(group, name).shape
            for group in self.every
            for name in ("draw", *(spec.name for spec in self.specs if spec.group == group))
        }
        if not listing.show(self.path, shapes):
            with quiet():
                zarr.consolidate_metadata(self.path)

    def hide(self) -> None:
        """Show readers no draws."""
        listing.hide(self.path, {"health", *self.every})

    def truncate(self, draws: int) -> None:
        """Forget what comes after so many draws; readers stop seeing it first."""
        axes = {(spec.group, spec.name): 2 for spec in self.specs} | {(g, "draw"): 0 for g in self.every}
        shapes: dict[str, tuple[int, ...]] = {}
        for (group, name), axis in axes.items():
            shape = self.array(group, name).shape
            shapes[f"{group}/{name}"] = (*shape[:axis], draws // self.every[group], *shape[axis + 1 :])
        listing.show(self.path, shapes)
        for (group, name), axis in axes.items():
            self._resize(group, name, draws // self.every[group], axis)

    def read(self, names: Collection[str], first: int, n: int) -> dict[str, np.ndarray]:
        """Draws ``first .. first + n`` of this process's chains, by name, of arrays with a row for every draw."""
        return {
            spec.name: self.array(spec.group, spec.name)[:, self.chains, first : first + n]
            for spec in self.specs
            if spec.name in names
        }

    @property
    def every(self) -> dict[str, int]:
        """A row for every so many draws, by group."""
        return {spec.group: spec.every for spec in self.specs}

    def array(self, group: str, name: str) -> Any:
        """An array, opened once."""
        if (group, name) not in self._arrays:
            # Chunks that hold nothing but the fill value are written as well: a missing one is damage.
            self._arrays[group, name] = zarr.open_array(
                self.path / group / name, mode="r+", config={"write_empty_chunks": True}
            )
        return self._arrays[group, name]

    def _resize(self, group: str, name: str, rows: int, axis: int) -> Any:
        array = self.array(group, name)
        if array.shape[axis] != rows:
            array.resize((*array.shape[:axis], rows, *array.shape[axis + 1 :]))
        return array

    def _grown(self, group: str, name: str, rows: int, axis: int) -> Any:
        return self._resize(group, name, max(rows, self.array(group, name).shape[axis]), axis)


def draw_numbers(every: int, first: int, stop: int) -> np.ndarray:
    """Of rows, the numbers of the draws that they hold."""
    return (np.arange(first, stop) + 1) * every - 1


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
        compressors=_codecs(),
        fill_value=np.nan if dtype.kind == "f" else 0,
        dimension_names=dims,
        attributes=attrs,
        overwrite=True,
    )
