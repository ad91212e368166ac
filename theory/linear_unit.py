"""Linear units: their readout density is Gaussian, and the single-unit problem has a closed form.

With φ(z) = b z the density of a is N(0, U), U⁻¹ = P [I/s² - b²κ Σ_c p_c t_c t_cᵀ], and t_c = (N T + b²κ U)⁻¹ y_c. In an
eigenbasis of Σ_c p_c y_c y_cᵀ with the eigenvalue g this is 1/(P u) = 1/s² - b²κ g/(N T + b²κ u)², one root u per eigenvalue
(arXiv 2406.16689; `linear_saddle` has any inputs and depth).
"""

import itertools
from typing import Any

import numpy as np
from scipy.optimize import brentq  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from hiddencodes.models.gaussian_integrals import evaluate
from hiddencodes.theory.dual_newton import Solution
from hiddencodes.theory.outlier_rays import Rays
from hiddencodes.theory.readout_energy import Minima
from hiddencodes.theory.single_unit_population import Population, Problem

_NODES = 12


def linear_population(problem: Problem, n_patterns: int | None) -> Solution:
    """The multiplier and Gauss-Hermite points of the readout density N(0, U); P → ∞ for `n_patterns` None.

    Example:
        >>> from hiddencodes.models.activations import linear
        >>> problem = Problem(linear, np.array([1.0]), np.array([[1.0]]), 1.0, 1.0, 0.0)
        >>> state = linear_population(problem, None).population
        >>> print((state.weights @ state.readouts**2).round(6))
        [1.]
    """
    p, y = problem.fractions, problem.targets
    slope = float(evaluate(problem.activation, np.ones(1))[0])
    gain = slope**2 * problem.input_variance
    values, vectors = np.linalg.eigh((p[:, None] * y).T @ y)
    overlaps = np.array(
        [
            _overlap(max(float(g), 0.0), gain, problem.scaled_variance, problem.n_temperature, n_patterns)
            for g in values
        ]
    )
    stiffness = problem.n_temperature + gain * overlaps
    # At P → ∞ and T = 0 a direction without targets has u = 0, and its multiplier is zero.
    inverse = np.divide(1.0, stiffness, out=np.zeros_like(stiffness), where=stiffness > 0.0)
    t = ((y @ vectors) * inverse) @ vectors.T
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    axes = list(itertools.product(range(_NODES), repeat=len(overlaps)))
    index = np.array(axes)
    points = (nodes[index] * np.sqrt(overlaps)) @ vectors.T
    mass = np.prod(weights[index] / weights.sum(), axis=1)
    energy = problem.energy(t)
    none = np.zeros((0, len(p)))
    rays = Rays(np.zeros((0, y.shape[1])), none, none, np.zeros(0))
    minima = Minima(np.zeros((1, y.shape[1])), np.zeros(1))
    state = Population(energy, minima, points, mass, rays, np.zeros(0), 0.0, 1.0)
    left = y - problem.n_temperature * t - gain * t @ ((vectors * overlaps) @ vectors.T)
    residual = float(np.max(np.abs(left @ vectors[:, overlaps > 0.0]), initial=0.0))
    return Solution(t, state, residual)


def _overlap(
    signal: float, gain: float, scaled_variance: float, n_temperature: float, n_patterns: int | None
) -> float:
    """The root u of 1/(P u) = 1/s² - b²κ g/(N T + b²κ u)²."""
    limit = (np.sqrt(gain * signal * scaled_variance) - n_temperature) / gain
    if n_patterns is None:
        return max(float(limit), 0.0)
    lowest = scaled_variance / n_patterns

    def excess(u: float) -> float:
        return (
            1.0 / scaled_variance - gain * signal / (n_temperature + gain * u) ** 2 - 1.0 / (n_patterns * u)
        )

    # `excess` rises with u, from at most zero where u is what the prior says.
    if signal <= 0.0:
        return lowest
    limit = max(float(limit), 0.0)
    highest = limit + 2.0 * lowest + 2.0 * float(np.sqrt(lowest * limit))
    root: Any = brentq(excess, lowest, highest, xtol=1e-15)
    return float(root)
