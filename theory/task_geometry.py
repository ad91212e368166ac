"""What gradient flow does to the geometry of one hidden layer: each condition's preactivation moves by itself.

One hidden layer on d conditions at orthonormal means, a fixed readout of signs J = +1 and -1, the logistic or squared loss at small output,
where the error of condition c is its target s_c of +1 or -1. In preactivations ``h_c = w . x_c`` of a unit gradient flow decouples,

    dh_c/dt = (J / 2d) s_c phi'(h_c).

A ReLU unit keeps the preferred conditions it began to respond to, forgets the others and never learns those it was silent on: it carries
the inputs' structure. A tanh unit is driven to the sign of its preferred class on every condition: it carries the targets'
(arXiv 2401.13558; the decoupling and the closed forms are derived here).
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri  # pyright: ignore[reportMissingTypeStubs]

from hiddencodes.models.activations import Activation

# JAX's signatures are partly untyped.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false


class GeometryPrediction(NamedTuple):
    """Measures of a hidden layer.

    Attributes:
        target_alignment: Centred alignment of its kernel with the targets.
        input_alignment: Centred alignment with the inputs.
        parallelism: Parallelism score of the target.
    """

    target_alignment: float
    input_alignment: float
    parallelism: float


def rich_relu(n_conditions: int) -> GeometryPrediction:
    """The layer of ReLU units that began with negligible weights, for one balanced target.

    Every unit ends selective for a random half of its preferred class, ``K ~ 1 + (1 within a class)`` up to scale, so that with d
    conditions

        target: (1 + d/2) / sqrt((1 + d/2)^2 + d - 2),   inputs: (3d/2 - 1) / (sqrt(d - 1) sqrt((1 + d/2)^2 + d - 2)),

    and parallelism 1/2.

    >>> [round(x, 3) for x in rich_relu(4)]
    [0.905, 0.87, 0.5]
    """
    d = _even(n_conditions)
    norm = math.sqrt((1 + d / 2) ** 2 + d - 2)
    return GeometryPrediction((1 + d / 2) / norm, (3 * d / 2 - 1) / (math.sqrt(d - 1) * norm), 0.5)


def rich_saturating(n_conditions: int) -> GeometryPrediction:
    """The layer of units that saturate on both sides, such as tanh, for one balanced target: it is the target's.

    >>> [round(x, 3) for x in rich_saturating(4)]
    [1.0, 0.577, 1.0]
    """
    return GeometryPrediction(1.0, 1 / math.sqrt(_even(n_conditions) - 1), 1.0)


def decoupled_flow(
    activation: Activation,
    labels: ArrayLike,
    *,
    initial_std: float,
    growth: float,
    nodes: int = 64,
    steps: int = 2000,
) -> Float[np.ndarray, "condition condition_2"]:
    """The layer's kernel after gradient flow of infinitely many units from Gaussian preactivations.

    Flow is followed for every node of a quadrature over the initial preactivation; conditions are independent given the sign of the
    readout, so that ``K_cd = E_J[E phi(h_c) E phi(h_d)]`` beside the diagonal and ``E_J E phi(h_c)^2`` on it.

    Args:
        activation: phi.
        labels: Target of every condition, +1 or -1.
        initial_std: Standard deviation of initial preactivations: much below 1 is the rich, above it the lazy regime.
        growth: Time in units of 2d, by which a preactivation with phi' = 1 would have grown.
        nodes: Nodes of the quadrature.
        steps: Steps of the midpoint rule.

    >>> from hiddencodes.models import tanh
    >>> kernel = decoupled_flow(tanh, [1, 1, -1, -1], initial_std=0.01, growth=30.0)
    >>> kernel[:2, 1:3].round(1)
    array([[ 1., -1.],
           [ 1., -1.]])
    """
    s = np.asarray(labels, float).ravel()
    if np.any(np.abs(s) != 1):
        raise ValueError(f"labels: expected +1 and -1, got {labels!r}")
    if not initial_std > 0 or not growth >= 0:
        raise ValueError(
            f"initial_std, growth: expected a positive and a number from 0, got {initial_std!r}, {growth!r}"
        )
    # Equal masses on both sides of zero: whether a ReLU unit is silent decides on everything.
    start = initial_std * ndtri((np.arange(nodes) + 0.5) / nodes)
    moments: dict[float, tuple[float, float]] = {}
    with jax.enable_x64(True):
        for direction in (1.0, -1.0):
            phi = np.asarray(
                _flow(activation, jnp.asarray(start), jnp.asarray(direction * growth / steps), steps)
            )
            moments[direction] = (float(np.mean(phi)), float(np.mean(phi**2)))
    kernel = np.zeros((len(s), len(s)))
    for sign in (1.0, -1.0):
        mean = np.asarray([moments[sign * x][0] for x in s])
        square = np.asarray([moments[sign * x][1] for x in s])
        one = np.outer(mean, mean)
        np.fill_diagonal(one, square)
        kernel += 0.5 * one
    return kernel


class SmoothedGate(NamedTuple):
    """A unit's gate under a Gaussian preactivation.

    Attributes:
        slope: ``E phi'(h)``.
        change: ``E phi''(h)``, its derivative by the mean.
    """

    slope: Float[np.ndarray, "*shape"]
    change: Float[np.ndarray, "*shape"]


# Standardized preactivations beyond this have no weight; spacing of the sum in units of the preactivation, and its fewest points.
_REACH, _SPACING, _POINTS = 9.0, 0.1, 201


def smoothed_gate(activation: Activation, mean: ArrayLike | float, std: ArrayLike | float) -> SmoothedGate:
    """What input noise does to a unit's gate: the mean of its slope, and of the slope's own slope.

    Of piecewise linear activations they are sums of normal probabilities and densities at the kinks, ``(1 + erf(mean / (sqrt 2 std))) / 2`` for
    ReLU. Of smooth ones they are trapezoidal sums, whose error falls exponentially with the spacing; ``E phi'' = E[phi'(h) (h - mean)] / std^2``.

    Args:
        activation: phi.
        mean, std: Of the preactivation; std may be 0, and ``change`` is then 0 as well for piecewise linear activations.

    >>> from hiddencodes.models import relu
    >>> smoothed_gate(relu, [0.0, 1.0], 1.0).slope.round(3)
    array([0.5  , 0.841])
    """
    m, s = np.broadcast_arrays(np.asarray(mean, float), np.asarray(std, float))
    if activation.piecewise_linear:
        # The slope is constant between kinks; on either side of all of them it is that one unit away.
        kinks = np.asarray(activation.kinks, float)
        between = (
            np.concatenate([kinks[:1] - 1, 0.5 * (kinks[:-1] + kinks[1:]), kinks[-1:] + 1])
            if len(kinks)
            else np.zeros(1)
        )
        slopes = _slope(activation, between)
        with np.errstate(divide="ignore", invalid="ignore"):
            z = (m[..., None] - kinks) / s[..., None]
            above = np.where(s[..., None] > 0, ndtr(z), m[..., None] > kinks)
            density = np.where(
                s[..., None] > 0, np.exp(-0.5 * z**2) / (math.sqrt(2 * math.pi) * s[..., None]), 0.0
            )
        return SmoothedGate(
            np.asarray(slopes[0] + above @ np.diff(slopes)), np.asarray(density @ np.diff(slopes))
        )
    points = max(_POINTS, math.ceil(2 * _REACH * float(s.max(initial=0.0)) / _SPACING) | 1)
    nodes = np.linspace(-_REACH, _REACH, points)
    weights = np.exp(-0.5 * nodes**2)
    weights /= weights.sum()
    slope = _slope(activation, m[..., None] + s[..., None] * nodes)
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.where(s > 0, slope @ (weights * nodes) / s, _second(activation, m))
    return SmoothedGate(slope @ weights, np.asarray(change))


def expected_gradient(
    weights: ArrayLike,
    means: ArrayLike,
    labels: ArrayLike,
    activation: Activation,
    *,
    sign: float = 1.0,
    noise: float = 0.0,
    bias: ArrayLike | float = 0.0,
) -> Float[np.ndarray, "*batch input"]:
    """The direction in which a unit's input weights move at the beginning of training,

        dw/dt = J sum_c (s_c - mean s) E[phi'(w . x + b) x | c] / (2 d),   E[phi' x | c] = E[phi'] x_c + noise^2 E[phi''] w,

    with averages over the noise of inputs around the mean x_c of a condition. It is zero for an odd activation without biases on the
    plain exclusive-or, whose conditions come in pairs x, -x of one label.

    Args:
        weights: Input weights (..., input).
        means: Conditions (condition, input).
        labels: Targets, +1 or -1.
        activation: phi.
        sign: Sign J of the readout weight.
        noise: Standard deviation of the inputs' noise.
        bias: b, one for every unit or one each (...).

    >>> from hiddencodes.models import tanh
    >>> xor = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> np.abs(expected_gradient([0.3, -0.8], xor, [1, -1, -1, 1], tanh)).max().round(12)
    np.float64(0.0)
    """
    w, x, s = (np.asarray(each, float) for each in (weights, means, labels))
    push = (s.ravel() - s.mean()) * sign / (2 * s.size)
    h = w @ x.T + np.asarray(bias, float)[..., None]
    gate = smoothed_gate(activation, h, noise * np.linalg.norm(w, axis=-1, keepdims=True))
    return np.asarray((push * gate.slope) @ x + noise**2 * (gate.change @ push)[..., None] * w)


@partial(jax.jit, static_argnums=(0, 3))
def _flow(
    activation: Activation, start: Float[Array, " node"], step: Float[Array, ""], steps: int
) -> Float[Array, " node"]:
    """Responses after so many steps of the midpoint rule."""
    slope = jax.vmap(jax.grad(activation))

    def one(_: Array, h: Array) -> Array:
        return h + step * slope(h + 0.5 * step * slope(h))

    return activation(jax.lax.fori_loop(0, steps, one, start))


@partial(jax.jit, static_argnums=0)
def _slopes(activation: Activation, h: Float[Array, " point"]) -> Float[Array, " point"]:
    return jax.vmap(jax.grad(activation))(h)


@partial(jax.jit, static_argnums=0)
def _seconds(activation: Activation, h: Float[Array, " point"]) -> Float[Array, " point"]:
    return jax.vmap(jax.grad(jax.grad(activation)))(h)


def _second(activation: Activation, h: np.ndarray) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(_seconds(activation, jnp.asarray(h.ravel()))).reshape(h.shape)


def _slope(activation: Activation, h: np.ndarray) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(_slopes(activation, jnp.asarray(h.ravel()))).reshape(h.shape)


def _even(n_conditions: int) -> int:
    if n_conditions < 4 or n_conditions % 2:
        raise ValueError(f"n_conditions: expected an even number from 4, got {n_conditions!r}")
    return n_conditions
