"""Replica exchange: chains that reach the posterior from the prior again and again, and the evidence from their swaps."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float, Int, PRNGKeyArray

from hiddencodes.models import Posterior, Reduced
from hiddencodes.sampling import arguments, evidence, memory, run_tree
from hiddencodes.sampling.evidence import Ratios
from hiddencodes.sampling.exchange import Recorded, exchange
from hiddencodes.sampling.observables import Observable
from hiddencodes.sampling.path import Path, coordinates
from hiddencodes.sampling.plan import Plan, Segment
from hiddencodes.sampling.problem import Precision, Problem, numerics, problem, run_activations
from hiddencodes.sampling.sampler import Sampler
from hiddencodes.sampling.tempered_smc import TemperedSMC, normalizer, path_of, starting_scale, tempered_smc
from hiddencodes.tasks.arguments import Number


@dataclass(frozen=True, eq=False)
class ReplicaExchange:
    """What `replica_exchange` returns.

    Attributes:
        log_evidence: log p(D), in nats, with all constants of a Gaussian likelihood: Bennett's acceptance ratios between
            neighbouring rungs, added up from the prior to the posterior, from all chains.
        log_evidence_error: Its standard error, by the jackknife over chains.
        log_evidence_ratio: log p(D) minus the log evidence at the output scale where the second leg began; 0 without one.
        log_evidence_ratio_error: Its standard error.
        ladder: One row per rung: ``power`` λ, ``inverse_temperature`` λ/T, ``output_scale`` γ, ``log_normalizer`` and its error;
            for every rung but the prior ``swap_acceptance`` with the rung before, ``acceptance``, ``step_size``.
            Also the group ``exchange`` of the run.
        arrivals: How many prior draws have reached the posterior in every chain while draws were stored. A chain with
            few has not been independent of its start.
        run: The draws at the last rung, as `hiddencodes.sampling.sample` returns them.
    """

    log_evidence: float
    log_evidence_error: float
    log_evidence_ratio: float
    log_evidence_ratio_error: float
    ladder: xr.Dataset = field(repr=False)
    arrivals: Int[np.ndarray, " chain"]
    run: xr.DataTree = field(repr=False)


def replica_exchange(
    posterior: Posterior | Reduced,
    *,
    chains: int = 8,
    draws: int = 1000,
    warmup: int = 200,
    thin: int = 1,
    tempered: TemperedSMC | None = None,
    particles: int = 256,
    target_ess: Number = 0.5,
    output_scale: Number | Literal["lazy"] = 1.0,
    sampler: str | Sampler = "hmc",
    observables: Sequence[Observable] | None = None,
    precision: Precision = "float64",
    key: int | PRNGKeyArray = 0,
    memory_limit: int | None = None,
    verbose: bool = True,
) -> ReplicaExchange:
    """Sample the posterior with chains of replicas on a ladder from the prior, swapped between neighbours.

    A chain has one replica at every rung: at the prior, where it is drawn anew in every iteration, and at every point
    of a path of `tempered_smc`, where it makes one transition of the kernel. Then neighbours swap, even and odd pairs in turn
    (`hiddencodes.sampling.exchange`). Rungs, metric, first step sizes and starting positions are those of tempered
    populations: chain c starts from particles of population c. Step sizes go on adapting to the acceptance of their rung during warm-up.

    A chain leaves a mode through the prior; what counts is how often that happens (`ReplicaExchange.arrivals`).

    Args:
        posterior: The posterior, reduced or not.
        chains: Independent chains, at least 2; their number times that of the rungs is the number of lanes.
        draws: Stored draws per chain.
        warmup: Iterations that are not stored.
        thin: Iterations per stored draw.
        tempered: A result of `tempered_smc` for this posterior, of at least as many populations; it also settles the path.
            None makes one first.
        particles: Particles per population of the result that is made.
        target_ess: Its target: higher means more rungs, and more swaps.
        output_scale: Its path, see `tempered_smc`.
        sampler: Local kernel, see `tempered_smc`.
        observables: What is stored of a draw; see `default_observables`.
        precision: ``"float64"`` or ``"float32"``.
        key: Random key, or the integer to make one from.
        memory_limit: Bytes the run may use; None for all that is free.
        verbose: Print the memory budget to the standard error stream before compiling.

    Returns:
        `ReplicaExchange`.

    Raises:
        ValueError: If an argument is out of range or ``tempered`` does not fit.
        FloatingPointError: If replicas left the finite numbers.
        MemoryError: If the run would not fit, before anything is compiled.

    Example:
        >>> from hiddencodes.models import MLP, mean_field, sigmoidal
        >>> from hiddencodes.tasks import orthogonal_classes
        >>> task = orthogonal_classes(n_train=4)
        >>> mlp = MLP(task.n_inputs, task.n_outputs, 5, 1, sigmoidal, mean_field)
        >>> posterior = Posterior(mlp, task, n_temperature=1.0)
        >>> result = replica_exchange(posterior, chains=4, draws=100, warmup=20, particles=50, verbose=False)
        >>> result.log_evidence_error < 1.0, result.run["posterior"].sizes["draw"]
        (True, 100)
    """
    chains = arguments.count("chains", chains, 2)
    draws = arguments.count("draws", draws, 1)
    warmup = arguments.count("warmup", warmup, 0)
    thin = arguments.count("thin", thin, 1)
    kernel = arguments.sampler(sampler)
    if not isinstance(kernel, Sampler):
        raise ValueError("sampler: numpyro_nuts runs chains of its own; expected a kernel, such as 'hmc'")
    if precision not in ("float64", "float32"):
        raise ValueError(f"precision: expected 'float64' or 'float32', got {precision!r}")
    random_key = arguments.random_key(key)
    setting = problem(arguments.posteriors(posterior, 1), observables)
    if tempered is None:
        tempered = tempered_smc(
            posterior, particles=particles, populations=chains, target_ess=target_ess, output_scale=output_scale,
            sampler=kernel, precision=precision, key=jax.random.fold_in(random_key, 1), memory_limit=memory_limit,
            verbose=verbose, observables=setting.target.observables,
        )  # fmt: skip
        scale = starting_scale(setting, output_scale)
    else:
        _check_tempered(tempered, setting, chains)
        scale = float(tempered.path["output_scale"][0])
    rungs = tempered.path.sizes["point"]
    with numerics(precision):
        dtype = np.dtype(precision)
        data = setting.data(dtype)
        arguments.check_dims(setting.target, data, dtype)
        lanes = rungs * chains
        plan = Plan(np.arange(1), chains, warmup, draws, thin, np.arange(chains), capacity=draws)
        every_replica = plan._replace(chains=lanes, draws=1, capacity=1)
        budget = memory.memory_budget(setting.target, data, kernel, every_replica, dtype, streamed=False)
        trace = 3 * draws * chains * memory.draw_bytes(setting.target, data, dtype)
        budget = budget._replace(trace=trace + 4 * draws * lanes * dtype.itemsize)
        if verbose:
            print(budget, file=sys.stderr)
        memory.check(budget, memory_limit)
        path = path_of(setting, data, scale, dtype)
        # Particles of a family stand side by side; replicas of a chain are taken from all over their population.
        spread = np.linspace(0, tempered.positions.shape[1] - 1, rungs).round().astype(int)
        q = jnp.asarray(np.swapaxes(tempered.positions[:chains, spread], 0, 1), dtype)
        schedule = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), tempered.schedule)
        begin = time.perf_counter()
        replicas, recorded = exchange(
            kernel, setting.target, draws, jax.random.fold_in(random_key, 2),
            jnp.asarray(warmup, jnp.int32), jnp.asarray(thin, jnp.int32), path, schedule, q,
        )  # fmt: skip
        jax.block_until_ready(replicas.q)
        seconds = time.perf_counter() - begin
        recorded = jax.tree.map(np.asarray, recorded)
        if not (
            np.all(recorded.finite) and np.all(np.isfinite(recorded.forward) & np.isfinite(recorded.backward))
        ):
            raise FloatingPointError("replicas left the finite numbers, or their likelihood did")
        ratios = evidence.ladder_ratios(*(_by_pair(u) for u in (recorded.forward, recorded.backward)))
        ladder = _table(recorded, ratios, path, np.asarray(schedule.position), np.exp(replicas.log_step_size))
        constant = normalizer(setting, path)
        final = run_activations(
            setting.target, replicas.q[-1][None], data, run_tree.coordinates(setting.originals[0], plan)
        )
    run = _run(setting, kernel, plan, recorded, rungs)
    run["final"] = xr.DataTree(final)
    run["exchange"] = xr.DataTree(ladder)
    corner = int(np.flatnonzero(ladder["power"].values >= 1.0)[0])
    ratio = ratios.without[-1] - ratios.without[corner]
    result = ReplicaExchange(
        float(ratios.value[-1]) + constant,
        float(ratios.error[-1]),
        float(ratios.value[-1] - ratios.value[corner]),
        float(np.sqrt((chains - 1) * np.var(ratio))),
        ladder,
        recorded.arrivals.sum(0),
        run,
    )
    run.attrs |= {
        "precision": precision,
        "key": json.dumps(np.asarray(jax.random.key_data(random_key)).tolist()),
        "timings": json.dumps({"compile and sampling": seconds}),
        "log_evidence": result.log_evidence,
        "log_evidence_error": result.log_evidence_error,
    }
    return result


def _check_tempered(tempered: TemperedSMC, setting: Problem, chains: int) -> None:
    populations, _, dimension = tempered.positions.shape
    if populations < chains:
        raise ValueError(f"tempered: it has {populations} populations, fewer than chains={chains}")
    if dimension != setting.target.dimension:
        raise ValueError(
            f"tempered: it has {dimension} coordinates, the posterior has {setting.target.dimension}"
        )
    temperature = setting.originals[0].temperature
    assert temperature is not None
    at_end = float(tempered.path["inverse_temperature"][-1])
    if not np.isclose(at_end * temperature, 1.0, rtol=1e-5):
        raise ValueError(f"tempered: it ends at temperature {1.0 / at_end:.6g}, not at {temperature:.6g}")


def _by_pair(u: Float[np.ndarray, "draw pair chain"]) -> Float[np.ndarray, "pair chain draw"]:
    return np.moveaxis(u.astype(float), 0, 2)


def _table(
    recorded: Recorded, ratios: Ratios, path: Path, position: np.ndarray, step_size: Any
) -> xr.Dataset:
    """See `ReplicaExchange`."""
    rungs = np.concatenate([np.zeros(1, position.dtype), position])
    at = jax.tree.map(lambda leaf: np.asarray(leaf, float), coordinates(path, jnp.asarray(rungs)))
    swaps, proposals = np.sum(recorded.swaps, axis=(0, 2)), np.sum(recorded.proposals, axis=(0, 2))
    rate = np.divide(swaps, proposals, out=np.full(len(swaps), np.nan), where=proposals > 0)

    def after(values: Any) -> tuple[str, np.ndarray]:
        return "rung", np.concatenate([[np.nan], np.asarray(values, float)])

    return xr.Dataset(
        {
            "power": ("rung", at.power),
            "inverse_temperature": ("rung", at.power * float(path.inverse_temperature)),
            "output_scale": ("rung", np.exp(at.log_scale)),
            "log_normalizer": ("rung", ratios.value),
            "log_normalizer_error": ("rung", ratios.error),
            "swap_acceptance": after(rate),
            "acceptance": after(recorded.acceptance.mean((0, 2))),
            "step_size": after(step_size),
            "arrivals": ("chain", recorded.arrivals.sum(0)),
        },
        {"rung": np.arange(len(rungs)), "chain": np.arange(recorded.arrivals.shape[1])},
    )


def _run(setting: Problem, kernel: Sampler, plan: Plan, recorded: Recorded, rungs: int) -> xr.DataTree:
    """Draws at the last rung as a run."""
    stats = {
        "acceptance_rate": recorded.acceptance[:, -1],
        "diverging": recorded.diverging,
        "n_steps": np.broadcast_to(recorded.n_steps[:, None], recorded.finite.shape),
        "finite": recorded.finite,
    }
    lanes = lambda leaf: np.moveaxis(np.asarray(leaf), 0, 1)[None]  # (seed, chain, draw, ...)
    observables = setting.target.observables
    observed = run_tree.every_kth(jax.tree.map(lanes, recorded.observed), observables)
    segment = Segment(0, plan.draws, observed, jax.tree.map(lanes, stats))
    coords = run_tree.coordinates(setting.originals[0], plan)
    kept = run_tree.kept_stats(kernel, plan, swept=False)
    groups = run_tree.segment_datasets(segment, observables, kept, coords)
    groups |= run_tree.constants(setting.originals, plan)
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = run_tree.attributes(
        setting.originals, kernel, plan, coordinates=setting.coordinates, complete=1,
        initialization=f"{plan.chains} independent tempered populations, {rungs} replicas each, exchanged down to the prior",
    )  # fmt: skip
    return tree
