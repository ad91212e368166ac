"""A run that is killed, at any moment, goes on; its numbers are those of a run that never was, and a segment at most is done again."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import pytest
import xarray as xr
from interrupted import SETTINGS, Samplers, assert_same, at_every_moment, copy_run, sample

import hiddencodes as hc

SEED = 20240601


@pytest.fixture(scope="module")
def whole() -> xr.DataTree:
    return sample(None)


@pytest.fixture(scope="module")
def samplers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Samplers]:
    """Processes, of which all but the first find the small run's programs compiled."""
    with Samplers(tmp_path_factory.mktemp("samplers")) as found:
        yield found


def _uninterrupted(samplers: Samplers, out: Path, **settings: Any) -> xr.DataTree:
    samplers.begin(out, **settings)
    assert samplers.end() == 0
    return hc.open_run(out)


def _assert_readers_see_a_part(run: xr.DataTree, whole: xr.DataTree) -> int:
    """The first draws, as many in every group, with their numbers; how many."""
    seen = {}
    for group, node in run.children.items():
        if "draw" in node.dims:
            rows = node.sizes["draw"]
            every = 3 if group == "every_3" else 1
            seen[group] = rows * every
            assert_same(
                xr.DataTree.from_dict({group: node.to_dataset()}),
                xr.DataTree.from_dict({group: whole[group].to_dataset().isel(draw=slice(rows))}),
            )
    if not seen:
        return 0
    draws = seen["posterior"]
    assert set(seen) == {"posterior", "units", "sample_stats", "every_3"}
    assert seen["units"] == seen["sample_stats"] == draws
    assert seen["every_3"] == draws // 3 * 3
    return draws


def _kill(run: Path, to: Path, share: float, **settings: int) -> list[Path]:
    """Copies of the run's folder as it was at this share of the moments."""
    rng = np.random.default_rng(SEED)
    copies: list[Path] = []

    def copy(moment: int, event: str) -> None:
        if rng.random() < share and run.exists():
            copies.append(to / f"{moment:05d}")
            copy_run(run, copies[-1])

    with at_every_moment(run, copy):
        sample(run, **settings)
    return copies


@pytest.mark.parametrize("share", [0.008, pytest.param(0.05, marks=pytest.mark.slow)])
def test_what_a_killed_process_leaves_opens_and_goes_on(share, whole, tmp_path):
    """From the first file of the folder to the last."""
    copies = _kill(tmp_path / "run", tmp_path, share)
    assert_same(hc.open_run(tmp_path / "run"), whole)
    assert len(copies) > 800 * share
    seen = 0
    for copy in copies:
        if (copy / "zarr.json").exists():
            draws = _assert_readers_see_a_part(az.from_zarr(copy), whole)
            assert draws >= seen
            seen = draws
        assert_same(sample(copy), whole)
        assert not list(copy.rglob("*.partial"))
    assert seen == SETTINGS["draws"]


@pytest.mark.parametrize("share", [0.004, pytest.param(0.03, marks=pytest.mark.slow)])
def test_what_a_process_leaves_that_is_killed_while_it_extends_a_run(share, tmp_path):
    whole = sample(None, draws=31)
    sample(tmp_path / "run")
    copies = _kill(tmp_path / "run", tmp_path, share, draws=31)
    assert len(copies) > 400 * share
    for copy in copies:
        before = az.from_zarr(copy)
        draws = _assert_readers_see_a_part(before, whole)
        # The end of the shorter run is not taken for that of the longer one.
        assert before.attrs["complete"] == 0 or draws in (SETTINGS["draws"], 31)
        assert_same(sample(copy, draws=31), whole)


def _until(samplers: Samplers, begin: int, word: str, times: int = 1) -> None:
    """Wait until the child has said something so often."""
    end = time.monotonic() + 120
    while sum(line.startswith(word) for line in samplers.lines()[begin:]) < times:
        assert time.monotonic() < end, samplers.lines()[begin:]
        time.sleep(0.002)


def _assert_a_segment_at_most_is_done_again(lines: list[str], segment: int) -> None:
    saved, computed = (0, 0), 0
    for line in lines:
        match line.split():
            case ["computed", first, n]:
                computed = max(computed, int(first) + int(n))
            case ["saved", phase, done]:
                saved = max(saved, (int(phase), int(done)))
            case ["resumed", phase, done]:
                position = (int(phase), int(done))
                assert position >= saved
                assert computed - position[0] * position[1] <= segment, line


@pytest.mark.slow
def test_fifty_times_kill_minus_nine_at_random_moments_of_one_run(samplers, tmp_path):
    # Lanes one after another, since long runs would otherwise measure what is faster.
    settings = {"draws": 2500, "warmup": 200, "batching": "loop"}
    whole = _uninterrupted(samplers, tmp_path / "whole", **settings, segment=128)
    rng = np.random.default_rng(SEED)
    before = len(samplers.lines())
    for _ in range(50):
        begin = len(samplers.lines())
        child = samplers.begin(tmp_path / "run", **settings)
        # Within twelve segments or so, of which the run has more than enough, and at any moment of the last one.
        _until(samplers, begin, "reported", times=rng.integers(1, 13))
        time.sleep(rng.uniform(0.0, 0.05))
        os.kill(child, signal.SIGKILL)
        assert samplers.end() == -signal.SIGKILL
    run = _uninterrupted(samplers, tmp_path / "run", **settings)
    _assert_a_segment_at_most_is_done_again(samplers.lines()[before:], SETTINGS["segment"])
    assert_same(run, whole)


@pytest.mark.parametrize("kills", [1, pytest.param(6, marks=pytest.mark.slow)])
def test_kill_minus_nine_amid_the_writing(kills, samplers, tmp_path):
    whole = _uninterrupted(samplers, tmp_path / "whole", draws=33)  # a multiple of every third
    rng = np.random.default_rng(SEED)
    for moment in rng.integers(0, 1000, kills):
        begin = len(samplers.lines())
        samplers.begin(tmp_path / str(moment), draws=33, die=int(moment))
        assert samplers.end() == -signal.SIGKILL
        assert_same(_uninterrupted(samplers, tmp_path / str(moment), draws=33), whole)
        _assert_a_segment_at_most_is_done_again(samplers.lines()[begin:], SETTINGS["segment"])


@pytest.mark.slow
def test_the_signal_of_a_scheduler_ends_a_process_after_its_segment_and_again_at_once(samplers, tmp_path):
    run, begin = tmp_path / "run", len(samplers.lines())
    settings = {"draws": 400, "batching": "loop"}
    child = samplers.begin(run, **settings)
    _until(samplers, begin, "reported sampling")
    os.kill(child, signal.SIGTERM)
    assert samplers.end() == 0
    stopped = hc.open_run(run)
    assert stopped.attrs["complete"] == 0
    draws = stopped["posterior"].sizes["draw"]
    assert 0 < draws < 400
    assert draws % SETTINGS["segment"] == 0

    begin = len(samplers.lines())
    child = samplers.begin(run, **settings)
    _until(samplers, begin, "reported sampling")
    os.kill(child, signal.SIGTERM)
    time.sleep(0.02)
    os.kill(child, signal.SIGTERM)
    assert samplers.end() in (-signal.SIGTERM, 0)  # or it was through with its segment before
    assert_same(
        _uninterrupted(samplers, run, **settings), _uninterrupted(samplers, tmp_path / "whole", **settings)
    )
