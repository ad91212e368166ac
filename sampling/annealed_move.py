"""The annealed refresh as a move of the engine, on the last hidden layer of any network: positions in, positions out."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray

from hiddencodes.models.posterior import PosteriorData
from hiddencodes.models.readout_regression import draw_readout
from hiddencodes.sampling.annealed_refresh import PathSettings, hamiltonian_step, refresh_along_paths
from hiddencodes.sampling.arguments import count
from hiddencodes.sampling.code_proposals import Codes
from hiddencodes.sampling.learned_codes import learn_codes, unit_weight
from hiddencodes.sampling.move import Learned, Move, MoveInfo
from hiddencodes.sampling.target import Network, unflatten

# Step sizes that are tried, and the acceptance that the largest one taken must have.
_STEP_SIZES = np.geomspace(0.8, 0.02, 12)
_ACCEPTANCE = 0.65
_TRIED_UNITS = 8


class AnnealedParameters(NamedTuple):
    """What the move has learned: codes, and the step size of the units' Hamiltonian steps."""

    codes: Codes
    step_size: Float[Array, "*seed"]


def _check(target: Any, data: PosteriorData) -> None:
    del data
    if target.mlp.bias:
        raise ValueError("moves: annealed_refresh is for networks without biases")
    if target.likelihood.name != "gaussian":
        raise ValueError(
            f"moves: annealed_refresh needs the Gaussian likelihood, got {target.likelihood.name!r}"
        )


class _Layer(NamedTuple):
    """The last hidden layer of a chain: white incoming weights and the inputs that they weigh."""

    name: str
    x: Float[Array, "unit coordinate"]
    inputs: Float[Array, "pattern coordinate"]


def _layer(target: Network, weights: Any, q: Float[Array, " dimension"], data: PosteriorData) -> _Layer:
    mlp = target.mlp
    name = f"hidden_{mlp.depth}"
    x = weights[name]["kernel"].T
    fan_in = mlp.n_inputs if mlp.depth == 1 else mlp.width
    multiplier = mlp.parameterization.layer(mlp.depth - 1, mlp.depth).multiplier(fan_in, mlp.width)
    below = jnp.asarray(data.x_train)[:, : x.shape[1]] if mlp.depth == 1 else target.hidden(q, data)[-2]
    return _Layer(name, x, multiplier * data.prior_std[name]["kernel"] * below.astype(x.dtype))


@dataclass(frozen=True)
class _Sweep:
    """The sweep with its settings: sweeps that compare equal share compiled programs."""

    settings: PathSettings

    def __call__(
        self,
        target: Network,
        key: PRNGKeyArray,
        q: Float[Array, " dimension"],
        data: PosteriorData,
        parameters: AnnealedParameters,
        inverse_temperature: Float[Array, ""],
    ) -> tuple[Float[Array, " dimension"], MoveInfo]:
        weights = unflatten(target.shapes(), q)
        layer = _layer(target, weights, q, data)
        refresh_key, readout_key = jax.random.split(key)
        y, temperature = jnp.asarray(data.y_train), 1.0 / inverse_temperature
        weight = unit_weight(target, data)
        x, info = refresh_along_paths(
            refresh_key,
            layer.x,
            layer.inputs,
            y,
            weight,
            temperature,
            parameters.codes,
            parameters.step_size,
            target.mlp.activation,
            self.settings,
        )
        moved = {**weights, layer.name: {"kernel": x.T}}
        if "readout" in weights:
            phi = target.mlp.activation(layer.inputs @ x.T)
            moved["readout"] = {"kernel": draw_readout(readout_key, phi, y, weight, temperature)}
        return ravel_pytree(moved)[0], MoveInfo(*info)


