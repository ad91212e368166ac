"""How does the price of a gradient scale with chains, width, depth, patterns and devices, and what does it cost bare?

One factor at a time around 16 chains of one hidden layer of 100 ReLU units, 64 patterns, 20 inputs, single precision, one device of a
CPU. HMC of `hc.sample` with both ways to run chains (``batching="vmap"`` and ``"loop"``) beside the bare program: value and
gradient of the same log density, vmapped over the chains, in a `jax.lax.scan`. The price is the wall time of sampling divided by
the gradients of all chains (lanes); warm-up and compilation are not in it, random numbers, Metropolis tests and one stored
observable of every draw are. Every case has a process of its own, since the number of devices is fixed when JAX starts; the repetitions of
the programs take turns, and the least time of each counts, so that other load on the machine hits all of them alike.

NUTS: gradients are useful where they belong to a trajectory. Of chains that run at once every one waits for the longest of its
device, so that executed are chains times the longest; one after another nothing is lost. Lanes that are done still take part in the
subtree in progress, so that the share of useful ones is an upper bound.

    python benchmarks/speed/how_does_it_scale.py [--seconds 2] [--repeats 3] [--factors chains width ...] [--quick]
"""

import argparse
import json
import os
import subprocess
import sys
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec

BATCHINGS = ("vmap", "loop")
# Long enough for what is done once per draw to be small, as in the runs of wide networks that this is about.
MAX_STEPS, WARMUP, DOUBLINGS = 64, 32, 7


class Case(NamedTuple):
    """One point of the scan.

    Attributes:
        chains, width, depth, patterns, devices: The sizes.
        sampler: ``hmc`` or ``nuts``.
    """

    chains: int = 16
    width: int = 100
    depth: int = 1
    patterns: int = 64
    devices: int = 1
    sampler: str = "hmc"


FACTORS: dict[str, list[Any]] = {
    "chains": [1, 4, 16, 64, 256],
    "width": [25, 100, 400, 1600],
    "depth": [1, 2, 3, 4],
    "patterns": [16, 64, 256, 1024],
    "devices": [1, 2],
    "sampler": ["hmc", "nuts"],
}


def cases(factors: list[str]) -> list[Case]:
    """The center and, factor by factor, what differs from it."""
    found = [Case()]
    for factor in factors:
        found += [Case()._replace(**{factor: value}) for value in FACTORS[factor]]
    return list(dict.fromkeys(found))


class Bare:
    """Value and gradient of all chains in a scan."""

    def __init__(self, posterior: Any, case: Case) -> None:
        """Args: the posterior and the sizes."""
        starts = [posterior.sample_prior(jax.random.key(c)) for c in range(case.chains)]
        unravel = ravel_pytree(starts[0])[1]
        x = jnp.stack([ravel_pytree(start)[0].astype(jnp.float32) for start in starts])
        if case.devices > 1:
            mesh = Mesh(np.array(jax.devices()[: case.devices]), ("chain",))
            x = jax.device_put(x, NamedSharding(mesh, PartitionSpec("chain")))
        value_and_grad = jax.vmap(jax.value_and_grad(lambda x: posterior.log_density(unravel(x))))

        def body(x: Any, _: Any) -> Any:
            value, gradient = value_and_grad(x)
            return x + jnp.float32(1e-7) * gradient, value

        self._program = jax.jit(lambda x, n: jax.lax.scan(body, x, None, length=n)[1], static_argnums=1)
        self._x, self.chains = x, case.chains

    def seconds(self, n: int) -> tuple[float, float]:
        """Seconds and CPU-seconds of so many gradients of every chain, without compilation."""
        jax.block_until_ready(self._program(self._x, n))
        begin = time.perf_counter(), time.process_time()
        jax.block_until_ready(self._program(self._x, n))
        return time.perf_counter() - begin[0], time.process_time() - begin[1]


