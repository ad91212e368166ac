"""What tempered populations leave: a row for every point of the path, and their particles as a run."""

import json
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Key, PRNGKeyArray

from hiddencodes.sampling import evidence, memory, run_tree
from hiddencodes.sampling.annealing import Annealed, particle_keys
from hiddencodes.sampling.path import Path, coordinates
from hiddencodes.sampling.plan import Plan, Segment
from hiddencodes.sampling.problem import Problem, run_activations
from hiddencodes.sampling.sampler import Sampler
from hiddencodes.sampling.target import Target

# Observables are computed for as many particles at once as fit into this many bytes.
_OBSERVED_BYTES = 256e6


def table(done: Annealed, path: Path) -> xr.Dataset:
    """One row per point of the path, see `hiddencodes.sampling.tempered_smc.TemperedSMC`."""
    n = int(done.n_done)
    steps = jax.tree.map(lambda leaf: np.asarray(leaf, float)[:n], done.steps)
    position = np.concatenate([[0.0], np.asarray(done.schedule.position, float)[:n]])
    at = jax.tree.map(lambda leaf: np.asarray(leaf, float), coordinates(path, jnp.asarray(position)))
    z = np.concatenate([np.zeros((1, steps.log_weight.shape[1])), np.cumsum(steps.log_weight, axis=0)])
    mean = evidence.log_mean(z)

    def after(values: np.ndarray) -> tuple[str, np.ndarray]:
        return "point", np.concatenate([[np.nan], values])

    slopes: dict[str, tuple[str, np.ndarray]] = {}
    for name, values in zip(("d_power", "d_log_output_scale"), steps.gradient, strict=True):
        value, error = evidence.weighted_mean(values, z[1:])
        slopes |= {name: after(value), f"{name}_error": after(error)}
    return xr.Dataset(
        {
            "power": ("point", at.power),
            "inverse_temperature": ("point", at.power * float(path.inverse_temperature)),
            "output_scale": ("point", np.exp(at.log_scale)),
            "log_normalizer": ("point", mean.value),
            "log_normalizer_error": ("point", mean.error),
            "population_log_normalizer": (("point", "population"), z),
            **slopes,
            "ess": after(steps.ess),
            "acceptance": after(steps.acceptance),
            "step_size": after(np.asarray(done.schedule.step_size, float)[:n]),
            "gradients": after(steps.n_steps),
            "divergences": after(steps.divergences),
        },
        {"point": np.arange(n + 1), "population": np.arange(z.shape[1])},
    )


def run(
    setting: Problem,
    kernel: Sampler,
    done: Annealed,
    data: Any,
    keys: Any,
    dtype: Any,
    seconds: float,
    precision: str,
    key: PRNGKeyArray,
) -> xr.DataTree:
    """Particles at the end of the path as a run."""
    target, first = setting.target, setting.originals[0]
    populations, particles, _ = done.q.shape
    starts = np.arange(populations)
    plan = Plan(np.arange(1), populations, 0, particles, 1, starts, capacity=particles)
    batch = int(max(1, _OBSERVED_BYTES // memory.draw_bytes(target, data, dtype)))
    one_seed = jax.tree.map(lambda leaf: leaf[0], data)
    batch = min(batch, populations * particles)
    observed = _observe(target, batch, keys, done.q, one_seed)
    stats = {
        "acceptance_rate": done.acceptance,
        "diverging": done.diverging,
        "finite": jnp.all(jnp.isfinite(done.q), axis=-1),
    }
    arrange = lambda leaf: np.asarray(leaf)[None]  # (seed, chain, draw, ...)
    observed = run_tree.every_kth(jax.tree.map(arrange, observed), target.observables)
    segment = Segment(0, particles, observed, jax.tree.map(arrange, stats))
    coords = run_tree.coordinates(first, plan)
    kept = run_tree.kept_stats(kernel, plan, swept=False)
    groups = run_tree.segment_datasets(segment, target.observables, kept, coords)
    ancestor = np.asarray(done.ancestor)[None]
    groups["sample_stats"]["ancestor"] = (run_tree.SAMPLE_DIMS, ancestor)
    groups |= run_tree.constants(setting.originals, plan)
    groups["final"] = run_activations(target, done.q[None, :, -1], data, coords)
    families = [len(np.unique(a)) for a in ancestor[0]]
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = run_tree.attributes(
        setting.originals, kernel, plan, precision=precision, coordinates=setting.coordinates, draws="particles",
        initialization=f"{populations} independent populations of {particles} particles, tempered from the prior; "
        f"{min(families)} to {max(families)} prior draws have descendants",
        key=json.dumps(np.asarray(jax.random.key_data(key)).tolist()),
        timings=json.dumps({"compile and tempering": seconds}), complete=1,
    )  # fmt: skip
    return tree


@partial(jax.jit, static_argnames=("target", "batch"))
def _observe(
    target: Target, batch: int, keys: Key[Array, " population"], q: Array, data: Any
) -> dict[str, Array]:
    """Observables of all particles, (population, particle, ...) each."""
    lanes = particle_keys(keys, jnp.zeros((), jnp.int32), q.shape[1])
    flat = (jnp.reshape(lanes, (-1, *lanes.shape[2:])), jnp.reshape(q, (-1, q.shape[2])))
    values = jax.lax.map(lambda one: target.observe(one[1], data, one[0]), flat, batch_size=batch)
    return jax.tree.map(lambda leaf: jnp.reshape(leaf, (*q.shape[:2], *leaf.shape[1:])), values)
