"""The report stands alone, shows texts as texts, and never exists in part."""

import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from html_elements import Elements

from hiddencodes import summary
from hiddencodes.network_section import network_section
from hiddencodes.report import write_report, write_whole
from hiddencodes.schema import Study
from hiddencodes.study import parse_study
from hiddencodes.summary import prediction_errors, summarize_run

MakeRun = Callable[..., xr.DataTree]
SCRIPT = "<script>alert(1)</script>"
IMAGE = "\"'><img src=x onerror=alert(2)>"
CLASS = "<b>&amp;</b>"


@pytest.fixture(scope="module")
def study() -> Study:
    return parse_study(
        f"""
        name = {json.dumps("a & b " + SCRIPT)}
        [task]
        kind = "orthogonal_classes"
        [[network]]
        label = {json.dumps(IMAGE)}
        activation = "sigmoidal"
        n_temperature = 0.01
        [[network]]
        label = "sparse"
        activation = "relu"
        n_temperature = 0.01
        """
    )


@pytest.fixture(scope="module")
def runs(make_run: MakeRun) -> dict[str, xr.DataTree]:
    small = {"width": 24, "n_train": 16, "n_draws": 24}
    names = ("0", CLASS, "2")
    first = make_run("sigmoidal", class_names=names, **small)
    first["posterior"]["train_loss"][0, 1, 3] = np.nan
    return {IMAGE: first, "sparse": make_run("relu", n_test=0, **small)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, study: Study, runs: dict[str, xr.DataTree]) -> Path:
    path = tmp_path_factory.mktemp("run")
    assert write_report(path, study, runs) == path / "report.html"
    return path


@pytest.fixture(scope="module")
def page(folder: Path) -> Elements:
    return Elements((folder / "report.html").read_text(encoding="utf-8"))


def test_the_page_stands_alone(page: Elements) -> None:
    page.check_standalone()


def test_texts_of_users_stay_texts(page: Elements) -> None:
    text = " ".join(page.texts)
    assert SCRIPT in text
    assert IMAGE in text
    assert CLASS in text
    assert all(attributes.get("src") != "x" for _, attributes in page.found)


def test_what_the_report_says(page: Elements) -> None:
    text = " ".join(page.texts)
    for said in ("redundant", "sparse", "not converged", "left out: seed 0 chain 1", "Settings and provenance",
                 "temperature annealed from", "float64", "hmc", "versions".capitalize()):  # fmt: skip
        assert said in text
    # One picture for each comparison, and one of the chains for each network and seed.
    assert len([kind for kind, _ in page.found if kind == "img"]) == 4 + 2 * 2


def test_files(folder: Path) -> None:
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {
        "report.html",
        "summary.json",
        "figures/activations.png",
        "figures/chains-sparse-seed-1.png",
    } <= names
    assert not [name for name in names if Path(name).name.startswith(".")]
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in names if name.endswith(".png"))


