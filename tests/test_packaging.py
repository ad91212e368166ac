"""What is shipped, and what must not be in the repository."""

import importlib.metadata
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("benchmarks", "diagnostics", "models", "sampling", "tasks", "theory")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def files_of_the_repository() -> list[Path]:
    """Tracked files, and new ones that git does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    return [ROOT / name for name in listed if name and (ROOT / name).is_file()]


FILES = files_of_the_repository()
TEXTS = {path: path.read_bytes().decode() for path in FILES if path.suffix not in (".npz", ".png")}


def test_every_folder_with_code_is_a_listed_package():
    listed = PYPROJECT["tool"]["setuptools"]["packages"]
    found = {
        ".".join(("hiddencodes", *init.parent.relative_to(ROOT).parts))
        for room in ROOMS
        for init in (ROOT / room).rglob("__init__.py")
    }
    assert set(listed) == found | {"hiddencodes"}
    assert len(listed) == len(set(listed))
    assert not list((ROOT / "hiddencodes").glob("*/__init__.py"))
    folders = {path.parent for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    scripts = {folder for folder in folders if not (folder / "__init__.py").is_file()}
    assert scripts == {ROOT / "benchmarks" / "speed"}


@pytest.mark.parametrize("room", [*ROOMS, "hiddencodes"])
def test_types_are_shipped(room):
    assert (ROOT / room / "py.typed").read_bytes() == b""


def test_version_is_the_newest_of_the_change_log():
    versions = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert versions[0] == PYPROJECT["project"]["version"] == importlib.metadata.version("hiddencodes")


def requirement_name(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement)[0]).lower()


def test_constraints_pin_every_dependency_exactly():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split("\n")
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [line for line in pins if not re.fullmatch(r"[\w.-]+==[\w.!+]+", line)] == []
    project = PYPROJECT["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"], "jaxlib"]
    assert {requirement_name(r) for r in wanted} <= {requirement_name(pin) for pin in pins}


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.suffix == ".py"], ids=lambda path: str(path.relative_to(ROOT))
)
def test_file_is_short_enough_to_be_read_at_once(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


# Everything the repository points at; papers are cited by number.
ADDRESSES = {
    "127.0.0.1",
    "creativecommons.org",
    "github.com",
    "ossci-datasets.s3.amazonaws.com",
    "www.apache.org",
    "www.cs.toronto.edu",
}
FORBIDDEN = {
    "an absolute path of somebody's machine": (
        r"(?<![\w./])/(work|tmp|root|home|Users|opt|var)/\w",
        "in /tmp/x",
    ),
    "an address of a local file": (r"\bfile:/", "file:///x"),
    "a place to install from": (r"--(extra-)?index-url|--find-links|--trusted-host", "--index-url x"),
    "the number of an issue": (r"\bissue #?\d|\bPR #?\d|github\.com/\S+/(issues|pull)/", "see issue #3"),
    "a pickle that is read": (r"allow_pickle\s*=\s*True|\bpickle\.loads?\(", "pickle.load(x)"),
}


def occurrences(pattern: str) -> list[str]:
    """Place and text of every match, this file aside."""
    return [
        f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}"
        for path, text in TEXTS.items()
        for match in re.finditer(pattern, text)
        if path != Path(__file__)
    ]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_repository_speaks_of_the_project_alone(what):
    pattern, example = FORBIDDEN[what]
    assert re.search(pattern, example)
    assert occurrences(pattern) == []


def test_repository_points_at_known_addresses():
    found = occurrences(r"(?<=https://)[\w.-]+|(?<=http://)[\w.-]+")
    assert found
    assert [place for place in found if place.rsplit(" ", 1)[1] not in ADDRESSES] == []
