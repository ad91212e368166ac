"""How much one hidden unit can do for a task: the largest response to the residuals per norm of its weights.

A unit with input weights w and bias b has the preactivations ``u = X w + b`` and the gain

    |Z phi(u)| / |w|,

with Z the residuals of the outputs. At a global minimum of a network of one hidden layer with weight decay no unit has a gain above
the square root of the product of the decay rates, and every unit that is there has it.
"""

from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from hiddencodes.models.activations import Activation
from hiddencodes.models.weight_decay_dual import has_free_constant

# With rates that fall to zero. Maxima at kinks, where a pattern is about to be active, are found to 1e-5 of the gain.
_STEPS, _RATE = 4000, 0.05
# Units in the linear range of an activation are this small; what is lost there is of the order of the square.
_SMALLEST = -7.0
# Sizes of the starts of activations that are not homogeneous: some are linear only near zero, others are silent below a threshold.
_SIZES = (1.0, 0.01, 10.0, 0.01, 100.0, 1.0, 0.01, 1000.0)


class UnitGains(NamedTuple):
    """The units that searches from many starts end at.

    Attributes:
        gain: What each can do.
        preactivations: Its preactivations, of norm and bias as found.
        norm: The norm of its weights.
    """

    gain: Float[np.ndarray, "*batch start"]
    preactivations: Float[np.ndarray, "*batch start pattern"]
    norm: Float[np.ndarray, "*batch start"]


def largest_gains(
    residuals: ArrayLike,
    inputs: ArrayLike,
    activation: Activation,
    *,
    free_bias: bool = False,
    starts: int = 256,
    near: ArrayLike | None = None,
    tilt: ArrayLike | None = None,
    seed: int = 0,
) -> UnitGains:
    """Units of locally largest gain, from many starts.

    Adam on the logarithm of the gain, in double precision, with learning rates that fall to zero. Random starts have several sizes, from those
    where every activation is linear to those that exceed a threshold; biases put kinks between patterns. Gains are found to a relative
    1e-5 at kinks where there are some twenty patterns; of 100 patterns, with as many kinks, the best of 256 starts was up to 5e-4 below the best of 1500.

    Args:
        residuals: Z (..., pattern, output); centred here where a constant is free (`has_free_constant`).
        inputs: X (pattern, feature), such as `hiddencodes.tasks.inputs_of_kernel` returns.
        activation: phi.
        free_bias: Whether units have a bias that costs nothing. Offsets of the inputs do not count then.
        starts: How many random starts.
        near: Preactivations (unit, pattern) to start from as well.
        tilt: M (pattern, pattern): ``phi(u)^T M phi(u) / |w|^2`` is added to the logarithm of the gain, which picks one end of a family of
            units of the same gain where it is small. The gains returned are without it.
        seed: Seed of the starts.

    Returns:
        One unit per start, unsorted.

    >>> from hiddencodes.models import relu
    >>> y = np.array([[1.0], [1.0], [-1.0], [-1.0]])
    >>> found = largest_gains(y, np.eye(4), relu, starts=8)
    >>> round(float(found.gain.max()), 4)  # two patterns of one class, |1 + 1| / sqrt(2)
    1.4142
    """
    x, z = np.asarray(inputs, float), np.asarray(residuals, float)
    if x.ndim != 2 or z.ndim < 2 or z.shape[-2] != len(x):
        raise ValueError(f"residuals: the shape {z.shape} does not fit inputs of the shape {x.shape}")
    if not (np.all(np.isfinite(x)) and np.all(np.isfinite(z))):
        raise ValueError("inputs, residuals: expected finite numbers, got NaN or infinity")
    if has_free_constant(activation, free_bias=free_bias):
        z = z - z.mean(-2, keepdims=True)
    if free_bias:
        x = x - x.mean(0)
    rng = np.random.default_rng(seed)
    first = rng.standard_normal((starts, x.shape[1]))
    # Half of the kinks are at patterns, wherever these are.
    through = -np.einsum("sf,sf->s", first, x[rng.integers(len(x), size=starts)]) / np.linalg.norm(
        first, axis=1
    )
    anywhere = rng.standard_normal(starts) * np.sqrt(np.mean(np.sum(x**2, axis=1)) / x.shape[1])
    bias = np.where(np.arange(starts) % 2, through, anywhere)
    size = np.ones(1) if activation.positively_homogeneous else np.array(_SIZES)
    scale = np.log(size[np.arange(starts) % len(size)])
    if near is not None:
        u = np.asarray(near, float)
        centre = u.mean(1) if free_bias else np.zeros(len(u))
        weights = (u - centre[:, None]) @ np.linalg.pinv(x).T
        norm = np.linalg.norm(weights, axis=1)
        used = norm > 0
        weights, norm, centre = weights[used], norm[used], centre[used]
        first = np.concatenate([weights / norm[:, None], first])
        bias, scale = np.concatenate([centre / norm, bias]), np.concatenate([np.log(norm), scale])
    with jax.enable_x64(True):
        start = (jnp.asarray(first), jnp.asarray(scale), jnp.asarray(bias if free_bias else 0 * bias))
        flat = jnp.asarray(z.reshape(-1, *z.shape[-2:]))
        pull = None if tilt is None else jnp.asarray(np.asarray(tilt, float))
        found = [np.asarray(a) for a in _climb(start, flat, jnp.asarray(x), pull, activation, free_bias)]
    return UnitGains(*(a.reshape(*z.shape[:-2], *a.shape[1:]) for a in found))


