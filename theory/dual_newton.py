"""The concave dual of one hidden layer, maximized over the multiplier by Newton's method.

For N → ∞ the multiplier t of the output constraints maximizes (arXiv 2406.16689; per pattern)

    D(t) = Σ_c p_c t_c·y_c - (N T/2) Σ_c p_c |t_c|² - F(t),

where F is the single unit's log partition function over P, (1/P) log ∫ exp(-P E(a; t)) da, at finite P, and -min_a E at
P → ∞. Where φ does not saturate, t is confined to gains ≤ 1 (`outlier_rays`). Both the minimum and the confinement are
reached through a smooth objective whose softness τ is lowered to 1e-7 nats per pattern.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp  # pyright: ignore[reportMissingTypeStubs]

from hiddencodes.models.activations import Activation
from hiddencodes.theory.outlier_rays import Rays, gain_curvatures, rays, stationary_directions
from hiddencodes.theory.readout_energy import Minima, ReadoutEnergy

_SOFTNESS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
_STEPS = 100
_RESIDUAL = 1e-9
_ROUNDS = 20
# A gain this far above one is a ray that was not confined.
_CONFINED = 1e-6
# Points this light do not move a mean in double precision.
_NEGLIGIBLE = 1e-14
_RAY_REACH = 50.0


class Problem(NamedTuple):
    """One hidden layer, orthogonal inputs.

    Attributes:
        activation: φ.
        fractions: p_c.
        targets: y, (class, output).
        scaled_variance: s² = P σ_a².
        input_variance: κ.
        n_temperature: N T.
    """

    activation: Activation
    fractions: Float[np.ndarray, " cls"]
    targets: Float[np.ndarray, "cls output"]
    scaled_variance: float
    input_variance: float
    n_temperature: float

    def energy(self, multiplier: Float[np.ndarray, "cls output"]) -> ReadoutEnergy:
        """E(a) at a multiplier."""
        return ReadoutEnergy(
            self.activation, self.fractions, self.scaled_variance, self.input_variance, multiplier
        )


class Population(NamedTuple):
    """The units at a multiplier: readout weights with their probabilities, and the outliers.

    Attributes:
        energy: E(a).
        minima: Its local minima.
        readouts: Points a: a lattice at finite P, the minima at P → ∞, (point, output).
        weights: Their probabilities.
        rays: Rays along which units may grow.
        ray_weights: How much of the cost is spent on each: the squared amplitude of its outlier.
        log_partition: F(t), the penalty of the rays included.
    """

    energy: ReadoutEnergy
    minima: Minima
    readouts: Float[np.ndarray, "point output"]
    weights: Float[np.ndarray, " point"]
    rays: Rays
    ray_weights: Float[np.ndarray, " ray"]
    log_partition: float


class Solution(NamedTuple):
    """The multiplier, the population there, and the largest violation of the constraint of a class."""

    multiplier: Float[np.ndarray, "cls output"]
    population: Population
    residual: float


def population(
    problem: Problem,
    multiplier: Float[np.ndarray, "cls output"],
    n_patterns: int | None,
    softness: float,
    directions: Float[np.ndarray, "ray cls"],
    starts: Float[np.ndarray, "point output"] | None = None,
) -> Population | None:
    """The units at a multiplier; None where it lies so far outside the confinement that there is no bulk.

    Args:
        problem: The layer.
        multiplier: t.
        n_patterns: P; None for the limit P → ∞, where F is softened to τ log Σ exp(-E/τ) over the minima.
        softness: τ.
        directions: Of the rays whose gain is confined.
        starts: Further points from which minima are searched.
    """
    energy = problem.energy(multiplier)
    found = rays(energy, directions)
    if len(found.gains) and (float(np.max(found.gains)) - 1.0) / softness > 30.0:
        return None
    minima = energy.minima(starts)
    if not len(minima.energies):
        return None
    if n_patterns is None:
        readouts, exponent, scale = minima.positions, -minima.energies / softness, softness
    else:
        ceiling = _valley_floor(energy, minima, found)
        if ceiling <= minima.energies[0]:
            return None
        readouts, exponent = energy.support(minima, n_patterns, ceiling)
        scale = 1.0 / n_patterns
    total = float(logsumexp(exponent))
    weights = np.exp(exponent - total)
    ray_weights = np.exp((found.gains - 1.0) / softness)
    value = scale * total + softness * float(np.sum(ray_weights))
    return Population(energy, minima, readouts, weights, found, ray_weights, value)


def _valley_floor(energy: ReadoutEnergy, minima: Minima, found: Rays) -> float:
    """Energy above which points belong to the valleys that lead to infinity, and not to the bulk of the units."""
    lowest = float(minima.energies[0])
    ceiling = np.inf
    for u, gain in zip(found.readouts, found.gains, strict=True):
        if gain > 0.5:
            far = u * (_RAY_REACH / float(np.max(np.abs(energy.multiplier @ u))))
            ceiling = min(ceiling, float(energy.energy(far[None])[0]))
    return lowest + 0.8 * (ceiling - lowest)


def statistics(
    state: Population, n_patterns: int | None, softness: float
) -> tuple[Float[np.ndarray, "cls output"], Float[np.ndarray, "variable variable"]]:
    """Gradient Σ p_c ⟨φ a⟩ (class, output) and Hessian of F, its variables being the entries of t."""
    energy = state.energy
    n_classes, n_outputs = energy.multiplier.shape
    size = n_classes * n_outputs
    keep = state.weights > _NEGLIGIBLE
    a, w = state.readouts[keep], state.weights[keep]
    h = energy.tilts(a)
    table = energy.table(h)
    mean, variance = table.mean(h), table.variance(h)
    statistic = ((energy.fractions * mean)[:, :, None] * a[:, None, :]).reshape(len(a), size)
    expected = w @ statistic
    centered = statistic - expected
    sharpness = 1.0 / softness if n_patterns is None else float(n_patterns)
    hessian = sharpness * (centered * w[:, None]).T @ centered
    within = np.einsum("g,gc,gr,gs->crs", w, energy.fractions * variance, a, a)
    for c in range(n_classes):
        block = slice(c * n_outputs, (c + 1) * n_outputs)
        hessian[block, block] += within[c]
    if n_patterns is None:
        # The minima move with t: -min E has the curvature of E in t minus what the motion takes away.
        cross = np.einsum("gc,rs->gcrs", energy.fractions * mean, np.eye(n_outputs))
        cross += np.einsum("gc,gr,cs->gcrs", energy.fractions * variance, a, energy.multiplier)
        cross = cross.reshape(len(a), size, n_outputs)
        moved = np.linalg.solve(energy.hessian(a), np.swapaxes(cross, 1, 2))
        hessian += np.einsum("g,gxs,gsy->xy", w, cross, moved)
    if len(state.rays.gains):
        gradients, curvatures = gain_curvatures(energy, state.rays)
        expected = expected + state.ray_weights @ gradients
        hessian += np.einsum("k,kx,ky->xy", state.ray_weights / softness, gradients, gradients)
        hessian += np.einsum("k,kxy->xy", state.ray_weights, curvatures)
    return expected.reshape(n_classes, n_outputs), hessian


def maximize(problem: Problem, start: Float[np.ndarray, "cls output"], n_patterns: int | None) -> Solution:
    """Maximize D from a multiplier that lies inside the confinement, or close to it.

    Args:
        problem: The layer.
        start: Where to begin, (class, output).
        n_patterns: P, or None for P → ∞.

    Raises:
        ValueError: if Newton's method does not come to rest.
    """
    directions = stationary_directions(problem.energy(start))
    softened = bool(len(directions)) or n_patterns is None
    found = _climb(problem, start, n_patterns, directions, _SOFTNESS if softened else _SOFTNESS[-1:])
    for _ in range(_ROUNDS):
        fresh = stationary_directions(found.population.energy)
        gains = rays(found.population.energy, fresh).gains
        if float(np.max(gains, initial=0.0)) < 1.0 + _CONFINED:
            break
        # The rays have turned with t: confine the new ones too.
        directions = np.concatenate([directions, fresh[gains > 1.0 + 0.1 * _CONFINED]])
        found = _climb(problem, 0.9999 * found.multiplier, n_patterns, directions, _SOFTNESS[1:])
    scale = max(1.0, float(np.max(np.abs(problem.targets))))
    if not found.residual < 1e-5 * scale:
        raise ValueError(
            f"class_targets: the dual did not converge, the constraint is violated by {found.residual:.2g}"
        )
    return found


def _climb(
    problem: Problem,
    start: Float[np.ndarray, "cls output"],
    n_patterns: int | None,
    directions: Float[np.ndarray, "ray cls"],
    levels: tuple[float, ...],
) -> Solution:
    """Newton's method for given rays, at falling softness."""
    p, y = problem.fractions[:, None], problem.targets
    t = start
    scale = float(np.max(np.abs(y), initial=1e-3))
    starts: Float[np.ndarray, "point output"] | None = None
    residual = np.inf
    state: Population | None = None

    def at(multiplier: Float[np.ndarray, "cls output"], softness: float) -> Population | None:
        return population(problem, multiplier, n_patterns, softness, directions, starts)

    def value(found: Population) -> float:
        multiplier = found.energy.multiplier
        quadratic = 0.5 * problem.n_temperature * float(np.sum(p * multiplier**2))
        return float(np.sum(p * multiplier * y)) - quadratic - found.log_partition

    for softness in levels:
        state = at(t, softness)
        while state is None:  # outside the confinement at this softness
            t = 0.99 * t
            state = at(t, softness)
        for _ in range(_STEPS):
            expected, hessian = statistics(state, n_patterns, softness)
            gradient = p * y - problem.n_temperature * p * t - expected
            residual = float(np.max(np.abs(gradient / p)))
            if residual < _RESIDUAL * scale:
                break
            hessian += problem.n_temperature * np.diag(np.repeat(problem.fractions, y.shape[1]))
            ridge = 1e-13 * float(np.trace(hessian))
            direction = np.linalg.solve(hessian + ridge * np.eye(len(hessian)), gradient.ravel())
            slope = float(direction @ gradient.ravel())
            starts = state.minima.positions
            before, step, trial = value(state), 1.0, None
            while step > 1e-9:
                trial = at(t + step * direction.reshape(t.shape), softness)
                # Rounding of the value limits what a step can be asked to gain.
                if trial is not None and value(trial) >= before + 1e-4 * step * slope - 1e-15 * abs(before):
                    break
                step, trial = 0.5 * step, None
            if trial is None:
                break
            t, state = trial.energy.multiplier, trial
    assert state is not None
    return Solution(t, state, residual)
