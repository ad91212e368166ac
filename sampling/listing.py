"""What readers see of a run on disk: one file at its root, with the attributes and the metadata of all arrays, replaced in one step.

Readers take the shapes of arrays from there and not from the arrays' own metadata: they see all of a segment or nothing of it, and
groups when they are whole.
"""

import json
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hiddencodes.sampling.checkpoint import DamagedError, write_atomically

_NAME = "zarr.json"


def begin(run: Path, attrs: Mapping[str, Any]) -> None:
    """Attributes and nothing else, whatever was there."""
    nothing: dict[str, Any] = {"kind": "inline", "must_understand": False, "metadata": {}}
    root = {"zarr_format": 3, "node_type": "group", "attributes": dict(attrs)}
    _write(run, {**root, "consolidated_metadata": nothing})


def mend(run: Path, attrs: Mapping[str, Any]) -> bool:
    """Begin it anew if it is lost or not what was written; whether that was so."""
    try:
        _read(run)
    except (DamagedError, FileNotFoundError):
        begin(run, attrs)
        return True
    return False


def attributes(run: Path) -> dict[str, Any]:
    """The attributes; none where nothing is written yet."""
    return _read(run).get("attributes", {}) if (run / _NAME).is_file() else {}


def set_attributes(run: Path, **attrs: Any) -> None:
    """Change some attributes."""
    with _changed(run) as metadata:
        metadata["attributes"] = {**metadata.get("attributes", {}), **attrs}


def show(run: Path, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Show arrays in these shapes; False, and nothing is changed, if one of them is not listed."""
    with _changed(run) as metadata:
        listed = _listed(metadata)
        if not all(name in listed for name in shapes):
            return False
        for name, shape in shapes.items():
            listed[name]["shape"] = list(shape)
    return True


def hide(run: Path, groups: Collection[str]) -> None:
    """Show nothing of these groups."""
    with _changed(run) as metadata:
        listed = _listed(metadata)
        for name in [name for name in listed if name.split("/")[0] in groups]:
            del listed[name]


def _listed(metadata: dict[str, Any]) -> dict[str, Any]:
    return (metadata.get("consolidated_metadata") or {}).get("metadata", {})


@contextmanager
def _changed(run: Path) -> Generator[dict[str, Any]]:
    """The content of the file, which is written if it was changed."""
    metadata = _read(run)
    before = json.dumps(metadata)
    yield metadata
    if json.dumps(metadata, default=_as_python) != before:
        _write(run, metadata)


def _read(run: Path) -> dict[str, Any]:
    try:
        return json.loads((run / _NAME).read_bytes())
    except ValueError as error:
        raise DamagedError(f"{run / _NAME} is not what was written: {error}") from error


def _write(run: Path, metadata: dict[str, Any]) -> None:
    write_atomically(run / _NAME, json.dumps(metadata, default=_as_python).encode())


def _as_python(number: Any) -> Any:
    return number.item()  # NumPy's numbers
