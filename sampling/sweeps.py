"""Sweeps of the moves over all lanes of a run: when they are due, and what they count."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Key

from hiddencodes.sampling.lanes import Lanes
from hiddencodes.sampling.move import Move, MoveInfo
from hiddencodes.sampling.target import Target

# Folded into a lane's key after the number of the iteration: the streams of the moves.
_STREAM = np.uint32(2**31)


class Sweeps(NamedTuple):
    """The arguments of a compiled program that concern moves.

    Attributes:
        every: Transitions between sweeps; zero for no sweeps.
        parameters: Of every move, see `hiddencodes.sampling.move.Learned`; empty without moves.
    """

    every: Int[ArrayLike, ""]
    parameters: tuple[Any, ...]


def sweep_lanes(
    how: Lanes,
    moves: tuple[Move, ...],
    target: Target,
    iteration: Int[Array, ""],
    keys: Key[Array, "seed chain"],
    q: Float[Array, "seed chain dimension"],
    data: Any,
    sweeps: Sweeps,
    inverse_temperature: Float[Array, " seed"],
) -> tuple[Float[Array, "seed chain dimension"], tuple[MoveInfo, ...]]:
    """One sweep of every move in every lane."""
    infos: list[MoveInfo] = []
    for number, (move, parameters) in enumerate(zip(moves, sweeps.parameters, strict=True)):

        def lane(
            key: Any,
            q: Array,
            data: Any,
            parameters: Any,
            beta: Array,
            iteration: Array,
            move: Move = move,
            number: int = number,
        ) -> tuple[Array, MoveInfo]:
            stream = jax.random.fold_in(jax.random.fold_in(key, iteration), _STREAM + np.uint32(number))
            return move.sweep(target, stream, q, data, parameters, beta)

        lanes = how.over(lane, "lane", "lane", "seed", "seed", "seed", "shared")
        q, info = lanes(keys, q, data, parameters, inverse_temperature, iteration)
        infos.append(info)
    return q, tuple(infos)


def is_due(sweeps: Sweeps, iteration: Int[Array, ""]) -> Bool[Array, ""]:
    """Whether a sweep follows the transition of this number."""
    every = jnp.asarray(sweeps.every)
    return (every > 0) & ((iteration + 1) % jnp.maximum(every, 1) == 0)


def no_counts(
    how: Lanes,
    moves: tuple[Move, ...],
    target: Target,
    keys: Any,
    q: Any,
    data: Any,
    sweeps: Sweeps,
    beta: Any,
) -> tuple[MoveInfo, ...]:
    """Zeros in the shape of what sweeps report."""
    one = jnp.zeros((), jnp.int32)
    shapes = jax.eval_shape(partial(sweep_lanes, how, moves, target), one, keys, q, data, sweeps, beta)[1]
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
