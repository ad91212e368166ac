"""The cavity refresh as a move of the engine: positions in, positions out."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray

from hiddencodes.models.posterior import PosteriorData
from hiddencodes.models.readout_regression import draw_readout, readout_weight
from hiddencodes.sampling.cavity_refresh import Codes, refresh
from hiddencodes.sampling.known_codes import CodeTable, known_codes
from hiddencodes.sampling.move import Learned, Move, MoveInfo
from hiddencodes.sampling.reduced_target import ReducedTarget
from hiddencodes.sampling.target import unflatten

# Relative differences between the norms of inputs that are rounding.
_SAME_NORM = 1e-9


def _check(target: Any, data: PosteriorData) -> None:
    if not isinstance(target, ReducedTarget) or not target.diagonal:
        raise ValueError(
            "moves: cavity_refresh needs training inputs that are orthogonal, in white coordinates (whiten_inputs)"
        )
    if target.mlp.depth != 1 or target.mlp.bias:
        raise ValueError(
            f"moves: cavity_refresh is for one hidden layer without biases, got depth {target.mlp.depth}, bias {target.mlp.bias}"
        )
    if target.likelihood.name != "gaussian":
        raise ValueError(
            f"moves: cavity_refresh needs the Gaussian likelihood, got {target.likelihood.name!r}"
        )
    norms = np.diagonal(np.asarray(data.x_train)[:, :, : target.n_along], axis1=1, axis2=2)
    if np.ptp(norms, axis=1).max() > _SAME_NORM * np.abs(norms).max():
        raise ValueError(
            f"moves: cavity_refresh needs training inputs of one norm, got from {norms.min():.6g} to {norms.max():.6g}"
        )


def _scale(target: ReducedTarget, data: PosteriorData) -> Float[Array, ""]:
    """Prior standard deviation of a pre-activation, the same for all patterns."""
    mlp = target.mlp
    multiplier = mlp.parameterization.layer(0, 1).multiplier(mlp.n_inputs, mlp.width)
    return multiplier * data.prior_std["hidden_1"]["kernel"] * jnp.asarray(data.x_train)[0, 0]


def _weight(target: ReducedTarget, data: PosteriorData) -> Float[Array, ""]:
    return readout_weight(target.mlp, data.prior_std["readout"]["kernel"])


def _sweep(
    target: ReducedTarget,
    key: PRNGKeyArray,
    q: Float[Array, " dimension"],
    data: PosteriorData,
    codes: Codes,
    inverse_temperature: Float[Array, ""],
) -> tuple[Float[Array, " dimension"], MoveInfo]:
    weights = unflatten(target.shapes(), q)
    refresh_key, readout_key = jax.random.split(key)
    y, temperature = jnp.asarray(data.y_train), 1.0 / inverse_temperature
    scale, weight = _scale(target, data), _weight(target, data)
    x, info = refresh(
        refresh_key,
        weights["hidden_1"]["kernel"].T,
        y,
        scale,
        weight,
        temperature,
        codes,
        target.mlp.activation,
    )
    moved = {"hidden_1": {"kernel": x.T}}
    if not target.readout_integrated:
        phi = target.mlp.activation(scale * x.T)
        moved["readout"] = {"kernel": draw_readout(readout_key, phi, y, weight, temperature)}
    return ravel_pytree(moved)[0], MoveInfo(*info)


@partial(jax.jit, static_argnames=("target",))
def _units(target: ReducedTarget, q: Array, data: PosteriorData, keys: Array) -> tuple[Array, Array]:
    """Activations (seed, chain, unit, pattern) and readouts over their prior deviation (seed, chain, unit, output)."""

    def lane(q: Array, data: PosteriorData, key: PRNGKeyArray) -> tuple[Array, Array]:
        phi = target.hidden(q, data)[0]
        y, weight = jnp.asarray(data.y_train), _weight(target, data)
        return phi.T, draw_readout(key, phi, y, weight, data.temperature)

    return jax.vmap(jax.vmap(lane, in_axes=(0, None, 0)))(q, data, keys)


def _learn(
    target: ReducedTarget, q: Float[Array, "seed chain dimension"], data: PosteriorData, key: PRNGKeyArray
) -> Learned:
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


def cavity_refresh() -> Move:
    """Redraw units one by one, codes included, in the exact field of all other units.

    For one hidden layer, orthogonal training inputs and the Gaussian likelihood, any activation, any number of outputs, any
    parameterization. Codes and their readouts are learned from the chains during warm-up. See
    `hiddencodes.sampling.cavity_refresh` for the formulas.

    Example:
        >>> cavity_refresh().name
        'cavity_refresh'
    """
    return Move("cavity_refresh", _check, _learn, _sweep, white=True)
