"""Grid files: which entries of a study take which values, in TOML, checked in full before anything is computed."""

import difflib
import itertools
import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hiddencodes.plain_data import as_list, as_table
from hiddencodes.rules import Contradiction, KeyPath, slug
from hiddencodes.schema import Network, Study
from hiddencodes.study import Problem, StudyError, load_study, parse_study
from hiddencodes.toml_lines import key_lines, nearest
from hiddencodes.toml_text import inline

CLUSTERS = ("local", "slurm", "debug")
_KEYS = {
    "study": "the path of a study file, relative to this file",
    "grid": "a table [grid] of keys of the study, each with an array of values",
    "executor": "a table [executor]",
}
_PLAIN = "numbers, texts, true and false, and arrays and tables of them"
# Every point is checked, listed and submitted by one process.
_MOST_POINTS = 10_000
_LONGEST_NAME = 60


class Executor(NamedTuple):
    """Where the points of a grid are sampled.

    Attributes:
        cluster: ``"local"``, ``"slurm"`` or ``"debug"``, as submitit calls them.
        parallel: How many points at once; None for one at a time here, and for the scheduler's own limit there.
        parameters: What submitit is told besides.
    """

    cluster: str = "local"
    parallel: int | None = None
    parameters: dict[str, Any] = {}  # noqa: RUF012  (a named tuple's default; nobody writes to it)


class Point(NamedTuple):
    """A point of a grid.

    Attributes:
        name: Its number and its values, as a file name.
        values: Value by key, e.g. ``{"sampling.key": 1}``.
        study: The study with these values.
    """

    name: str
    values: dict[str, Any]
    study: Study


class Grid(NamedTuple):
    """A grid file that was accepted.

    Attributes:
        text: The file.
        study: The study that it varies.
        axes: Values by key, in the order of the file.
        executor: Where the points are sampled.
        points: The Cartesian product; the last key varies fastest.
    """

    text: str
    study: Study
    axes: dict[str, list[Any]]
    executor: Executor
    points: tuple[Point, ...]


class _Axis(NamedTuple):
    """A key of the grid: where it is in the file, its values, and the places in the study that take them."""

    where: KeyPath
    values: list[Any]
    targets: list[KeyPath]

    @property
    def key(self) -> str:
        return ".".join(map(str, self.where[1:]))


def load_grid(path: str | Path) -> Grid:
    """Read and check a grid file, with the studies of all of its points.

    Args:
        path: The file.

    Raises:
        StudyError: With every problem of the file: its line, key, value, and what was expected; or with those of the study file.

    Example:
        >>> load_grid("no-such-file.toml")
        Traceback (most recent call last):
            ...
        hiddencodes.study.StudyError: no-such-file.toml:1: cannot be read: No such file or directory
    """
    path = Path(path)
    text, raw = _read(path)
    wrong = list(_unknown(raw))
    executor = Executor()
    if "executor" in raw:
        executor = _executor(raw["executor"], wrong)
    given = list(_flat(raw["grid"], ("grid",))) if as_table(raw.get("grid")) is not None else []
    for where, values in given:
        wrong += _values(where, values)
    _refuse(path, text, wrong)

    base = load_study(path.absolute().parent / raw["study"])
    axes = [_Axis(where, values, _targets(base, where, wrong)) for where, values in given]
    wrong += _overlaps(axes)
    count = math.prod(len(axis.values) for axis in axes)
    if count > _MOST_POINTS:
        wrong.append(Contradiction(("grid",), f"has {count} points; expected at most {_MOST_POINTS}"))
    _refuse(path, text, wrong)

    points = _points(base, axes, path.absolute().parent / Path(raw["study"]).parent, wrong)
    _refuse(path, text, wrong)
    return Grid(text, base, {axis.key: axis.values for axis in axes}, executor, points)


def refused(file: str, text: str, wrong: list[Contradiction]) -> StudyError:
    """The error that says what is wrong with a grid file, and on which lines.

    Args:
        file: Its name.
        text: Its text.
        wrong: What is wrong, by key path.
    """
    lines = key_lines(text)
    return StudyError(
        file, [Problem(lines[nearest(lines, c.path)], _shown(c.path), c.message) for c in wrong]
    )


