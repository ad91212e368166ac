"""Which move changes the codes of a network that learned handwritten digits, and does any bring them to equilibrium?

Digits 0, 1, 2, P = 100, N = 200, sigmoidal units, n_temperature = 0.004: correlated inputs, for which the cavity refresh does not apply.
For every sampler: acceptance of sweeps with and without a change of code, code changes per unit and CPU-second, how well class means of the
units are correlated with those of the first draw, and the certificate from deliberately wrong compositions. Replica exchange starts from the
prior instead, and leaves a mode only through it: what counts is how many prior draws arrive at the posterior.

    python benchmarks/speed/what_equilibrates_codes_of_digits.py [--minutes 2] [--rows "hmc;annealed, 8 points;..."]
"""

import argparse
import time

import numpy as np
from timed import timed_sample, write_result

import hiddencodes as hc

CHAINS = 4
# Stored draws of replica exchange.
_EXCHANGES = 32
HMC = hc.hmc(max_steps=64)
ROWS = {
    "hmc": {"sampler": HMC},
    "nuts": {"sampler": "nuts"},
    "adjusted_mclmc": {"sampler": "adjusted_mclmc"},
    **{
        f"hmc + annealed refresh, {points} points": {
            "sampler": HMC, "moves": hc.annealed_refresh(points=points), "moves_every": 2,
        }
        for points in (8, 32, 128, 512)
    },
}  # fmt: skip


def class_means(run) -> np.ndarray:
    """Of every unit, (chain, draw, class, unit)."""
    return np.asarray(run["units"]["class_means"].values[0, :, :, 0], float)


def memory_of_units(means: np.ndarray) -> list[float]:
    """Correlation of the units' class means with those of the first draw, at a quarter, half and the end of the run."""
    first = means[:, 0] - means[:, 0].mean(axis=-1, keepdims=True)
    marks = [means.shape[1] // 4, means.shape[1] // 2, means.shape[1] - 1]
    later = [means[:, i] - means[:, i].mean(axis=-1, keepdims=True) for i in marks]
    return [float(np.sum(first * x) / np.sqrt(np.sum(first**2) * np.sum(x**2))) for x in later]


def measure(posterior: hc.Reduced, start: hc.Start, options: dict, seconds: float) -> dict:
    """A run that fills the time."""
    common = {"chains": CHAINS, "start": start, "precision": "float32", **options}
    _, trial = timed_sample(posterior, draws=4, warmup=4, **common)
    draws = int(np.clip(seconds / (trial["wall"] / 4), 12, 4000))
    run, spent = timed_sample(posterior, draws=draws, warmup=max(40, draws // 10), **common)
    report = hc.equilibrium(run)
    means = class_means(run)
    bits = means > 0.5
    changed = np.any(bits[:, 1:] != bits[:, :-1], axis=2).mean() * (draws - 1) * CHAINS
    row = {
        "draws": draws,
        "cpu_seconds": spent["cpu"],
        "code_changes_per_unit_per_cpu_second": float(changed / spent["cpu"]),
        "memory_of_units": memory_of_units(means),
        "verdict": report.verdict,
        "ok": report.ok,
        "shares": {
            row.code: {"start": row.start, "mean": row.mean, "error": row.error} for row in report.shares
        },
    }
    if "moves" in run.children:
        counts = run["moves"].isel(move=0, seed=0).sum("chain")
        proposed, accepted = counts["proposed"].values, counts["accepted"].values
        same = np.eye(len(proposed), dtype=bool)
        for name, which in (("same code", same), ("other code", ~same)):
            row[name] = {"proposed": int(proposed[which].sum()), "accepted": int(accepted[which].sum())}
    return row


def exchange(posterior: hc.Reduced, seconds: float) -> dict:
    """Replica exchange that fills the time after its ladder is made."""
    begin = time.perf_counter()
    tempered = hc.tempered_smc(posterior, particles=32, populations=2, precision="float32", verbose=False)
    ladder = time.perf_counter() - begin
    common = {
        "chains": 2,
        "tempered": tempered,
        "draws": _EXCHANGES,
        "precision": "float32",
        "verbose": False,
    }
    # The first call compiles what all use; the second says how long an iteration takes.
    hc.replica_exchange(posterior, warmup=0, **common)
    begin = time.perf_counter()
    hc.replica_exchange(posterior, warmup=0, **common)
    thin = max(1, round(0.8 * seconds / (time.perf_counter() - begin)))
    begin, cpu = time.perf_counter(), time.process_time()
    result = hc.replica_exchange(posterior, warmup=_EXCHANGES // 4 * thin, thin=thin, **common)
    swaps = result.ladder["swap_acceptance"].values
    return {
        "rungs": int(tempered.path.sizes["point"]) + 1,
        "seconds_for_the_ladder": ladder,
        "iterations": _EXCHANGES * thin,
        "wall_seconds": time.perf_counter() - begin,
        "cpu_seconds": time.process_time() - cpu,
        "swap_acceptance": [float(np.nanmin(swaps)), float(np.nanmedian(swaps))],
        "arrivals": [int(n) for n in result.arrivals],
        "memory_of_units": memory_of_units(class_means(result.run)),
    }


def main() -> None:
    """Run everything and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=2.0, help="sampling time of every row")
    parser.add_argument("--rows", help="names separated by semicolons; all if not given")
    options = parser.parse_args()
    names = options.rows.split(";") if options.rows else [*ROWS, "replica exchange"]
    task = hc.mnist(digits=(0, 1, 2), n_train=100, n_test=6)
    mlp = hc.MLP(task.n_inputs, task.n_outputs, 200, 1, hc.sigmoidal, hc.mean_field)
    posterior = hc.project_inputs(hc.Posterior(mlp, task, n_temperature=0.004))
    annealed = hc.sample(
        posterior, chains=CHAINS, draws=1, warmup=600, precision="float32", sampler=HMC, verbose=False
    )
    print("annealed:", {code: round(row.fraction, 3) for code, row in hc.code_table(annealed).pooled.items()})
    start = hc.composition_start(posterior, annealed, [{"011": 0.45}, {"011": 0.25}], chains=CHAINS)
    rows = {}
    for name in names:
        if name == "replica exchange":
            rows[name] = exchange(posterior, 60.0 * options.minutes)
            print(name, rows[name], flush=True)
            continue
        row = measure(posterior, start, ROWS[name], 60.0 * options.minutes)
        rows[name] = row
        same, other = row.get("same code", {}), row.get("other code", {})
        print(
            f"{name:34s} {row['draws']} draws, {row['cpu_seconds']:.0f} CPU-s; same code {same}, other {other}; changes per unit and CPU-s "
            f"{row['code_changes_per_unit_per_cpu_second']:.2g}; memory {np.round(row['memory_of_units'], 3).tolist()}\n    {row['verdict']}"
        )
        for code, share in row["shares"].items():
            print(
                "   ",
                code,
                *(
                    f"{s:.3f} -> {m:.4f}({e:.4f})"
                    for s, m, e in zip(share["start"], share["mean"], share["error"], strict=True)
                ),
                flush=True,
            )
    write_result(__file__, {"question": __doc__.splitlines()[0], "chains": CHAINS, "rows": rows})


if __name__ == "__main__":
    main()
