"""A run that goes on can be read at any moment: as many draws in every group, never fewer than before, with their final numbers."""

import threading
from pathlib import Path

import arviz as az
import pytest
import xarray as xr
from interrupted import Crash, assert_same, crash_at, sample

import hiddencodes as hc

DRAWS = {"posterior": 1, "units": 1, "sample_stats": 1, "every_3": 3}


class Reader(threading.Thread):
    """Opens a run again and again. If that fails once, so does the test: pytest hears of errors in threads.

    Attributes:
        seen: How many draws there were, every time.
    """

    def __init__(self, run: Path, whole: xr.DataTree) -> None:
        super().__init__()
        self.run_folder, self.whole = run, whole
        self.seen: list[int] = []
        self.enough = threading.Event()

    def run(self) -> None:
        while not self.enough.is_set():
            if (self.run_folder / "zarr.json").exists():
                self.seen.append(self._read())

    def _read(self) -> int:
        found = az.from_zarr(self.run_folder)
        rows = {group: node.sizes["draw"] for group, node in found.children.items() if "draw" in node.dims}
        if not rows:
            return 0
        draws = rows["posterior"]
        assert rows == {group: draws // every for group, every in DRAWS.items()}
        for group, every in DRAWS.items():
            part = self.whole[group].to_dataset().isel(draw=slice(draws // every))
            assert_same(found, xr.DataTree.from_dict({group: part}), [group])
        return draws


def test_a_run_is_read_while_it_goes_on_is_gone_on_with_and_extended(tmp_path):
    run, whole = tmp_path / "run", sample(None, draws=42)
    reader = Reader(run, whole)
    reader.start()
    try:
        with pytest.raises(Crash):
            sample(run, progress=crash_at("sampling", 12))
        sample(run)
        sample(run, draws=42)
    finally:
        reader.enough.set()
        reader.join()
    assert reader.seen == sorted(reader.seen)
    assert len(set(reader.seen)) > 3


@pytest.mark.parametrize(("chunk", "expected"), [(5, [20, 22]), (4, [0, 4, 8, 12, 16, 20, 22])])
def test_draws_that_are_made_again_are_shown_again_when_they_are_there(chunk, expected, tmp_path):
    run, whole = tmp_path / "run", sample(None)
    sample(run)
    (run / "units" / "readout" / "c" / "0" / "0" / str(chunk) / "0" / "0").unlink()
    seen: list[int] = []

    def look(event: hc.Progress) -> None:
        found = az.from_zarr(run)
        seen.append(found["units"].sizes["draw"] if "units" in found.children else 0)
        if seen[-1]:
            part = whole["units"].to_dataset().isel(draw=slice(seen[-1]))
            assert_same(found, xr.DataTree.from_dict({"units": part}), ["units"])

    sample(run, progress=look)
    assert seen == expected
