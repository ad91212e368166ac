"""Branches and outliers: a population of units summed up code by code."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hiddencodes.theory.dual_newton import Population
from hiddencodes.theory.single_unit_arguments import code_text, code_threshold

# An outlier whose share of the action is below this is not there.
_FAINT = 1e-4


class Branch(NamedTuple):
    """Units that carry one code.

    Attributes:
        code: One digit per class, 1 where the class activates the unit. The bulk of units that do not saturate has the
            code 0...0: what distinguishes classes are the outliers.
        fraction: Share of the units.
        readout: Mean readout weights, (output,).
        class_means: Mean activation in every class, (class,).
        readout_covariance: Covariance of the readout weights inside the branch, (output, output); P → ∞: zero.
    """

    code: str
    fraction: float
    readout: Float[np.ndarray, " output"]
    class_means: Float[np.ndarray, " cls"]
    readout_covariance: Float[np.ndarray, "output output"]


class Outlier(NamedTuple):
    """A code carried by single units whose weights grow as √N.

    The amplitude may be shared by several units of the code at no cost in leading order: what is predicted is the root of
    their sum of squares.

    Attributes:
        code: One digit per class.
        readout: a/√N, (output,).
        preactivations: z/√N of a pattern of every class, (class,).
        activations: φ(z)/√N, (class,).
    """

    code: str
    readout: Float[np.ndarray, " output"]
    preactivations: Float[np.ndarray, " cls"]
    activations: Float[np.ndarray, " cls"]


def branches_of(population: Population) -> tuple[Branch, ...]:
    """Group the points of a population by code, largest branch first."""
    energy = population.energy
    h = energy.tilts(population.readouts)
    means = energy.table(h).mean(h)
    threshold = code_threshold(energy.activation)
    active = means > (np.inf if threshold is None else threshold)
    found: list[Branch] = []
    for bits in np.unique(active, axis=0):
        inside = np.all(active == bits, axis=1)
        w = population.weights[inside]
        fraction = float(np.sum(w))
        if fraction <= 0.0:
            continue
        w = w / fraction
        a = population.readouts[inside]
        mean = w @ a
        centered = a - mean
        covariance = (centered * w[:, None]).T @ centered
        found.append(Branch(code_text(bits), fraction, mean, w @ means[inside], covariance))
    return tuple(sorted(found, key=lambda branch: -branch.fraction))


def outliers_of(population: Population) -> tuple[Outlier, ...]:
    """The outliers of a population, largest share of the action first; rays of one code are one outlier."""
    found = population.rays
    codes = [code_text(z > 0.0) for z in found.preactivations]
    shares = dict.fromkeys(codes, 0.0)
    for code, weight in zip(codes, population.ray_weights.tolist(), strict=True):
        shares[code] += weight
    outliers: list[Outlier] = []
    for code, share in sorted(shares.items(), key=lambda item: -item[1]):
        if share > _FAINT:
            w = np.where(np.array(codes) == code, population.ray_weights, 0.0) / np.sqrt(share)
            outliers.append(
                Outlier(code, w @ found.readouts, w @ found.preactivations, w @ found.activations)
            )
    return tuple(outliers)