def _refuse(path: Path, text: str, wrong: list[Contradiction]) -> None:
    if wrong:
        raise refused(str(path), text, wrong)


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise StudyError(str(path), [Problem(1, "", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise StudyError(str(path), [Problem(1, "", "is not UTF-8 text, as TOML has to be")]) from error
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        line = int(found[1]) if found else text.rstrip().count("\n") + 1
        raise StudyError(str(path), [Problem(line, "", f"is not valid TOML: {error}")]) from error


def _unknown(raw: Mapping[str, Any]) -> Iterator[Contradiction]:
    for key in raw.keys() - _KEYS.keys():
        close = difflib.get_close_matches(key, _KEYS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(_KEYS)}"
        yield Contradiction((key,), f"unknown key; {hint}")
    for key in ("study", "grid"):
        if key not in raw:
            yield Contradiction((), f"{key}: is missing; expected {_KEYS[key]}")
    if "study" in raw and not (isinstance(raw["study"], str) and raw["study"]):
        yield Contradiction(("study",), f"got {_json(raw['study'])}; expected {_KEYS['study']}")
    if "grid" in raw and not as_table(raw["grid"]):
        yield Contradiction(("grid",), f"got {_json(raw['grid'])}; expected {_KEYS['grid']}")


def _executor(raw: object, wrong: list[Contradiction]) -> Executor:
    table = as_table(raw)
    if table is None:
        wrong.append(Contradiction(("executor",), f"got {_json(raw)}; expected {_KEYS['executor']}"))
        return Executor()
    rest = dict(table)
    cluster, parallel = rest.pop("cluster", "local"), rest.pop("parallel", None)
    if cluster not in CLUSTERS:
        message = f'got {_json(cluster)}; expected "local", "slurm" or "debug"'
        wrong.append(Contradiction(("executor", "cluster"), message))
    if parallel is not None and (not isinstance(parallel, int) or isinstance(parallel, bool) or parallel < 1):
        message = f"got {_json(parallel)}; expected a positive integer"
        wrong.append(Contradiction(("executor", "parallel"), message))
    for key, value in rest.items():
        if not _is_plain(value):
            wrong.append(Contradiction(("executor", key), f"got {_json(value)}; expected {_PLAIN}"))
    if cluster == "slurm" and not {"timeout_min", "slurm_time"} & rest.keys():
        message = "timeout_min: is missing; expected the minutes after which a job is put back into the queue, an integer"
        wrong.append(Contradiction(("executor",), message))
    return Executor(cluster, parallel, rest)


def _flat(table: Mapping[str, Any], where: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    """Keys and values, whether the keys are dotted or in tables of their own."""
    for key, value in table.items():
        if (inner := as_table(value)) is not None:
            yield from _flat(inner, (*where, key))
        else:
            yield (*where, key), value


def _values(where: KeyPath, values: object) -> Iterator[Contradiction]:
    items = as_list(values) or []
    if not items:
        yield Contradiction(where, f"got {_json(values)}; expected an array of at least one value")
    for i, item in enumerate(items):
        if not _is_plain(item):
            yield Contradiction((*where, i), f"got {_json(item)}; expected {_PLAIN}")
        # To Python, true is 1; to a study it is not.
        elif any(item == other and isinstance(item, bool) == isinstance(other, bool) for other in items[:i]):
            yield Contradiction((*where, i), f"{_json(item)} is there twice; expected different values")


def _is_plain(value: object) -> bool:
    if (table := as_table(value)) is not None:
        return all(_is_bare(key) and _is_plain(inner) for key, inner in table.items())
    if (items := as_list(value)) is not None:
        return all(map(_is_plain, items))
    return isinstance(value, str | int | float)


def _is_bare(key: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_-]+", key) is not None


def _targets(study: Study, where: KeyPath, wrong: list[Contradiction]) -> list[KeyPath]:
    """The places in a study that a key of the grid stands for: one, or one in every network."""
    key = ".".join(map(str, where[1:]))
    labels = [network.label for network in study.network]
    place, own = key, list[int]()
    if key.startswith("network."):
        place, own = key.removeprefix("network."), list(range(len(labels)))
        for i, label in enumerate(labels):
            if place.startswith(f"{label}."):
                place, own = place.removeprefix(f"{label}."), [i]
                break
    parts = place.split(".")
    known = [*Network.model_fields, *labels] if own else []
    if own and parts[0] not in Network.model_fields:
        close = difflib.get_close_matches(parts[0], known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(known)}"
        wrong.append(Contradiction(where, f"{parts[0]}: unknown key of a network, or label of one; {hint}"))
    elif not all(map(_is_bare, parts)):
        wrong.append(Contradiction(where, "unknown key; expected names with dots between them"))
    return [("network", i, *parts) for i in own] or [tuple(parts)]


def _overlaps(axes: list[_Axis]) -> Iterator[Contradiction]:
    for i, axis in enumerate(axes):
        for other in axes[:i]:
            if any(_related(a, b) for a in axis.targets for b in other.targets):
                yield Contradiction(
                    axis.where, f"is varied by {_shown(other.where)} as well; expected one of the two"
                )
                break


def _related(first: KeyPath, second: KeyPath) -> bool:
    """Whether one place is the other or contains it."""
    shared = min(len(first), len(second))
    return first[:shared] == second[:shared]


def _points(base: Study, axes: list[_Axis], folder: Path, wrong: list[Contradiction]) -> tuple[Point, ...]:
    """All points, and what is wrong with them."""
    chosen = list(itertools.product(*(range(len(axis.values)) for axis in axes)))
    points: list[Point] = []
    faults: dict[tuple[str, str], set[int]] = {}
    names: dict[str, str] = {}
    digits = max(2, len(str(len(chosen) - 1)))
    for number, choice in enumerate(chosen):
        values = {axis.key: axis.values[i] for axis, i in zip(axes, choice, strict=True)}
        data: dict[str, Any] = base.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        for axis in axes:
            for target in axis.targets:
                _set(data, target, values[axis.key])
        text = "".join(f"{key} = {inline(value)}\n" for key, value in data.items())
        try:
            study = parse_study(text, folder=folder)
        except StudyError as error:
            for problem in error.problems:
                faults.setdefault((problem.key, problem.message), set()).add(number)
            continue
        words = "-".join(slug(v if isinstance(v, str) else _json(v)) for v in values.values())
        name = f"{number:0{digits}d}-{words[:_LONGEST_NAME]}".rstrip("-.")
        points.append(Point(name, values, study))
        first = names.setdefault(study.model_dump_json(), name)
        if first != name:
            message = f"the points {first} and {name} are the same study; expected different ones"
            wrong.append(Contradiction(("grid",), message))
    wrong += [_blame(key, message, hit, chosen, axes) for (key, message), hit in faults.items()]
    return tuple(points)


def _set(data: dict[str, Any], path: KeyPath, value: object) -> None:
    """Put a value into a study's plain data; where there is no table on the way, the check of the study will say so."""
    here: Any = data
    for part in path[:-1]:
        if isinstance(part, str) and part != "network" and as_table(here.get(part)) is None:
            here[part] = {}
        here = here[part]
    here[path[-1]] = value


def _blame(
    key: str, message: str, hit: set[int], chosen: list[tuple[int, ...]], axes: list[_Axis]
) -> Contradiction:
    """What is wrong with some points, at the key or value of the grid that all of them and no others have, if there is one."""
    place: KeyPath = tuple(int(p) if p.isdigit() else p for p in re.split(r"[.\[\]]+", key.rstrip("]")))
    own = [n for n, axis in enumerate(axes) if any(_related(t, place) for t in axis.targets)]
    within = f"{key}: {message}"
    for n in (*own, *(n for n in range(len(axes)) if n not in own)):
        where, values, targets = axes[n]
        # Of a value that is a table or an array, the key inside it is said too.
        said = message if n in own and any(len(place) <= len(t) for t in targets) else within
        if n in own and len(hit) == len(chosen):
            return Contradiction(where, said)
        for i in range(len(values)):
            if hit == {number for number, choice in enumerate(chosen) if choice[n] == i}:
                return Contradiction((*where, i), said)
    first = chosen[min(hit)]
    point = ", ".join(f"{a.key} = {_json(a.values[i])}" for a, i in zip(axes, first, strict=True))
    return Contradiction(("grid",), f"{point}: {within}")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _shown(path: KeyPath) -> str:
    """A key path as text, e.g. ``grid.sampling.key[1]``."""
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).removeprefix(".")
