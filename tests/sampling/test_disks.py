"""Disks that are full or read-only, and folders that somebody else holds: a clear error, nothing half-made, nothing lost."""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from compilations import compilations
from interrupted import Crash, assert_same, at_every_moment, crash_at, sample

import hiddencodes as hc
from hiddencodes.sampling.store import locked

# Kilobytes there are for a run: it needs 220 before warm-up, 490 up to its first segment, 720 up to the last, 810 in all.
FREE = (100, 230, 350, 600, 780)


@pytest.fixture(scope="module")
def whole() -> xr.DataTree:
    return sample(None)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only the superuser can mount a small file system, and not everywhere")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("free", FREE)
def test_a_run_that_fills_the_disk_goes_on_when_there_is_room(free, small_disk, whole):
    ballast, run = small_disk / "ballast", small_disk / "run"
    ballast.write_bytes(bytes((4096 - free) * 1024))
    with pytest.raises(OSError, match="No space left on device; what was saved before is whole") as raised:
        sample(run)
    assert raised.value.errno == errno.ENOSPC
    assert str(run) in str(raised.value)
    ballast.unlink()
    assert_same(sample(run), whole)
    assert not list(run.rglob("*.partial"))


@pytest.mark.parametrize("share", [0.003, pytest.param(0.05, marks=pytest.mark.slow)])
def test_a_disk_that_is_full_from_any_moment_on(share, whole, tmp_path):
    moments = np.random.default_rng(3).random(1000) < share

    def fill(moment: int, event: str) -> None:
        if moment >= start and event in ("open", "os.mkdir"):
            raise OSError(errno.ENOSPC, "No space left on device")

    assert moments.any()
    for start in np.flatnonzero(moments):
        run = tmp_path / str(start)
        with at_every_moment(run, fill), pytest.raises(OSError, match="No space left on device"):
            sample(run)
        assert_same(sample(run), whole)


def test_a_read_only_disk_is_refused_before_anything_is_compiled(small_disk, whole):
    with pytest.raises(Crash):
        sample(small_disk / "begun", progress=crash_at("sampling", 8))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with compilations() as seen:
        for run in ("new", "begun"):
            with pytest.raises(OSError, match=f"Read-only file system: .*{run}"):
                sample(small_disk / run, warmup=49)
    assert not [name for name in seen if "segment" in name]
    assert not (small_disk / "new").exists()
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert_same(sample(small_disk / "begun"), whole)


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_compiled():
    with compilations() as seen, pytest.raises(OSError, match="'/proc/run'"):
        sample(Path("/proc/run"))
    assert not [name for name in seen if "segment" in name]


@pytest.mark.parametrize(
    ("wrong", "error"), [({"memory_limit": 1}, MemoryError), ({"pattern_devices": 4}, ValueError)]
)
def test_a_run_that_is_refused_leaves_nothing(wrong, error, tmp_path):
    with pytest.raises(error):
        sample(tmp_path / "run", **wrong)
    assert not (tmp_path / "run").exists()


def test_the_second_process_on_a_folder_is_refused_and_the_first_goes_on(whole, tmp_path):
    run, refused = tmp_path / "run", []

    def intrude(event: hc.Progress) -> None:
        if event.phase == "sampling":
            with pytest.raises(BlockingIOError, match="another process is sampling this run") as raised:
                sample(run)
            refused.append(str(raised.value))

    assert_same(sample(run, progress=intrude), whole)
    assert refused == [f"{run} is in use: another process is sampling this run"] * 6


HOLD = """
import sys, time
from pathlib import Path
from hiddencodes.sampling.store import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_folder_is_held_by_a_process_until_it_is_killed(whole, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(run)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(BlockingIOError, match="another process is sampling this run"):
        sample(run)
    holder.kill()
    holder.communicate()
    assert (run / ".lock").exists()
    assert_same(sample(run), whole)


def test_a_folder_is_held_against_other_threads_too(tmp_path):
    found = []

    def intrude() -> None:
        try:
            with locked(tmp_path):
                found.append("in")
        except BlockingIOError:
            found.append("refused")

    with locked(tmp_path):
        thread = threading.Thread(target=intrude)
        thread.start()
        thread.join()
    intrude()
    assert found == ["refused", "in"]
