"""Chains on several devices and in several processes: the numbers of one device, chain by chain, and one compilation."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import hiddencodes as hc
from hiddencodes.sampling.lanes import lanes

ROOT = Path(__file__).parents[2]
# Bit for bit needs the same compiler options in every process.
SCRIPT = """
import json, sys
import jax
path, rank, port, options = sys.argv[1], int(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
if port:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", 2, rank)
from tests.sampling.test_devices import short_run
compiled = []
def count(name, seconds, **about):
    if name.endswith("backend_compile_duration") and "segment" in str(about.get("fun_name", "")):
        compiled.append(about["fun_name"])
jax.monitoring.register_event_duration_secs_listener(count)
run = short_run(path, **options)
print(json.dumps([run.attrs["devices"], run.attrs["processes"], compiled]))
"""


def short_run(
    path: str | Path | None, *, n_inputs: int = 16, moves: bool = False, draws: int = 12, **options
) -> object:
    """A run whose chains have not yet had the time to amplify rounding.

    On one device the compiler multiplies constants that follow each other, such as the scale of a layer and that of its error
    function; on several it does not, whatever their number.
    """
    task = hc.orthogonal_classes(n_train=8, n_test=4, n_inputs=n_inputs)
    mlp = hc.MLP(task.n_inputs, task.n_outputs, 6, 1, hc.sigmoidal, hc.mean_field)
    posterior = hc.Posterior(mlp, task, n_temperature=0.1)
    settings = {"moves": hc.cavity_refresh(), "moves_every": 3} if moves else {}
    settings |= {"chains": 16, "seeds": 2, "warmup": 60, "segment": 5, "sampler": hc.hmc(max_steps=8)}
    settings |= {"batching": "loop"} | options
    on_disk = {} if path is None else {"out": path, "resume": True}
    return hc.sample(posterior, draws=draws, verbose=False, **on_disk, **settings)


def elsewhere(path: Path, devices: int, processes: int = 1, **options) -> list[list]:
    """The same run in other processes, with that many devices each: what each of them says."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    own = {"XLA_FLAGS": flags, "PYTHONPATH": str(ROOT), "JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu"}
    environment = {k: v for k, v in os.environ.items() if k != "JAX_NUM_CPU_DEVICES"} | own
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1]) if processes > 1 else ""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(path), str(rank), port, json.dumps(options)],
            env=environment, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for rank in range(processes)
    ]  # fmt: skip
    ended = [process.communicate(timeout=300) for process in started]
    assert [process.returncode for process in started] == [0] * processes, ended
    return [json.loads(out.splitlines()[-1]) for out, _ in ended]


def assert_the_same_run(path: Path, expected, rtol: float = 0.0) -> None:
    """Every variable of every group; with ``rtol``, relative to the largest entry."""
    found = hc.open_run(path)
    assert set(found.children) == set(expected.children)
    for group in expected.children:
        for name, values in expected[group].data_vars.items():
            other = found[group][name]
            if values.dtype.kind == "f" and rtol:
                largest = float(np.nanmax(np.abs(values)))
                np.testing.assert_allclose(other, values, rtol=0.0, atol=rtol * largest, err_msg=str(name))
            else:
                np.testing.assert_array_equal(other, values, err_msg=str(name))


@pytest.fixture(scope="module")
def on_two_devices(tmp_path_factory):
    path = tmp_path_factory.mktemp("one") / "run.zarr"
    assert elsewhere(path, 2)[0][:2] == [2, 1]
    return hc.open_run(path)


@pytest.mark.slow
def test_eight_devices_give_the_numbers_of_two_bit_for_bit(on_two_devices, tmp_path):
    """Chains one after another: the arithmetic of a chain does not know how many there are beside it."""
    [[devices, processes, compiled]] = elsewhere(tmp_path / "run.zarr", 8)
    assert (devices, processes) == (8, 1)
    assert sorted(compiled) == ["jit(_sampling_segment)", "jit(_warmup_segment)"]
    assert_the_same_run(tmp_path / "run.zarr", on_two_devices)


@pytest.mark.slow
def test_numbers_of_devices_agree_bit_for_bit_where_one_device_differs(tmp_path):
    elsewhere(tmp_path / "two", 2, n_inputs=12, moves=True)
    elsewhere(tmp_path / "eight", 8, n_inputs=12, moves=True)
    assert_the_same_run(tmp_path / "two", hc.open_run(tmp_path / "eight"))


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_two_devices_bit_for_bit(on_two_devices, tmp_path):
    said = elsewhere(tmp_path / "run.zarr", 1, processes=2)
    assert [(devices, processes) for devices, processes, _ in said] == [(2, 2)] * 2
    assert_the_same_run(tmp_path / "run.zarr", on_two_devices)


@pytest.mark.slow
def test_a_run_of_two_processes_goes_on_in_one(on_two_devices, tmp_path):
    elsewhere(tmp_path / "run.zarr", 1, processes=2, draws=7)
    assert elsewhere(tmp_path / "run.zarr", 2)[0][:2] == [2, 1]
    assert_the_same_run(tmp_path / "run.zarr", on_two_devices)


@pytest.mark.slow
def test_two_processes_do_not_share_the_chains_of_one(tmp_path):
    short_run(tmp_path / "run.zarr", draws=7)
    with pytest.raises(
        AssertionError, match="its chains are stored in 1 parts, which 2 processes cannot share"
    ):
        elsewhere(tmp_path / "run.zarr", 1, processes=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"n_inputs": 12},
        {"moves": True},
        {"batching": "vmap"},
        {"batching": "vmap", "pattern_devices": 4},
    ],
    ids=str,
)
def test_other_arithmetic_differs_by_rounding(options, tmp_path):
    """1e-9 of the largest entry: a few million ulps after 72 transitions of at most 8 steps, which amplify them.

    Constants are multiplied on one device, and batched products arranged by the size of the batch.
    """
    elsewhere(tmp_path / "run.zarr", 8, **options)
    alone = {key: value for key, value in options.items() if key != "pattern_devices"}
    assert_the_same_run(tmp_path / "run.zarr", short_run(None, **alone), rtol=1e-9)


@pytest.mark.parametrize("chains", [1, 4])
def test_one_device_moves_nothing(chains, monkeypatch):
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    how = lanes(chains)
    value = np.ones((1, chains))
    assert how.devices == 1
    assert how.spread(value) is value
    assert how.repeat(value) is value


def test_devices_that_cannot_be_divided_are_refused():
    with pytest.raises(
        ValueError, match=f"pattern_devices: this process has {jax.local_device_count()} devices, got 64"
    ):
        lanes(4, pattern_devices=64)
    with pytest.raises(
        ValueError, match="pattern_devices: expected a divisor of the 8 training patterns, got 3"
    ):
        short_run(None, pattern_devices=3)


@pytest.mark.parametrize("batching", ["vmap", "loop"])
def test_lanes_of_both_batchings_are_the_function_of_every_lane(batching):
    how = lanes(4, batching=batching)

    def lane(own, of_seed, shared):
        return own["x"] * of_seed + shared

    rng = np.random.default_rng(0)
    x, seed, shared = rng.standard_normal((2, 4, 3)), rng.standard_normal((2, 3)), rng.standard_normal(3)
    found = jax.jit(how.over(lane, "lane", "seed", "shared"))({"x": x}, seed, shared)
    np.testing.assert_allclose(found, x * seed[:, None] + shared, rtol=1e-15)
