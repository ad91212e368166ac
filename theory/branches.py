"""Branches and outliers: a population of units summed up code by code."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hiddencodes.theory.outlier_rays import parallel_groups
from hiddencodes.theory.single_unit_arguments import code_text, code_threshold
from hiddencodes.theory.single_unit_population import Population

# An outlier whose share of the action is below this is not there.
_FAINT = 1e-4
# Cosines of the angle within which rays are variants of one outlier: the first that changes sums over outliers by no more than
# this, relative to the largest.
_PARALLEL = (0.9, 0.99, 0.999, 0.9999, 0.99999)
_MERGED = 1e-3


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
        code: One digit per class, 1 where the activation is above half of the largest.
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
    """The outliers of a population, largest share of the action first; nearly parallel rays are one outlier.

    Targets that need classes to be mixed can make a continuum of rays flat. What is fixed then are sums over outliers, of
    products of readouts and activations; the outliers are one way to have them.
    """
    found, weights = population.rays, population.ray_weights
    directions = found.preactivations * np.sqrt(population.energy.fractions)
    # What the classes get from all rays; merging may not change it.
    total = np.einsum("k,kc,kr->cr", weights, found.activations, found.readouts)
    outliers: list[Outlier] = []
    for cosine in _PARALLEL:
        shares: list[tuple[float, Outlier]] = []
        for near in parallel_groups(directions, weights, cosine):
            share = float(np.sum(weights[near]))
            if share > _FAINT:
                w = weights[near] / np.sqrt(share)
                phi = w @ found.activations[near]
                code = code_text(phi > 0.5 * max(float(np.max(phi)), 0.0))
                outlier = Outlier(code, w @ found.readouts[near], w @ found.preactivations[near], phi)
                shares.append((share, outlier))
        outliers = [outlier for _, outlier in sorted(shares, key=lambda each: -each[0])]
        merged = sum((np.outer(each.activations, each.readout) for each in outliers), np.zeros_like(total))
        if np.max(np.abs(merged - total), initial=0.0) < _MERGED * np.max(np.abs(total), initial=0.0):
            break
    return tuple(outliers)
