"""Tabulated densities of one number each: drawn from and evaluated without error, whatever they approximate.

A proposal for the pre-activations of a unit is a product over patterns of densities

    p(x) ∝ exp(-x²/2 + b φ(s x) - d φ(s x)²/2),

known at nodes and linear in between. What is drawn is drawn from exactly that polygon, and its density is evaluated
exactly, so that a Metropolis test with it is exact; the distance of the polygon from the curve costs acceptance only.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# A polygon through 32 nodes over eleven standard deviations is 1e-4 nats off a Gaussian.
_NODES = np.linspace(-5.5, 5.5, 32)
_SPACING = float(_NODES[1] - _NODES[0])


class Polygons(NamedTuple):
    """One density per pattern.

    Attributes:
        heights: At the nodes, up to a factor per pattern, (pattern, node).
        areas: Integral over the cells up to each node, the same factor, (pattern, node).
    """

    heights: Float[Array, "pattern node"]
    areas: Float[Array, "pattern node"]


def nodes(dtype: Any) -> Float[Array, " node"]:
    """Where densities are tabulated, in prior standard deviations."""
    return jnp.asarray(_NODES, dtype)


def polygons(
    linear: Float[Array, " pattern"], quadratic: Float[Array, " pattern"], phi: Float[Array, " node"]
) -> Polygons:
    """Densities ∝ exp(-x²/2 + b φ - d φ²/2).

    Args:
        linear: b.
        quadratic: d.
        phi: φ at the nodes.
    """
    x = nodes(phi.dtype)
    exponent = (
        linear[:, None] * phi[None, :] - quadratic[:, None] * (0.5 * phi**2)[None, :] - (0.5 * x**2)[None, :]
    )
    heights = jnp.exp(exponent - jnp.max(exponent, axis=1, keepdims=True))
    cells = jnp.concatenate([jnp.zeros_like(heights[:, :1]), heights[:, 1:] + heights[:, :-1]], axis=1)
    return Polygons(heights, (0.5 * _SPACING) * jnp.cumsum(cells, axis=1))


def log_density(densities: Polygons, x: Float[Array, " pattern"]) -> Float[Array, ""]:
    """Sum over patterns of the log-density at x; minus infinity beyond the nodes."""
    place = (x - float(_NODES[0])) / _SPACING
    cell = jnp.clip(jnp.floor(place), 0, len(_NODES) - 2).astype(jnp.int32)
    left, right = _ends(densities.heights, cell)
    height = left + (right - left) * (place - cell.astype(x.dtype))
    inside = (place >= 0.0) & (place <= len(_NODES) - 1.0)
    values = jnp.where(inside, jnp.log(jnp.where(inside, height, 1.0)), -jnp.inf)
    return jnp.sum(values - jnp.log(densities.areas[:, -1]))


def draw(densities: Polygons, uniform: Float[Array, " pattern"]) -> Float[Array, " pattern"]:
    """Draws by inversion of the distribution function.

    Args:
        densities: One per pattern.
        uniform: Uniform on [0, 1).
    """
    target = uniform * densities.areas[:, -1]
    cell = jnp.sum(densities.areas[:, 1:-1] <= target[:, None], axis=1).astype(jnp.int32)
    left, right = _ends(densities.heights, cell)
    area = (target - jnp.take_along_axis(densities.areas, cell[:, None], axis=1)[:, 0]) / _SPACING
    # The share f of the cell with left f + (right - left) f²/2 = area, in the form without cancellation.
    root = jnp.sqrt(jnp.maximum(left**2 + 2.0 * (right - left) * area, 0.0))
    share = jnp.clip(2.0 * area / jnp.maximum(left + root, jnp.finfo(area.dtype).tiny), 0.0, 1.0)
    return float(_NODES[0]) + _SPACING * (cell.astype(share.dtype) + share)


def _ends(heights: Float[Array, "pattern node"], cell: Array) -> tuple[Array, Array]:
    pick = lambda at: jnp.take_along_axis(heights, at[:, None], axis=1)[:, 0]
    return pick(cell), pick(cell + 1)
