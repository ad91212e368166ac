"""Sweeps: mistakes cost nothing, what is finished stays, what is not is gone on with, and all of it opens as one tree."""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import xarray as xr
from tiny_sweep import BASE, GRID, NAMES, invoke, rows, written
from typer.testing import Result

import hiddencodes as hc
from hiddencodes import runner, sampling
from hiddencodes.sweep import is_taken, point_lock
from hiddencodes.sweep_file import load_grid


def test_nothing_is_made_of_a_grid_that_is_refused(tmp_path: Path) -> None:
    result = invoke(written(tmp_path, GRID.replace("[0, 1]", "[0, -1]")), "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "grid.sampling.key[1]: got -1; expected an integer of at least 0" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"debug"', '"local"\nmem_gb = "much"', 'submitit refuses it: Parameter "mem_gb" expected type'),
        ('"debug"', '"local"\nlocal_quota = 3', "submitit refuses it: Unknown argument 'quota' for executor 'local'"),
    ],
)  # fmt: skip
def test_what_submitit_refuses(old: str, new: str, said: str, tmp_path: Path) -> None:
    result = invoke(written(tmp_path, GRID.replace(old, new)), "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert f"grid.toml:5: executor: {said}" in result.output
    assert not (tmp_path / "out" / "points").exists()


def test_submitit_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    result = invoke(written(tmp_path), "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert result.output == (
        "error: sweeps need submitit, which is missing: pip install 'hiddencodes[sweep]'\n"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "expected a grid file and its --out, or the folder of a sweep as --resume"),
        (["--resume", "nowhere"], "is not the folder of a sweep: it has no sweep.json"),
        (["{}", "--out", "{}/.."], "exists and is not an empty folder"),
        (["{}", "--no-wait"], '--no-wait: with cluster = "debug" there is nobody else'),
    ],
)
def test_commands_that_are_refused(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path / "sub")
    result = invoke(*(a.format(path.relative_to(tmp_path) if a == "{}" else path.parent) for a in arguments))
    assert result.exit_code == 1
    assert said in result.output


# A sweep from its beginning to its end: stopped in its second point, gone on with while its third fails, then finished.


class Stage(NamedTuple):
    """What a command left behind."""

    code: int
    output: str
    tree: dict[str, dict[str, Any]]
    missing: list[str]
    sessions: dict[str, int]
    reports: dict[str, int]


def stage(folder: Path, result: Result) -> Stage:
    tree = hc.open_sweep(folder)
    runs = {name: node["one-two"] for name, node in tree.children.items()}
    return Stage(
        result.exit_code,
        result.output,
        {name: dict(node.attrs) for name, node in tree.children.items()},
        tree.attrs["missing"],
        {name: len(json.loads(run.attrs["sessions"])) for name, run in runs.items()},
        {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("points/*/report.html")},
    )


@contextlib.contextmanager
def meddling(before: Callable[[Path, dict[str, Any]], None]) -> Iterator[None]:
    """Have a look at, and a hand in, what is sampled: its folder and its arguments."""
    real = sampling.sample

    def sample(*posteriors: Any, **arguments: Any) -> xr.DataTree:
        before(arguments["out"], arguments)
        return real(*posteriors, **arguments)

    def report(folder: Path, *_: Any) -> Path:
        (folder / "report.html").write_text("no time for one")
        return folder / "report.html"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner.sampling, "sample", sample)
        patch.setattr(runner, "write_report", report)
        yield


def stop_the_second(out: Path, arguments: dict[str, Any]) -> None:
    def report(event: hc.Progress) -> None:
        if event.phase == "sampling" and event.done == 2:
            os.kill(os.getpid(), signal.SIGINT)

    if NAMES[1] in out.parts:
        arguments |= {"progress": report, "segment": 2}


def fail_the_third(out: Path, arguments: dict[str, Any]) -> None:
    if NAMES[1] in out.parts:
        arguments |= {"segment": 2}
    if NAMES[2] in out.parts:
        raise ArithmeticError("made up\nin two lines")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweep")


@pytest.fixture(scope="module")
def stages(swept: Path) -> list[Stage]:
    path, out = written(swept), swept / "out"
    with meddling(stop_the_second):
        stopped = stage(out, invoke(path, "--out", out))
    with meddling(fail_the_third):
        failed = stage(out, invoke(path, "--out", out))
    with meddling(lambda *_: None):
        return [stopped, failed, stage(out, invoke("--resume", out))]


def test_a_sweep_that_is_stopped(stages: list[Stage]) -> None:
    stopped = stages[0]
    assert stopped.code == 130, stopped.output
    assert [row.split("│")[4].strip() for row in rows(stopped.output)] == [
        "finished", "interrupted", "not begun", "not begun",
    ]  # fmt: skip
    assert "one-two:" in rows(stopped.output)[1]
    assert stopped.tree[NAMES[0]] == {"sampling.key": 0, "task.y_plus": 1, "complete": 1}
    assert stopped.tree[NAMES[1]] == {"sampling.key": 0, "task.y_plus": 2, "complete": 0}
    assert stopped.missing == NAMES[2:]


