"""What the scripts of this folder share: runs with their CPU time, and results on disk."""

import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import jax
import xarray as xr

# XLA runs a program of many small operations on one core of a CPU: a device per core, each with its part of the chains.
# Before the package is imported, since importing BlackJAX starts the devices.
jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))

import hiddencodes as hc


def timed_sample(posterior: Any, **options: Any) -> tuple[xr.DataTree, dict[str, float]]:
    """`hc.sample` with the seconds of its sampling phase, compilation and warm-up excluded: ``wall`` and ``cpu``."""

    def now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    # NumPyro's sampler reports no compilation: it is timed with it, and with its warm-up.
    (wall, cpu), compiles = now(), False

    def progress(event: hc.Progress) -> None:
        nonlocal wall, cpu, compiles
        if event.phase == "compile":
            (wall, cpu), compiles = now(), True
        else:
            end[:] = now()

    end: list[float] = []
    run = hc.sample(posterior, progress=progress, verbose=False, **options)
    wall_end, cpu_end = end if compiles else now()
    return run, {"wall": wall_end - wall, "cpu": cpu_end - cpu}


def orthogonal_posterior(n_train: int, width: int, activation: hc.Activation = hc.sigmoidal, y_minus: float = 0.5,
                         n_temperature: float = 0.004, n_test: int = 3) -> hc.Posterior:  # fmt: skip
    """Three orthogonal classes, one hidden layer, mean-field scaling: the setting of arXiv 2406.16689."""
    task = hc.orthogonal_classes(n_train=n_train, n_test=n_test, y_minus=y_minus)
    mlp = hc.MLP(task.n_inputs, task.n_outputs, width, 1, activation, hc.mean_field)
    return hc.Posterior(mlp, task, n_temperature=n_temperature)


def write_result(script: str, result: dict[str, Any]) -> None:
    """Write ``results/SCRIPT.DEVICE.json`` and print its path."""
    device = jax.devices()[0]
    about = {
        "device": f"{device.platform} {device.device_kind}",
        "devices": jax.device_count(),
        "machine": platform.machine(),
        "jax": jax.__version__,
    }
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    path = folder / f"{Path(script).stem}.{device.platform}.json"
    path.write_text(json.dumps({**result, **about}, indent=1) + "\n")
    print(path)
