"""Study files: what to sample, in TOML, checked in full before anything is computed."""

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from hiddencodes.plain_data import as_table
from hiddencodes.rules import KeyPath, contradictions
from hiddencodes.schema import TASKS, Activation, Images, Network, Sampling, Study, Table
from hiddencodes.toml_lines import key_lines, nearest

BUILT_IN = "digits"


class Problem(NamedTuple):
    """One thing that is wrong with a study file.

    Attributes:
        line: Where, from 1.
        key: The key path, e.g. ``network[1].width``; empty for the file as a whole.
        message: The offending value and what was expected.
    """

    line: int
    key: str
    message: str


class StudyError(ValueError):
    """A study file that was refused, with all of its problems.

    Attributes:
        file: The file's name.
        problems: What is wrong, by line.
    """

    def __init__(self, file: str, problems: list[Problem]) -> None:
        """Args: ``file``, the file's name; ``problems``, at least one."""
        self.file = file
        self.problems = tuple(sorted(set(problems)))
        super().__init__(
            "\n".join(f"{file}:{p.line}: {p.key}{': ' if p.key else ''}{p.message}" for p in self.problems)
        )


def built_in_study() -> str:
    """The text of the study that comes with the package.

    Example:
        >>> parse_study(built_in_study()).name
        'digits'
    """
    return (resources.files("hiddencodes") / "studies" / f"{BUILT_IN}.toml").read_text(encoding="utf-8")


