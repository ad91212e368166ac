"""The overdamped chain at small steps, and the friction and noise that reproduce a measured load curve."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erfc
from jaxtyping import Array, ArrayLike, Bool, Float
from scipy.optimize import least_squares  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from hiddencodes.theory.spring_block import check_chain, check_run, check_step, tension

_SMALLEST, _LARGEST = 1e-3, 2.0
_GRID, _STARTS, _REFINEMENTS = 33, 4, 8
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
    if not (0.0 < noise < float("inf") and 0.0 < friction < float("inf")):
        raise ValueError(f"friction, noise: expected positive numbers, got {friction!r} and {noise!r}")
    check_chain(blocks, 1.0, pull)
    _check_profile(ratio, step, steps, averaged)
    with jax.enable_x64(True):
        numbers = (jnp.asarray(float(v)) for v in (np.log(friction), np.log(noise), ratio, pull, step))
        return np.asarray(_profile(*numbers, blocks, steps, max(1, round(averaged * steps))))


class ChainFit(NamedTuple):
    """The chain whose load curve is nearest to a measured one.

    Attributes:
        friction: Against moving towards the pulled end, for a pull of 1 and stiffness 1.
        noise: Standard deviation of the random force.
        friction_error: Standard error of ``ln friction``; infinite if the curve does not tell, or the fit ends where the search does.
        noise_error: The same of ``ln noise``.
        loads: Shares of the loads in the fit.
        chi_squared: Sum of squared deviations over squared errors, of ``L - 3`` degrees of freedom (L - 1 free shares, two parameters); errors mean
            nothing where it is far above those.
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
    friction only, and what a chain without noise looks like does too: then the errors say that noise is not known. Errors are the larger
    of those of the curvature at the minimum and of half the range in which the profile of chi squared is below its minimum plus four, because such curves have
    ridges along which neither parameter is known.

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
    # Shares of a sum that is nothing but a rounding error would be meaningless.
    if not (np.all(np.isfinite(d)) and d.sum() > 1e-6 * np.abs(d).sum()):
        raise ValueError(f"loads: expected finite numbers with a positive sum, got {d.tolist()}")
    if not (np.all(np.isfinite(s)) and np.all(s > 0.0)):
        raise ValueError(f"errors: expected positive numbers, got {s.tolist()}")
    _check_profile(ratio, step, steps, averaged)
    shares, total = d / d.sum(), d.sum()
    # Shares are not independent: dividing by the sum takes one direction away.
    turn = (np.eye(d.size) - shares[:, None]) / total
    values, vectors = np.linalg.eigh(turn @ np.diag(s**2) @ turn.T)
    whiten = (vectors[:, 1:] / np.sqrt(values[1:])).T
    size = (d.size, steps, max(1, round(averaged * steps)))
    axis = np.linspace(np.log(_SMALLEST), np.log(_LARGEST), _GRID)
    with jax.enable_x64(True):
        fixed = jnp.asarray([float(ratio), 1.0, float(step)])
        measured = _Measured(jnp.asarray(whiten), jnp.asarray(shares), fixed)
        table = np.sum(
            ((np.asarray(_shapes(fixed, jnp.asarray(axis), size)) - shares) @ whiten.T) ** 2, axis=-1
        )

        def residual(p: np.ndarray) -> np.ndarray:
            return np.asarray(_residual(jnp.asarray(p), measured, size))

        def slope(p: np.ndarray) -> np.ndarray:
            return np.asarray(_slope(jnp.asarray(p), measured, size))

        solve: Any = least_squares
        tried: list[Any] = []
        for place in np.argsort(table, axis=None)[:_STARTS]:
            start = np.clip(axis[list(np.unravel_index(place, table.shape))], axis[0] + 1e-6, axis[-1] - 1e-6)
            tried.append(solve(residual, start, slope, bounds=(axis[0], axis[-1])))
        best = tried[int(np.argmin([each.cost for each in tried]))]
        profiles = [
            np.asarray(
                _refined(
                    jnp.asarray(axis), jnp.asarray(axis[np.argmin(table, axis=1 - i)]), measured, size, i
                )
            )
            for i in (0, 1)
        ]
        fitted, jacobian = np.asarray(_shape(jnp.asarray(best.x), fixed, size)), slope(best.x)
    friction, noise = np.exp(best.x)
    limit = 2.0 * best.cost + 4.0
    error = [
        max(local, 0.5 * _reach(profiles[i] <= limit, axis, best.x[i]))
        for i, local in enumerate(_errors(jacobian))
    ]
    return ChainFit(float(friction), float(noise), error[0], error[1], fitted, float(2.0 * best.cost))