def test_the_summary_is_plain_json(folder: Path) -> None:
    def refuse(text: str) -> None:
        raise AssertionError(text)

    found = json.loads((folder / "summary.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert list(found["networks"]) == [IMAGE, "sparse"]
    assert [n["scheme"]["scheme"] for n in found["networks"].values()] == ["redundant", "sparse"]
    assert found["networks"]["sparse"]["settings"]["trajectory_length"] is None
    assert found["study"]["network"][1]["activation"]["name"] == "relu"


def test_test_error_is_bias_and_variance(make_run: MakeRun) -> None:
    run = make_run(width=8, n_train=12, n_draws=10)
    (row, _) = prediction_errors(run)
    f = run["posterior"]["test_predictions"].values[0]
    y = run["observed_data"]["y_test"].values[0]
    total = row["bias_squared"] + row["variance_within"] + row["variance_between"]
    assert total == pytest.approx(float(((y - f) ** 2).mean()), rel=1e-12)
    assert row["accuracy"] == 1.0


def test_a_run_without_a_finite_chain(make_run: MakeRun, study: Study, tmp_path: Path) -> None:
    run = make_run(width=8, n_train=12, n_draws=6, n_seeds=1)
    run["sample_stats"]["finite"][:] = False
    numbers = summarize_run(run)
    assert numbers["scheme"] is None
    assert numbers["errors"] == [{"seed": 0}]
    one = study.model_copy(update={"network": study.network[1:]})
    page = Elements(write_report(tmp_path, one, {"sparse": run}).read_text(encoding="utf-8"))
    assert "no chain stayed finite" in page.texts


@pytest.mark.parametrize(
    "refused",
    [("coding_scheme",), ("code_table",), ("drift",), ("convergence",), ("prediction_errors",),
     ("coding_scheme", "code_table", "drift", "convergence", "prediction_errors")],
)  # fmt: skip
def test_a_diagnostic_that_fails_loses_no_report(
    make_run: MakeRun, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: tuple[str, ...]
) -> None:
    def refuse(run: xr.DataTree, diagnostic: Callable[..., object], name: str, **arguments: int) -> object:
        if run.attrs["width"] == 8:
            raise ValueError(f"{name} refused <this>")
        return diagnostic(run, **arguments)

    for name in refused:
        diagnostic = getattr(summary, name)
        monkeypatch.setattr(summary, name, functools.partial(refuse, diagnostic=diagnostic, name=name))
    runs = {
        label: make_run(width=w, n_train=12, n_draws=8, n_seeds=1) for label, w in ((IMAGE, 8), ("sparse", 9))
    }
    for run, width in zip(runs.values(), (8, 9), strict=True):
        run.attrs["width"] = width
    text = " ".join(Elements(write_report(tmp_path, study, runs).read_text(encoding="utf-8")).texts)
    bad, good = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["networks"].values()
    assert all(f"{name} refused <this>" in text for name in refused)
    assert sorted(bad["undecided"].values()) == sorted(f"{name} refused <this>" for name in refused)
    assert (bad["scheme"]["scheme"] == "undecided") == ("coding_scheme" in refused)
    assert (bad["scheme"]["sentence"] == "undecided: coding_scheme refused <this>") == (
        "coding_scheme" in refused
    )
    assert good["undecided"] == {}
    assert good["codes"]
    assert good["errors"]
    assert good["scheme"]["scheme"] != "undecided"


def test_other_errors_of_a_diagnostic_are_not_hidden(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(run: xr.DataTree) -> object:
        raise TypeError(f"a mistake in the program, {run.name}")

    monkeypatch.setattr(summary, "drift", fail)
    with pytest.raises(TypeError, match="a mistake"):
        summarize_run(make_run(width=8, n_train=12, n_draws=6, n_seeds=1))


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    write_whole(path, b"old")

    def fail(_: int) -> None:
        assert path.read_bytes() == b"old"
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_counts_of_moves_are_in_the_report(make_run, study):
    run = make_run(n_seeds=1)
    dims = ("move", "seed", "chain", "code", "code_2")
    counts = {
        "proposed": (dims, np.array([[[[[8, 4], [5, 0]]]]])),
        "accepted": (dims, np.array([[[[[6, 1], [0, 0]]]]])),
        "codes": (("move", "seed", "code"), [[["<b>", "rest"]]]),
    }
    run["moves"] = xr.DataTree(xr.Dataset(counts, {"move": ["cavity_refresh"], "seed": [0]}))
    (row,) = summarize_run(run)["moves"]
    assert (row["same_code"], row["other_code"]) == (6 / 8, 1 / 9)
    text = network_section("a", summary.summarize(study, {"a": run})["networks"]["a"], [])
    assert "Moves between codes: cavity_refresh, seed 0" in text
    assert "75 % of 8" in text
    assert "25 % of 4" in text
    assert "0 % of 5" in text
    assert "<b>" not in text
    assert "&lt;b&gt;" in text
