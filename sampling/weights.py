"""Weights at the ends of runs: kept in the run, turned into positions and back."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray

from hiddencodes.models import Params, Posterior, Reduced
from hiddencodes.models.mlp import weight_shapes
from hiddencodes.sampling.target import Shapes, unflatten


def final_weights(run: xr.DataTree) -> dict[str, dict[str, np.ndarray]]:
    """Weights of the network at the last draw of every chain.

    Weights that were not sampled (see `hiddencodes.models.reductions`) were drawn from their exact law given the others.

    Args:
        run: What `sample` returned.

    Returns:
        Weights with leading axes (seed, chain), in the precision of the run; they fit ``start`` of `sample`.

    Raises:
        ValueError: If the run did not keep its weights.

    Example:
        >>> from hiddencodes.models import MLP, Posterior, mean_field, sigmoidal
        >>> from hiddencodes.sampling import sample
        >>> from hiddencodes.tasks import orthogonal_classes
        >>> task = orthogonal_classes(n_train=8)
        >>> posterior = Posterior(MLP(task.n_inputs, 3, 10, 1, sigmoidal, mean_field), task, n_temperature=0.1)
        >>> run = sample(posterior, chains=2, draws=1, warmup=10, verbose=False)
        >>> final_weights(run)["readout"]["kernel"].shape
        (1, 2, 10, 3)
    """
    if "weights" not in run.children:
        raise ValueError(f"run: no group 'weights', it has {sorted(run.children)}")
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, values in run["weights"].data_vars.items():
        layer, _, leaf = str(name).rpartition("_")
        found.setdefault(layer, {})[leaf] = np.asarray(values.values)
    return found


def named_weights(weights: Params) -> xr.Dataset:
    """Weights as a data set, for a run's group ``weights``: ``hidden_1_kernel (seed, chain, from_1, to_1)`` and so on."""
    variables = {
        f"{layer}_{leaf}": (
            (
                "seed",
                "chain",
                *(f"{layer}_{axis}" for axis in (("to",) if leaf == "bias" else ("from", "to"))),
            ),
            np.asarray(values),
        )
        for layer, leaves in weights.items()
        for leaf, values in leaves.items()
    }
    return xr.Dataset(variables)


def to_positions(
    start: Mapping[str, Mapping[str, Any]],
    posteriors: Sequence[Posterior] | Sequence[Reduced],
    chains: int,
) -> Float[np.ndarray, "seed chain dimension"]:
    """Given weights as whitened positions.

    Raises:
        ValueError: If an array is missing, too many, of another shape or not finite.
    """
    lanes = (len(posteriors), chains)
    first = posteriors[0].original if isinstance(posteriors[0], Reduced) else posteriors[0]
    found = jax.tree.map(np.shape, start)
    expected = jax.tree.map(lambda leaf: (*lanes, *leaf.shape), weight_shapes(first.mlp))
    if found != expected:
        raise ValueError(f"start: expected arrays of the shapes {expected}, got {found}")
    if not all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(start)):
        raise ValueError("start: expected finite weights, got NaN or infinity")

    def of_seed(posterior: Posterior | Reduced, weights: Any) -> np.ndarray:
        network = posterior.posterior if isinstance(posterior, Reduced) else posterior
        std = network.data().prior_std

        def position(weights: Any) -> Any:
            params = posterior.to_reduced(weights) if isinstance(posterior, Reduced) else weights
            return ravel_pytree(
                {
                    n: {leaf: value / jnp.asarray(std[n][leaf], value.dtype) for leaf, value in layer.items()}
                    for n, layer in params.items()
                }
            )[0]

        return np.asarray(jax.vmap(position)(weights))

    seeds = range(len(posteriors))
    return np.stack(
        [of_seed(posteriors[s], jax.tree.map(lambda a, s=s: jnp.asarray(a[s]), start)) for s in seeds]
    )


def to_weights(
    q: Float[Array, "seed chain dimension"],
    posteriors: Sequence[Posterior] | Sequence[Reduced],
    shapes: Shapes,
    key: PRNGKeyArray,
) -> Params:
    """Weights of the network at whitened positions; what is not sampled is drawn.

    Args:
        q: Positions.
        posteriors: One per seed, in the coordinates of the positions.
        shapes: Shapes of the weights that are sampled.
        key: Random key.
    """

    def of_seed(posterior: Posterior | Reduced, q: Array, key: PRNGKeyArray) -> Params:
        network = posterior.posterior if isinstance(posterior, Reduced) else posterior
        std = network.data().prior_std

        def weights(key: PRNGKeyArray, q: Array) -> Params:
            params = {
                layer: {
                    leaf: value * jnp.asarray(std[layer][leaf], q.dtype) for leaf, value in leaves.items()
                }
                for layer, leaves in unflatten(shapes, q).items()
            }
            return posterior.from_reduced(key, params) if isinstance(posterior, Reduced) else params

        return jax.vmap(weights)(jax.random.split(key, len(q)), q)

    each = [of_seed(p, q[s], jax.random.fold_in(key, s)) for s, p in enumerate(posteriors)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