Sizes = tuple[int, int, int]
"""Layers, steps, and how many of the last ones are averaged over."""


@partial(jax.jit, static_argnums=2)
def _shape(p: Array, fixed: Array, size: Sizes) -> Float[Array, " layer"]:
    """Shares of the loads of the chain with these logarithms of friction and noise."""
    layers, steps, last = size
    found = _profile(p[0], p[1], fixed[0], fixed[1], fixed[2], layers, steps, last)[:layers]
    return found / jnp.sum(found)


@partial(jax.jit, static_argnums=2)
def _shapes(fixed: Array, axis: Array, size: Sizes) -> Float[Array, "friction noise layer"]:
    def one(friction: Array, noise: Array) -> Array:
        return _shape(jnp.stack([friction, noise]), fixed, size)

    return jax.vmap(jax.vmap(one, in_axes=(None, 0)), in_axes=(0, None))(axis, axis)


class _Measured(NamedTuple):
    """What a chain is fitted to.

    Attributes:
        whiten: Takes differences of shares to numbers of variance 1.
        shares: Of the loads.
        fixed: Ratio of the frictions, pull and step.
    """

    whiten: Float[Array, "row layer"]
    shares: Float[Array, " layer"]
    fixed: Float[Array, "3"]


@partial(jax.jit, static_argnums=2)
def _residual(p: Array, measured: _Measured, size: Sizes) -> Float[Array, " row"]:
    return measured.whiten @ (_shape(p, measured.fixed, size) - measured.shares)


@partial(jax.jit, static_argnums=2)
def _slope(p: Array, measured: _Measured, size: Sizes) -> Float[Array, "row parameter"]:
    def residual(p: Array) -> Array:
        return _residual(p, measured, size)

    return jax.jacfwd(residual)(p)


@partial(jax.jit, static_argnums=(3, 4))
def _refined(
    axis: Array, others: Array, measured: _Measured, size: Sizes, which: int
) -> Float[Array, " point"]:
    """Chi squared along one parameter, at its smallest over the other one, which begins at ``others``."""

    def at(value: Array, other: Array) -> Array:
        return _residual(jnp.stack([value, other] if which == 0 else [other, value]), measured, size)

    def one(value: Array, other: Array) -> Array:
        def step(carry: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], None]:
            other, length, least = carry
            r, slope = jax.jvp(partial(at, value), (other,), (jnp.ones_like(other),))
            # Gauss and Newton's step, shorter after one that did not help.
            move = -length * jnp.vdot(slope, r) / jnp.maximum(jnp.vdot(slope, slope), 1e-30)
            tried = jnp.clip(other + jnp.clip(move, -0.3, 0.3), axis[0], axis[-1])
            found = jnp.sum(jnp.square(at(value, tried)))
            better = found < least
            new = (
                jnp.where(better, tried, other),
                jnp.where(better, 1.0, 0.3 * length),
                jnp.minimum(found, least),
            )
            return new, None

        first = (other, jnp.ones_like(other), jnp.sum(jnp.square(at(value, other))))
        return jax.lax.scan(step, first, length=_REFINEMENTS)[0][2]

    return jax.vmap(one)(axis, others)


def _reach(allowed: Bool[np.ndarray, " point"], axis: Float[np.ndarray, " point"], best: float) -> float:
    """How far from the best value there are others that are as good; infinite up to the ends of the search."""
    near = axis[allowed]
    ends = (axis[0] + 1e-3, axis[-1] - 1e-3)
    if not ends[0] < best < ends[1] or (near.size and not (ends[0] < near[0] and near[-1] < ends[1])):
        return float("inf")
    return float(np.abs(near - best).max()) if near.size else 0.0


def _check_profile(ratio: float, step: float, steps: int, averaged: float) -> None:
    if not 0.0 <= ratio < float("inf"):
        raise ValueError(f"ratio: expected a finite number of at least 0, got {ratio!r}")
    check_run(steps, averaged, 1)
    check_step(step, 1.0)


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
