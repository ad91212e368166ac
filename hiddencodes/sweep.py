"""Sweeps: every point of a grid is a run folder, and all of them open as one tree.

A sweep's folder holds the grid file, ``sweep.json`` with the study of every point, the run folders ``points/<name>``, ``states/``, which
points are being sampled and why the last attempt at one failed, ``jobs.json``, which job of the scheduler had which point, and
``submitit/``, the scheduler's own files. Of the latter only logs are read.
"""

import contextlib
import json
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import filelock
import xarray as xr

from hiddencodes.rules import slug
from hiddencodes.sampling import checkpoint, open_run
from hiddencodes.sampling.checkpoint import differences, write_atomically

if TYPE_CHECKING:
    from hiddencodes.sweep_file import Grid, Point

Tell = Callable[[str, str], None]
"""What is told the name of a point, and what has become of it."""


class PointState(NamedTuple):
    """How far a point is.

    Attributes:
        name: The point's name.
        values: Value by key of the grid.
        state: ``"finished"``, ``"failed"``, ``"interrupted"``, ``"not begun"``, or ``"submitted"``: it waits or is sampled.
        detail: The last line of the error; of a point that is interrupted, where it is, and the last line of its job's log.
    """

    name: str
    values: dict[str, Any]
    state: str
    detail: str


def open_sweep(folder: str | Path) -> xr.DataTree:
    """Open all runs of a sweep as one tree; arrays are read when used.

    Args:
        folder: The sweep's folder.

    Returns:
        A tree with the groups of a run at ``/<point>/<network>``. Attributes of a point's node are its values by key of the grid, and
        ``complete``, which is 0 for a point that is not finished. Attributes of the root are ``grid``, the values of every key as JSON,
        and ``missing``, the names of points of which there is nothing yet.

    Raises:
        ValueError: If it is not the folder of a sweep.

    Example:
        >>> open_sweep("no-such-sweep")
        Traceback (most recent call last):
            ...
        ValueError: no-such-sweep is not the folder of a sweep: it has no sweep.json
    """
    folder = Path(folder)
    grid = read_sweep(folder)
    nodes: dict[str, xr.DataTree] = {}
    for point in grid.points:
        runs: dict[str, xr.DataTree] = {}
        for store in _stores(folder, point):
            # What a process has only begun to write fails to open in one of many ways.
            with contextlib.suppress(OSError, ValueError, KeyError, RuntimeError):
                runs[store.stem] = open_run(store)
        if runs:
            complete = len(runs) == len(point.study.network) and all(
                r.attrs["complete"] for r in runs.values()
            )
            attrs = {**point.values, "complete": int(complete)}
            nodes[point.name] = xr.DataTree(xr.Dataset(attrs=attrs), children=runs)
    missing = [point.name for point in grid.points if point.name not in nodes]
    return xr.DataTree(xr.Dataset(attrs={"grid": json.dumps(grid.axes), "missing": missing}), children=nodes)


def read_sweep(folder: Path) -> "Grid":
    """The grid that a sweep's folder was begun with.

    Args:
        folder: The folder.

    Raises:
        ValueError: If it is not the folder of a sweep.
    """
    from hiddencodes.schema import Study
    from hiddencodes.sweep_file import Executor, Grid, Point

    def study(plain: Any) -> Study:
        return Study.model_validate_json(json.dumps(plain))

    try:
        kept = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
        points = tuple(Point(p["name"], p["values"], study(p["study"])) for p in kept["points"])
        return Grid(kept["text"], study(kept["study"]), kept["axes"], Executor(**kept["executor"]), points)
    except OSError:
        raise ValueError(f"{folder} is not the folder of a sweep: it has no sweep.json") from None
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{folder / 'sweep.json'} is damaged ({error})") from error


