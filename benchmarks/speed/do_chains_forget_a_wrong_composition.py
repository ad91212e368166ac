"""Do chains that start with the wrong shares of codes reach the predicted ones, and with which sampler?

Sigmoidal units, three classes of orthogonal inputs, y- = +1/2, n_temperature = 0.004. The units of annealed networks are put
together into networks with a share 0.25 of the code 111 and into networks without it; 8 chains start there. Every sampler gets
the same starts. Certificates compare the two kinds of start (`hc.equilibrium`); the theory is the saddle point at
the same P and temperature, and two widths give the correction to it.

    python benchmarks/speed/do_chains_forget_a_wrong_composition.py [--size 200] [--minutes 9] [--samplers moves,hmc,...]
"""

import argparse
import time

import jax
import numpy as np
from timed import orthogonal_posterior, timed_sample, write_result

import hiddencodes as hc

CHAINS = 8
COMPOSITIONS = [{"111": 0.25}, {"111": 0.0}]
SAMPLERS = {
    # Short trajectories: the sweeps move what is slow.
    "moves": {"sampler": hc.hmc(max_steps=16), "moves": hc.cavity_refresh(), "moves_every": 1},
    "hmc": {"sampler": hc.hmc(max_steps=64)},
    "nuts": {"sampler": "nuts"},
    "adjusted_mclmc": {"sampler": "adjusted_mclmc"},
}
CODES = ("011", "101", "110", "111")


def shares(run, code: str) -> np.ndarray:
    """Share of a code (chain, draw)."""
    bits = run["units"]["class_means"].values[0, :, :, 0] > 0.5  # (chain, draw, class, unit)
    wanted = np.array([digit == "1" for digit in code])
    return np.mean(np.all(bits == wanted[:, None], axis=2), axis=-1)


def measure(posterior: hc.Posterior, start: hc.Start, options: dict, minutes: float) -> dict:
    """A run that fills the time, its certificate and its shares; the first tenth is not used."""
    common = {"chains": CHAINS, "start": start, "precision": "float32", **options}
    begin = time.perf_counter()
    # A short run compiles, says how long a draw takes, and tells how many fit into the time.
    _, seconds = timed_sample(posterior, draws=6, warmup=12, **common)
    left = 60.0 * minutes - 2.0 * (time.perf_counter() - begin)
    draws = int(np.clip(0.82 * left / (seconds["wall"] / 6), 40, 4000))
    run, seconds = timed_sample(posterior, draws=draws, warmup=draws // 10 + 60, **common)
    wall = time.perf_counter() - begin
    report = hc.equilibrium(run)
    bits = run["units"]["class_means"].values[0, :, :, 0] > 0.5
    changed = np.any(bits[:, 1:] != bits[:, :-1], axis=2).mean() * (draws - 1) * CHAINS
    row = {
        "minutes": wall / 60.0,
        "draws": draws,
        "cpu_seconds": seconds["cpu"],
        "verdict": report.verdict,
        "ok": report.ok,
        "code_changes_per_unit_per_cpu_second": float(changed / seconds["cpu"]),
        "shares": {
            row.code: {"start": row.start, "mean": row.mean, "error": row.error} for row in report.shares
        },
    }
    if "moves" in run.children:
        counts = run["moves"].isel(move=0, seed=0).sum("chain")
        names = counts["codes"].values
        row["acceptance"] = {
            f"{a}->{b}": [int(counts["proposed"].values[i, j]), int(counts["accepted"].values[i, j])]
            for i, a in enumerate(names) for j, b in enumerate(names) if counts["proposed"].values[i, j]
        }  # fmt: skip
    return row


def taught(posterior: hc.Posterior, minutes: float) -> dict:
    """The certificate of the sampler: half of the chains start at an exact draw of the posterior given what it says."""
    teacher = hc.teacher_task(posterior, jax.random.key(1))
    options = {"precision": "float32", "verbose": False, "chains": CHAINS // 2, "draws": 1}
    annealed = hc.sample(
        hc.whiten_inputs(teacher.posterior), warmup=200, sampler=hc.hmc(max_steps=64), **options
    )
    start = hc.teacher_start(teacher, annealed, chains=CHAINS)
    return measure(teacher.posterior, start, SAMPLERS["moves"], minutes)


def main() -> None:
    """Run everything and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=200, help="P, and N of the first width")
    parser.add_argument("--widths", type=int, nargs="+", help="N; P and 2 P if not given")
    parser.add_argument("--minutes", type=float, default=9.0, help="time with moves")
    parser.add_argument("--baseline-minutes", type=float, default=9.0, help="time without")
    parser.add_argument(
        "--teacher", action="store_true", help="start at a teacher instead, at the first width"
    )
    parser.add_argument("--samplers", default=",".join(SAMPLERS))
    options = parser.parse_args()
    n_train = options.size
    posterior = orthogonal_posterior(n_train, n_train)
    task = posterior.task
    targets = np.stack([task.y_train[task.labels_train == c][0] for c in range(task.n_classes)])
    theory = hc.single_unit_saddle(
        hc.sigmoidal,
        task.class_counts,
        targets,
        readout_variance=posterior.readout_variance,
        n_temperature=0.004,
    )
    predicted = {branch.code: branch.fraction for branch in theory.branches}
    print("theory", predicted)
    rows = {}
    if options.teacher:
        rows["moves, teacher"] = row = taught(posterior, options.minutes)
        print(f"teacher: {row['minutes']:.1f} min, {row['draws']} draws: {row['verdict']}", flush=True)
        options.widths = []
    widths = [n_train, 2 * n_train] if options.widths is None else options.widths
    for number, width in enumerate(widths):
        posterior = orthogonal_posterior(n_train, width)
        begin = time.perf_counter()
        # White coordinates are those of the moves, and cheaper where inputs are orthogonal.
        annealed = hc.sample(
            hc.whiten_inputs(posterior),
            chains=4,
            draws=1,
            warmup=200,
            precision="float32",
            sampler=hc.hmc(max_steps=64),
            verbose=False,
        )
        start = hc.composition_start(posterior, annealed, COMPOSITIONS, chains=CHAINS)
        print(f"N = {width}: annealed in {time.perf_counter() - begin:.0f} s", flush=True)
        for name in options.samplers.split(",") if number == 0 else ["moves"]:
            minutes = options.minutes if name == "moves" else options.baseline_minutes
            row = measure(posterior, start, SAMPLERS[name], minutes)
            rows[f"{name}, N = {width}"] = row
            print(f"{name:15s} N = {width}: {row['minutes']:.1f} min, {row['draws']} draws: {row['verdict']}")
            print(
                f"    code changes per unit and CPU-second: {row['code_changes_per_unit_per_cpu_second']:.3g}",
                flush=True,
            )
            for code, share in row["shares"].items():
                print(
                    "   ",
                    code,
                    *(f"{m:.4f}({e:.4f})" for m, e in zip(share["mean"], share["error"], strict=True)),
                )
    write_result(
        f"do_chains_forget_a_wrong_composition_P{n_train}{'_teacher' if options.teacher else ''}",
        {"question": __doc__.splitlines()[0], "n_train": n_train, "theory": predicted, "rows": rows},
    )


if __name__ == "__main__":
    main()