def load_study(path: str | Path | None = None) -> Study:
    """Read and check a study file.

    Args:
        path: The file; None for the study that comes with the package.

    Raises:
        StudyError: With every problem of the file: its line, key, value, and what was expected.

    Example:
        >>> [network.label for network in load_study().network][:2]
        ['sigmoidal', 'linear']
    """
    if path is None:
        return parse_study(built_in_study(), f"{BUILT_IN}.toml")
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise StudyError(str(path), [Problem(1, "", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise StudyError(str(path), [Problem(line, "", "is not UTF-8 text, as TOML has to be")]) from error
    return parse_study(text, str(path), path.parent)


def parse_study(text: str, file: str = "study", folder: Path | None = None) -> Study:
    """Read and check a study from its text.

    Args:
        text: A TOML document.
        file: What to call it in error messages.
        folder: The folder that paths in the study are relative to; the working directory if None.

    Raises:
        StudyError: With every problem of the text: its line, key, value, and what was expected.

    Example:
        >>> parse_study('name = "x"\\nseeds = [-1]', "my.toml")
        Traceback (most recent call last):
            ...
        hiddencodes.study.StudyError: my.toml:1: network: is missing; expected one or more tables [[network]]
        my.toml:1: task: is missing; expected a table [task]
        my.toml:2: seeds[0]: got -1; expected an integer of at least 0 and below 2^32 (a seed is an unsigned 32-bit number)
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", str(error))
        line = int(found[1]) if found and found[1] else text.rstrip().count("\n") + 1
        raise StudyError(file, [Problem(line, "", f"is not valid TOML: {error}")]) from error
    lines = key_lines(text)
    problems = [_at(lines, c.path, _got(raw, c.path) + c.message) for c in contradictions(raw)]
    study = None
    try:
        study = Study.model_validate(raw)
    except ValidationError as error:
        problems += [_problem(detail, lines) for detail in error.errors() if not _is_echo(detail)]
    if problems or study is None:
        raise StudyError(file, problems)
    if isinstance(study.task, Images) and study.task.path is not None and folder is not None:
        task = study.task.model_copy(update={"path": str(folder / study.task.path)})
        study = study.model_copy(update={"task": task})
    return study


def _is_echo(detail: ErrorDetails) -> bool:
    """Whether an error only repeats others: the rules' own, or an array that is too short without its bad entries."""
    short = detail["type"] == "too_short" and len(detail["input"]) >= detail.get("ctx", {})["min_length"]
    return short or not detail["loc"]


def _at(lines: dict[KeyPath, int], path: KeyPath, message: str, missing: str = "") -> Problem:
    found = nearest(lines, path)
    key = "".join(
        f"[{p}]" if isinstance(p, int) else f".{p}" for p in (*found, *([missing] if missing else []))
    )
    return Problem(lines[found], key.removeprefix("."), message)


def _show(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _got(raw: Any, path: KeyPath) -> str:
    """The offending value in front of a message, where it is short enough to be one."""
    value: Any = raw
    for part in path:
        value: Any = value[part] if isinstance(part, int) or part in value else {}
    return "" if as_table(value) is not None else f"{_show(value)} "


def _problem(detail: ErrorDetails, lines: dict[KeyPath, int]) -> Problem:
    """One of pydantic's errors in the words of the field's own description."""
    path, table, expected = _locate(detail["loc"])
    value = detail["input"]
    if detail["type"] == "extra_forbidden":
        known = difflib.get_close_matches(str(path[-1]), list(table.model_fields), n=1)
        hint = f"did you mean {known[0]}?" if known else f"expected one of {', '.join(table.model_fields)}"
        return _at(lines, path, f"unknown key; {hint}")
    if detail["type"] == "missing":
        return _at(lines, path[:-1], f"is missing; expected {expected}", missing=str(path[-1]))
    if detail["type"] == "union_tag_not_found":
        return _at(lines, path, f"is missing; expected {_KINDS}", missing="kind")
    if detail["type"] == "union_tag_invalid":
        return _at(
            lines,
            (*path, "kind"),
            f"got {_show(value['kind'])}; expected {_KINDS}{_meant(value['kind'], TASKS)}",
        )
    return _at(
        lines, path, f"got {_show(value)}; expected {expected}{_meant(value, _choices(table, path[-1]))}"
    )


_KINDS = 'one of "' + '", "'.join(TASKS) + '"'


def _meant(value: object, choices: Iterable[str]) -> str:
    if isinstance(value, str):
        for close in difflib.get_close_matches(value, choices, n=1):
            return f'; did you mean "{close}"?'
    return ""


def _choices(table: type[Table], key: str | int) -> list[str]:
    """The texts that a field allows."""
    field = table.model_fields.get(str(key))
    options = list(_leaves(field.annotation)) if field else []
    return [option for option in options if isinstance(option, str)]


def _leaves(annotation: Any) -> Iterator[Any]:
    arguments = get_args(annotation)
    for argument in arguments:
        yield from _leaves(argument)
    if not arguments:
        yield annotation


def _locate(loc: tuple[str | int, ...]) -> tuple[KeyPath, type[Table], str]:
    """The key path of an error, the table it is in, and what is expected there."""
    path: list[str | int] = []
    table: type[Table] = Study
    expected = ""
    steps = list(loc)
    while steps:
        part = steps.pop(0)
        if isinstance(part, int):
            path.append(part)
            expected = expected if steps else _expected_item(table, path[-2], expected)
            continue
        field = table.model_fields.get(part)
        if field is None:
            if not path or path[-1] != part:
                path.append(part)
            continue
        path.append(part)
        expected = field.description or ""
        if part == "task" and steps:
            table = TASKS[str(steps.pop(0))]
        elif part in _SUBTABLES:
            table = _SUBTABLES[part]
        elif not any(isinstance(step, int) for step in steps):
            break  # what follows names the branches of a union, not keys
    return tuple(path), table, expected


_SUBTABLES: dict[str, type[Table]] = {"sampling": Sampling, "network": Network, "activation": Activation}
_ITEMS = {
    "digits": "a digit from 0 to 9",
    "classes": "an integer of at least 0",
    "seeds": "an integer of at least 0 and below 2^32 (a seed is an unsigned 32-bit number)",
    "fractions": "a number in (0, 1]",
}


def _expected_item(table: type[Table], key: str | int, expected: str) -> str:
    return "a table [[network]]" if table is Network else _ITEMS.get(str(key), expected)
