"""The pair rotation as a move of the engine: positions in, positions out."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray

from hiddencodes.models.mlp import weight_shapes
from hiddencodes.models.posterior import PosteriorData
from hiddencodes.models.readout_regression import draw_readout, readout_weight
from hiddencodes.sampling.arguments import count
from hiddencodes.sampling.move import Learned, Move, MoveInfo
from hiddencodes.sampling.pair_rotation import rotate_pairs
from hiddencodes.sampling.reduced_target import ReducedTarget
from hiddencodes.sampling.target import NetworkTarget, unflatten

_KINDS = ("0 outliers", "1 outlier", "2 outliers")


def _check(target: Any, data: PosteriorData) -> None:
    del data
    if not isinstance(target, NetworkTarget | ReducedTarget):
        raise ValueError(f"moves: pair_rotation is for networks, got {target!r}")
    mlp = target.mlp
    if not mlp.activation.positively_homogeneous:
        raise ValueError(
            "moves: pair_rotation needs an activation that is positively homogeneous (relu, leaky_relu), "
            f"got {mlp.activation!s}"
        )
    if mlp.depth != 1 or mlp.bias:
        raise ValueError(
            f"moves: pair_rotation is for one hidden layer without biases, got depth {mlp.depth}, bias {mlp.bias}"
        )
    if mlp.width < 2:
        raise ValueError(f"moves: pair_rotation needs two units at least, got width {mlp.width}")
    if target.likelihood.name != "gaussian":
        raise ValueError(
            f"moves: pair_rotation needs the Gaussian likelihood, got {target.likelihood.name!r}"
        )


def _learn(target: Any, q: Array, data: PosteriorData, key: PRNGKeyArray) -> Learned:
    """Nothing is learned; what is counted are pairs by the number of outliers in them."""
    del target, data, key
    return Learned((), (_KINDS,) * q.shape[0])


@dataclass(frozen=True)
class _Sweep:
    """The sweep with its settings: sweeps that compare equal share compiled programs."""

    pairs: int | None
    candidates: int

    def __call__(
        self,
        target: NetworkTarget | ReducedTarget,
        key: PRNGKeyArray,
        q: Float[Array, " dimension"],
        data: PosteriorData,
        parameters: Any,
        inverse_temperature: Float[Array, ""],
    ) -> tuple[Float[Array, " dimension"], MoveInfo]:
        del parameters
        mlp = target.mlp
        reduced = isinstance(target, ReducedTarget)
        weights = unflatten(target.shapes() if reduced else weight_shapes(mlp), q)
        white = weights["hidden_1"]["kernel"]
        rotation_key, readout_key = jax.random.split(key)
        y, temperature = jnp.asarray(data.y_train), 1.0 / inverse_temperature
        multiplier = mlp.parameterization.layer(0, 1).multiplier(mlp.n_inputs, mlp.width)
        inputs = (
            multiplier * data.prior_std["hidden_1"]["kernel"] * jnp.asarray(data.x_train)[:, : len(white)]
        )
        prior = inputs @ inputs.T
        weight = readout_weight(mlp, data.prior_std["readout"]["kernel"])
        x, z, info = rotate_pairs(
            rotation_key,
            white.T,
            (inputs @ white).T,
            y,
            jnp.asarray(data.class_average),
            (jnp.trace(prior), jnp.sum(prior**2)),
            weight,
            temperature,
            mlp.activation,
            max(1, mlp.width // 2) if self.pairs is None else self.pairs,
            self.candidates,
        )
        moved = {"hidden_1": {"kernel": x.T}}
        if "readout" in weights:
            phi = mlp.activation(z.T)
            moved["readout"] = {"kernel": draw_readout(readout_key, phi, y, weight, temperature)}
        return ravel_pytree(moved)[0], MoveInfo(*info)


def pair_rotation(*, pairs: int | None = None, candidates: int = 8) -> Move:
    """Turn pairs of units into each other: strongly active units with one code merge, and quiet ones mix.

    For one hidden layer without biases, positively homogeneous activations (ReLU, leaky ReLU) and the Gaussian likelihood;
    any inputs, any number of outputs, any parameterization, any coordinates: the weights as they are or reduced. See
    `hiddencodes.sampling.pair_rotation` for the formulas. In the run's group ``moves``, pairs are counted by how many of
    their units were outliers before and would be after, ``|z|² > tr K0 + 6 (2 tr K0²)^(1/2)``: six standard deviations of the
    prior. Every angle is counted as proposed, ``candidates`` of them for a pair.

    Args:
        pairs: Pairs per sweep; half the width if None.
        candidates: Angles proposed for a pair, of which at most one is taken.

    Raises:
        ValueError: If a number is not a positive integer.

    Example:
        >>> pair_rotation(pairs=10).name
        'pair_rotation'
    """
    chosen = None if pairs is None else count("pairs", pairs, 1)
    sweep = _Sweep(chosen, count("candidates", candidates, 1))
    return Move(
        "pair_rotation", _check, _learn, sweep, settings=(("pairs", chosen), ("candidates", sweep.candidates))
    )
