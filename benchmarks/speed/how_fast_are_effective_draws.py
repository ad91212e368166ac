"""How fast are effective draws: the smallest effective sample size of all invariants per CPU second and per gradient?

Our samplers, NumPyro's NUTS, BlackJAX's NUTS with window adaptation, and MILE, on two posteriors of networks with 100 units, 16 chains,
single precision:

* lazy: ReLU, NTK scaling, 20 random inputs, 64 patterns labelled by a parity, temperature 0.1;
* codes: sigmoidal units, mean-field scaling, 60 patterns of three orthogonal classes, N T = 0.01. Units keep the codes that warm-up left
  them there, whatever the local sampler: chains do not agree, and effective sample sizes mean little.

The effective sample size is ArviZ's (bulk, rank-normalized), the smallest over all entries of all permutation-invariant observables
that `hc.sample` stores, over the healthy chains. Beside each stands the worst R-hat; rows whose worst R-hat is above 1.05 in any round are
"not converged" and get no rank. Time is that of sampling: what comes before, compilation and warm-up, is reported beside it. Ours
includes observables and storage; of the peers' draws the observables are computed afterwards, at no charge. Ours warm up anew in
every round, compiled before; peers compile and warm up once. Rows come in random order, round by round, each between two runs of
the bare gradient, in whose CPU time a row's is also given. MILE (unadjusted, so its draws have a bias that no R-hat shows) is
`sklearn-contrib-bde` on the same density, in an environment of its own: name its interpreter.

    python benchmarks/speed/how_fast_are_effective_draws.py [--posterior codes] [--seconds 30] [--rounds 5] [--mile-python PYTHON] [--quick]

Writes ``results/how_fast_are_effective_draws_lazy.DEVICE.json``.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

# Pins this process to one core, unless told not to, and so comes before everything that starts JAX.
from what_does_a_gradient_cost import CHAINS, lazy_posterior  # isort: skip
import jax
import jax.numpy as jnp
import numpy as np
import peers
from arviz_stats.base import array_stats
from ceilings import Cost, bare
from peers import Density, cost_of
from timed import orthogonal_posterior, timed_sample, write_result

import hiddencodes as hc
from hiddencodes.sampling import target as sampled
from hiddencodes.sampling.problem import problem

LARGEST_RHAT = 1.05


class Outcome(NamedTuple):
    """One run: invariants (chain, draw, ...), which chains are healthy, the cost of sampling, the CPU seconds of all else."""

    values: dict[str, np.ndarray]
    healthy: np.ndarray
    cost: Cost
    before: float


def entries(outcome: Outcome) -> dict[str, np.ndarray]:
    """Every entry of every invariant that changes at all, (chain, draw), of healthy chains."""
    found = {}
    for name, value in outcome.values.items():
        value = np.asarray(value, float)[outcome.healthy]
        for index in np.ndindex(value.shape[2:]):
            entry = value[(slice(None), slice(None), *index)]
            if np.all(np.isfinite(entry)) and np.ptp(entry) > 0:
                found[f"{name}{list(index) or ''}"] = entry
    return found


def judge(outcome: Outcome) -> dict[str, Any]:
    """The smallest effective sample size, the worst R-hat, and whose they are."""
    found = entries(outcome)
    ess = {k: float(array_stats.ess(x, chain_axis=0, draw_axis=1, method="bulk")) for k, x in found.items()}
    rhat = {k: float(array_stats.rhat(x, chain_axis=0, draw_axis=1, method="rank")) for k, x in found.items()}
    smallest, worst = min(ess, key=ess.__getitem__), max(rhat, key=rhat.__getitem__)
    return {
        "min_ess": ess[smallest], "min_ess_of": smallest, "worst_rhat": rhat[worst], "worst_rhat_of": worst,
        "healthy_chains": int(outcome.healthy.sum()),
    }  # fmt: skip


def ours(target: Any, sampler: Any, options: argparse.Namespace) -> Callable[[int], Outcome]:
    """`hc.sample`; a short run tells how many draws fill the time."""
    common = {"sampler": sampler, "chains": CHAINS, "warmup": options.warmup, "precision": "float32"}
    trial = 32
    _, spent = timed_sample(target, draws=trial, key=0, **common)
    transitions = int(np.clip(options.seconds * trial / max(spent["wall"], 1e-3), options.least, 40000))
    thin = -(-transitions // 2000)

    def run(number: int) -> Outcome:
        begin = time.process_time()
        result, spent = timed_sample(target, draws=transitions // thin, thin=thin, key=number, **common)
        before = time.process_time() - begin - spent["cpu"]
        useful, executed = peers.gradients_of(result["sample_stats"]["n_steps"].values[0], False)
        values = {str(name): value.values[0] for name, value in result["posterior"].data_vars.items()}
        healthy = result["health"]["status"].values[0] == 0
        cost = Cost(spent["cpu"], spent["wall"], useful, executed)
        return Outcome(values, healthy, cost, before)

    return run


def observer(posterior: hc.Posterior, density: Density, q: jax.Array) -> Callable[[Any], dict[str, np.ndarray]]:  # fmt: skip
    """The invariants that `hc.sample` stores, of whitened positions (chain, draw, dimension), if it samples that density."""
    setting = problem([posterior], None)
    target, data = setting.target, jax.tree.map(lambda leaf: leaf[0], setting.data(np.dtype("float32")))
    own = sampled.Density(target, data, jnp.ones(q.shape[1]), 1.0 / data.temperature)
    np.testing.assert_allclose(jax.vmap(density)(q), jax.vmap(own)(q), rtol=1e-4)
    invariant = [o.name for o in target.observables if o.invariant]
    of_chains = jax.vmap(lambda q: target.observe(q, data, jax.random.key(0)))

    @jax.jit
    def observe(positions: jax.Array) -> dict[str, jax.Array]:
        values = jax.lax.map(of_chains, jnp.swapaxes(positions, 0, 1))
        return {name: jnp.swapaxes(values[name], 0, 1) for name in invariant}

    return lambda positions: {k: np.asarray(v) for k, v in observe(jnp.asarray(positions)).items()}


def theirs(make: Callable[[int], peers.Peer], fewer: int, observe: Callable[[Any], Any], options: argparse.Namespace) -> Callable[[int], Outcome]:  # fmt: skip
    """A peer, by a function of its number of draws; a short run tells how many fill the time."""
    trial = make(fewer)
    _, cost = cost_of(trial._replace(shorter=None), 0)
    draws = int(np.clip(options.seconds * fewer / max(cost.wall, 1e-3), options.least, 2000))
    peer = make(draws)

    def run(number: int) -> Outcome:
        drawn, cost = cost_of(peer, number)
        positions = np.asarray(drawn.positions)
        moved = np.any(np.ptp(positions, axis=1) > 0, axis=-1)
        healthy = np.all(np.isfinite(positions), axis=(1, 2)) & moved
        return Outcome(observe(positions), healthy, cost, peer.cpu_before)

    return run


def mile(python: str, posterior: hc.Posterior, q: jax.Array, observe: Callable[[Any], Any], settings: dict[str, int]) -> Callable[[int], Outcome]:  # fmt: skip
    """MILE in another environment, on the same density; the affinity of this process holds there too."""
    network = peers.network_of(posterior)
    expected = np.asarray(jax.vmap(peers.density_of(network))(q))

    def run(number: int) -> Outcome:
        with tempfile.TemporaryDirectory() as folder:
            given, result = Path(folder) / "problem.npz", Path(folder) / "result.npz"
            np.savez(
                given, q=np.asarray(q), expected=expected, number=number, **network._asdict(), **settings
            )  # pyright: ignore
            quiet = {**os.environ, "TQDM_DISABLE": "1"}
            subprocess.run([python, peers.__file__, "mile", str(given), str(result)], check=True, env=quiet)
            with np.load(result) as file:
                found = dict(file)
        healthy = np.all(np.isfinite(found["positions"]), axis=(1, 2))
        cost = Cost(*(found[k].item() for k in ("cpu", "wall", "gradients", "gradients")))
        return Outcome(observe(found["positions"]), healthy, cost, found["cpu_before"].item())

    return run


def all_rows(posterior: hc.Posterior, density: Density, options: argparse.Namespace) -> dict[str, Callable[[int], Outcome]]:  # fmt: skip
    """Every row by name, ready to run."""
    from numpyro.infer import NUTS

    reduced = hc.integrate_readout(hc.project_inputs(posterior))
    own = {
        "ours hmc": (posterior, "hmc"),
        "ours hmc, inputs projected, readout integrated": (reduced, "hmc"),
        "ours nuts": (posterior, "nuts"),
        "ours adjusted_mclmc": (posterior, "adjusted_mclmc"),
        "ours mala": (posterior, "mala"),
    }
    if options.quick:
        own = {"ours hmc": own["ours hmc"]}
    rows: dict[str, Callable[[int], Outcome]] = {
        name: ours(target, sampler, options) for name, (target, sampler) in own.items()
    }
    q = jax.random.normal(jax.random.key(5), (CHAINS, posterior.mlp.n_parameters), jnp.float32)
    observe = observer(posterior, density, q)
    nuts = partial(NUTS, potential_fn=lambda q: -density(q))
    warm = peers.window_adaptation(density, q, options.warmup)
    few = 4 if options.quick else 16
    rows["blackjax nuts, window adaptation"] = theirs(
        partial(peers.blackjax_nuts, density, warm), few, observe, options
    )
    if not options.quick:
        adapted = peers.numpyro_warm(nuts, q, options.warmup)
        make = lambda draws: peers.numpyro(nuts, q, adapted, draws, max(2, draws // 10))
        rows["numpyro nuts"] = theirs(make, few, observe, options)
    if subprocess.run([options.mile_python, "-c", "import bde"], check=False, capture_output=True).returncode:
        print("mile: not installed")
    else:
        settings = {"epochs": 1000, "warmup": options.mile_warmup, "draws": options.mile_draws, "thin": 10}
        rows["mile, not adjusted"] = mile(options.mile_python, posterior, q, observe, settings)
    return rows


def measure(
    rows: dict[str, Callable[[int], Outcome]], reference: Callable[[int], Cost], rounds: int
) -> dict[str, list[dict[str, Any]]]:
    """Every row in every round, in random order, between two runs of the bare gradient."""
    result: dict[str, list[dict[str, Any]]] = {name: [] for name in rows}
    rng = np.random.default_rng(0)
    for number in range(1, rounds + 1):
        for name in rng.permutation(list(rows)).tolist():
            around = [reference(number)]
            outcome = rows[name](number)
            around.append(reference(number))
            bare_gradient = float(np.mean([c.cpu / c.useful for c in around]))
            row, cost = judge(outcome), outcome.cost
            row |= {
                "cpu_seconds": cost.cpu, "wall_seconds": cost.wall, "gradients": cost.useful,
                "cpu_seconds_before_sampling": outcome.before, "cpu_in_bare_gradients": cost.cpu / bare_gradient,
                "ess_per_cpu_second": row["min_ess"] / cost.cpu,
                "ess_per_1000_gradients": 1e3 * row["min_ess"] / cost.useful,
                "ess_per_1000_bare_gradients": 1e3 * row["min_ess"] * bare_gradient / cost.cpu,
            }  # fmt: skip
            result[name].append(row)
    return result


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians and ranges over the rounds; whether all of them converged."""
    kept = ("min_ess", "worst_rhat", "ess_per_cpu_second", "ess_per_1000_gradients", "ess_per_1000_bare_gradients", "cpu_seconds_before_sampling")  # fmt: skip
    columns = {name: np.array([each[name] for each in rounds]) for name in kept}
    spread = {name: {"median": np.median(x), "min": x.min(), "max": x.max()} for name, x in columns.items()}
    return {"converged": bool(np.all(columns["worst_rhat"] <= LARGEST_RHAT)), **spread, "rounds": rounds}


