"""A chain of blocks joined by springs, with friction and noise: the mechanical picture of feature learning (arXiv 2407.19353).

Blocks at x_1 .. x_L between a wall x_0 = 0 and an end pulled to x_{L+1} = y; their elongations ``d_l = x_l - x_{l-1}`` add up to y. In the
overdamped chain every block moves, all at once, by

    x_l <- x_l + eta s(F_l),    F_l = k (x_{l+1} - 2 x_l + x_{l-1}) + noise xi_l,    s(F) = F - right if F > right, F + left if F < -left, else 0,

with independent standard normal xi. ``right`` is the friction against moving towards the pulled end, ``left`` against moving back. Layers of a
network are blocks, and what a layer adds to the separation of classes is the elongation of its spring.
"""

import operator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray
from scipy.special import ndtr  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]


def pulled_chain(
    friction: float, *, blocks: int = 7, stiffness: float = 1.0, pull: float = 1.0
) -> Float[np.ndarray, " spring"]:
    """Elongations of a chain that was pulled from rest without noise: exact (derived here).

    Blocks only move to the right and stop where the springs' force is the friction, so that elongations grow by friction/stiffness along
    the last n springs, the smallest n with ``n (n + 1)/2 >= stiffness pull / friction``; the others have not been reached:

        d_{L+1-n+j} = y/n - (n - 1) mu/(2k) + (j - 1) mu/k,  j = 1 .. n.

    Args:
        friction: mu, against moving right; that against moving left plays no role.
        blocks: L.
        stiffness: k.
        pull: y.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> print(pulled_chain(0.1))
        [0.  0.  0.  0.  0.1 0.2 0.3 0.4]
    """
    check_chain(blocks, stiffness, pull)
    _not_negative("friction", friction)
    engaged = blocks + 1
    if friction > 0.0:
        reach = stiffness * pull / friction
        # The smallest n with n (n + 1)/2 >= reach; rounding must not make it one more where both are equal.
        smallest = 0.5 * (np.sqrt(1.0 + 8.0 * reach) - 1.0)
        engaged = int(min(engaged, max(1, np.ceil(smallest * (1.0 - 1e-12)))))
    step = friction / stiffness
    stretched = pull / engaged + step * (np.arange(engaged) - 0.5 * (engaged - 1))
    return np.concatenate([np.zeros(blocks + 1 - engaged), stretched])


def relaxed_chain(
    friction_right: float,
    friction_left: float,
    *,
    blocks: int = 7,
    stiffness: float = 1.0,
    pull: float = 1.0,
) -> Float[np.ndarray, " spring"]:
    """Mean elongations after a long time with noise of any size: exact (derived here).

        d_l = y/(L + 1) + (right - left)/(2k) (l - (L + 2)/2).

    At the force ``f* = (right - left)/2`` friction and noise balance whatever the noise, and the motion around it is the same to both sides; so the
    mean force on every block is f*, for steps of any size. The same holds for the chain with inertia. Noise decides how long it takes only.

    Args:
        friction_right: Against moving towards the pulled end.
        friction_left: Against moving back.
        blocks: L.
        stiffness: k.
        pull: y.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> print(relaxed_chain(0.02, 0.06).round(4))
        [0.195 0.175 0.155 0.135 0.115 0.095 0.075 0.055]
    """
    check_chain(blocks, stiffness, pull)
    _not_negative("friction_right", friction_right)
    _not_negative("friction_left", friction_left)
    slope = (friction_right - friction_left) / (2.0 * stiffness)
    return pull / (blocks + 1) + slope * (np.arange(1, blocks + 2) - 0.5 * (blocks + 2))


