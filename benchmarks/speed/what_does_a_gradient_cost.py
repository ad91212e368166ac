"""What does a useful gradient cost, here and in other packages, relative to the bare gradient?

ReLU network of one hidden layer, NTK scaling, 20 inputs, 100 units, one output, temperature 0.1, standard normal prior, single
precision, 16 chains. The bare gradient is `jax.value_and_grad` of the log-density, written out and jitted, in a scan; it comes
flat or as a pytree of weights, vmapped over the chains or with chains one after another. All others sample the very same posterior:

* ours: the sampling phase of `hc.sample` with its observables, tests of health, and what the host does between segments, at
  fixed trajectory lengths; chains all at once (vmap) or one after another (loop), in memory or written to disk;
* BlackJAX, NumPyro and TFP as their guides have it, keeping positions only (`peers.py`); TFP where it can be imported.

Gradients are those that lanes needed; what lanes compute while they wait for others is waste. Rows come in random order, round by round,
each between two runs of the bare gradient; a ratio is that of a row to them. On a CPU the clock is CPU time of one core, elsewhere
wall time. Of NumPyro the slope over the number of draws is taken, since every run compiles its loop anew; that fixed cost stands beside it.

    python benchmarks/speed/what_does_a_gradient_cost.py [--patterns 512] [--seconds 2] [--rounds 7] [--only REGEX] [--quick]

Writes ``results/what_does_a_gradient_cost_P64.DEVICE.json``. On any device it also measures `ceilings.py`, and says what share of them is used.
"""

import argparse
import itertools
import os
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

# One core, so that threads do not blur CPU time: before JAX counts the cores.
if "--no-one-core" not in sys.argv:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import jax
import jax.numpy as jnp
import numpy as np
import peers
from ceilings import Cost, bare, ceilings, normals, work
from peers import Density, cost_of
from timed import timed_sample, write_result

import hiddencodes as hc

# As samplers compute, on devices that would round the factors of products.
jax.config.update("jax_default_matmul_precision", "highest")

CHAINS, INPUTS, WIDTH, TEMPERATURE = 16, 20, 100, 0.1
BARE, NORMAL = "bare, vmap", "a normal vector instead of a gradient"
ON_CPU = jax.default_backend() == "cpu"
# Draws of a segment in a run of 1000 draws.
SEGMENT = 50
SAMPLERS = {
    "hmc": hc.hmc(max_steps=1024),
    "nuts": hc.nuts(),
    "adjusted_mclmc": hc.adjusted_mclmc(),
    "mala": hc.mala(),
}


def lazy_posterior(n_train: int, n_test: int = 16) -> hc.Posterior:
    """Random inputs with the parity of two of them as label."""
    x = np.random.default_rng(0).standard_normal((n_train + n_test, INPUTS))
    labels = (x[:, 0] * x[:, 1] < 0).astype(int)
    task = hc.from_arrays(
        x[:n_train], labels[:n_train], x[n_train:], labels[n_train:], y_minus=-1, single_output=True
    )
    return hc.Posterior(hc.MLP(INPUTS, 1, WIDTH, 1, hc.relu, hc.ntk), task, temperature=TEMPERATURE)


def ours(
    posterior: hc.Posterior, sampler: hc.Sampler, step_size: float, steps: int, draws: int, stored: bool = False, **options: Any
) -> Callable[[int], Cost]:  # fmt: skip
    """The sampling phase of `hc.sample` with that step size and, on average, that many steps per draw; without warm-up.

    Without its metric a step size that warm-up found may be too large to be accepted. That takes the same time.
    """
    # A run without warm-up samples with its first guesses, the length 1.5 units; lengths are jittered evenly over (0, L].
    length = 2.0 * steps * step_size / 1.5
    fixed = replace(sampler, initial_step_size=lambda _: step_size, length_unit=lambda _: length)

    def run(number: int) -> Cost:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run.zarr" if stored else None
            result, spent = timed_sample(
                posterior, sampler=fixed, chains=CHAINS, warmup=0, draws=draws, segment=min(SEGMENT, draws),
                precision="float32", key=number, out=out, lost_share=1.0, **options,
            )  # fmt: skip
            counts = result["sample_stats"]["n_steps"].values[0]
        waits = sampler.name == "nuts" and options["batching"] == "vmap"
        return Cost(spent["cpu"], spent["wall"], *peers.gradients_of(counts, waits))

    run(0)
    return run


def tuned(posterior: hc.Posterior, sampler: hc.Sampler, warmup: int) -> tuple[float, float, Any]:
    """Step size and steps per draw that a short run of ours settles on, and the weights at its end."""
    run = hc.sample(posterior, sampler=sampler, chains=CHAINS, draws=4, warmup=warmup, precision="float32", verbose=False)  # fmt: skip
    steps = float(run["sample_stats"]["n_steps"].mean())
    return float(run["tuning"]["step_size"][0]), steps, hc.final_weights(run)


Makers = dict[str, Callable[[], Callable[[int], Cost]]]