def main() -> None:
    """Run everything and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--posterior", choices=("lazy", "codes"), default="lazy")
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="of sampling, of every row in every round"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=1000, help="iterations, of ours and of the peers")
    parser.add_argument(
        "--mile-python", default=sys.executable, help="interpreter that has sklearn-contrib-bde"
    )
    parser.add_argument("--mile-warmup", type=int, default=50000, help="as its authors have it")
    parser.add_argument("--mile-draws", type=int, default=10000, help="before every tenth is kept")
    parser.add_argument("--quick", action="store_true", help="a smoke test: some rows, too short to mean anything")  # fmt: skip
    parser.add_argument("--one-core", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    options.least = 20 if options.quick else 100
    if options.quick:
        options.seconds, options.rounds, options.warmup = 0.2, 2, 40
        options.mile_warmup, options.mile_draws = 200, 200
    lazy = options.posterior == "lazy"
    posterior = lazy_posterior(64) if lazy else orthogonal_posterior(60, 100, n_temperature=0.01)
    density = peers.density_of(peers.network_of(posterior))
    q = jax.random.normal(jax.random.key(0), (CHAINS, posterior.mlp.n_parameters), jnp.float32)
    reference = bare(density, q, "vmap", 100 if options.quick else 1000)
    measured = measure(all_rows(posterior, density, options), reference, options.rounds)
    rows = {name: summary(each) for name, each in measured.items()}
    order = sorted(
        rows, key=lambda name: (not rows[name]["converged"], -rows[name]["ess_per_cpu_second"]["median"])
    )
    for rank, name in enumerate(order, 1):
        row = rows[name]
        speed = row["ess_per_cpu_second"]
        place = f"{rank}." if row["converged"] else "not converged:"
        print(
            f"{place:>14s} {name:46s} {speed['median']:7.2f} [{speed['min']:.2f}, {speed['max']:.2f}] per CPU-s, "
            f"{row['ess_per_1000_gradients']['median']:.3g} per 1000 gradients, {row['ess_per_1000_bare_gradients']['median']:.3g} "
            f"in the time of 1000 bare ones; min ESS {row['min_ess']['median']:.0f}, worst R-hat {row['worst_rhat']['max']:.3f}"
        )
    settings = {k: v for k, v in vars(options).items() if k != "mile_python"} | {"chains": CHAINS}
    write_result(
        f"{Path(__file__).stem}_{options.posterior}{'_quick' if options.quick else ''}",
        {"question": __doc__.splitlines()[0], "settings": settings, "largest_rhat": LARGEST_RHAT, "ranking": [name for name in order if rows[name]["converged"]], "rows": rows},
    )  # fmt: skip


if __name__ == "__main__":
    main()