def write_sweep(folder: Path, grid: "Grid") -> None:
    """Write the grid file and ``sweep.json``, each as a whole or not at all.

    Args:
        folder: The sweep's folder.
        grid: Its grid.
    """

    def plain(study: Any) -> dict[str, Any]:
        return study.model_dump(mode="json", exclude_unset=True, exclude_none=True)

    kept = {
        "text": grid.text,
        "study": plain(grid.study),
        "axes": grid.axes,
        "executor": grid.executor._asdict(),
        "points": [{"name": p.name, "values": p.values, "study": plain(p.study)} for p in grid.points],
    }
    write_atomically(folder / "grid.toml", grid.text.encode())
    # Last, since a folder is that of a sweep when it has it.
    write_atomically(folder / "sweep.json", json.dumps(kept, indent=1).encode())


def same_sweep(folder: Path, grid: "Grid | None") -> "Grid":
    """The grid to go on with. Where its points are sampled may have changed, but not what they are.

    Args:
        folder: The sweep's folder.
        grid: The grid that it is expected to have; None for whatever it has.

    Raises:
        ValueError: If it is another grid, with what differs, or the folder is not that of a sweep.
    """
    before = read_sweep(folder)
    if grid is None:
        now = tomllib.loads((folder / "grid.toml").read_text(encoding="utf-8"))
        what, lines = "its grid.toml", differences(tomllib.loads(before.text), now)
    else:
        what = "the grid given"
        old, new = (
            {"study": g.study.model_dump(mode="json"), "grid": g.axes, "order of the keys": list(g.axes)}
            for g in (before, grid)
        )
        lines = differences(old, new)
    if lines:
        raise ValueError(
            f"{folder}: {what} is not what the sweep was begun with; what differs:\n  " + "\n  ".join(lines)
        )
    return before if grid is None else before._replace(text=grid.text, executor=grid.executor)


def run_folder(folder: Path, name: str) -> Path:
    """The run folder of a point."""
    return folder / "points" / name


def failure_file(folder: Path, name: str) -> Path:
    """What says why the last attempt at a point failed."""
    return folder / "states" / f"{name}.failed"


def point_lock(folder: Path, name: str) -> filelock.FileLock:
    """What the process holds that samples a point."""
    (folder / "states").mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(folder / "states" / f"{name}.lock")


def is_taken(folder: Path, name: str) -> bool:
    """Whether a process on this machine is sampling a point."""
    try:
        with point_lock(folder, name).acquire(timeout=0):
            return False
    except filelock.Timeout:
        return True


def read_jobs(folder: Path) -> dict[str, str]:
    """The job that had a point last, by name of the point."""
    try:
        return json.loads((folder / "jobs.json").read_text(encoding="utf-8"))
    except OSError:
        return {}


def write_jobs(folder: Path, jobs: dict[str, str]) -> None:
    """Write ``jobs.json``, as a whole or not at all."""
    write_atomically(folder / "jobs.json", json.dumps(jobs, indent=1).encode())


def point_state(folder: Path, point: "Point", job: str | None = None) -> PointState:
    """How far a point is, by its files.

    Args:
        folder: The sweep's folder.
        point: The point.
        job: The job that had it last; None for none.
    """
    run, failure = run_folder(folder, point.name), failure_file(folder, point.name)
    # The report is the last thing that is written.
    if (run / "report.html").is_file() and all(map(_is_complete, _stores(folder, point))):
        return PointState(point.name, point.values, "finished", "")
    if failure.is_file():
        return PointState(point.name, point.values, "failed", _last_line(failure))
    log = "" if job is None else _last_line(folder / "submitit" / f"{job}_0_log.err")
    if not (run / "plan.json").is_file():
        return PointState(point.name, point.values, "not begun", log)
    places = [f"{s.stem}: {found[0]}" for s in _stores(folder, point) if (found := checkpoint.positions(s))]
    detail = "; ".join([*places[-1:], *filter(None, [log])])
    return PointState(point.name, point.values, "interrupted", detail)


def _stores(folder: Path, point: "Point") -> Iterator[Path]:
    for network in point.study.network:
        yield run_folder(folder, point.name) / "networks" / f"{slug(network.label)}.zarr"


def _is_complete(store: Path) -> bool:
    # Opening a run takes a hundred times as long as reading the one file that says it.
    try:
        return bool(json.loads((store / "zarr.json").read_bytes())["attributes"]["complete"])
    except (OSError, ValueError, KeyError):
        return False


def _last_line(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
