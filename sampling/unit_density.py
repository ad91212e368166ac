"""Tabulated densities of one number each: drawn from and evaluated without error, whatever they approximate.

A proposal for the pre-activations of a unit is a product over patterns of densities

    p(x) ∝ exp(-x²/2 + b φ(s x) - d φ(s x)²/2),

known at nodes and linear in between. What is drawn is drawn from exactly that polygon, and its density is evaluated
exactly, so that a Metropolis test with it is exact; the distance of the polygon from the curve costs acceptance only.
"""

from itertools import accumulate
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# A polygon through 32 nodes over eleven standard deviations is 1e-4 nats off a Gaussian.
_NODES = np.linspace(-5.5, 5.5, 32)
_SPACING = float(_NODES[1] - _NODES[0])


def nodes(dtype: Any) -> Float[Array, " node"]:
    """Where densities are tabulated, in prior standard deviations."""
    return jnp.asarray(_NODES, dtype)


def polygons(
    linear: Float[Array, " pattern"], quadratic: Float[Array, " pattern"], phi: Float[Array, " node"]
) -> Float[Array, "pattern node"]:
    """Densities ∝ exp(-x²/2 + b φ - d φ²/2): their heights at the nodes, up to a factor per pattern.

    Args:
        linear: b.
        quadratic: d.
        phi: φ at the nodes.
    """
    x = nodes(phi.dtype)
    exponent = (
        linear[:, None] * phi[None, :] - quadratic[:, None] * (0.5 * phi**2)[None, :] - (0.5 * x**2)[None, :]
    )
    return jnp.exp(exponent - jnp.max(exponent, axis=1, keepdims=True))


def log_density(heights: Float[Array, "pattern node"], x: Float[Array, " pattern"]) -> Float[Array, ""]:
    """Sum over patterns of the log-density at x; minus infinity beyond the nodes."""
    place = (x - float(_NODES[0])) / _SPACING
    cell = jnp.clip(jnp.floor(place), 0, len(_NODES) - 2).astype(jnp.int32)
    left, right = _ends(heights, cell)
    height = left + (right - left) * (place - cell.astype(x.dtype))
    inside = (place >= 0.0) & (place <= len(_NODES) - 1.0)
    values = jnp.where(inside, jnp.log(jnp.where(inside, height, 1.0)), -jnp.inf)
    areas = _SPACING * (jnp.sum(heights, axis=1) - 0.5 * (heights[:, 0] + heights[:, -1]))
    return jnp.sum(values - jnp.log(areas))


def draw(
    heights: Float[Array, "pattern node"], uniform: Float[Array, " pattern"]
) -> Float[Array, " pattern"]:
    """Draws by inversion of the distribution function.

    Args:
        heights: One density per pattern, see `polygons`.
        uniform: Uniform on [0, 1).
    """
    # Areas up to the end of every cell, in units of the spacing; added one by one, which XLA fuses, unlike its scans.
    cells = 0.5 * (heights[:, 1:] + heights[:, :-1])
    areas = jnp.stack(list(accumulate(cells.T)), axis=1)
    target = uniform * areas[:, -1]
    cell = jnp.sum(areas[:, :-1] <= target[:, None], axis=1).astype(jnp.int32)
    left, right = _ends(heights, cell)
    before = jnp.take_along_axis(areas, jnp.maximum(cell - 1, 0)[:, None], axis=1)[:, 0]
    area = target - jnp.where(cell > 0, before, 0.0)
    # The share f of the cell with left f + (right - left) f²/2 = area, in the form without cancellation.
    root = jnp.sqrt(jnp.maximum(left**2 + 2.0 * (right - left) * area, 0.0))
    share = jnp.clip(2.0 * area / jnp.maximum(left + root, jnp.finfo(area.dtype).tiny), 0.0, 1.0)
    return float(_NODES[0]) + _SPACING * (cell.astype(share.dtype) + share)


def _ends(heights: Float[Array, "pattern node"], cell: Array) -> tuple[Array, Array]:
    pick = lambda at: jnp.take_along_axis(heights, at[:, None], axis=1)[:, 0]
    return pick(cell), pick(cell + 1)
