"""Chains on several devices: the numbers of one device, and one compilation."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

import hiddencodes as hc
from hiddencodes.sampling.lanes import lanes

SCRIPT = """
import json, sys
import jax
import hiddencodes as hc
from tests.sampling.test_devices import numbers
assert jax.local_device_count() == 2
compiled = []
def count(name, seconds, **about):
    if name.endswith("backend_compile_duration") and "segment" in str(about.get("fun_name", "")):
        compiled.append(about["fun_name"])
jax.monitoring.register_event_duration_secs_listener(count)
print(json.dumps({"numbers": numbers(), "compiled": compiled}))
"""


def numbers() -> dict:
    """Of a short run with sweeps, whose chains have not yet had the time to amplify rounding."""
    task = hc.orthogonal_classes(n_train=9, n_test=3)
    mlp = hc.MLP(task.n_inputs, task.n_outputs, 5, 1, hc.sigmoidal, hc.mean_field)
    posterior = hc.Posterior(mlp, task, n_temperature=0.3)
    run = hc.sample(
        posterior,
        sampler=hc.hmc(max_steps=4),
        chains=4,
        draws=4,
        warmup=33,
        moves=hc.cavity_refresh(),
        moves_every=2,
        verbose=False,
    )
    assert run["moves"]["proposed"].sum() == 4 * 2 * mlp.width
    return {
        "loss": run["posterior"]["train_loss"].values.tolist(),
        "weights": run["weights"]["hidden_1_kernel"].values.tolist(),
    }


def test_two_devices_give_the_numbers_of_one():
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    flags = "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=1"
    environment = {
        **os.environ,
        "XLA_FLAGS": flags,
        "PYTHONPATH": root,
        "JAX_ENABLE_X64": "1",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for name, values in numbers().items():
        np.testing.assert_allclose(found["numbers"][name], values, rtol=1e-6, atol=1e-9)
    assert sorted(found["compiled"]) == ["jit(_sampling_segment)", "jit(_warmup_segment)"], found["compiled"]


@pytest.mark.parametrize("chains", [1, 4])
def test_one_device_moves_nothing(chains, monkeypatch):
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    place = lanes(chains)
    value = np.ones((1, chains))
    assert place.devices == 1
    assert place.spread(value) is value
    assert place.repeat(value) is value
