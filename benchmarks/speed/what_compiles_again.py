"""What compiles again: another seed, other data, another temperature, more draws of the same run?

One network (20 inputs, 50 ReLU units, 64 patterns, 4 chains, single precision). In a process of its own, every program makes its first
run and then, one after the other, runs with four other seeds, with other data, at another temperature, and the first run once more,
longer. Counted are the compilations that XLA is asked for (the event ``/jax/core/compile/backend_compile_duration``) and their
seconds; small operations outside of compiled programs count as well. Beside `hc.sample`:

* NumPyro's NUTS: one `MCMC` object whose model takes the data as arguments, `MCMC.run` for every seed without a progress bar, and
  ``post_warmup_state`` to go on; and a new object for every run, as its first examples have it;
* BlackJAX's NUTS as its documentation uses it: window adaptation of every chain, then a jitted loop over all draws, built anew
  around the log density of every run; going on is the loop with other numbers.

    python benchmarks/speed/what_compiles_again.py [--draws 100] [--warmup 100] [--seeds 5] [--cases 'hmc;blackjax'] [--quick]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from timed import write_result

import hiddencodes as hc

CHAINS, DOUBLINGS = 4, 5
OURS = ("hmc", "nuts", "adjusted_mclmc")
PEERS = ("numpyro, one object", "numpyro, new objects", "blackjax")
Run = Callable[..., Any]


@contextmanager
def compilations() -> Generator[list[tuple[str, float]]]:
    """Collects the name and the seconds of every compilation that XLA is asked for."""
    seen: list[tuple[str, float]] = []

    def listen(event: str, duration: float, **about: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append((str(about.get("fun_name", "")), duration))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def network(data: int = 0, temperature: float = 0.1) -> hc.Posterior:
    task = hc.gaussian_clusters(64, (0.5, 0.5), n_inputs=20, n_test=4, seed=data)
    mlp = hc.MLP(task.n_inputs, task.n_outputs, 50, 1, hc.relu, hc.ntk)
    return hc.Posterior(mlp, task, temperature=temperature)


def ours(name: str, options: argparse.Namespace, folder: Path) -> tuple[Run, Run]:
    """`hc.sample` for a posterior and a seed, and for more draws of a run that is on disk."""
    samplers = {
        "hmc": hc.hmc(max_steps=2**DOUBLINGS),
        "nuts": hc.nuts(max_doublings=DOUBLINGS),
        "adjusted_mclmc": hc.adjusted_mclmc(max_steps=2**DOUBLINGS),
    }
    common = {"sampler": samplers[name], "chains": CHAINS, "warmup": options.warmup, "precision": "float32"}

    def run(posterior: hc.Posterior, seed: int, draws: int, out: Path | None = None, **more: Any) -> Any:
        return hc.sample(posterior, seeds=[seed], draws=draws, out=out, verbose=False, **common, **more)

    def longer(posterior: hc.Posterior, seed: int, draws: int) -> Callable[[], Any]:
        return partial(run, posterior, seed, draws, folder / "run.zarr", resume=True)

    def first(posterior: hc.Posterior, seed: int, draws: int) -> Any:
        out = folder / "run.zarr"
        return run(posterior, seed, draws, None if out.exists() else out)

    return first, longer


def numpyro_runs(options: argparse.Namespace, *, one_object: bool) -> tuple[Run, Run]:
    """NumPyro's NUTS on the model that `Posterior.to_numpyro` is, with the data as its arguments."""
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer import MCMC, NUTS

    mlp = network().mlp
    std = network().prior.standard_deviations(mlp, 64)
    shapes = jax.eval_shape(mlp.init, jax.random.key(0))

    def model(x: Any, y: Any, temperature: Any) -> None:
        def weights(layer: str, leaf: str, shape: Any) -> Any:
            prior = dist.Normal(0.0, std[layer][leaf]).expand(shape.shape).to_event(len(shape.shape))
            return numpyro.sample(f"{layer}.{leaf}", prior)

        params = {
            layer: {leaf: weights(layer, leaf, s) for leaf, s in leaves.items()}
            for layer, leaves in shapes.items()
        }
        noise = dist.Normal(mlp.apply(params, x).output, jnp.sqrt(temperature)).to_event(2)
        numpyro.sample("targets", noise, obs=y)

    def new(draws: int) -> MCMC:
        kernel = NUTS(model, max_tree_depth=DOUBLINGS)
        sizes = {"num_warmup": options.warmup, "num_samples": draws, "num_chains": CHAINS}
        return MCMC(kernel, chain_method="vectorized", progress_bar=False, **sizes)

    shared = new(options.draws)

    @cache  # the same arrays for the same data: NumPyro tells arguments apart by their identity
    def arrays(content: bytes, shape: tuple[int, ...]) -> Any:
        return jnp.asarray(np.frombuffer(content).reshape(shape), jnp.float32)

    def arguments(posterior: hc.Posterior) -> tuple[Any, ...]:
        task = posterior.task
        values = (np.asarray(v, float) for v in (task.x_train, task.y_train, posterior.temperature))
        return tuple(arrays(value.tobytes(), value.shape) for value in values)

    def run(posterior: hc.Posterior, seed: int, draws: int) -> Any:
        mcmc = shared if one_object else new(draws)
        mcmc.run(jax.random.key(seed), *arguments(posterior))
        return mcmc.get_samples(group_by_chain=True)

    def longer(posterior: hc.Posterior, seed: int, draws: int) -> Callable[[], Any]:
        mcmc = new(options.draws)
        mcmc.run(jax.random.key(seed), *arguments(posterior))

        def go_on() -> Any:
            mcmc.post_warmup_state = mcmc.last_state
            mcmc.num_samples = draws - options.draws
            mcmc.run(mcmc.post_warmup_state.rng_key, *arguments(posterior))
            return mcmc.get_samples(group_by_chain=True)

        return go_on

    return run, longer


