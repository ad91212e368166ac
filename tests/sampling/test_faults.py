"""Files of a run that are damaged: it is said, what is whole is kept, and the numbers are those of a run to which nothing happened."""

import ast
import hashlib
import io
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import xarray as xr
from interrupted import Crash, assert_same, crash_at, sample

import hiddencodes as hc
from hiddencodes.sampling import checkpoint
from hiddencodes.sampling.checkpoint import DamagedError, Position


@pytest.fixture(scope="module")
def whole() -> xr.DataTree:
    return sample(None)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("interrupted") / "run"
    with pytest.raises(Crash):
        sample(path, progress=crash_at("sampling", 16))
    return path


@pytest.fixture
def run(interrupted: Path, tmp_path: Path) -> Path:
    """A run that ended after 16 of its 22 draws, in segments of four."""
    return shutil.copytree(interrupted, tmp_path / "run")


def _state(run: Path, done: int) -> Path:
    return checkpoint.file_name(run, Position(1, done), 0)


def _chunk(run: Path, segment: int, name: str = "posterior/train_loss") -> Path:
    path = run / name / "c" / "0" / "0" / str(segment)
    return path if path.is_file() else next(p for p in path.rglob("*") if p.is_file())


def _flip(path: Path, byte: int = 1000) -> None:
    content = bytearray(path.read_bytes())
    content[byte % len(content)] ^= 0x10
    path.write_bytes(content)


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


DAMAGES = (_flip, _cut, _empty, Path.unlink)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over(damage, run, whole, capfd):
    damage(_state(run, 16))
    assert_same(sample(run), whole)
    said = capfd.readouterr().err
    if damage is not Path.unlink:  # of what is gone nobody knows that it was there
        assert "the state at draw 16 cannot be used" in said
        assert "its checksum is wrong" in said
        assert "going on from draw 12" in said


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_chunk_is_made_again(damage, run, whole, capfd):
    damage(_chunk(run, 3))
    assert_same(sample(run), whole)
    said = capfd.readouterr().err
    assert "the state at draw 16 cannot be used (posterior/train_loss: " in said
    assert "going on from draw 12" in said


@pytest.mark.parametrize(
    ("damaged", "begins"),
    [
        (lambda run: [_state(run, 16), _state(run, 12)], "going on from draw 0"),
        (lambda run: [_chunk(run, 3), _chunk(run, 2)], "going on from draw 0"),
        (lambda run: [_state(run, 16), _chunk(run, 2, "units/readout")], "going on from draw 0"),
        (lambda run: [_chunk(run, 0, "units/readout")], "going on from draw 0"),
        (lambda run: [run / "units" / "draw" / "c" / "3"], "going on from draw 12"),
        (lambda run: [run / "units" / "readout" / "zarr.json"], "going on from draw 0"),
        (lambda run: list(checkpoint.folder(run).iterdir()), "beginning anew"),
    ],
    ids=[
        "two states",
        "two chunks",
        "a state and a chunk",
        "an old chunk",
        "numbers",
        "metadata",
        "all states",
    ],
)
def test_more_damage_costs_more_and_changes_nothing(damaged, begins, run, whole, capfd):
    for path in damaged(run):
        _cut(path)
    assert_same(sample(run), whole)
    assert begins in capfd.readouterr().err


def test_any_flipped_byte_of_a_checkpoint_is_noticed(run):
    path = _state(run, 16)
    content = path.read_bytes()

    @hypothesis.settings(max_examples=50, deadline=None)
    @hypothesis.given(st.integers(0, len(content) - 1), st.integers(1, 255))
    def flip(byte: int, mask: int) -> None:
        path.write_bytes(content[:byte] + bytes([content[byte] ^ mask]) + content[byte + 1 :])
        with pytest.raises(DamagedError):
            checkpoint.read(run, Position(1, 16))

    flip()