@partial(jax.jit, static_argnames=("target", "steps"))
def _acceptances(
    target: Network, steps: int, q: Array, data: PosteriorData, keys: Array
) -> Float[Array, "seed size"]:
    """Mean acceptance of a unit's Hamiltonian step by step size, at its readout, in the field of all units."""

    def lane(q: Array, data: PosteriorData, key: PRNGKeyArray) -> Float[Array, " size"]:
        layer = _layer(target, unflatten(target.shapes(), q), q, data)
        phi, weight = target.mlp.activation(layer.x @ layer.inputs.T), unit_weight(target, data)
        y = jnp.asarray(data.y_train)
        readout_key, move_key = jax.random.split(key)
        alpha = draw_readout(readout_key, phi.T, y, weight, data.temperature)
        gram = weight * (phi.T @ phi) + data.temperature * jnp.eye(len(y), dtype=q.dtype)
        inverse = jnp.linalg.inv(gram)
        field = jnp.sqrt(weight) * (inverse @ y)

        def unit(x: Array, alpha: Array, key: PRNGKeyArray, size: Array) -> Array:
            own = target.mlp.activation(layer.inputs @ x)

            def log_law(x: Array) -> Array:
                phi = target.mlp.activation(layer.inputs @ x)
                other = phi - own
                change = jnp.dot(phi, field @ alpha) - 0.5 * weight * jnp.dot(alpha, alpha) * jnp.dot(
                    other, inverse @ other
                )
                return change - 0.5 * jnp.dot(x, x)

            return hamiltonian_step(key, x, log_law, size, steps)[1]

        units = jax.vmap(unit, in_axes=(0, 0, 0, None))
        some = slice(0, _TRIED_UNITS)
        split = jax.random.split(move_key, len(layer.x[some]))
        sizes = jnp.asarray(_STEP_SIZES, q.dtype)
        return jax.vmap(lambda size: jnp.mean(units(layer.x[some], alpha[some], split, size)))(sizes)

    found = jax.vmap(jax.vmap(lane, in_axes=(0, None, 0)))(q, data, keys)
    # A chain that left the finite numbers has no say.
    healthy = jnp.all(jnp.isfinite(found), axis=-1, keepdims=True)
    return jnp.sum(jnp.where(healthy, found, 0.0), axis=1) / jnp.maximum(
        jnp.sum(healthy.astype(found.dtype), axis=1), 1.0
    )


@dataclass(frozen=True)
class _Learn:
    """Codes, and the largest step size that is accepted often enough."""

    steps: int

    def __call__(
        self,
        target: Network,
        q: Float[Array, "seed chain dimension"],
        data: PosteriorData,
        key: PRNGKeyArray,
    ) -> Learned:
        codes_key, steps_key = jax.random.split(key)
        found = learn_codes(target, q, data, codes_key)
        keys = jax.random.split(steps_key, q.shape[:2])
        accepted = np.asarray(_acceptances(target, self.steps, q, data, keys)) >= _ACCEPTANCE
        first = np.where(accepted.any(axis=1), np.argmax(accepted, axis=1), len(_STEP_SIZES) - 1)
        sizes = jnp.asarray(_STEP_SIZES[first], q.dtype)
        return Learned(AnnealedParameters(found.parameters, sizes), found.names)


def annealed_refresh(*, points: int = 32, steps: int = 4) -> Move:
    """Carry units one by one to other readouts and codes, along paths on which their pre-activations follow.

    For the last hidden layer of networks of any depth without biases, any inputs, any smooth activation, the Gaussian likelihood;
    any coordinates. Where inputs are orthogonal, `cavity_refresh` does the same at a small part of the cost. With
    many inputs, sample in `project_inputs`: the cost of a sweep grows with the number of coordinates. See
    `hiddencodes.sampling.annealed_refresh` for the formulas.

    Args:
        points: Steps of the readout between its old and its new value. More of them are accepted more often and cost more.
        steps: Leapfrog steps of the unit's weights between two points; their size is found during warm-up.

    Raises:
        ValueError: If a number is not a positive integer.

    Example:
        >>> annealed_refresh(points=16).name
        'annealed_refresh'
    """
    settings = PathSettings(count("points", points, 1), count("steps", steps, 1))
    return Move(
        "annealed_refresh",
        _check,
        _Learn(settings.steps),
        _Sweep(settings),
        settings=tuple(settings._asdict().items()),
    )
