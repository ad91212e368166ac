"""Do surplus outliers merge, and how fast?

ReLU, one hidden layer, mean-field scaling, three classes of orthogonal inputs (P = 100, N = 200, y- = -1/2, n_temperature = 0.002):
theory has one unit per code far above the bulk, three in all. A short anneal leaves many more. From there, the same eight
chains go on with Hamiltonian Monte Carlo alone and with a sweep of pair rotations after every transition. Counted are units
with |z|^2 > P + 6 (2P)^(1/2), six standard deviations of the prior. Prints a table and writes
``results/do_surplus_outliers_merge.DEVICE.json``; seconds are CPU time of one run on one machine, without compilation.

    python benchmarks/speed/do_surplus_outliers_merge.py
"""

import time
from collections import Counter

import jax.numpy as jnp
import numpy as np
from timed import write_result

import hiddencodes as hc

N_TRAIN, WIDTH, N_TEMPERATURE = 100, 200, 0.002
CHAINS, ANNEAL, TUNE, LEAST = 8, 180, 30, 7
LIMIT = N_TRAIN + 6.0 * (2.0 * N_TRAIN) ** 0.5
# Draws with moves and without: about the same CPU time.
RUNS = (("rotation", "float64", 60), ("rotation", "float32", 60), ("hmc", "float64", 200))

WEIGHTS = (
    hc.Observable("kernel", ("input", "unit"), lambda c: c.params["hidden_1"]["kernel"], invariant=False),
    hc.Observable("readout", ("unit", "output"), lambda c: c.params["readout"]["kernel"], invariant=False),
)
ENERGIES = (
    hc.Observable(
        "energy", ("unit",), lambda c: jnp.sum(c.activations.preactivations[0] ** 2, axis=0), invariant=False
    ),
    hc.Observable(
        "means",
        ("class", "unit"),
        lambda c: jnp.asarray(c.data.class_average).T @ c.activations.postactivations[0],
        invariant=False,
    ),
    hc.Observable("train_loss", (), lambda c: c.loss),
)


def network() -> hc.Posterior:
    """The posterior."""
    task = hc.orthogonal_classes(n_train=N_TRAIN, y_minus=-0.5)
    mlp = hc.MLP(task.n_inputs, task.n_outputs, WIDTH, 1, hc.relu, hc.mean_field)
    return hc.Posterior(mlp, task, n_temperature=N_TEMPERATURE)


def theory(posterior: hc.Posterior) -> list[dict]:
    """Codes of the outliers at infinite width, and their pre-activations over the square root of the width."""
    task = posterior.task
    targets = np.where(np.eye(task.n_classes, dtype=bool), 1.0, -0.5)
    limit = hc.single_unit_limit(
        hc.relu, tuple(task.class_counts / task.n_train), targets, n_temperature=N_TEMPERATURE
    )
    return [{"code": o.code, "preactivations": [float(z) for z in o.preactivations]} for o in limit.outliers]


def short_anneal(posterior: hc.Posterior) -> dict:
    """Weights with surplus outliers."""
    run = hc.sample(
        posterior, chains=CHAINS, warmup=ANNEAL, draws=1, observables=WEIGHTS, key=3, verbose=False
    )
    units = run["units"]
    return {
        "hidden_1": {"kernel": units["kernel"].values[:, :, 0]},
        "readout": {"kernel": units["readout"].values[:, :, 0]},
    }


