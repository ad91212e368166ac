"""Ctrl-C and the signal of schedulers: the segment is finished, draws so far are returned, and the run goes on as if nothing had been."""

import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import pytest
import xarray as xr
from interrupted import assert_same, sample

import hiddencodes as hc
from hiddencodes.sampling import interruption
from hiddencodes.sampling.interruption import asked_to_stop


@pytest.fixture(scope="module")
def whole() -> xr.DataTree:
    return sample(None)


@pytest.fixture(autouse=True)
def interrupts() -> Iterator[None]:
    """Ctrl-C as Python has it: a shell that starts jobs in the background has them ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _signal_at(phase: str, done: int, *numbers: int) -> Callable[[hc.Progress], None]:
    """A report of progress that sends signals to the process when the run is so far."""

    def report(event: hc.Progress) -> None:
        if (event.phase, event.done) == (phase, done):
            for number in numbers:
                signal.raise_signal(number)

    return report


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_ends_after_its_segment(number, whole, tmp_path, capfd):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with pytest.warns(UserWarning, match="stopped after 12 of 22 draws"):
        stopped = sample(tmp_path / "run", progress=_signal_at("sampling", 8, number), verbose=True)
    assert "stopping after this segment; once more stops at once" in capfd.readouterr().err
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
    assert stopped.attrs["complete"] == 0
    assert set(stopped.children) == set(whole.children)
    first = xr.DataTree.from_dict(
        {
            name: whole[name].to_dataset().isel(draw=slice(12))
            for name in ("posterior", "units", "sample_stats")
        }
    )
    assert_same(stopped, first, first.children)
    assert_same(sample(tmp_path / "run"), whole)


def test_a_run_in_memory_that_is_stopped_returns_what_there_is(whole):
    with pytest.warns(UserWarning, match="stopped after 12 of 22 draws"):
        stopped = sample(None, progress=_signal_at("sampling", 8, signal.SIGINT))
    assert stopped.attrs["complete"] == 0
    assert stopped["posterior"].equals(whole["posterior"].isel(draw=slice(12)))


@pytest.mark.parametrize(("asked", "last", "then"), [(16, 32, [48]), (32, 48, [])])
def test_a_run_that_is_stopped_in_warm_up_goes_on_from_there(asked, last, then, whole, tmp_path):
    with pytest.raises(KeyboardInterrupt, match=f"stopped after iteration {last} of warm-up"):
        sample(tmp_path / "run", progress=_signal_at("warmup", asked, signal.SIGINT))
    events: list[hc.Progress] = []
    assert_same(sample(tmp_path / "run", progress=events.append), whole)
    assert [event.done for event in events if event.phase == "warmup"] == then


def test_a_run_that_is_stopped_while_it_is_compiled_goes_on(whole, tmp_path):
    with pytest.raises(KeyboardInterrupt, match="stopped after iteration 16 of warm-up"):
        sample(tmp_path / "run", progress=_signal_at("compile", 1, signal.SIGINT))
    with pytest.warns(UserWarning, match="stopped after 4 of 22 draws"):
        sample(tmp_path / "run", progress=_signal_at("compile", 2, signal.SIGINT))
    assert_same(sample(tmp_path / "run"), whole)


@pytest.mark.parametrize("stage", [("compile", 1), ("warmup", 16), ("compile", 2), ("sampling", 8)])
def test_the_second_time_a_run_ends_at_once_and_goes_on_all_the_same(stage, whole, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        sample(tmp_path / "run", progress=_signal_at(*stage, signal.SIGINT, signal.SIGINT))
    assert_same(sample(tmp_path / "run"), whole)


def test_a_run_that_is_stopped_at_its_last_segment_is_complete(whole, tmp_path):
    with pytest.raises(KeyboardInterrupt, match="stopped when all 22 draws were in"):
        sample(tmp_path / "run", progress=_signal_at("sampling", 20, signal.SIGINT))
    assert hc.open_run(tmp_path / "run").attrs["complete"] == 1
    assert_same(sample(tmp_path / "run"), whole)


def test_a_handler_that_python_did_not_install_stays(monkeypatch):
    installed: list[int] = []
    monkeypatch.setattr(
        interruption.signal, "getsignal", lambda number: None if number == signal.SIGTERM else signal.SIG_DFL
    )
    monkeypatch.setattr(interruption.signal, "signal", lambda number, handler: installed.append(number))
    with asked_to_stop() as stop:
        assert not stop()
    assert installed == [signal.SIGINT, signal.SIGINT]


def test_other_threads_are_not_asked(whole, tmp_path):
    handler: Callable[[int, FrameType | None], object] | int | None = signal.getsignal(signal.SIGINT)
    runs: list[xr.DataTree] = []
    seen: list[object] = []

    def work() -> None:
        runs.append(sample(tmp_path / "run", progress=lambda _: seen.append(signal.getsignal(signal.SIGINT))))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert set(seen) == {handler}
    assert_same(runs[0], whole)
