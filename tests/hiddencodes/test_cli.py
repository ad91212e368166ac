"""The command line: a study goes in, a run folder comes out, and mistakes cost nothing."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from hiddencodes import cli, runner
from hiddencodes.sampling import Progress
from hiddencodes.study import built_in_study, parse_study

STUDY = """\
name = "tiny"           # a comment that the copy keeps
seeds = [5]
[task]
kind = "orthogonal_classes"
n_train = 8
n_test = 4
[sampling]
chains = 2
draws = 8
warmup = 8
target_acceptance = 0.7
[[network]]
label = "one/two"
activation = {name = "leaky_relu", slope = 0.1}
width = 6
n_temperature = 0.1
"""


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny study, run through the command line."""
    path = tmp_path_factory.mktemp("tiny")
    (path / "tiny.toml").write_text(STUDY)
    result = invoke("run", path / "tiny.toml", "--out", path / "run", "--no-progress")
    assert result.exit_code == 0, result.output
    assert str(path / "run" / "report.html") in result.stdout.replace("\n", "")
    assert "one/two" in result.stdout
    return path / "run"


def test_the_run_folder(folder: Path) -> None:
    assert (folder / "study.toml").read_text() == STUDY
    assert sorted(p.name for p in folder.iterdir()) == [
        ".lock", "figures", "networks", "plan.json", "report.html", "study.toml", "summary.json",
    ]  # fmt: skip
    loaded = runner.load_run_folder(folder)
    assert loaded.study == parse_study(STUDY)
    run = loaded.runs["one/two"]
    assert dict(run["posterior"]["test_predictions"].sizes) == {
        "seed": 1, "chain": 2, "draw": 8, "test_pattern": 4, "output": 3,
    }  # fmt: skip
    assert run["posterior"]["seed"].values.tolist() == [5]
    assert json.loads(run.attrs["sampler"])["target_acceptance"] == 0.7
    assert json.loads(run.attrs["model"])["width"] == 6


def test_the_summary_of_a_run(folder: Path) -> None:
    network = json.loads((folder / "summary.json").read_text())["networks"]["one/two"]
    assert network["settings"]["n_temperature"] == 0.1
    assert network["convergence"]["ok"] is False  # 8 draws cannot have 400 effective ones
    assert network["scheme"]["scheme"] in ("lazy", "analog", "redundant", "sparse")
    assert network["timings"]
    assert network["provenance"][0]["seed"] == 5


def test_a_report_is_drawn_anew_without_sampling(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: (folder / name).read_bytes() for name in ("report.html", "summary.json")}
    (folder / "report.html").unlink()
    monkeypatch.setattr("hiddencodes.sampling.sample", None)
    result = invoke("report", folder)
    assert result.exit_code == 0, result.output
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_a_full_folder_is_refused(folder: Path) -> None:
    result = invoke("run", folder / "study.toml", "--out", folder, "--no-progress")
    assert result.exit_code == 1
    assert "exists and is not an empty folder" in result.output
    assert "Traceback" not in result.output


def test_a_network_that_is_missing(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    result = invoke("report", tmp_path)
    assert result.exit_code == 1
    assert "'one/two' has not been sampled to the end" in result.output


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    result = invoke("report", tmp_path)
    assert result.exit_code == 1
    assert "is not a run folder" in result.output


def test_a_refused_study(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(STUDY.replace("draws = 8", "draws = -8").replace("width", "widht"))
    result = invoke("run", tmp_path / "bad.toml", "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert "bad.toml:9: sampling.draws: got -8; expected an integer of at least 4" in result.output
    assert "network[0].widht: unknown key; did you mean width?" in result.output
    assert "the study was refused (2 problems)" in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "run").exists()


def test_a_missing_study_file(tmp_path: Path) -> None:
    result = invoke("run", tmp_path / "none.toml")
    assert result.exit_code == 2
    assert "none.toml:1: cannot be read" in result.output


def test_a_study_that_its_data_do_not_allow_leaves_no_folder(tmp_path: Path) -> None:
    text = STUDY.replace('kind = "orthogonal_classes"', 'kind = "mnist"').replace(
        "n_train = 8", "n_train = 20000"
    )
    (tmp_path / "big.toml").write_text(text)
    result = invoke("run", tmp_path / "big.toml", "--out", tmp_path / "run", "--no-progress")
    assert result.exit_code == 1
    assert result.output.startswith("error: ")
    assert "Traceback" not in result.output
    assert not (tmp_path / "run").exists()


def test_version_and_built_in_study() -> None:
    assert invoke("--version").stdout.startswith("hiddencodes ")
    assert invoke("study").stdout == built_in_study()


@pytest.mark.parametrize("kind", ["mnist", "gaussian_clusters", "images"])
def test_every_kind_of_task_can_be_drawn(kind: str) -> None:
    more = 'data = "mnist10k"\nclasses = [3, 5, 8]\nsize = 7' if kind == "images" else ""
    study = parse_study(STUDY.replace('kind = "orthogonal_classes"', f'kind = "{kind}"\n{more}'))
    first, second = (runner.draw_task(study, seed) for seed in (0, 1))
    assert (first.n_train, first.n_test, first.n_classes) == (8, 4, 3)
    assert (first.x_train != second.x_train).any()
    assert list(runner.build_posteriors(study)) == ["one/two"]


def test_classes_that_a_data_set_does_not_have() -> None:
    more = 'kind = "images"\ndata = "mnist10k"\nclasses = [3, 12]'
    study = parse_study(STUDY.replace('kind = "orthogonal_classes"', more))
    with pytest.raises(ValueError, match=r"task\.classes: \[3, 12\], expected labels below 10"):
        runner.draw_task(study, 0)


def test_run_folders_are_named_after_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = parse_study(STUDY.replace('"tiny"', '"../../etc"'))
    path = runner.new_run_folder(study.name)
    assert path.parent == Path("runs")
    assert path.name.startswith("etc-")
    assert runner.new_run_folder(study.name, tmp_path / "empty").is_dir()
    assert runner.new_run_folder(study.name, tmp_path / "empty").is_dir()


def test_progress_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr(
        "rich.console.Console", lambda **_: Console(file=text, width=120, force_terminal=True)
    )
    with cli._bars(["[bold]a"], True) as show:  # pyright: ignore[reportPrivateUsage]
        show("[bold]a", Progress("compile", 0, 2, 0.0, float("nan"), float("nan")))
        show("[bold]a", Progress("sampling", 30, 40, 1234.4, 0.81, 75.0))
    for said in ("[bold]a", "sampling", "30/40", "1,234 draws/s", "acceptance 0.81", "1:15 left"):
        assert said in text.getvalue()


@pytest.mark.slow
def test_the_built_in_study_in_small(tmp_path: Path) -> None:
    result = invoke("run", "--quick", "--out", tmp_path / "run", "--no-progress")
    assert result.exit_code == 0, result.output
    schemes = {
        label: network["scheme"]["scheme"]
        for label, network in json.loads((tmp_path / "run" / "summary.json").read_text())["networks"].items()
    }
    assert schemes["lazy sigmoidal"] == "lazy"
    assert schemes["sigmoidal"] == "redundant"
