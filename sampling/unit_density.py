"""Tabulated densities of one number each: drawn from and evaluated without error, whatever they approximate.

A proposal for the pre-activations of a unit is a product over patterns of densities

    p(x) ∝ exp(-x²/2 + b φ(s x) - d φ(s x)²/2),

known at nodes and linear in between. What is drawn is drawn from exactly that polygon, and its density is evaluated
exactly, so that a Metropolis test with it is exact; the distance of the polygon from the curve costs acceptance only.

Everything runs along patterns, node after node: XLA makes one loop over patterns of it, without looking anything up in a table.
"""

from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

# A polygon through 32 nodes over eleven standard deviations is 1e-4 nats off a Gaussian.
_NODES = np.linspace(-5.5, 5.5, 32)
_SPACING = float(_NODES[1] - _NODES[0])


class Polygons(NamedTuple):
    """One density per pattern, up to a factor each.

    Attributes:
        linear: b.
        quadratic: d.
        phi: φ at the nodes.
        top: Largest exponent.
        heights: At the nodes, the largest one is 1.
        area: Between the first and the last node, in units of their spacing.
    """

    linear: Float[Array, " pattern"]
    quadratic: Float[Array, " pattern"]
    phi: Float[Array, " node"]
    top: Float[Array, " pattern"]
    heights: Float[Array, "node pattern"]
    area: Float[Array, " pattern"]


def nodes(dtype: Any) -> Float[Array, " node"]:
    """Where densities are tabulated, in prior standard deviations."""
    return jnp.asarray(_NODES, dtype)


def polygons(
    linear: Float[Array, " pattern"], quadratic: Float[Array, " pattern"], phi: Float[Array, " node"]
) -> Polygons:
    """The polygons of densities ∝ exp(-x²/2 + b φ - d φ²/2).

    Args:
        linear: b.
        quadratic: d.
        phi: φ at the nodes.
    """
    x = nodes(phi.dtype)
    exponents = _exponent(linear[None, :], quadratic[None, :], phi[:, None], x[:, None])
    top = jnp.max(exponents, axis=0)
    heights = jnp.exp(exponents - top[None, :])
    area = jnp.sum(heights, axis=0) - 0.5 * (heights[0] + heights[-1])
    return Polygons(linear, quadratic, phi, top, heights, area)


def log_density(of: Polygons, x: Float[Array, " pattern"]) -> Float[Array, " pattern"]:
    """Log-density of every pattern at its x; minus infinity beyond the nodes."""
    place = (x - float(_NODES[0])) / _SPACING
    cell = jnp.clip(jnp.floor(place), 0, len(_NODES) - 2).astype(jnp.int32)
    left, right = _height(of, cell), _height(of, cell + 1)
    height = left + (right - left) * jnp.clip(place - cell.astype(x.dtype), 0.0, 1.0)
    inside = (x >= float(_NODES[0])) & (x <= float(_NODES[-1]))
    values = jnp.where(inside, jnp.log(jnp.where(inside, height, 1.0)), -jnp.inf)
    return values - jnp.log(_SPACING * of.area)


def draw(of: Polygons, uniform: Float[Array, " pattern"]) -> Float[Array, " pattern"]:
    """Draws by inversion of the distribution function.

    Args:
        of: The densities.
        uniform: Uniform on [0, 1).
    """
    # Areas up to the end of every cell. A few roundings at the ends of the interval are left out: nothing may be drawn
    # where there is no area.
    totals = list(accumulate(0.5 * (left + right) for left, right in pairwise(of.heights)))
    margin = 4.0 * float(jnp.finfo(uniform.dtype).eps)
    target = (margin + (1.0 - 2.0 * margin) * uniform) * totals[-1]
    before, cell = jnp.zeros_like(target), jnp.zeros(target.shape, jnp.int32)
    for total in totals[:-1]:
        beyond = total <= target
        before = jnp.where(beyond, total, before)
        cell = cell + beyond.astype(jnp.int32)
    left, right = _height(of, cell), _height(of, cell + 1)
    area = target - before
    # The share f of the cell with left f + (right - left) f²/2 = area, in the form without cancellation.
    root = jnp.sqrt(jnp.maximum(left**2 + 2.0 * (right - left) * area, 0.0))
    share = jnp.clip(2.0 * area / jnp.maximum(left + root, jnp.finfo(area.dtype).tiny), 0.0, 1.0)
    return jnp.minimum(float(_NODES[0]) + _SPACING * (cell.astype(share.dtype) + share), float(_NODES[-1]))


def _exponent(linear: Array, quadratic: Array, phi: Array, x: Array) -> Array:
    return linear * phi - quadratic * (0.5 * phi**2) - 0.5 * x**2


def _height(of: Polygons, node: Int[Array, " pattern"]) -> Float[Array, " pattern"]:
    """Made anew, which is cheaper than taking it from `Polygons.heights`."""
    x = nodes(of.phi.dtype)
    return jnp.exp(_exponent(of.linear, of.quadratic, of.phi[node], x[node]) - of.top)