def relaxation_rate(
    friction_right: float = 0.0,
    friction_left: float = 0.0,
    noise: float = float("inf"),
    *,
    blocks: int = 7,
    stiffness: float = 1.0,
) -> float:
    """How fast the overdamped chain forgets its start, per unit of time (eta times steps), in the limit of small steps.

    Without friction the slowest mode decays at ``2k (1 - cos(pi/(L + 1)))``. Mean velocities rise with the force by ``Q((right - f)/noise) + Q((left + f)/noise)``, which is least
    at f* = (right - left)/2: with friction the rate is at least ``2 Q((right + left)/(2 noise))`` times that (derived here), Q the upper tail of the normal
    distribution. Differences to the relaxed elongations fall below the square root of the sum of their squares at the start times ``exp(-rate t)``.

    Args:
        friction_right: Against moving towards the pulled end.
        friction_left: Against moving back.
        noise: Standard deviation of the random force of a step, above 0.
        blocks: L.
        stiffness: k.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> round(relaxation_rate(), 3), round(relaxation_rate(0.02, 0.06, 0.1), 3)
        (0.152, 0.105)
    """
    check_chain(blocks, stiffness, 1.0)
    _not_negative("friction_right", friction_right)
    _not_negative("friction_left", friction_left)
    if not noise > 0.0:
        raise ValueError(f"noise: expected a positive number, got {noise!r}")
    slope = 2.0 * float(ndtr(-0.5 * (friction_right + friction_left) / noise))
    return slope * float(2.0 * stiffness * (1.0 - np.cos(np.pi / (blocks + 1))))


class ChainProfile(NamedTuple):
    """Elongations of simulated chains; leading axes are those of the frictions and the noise.

    Attributes:
        elongations: Means over chains and over the last steps.
        errors: Their standard errors, from the spread between chains; NaN for one chain.
    """

    elongations: Float[np.ndarray, "*grid spring"]
    errors: Float[np.ndarray, "*grid spring"]

    @property
    def load(self) -> Float[np.ndarray, "*grid position"]:
        """``y - x_l`` for l = 0 .. L: the load curve that compares with a network's D_0 .. D_L."""
        return np.flip(np.cumsum(np.flip(self.elongations, -1), -1), -1)


def simulate_chain(
    friction_right: ArrayLike,
    friction_left: ArrayLike,
    noise: ArrayLike,
    *,
    blocks: int = 7,
    stiffness: float = 1.0,
    pull: float = 1.0,
    step: float = 0.01,
    steps: int = 10_000,
    averaged: float = 0.5,
    chains: int = 20,
    key: int | PRNGKeyArray = 0,
) -> ChainProfile:
    """The overdamped chain from rest, for a whole grid of frictions and noises in one compiled program.

    Args:
        friction_right: Against moving towards the pulled end; broadcast with the next two.
        friction_left: Against moving back.
        noise: Standard deviation of the random force of a step (not of its square root: it stays when steps become smaller).
        blocks: L.
        stiffness: k.
        pull: y.
        step: eta.
        steps: How many. A chain without friction needs some ``1 / (step * relaxation_rate)`` of them to relax, and more with friction.
        averaged: Share of the steps, the last ones, that is averaged over.
        chains: Independent chains.
        key: Random key, or the integer to make one from.

    Raises:
        ValueError: If an argument is out of range, or the step so large that springs would swing up.

    Example:
        >>> found = simulate_chain(0.1, 0.1, 0.0, steps=6000, averaged=0.1, chains=1)
        >>> print(found.elongations.round(4))
        [0.  0.  0.  0.  0.1 0.2 0.3 0.4]
    """
    grid = _grid(friction_right, friction_left, noise)
    check_chain(blocks, stiffness, pull)
    check_run(steps, averaged, chains)
    check_step(step, stiffness)
    with jax.enable_x64(True):
        values = _overdamped(
            *(jnp.asarray(g.ravel()) for g in grid),
            jnp.asarray([stiffness, pull, step]),
            _key(key),
            blocks,
            steps,
            max(1, round(averaged * steps)),
            chains,
        )
    return _profile(np.asarray(values), grid[0].shape)