class Ours:
    """`hc.sample` with one way to run chains."""

    def __init__(self, posterior: Any, case: Case, batching: str) -> None:
        """Args: the posterior, the sizes, how chains run."""
        import hiddencodes as hc

        sampler = hc.hmc(max_steps=MAX_STEPS) if case.sampler == "hmc" else hc.nuts(max_doublings=DOUBLINGS)
        observables = [o for o in hc.default_observables(posterior.likelihood, 0) if o.name == "train_loss"]
        self._options = {
            "posterior": posterior,
            "sampler": sampler,
            "chains": case.chains,
            "warmup": WARMUP,
            "precision": "float32",
            "observables": observables,
            "batching": batching,
            "verbose": False,
        }
        self._sample, self.devices = hc.sample, case.devices

    def row(self, draws: int) -> dict[str, float]:
        """Seconds and CPU-seconds of sampling, and what was done in it."""
        marks: list[tuple[float, float]] = []

        def progress(event: Any) -> None:
            now = (time.perf_counter(), time.process_time())
            if event.phase == "compile":
                marks[:] = [now, now]
            marks[1:] = [now]

        run = self._sample(draws=draws, progress=progress, **self._options)
        assert run.attrs["devices"] == self.devices, run.attrs["devices"]
        steps = run["sample_stats"]["n_steps"].values[0]  # (chain, draw)
        longest = steps.reshape(self.devices, -1, draws).max(axis=1)
        executed = longest.sum() * (len(steps) // self.devices)
        useful = steps.sum()
        together = self._options["batching"] == "vmap"
        return {
            "seconds": marks[1][0] - marks[0][0],
            "cpu_seconds": marks[1][1] - marks[0][1],
            "gradients": int(useful),
            "gradients_per_draw": float(steps.mean()),
            "useful_over_executed": float(useful / executed) if together else 1.0,
            "acceptance": float(run["sample_stats"]["acceptance_rate"].mean()),
        }


def measure(case: Case, seconds: float, repeats: int) -> dict[str, Any]:
    """All programs of a case, taking turns."""
    # Not by `timed`, which gives every core a device: here the number of devices is what is varied.
    jax.config.update("jax_num_cpu_devices", case.devices)
    import hiddencodes as hc

    task = hc.gaussian_clusters(case.patterns, (0.5, 0.5), n_inputs=20, n_test=2)
    mlp = hc.MLP(task.n_inputs, task.n_outputs, case.width, case.depth, hc.relu, hc.ntk)
    posterior = hc.Posterior(mlp, task, temperature=0.1)
    bare = Bare(posterior, case)
    n = max(4, int(4 * seconds / bare.seconds(4)[0]))
    n = max(4, int(n * seconds / bare.seconds(n)[0]))
    ours = {batching: Ours(posterior, case, batching) for batching in BATCHINGS}
    draws: dict[str, int] = {}
    for batching, program in ours.items():
        # A short run compiles and tells how many draws fit into the time.
        draws[batching] = max(8, int(16 * seconds / program.row(16)["seconds"]))
        program.row(draws[batching])
    found: dict[str, list[Any]] = {"bare": [], **{batching: [] for batching in BATCHINGS}}
    for _ in range(repeats):
        found["bare"].append([spent / (n * case.chains) for spent in bare.seconds(n)])
        for batching, program in ours.items():
            found[batching].append(program.row(draws[batching]))
    wall, cpu = (min(values) for values in zip(*found.pop("bare"), strict=True))
    row: dict[str, Any] = {
        "parameters": mlp.n_parameters,
        "bare": {"seconds_per_gradient": wall, "cpu_seconds_per_gradient": cpu},
    }
    for batching, rows in found.items():
        best = min(rows, key=lambda r: r["seconds"] / r["gradients"])
        per_gradient = best["seconds"] / best["gradients"]
        row[batching] = {
            "seconds_per_gradient": per_gradient,
            "cpu_seconds_per_gradient": best["cpu_seconds"] / best["gradients"],
            "gradients_per_second": 1.0 / per_gradient,
            "over_bare": per_gradient / wall,
            "cpu_over_bare": best["cpu_seconds"] / best["gradients"] / cpu,
            **{name: best[name] for name in ("gradients_per_draw", "useful_over_executed", "acceptance")},
            "draws": draws[batching],
        }
    return row


def main() -> None:
    """Run every case in a process of its own and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="of sampling, per repetition")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--factors", nargs="+", choices=list(FACTORS), default=list(FACTORS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--case", help="one case, as the script calls itself")
    options = parser.parse_args()
    if options.case:
        row = measure(Case(*json.loads(options.case)), options.seconds, options.repeats)
        print(json.dumps(row))
        return
    todo = cases(options.factors)
    if options.quick:
        options.seconds, options.repeats = 0.1, 1
        todo = [Case(chains=4, width=25, patterns=16), Case(4, 25, 1, 16, 2, "nuts")]
    rows: list[dict[str, Any]] = []
    for case in todo:
        if case.devices > len(os.sched_getaffinity(0)):
            continue
        arguments = [f"--seconds={options.seconds}", f"--repeats={options.repeats}"]
        command = [sys.executable, __file__, "--case", json.dumps(case), *arguments]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        rows.append({**case._asdict(), **json.loads(done.stdout.splitlines()[-1])})
        shown = "  ".join(
            f"{b} {1e6 * rows[-1][b]['seconds_per_gradient']:.1f} us ({rows[-1][b]['over_bare']:.2f} of bare, "
            f"{rows[-1][b]['cpu_over_bare']:.2f} in CPU time, useful {rows[-1][b]['useful_over_executed']:.2f})"
            for b in BATCHINGS
        )
        name = " ".join(f"{key} {value}" for key, value in case._asdict().items())
        print(f"{name}: bare {1e6 * rows[-1]['bare']['seconds_per_gradient']:.1f} us  {shown}", flush=True)
    settings = {
        "max_steps": MAX_STEPS,
        "warmup": WARMUP,
        "seconds": options.seconds,
        "repeats": options.repeats,
    }
    result = {"question": __doc__.splitlines()[0], "settings": settings, "rows": rows}
    if options.quick:
        print(json.dumps(result))
    else:
        from timed import write_result

        write_result(__file__, result)


if __name__ == "__main__":
    main()
