"""The arrays of a run: where the lanes are, what moves have learned, and both in checkpoints."""

from typing import Any, NamedTuple

import jax
import numpy as np

from hiddencodes.sampling import engine, processes
from hiddencodes.sampling.checkpoint import Checkpoint, Position
from hiddencodes.sampling.move import Learned
from hiddencodes.sampling.plan import Setup


class Placed(NamedTuple):
    """What all programs of a run are given: keys, data and temperatures, where the lanes are."""

    warmup_keys: Any
    sampling_keys: Any
    data: Any
    beta: Any


def place(run: Setup) -> Placed:
    """What does not change during a run, on its devices."""
    how, plan = run.how, run.plan
    # Independent streams: starting points (0), warm-up, sampling, what is learned of codes (3).
    warmup, sampling = (engine.lane_keys(how, run.key, np.int32(i), plan.seeds, plan.chains) for i in (1, 2))
    beta = how.repeat(np.asarray(1.0 / run.temperature, run.dtype))
    return Placed(warmup, sampling, how.repeat_data(run.data), beta)


def learn(run: Setup, q: Any, iteration: int) -> list[Learned]:
    """What every move learns from the positions of all chains after that many iterations of warm-up."""
    if not run.moves:
        return []
    stream = jax.random.fold_in(jax.random.fold_in(run.key, 3), iteration)
    if run.how.mesh is not None:
        q = processes.all_lanes(run.how, run.how.to_host(q))
    return [move.learn(run.target, q, run.data, stream) for move in run.moves]


def code_parameters(run: Setup, learned: list[Learned]) -> tuple[Any, ...]:
    """The arrays of what was learned, on all devices."""
    return run.how.repeat(tuple(each.parameters for each in learned))


def checkpoint_of(position: Position, lanes: Any, shared: Any, **manifest: Any) -> Checkpoint:
    """A checkpoint of arrays on the host: those of the lanes of this process, and those that all processes have."""
    first, second = jax.tree.leaves(lanes), jax.tree.leaves(shared)
    return Checkpoint(position, {"lane_arrays": len(first), **manifest}, [*first, *second])


def restored(run: Setup, saved: Checkpoint, lanes: Any, shared: Any) -> tuple[Any, Any, list[np.ndarray]]:
    """The arrays of a checkpoint in the structure and on the devices of those that a fresh run would have.

    Args:
        run: What is sampled.
        saved: The checkpoint, with the lanes of all processes.
        lanes, shared: What a fresh run would have.

    Returns:
        The same with the values that were saved, and further arrays of lanes, on the host.

    Raises:
        ValueError: If they are of other shapes or types.
    """
    n = saved.manifest["lane_arrays"]
    found = (saved.arrays[:n], saved.arrays[n:])
    trees: list[Any] = []
    for template, arrays in zip((lanes, shared), found, strict=True):
        leaves, structure = jax.tree.flatten(template)
        expected = [(leaf.shape, np.dtype(leaf.dtype)) for leaf in leaves]
        if expected != [(array.shape, array.dtype) for array in arrays[: len(leaves)]]:
            raise ValueError("checkpoint: its arrays are not those of this run")
        trees.append(jax.tree.unflatten(structure, [np.asarray(a) for a in arrays[: len(leaves)]]))
    more = found[0][len(jax.tree.leaves(lanes)) :]
    return run.how.spread(_as_jax(run, trees[0])), run.how.repeat(_as_jax(run, trees[1])), more


def _as_jax(run: Setup, tree: Any) -> Any:
    # What programs work in has to be theirs: they are given copies. NumPy's, since copying on a device compiles a program for it.
    copies = jax.tree.map(np.array, tree)
    return copies if run.how.mesh is not None else jax.device_put(copies)


def named(parameters: Any, saved: Checkpoint) -> list[Learned]:
    """What was learned, with the names that a checkpoint has of it."""
    names = [tuple(tuple(codes) for codes in each) for each in saved.manifest["names"]]
    return [Learned(*each) for each in zip(parameters, names, strict=True)]
