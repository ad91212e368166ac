"""The cavity refresh as a move of the engine: positions in, positions out."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray

from hiddencodes.models.posterior import PosteriorData
from hiddencodes.models.readout_regression import draw_readout
from hiddencodes.sampling.cavity_refresh import refresh
from hiddencodes.sampling.code_proposals import Codes
from hiddencodes.sampling.learned_codes import learn_codes, unit_weight
from hiddencodes.sampling.move import Move, MoveInfo
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
    scale, weight = _scale(target, data), unit_weight(target, data)
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


def cavity_refresh() -> Move:
    """Redraw units one by one, codes included, in the exact field of all other units.

    For one hidden layer, orthogonal training inputs and the Gaussian likelihood, any activation, any number of outputs, any
    parameterization. Codes and their readouts are learned from the chains during warm-up. See
    `hiddencodes.sampling.cavity_refresh` for the formulas.

    Example:
        >>> cavity_refresh().name
        'cavity_refresh'
    """
    return Move("cavity_refresh", _check, learn_codes, _sweep, white=True)