def simulate_inertial_chain(
    friction_right: ArrayLike,
    friction_left: ArrayLike,
    noise: ArrayLike,
    *,
    shared_noise: bool = True,
    decay: float = 0.0,
    damping: float = 1.0,
    mass: float = 1.0,
    blocks: int = 7,
    stiffness: float = 0.1,
    pull: float = 1.0,
    step: float = 0.05,
    steps: int = 14_000,
    averaged: float = 0.5,
    chains: int = 20,
    key: int | PRNGKeyArray = 0,
) -> ChainProfile:
    """The chain with inertia from rest, by Euler and Maruyama's method:

        m dv_l = [k (x_{l+1} - 2 x_l + x_{l-1}) - gamma v_l + phi(v_l)] dt + noise e^{-decay t} dW,    dx_l = v_l dt,

    where phi is -right for v > 0, +left for v < 0 and 0 at rest: friction is kinetic only.

    Args:
        friction_right: Against moving towards the pulled end; broadcast with the next two.
        friction_left: Against moving back.
        noise: Of the random force, per square root of time.
        shared_noise: Whether all blocks are shaken alike, by the sum of L independent shakes; otherwise each by its own.
        decay: Rate at which the noise falls.
        damping: gamma.
        mass: m.
        blocks: L.
        stiffness: k.
        pull: y.
        step: dt.
        steps: How many.
        averaged: Share of the steps, the last ones, that is averaged over.
        chains: Independent chains.
        key: Random key, or the integer to make one from.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> found = simulate_inertial_chain(0.0, 0.0, 0.0, steps=8000, averaged=0.01, chains=1, stiffness=1.0)
        >>> print(found.elongations.round(3))
        [0.125 0.125 0.125 0.125 0.125 0.125 0.125 0.125]
    """
    grid = _grid(friction_right, friction_left, noise)
    check_chain(blocks, stiffness, pull)
    _not_negative("decay", decay)
    if not 0.0 < mass < float("inf"):
        raise ValueError(f"mass: expected a positive number, got {mass!r}")
    if not 0.0 < damping < float("inf"):
        raise ValueError(f"damping: expected a positive number, got {damping!r}")
    # A step may take away half of a velocity at most; Euler's method feeds energy into modes that are damped less than the second.
    largest = min(0.5 * mass / damping, damping / (4.0 * stiffness))
    check_run(steps, averaged, chains)
    if not 0.0 < step <= largest:
        raise ValueError(
            f"step: expected a positive number of at most {largest:g}, the lesser of mass/(2 damping) and damping/(4 stiffness), got {step!r}"
        )
    with jax.enable_x64(True):
        values = _inertial(
            *(jnp.asarray(g.ravel()) for g in grid),
            jnp.asarray([stiffness, pull, step, decay, damping, mass]),
            _key(key),
            blocks,
            steps,
            max(1, round(averaged * steps)),
            chains,
            shared_noise,
        )
    return _profile(np.asarray(values), grid[0].shape)


def tension(x: Float[Array, " block"], stiffness: Any, pull: Any) -> Float[Array, " block"]:
    """``k (x_{l+1} - 2 x_l + x_{l-1})`` with the wall at 0 and the end at ``pull``."""
    ends = jnp.concatenate([jnp.zeros(1, x.dtype), x, jnp.reshape(jnp.asarray(pull, x.dtype), 1)])
    return stiffness * (ends[2:] - 2.0 * x + ends[:-2])


