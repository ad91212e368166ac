"""How much faster is a grid of trained networks in one program than network after network, and what would the hardware allow?

Networks of arXiv 2401.13558: 120 inputs, 120 units, hidden layer trained by stochastic gradient descent in batches of 200, exclusive-or of
several separabilities and noises, tanh and ReLU. Side by side, in random order, round by round:

* the grid in one call of `hc.train`, one device per core;
* the same networks one by one: a call of `hc.train` each, all of which share one compiled program;
* the two products of matrices of a step and nothing else, on all devices: what no implementation of a step can beat.

Wall time, compilation excluded (it is measured apart); for short and for long trainings, since a call costs something whatever it trains.

    python benchmarks/speed/does_batched_training_pay.py [--networks 4] [--rounds 3] [--epochs 1 10 40] [--quick]

Writes ``results/does_batched_training_pay.DEVICE.json``.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

# Makes a device per core, and so comes before everything that starts JAX.
from timed import write_result  # isort: skip
import jax
import jax.numpy as jnp
import numpy as np

import hiddencodes as hc
from hiddencodes.benchmarks.papers.task_geometry.networks import OPTIONS, initial_weights, networks
from hiddencodes.sampling.lanes import lanes

BATCH, WIDTH, INPUTS = 200, 120, 120


def products(n_networks: int, steps: int) -> Callable[[], None]:
    """The forward product and the gradient's of every step of every network, spread over the devices like chains."""
    how = lanes(n_networks, 1, "loop" if jax.default_backend() == "cpu" else "vmap")
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((1, BATCH, INPUTS)), jnp.float32)
    w = how.spread(jnp.asarray(rng.standard_normal((1, n_networks, INPUTS, WIDTH)), jnp.float32))

    def lane(w: Any, x: Any) -> Any:
        def step(_: Any, w: Any) -> Any:
            return w + jnp.float32(1e-9) * (x.T @ (x @ w))

        return jax.lax.fori_loop(0, steps, step, w)

    run = jax.jit(lambda w, x: how.over(lane, "lane", "seed")(w, x))
    jax.block_until_ready(run(w, x))
    return lambda: jax.block_until_ready(run(w, x))


def main() -> None:
    """Run everything and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", type=int, default=4, help="per task and activation")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, nargs="+", default=[1, 10, 40])
    parser.add_argument("--quick", action="store_true", help="a smoke test: too short to mean anything")
    options = parser.parse_args()
    if options.quick:
        options.networks, options.rounds, options.epochs = 2, 1, [1]
    tasks = [hc.xor_conditions(s, noise=noise) for noise in (0.1, 0.3) for s in (0.0, 0.5, 1.0)]
    posteriors = networks(tasks, [hc.tanh, hc.relu], WIDTH, bias=True)
    start = initial_weights(posteriors, options.networks, "uniform", 0)
    n = len(posteriors) * options.networks
    rows: dict[str, Any] = {}
    for epochs in options.epochs:
        settings = {"epochs": epochs, "snapshots": 1, "batch_size": BATCH, "verbose": False, **OPTIONS}
        steps = epochs * posteriors[0].task.n_train // BATCH

        def together(settings: dict[str, Any] = settings) -> None:
            hc.train(posteriors, networks=options.networks, start=start, **settings)

        def one_by_one(settings: dict[str, Any] = settings) -> None:
            for p, posterior in enumerate(posteriors):
                for i in range(options.networks):
                    own = jax.tree.map(lambda leaf, p=p, i=i: leaf[p : p + 1, i : i + 1], start)
                    hc.train(posterior, networks=1, start=own, **settings)

        ways = {"together": together, "one by one": one_by_one, "products": products(n, steps)}
        compile_seconds = {}
        for name in ("together", "one by one"):
            begin = time.perf_counter()
            # Of the two activations each compiles a program of its own when networks come one by one.
            together() if name == "together" else [
                hc.train(p, networks=1, **settings) for p in (posteriors[0], posteriors[-1])
            ]
            compile_seconds[name] = time.perf_counter() - begin
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        rng = np.random.default_rng(0)
        for _ in range(options.rounds):
            for name in rng.permutation(list(ways)).tolist():
                begin = time.perf_counter()
                ways[name]()
                seconds[name].append(time.perf_counter() - begin)
        median = {name: float(np.median(each)) for name, each in seconds.items()}
        flops = 4.0 * BATCH * WIDTH * INPUTS * steps * n
        rows[f"{epochs} epochs"] = {
            "networks": n, "steps": steps, "seconds": seconds, "first_call_seconds": compile_seconds,
            "speedup": median["one by one"] / median["together"],
            "largest_possible_speedup": median["one by one"] / median["products"],
            "flops_per_second": {name: flops / median[name] for name in median},
        }  # fmt: skip
        row = rows[f"{epochs} epochs"]
        print(
            f"{epochs:4d} epochs, {n} networks: together {median['together']:.2f} s, one by one {median['one by one']:.2f} s, {row['speedup']:.2f}x; "
            f"bare products {median['products']:.2f} s, {row['largest_possible_speedup']:.2f}x"
        )
    about = {"question": __doc__.splitlines()[0], "settings": vars(options), "rows": rows}
    write_result(f"does_batched_training_pay{'_quick' if options.quick else ''}", about)


if __name__ == "__main__":
    main()
