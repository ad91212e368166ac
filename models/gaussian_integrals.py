"""Gaussian averages of activations that have no closed form, in double precision on the host.

A Gaussian pair (u, v) here has zero mean, variances q1, q2 and covariance c = ρ √(q1 q2). Two methods cover every
correlation, ρ = ±1 included, without a two-dimensional grid per pair:

- piecewise linear φ: Price's theorem, ∂/∂c E φ(u)φ(v) = E φ'(u)φ'(v), used twice, leaves one smooth integral over
  the correlation;
- smooth φ: Mehler's formula, E φ(u)φ(v) = Σ_n a_n(q1) a_n(q2) ρⁿ with a_n(q) the coefficients of φ(√q x) in
  normalized Hermite polynomials; the part of E φ² that the sum leaves out bounds the error by Cauchy-Schwarz.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy import special  # pyright: ignore[reportMissingTypeStubs]

from hiddencodes.models.activations import Activation

_ANGLE_NODES = 64
_SMOOTH_TOLERANCE = 1e-10
_MAXIMUM_ORDER = 2**14
_ORDERS_PER_BLOCK = 64
_MAXIMUM_VARIANCES = 4096
# The weight exp(-x²/4) of the Hermite functions is below 1e-18 beyond ±13; 2048 steps resolve order 2**14.
_GRID = np.linspace(-13.0, 13.0, 2049)


class PiecewiseLinear(NamedTuple):
    """φ(z) = intercept + slope z + Σ_k bends_k max(z - kinks_k, 0)."""

    intercept: float
    slope: float
    bends: tuple[float, ...]
    kinks: tuple[float, ...]


def evaluate(activation: Activation, z: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """φ(z) in double precision, whatever precision JAX is set to.

    Example:
        >>> from hiddencodes.models.activations import tanh
        >>> print(evaluate(tanh, np.array([1.0])))
        [0.76159416]
    """
    with jax.enable_x64(True):
        argument = jnp.asarray(z, dtype=jnp.float64)  # pyright: ignore[reportUnknownMemberType]
        return np.asarray(activation(argument))


def piecewise_linear_form(activation: Activation) -> PiecewiseLinear:
    """Read intercept, slope and bends off a piecewise linear activation.

    Raises:
        ValueError: if the activation does not say that it is piecewise linear.

    Example:
        >>> from hiddencodes.models.activations import hard_tanh
        >>> piecewise_linear_form(hard_tanh)
        PiecewiseLinear(intercept=-1.0, slope=0.0, bends=(1.0, -1.0), kinks=(-1.0, 1.0))
    """
    if not activation.piecewise_linear:
        raise ValueError(f"activation {activation} is not piecewise linear")
    kinks = activation.kinks
    points = np.array([kinks[0] - 1.0, *kinks, kinks[-1] + 1.0] if kinks else [0.0, 1.0])
    values = evaluate(activation, points)
    slopes = np.diff(values) / np.diff(points)
    intercept = float(values[0] - slopes[0] * points[0])
    return PiecewiseLinear(intercept, float(slopes[0]), tuple(map(float, np.diff(slopes))), kinks)


def _threshold(kink: float, variance: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    # Beyond 40 standard deviations every Gaussian factor is zero in double precision, so that the bound changes
    # nothing; it keeps a vanishing variance from producing inf - inf.
    return np.clip(kink / np.maximum(np.sqrt(variance), 1e-160), -1e100, 1e100)


def piecewise_linear_mean(
    form: PiecewiseLinear, variance: Float[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape"]:
    """E φ(u), u ~ N(0, q): E max(u - κ, 0) = √q ϕ(h) - κ Φ(-h), h = κ/√q, for every bend.

    Example:
        >>> relu = PiecewiseLinear(0.0, 0.0, (1.0,), (0.0,))
        >>> print(piecewise_linear_mean(relu, np.array([1.0])) * math.sqrt(2 * math.pi))
        [1.]
    """
    mean = np.full(variance.shape, form.intercept)
    for bend, kink in zip(form.bends, form.kinks, strict=True):
        h = _threshold(kink, variance)
        density = np.exp(-0.5 * np.square(h)) / math.sqrt(2.0 * math.pi)
        mean += bend * (np.sqrt(variance) * density - kink * special.ndtr(-h))
    return mean


def _mean_slope(form: PiecewiseLinear, variance: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    slope = np.full(variance.shape, form.slope)
    for bend, kink in zip(form.bends, form.kinks, strict=True):
        slope += bend * special.ndtr(-_threshold(kink, variance))
    return slope


def piecewise_linear_kernel(
    form: PiecewiseLinear,
    q1: Float[np.ndarray, "..."],
    q2: Float[np.ndarray, "..."],
    correlation: Float[np.ndarray, "..."],
) -> Float[np.ndarray, "..."]:
    """E φ(u)φ(v) of a piecewise linear φ, by one quadrature over the correlation.

    With h = κ/√q1, k = κ'/√q2 and Q = √(q1 q2),

        E φ(u)φ(v) = Eφ(u) Eφ(v) + c Eφ'(u) Eφ'(v)
                     + (1/2π) Σ_{κκ'} γ_κ γ_κ' ∫_0^{arcsin ρ} Q (ρ - sin θ) exp[-(h² - 2hk sin θ + k²)/(2 cos² θ)] dθ.

    The weight ρ - sin θ vanishes where the exponential becomes steep, so that 64 Gauss-Legendre nodes leave an
    error below 1e-9 Q at every correlation.

    Args:
        form: The activation.
        q1: Variance of u; broadcasts with the other two.
        q2: Variance of v.
        correlation: ρ, between -1 and 1.

    Returns:
        The kernel, in the broadcast shape.

    Example:
        >>> relu = PiecewiseLinear(0.0, 0.0, (1.0,), (0.0,))
        >>> one = np.ones(3)
        >>> print(np.round(piecewise_linear_kernel(relu, one, one, np.array([-1.0, 0.0, 1.0])), 8) + 0.0)
        [0.         0.15915494 0.5       ]
    """
    scale = np.sqrt(q1) * np.sqrt(q2)
    size = np.abs(correlation)
    sign = np.where(correlation < 0.0, -1.0, 1.0)
    largest_angle = np.arcsin(size)
    first = [_threshold(kink, q1) for kink in form.kinks]
    second = [_threshold(kink, q2) for kink in form.kinks]
    total = np.zeros(np.broadcast_shapes(q1.shape, q2.shape, correlation.shape))
    for node, weight in zip(*np.polynomial.legendre.leggauss(_ANGLE_NODES), strict=True):
        angle = largest_angle * (0.5 + 0.5 * node)
        sine = np.sin(angle)
        half_inverse_cosine2 = 0.5 / np.square(np.cos(angle))
        inverse = 1.0 / (1.0 + sine)
        density = np.zeros_like(total)
        for bend, h in zip(form.bends, first, strict=True):
            for other_bend, k in zip(form.bends, second, strict=True):
                # A negative correlation is a positive one with v mirrored; the exponent is written so that it
                # does not cancel as the correlation approaches one.
                mirrored = sign * k
                exponent = np.square(h - mirrored) * half_inverse_cosine2 + h * mirrored * inverse
                density += bend * other_bend * np.exp(-exponent)
        total += weight * (size - sine) * density
    curvature = scale * largest_angle * total / (4.0 * math.pi)
    independent = piecewise_linear_mean(form, q1) * piecewise_linear_mean(form, q2)
    return independent + correlation * scale * _mean_slope(form, q1) * _mean_slope(form, q2) + curvature


def _tabulated(
    activation: Activation, variance: Float[np.ndarray, " value"]
) -> Float[np.ndarray, "node value"]:
    if activation.kinks:
        raise ValueError(f"activation {activation}: curved pieces between kinks are not integrated")
    values = evaluate(activation, _GRID[:, None] * np.sqrt(variance))
    step = _GRID[1] - _GRID[0]
    return values * (math.sqrt(step) * (2.0 * math.pi) ** -0.25 * np.exp(-0.25 * np.square(_GRID)))[:, None]


def smooth_mean(activation: Activation, variance: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """E φ(u), u ~ N(0, q), of a smooth φ by the trapezoidal rule, which converges exponentially here.

    Raises:
        ValueError: if the activation has kinks.

    Example:
        >>> from hiddencodes.models.activations import tanh
        >>> bool(abs(smooth_mean(tanh, np.array([2.0]))[0]) < 1e-15)
        True
    """
    values, index = np.unique(variance, return_inverse=True)
    step = _GRID[1] - _GRID[0]
    weight = math.sqrt(step) * (2.0 * math.pi) ** -0.25 * np.exp(-0.25 * np.square(_GRID))
    return (weight @ _tabulated(activation, values))[index].reshape(variance.shape)


def smooth_kernel(
    activation: Activation,
    q1: Float[np.ndarray, "..."],
    q2: Float[np.ndarray, "..."],
    correlation: Float[np.ndarray, "..."],
) -> Float[np.ndarray, "..."]:
    """E φ(u)φ(v) of a smooth φ by Mehler's formula, to 1e-10 of √(Eφ(u)² Eφ(v)²).

    The number of terms is found from the sum itself: it stops when Σ_n a_n(q)² has come within 1e-10 of E φ(u)²
    for every variance present. Coefficients are computed once per distinct variance.

    Args:
        activation: A smooth activation.
        q1: Variance of u; broadcasts with the other two.
        q2: Variance of v.
        correlation: ρ, between -1 and 1.

    Returns:
        The kernel, in the broadcast shape.

    Raises:
        ValueError: if the activation has kinks, or 16384 terms do not suffice (tanh: variances above about 300).

    Example:
        >>> from hiddencodes.models.activations import tanh
        >>> one = np.ones(2)
        >>> print(smooth_kernel(tanh, one, one, np.array([0.5, 1.0])))
        [0.18632441 0.39429449]
    """
    shape = np.broadcast_shapes(q1.shape, q2.shape, correlation.shape)
    values, index = np.unique(np.concatenate([q1.ravel(), q2.ravel()]), return_inverse=True)
    if values.size > _MAXIMUM_VARIANCES:
        flat = [np.broadcast_to(each, shape).ravel() for each in (q1, q2, correlation)]
        pieces = -(-flat[0].size // (_MAXIMUM_VARIANCES // 2))
        parts = [
            smooth_kernel(activation, *part)
            for part in zip(*(np.array_split(each, pieces) for each in flat), strict=True)
        ]
        return np.concatenate(parts).reshape(shape)
    first, second = index[: q1.size].reshape(q1.shape), index[q1.size :].reshape(q2.shape)

    table = _tabulated(activation, values)
    second_moment = np.sum(np.square(table), axis=0)
    missing = second_moment.copy()
    total, power, gap = np.zeros(shape), np.ones(correlation.shape), 0
    previous = np.zeros_like(_GRID)
    current = (2.0 * math.pi) ** -0.25 * np.exp(-0.25 * np.square(_GRID)) * math.sqrt(_GRID[1] - _GRID[0])
    for start in range(0, _MAXIMUM_ORDER, _ORDERS_PER_BLOCK):
        basis = np.empty((_ORDERS_PER_BLOCK, _GRID.size))
        for row in range(_ORDERS_PER_BLOCK):
            order = start + row
            basis[row] = current
            following = (_GRID * current - math.sqrt(order) * previous) / math.sqrt(order + 1)
            previous, current = current, following
        for coefficients in basis @ table:
            # An odd or even function has every other coefficient at the level of rounding.
            if np.max(np.square(coefficients)) > 1e-30 * np.max(second_moment):
                power = power * (correlation if gap == 1 else correlation**gap)
                total += coefficients[first] * coefficients[second] * power
                missing -= np.square(coefficients)
                gap = 0
            gap += 1
        if np.all(missing <= _SMOOTH_TOLERANCE * second_moment):
            return total
    worst = float(values[np.argmax(missing)])
    raise ValueError(
        f"activation {activation}: {_MAXIMUM_ORDER} Hermite terms do not suffice at variance {worst}"
    )