@partial(jax.jit, static_argnums=(5, 6, 7, 8))
def _overdamped(
    right: Array, left: Array, noise: Array, scalars: Array, key: PRNGKeyArray, blocks: int, steps: int, last: int, chains: int
) -> Array:  # fmt: skip
    stiffness, pull, eta = scalars

    def one(right: Array, left: Array, noise: Array, key: PRNGKeyArray) -> Array:
        def body(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            x, total = carry
            shake = jax.random.normal(jax.random.fold_in(key, i), (blocks,), x.dtype)
            force = tension(x, stiffness, pull) + noise * shake
            x = x + eta * (jnp.maximum(force - right, 0.0) + jnp.minimum(force + left, 0.0))
            return x, total + jnp.where(i >= steps - last, x, 0.0)

        zero = jnp.zeros(blocks, right.dtype)
        return jax.lax.fori_loop(0, steps, body, (zero, zero))[1] / last

    return _elongations(_on_grid(one, right, left, noise, key, chains), pull)


@partial(jax.jit, static_argnums=(5, 6, 7, 8, 9))
def _inertial(
    right: Array, left: Array, noise: Array, scalars: Array, key: PRNGKeyArray, blocks: int, steps: int, last: int, chains: int,
    shared: bool,
) -> Array:  # fmt: skip
    stiffness, pull, dt, decay, damping, mass = scalars

    def one(right: Array, left: Array, noise: Array, key: PRNGKeyArray) -> Array:
        def body(i: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            x, v, total = carry
            shake = jax.random.normal(jax.random.fold_in(key, i), (blocks,), x.dtype)
            if shared:
                shake = jnp.full_like(shake, jnp.sum(shake))
            friction = jnp.where(v > 0.0, -right, jnp.where(v < 0.0, left, 0.0))
            drift = tension(x, stiffness, pull) - damping * v + friction
            size = noise * jnp.exp(-decay * dt * i.astype(x.dtype)) * jnp.sqrt(dt)
            x, v = x + dt * v, v + (dt * drift + size * shake) / mass
            return x, v, total + jnp.where(i >= steps - last, x, 0.0)

        zero = jnp.zeros(blocks, right.dtype)
        return jax.lax.fori_loop(0, steps, body, (zero, zero, zero))[2] / last

    return _elongations(_on_grid(one, right, left, noise, key, chains), pull)


def _on_grid(
    one: Any, right: Array, left: Array, noise: Array, key: PRNGKeyArray, chains: int
) -> Float[Array, "grid chain block"]:
    keys = jax.random.split(key, (right.shape[0], chains))
    return jax.vmap(jax.vmap(one, in_axes=(None, None, None, 0)))(right, left, noise, keys)


def _elongations(x: Float[Array, "grid chain block"], pull: Array) -> Float[Array, "grid chain spring"]:
    wall = jnp.zeros((*x.shape[:-1], 1), x.dtype)
    return jnp.diff(jnp.concatenate([wall, x, wall + pull], axis=-1), axis=-1)


def _profile(values: np.ndarray, shape: tuple[int, ...]) -> ChainProfile:
    chains = values.shape[1]
    spread = values.std(axis=1, ddof=1) if chains > 1 else np.full(values[:, 0].shape, np.nan)
    size = (*shape, values.shape[-1])
    return ChainProfile(values.mean(axis=1).reshape(size), (spread / np.sqrt(chains)).reshape(size))


def _grid(right: ArrayLike, left: ArrayLike, noise: ArrayLike) -> tuple[np.ndarray, ...]:
    names = ("friction_right", "friction_left", "noise")
    arrays = [np.asarray(a, float) for a in (right, left, noise)]
    for name, array in zip(names, arrays, strict=True):
        bad = ~np.isfinite(array) | (array < 0.0)
        if bad.any():
            raise ValueError(f"{name}: expected finite numbers of at least 0, got {array[bad].flat[0]:g}")
    return tuple(np.broadcast_arrays(*arrays))


def _key(key: int | PRNGKeyArray) -> PRNGKeyArray:
    return key if isinstance(key, jax.Array) else jax.random.key(operator.index(key))


def _not_negative(name: str, value: float) -> None:
    if np.ndim(value) or not 0.0 <= value < float("inf"):
        raise ValueError(f"{name}: expected a finite number of at least 0, got {value!r}")


def check_chain(blocks: int, stiffness: float, pull: float) -> None:
    """Refuse chains that do not exist."""
    _positive_integer("blocks", blocks)
    for name, value in (("stiffness", stiffness), ("pull", pull)):
        if np.ndim(value) or not 0.0 < value < float("inf"):
            raise ValueError(f"{name}: expected a positive number, got {value!r}")


def check_run(steps: int, averaged: float, chains: int) -> None:
    """Refuse simulations that could not be made."""
    _positive_integer("steps", steps)
    _positive_integer("chains", chains)
    if not 0.0 < averaged <= 1.0:
        raise ValueError(f"averaged: expected a share above 0 and at most 1, got {averaged!r}")


def check_step(step: float, stiffness: float) -> None:
    """Refuse steps of the overdamped chain at which springs would swing up."""
    if not 0.0 < step * stiffness <= 0.5:
        raise ValueError(f"step: expected a positive number of at most {0.5 / stiffness:g}, got {step!r}")


def _positive_integer(name: str, value: int) -> None:
    try:
        positive = operator.index(value) > 0
    except TypeError:
        positive = False
    if not positive:
        raise ValueError(f"{name}: expected a positive integer, got {value!r}")
