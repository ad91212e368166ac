"""Paths through a family of posteriors: from the prior to the posterior, by temperature and by the scale of the outputs.

A point of a path has a power λ in [0, 1] and an output scale γ; the density there is

    prior(q) x p(y | γ f_q; T/λ),      unnormalized, one at λ = 0.

Along the first leg λ grows from 0 to 1 at fixed γ; along the second, if there is one, γ falls to 1 at λ = 1, geometrically.
Scaling the outputs by γ is scaling the readout's prior standard deviation by γ in whitened coordinates: w -> γ² w, readout
integrated out or not.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hiddencodes.models.posterior import PosteriorData
from hiddencodes.sampling.target import Target


class Path(NamedTuple):
    """A path; its points are numbers from 0 to ``end``, one leg for every unit.

    Attributes:
        data: The target's data, without a seed axis.
        inverse_temperature: 1/T at the end of the path.
        log_scale: log γ along the first leg; zero for a path without a second one.
        end: 1 for temperature alone, 2 for the output scale behind it.
    """

    data: Any
    inverse_temperature: Float[Array, ""]
    log_scale: Float[Array, ""]
    end: Float[Array, ""]


class Coordinates(NamedTuple):
    """A point of a path: the power λ of the likelihood and log γ."""

    power: Float[Array, "*step"]
    log_scale: Float[Array, "*step"]


def coordinates(path: Path, position: Float[Array, "*step"]) -> Coordinates:
    """λ and log γ at points of a path.

    Args:
        path: The path.
        position: Points, from 0 to ``path.end``.
    """
    return Coordinates(jnp.minimum(position, 1.0), path.log_scale * jnp.clip(path.end - position, 0.0, 1.0))


def next_corner(path: Path, position: Float[Array, ""]) -> Float[Array, ""]:
    """The end of the leg that starts at, or contains, a point."""
    return jnp.where(position < 1.0, jnp.minimum(path.end, 1.0), path.end)


def log_likelihood(
    target: Target, path: Path, q: Float[Array, " dimension"], at: Coordinates
) -> Float[Array, ""]:
    """The log-likelihood at a point of the path, without the constant of the Gaussian likelihood."""
    data = path.data
    if isinstance(data, PosteriorData):
        readout = {
            leaf: std * jnp.exp(at.log_scale).astype(q.dtype)
            for leaf, std in data.prior_std["readout"].items()
        }
        data = data._replace(prior_std={**data.prior_std, "readout": readout})
    return target.log_likelihood(q, data, at.power * path.inverse_temperature)


class Schedule(NamedTuple):
    """The points of a path and the tuning of the kernel there; a row for every step.

    Attributes:
        position: Where the step leads.
        step_size: Step size of the kernel, in units of the metric.
        scale: Root of the metric of every group of exchangeable coordinates, positions are ``scale * u``.
    """

    position: Float[Array, " step"] | Float[np.ndarray, " step"]
    step_size: Float[Array, " step"] | Float[np.ndarray, " step"]
    scale: Float[Array, "step group"] | Float[np.ndarray, "step group"]


def no_schedule(capacity: int, target: Target, dtype: Any) -> Schedule:
    """A schedule of that many empty rows: points and tuning are chosen on the way."""
    row = np.zeros(capacity, dtype)
    return Schedule(row, row, np.zeros((capacity, int(target.groups().max()) + 1), dtype))
