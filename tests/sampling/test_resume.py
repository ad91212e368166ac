"""Runs that are gone on with: what was interrupted or extended has the numbers of what was not, and other runs are refused."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from compilations import compilations
from interrupted import MLP, POSTERIOR, SETTINGS, TASK, Crash, assert_same, crash_at, sample

import hiddencodes as hc

EVERYTHING = {
    "moves": hc.cavity_refresh(),
    "moves_every": 3,
    "thin": 2,
    "observables": (*SETTINGS["observables"], *hc.weight_observables(MLP, every=5, dtype="float16")),
}


@pytest.fixture(scope="module")
def whole() -> xr.DataTree:
    return sample(None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("finished") / "run"
    sample(path)
    return path


def _files(run: Path) -> dict[Path, tuple[int, int]]:
    stats = {path: path.stat() for path in run.rglob("*") if path.name != ".lock"}
    return {path: (found.st_mtime_ns, found.st_ino) for path, found in stats.items() if path.is_file()}


@pytest.mark.parametrize(
    ("posterior", "settings"),
    [
        pytest.param(POSTERIOR, EVERYTHING, id="moves", marks=pytest.mark.slow),
        pytest.param(
            hc.integrate_readout(hc.whiten_inputs(POSTERIOR)), {"precision": "float32"}, id="reduced"
        ),
    ],
)
def test_a_run_interrupted_at_all_stages_and_extended_is_a_longer_run(posterior, settings, tmp_path):
    settings = SETTINGS | settings
    run = tmp_path / "run"

    def go_on(draws: int, **more: object) -> xr.DataTree:
        return hc.sample(posterior, **(settings | {"draws": draws}), out=run, resume=True, **more)

    for stage in (("warmup", 16), ("warmup", 48), ("sampling", 4), ("sampling", 12)):
        with pytest.raises(Crash):
            go_on(18, progress=crash_at(*stage))
    shorter = go_on(18)
    assert shorter["posterior"].sizes["draw"] == 18
    assert_same(shorter, hc.sample(posterior, **(settings | {"draws": 18})))
    with compilations() as seen:
        longer = go_on(31)
    assert seen == []
    assert_same(longer, hc.sample(posterior, **(settings | {"draws": 31})))
    stretches = [session["from"] for session in json.loads(longer.attrs["sessions"])]
    assert stretches[0] == "the beginning"
    assert stretches[-2:] == ["draw 12", "draw 18"]


def test_a_finished_run_is_left_as_it_is(finished, whole, capfd):
    before = _files(finished)
    events: list[hc.Progress] = []
    with compilations() as seen:
        assert_same(sample(finished, progress=events.append), whole)
    assert seen == []
    assert events == []
    assert _files(finished) == before
    assert capfd.readouterr().err == ""


def test_an_extension_is_not_complete_until_its_end_is_written(finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    # The last segment is saved, the end is not.
    with pytest.raises(Crash):
        sample(run, draws=31, progress=crash_at("sampling", 31))
    assert hc.open_run(run).attrs["complete"] == 0
    assert hc.open_run(run)["posterior"].sizes["draw"] == 31
    assert_same(sample(run, draws=31), sample(None, draws=31))


def test_nothing_is_compiled_to_go_on(whole, tmp_path):
    for stage in (("warmup", 16), ("sampling", 8)):
        with pytest.raises(Crash):
            sample(tmp_path / "run", progress=crash_at(*stage))
        with compilations() as seen, pytest.raises(Crash):
            sample(tmp_path / "run", progress=crash_at("sampling", 4))
        assert seen == []


def _posterior(**changes: object) -> hc.Posterior:
    return hc.Posterior(**({"mlp": MLP, "task": TASK, "n_temperature": 0.05} | changes))


WEIGHTS = {
    "hidden_1": {"kernel": np.zeros((1, 2, TASK.n_inputs, 6))},
    "readout": {"kernel": np.zeros((1, 2, 6, 3))},
}
ANOTHER = {
    "temperature": ({"posterior": _posterior(n_temperature=0.06)}, r"temperature: 0.00833\d* -> 0.01"),
    "data": (
        {"posterior": _posterior(task=replace(TASK, y_train=TASK.y_train + 0.1))},
        r"data \(checksum\): ",
    ),
    "activation": (
        {"posterior": _posterior(mlp=replace(MLP, activation=hc.erf))},
        r"model.activation: .*sigmoidal.* -> .*erf",
    ),
    "prior": ({"posterior": _posterior(prior=hc.GaussianPrior(0.3))}, r"readout_variance: 0.125 -> 0.3"),
    "reduced": (
        {"posterior": hc.integrate_readout(hc.whiten_inputs(POSTERIOR))},
        r"coordinates: \"weights\" -> ",
    ),
    "chains": ({"chains": 3}, "chains: 2 -> 3"),
    "seeds": ({"seeds": [1]}, r"seeds\[0\]: 0 -> 1"),
    "more seeds": ({"seeds": 2}, r"seeds: \[0\] -> \[0, 1\]"),
    "key": ({"key": 1}, r"key\[1\]: 0 -> 1"),
    "warmup": ({"warmup": 64}, "warmup: 48 -> 64"),
    "thin": ({"thin": 2}, "thin: 1 -> 2"),
    "precision": ({"precision": "float32"}, r"precision: \"float64\" -> \"float32\""),
    "sampler": ({"sampler": "mala"}, r"sampler.name: \"hmc\" -> \"mala\""),
    "steps": ({"sampler": hc.hmc(max_steps=64)}, "sampler.max_steps: 256 -> 64"),
    "acceptance": ({"sampler": hc.hmc(target_acceptance=0.7)}, "sampler.target_acceptance: 0.8 -> 0.7"),
    "moves": ({"moves": hc.cavity_refresh()}, "moves.cavity_refresh: null -> "),
    "superchains": ({"superchains": 1}, r"superchains\[1\]: 1 -> 0"),
    "start": ({"start": WEIGHTS}, r"start \(checksum\): null -> "),
    "observables": ({"observables": SETTINGS["observables"][:2]}, "observables.norms: .* -> null"),
    "every": (
        {"observables": (*SETTINGS["observables"][:2], replace(SETTINGS["observables"][2], every=4))},
        "observables.norms.every: 3 -> 4",
    ),
    "batching": ({"batching": "vmap"}, "batching: the run was begun with 'loop', got 'vmap'"),
    "draws": ({"draws": 21}, "draws: .* has 22 draws already, got 21"),
}


@pytest.mark.parametrize("name", ANOTHER)
def test_another_run_is_refused_with_what_differs(name, finished):
    changes, message = ANOTHER[name]
    before = _files(finished)
    with pytest.raises(ValueError, match=message):
        hc.sample(**({"posterior": POSTERIOR} | SETTINGS | changes), out=finished, resume=True)
    assert _files(finished) == before


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(FileExistsError, match="exists and is not a run"):
        sample(tmp_path)
    with pytest.raises(FileExistsError, match="exists and is not a run"):
        sample(tmp_path / "thesis.tex")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_chains_run_as_they_were_begun_whatever_is_faster_now(whole, tmp_path, monkeypatch):
    module = sys.modules["hiddencodes.sampling.sample"]  # whose name in the package is the function's
    monkeypatch.setattr(module, "LEAST_ITERATIONS", 1)
    monkeypatch.setattr(module, "faster_batching", lambda *_: "loop")
    run = tmp_path / "run"
    with pytest.raises(Crash):
        sample(run, progress=crash_at("sampling", 8))
    monkeypatch.setattr(module, "faster_batching", lambda *_: "vmap")
    assert_same(sample(run), whole)
    # Neither does a run whose states are all gone.
    for state in (run / ".checkpoint").iterdir():
        state.unlink()
    assert_same(sample(run), whole)
