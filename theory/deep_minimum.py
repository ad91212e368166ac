"""Minima of deeper networks that give out binary latents: closed forms where they are known. Derived here.

n balanced latents of +1 and -1 are the targets over P patterns with one-hot inputs; all weights decay at the rate lambda; the loss is half the summed
squared error.
"""

import math
from typing import Any, NamedTuple, cast

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize_scalar  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from hiddencodes.tasks.arguments import Number, positive_number


class DeepMinimum(NamedTuple):
    """A minimum of a network of several hidden layers.

    Attributes:
        objective: Its value.
        amplitude: q, outputs are q times the targets.
        eigenvalues: Of every hidden layer's kernel on the latents (layer,).
        constants: Of every hidden layer's kernel on the constant (layer,).

    >>> deep_linear_minimum(8, 3, 2).eigenvalues.shape
    (2,)
    """

    objective: float
    amplitude: float
    eigenvalues: Float[np.ndarray, " layer"]
    constants: Float[np.ndarray, " layer"]


def deep_linear_minimum(n_patterns: int, n_latents: int, depth: int, decay: float = 0.1) -> DeepMinimum:
    """Networks in their linear range: odd activations of unit slope, and infinitely many units.

    For each latent ``min over s of (sqrt(P) - s)^2/2 + (lambda (L+1)/2) s^(2/(L+1))`` over L hidden layers; then ``q = s/sqrt(P)`` and
    the kernel of layer l has ``kappa_1 = s^(2l/(L+1))``. Zero if nothing better is found.

    Args:
        n_patterns: P.
        n_latents: n.
        depth: Number L of hidden layers.
        decay: lambda.

    Raises:
        ValueError: If an argument is not positive.

    >>> found = deep_linear_minimum(4, 2, 1)  # one hidden layer: 0.39, 0.95, 1.9
    >>> f"{found.objective:.4f} {found.amplitude:.4f} {found.eigenvalues[0]:.4f}"
    '0.3900 0.9500 1.9000'
    """
    _positive(n_patterns=n_patterns, n_latents=n_latents, depth=depth, decay=decay)
    weights, top = depth + 1, math.sqrt(n_patterns)

    def cost(s: float) -> float:
        return (top - s) ** 2 / 2 + decay * weights / 2 * s ** (2 / weights)

    s = _least(cost, top)
    layers = np.arange(1, depth + 1)
    return DeepMinimum(n_latents * cost(s), s / top, s ** (2 * layers / weights), np.zeros(depth))


def two_layer_relu_minimum(n_patterns: int, n_latents: int, decay: float = 0.1) -> DeepMinimum:
    """Two hidden layers of ReLU units, each of which responds to one value of one latent.

    With ``T = (2 n^2 (n+1) P q^2)^(1/3)`` the objective is ``n P (1 - q)^2/2 + (3 lambda/2) T``, and kernels have on the latents and on the constant
    ``T/2n, T/2`` in the first layer and ``n q^2 P/T, n^2 q^2 P/T`` in the second. That no other units are better is known from
    numerical experiments only.

    Args:
        n_patterns: P.
        n_latents: n.
        decay: lambda.

    Raises:
        ValueError: If an argument is not positive.

    >>> found = two_layer_relu_minimum(4, 2)
    >>> bool(np.isclose(found.constants[1], 2 * found.eigenvalues[1]))
    True
    """
    _positive(n_patterns=n_patterns, n_latents=n_latents, decay=decay)
    p, n = n_patterns, n_latents

    def total(q: float) -> float:
        return (2 * n**2 * (n + 1) * p * q**2) ** (1 / 3)

    def cost(q: float) -> float:
        return n * p * (1 - q) ** 2 / 2 + 1.5 * decay * total(q)

    q = _least(cost, 1.0)
    if q == 0.0:
        return DeepMinimum(cost(0.0), 0.0, np.zeros(2), np.zeros(2))
    t = total(q)
    last = n * q**2 * p / t
    return DeepMinimum(cost(q), q, np.array([t / (2 * n), last]), np.array([t / 2, n * last]))


def _least(cost: Any, top: float) -> float:
    """The minimum between 0 and the top, of which there may be two."""
    grid = np.linspace(0.0, top, 2001)
    values = np.array([cost(float(s)) for s in grid])
    best = int(values.argmin())
    if best == 0:
        return 0.0
    bounds = (grid[best - 1], grid[min(best + 1, len(grid) - 1)])
    found = cast("Any", minimize_scalar)(cost, bounds=bounds, method="bounded", options={"xatol": 1e-12})
    return float(found.x)


def _positive(**values: Number) -> None:
    for name, value in values.items():
        positive_number(name, value)