def measure(posterior: hc.Posterior, start: dict, kind: str, precision: str, draws: int) -> dict:
    """One run from the given start."""
    clock: list[tuple[int, float]] = []

    def note(event: hc.Progress) -> None:
        if event.phase == "compile":  # the last of these comes right before the first draw
            clock[:] = [(0, time.process_time())]
        elif event.phase == "sampling":
            clock.append((event.done, time.process_time()))

    moves = {"moves": hc.pair_rotation(), "moves_every": 1} if kind == "rotation" else {}
    run = hc.sample(
        hc.whiten_inputs(posterior), chains=CHAINS, warmup=TUNE, draws=draws, observables=ENERGIES, start=start,
        precision=precision, progress=note, key=5, verbose=False, **moves,
    )  # fmt: skip
    energy, means = (run["units"][name].values[0] for name in ("energy", "means"))
    count = np.sum(energy > LIMIT, axis=-1)  # (chain, draw)
    times = np.interp(np.arange(1, draws + 1), *np.transpose(clock)) - clock[0][1]
    final = []
    for c in range(CHAINS):
        units = np.flatnonzero(energy[c, -1] > LIMIT)
        active = means[c, -1][:, units]
        codes = ["".join("01"[int(a > 0.5 * max(unit))] for a in unit) for unit in active.T]
        amplitudes = [round(float(unit.max() / WIDTH**0.5), 3) for unit in active.T]
        final.append({"codes": dict(Counter(codes)), "amplitudes": amplitudes})
    shown = sorted({0, 1, 2, 4, 9, 14, 19, 29, 39, 59, 99, 149, draws - 1} & set(range(draws)))
    at_three = [bool(np.any(row == 3)) for row in count]
    result = {
        "sampler": kind,
        "precision": precision,
        "cpu_seconds": float(times[-1]),
        "acceptance": float(run["sample_stats"]["acceptance_rate"].mean()),
        "transitions": [d + 1 for d in shown],
        "cpu_seconds_there": [round(float(times[d]), 2) for d in shown],
        "outliers": [[int(n) for n in count[:, d]] for d in shown],
        "cpu_seconds_to_three_outliers": [
            round(float(times[np.argmax(row == 3)]), 2) if found else None
            for row, found in zip(count, at_three, strict=True)
        ],
        "share_of_last_half_with_three_outliers": float(np.mean(count[:, draws // 2 :] == 3)),
        "train_loss_of_last_half": float(run["posterior"]["train_loss"].values[0][:, draws // 2 :].mean()),
        "final": final,
    }
    if moves:
        result["pairs"] = {
            "kinds": [str(name) for name in run["moves"]["codes"].values[0, 0]],
            "proposed": run["moves"]["proposed"].values[0, 0].sum(axis=0).tolist(),
            "accepted": run["moves"]["accepted"].values[0, 0].sum(axis=0).tolist(),
        }
    return result


def main() -> None:
    """Run everything and write the result."""
    posterior = network()
    start = short_anneal(posterior)
    multiplier = posterior.mlp.parameterization.layer(0, 1).multiplier(posterior.mlp.n_inputs, WIDTH)
    z = multiplier * np.einsum("pi,scin->scpn", posterior.task.x_train, start["hidden_1"]["kernel"])
    before = np.sum(np.sum(z**2, axis=2) > LIMIT, axis=-1)[0]
    assert np.all(before >= LEAST), before
    expected = theory(posterior)
    print(f"theory {expected}\nstart  {before.tolist()}")
    rows = []
    for kind, precision, draws in RUNS:
        row = measure(posterior, start, kind, precision, draws)
        rows.append(row)
        print(f"{kind}, {precision}: {row['cpu_seconds']:.1f} CPU seconds")
        for transition, seconds, count in zip(
            row["transitions"], row["cpu_seconds_there"], row["outliers"], strict=True
        ):
            print(f"  {transition:4d} transitions  {seconds:7.2f} s  {count}")
        print(f"  first at three after {row['cpu_seconds_to_three_outliers']} s; {row.get('pairs', '')}")
    result = {
        "question": "Do surplus outliers merge, and how fast?",
        "settings": {
            "n_train": N_TRAIN,
            "width": WIDTH,
            "n_temperature": N_TEMPERATURE,
            "y_minus": -0.5,
            "chains": CHAINS,
            "anneal": ANNEAL,
            "tune": TUNE,
        },
        "theory": expected,
        "start": before.tolist(),
        "rows": rows,
    }
    write_result(__file__, result)


if __name__ == "__main__":
    main()