def our_rows(posterior: hc.Posterior, settled: Callable[[str], Any], draws: Callable[[float], int]) -> Makers:
    """Ours, each with both ways to run the chains of a device; HMC also to disk."""

    def make(batching: str, name: str, gradients: int | None, stored: bool) -> Callable[[int], Cost]:
        size, steps, start = settled(name)
        # Langevin steps are thinned: nobody stores observables after every gradient.
        options: dict[str, Any] = {"batching": batching, "thin": 16 if name == "mala" else 1, "start": start}
        if gradients:
            steps = gradients / (2 if name == "adjusted_mclmc" else 1)
        n = draws((gradients or steps) * options["thin"])
        return ours(posterior, SAMPLERS[name], size, steps, n, stored, **options)

    makers: Makers = {}
    for batching, name in itertools.product(("vmap", "loop"), SAMPLERS):
        for gradients in (16, 64) if SAMPLERS[name].tunes_length else (None,):
            label = f"ours {name}, {f'{gradients} gradients, ' if gradients else ''}{batching}"
            makers[label] = partial(make, batching, name, gradients, False)
            if name == "hmc":
                makers[label + ", to disk"] = partial(make, batching, name, gradients, True)
    return makers


def their_rows(density: Density, q: jax.Array, settled: Callable[[str], Any], draws: Callable[[float], int], warmup: int) -> Makers:  # fmt: skip
    """The peers', with our step sizes where they adapt none."""
    from numpyro.infer import HMC, NUTS

    size = settled("hmc")[0]
    nuts_draws = lambda: draws(settled("nuts")[1])
    fixed = {"step_size": size, "num_steps": 16, "adapt_step_size": False, "adapt_mass_matrix": False}
    potential = lambda q: -density(q)
    hmc, nuts = partial(HMC, potential_fn=potential, **fixed), partial(NUTS, potential_fn=potential)
    started = lambda: peers.one_step_size(density, q, settled("nuts")[0])
    adapted = lambda: peers.window_adaptation(density, q, warmup)
    warm = lambda: peers.numpyro_warm(nuts, q, warmup)
    # NumPyro has more draws: what a run costs once fluctuates, and the slope has to rise above it.
    makers: dict[str, Callable[[], peers.Peer]] = {
        "blackjax hmc, 16 gradients": lambda: peers.blackjax_hmc(density, q, size, 16, draws(16)),
        "blackjax hmc, 64 gradients": lambda: peers.blackjax_hmc(density, q, size, 64, draws(64)),
        "blackjax nuts, one step size": lambda: peers.blackjax_nuts(density, started(), nuts_draws()),
        "blackjax nuts, window adaptation": lambda: peers.blackjax_nuts(density, adapted(), nuts_draws()),
        "blackjax mclmc, not adjusted": lambda: peers.blackjax_mclmc(density, q, draws(2), warmup),
        "numpyro hmc, 16 gradients": lambda: peers.numpyro(hmc, q, None, 4 * draws(16), 16),
        "numpyro nuts": lambda: peers.numpyro(nuts, q, warm(), 4 * nuts_draws(), 16),
        "tfp hmc, 16 gradients": lambda: peers.tfp(density, q, size, draws(16), 16),
        "tfp nuts, one step size": lambda: peers.tfp(density, q, settled("nuts")[0], nuts_draws(), None),
    }

    def row(make: Callable[[], peers.Peer]) -> Callable[[int], Cost]:
        peer = make()
        return lambda number: cost_of(peer, number)[1]

    return {name: partial(row, make) for name, make in makers.items()}


