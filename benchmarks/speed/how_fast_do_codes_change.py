"""Code changes per unit and CPU-second in equilibrium, for every sampler and several numbers of patterns.

Sigmoidal units, three classes of orthogonal inputs, y- = +1/2, n_temperature = 0.004, single precision, 8 chains. All samplers start from the
same equilibrated networks (an annealed run, then sweeps), so that what is counted is exchange in equilibrium and not the way there.
A unit has changed its code if it has another one at the next draw. Where no change was seen, the 95 % bound for a Poisson count is given.

    python benchmarks/speed/how_fast_do_codes_change.py [--seconds 20] [--baseline-seconds 40] [--sizes 60 100 200 500]
"""

import argparse

import numpy as np
from timed import orthogonal_posterior, timed_sample, write_result

import hiddencodes as hc

CHAINS = 8
WIDTHS = {60: 100, 100: 200}
SAMPLERS = {
    "moves": {"sampler": hc.hmc(max_steps=8), "moves": hc.cavity_refresh(), "moves_every": 1},
    "hmc": {"sampler": hc.hmc(max_steps=64)},
    "nuts": {"sampler": "nuts"},
    "adjusted_mclmc": {"sampler": "adjusted_mclmc"},
}


def code_changes(run) -> int:
    """How often a unit had another code at the next draw."""
    bits = run["units"]["class_means"].values[0, :, :, 0] > 0.5  # (chain, draw, class, unit)
    return int(np.any(bits[:, 1:] != bits[:, :-1], axis=2).sum())


def measure(posterior, start, options: dict, seconds: float) -> dict:
    """A run that fills the time."""
    common = {"chains": CHAINS, "start": start, "precision": "float32", **options}
    # Where codes change rarely, units are looked at after every draw of several transitions; nothing is missed that stays.
    _, trial = timed_sample(posterior, draws=6, warmup=30, **common)
    draws = int(np.clip(seconds / (trial["wall"] / 6), 12, 3000))
    run, spent = timed_sample(posterior, draws=draws, warmup=60, **common)
    changes, units = code_changes(run), CHAINS * posterior.mlp.width
    # Sampling time covers one interval more than the draws do.
    seconds_between = spent["cpu"] * (draws - 1) / draws
    row = {
        "cpu_seconds": spent["cpu"],
        "draws": draws,
        "changes": changes,
        # Lanes share the time: a chain's own CPU time is that over the number of chains.
        "changes_per_unit_per_cpu_second": max(changes, 3.0 if changes == 0 else 0)
        / (posterior.mlp.width * seconds_between),
        "bound": changes == 0,
        "units": units,
    }
    if "moves" in run.children:
        counts = run["moves"].isel(move=0, seed=0).sum("chain")
        proposed, accepted = counts["proposed"].values, counts["accepted"].values
        same = np.eye(len(proposed), dtype=bool)
        row["acceptance_same_code"] = float(accepted[same].sum() / proposed[same].sum())
        row["acceptance_other_code"] = float(accepted[~same].sum() / proposed[~same].sum())
    return row


def main() -> None:
    """Run everything and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="sampling time with moves")
    parser.add_argument("--baseline-seconds", type=float, default=40.0, help="sampling time without")
    parser.add_argument("--sizes", type=int, nargs="+", default=[60, 100, 200, 500])
    options = parser.parse_args()
    rows = {}
    for n_train in options.sizes:
        posterior = orthogonal_posterior(n_train, WIDTHS.get(n_train, n_train))
        white = hc.whiten_inputs(posterior)
        common = {"chains": CHAINS, "draws": 1, "precision": "float32", "verbose": False}
        annealed = hc.sample(white, warmup=120, sampler=hc.hmc(max_steps=64), **common)
        settled = hc.sample(white, warmup=60, start=hc.final_weights(annealed), **SAMPLERS["moves"], **common)
        start = hc.final_weights(settled)
        for name, settings in SAMPLERS.items():
            seconds = options.seconds if name == "moves" else options.baseline_seconds
            row = measure(posterior, start, settings, seconds)
            rows[f"P = {n_train}, {name}"] = row
            rate = row["changes_per_unit_per_cpu_second"]
            ratio = rows[f"P = {n_train}, moves"]["changes_per_unit_per_cpu_second"] / rate
            row["moves_are_faster_by"] = ratio
            print(
                f"P = {n_train:4d} {name:15s} {row['changes']:6d} changes in {row['cpu_seconds']:.0f} CPU-s: "
                f"{'<' if row['bound'] else ''}{rate:.3g} per unit and CPU-s; moves are faster by {ratio:.0f}",
                flush=True,
            )
    write_result(
        __file__,
        {"question": __doc__.splitlines()[0], "chains": CHAINS, "n_temperature": 0.004, "rows": rows},
    )


if __name__ == "__main__":
    main()
