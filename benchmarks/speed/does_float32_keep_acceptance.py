"""Does single precision keep the acceptance rate and the invariants of double precision, and is it faster?

Samples the same posteriors (three classes of orthogonal inputs, P = 60, N = 100, n_temperature = 0.004) in both precisions,
one run after the other in one process. Compared are the acceptance, the time per gradient, the training loss and all residual
multipliers t = (y - f)/(N T). Kernels and readouts are not: their codes are frozen, and any two runs differ in them. Each
precision tunes its own step size, so acceptances differ by the tuning's own error as well. Prints a table and writes
``results/does_float32_keep_acceptance.DEVICE.json``; times are ratios of one run on one machine.

    python benchmarks/speed/does_float32_keep_acceptance.py
"""

import json
import time

import numpy as np
from arviz_stats.base import array_stats
from timed import write_result

import hiddencodes as hc

N_TRAIN, WIDTH, N_TEMPERATURE = 60, 100, 0.004
CHAINS, DRAWS, WARMUP = 8, 300, 400
ACTIVATIONS = (hc.sigmoidal, hc.linear, hc.relu)
COMPARED = ("train_loss", "residual_multiplier")


def mean_and_error(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over (chain, draw, ...) and its standard error."""
    x = x.astype(float)
    ess = array_stats.ess(x, chain_axis=0, draw_axis=1, method="mean")
    return x.mean((0, 1)), x.std((0, 1)) / np.sqrt(ess)


def measure(posterior: hc.Posterior, precision: str) -> dict:
    """One run: acceptance, time per gradient of a lane, and means with errors of the compared observables."""
    begin = time.perf_counter()
    run = hc.sample(
        posterior, chains=CHAINS, draws=DRAWS, warmup=WARMUP, precision=precision, key=1, verbose=False
    )
    wall = time.perf_counter() - begin
    gradients = int(run["sample_stats"]["n_steps"].sum())
    seconds = json.loads(run.attrs["timings"])
    acceptance = mean_and_error(run["sample_stats"]["acceptance_rate"].values[0])
    return {
        "wall_seconds": wall,
        "microseconds_per_gradient": 1e6 * seconds["sampling"] / gradients,
        "step_size": float(run["tuning"]["step_size"][0]),
        "acceptance": [float(x) for x in acceptance],
        "finite": bool(run["sample_stats"]["finite"].all()),
        "observables": {name: mean_and_error(run["posterior"][name].values[0]) for name in COMPARED},
    }


def main() -> None:
    """Run everything and write the result."""
    rows = {}
    for activation in ACTIVATIONS:
        task = hc.orthogonal_classes(n_train=N_TRAIN, y_minus=-0.5)
        mlp = hc.MLP(task.n_inputs, task.n_outputs, WIDTH, 1, activation, hc.mean_field)
        posterior = hc.Posterior(mlp, task, n_temperature=N_TEMPERATURE)
        double, single = measure(posterior, "float64"), measure(posterior, "float32")
        worst = {}
        for name in COMPARED:
            (m1, e1), (m2, e2) = double["observables"].pop(name), single["observables"].pop(name)
            worst[name] = float(np.max(np.abs(m1 - m2) / np.hypot(e1, e2)))
        rows[str(activation)] = {
            "float64": double,
            "float32": single,
            "time_ratio_float64_over_float32": double["microseconds_per_gradient"]
            / single["microseconds_per_gradient"],
            "worst_deviation_in_standard_errors": worst,
        }
        print(
            f"{activation!s:10s} acceptance {double['acceptance'][0]:.3f} / {single['acceptance'][0]:.3f}  step size "
            f"{double['step_size']:.4f} / {single['step_size']:.4f}  us per gradient "
            f"{double['microseconds_per_gradient']:.1f} / {single['microseconds_per_gradient']:.1f} "
            f"(ratio {rows[str(activation)]['time_ratio_float64_over_float32']:.2f})  worst deviation {worst}"
        )
    result = {
        "question": "Does single precision keep the acceptance rate and the invariants of double precision?",
        "settings": {
            "n_train": N_TRAIN,
            "width": WIDTH,
            "n_temperature": N_TEMPERATURE,
            "chains": CHAINS,
            "draws": DRAWS,
        },
        "rows": rows,
    }
    write_result(__file__, result)


if __name__ == "__main__":
    main()
