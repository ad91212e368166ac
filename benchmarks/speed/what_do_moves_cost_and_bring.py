"""Effective draws per CPU-second of every invariant: local samplers alone, and with a cavity refresh after every k transitions.

Sigmoidal units, three classes of orthogonal inputs, P = 60, N = 100, y- = +1/2, n_temperature = 0.004, 8 chains from annealed prior
draws, single precision. Effective sample sizes are ArviZ's, of the mean, over all chains. Below 100 they are not known well, and chains
that never decorrelate show two or three draws each: such entries are upper bounds of what a longer run would show per second, marked by <.

    python benchmarks/speed/what_do_moves_cost_and_bring.py [--seconds 30] [--baseline-seconds 240] [--rows hmc,k=8,...]
"""

import argparse
import time

import numpy as np
from arviz_stats.base import array_stats
from timed import orthogonal_posterior, timed_sample, write_result

import hiddencodes as hc

CHAINS, N_TRAIN, WIDTH = 8, 60, 100
CODES = ("011", "101", "110", "111")
HMC = hc.hmc(max_steps=64)
ROWS = {
    "hmc, all weights": {"sampler": HMC},
    "hmc, white coordinates": {"sampler": HMC, "white": True},
    "nuts": {"sampler": "nuts", "white": True},
    "adjusted_mclmc": {"sampler": "adjusted_mclmc", "white": True},
    # Trajectories as long as those of the others, and no trial run: both of its programs are compiled anew for every run.
    "numpyro_nuts": {"sampler": hc.numpyro_nuts(max_doublings=6), "warmup": 200, "draws": 200},
    **{f"k={k}": {"sampler": HMC, "moves": hc.cavity_refresh(), "moves_every": k, "white": True} for k in (1, 2, 4, 8, 16, 32)},
}  # fmt: skip


def quantities(run, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Invariants by kind, (chain, draw, entry)."""
    posterior = run["posterior"]
    values = {name: np.asarray(posterior[name].values[0], float) for name in posterior.data_vars}
    bits = run["units"]["class_means"].values[0, :, :, 0] > 0.5  # (chain, draw, class, unit)
    wanted = np.array([[digit == "1" for digit in code] for code in CODES])
    shares = np.stack([np.mean(np.all(bits == code[:, None], axis=2), axis=-1) for code in wanted], axis=-1)
    t = values["residual_multiplier"]
    upper = np.triu_indices(3)
    return {
        "kernel blocks": values["kernel_blocks"][:, :, 0][..., *upper],
        "kernel diagonal": values["kernel_diagonal"][:, :, 0],
        "readout overlap": values["readout_overlap"][..., *upper],
        "t, class means": np.stack([t[:, :, labels == c].mean(axis=2) for c in range(3)], axis=2),
        "t": t,
        "loss": values["train_loss"],
        "predictions": values["test_predictions"],
        "code shares": shares,
    }


def smallest(x: np.ndarray) -> float:
    """Smallest effective sample size of the entries that change."""
    x = x.reshape(*x.shape[:2], -1)
    x = x[..., np.ptp(x, axis=(0, 1)) > 0]
    return float(np.min(array_stats.ess(x, chain_axis=0, draw_axis=1, method="mean")))


def measure(posterior: hc.Posterior, options: dict, seconds: float) -> dict:
    """One run that fills the time, in two calls: the first says how long a draw takes."""
    options = dict(options)
    target = hc.whiten_inputs(posterior) if options.pop("white", False) else posterior
    draws = options.pop("draws", None)
    common = {"chains": CHAINS, "warmup": 400, "precision": "float32", "key": 1, **options}
    if draws is None:
        _, trial = timed_sample(target, draws=32, **common)
        draws = int(np.clip(seconds / max(trial["wall"] / 32, 1e-4), 40, 60000))
    thin = max(1, draws // 4000)
    begin = time.perf_counter()
    run, spent = timed_sample(target, draws=draws // thin, thin=thin, **common)
    ess = {kind: smallest(x) for kind, x in quantities(run, posterior.task.labels_train).items()}
    return {
        "cpu_seconds": spent["cpu"],
        "wall_seconds": spent["wall"],
        "total_wall_seconds": time.perf_counter() - begin,
        "transitions_per_chain": draws,
        "steps_per_transition": float(run["sample_stats"]["n_steps"].mean()) / thin,
        "ess": ess,
        "ess_per_cpu_second": {kind: value / spent["cpu"] for kind, value in ess.items()},
    }


def main() -> None:
    """Run everything and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="sampling time of a row with moves")
    parser.add_argument(
        "--baseline-seconds", type=float, default=240.0, help="of HMC; a third of it for the others"
    )
    parser.add_argument("--rows", help="names separated by semicolons; all if not given")
    options = parser.parse_args()
    posterior = orthogonal_posterior(N_TRAIN, WIDTH, n_test=6)
    rows = {}
    for name in options.rows.split(";") if options.rows else ROWS:
        longest = options.baseline_seconds * (1.0 if name.startswith("hmc") else 1.0 / 3.0)
        row = measure(posterior, ROWS[name], options.seconds if name.startswith("k=") else longest)
        rows[name] = row
        entries = "  ".join(
            f"{kind} {'<' if row['ess'][kind] < 100 else ''}{value:.3g}"
            for kind, value in row["ess_per_cpu_second"].items()
        )
        print(f"{name:24s} {row['cpu_seconds']:6.1f} CPU-s: {entries}")
    write_result(
        __file__,
        {
            "question": __doc__.splitlines()[0],
            "n_train": N_TRAIN,
            "width": WIDTH,
            "chains": CHAINS,
            "rows": rows,
        },
    )


if __name__ == "__main__":
    main()
