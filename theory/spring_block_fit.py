"""The overdamped chain at small steps, and the friction and noise that reproduce a measured load curve."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erfc
from jaxtyping import Array, ArrayLike, Float
from scipy.optimize import least_squares  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from hiddencodes.theory.spring_block import tension

_SMALLEST, _LARGEST = 1e-3, 2.0
# Standard errors of log-parameters that are beyond this say that a parameter is not known.
_UNKNOWN = 3.0


def mean_drift(
    force: Float[Array, "*shape"], right: Float[Array, ""], left: Float[Array, ""], noise: Float[Array, ""]
) -> Float[Array, "*shape"]:
    """Mean velocity of a block, ``E s(f + noise xi)`` (derived here), with ``psi(a) = phi(a) - a Q(a)`` of the normal density and upper tail:

        noise [psi((right - f)/noise) - psi((left + f)/noise)].

    Args:
        force: The springs' force f.
        right: Friction against moving right.
        left: Friction against moving left.
        noise: Standard deviation of the random force, above 0.

    Example:
        >>> one = jnp.asarray
        >>> print(round(float(mean_drift(one(0.0), one(0.1), one(0.1), one(0.5))), 6))
        0.0
    """

    def psi(a: Array) -> Array:
        tail = 0.5 * erfc(a / np.sqrt(2.0).item())
        return jnp.exp(-0.5 * a * a) / np.sqrt(2.0 * np.pi).item() - a * tail

    return noise * (psi((right - force) / noise) - psi((left + force) / noise))


@partial(jax.jit, static_argnums=(5, 6, 7))
def _profile(
    log_friction: Array, log_noise: Array, ratio: Array, pull: Array, step: Array, blocks: int, steps: int, last: int
) -> Float[Array, " spring"]:  # fmt: skip
    """Elongations of the chain without fluctuations, averaged over the last steps."""
    friction, noise = jnp.exp(log_friction), jnp.exp(log_noise)

    def body(carry: tuple[Array, Array], i: Array) -> tuple[tuple[Array, Array], None]:
        x, total = carry
        x = x + step * mean_drift(tension(x, 1.0, pull), friction, ratio * friction, noise)
        return (x, total + jnp.where(i >= steps - last, x, 0.0)), None

    zero = jnp.zeros(blocks, friction.dtype)
    # A scan, not a loop: it has to be differentiated forward.
    (_, total), _ = jax.lax.scan(body, (zero, zero), jnp.arange(steps, dtype=jnp.int32))
    x = total / last
    ends = jnp.concatenate([jnp.zeros(1, x.dtype), x, jnp.reshape(pull, 1)])
    return jnp.diff(ends)


def chain_profile(
    friction: float,
    noise: float,
    *,
    ratio: float = 2.0,
    blocks: int = 7,
    pull: float = 1.0,
    step: float = 0.05,
    steps: int = 2_000,
    averaged: float = 0.5,
) -> Float[np.ndarray, " spring"]:
    """Mean elongations of the overdamped chain at a finite time, in the limit of small steps, at stiffness 1.

    Positions fluctuate by O(sqrt(eta)) around this, so that means of `hiddencodes.simulate_chain` with ``step`` eta differ by O(eta).

    Args:
        friction: Against moving towards the pulled end.
        noise: Standard deviation of the random force, above 0.
        ratio: Friction against moving back, over ``friction``.
        blocks: L.
        pull: y.
        step: Step of Euler's method.
        steps: How many; the time is ``step * steps``.
        averaged: Share of the steps, the last ones, that is averaged over.

    Example:
        >>> print(chain_profile(0.02, 0.4, ratio=3.0).round(3))
        [0.195 0.175 0.155 0.135 0.115 0.095 0.075 0.055]
    """
    if not (noise > 0.0 and friction > 0.0):
        raise ValueError(f"friction, noise: expected positive numbers, got {friction!r} and {noise!r}")
    with jax.enable_x64(True):
        numbers = (jnp.asarray(float(v)) for v in (np.log(friction), np.log(noise), ratio, pull, step))
        return np.asarray(_profile(*numbers, blocks, steps, max(1, round(averaged * steps))))


class ChainFit(NamedTuple):
    """The chain whose load curve is nearest to a measured one.

    Attributes:
        friction: Against moving towards the pulled end, for a pull of 1 and stiffness 1.
        noise: Standard deviation of the random force.
        friction_error: Standard error of ``ln friction``; infinite if the curve does not tell.
        noise_error: Standard error of ``ln noise``; infinite if the curve does not tell.
        loads: Shares of the loads in the fit.
        chi_squared: Sum of squared deviations over squared errors, of ``L - 3`` degrees of freedom (L - 1 free shares, two parameters).
    """

    friction: float
    noise: float
    friction_error: float
    noise_error: float
    loads: Float[np.ndarray, " layer"]
    chi_squared: float


def fit_chain(
    loads: ArrayLike,
    errors: ArrayLike,
    *,
    ratio: float = 2.0,
    step: float = 0.05,
    steps: int = 2_000,
    averaged: float = 0.5,
) -> ChainFit:
    """Friction and noise of the chain that has the load curve of a network at a finite time.

    Compared are the shares ``d_l / sum d`` of the loads of L layers with those of the elongations of a chain's first L springs; how far classes are
    separated in all is the unit of length. Least squares from many starts. What a long-relaxed chain looks like depends on
    friction only, and what a chain without noise looks like does too: then the errors say that noise is not known.

    Args:
        loads: ``D_{l-1} - D_l`` of every layer, of a positive sum.
        errors: Their standard errors.
        ratio: Friction against moving back over that against moving on; 1 is never convex.
        step: As in `chain_profile`.
        steps: As in `chain_profile`.
        averaged: As in `chain_profile`.

    Raises:
        ValueError: If there are fewer than four layers, errors are not positive, or the loads do not have a positive sum.

    Example:
        >>> loads = chain_profile(0.1, 0.1)[:7]
        >>> fit = fit_chain(loads, np.full(7, 0.002))
        >>> print(round(fit.friction, 3), round(fit.noise, 3))
        0.1 0.1
    """
    d, s = np.asarray(loads, float), np.asarray(errors, float)
    if d.ndim != 1 or d.size < 4 or s.shape != d.shape:
        raise ValueError(
            f"loads: expected at least four and as many errors, got the shapes {d.shape}, {s.shape}"
        )
    if not (np.all(np.isfinite(d)) and d.sum() > 0.0):
        raise ValueError(f"loads: expected finite numbers with a positive sum, got {d.tolist()}")
    if not (np.all(np.isfinite(s)) and np.all(s > 0.0)):
        raise ValueError(f"errors: expected positive numbers, got {s.tolist()}")
    if not 0.0 <= ratio < float("inf"):
        raise ValueError(f"ratio: expected a finite number of at least 0, got {ratio!r}")
    shares, total = d / d.sum(), d.sum()
    # Shares are not independent: dividing by the sum takes one direction away.
    turn = (np.eye(d.size) - shares[:, None]) / total
    covariance = turn @ np.diag(s**2) @ turn.T
    values, vectors = np.linalg.eigh(covariance)
    whiten = (vectors[:, 1:] / np.sqrt(values[1:])).T
    size, last = (d.size, steps), max(1, round(averaged * steps))
    with jax.enable_x64(True):
        fixed = tuple(jnp.asarray(float(v)) for v in (ratio, 1.0, step))

        def shape(p: Array) -> Array:
            found = _profile(p[0], p[1], *fixed, *size, last)[: d.size]
            return found / jnp.sum(found)

        def residual(p: Array) -> Array:
            return jnp.asarray(whiten) @ (shape(p) - jnp.asarray(shares))

        value, slope = jax.jit(residual), jax.jit(jax.jacfwd(residual))

        def residual_at(p: np.ndarray) -> np.ndarray:
            return np.asarray(value(jnp.asarray(p)))

        def slope_at(p: np.ndarray) -> np.ndarray:
            return np.asarray(slope(jnp.asarray(p)))

        axis = np.linspace(np.log(_SMALLEST), np.log(_LARGEST), 12)
        starts = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
        first = np.sum(np.asarray(jax.jit(jax.vmap(residual))(jnp.asarray(starts))) ** 2, axis=1)
        bounds = (np.log(_SMALLEST) - 0.1, np.log(_LARGEST) + 0.1)
        solve: Any = least_squares
        tried = [solve(residual_at, starts[i], slope_at, bounds=bounds) for i in np.argsort(first)[:4]]
        best = tried[int(np.argmin([each.cost for each in tried]))]
        jacobian, fitted = slope_at(best.x), np.asarray(shape(jnp.asarray(best.x)))
    friction, noise = np.exp(best.x)
    error = _errors(jacobian)
    return ChainFit(float(friction), float(noise), *error, fitted, float(2.0 * best.cost))


def _errors(jacobian: Float[np.ndarray, "row parameter"]) -> tuple[float, float]:
    """Standard errors of both log-parameters; a direction without any effect makes those it moves infinite."""
    _, singular, directions = np.linalg.svd(jacobian, full_matrices=False)
    variance = np.zeros(2)
    for value, direction in zip(singular, directions, strict=True):
        moves = np.abs(direction) > 1e-3
        variance[moves] += np.inf if value < 1e-9 else (direction[moves] / value) ** 2
    error = np.sqrt(variance)
    return (
        float(error[0]) if error[0] < _UNKNOWN else float("inf"),
        float(error[1]) if error[1] < _UNKNOWN else float("inf"),
    )
