"""``hiddencodes reproduce``: the exit code says whether the claims hold."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hiddencodes import cli
from hiddencodes.benchmarks.papers import Claim, Paper, Reproduction, Section, Settings, catalog
from hiddencodes.sampling import Progress


def good(settings: Settings) -> Section:
    """What holds."""
    settings.progress("run", Progress("sampling", 1, 2, 10.0, 0.9, 1.0))
    why = "no unit changed its code"
    return Section(
        "Good",
        "",
        (
            Claim.agrees("mean-is-one", "The mean is 1.", 1.0, 1.02, 0.1, grade="derived"),
            Claim.frozen("codes", "All codes occur.", why, grade="poster"),
        ),
    )


def wrong(settings: Settings) -> Section:
    """What fails."""
    return Section("Wrong", "", (Claim.agrees("off", "The mean is 1.", 1.0, 9.0, 0.1, grade="derived"),))


def broken(settings: Settings) -> Section:
    """What stops."""
    raise RuntimeError("[bold]out of chalk")


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    reproduction = Reproduction(
        "tiny", "A tiny paper", Paper("Somebody", "2406.16689"), (good, wrong, broken)
    )
    monkeypatch.setattr(catalog, "REPRODUCTIONS", (reproduction,))
    monkeypatch.setenv("COLUMNS", "160")


def invoke(*arguments: Any) -> Result:
    return CliRunner().invoke(cli.app, ["reproduce", *map(str, arguments)])


@pytest.mark.parametrize(
    ("only", "code", "said"),
    [
        (["good"], 0, ["mean-is-one", "1.02 ± 0.10", "holds", "frozen, not compared", "2 claims"]),
        (["wrong"], 1, ["off", "fails", "1 claim: 1 fails"]),
        (["broken"], 1, ["RuntimeError: [bold]out of chalk", "stopped by an error", "0 claims"]),
        (["good", "wrong"], 1, ["holds", "fails", "3 claims"]),
        (["good", "broken"], 1, ["holds", "out of chalk", "2 claims"]),
    ],
)
@pytest.mark.parametrize("progress", ["--progress", "--no-progress"])
def test_exit_code(only: list[str], code: int, said: list[str], progress: str, tmp_path: Path) -> None:
    options = [word for section in only for word in ("--only", section)]
    result = invoke("tiny", *options, "--quick", "--out", tmp_path / "out", progress)
    assert result.exit_code == code, result.output
    for words in said:
        assert words in result.stdout
    assert result.stdout.endswith(f"{tmp_path / 'out' / 'report.html'}\n")
    found = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert [section["name"] for section in found["sections"]] == only
    assert (found["quick"], found["ok"]) == (True, code == 0)


def test_without_only_everything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("tiny", "--no-progress", "--key", 5)
    assert result.exit_code == 1
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("tiny-")
    found = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert [s["name"] for s in found["sections"]] == ["good", "wrong", "broken"]
    assert (found["key"], found["quick"]) == (5, False)


@pytest.mark.parametrize("arguments", [(), ("--list",), ("tiny", "--list")])
def test_listing_runs_nothing(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke(*arguments)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "tiny: A tiny paper (arXiv 2406.16689)", "  good    What holds", "  wrong   What fails", "  broken  What stops",
    ]  # fmt: skip
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("huge",), "no reproduction is called 'huge'; there are: tiny"),
        (("huge", "--list"), "no reproduction is called 'huge'; there are: tiny"),
        (("tiny", "--only", "god"), "no section is called 'god'; there are: good, wrong, broken"),
    ],
)
def test_unknown_names(
    arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert said in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_full_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    result = invoke("tiny", "--out", tmp_path, "--no-progress")
    assert result.exit_code == 1
    assert "exists and is not an empty folder" in result.output
    assert "Traceback" not in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_help_tells_the_exit_codes() -> None:
    text = " ".join(invoke("--help").output.split())
    assert "Exit code 0: every section ran and no claim fails; 1: a claim fails" in text