def test_a_point_that_fails_does_not_stop_the_others(stages: list[Stage], swept: Path) -> None:
    failed = stages[1]
    assert failed.code == 1, failed.output
    assert [row.split("│")[4].strip() for row in rows(failed.output)] == [
        "finished", "finished", "failed", "finished",
    ]  # fmt: skip
    assert "in two lines" in rows(failed.output)[2]
    assert failed.missing == [NAMES[2]]
    # What it said is gone as soon as it is tried again.
    assert not list((swept / "out" / "states").glob("*.failed"))


def test_what_is_finished_is_left_alone_and_what_is_not_gone_on_with(
    stages: list[Stage], swept: Path
) -> None:
    stopped, failed, finished = stages
    assert finished.code == 0, finished.output
    assert finished.missing == []
    assert [finished.tree[name]["complete"] for name in NAMES] == [1, 1, 1, 1]
    assert [finished.sessions[name] for name in NAMES] == [1, 2, 1, 1]
    assert finished.reports[NAMES[0]] == stopped.reports[NAMES[0]]
    assert {n: t for n, t in finished.reports.items() if n != NAMES[2]} == failed.reports
    assert str(swept / "out") in finished.output.replace("\n", "")


def test_the_folder(stages: list[Stage], swept: Path) -> None:
    del stages
    assert (swept / "out" / "grid.toml").read_text() == GRID
    assert {path.name for path in (swept / "out").iterdir()} - {"submitit"} == {
        ".lock", "grid.toml", "points", "states", "sweep.json",
    }  # fmt: skip
    study = runner.load_run_folder(swept / "out" / "points" / NAMES[3]).study
    assert study == load_grid(swept / "grid.toml").points[3].study


def test_the_tree(stages: list[Stage], swept: Path) -> None:
    del stages
    tree = hc.open_sweep(swept / "out")
    assert list(tree.children) == NAMES
    assert json.loads(tree.attrs["grid"]) == {"sampling.key": [0, 1], "task.y_plus": [1, 2]}
    losses = [tree[f"{name}/one-two/posterior"]["train_loss"] for name in NAMES]
    assert not any(loss.variable._in_memory for loss in losses)  # pyright: ignore[reportPrivateUsage]
    assert len({float(loss.mean()) for loss in losses}) == 4
    alone = hc.open_run(swept / "out" / "points" / NAMES[3] / "networks" / "one-two.zarr")
    xr.testing.assert_identical(tree[NAMES[3]]["one-two"].to_dataset(), alone.to_dataset())
    np.testing.assert_array_equal(losses[3], alone["posterior"]["train_loss"])
    assert hc.convergence(tree[NAMES[3]]["one-two"]).verdict


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[0, 1]", "[0, 2]", "grid.sampling.key[1]: 1 -> 2"),
        ("[1, 2]", "[1, 2, 3]", "grid.task.y_plus: [1, 2] -> [1, 2, 3]"),
        ("draws = 8", "draws = 9", "study.sampling.draws: 8 -> 9"),
    ],
)
def test_another_grid_is_refused(
    stages: list[Stage], swept: Path, tmp_path: Path, old: str, new: str, said: str
) -> None:
    del stages
    path = written(tmp_path, GRID.replace(old, new), BASE.replace(old, new))
    result = invoke(path, "--out", swept / "out")
    assert result.exit_code == 1
    assert f"the grid given is not what the sweep was begun with; what differs:\n  {said}" in result.output


def test_keys_in_another_order_are_refused(stages: list[Stage], swept: Path, tmp_path: Path) -> None:
    del stages
    lines = GRID.split("\n")
    lines[2:4] = lines[3], lines[2]
    result = invoke(written(tmp_path, "\n".join(lines)), "--out", swept / "out")
    assert 'order of the keys[0]: "sampling.key" -> "task.y_plus"' in result.output


def test_a_folder_whose_grid_file_was_edited_is_refused(
    stages: list[Stage], swept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del stages
    real = Path.read_text
    edited = GRID.replace("[0, 1]", "[0, 7]")
    monkeypatch.setattr(
        Path, "read_text", lambda self, **kw: edited if self.name == "grid.toml" else real(self, **kw)
    )
    result = invoke("--resume", swept / "out")
    assert result.exit_code == 1
    assert (
        "its grid.toml is not what the sweep was begun with; what differs:\n  grid.sampling.key[1]: 1 -> 7"
        in (result.output)
    )


def test_where_points_are_sampled_may_change(stages: list[Stage], swept: Path, tmp_path: Path) -> None:
    grid = GRID.replace('"debug"', '"local"\nparallel = 2')
    result = invoke(written(tmp_path, grid), "--out", swept / "out")
    assert result.exit_code == 0, result.output
    assert (swept / "out" / "grid.toml").read_text() == grid
    assert stage(swept / "out", result).reports == stages[2].reports
    assert invoke(written(swept), "--out", swept / "out").exit_code == 0


def test_two_commands_at_once(tmp_path: Path) -> None:
    with sampling.store.locked(tmp_path / "out"):
        result = invoke(written(tmp_path), "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "in use" in result.output


def test_a_point_is_taken_while_it_is_sampled(tmp_path: Path) -> None:
    assert not is_taken(tmp_path, "00")
    with point_lock(tmp_path, "00").acquire():
        assert is_taken(tmp_path, "00")
    assert not is_taken(tmp_path, "00")
