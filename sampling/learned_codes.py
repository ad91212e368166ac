"""Codes of the last hidden layer, found in the positions of all chains."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from hiddencodes.models.posterior import PosteriorData
from hiddencodes.models.readout_regression import draw_readout, readout_weight
from hiddencodes.sampling.code_proposals import Codes
from hiddencodes.sampling.known_codes import CodeTable, known_codes
from hiddencodes.sampling.move import Learned
from hiddencodes.sampling.target import Network


def unit_weight(target: Network, data: PosteriorData) -> Float[Array, ""]:
    """Prior variance of a unit's contribution to an output per square of its activation (`readout_weight`)."""
    return readout_weight(target.mlp, data.prior_std["readout"]["kernel"])


@partial(jax.jit, static_argnames=("target",))
def _units(target: Network, q: Array, data: PosteriorData, keys: Array) -> tuple[Array, Array]:
    """Activations (seed, chain, unit, pattern) and readouts over their prior deviation (seed, chain, unit, output)."""

    def lane(q: Array, data: PosteriorData, key: PRNGKeyArray) -> tuple[Array, Array]:
        phi = target.hidden(q, data)[-1]
        y, weight = jnp.asarray(data.y_train), unit_weight(target, data)
        return phi.T, draw_readout(key, phi, y, weight, data.temperature)

    return jax.vmap(jax.vmap(lane, in_axes=(0, None, 0)))(q, data, keys)


def learn_codes(
    target: Network, q: Float[Array, "seed chain dimension"], data: PosteriorData, key: PRNGKeyArray
) -> Learned:
    """Codes, mean activations and readouts of the last hidden layer, from all chains of every seed."""
    keys = jax.random.split(key, q.shape[:2])
    phi, alpha = (np.array(a, np.float64) for a in _units(target, q, data, keys))
    tables: list[CodeTable] = []
    names: list[tuple[str, ...]] = []
    for s in range(len(phi)):
        healthy = np.all(np.isfinite(phi[s]), axis=(1, 2)) & np.all(np.isfinite(alpha[s]), axis=(1, 2))
        if not np.any(healthy):  # nothing is known, and nothing is lost by proposing anything
            phi[s], alpha[s], healthy = 0.0, 0.0, np.ones_like(healthy)
        labels = np.asarray(data.labels_train)[s]
        table, found = known_codes(
            phi[s, healthy].reshape(-1, phi.shape[-1]),
            alpha[s, healthy].reshape(-1, alpha.shape[-1]),
            labels,
            int(np.shape(data.class_average)[-1]),
        )
        tables.append(table)
        names.append(found)
    stacked = Codes(*(jnp.asarray(np.stack(leaves), q.dtype) for leaves in zip(*tables, strict=True)))
    return Learned(stacked, tuple(names))