def blackjax_runs(options: argparse.Namespace) -> tuple[Run, Run]:
    """BlackJAX's NUTS as its documentation has it."""
    import blackjax

    def sampled(posterior: hc.Posterior, seed: int, draws: int) -> tuple[Any, Run]:
        starts = [posterior.sample_prior(jax.random.key(seed * CHAINS + c)) for c in range(CHAINS)]
        positions = jnp.stack([ravel_pytree(start)[0] for start in starts])
        unravel = ravel_pytree(starts[0])[1]

        def logdensity(x: Any) -> Any:
            return posterior.log_density(unravel(x))

        warm = blackjax.window_adaptation(blackjax.nuts, logdensity, max_num_doublings=DOUBLINGS)
        keys = jax.random.split(jax.random.key(seed), CHAINS)
        states, tuned = jax.jit(jax.vmap(lambda key, x: warm.run(key, x, options.warmup)[0]))(keys, positions)
        kernel = partial(blackjax.nuts.build_kernel(), max_num_doublings=DOUBLINGS)
        tuned = {name: value for name, value in tuned.items() if name != "max_num_doublings"}

        @partial(jax.jit, static_argnames="draws")
        def loop(key: Any, states: Any, tuned: Any, draws: int) -> Any:
            def one(states: Any, key: Any) -> Any:
                step = lambda key, state, tuned: kernel(key, state, logdensity, **tuned)
                states, infos = jax.vmap(step)(jax.random.split(key, CHAINS), states, tuned)
                return states, (states, infos)

            return jax.lax.scan(one, states, jax.random.split(key, draws))

        end, history = loop(jax.random.key(seed + 1), states, tuned, draws)
        return history, lambda more: loop(jax.random.key(seed + 2), end, tuned, more)[1]

    def longer(posterior: hc.Posterior, seed: int, draws: int) -> Callable[[], Any]:
        return partial(sampled(posterior, seed, options.draws)[1], draws - options.draws)

    return lambda *of: sampled(*of)[0], longer


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """All runs of one program."""
    with tempfile.TemporaryDirectory() as temporary:
        if name in OURS:
            run, longer = ours(name, options, Path(temporary))
        elif name == "blackjax":
            run, longer = blackjax_runs(options)
        else:
            run, longer = numpyro_runs(options, one_object=name == PEERS[0])
        n, posterior = options.draws, network()
        plan: list[tuple[str, Callable[[], Any]]] = [("first run", lambda: run(posterior, 0, n))]
        # Posteriors are made before they are timed; the networks are equal, not the same.
        others = [(f"seed {seed}", network(), seed) for seed in range(1, options.seeds)]
        others += [("other data", network(data=1), 0), ("other temperature", network(temperature=0.2), 0)]
        plan += [(label, partial(run, other, seed, n)) for label, other, seed in others]
        rows = {label: counted(call) for label, call in plan}
        # Where the first run is gone, one like it is made before the count begins.
        more = longer(posterior, 0, 2 * n)
        rows["more draws of a run"] = counted(more)
    return rows


def counted(call: Callable[[], Any]) -> dict[str, Any]:
    """Compilations, their seconds and all seconds of a call."""
    begin, error = time.perf_counter(), ""
    with compilations() as seen:
        try:
            jax.block_until_ready(jax.tree.leaves(call()))
        except ValueError as raised:
            error = str(raised)[:200]
    wall = time.perf_counter() - begin
    names = [name for name, _ in seen]
    row = {
        "compilations": len(seen),
        "compile_seconds": sum(s for _, s in seen),
        "wall_seconds": wall,
        "names": names,
    }
    return {**row, "error": error} if error else row


def main() -> None:
    """Run every program in a process of its own and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--warmup", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cases", default=";".join((*OURS, *PEERS)), help="names separated by semicolons")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--case", help="one program, as the script calls itself")
    options = parser.parse_args()
    if options.quick:
        options.draws, options.warmup = 20, 20
        options.cases, options.seeds = "hmc;numpyro, one object;blackjax", 2
    if options.case:
        print(json.dumps(measure(options.case, options)))
        return
    rows: dict[str, Any] = {}
    for name in options.cases.split(";"):
        sizes = [f"--{size}={getattr(options, size)}" for size in ("draws", "warmup", "seeds")]
        command = [sys.executable, __file__, "--case", name, *sizes]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        rows[name] = row = json.loads(done.stdout.splitlines()[-1])
        for label, counts in row.items():
            print(
                f"{name:22s} {label:28s} {counts['compilations']:4d} compilations, {counts['compile_seconds']:6.2f} s of "
                f"{counts['wall_seconds']:6.2f} s {counts.get('error', '')[:60]}",
                flush=True,
            )
    settings = {"chains": CHAINS, "draws": options.draws, "warmup": options.warmup, "doublings": DOUBLINGS}
    result = {"question": __doc__.splitlines()[0], "settings": settings, "rows": rows}
    if options.quick:
        print(json.dumps(result))
    else:
        write_result(__file__, result)


if __name__ == "__main__":
    main()
