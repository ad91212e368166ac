"""``hiddencodes run --resume``: a study that was interrupted or is extended ends as if it had been run so from the beginning."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from interrupted import assert_same
from typer.testing import CliRunner, Result

import hiddencodes as hc
from hiddencodes import cli, run_plan, runner
from hiddencodes.sampling import Progress
from hiddencodes.sampling.store import locked
from hiddencodes.study import parse_study

STUDY = """\
name = "tiny"
[task]
kind = "orthogonal_classes"
n_train = 8
n_test = 4
[sampling]
chains = 2
draws = 8
warmup = 20
[[network]]
label = "cold"
activation = "sigmoidal"
width = 6
n_temperature = 0.1
[[network]]
label = "warm"
activation = "sigmoidal"
width = 6
n_temperature = 0.2
"""
LABELS = ("cold", "warm")


@pytest.fixture(autouse=True, scope="module")
def short_segments() -> Generator[None]:
    """Of a run this small everything would be one segment."""
    with pytest.MonkeyPatch.context() as context:
        # The package's name `sample` is the function.
        context.setattr(sys.modules["hiddencodes.sampling.sample"], "SECONDS_WORTH_WRITING", 0.0)
        yield


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, [str(a) for a in arguments])


def _networks(folder: Path) -> dict[str, Any]:
    return {label: hc.open_run(folder / "networks" / f"{label}.zarr") for label in LABELS}


def _assert_same_networks(folder: Path, other: Path) -> None:
    one, two = _networks(folder), _networks(other)
    for label in LABELS:
        assert_same(one[label], two[label])


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take longer than such a study."""
    monkeypatch.setattr(runner, "report_run_folder", lambda path: path)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "tiny.toml"
    path.write_text(STUDY)
    return path


@pytest.fixture(scope="module")
def whole(study: Path) -> Path:
    """The folder of the study, which nothing interrupted."""
    result = invoke("run", study, "--out", study.with_name("whole"), "--no-progress")
    assert result.exit_code == 0, result.output
    return study.with_name("whole")


def _interrupted(monkeypatch: pytest.MonkeyPatch, label: str, phase: str, done: int) -> None:
    """Somebody presses Ctrl-C when a network is so far."""

    @contextmanager
    def bars(labels: list[str], shown: bool) -> Generator[Callable[..., None]]:
        def show(which: str, event: Progress) -> None:
            if (which, event.phase, event.done) == (label, phase, done):
                signal.raise_signal(signal.SIGINT)

        yield show

    monkeypatch.setattr(cli, "_bars", bars)


@pytest.mark.parametrize(
    "stage", [pytest.param(("cold", "warmup", 16), marks=pytest.mark.slow), ("warm", "sampling", 3)]
)
def test_a_study_that_is_stopped_says_how_to_go_on_and_does(stage, study, whole, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with monkeypatch.context() as context:
        _interrupted(context, *stage)
        result = invoke("run", study, "--out", folder, "--no-progress")
    assert result.exit_code == 130
    assert result.output.endswith(f"stopped; go on with: hiddencodes run --resume {folder}\n")
    refused = invoke("report", folder)
    assert refused.exit_code == 1
    assert f"the network '{stage[0]}' has not been sampled to the end" in refused.output
    result = invoke("run", "--resume", folder, "--no-progress")
    assert result.exit_code == 0, result.output
    _assert_same_networks(folder, whole)
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in whole.iterdir())
    assert (folder / "study.toml").read_text() == STUDY


def test_an_extended_study_is_a_longer_one(study, whole, tmp_path, no_report, monkeypatch):
    folder = tmp_path / "run"
    runner.run_study(parse_study(STUDY), folder, verbose=False)
    _interrupted(monkeypatch, "warm", "sampling", 9)
    result = invoke("run", "--resume", folder, "--extend", 5, "--no-progress")
    assert result.exit_code == 130, result.output
    # What was to be added is known to the folder: saying it again would add it again.
    assert run_plan.read_plan(folder).draws == 13
    runner.resume_study(folder, verbose=False)
    longer = parse_study(STUDY.replace("draws = 8", "draws = 13"))
    _assert_same_networks(folder, runner.run_study(longer, tmp_path / "longer", verbose=False))


def test_a_finished_study_is_sampled_no_further(whole, no_report):
    networks = [path for path in (whole / "networks").rglob("*") if path.is_file() and path.name != ".lock"]
    before = {path: path.stat().st_mtime_ns for path in networks}
    runner.resume_study(whole, verbose=False)
    assert {path: path.stat().st_mtime_ns for path in networks} == before


@pytest.fixture
def begun(study: Path, tmp_path: Path) -> Path:
    """A run folder of which nothing is sampled yet."""
    folder = runner.new_run_folder("tiny", tmp_path / "begun")
    (folder / "networks").mkdir()
    (folder / "study.toml").write_text(STUDY)
    plan = run_plan.Plan(run_plan.plain(parse_study(STUDY)), run_plan.as_written(folder), 8)
    run_plan.write_plan(folder, plan)
    return folder


def test_a_study_that_was_changed_in_its_folder_is_refused_with_what_differs(begun):
    (begun / "study.toml").write_text(STUDY.replace("warmup = 20", "warmup = 30").replace('"warm"', '"hot"'))
    result = invoke("run", "--resume", begun, "--no-progress")
    assert result.exit_code == 1
    assert (
        f"error: {begun}: its study.toml is not the study that the run was begun with; what differs:\n"
        '  network[1].label: "warm" -> "hot"\n'
        "  sampling.warmup: 20 -> 30\n"
    ) in result.output
    assert not list((begun / "networks").iterdir())