def test_any_flipped_byte_of_a_chunk_is_noticed(run, whole, capfd):
    content: dict[Path, bytes] = {}

    @hypothesis.settings(max_examples=4, deadline=None)
    @hypothesis.given(
        st.sampled_from(["posterior/train_loss", "units/readout", "sample_stats/diverging"]),
        st.integers(0, 3),
        st.integers(0, 10_000),
    )
    def flip(name: str, segment: int, byte: int) -> None:
        for path in run.rglob("*"):
            if path.is_file() and path not in content:
                path.unlink()
        for path in content:
            path.write_bytes(content[path])
        _flip(_chunk(run, segment, name), byte)
        assert_same(sample(run), whole)
        assert f"cannot be used ({name}: " in capfd.readouterr().err

    content |= {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    flip()


def test_what_was_passed_over_does_not_stand_in_the_way_of_what_comes_after(run, whole):
    _cut(_state(run, 16))
    _cut(_state(run, 12))
    with pytest.raises(Crash):
        sample(run, progress=crash_at("sampling", 4))
    events: list[hc.Progress] = []
    assert_same(sample(run, progress=events.append), whole)
    assert next(event.done for event in events if event.phase == "sampling") == 8


def test_segments_of_another_length_from_the_end_of_warm_up_on(tmp_path, whole):
    run = tmp_path / "run"
    with pytest.raises(Crash):
        sample(run, progress=crash_at("sampling", 8))
    for done in (8, 4, 0):
        _cut(_state(run, done))
    assert_same(sample(run, segment=6), whole)


class _Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return (Path.touch, (self.path,))


def test_nothing_that_was_pickled_is_loaded(run, whole, tmp_path, capfd):
    bomb = np.array([_Bomb(tmp_path / "exploded")], dtype=object)
    pickle.Unpickler(io.BytesIO(pickle.dumps(bomb))).load()
    (tmp_path / "exploded").unlink()  # it works
    archive = io.BytesIO()
    executable = {"allow_pickle": True}
    np.savez(archive, manifest=bomb, **executable)
    for content in (pickle.dumps(bomb), archive.getvalue()):
        _state(run, 16).write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
        with pytest.raises(DamagedError, match="pickle"):
            checkpoint.read(run, Position(1, 16))
    assert_same(sample(run), whole)
    assert "the state at draw 16 cannot be used" in capfd.readouterr().err
    assert not (tmp_path / "exploded").exists()


def test_the_package_never_unpickles():
    root = Path(__file__).parents[2]
    rooms = ("hiddencodes", "diagnostics", "sampling", "theory", "models", "tasks", "benchmarks")
    paths = [path for room in rooms for path in (root / room).rglob("*.py")]
    assert len(paths) > 100
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {node.module} if isinstance(node, ast.ImportFrom) else {a.name for a in node.names}
                assert not names & {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}, path
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert ast.unparse(node.value) == "False", path


@pytest.mark.slow
def test_changed_bytes_in_what_is_written_at_the_end_are_refused(small_posterior, tmp_path):
    path = tmp_path / "run"
    hc.sample(small_posterior, chains=2, draws=4, warmup=0, out=path, verbose=False)
    chunk = next(p for p in (path / "weights").rglob("c/*") if p.is_file())
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"[Cc]hecksum"):
        hc.open_run(path)["weights"].load()


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ended") / "run"
    sample(path)
    return path


def _root(run: Path) -> Path:
    return run / "zarr.json"


def _health(run: Path) -> Path:
    return next(p for p in (run / "health" / "status").rglob("c/**/*") if p.is_file())


def _weights(run: Path) -> Path:
    return next(p for p in (run / "weights").rglob("c/**/*") if p.is_file())


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    ("damaged", "says"),
    [
        (_root, "the list of its arrays was lost and is written anew"),
        (_health, "the state at draw 22 cannot be used (health/status: "),
        (_weights, "what was written at the end cannot be used (weights/"),
    ],
    ids=["root", "health", "weights"],
)
def test_damage_to_a_whole_run_is_repaired(damage, damaged, says, ended, whole, tmp_path, capfd):
    run = shutil.copytree(ended, tmp_path / "run")
    damage(damaged(run))
    assert_same(sample(run), whole)
    assert says in capfd.readouterr().err
    # Once is enough.
    assert_same(sample(run), whole)
    assert capfd.readouterr().err == ""


def test_a_run_that_was_not_finished_survives_the_loss_of_its_root(run, whole, capfd):
    _root(run).unlink()
    assert_same(sample(run), whole)
    assert "the list of its arrays was lost" in capfd.readouterr().err