@partial(jax.jit, static_argnames=("activation", "free_bias"))
def _climb(
    start: Any, residuals: Array, x: Array, tilt: Array | None, activation: Activation, free_bias: bool
) -> tuple[Array, ...]:
    """Every start, for every set of residuals."""
    schedule = optax.cosine_decay_schedule(_RATE, _STEPS)
    adam = optax.adam(schedule)

    def unit(point: Any) -> tuple[Array, Array]:
        direction, scale, bias = point
        size = jnp.exp(jnp.maximum(scale, _SMALLEST))
        u = x @ (direction / jnp.linalg.norm(direction)) + (bias if free_bias else 0.0)
        return size * u, size

    def log_gain(point: Any, z: Array) -> Array:
        u, size = unit(point)
        response = activation(u)
        # A unit that is silent has no gradient; it stays where it is.
        gain = 0.5 * jnp.log(jnp.sum((z.T @ response) ** 2) + 1e-300) - jnp.log(size)
        return gain if tilt is None else gain + response @ tilt @ response / size**2

    def climb(point: Any, z: Array) -> tuple[Array, Array, Array]:
        def step(carry: Any, _: None) -> tuple[Any, None]:
            at, state = carry
            ascent = jax.tree.map(jnp.negative, jax.grad(log_gain)(at, z))
            # Optax mixes its integer count with floats.
            with jax.numpy_dtype_promotion("standard"):
                changes, state = adam.update(ascent, state, at)
            direction, scale, bias = cast("tuple[Array, Array, Array]", optax.apply_updates(at, changes))
            # Only the direction counts; of homogeneous units the scale does not count either.
            return ((direction / jnp.linalg.norm(direction), scale, bias), state), None

        (point, _), _ = jax.lax.scan(step, (point, adam.init(point)), None, _STEPS)
        u, size = unit(point)
        return jnp.linalg.norm(z.T @ activation(u)) / size, u, size

    every_start = jax.vmap(climb, in_axes=(0, None))
    return jax.vmap(every_start, in_axes=(None, 0))(start, residuals)


def gains_of(
    preactivations: ArrayLike, norms: ArrayLike, residuals: ArrayLike, activation: Activation, *, centre: bool
) -> Float[np.ndarray, "*batch unit"]:
    """Gains of given units for any residuals: what one search has found counts for the others as well.

    Args:
        preactivations: u (unit, pattern).
        norms: Of their weights (unit,).
        residuals: Z (..., pattern, output).
        activation: phi.
        centre: Whether a constant is free.

    >>> from hiddencodes.models import relu
    >>> gains_of(np.eye(2), np.ones(2), [[3.0], [4.0]], relu, centre=False)
    array([3., 4.])
    """
    z = np.asarray(residuals, float)
    if centre:
        z = z - z.mean(-2, keepdims=True)
    with jax.enable_x64(True):
        response = np.asarray(activation(jnp.asarray(np.asarray(preactivations, float))))
    size = np.asarray(norms, float)
    return np.linalg.norm(response @ z, axis=-1) / np.where(size > 0, size, np.inf)