def test_another_study_is_refused_with_what_differs_and_the_same_is_not(begun, study, tmp_path, monkeypatch):
    (tmp_path / "other.toml").write_text(STUDY.replace("n_train = 8", "n_train = 9"))
    result = invoke("run", tmp_path / "other.toml", "--resume", begun, "--no-progress")
    assert result.exit_code == 1
    assert "the study given is not the study that the run was begun with" in result.output
    assert "  task.n_train: 8 -> 9\n" in result.output
    gone_on: list[Path] = []
    monkeypatch.setattr(runner, "_go_on", lambda folder, *_: gone_on.append(folder) or folder)
    monkeypatch.setattr(cli, "_print_verdicts", lambda folder: None)
    (tmp_path / "same.toml").write_text("# the same\n" + STUDY)
    assert invoke("run", tmp_path / "same.toml", "--resume", begun, "--no-progress").exit_code == 0
    assert gone_on == [begun]


def test_a_folder_that_another_process_samples_is_refused(begun):
    with locked(begun):
        result = invoke("run", "--resume", begun, "--extend", 3, "--no-progress")
    assert result.exit_code == 1
    assert "is in use: another process is sampling this run" in result.output
    assert run_plan.read_plan(begun).draws == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--resume", "{begun}", "--out", "x"), "leave out --out and --quick"),
        (("--resume", "{begun}", "--quick"), "leave out --out and --quick"),
        (("--extend", "3"), "name it with --resume"),
        (("--resume", "nowhere"), "--resume: there is no run at 'nowhere'"),
        (("--resume", "{plain}"), "is not a run folder that can be gone on with: it has no plan.json"),
    ],
)
def test_what_cannot_be_gone_on_with_is_refused(arguments, message, begun, tmp_path):
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "study.toml").write_text(STUDY)
    words = [word.format(begun=begun, plain=tmp_path / "plain") for word in arguments]
    result = invoke("run", *words, "--no-progress")
    assert result.exit_code == 1
    assert message in result.output.replace("\n", " ")
    assert "Traceback" not in result.output


def test_a_damaged_plan_is_refused(begun):
    os.truncate(begun / "plan.json", 100)
    result = invoke("run", "--resume", begun, "--no-progress")
    assert result.exit_code == 1
    assert "plan.json is damaged" in result.output


def test_a_folder_goes_on_from_any_working_directory_and_wherever_it_is(tmp_path, monkeypatch):
    images = STUDY.replace(
        '"orthogonal_classes"', '"images"\ndata = "mnist10k"\nclasses = [0, 1]\npath = "mine"'
    )
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "study.toml").write_text(images)
    monkeypatch.chdir(tmp_path / "one")
    written, given = run_plan.as_written(Path()), run_plan.plain(parse_study(images, folder=Path()))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one").rename(tmp_path / "two")
    assert run_plan.as_written(Path("two")) == written
    assert given["task"]["path"] == str(tmp_path / "one" / "mine")


def _use_numpyro(folder: Path) -> None:
    (folder / "study.toml").write_text(STUDY.replace("chains = 2", 'chains = 2\nsampler = "numpyro_nuts"'))
    study = parse_study((folder / "study.toml").read_text())
    run_plan.write_plan(folder, run_plan.Plan(run_plan.plain(study), run_plan.as_written(folder), 8))


def test_numpyros_sampler_begins_again_what_it_did_not_finish_and_adds_nothing(begun, monkeypatch):
    _use_numpyro(begun)
    result = invoke("run", "--resume", begun, "--extend", 3, "--no-progress")
    assert result.exit_code == 1
    assert "NumPyro's sampler cannot add draws to a run" in result.output
    store = begun / "networks" / "cold.zarr"
    store.mkdir()
    (store / ".lock").touch()  # killed before it wrote anything
    asked: list[dict[str, Any]] = []

    def sample(*_: Any, **settings: Any) -> None:
        asked.append(settings)
        raise KeyboardInterrupt

    monkeypatch.setattr("hiddencodes.sampling.sample", sample)
    with pytest.raises(runner.Interrupted):
        runner.resume_study(begun, verbose=False)
    assert not store.exists()
    assert "resume" not in asked[0]


@pytest.mark.slow
def test_a_command_that_is_killed_goes_on(study, tmp_path):
    # As in this process: short segments, of which some are over before the others.
    start = (
        "import sys; from hiddencodes import cli; "
        "sys.modules['hiddencodes.sampling.sample'].SECONDS_WORTH_WRITING = 0.0; cli.app()"
    )

    def run(*arguments: str | Path, kill_at: str | None = None) -> None:
        command = [sys.executable, "-c", start, "run", "--no-progress", *map(str, arguments)]
        with subprocess.Popen(command) as process:
            try:
                while kill_at is not None and not list(tmp_path.glob(kill_at)):
                    assert process.poll() is None, f"ended before there was a {kill_at}"
                    time.sleep(0.005)
            finally:
                if kill_at is not None:
                    process.kill()
        assert process.returncode == (0 if kill_at is None else -signal.SIGKILL)

    run(study, "--out", tmp_path / "whole")
    folder = tmp_path / "killed"
    run(study, "--out", folder, kill_at="killed/networks/cold.zarr/.checkpoint/1-*3-0.state")
    run("--resume", folder, kill_at="killed/networks/warm.zarr/.checkpoint/0-*.state")
    run("--resume", folder)
    _assert_same_networks(folder, tmp_path / "whole")
    assert json.loads((folder / "summary.json").read_text())["networks"].keys() == set(LABELS)