def all_rows(posterior: hc.Posterior, options: argparse.Namespace) -> tuple[dict[str, Callable[[int], Cost]], list[str]]:  # fmt: skip
    """Every row that was asked for, ready to run; and those whose package is not installed."""
    network = peers.network_of(posterior)
    density, over_leaves = peers.density_of(network), peers.density_of_leaves(network)
    settled = cache(lambda name: tuned(posterior, SAMPLERS[name], options.warmup))
    weights = settled("hmc")[2]
    own = jax.vmap(posterior.log_density)(jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), weights))
    # In this scaling the prior of every weight is N(0, 1): weights are whitened as they are.
    leaves = [jnp.asarray(leaf[0], jnp.float32) for leaf in jax.tree.leaves(weights)]
    q = jnp.concatenate([leaf.reshape(CHAINS, -1) for leaf in leaves], axis=1)
    # Up to the constants of the Gaussians it is the same density.
    np.testing.assert_allclose(np.ptp(np.asarray(own - jax.vmap(density)(q))), 0.0, atol=0.02)

    trial = bare(density, q, "vmap", 200)(0).wall / 200
    total = max(200, int(options.seconds / trial))  # gradients of every lane in the time of a row
    draws = lambda steps: max(16, int(total / steps))
    rows: dict[str, Callable[[int], Cost]] = {
        BARE: bare(density, q, "vmap", total // 2),  # it runs between any two others
        "bare, pytree, vmap": bare(over_leaves, leaves, "vmap", total),
        "bare, loop": bare(density, q, "loop", total),
        NORMAL: normals(CHAINS, q.shape[1], total),
    }
    makers = our_rows(posterior, settled, draws)
    makers |= their_rows(density, q, settled, draws, options.peer_warmup)
    missing = []
    for name, make in makers.items():
        if re.search(options.only, name):
            try:
                rows[name] = make()
            except ImportError as error:
                print(f"{name}: not installed ({error.name})")
                missing.append(name)
    return rows, missing


def per_gradient(cost: Cost) -> float:
    """Seconds of a useful gradient on the clock that counts."""
    return (cost.cpu if ON_CPU else cost.wall) / cost.useful


def measure(rows: dict[str, Callable[[int], Cost]], rounds: int) -> dict[str, dict[str, Any]]:
    """Every row in every round, in random order, with the bare gradient between any two; ratios to its two runs."""
    costs: dict[str, list[Cost]] = {name: [] for name in rows}
    ratios: dict[str, list[float]] = {name: [] for name in rows}
    rng = np.random.default_rng(0)
    for number in range(1, rounds + 1):
        before = per_gradient(rows[BARE](number))
        for name in rng.permutation(list(rows)).tolist():
            cost = rows[name](number)
            after = per_gradient(rows[BARE](number))
            costs[name].append(cost)
            ratios[name].append(2 * per_gradient(cost) / (before + after))
            before = after
    cheapest = min(
        (name for name in rows if name.startswith("bare")), key=lambda name: np.median(ratios[name])
    )
    result = {}
    for name, each in costs.items():
        mine, best = np.asarray(ratios[name]), np.asarray(ratios[cheapest])
        totals = np.sum([[c.useful, c.executed, c.cpu, c.wall] for c in each], axis=0)
        result[name] = {
            "ratio_to_bare": {"median": np.median(mine), "min": mine.min(), "max": mine.max(), "rounds": mine.tolist()},
            "ratio_to_cheapest_bare": {"median": np.median(mine / best), "min": (mine / best).min(), "max": (mine / best).max()},
            "useful_gradients": int(totals[0]),
            "wasted_share": 1.0 - totals[0] / totals[1],
            "seconds_per_gradient": float(np.median([per_gradient(c) for c in each])),
            "cpu_seconds": totals[2],
            "wall_seconds": totals[3],
            "fixed_cpu_seconds_per_run": float(np.median([c.fixed_cpu for c in each])),
        }  # fmt: skip
        row = result[name]
        print(
            f"{name:38s} {row['ratio_to_bare']['median']:6.2f} [{mine.min():.2f}, {mine.max():.2f}] of {BARE}; "
            f"{row['ratio_to_cheapest_bare']['median']:5.2f} of {cheapest}; {100 * row['wasted_share']:3.0f} % wasted"
            + (f"; {row['fixed_cpu_seconds_per_run']:.1f} CPU-s per run" if each[0].fixed_cpu else "")
        )
    return result


def main() -> None:
    """Run everything and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patterns", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=2.0, help="of bare gradients that a row is worth")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--warmup", type=int, default=400, help="iterations by which our step sizes are found"
    )
    parser.add_argument("--peer-warmup", type=int, default=300, help="iterations of peers' own warm-up")
    parser.add_argument("--only", default="", help="a regular expression of rows; bare gradients always run")
    parser.add_argument(
        "--quick", action="store_true", help="a smoke test: some rows, too short to mean anything"
    )
    parser.add_argument("--one-core", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.rounds, options.warmup = 0.1, 2, 60
        options.only = options.only or "^(ours|blackjax) hmc, 16 gradients($|, loop)"
    posterior = lazy_posterior(options.patterns)
    density = peers.density_of(peers.network_of(posterior))
    q = jnp.zeros((CHAINS, posterior.mlp.n_parameters), jnp.float32)
    counted = {k: v / CHAINS for k, v in work(jax.vmap(jax.value_and_grad(density)), q).items()}
    limits = ceilings(0.2 if options.quick else 2.0)
    ready, missing = all_rows(posterior, options)
    rows = measure(ready, options.rounds)
    for name, row in rows.items():
        if name != NORMAL:
            rate = row["useful_gradients"] / row["wall_seconds"]
            row["flops_per_second"], row["bytes_per_second"] = (rate * counted[k] for k in ("flops", "bytes"))
            row["share_of_ceilings"] = [row[k] / limits[k] for k in ("flops_per_second", "bytes_per_second")]
            if not ON_CPU:
                print(f"{name:38s} {row['flops_per_second']:.3g} FLOP/s, {row['bytes_per_second']:.3g} B/s: {row['share_of_ceilings']}")  # fmt: skip
    fixed = {"chains": CHAINS, "inputs": INPUTS, "width": WIDTH, "temperature": TEMPERATURE}
    write_result(
        f"{Path(__file__).stem}_P{options.patterns}{'_quick' if options.quick else ''}",
        {
            "question": __doc__.splitlines()[0], "settings": vars(options) | fixed, "clock": "cpu" if ON_CPU else "wall",
            "ceilings": limits, "work_of_a_gradient": counted, "not_installed": missing, "rows": rows,
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
