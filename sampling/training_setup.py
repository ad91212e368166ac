"""What a training run starts from and says about itself: arguments, arrays, labels."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import PRNGKeyArray

from hiddencodes.models import Posterior
from hiddencodes.models.mlp import MLP, weight_shapes
from hiddencodes.models.prior import sample_prior
from hiddencodes.sampling import run_tree
from hiddencodes.sampling.batch_norm import gain_shapes, stored_shapes
from hiddencodes.sampling.plan import Plan
from hiddencodes.sampling.training_target import TrainingTarget
from hiddencodes.sampling.weights import to_positions


def check_equal_sizes(posteriors: Sequence[Any]) -> None:
    """Refuse posteriors that no one program can train."""
    if not posteriors:
        raise ValueError("posterior: got none")
    for p in posteriors:
        if not isinstance(p, Posterior):
            raise ValueError(f"posterior: expected posteriors over all weights, got {type(p).__name__}")

    def sizes(p: Posterior) -> tuple[Any, ...]:
        mlp = p.mlp
        return (
            mlp.n_inputs, mlp.n_outputs, mlp.width, mlp.depth, mlp.parameterization, mlp.bias, p.likelihood,
            p.task.n_train, p.task.n_test, p.task.n_classes,
        )  # fmt: skip

    for i, p in enumerate(posteriors):
        if sizes(p) != sizes(posteriors[0]):
            raise ValueError(f"posterior: number {i} differs from the first in more than activation and data")


def per_posterior(name: str, value: Any, n: int) -> np.ndarray:
    """A number for every posterior."""
    array = np.asarray(value, float)
    if array.shape not in ((), (n,)):
        raise ValueError(
            f"{name}: expected a number or one for each of {n} posteriors, got the shape {array.shape}"
        )
    if not np.all(np.isfinite(array)) or np.any(array < 0):
        raise ValueError(f"{name}: expected finite numbers of at least 0, got {value!r}")
    return np.broadcast_to(array, (n,)).copy()


def weight_decay(value: Any, posteriors: Sequence[Posterior], count: int) -> dict[str, dict[str, np.ndarray]]:
    """lambda of every kind of weight of every posterior; gains of normalized layers do not decay.

    Args:
        value: One for all layers, by layer, by layer and kind of weight, each a number or one per posterior; or ``"prior"``, with
            which the objective is minus the log-density of the posterior times the temperature, over ``count``.
        posteriors: The posteriors.
        count: Patterns over which the loss is averaged, 1 if it is summed.
    """
    n, shapes = len(posteriors), weight_shapes(posteriors[0].mlp)
    gains = {
        layer: {kind: np.zeros(n) for kind in own}
        for layer, own in gain_shapes(posteriors[0].mlp, float).items()
    } | {"readout": {}}
    if isinstance(value, str):
        if value != "prior":
            raise ValueError(f"weight_decay: expected numbers or 'prior', got {value!r}")
        stds = [p.data().prior_std for p in posteriors]
        temperatures = [p.temperature or 1.0 for p in posteriors]
        return {
            layer: {
                leaf: np.asarray(
                    [
                        t / (float(std[layer][leaf]) ** 2 * count)
                        for t, std in zip(temperatures, stds, strict=True)
                    ]
                )
                for leaf in leaves
            }
            | gains[layer]
            for layer, leaves in shapes.items()
        }
    by_layer = value if isinstance(value, Mapping) else dict.fromkeys(shapes, value)
    found = {layer: {leaf: np.zeros(n) for leaf in leaves} for layer, leaves in shapes.items()}
    for layer, given in cast("Mapping[str, Any]", by_layer).items():
        if layer not in shapes:
            raise ValueError(f"weight_decay: there is no layer {layer!r}, only {list(shapes)}")
        by_leaf = given if isinstance(given, Mapping) else dict.fromkeys(shapes[layer], given)
        for leaf, number in cast("Mapping[str, Any]", by_leaf).items():
            if leaf not in shapes[layer]:
                raise ValueError(f"weight_decay: {layer} has no {leaf!r}, only {list(shapes[layer])}")
            found[layer][leaf] = per_posterior("weight_decay", number, n)
    return {layer: leaves | gains[layer] for layer, leaves in found.items()}


def stack(trees: Sequence[Any]) -> Any:
    """Trees of arrays as one, with a leading seed axis."""
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *trees)


def stacked(tree: Any, dtype: Any) -> Any:
    """The leaves on the device, floating-point ones in ``dtype``."""
    return jax.tree.map(
        lambda a: jnp.asarray(a, dtype if np.asarray(a).dtype.kind == "f" else np.int32), tree
    )


def initial_weights(
    posteriors: Sequence[Posterior],
    networks: int,
    key: PRNGKeyArray,
    dtype: Any,
    *,
    batch_norm: bool,
    running: bool,
) -> np.ndarray:
    """Prior draws, independent between posteriors and networks; normalized layers begin with gains of 1 and biases of 0, averages with
    means of 0 and variances of 1."""
    keys = jax.random.split(jax.random.fold_in(key, 0), (len(posteriors), networks))

    def of_posterior(p: Posterior, keys: Any) -> Any:
        std = p.prior.standard_deviations(p.mlp, p.task.n_train)
        weights = jax.vmap(lambda k: sample_prior(p.mlp, std, k))(keys)
        if batch_norm:
            weights = {
                name: {**leaves, "bias": 0 * leaves["bias"]} if "bias" in leaves else leaves
                for name, leaves in with_gains(p.mlp, weights, running=running).items()
            }
        return np.concatenate(
            [np.asarray(leaf).reshape(networks, -1) for leaf in jax.tree.leaves(weights)], axis=1
        )

    return np.stack([of_posterior(p, k) for p, k in zip(posteriors, keys, strict=True)]).astype(dtype)


def with_gains(
    mlp: MLP, weights: Mapping[str, Mapping[str, Any]], *, running: bool
) -> dict[str, dict[str, Any]]:
    """Weights with gains of 1, and with averages if they are wanted; ``input_bias`` and means are 0, ``input_gain`` and variances 1."""
    found = {name: dict(leaves) for name, leaves in weights.items()}
    more = [gain_shapes(mlp, float)] + ([stored_shapes(mlp, float)] if running else [])
    for each in more:
        for name, leaves in each.items():
            lead = np.shape(found[name]["bias"])[:-1]
            found[name] |= {
                kind: np.full((*lead, *of.shape), float(kind.endswith(("gain", "variance"))))
                for kind, of in leaves.items()
            }
    return found


def flat(
    start: Mapping[str, Mapping[str, Any]],
    posteriors: Sequence[Posterior],
    networks: int,
    *,
    batch_norm: bool,
    running: bool,
) -> np.ndarray:
    """Given weights as positions; positions of training are weights, those of sampling are in units of the prior."""
    to_positions(start, posteriors, networks)  # checks shapes and numbers
    arrays = with_gains(posteriors[0].mlp, start, running=running) if batch_norm else start
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(arrays)]
    return np.concatenate([leaf.reshape(*leaf.shape[:2], -1) for leaf in leaves], axis=2)


def coordinates(posteriors: Sequence[Posterior], plan: Plan) -> dict[str, Any]:
    """Labels of every axis."""
    conditions = np.arange(posteriors[0].task.n_test)
    return run_tree.coordinates(posteriors[0], plan) | {"condition": conditions, "condition_2": conditions}


def constants(
    posteriors: Sequence[Posterior],
    coords: dict[str, Any],
    *,
    with_kernel: bool,
) -> xr.Dataset:
    """Kernels of the test patterns, their targets, and what tells the points of the grid apart."""
    tasks = [p.task for p in posteriors]
    kernels: dict[str, Any] = {}
    if with_kernel:
        kernel = np.stack([t.x_test @ t.x_test.T / t.n_inputs for t in tasks])
        kernels["input_kernel"] = (("seed", "condition", "condition_2"), kernel)
    dataset = xr.Dataset(
        {
            **kernels,
            "targets": (("seed", "condition", "output"), np.stack([t.y_test for t in tasks])),
            "activation": (("seed",), np.asarray([str(p.mlp.activation) for p in posteriors])),
        }
    )
    return dataset.assign_coords(
        {name: coords[name] for name in ("seed", "condition", "condition_2", "output")}
    )


def observed(
    target: TrainingTarget, q: np.ndarray, data: Any, coords: dict[str, Any], dtype: Any
) -> xr.Dataset:
    """The observables of given weights."""
    values = _observe_all(target, jnp.asarray(q, dtype), data)
    dims = {o.name: ("seed", "chain", *o.dims) for o in target.observables}
    dataset = xr.Dataset({name: (dims[name], np.asarray(value)) for name, value in values.items()})
    return dataset.assign_coords({str(d): coords[str(d)] for d in dataset.dims if d in coords})


def _observe_all_(target: TrainingTarget, q: Any, data: Any) -> Any:
    of_seed = lambda args: jax.lax.map(lambda q: target.observe(q, args[1], jax.random.key(0)), args[0])
    return jax.lax.map(of_seed, (q, data))


_observe_all = jax.jit(_observe_all_, static_argnums=0)
