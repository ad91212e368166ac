"""The population of units at a multiplier of one hidden layer with orthogonal inputs, and what it adds to the dual.

The dual's convex part is F(t), the single unit's log partition function over P: (1/P) log ∫ exp(-P E(a; t)) da at finite P,
-min_a E at P → ∞ (arXiv 2406.16689). Where φ does not saturate F is infinite unless all gains are at most one
(`outlier_rays`). Both the minimum and the confinement are softened here by a small τ, in nats per pattern:

    F = τ log Σ_γ exp(-E(a_γ)/τ) over the local minima,   and   -τ' Σ_k log(1 - gain_k²) over the rays, τ' = τ/100,

whose derivatives are the fractions of the branches and the squared amplitudes of the outliers.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp  # pyright: ignore[reportMissingTypeStubs]

from hiddencodes.models.activations import Activation
from hiddencodes.theory.outlier_rays import Rays, gain_curvatures, rays
from hiddencodes.theory.readout_energy import Minima, ReadoutEnergy

_RAY_SOFTNESS = 0.01
# Points this light do not move a mean in double precision.
_NEGLIGIBLE = 1e-14


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


class Lattice(NamedTuple):
    """Where the readout density of P patterns is summed up: P and the points, (point, output)."""

    n_patterns: int
    points: Float[np.ndarray, "point output"]


class Population(NamedTuple):
    """The units at a multiplier: readout weights with their probabilities, and the outliers.

    Attributes:
        energy: E(a).
        minima: Its local minima; empty at finite P.
        readouts: Points a: a lattice at finite P, the minima at P → ∞, (point, output).
        weights: Their probabilities.
        rays: Rays along which units may grow.
        ray_weights: How much of the cost is spent on each: the squared amplitude of its outlier.
        log_partition: F(t), the confinement included.
        sharpness: P, or 1/τ.
    """

    energy: ReadoutEnergy
    minima: Minima
    readouts: Float[np.ndarray, "point output"]
    weights: Float[np.ndarray, " point"]
    rays: Rays
    ray_weights: Float[np.ndarray, " ray"]
    log_partition: float
    sharpness: float


def population(
    problem: Problem,
    multiplier: Float[np.ndarray, "cls output"],
    softness: float,
    directions: Float[np.ndarray, "ray cls"],
    where: Lattice | Float[np.ndarray, "point output"] | None,
) -> Population | None:
    """The units at a multiplier; None outside the confinement.

    Args:
        problem: The layer.
        multiplier: t.
        softness: τ.
        directions: Of the rays whose gain is confined.
        where: The lattice at finite P. At P → ∞ the points next to which the minima are; None to search for all.
    """
    energy = problem.energy(multiplier)
    found = rays(energy, directions)
    if len(found.gains) and float(np.max(found.gains)) >= 1.0:
        return None
    if isinstance(where, Lattice):
        sharpness, readouts = float(where.n_patterns), where.points
        minima = Minima(readouts[:0], np.zeros(0))
        exponent = -sharpness * energy.energy(readouts)
    else:
        minima = energy.minima(where)
        if not len(minima.energies):
            return None
        sharpness, readouts = 1.0 / softness, minima.positions
        exponent = -sharpness * minima.energies
    log_sum: Any = logsumexp(exponent)
    total = float(log_sum)
    barrier = _RAY_SOFTNESS * softness
    room = (1.0 - found.gains) * (1.0 + found.gains)
    value = total / sharpness - barrier * float(np.sum(np.log(room)))
    ray_weights = 2.0 * barrier * found.gains / room
    return Population(
        energy, minima, readouts, np.exp(exponent - total), found, ray_weights, value, sharpness
    )


def statistics(
    state: Population,
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
    hessian = state.sharpness * (centered * w[:, None]).T @ centered
    within = np.einsum("gc,gr,gs->crs", w[:, None] * energy.fractions * variance, a, a, optimize=True)
    for c in range(n_classes):
        block = slice(c * n_outputs, (c + 1) * n_outputs)
        hessian[block, block] += within[c]
    if len(state.minima.energies):
        # The minima move with t: -min E has the curvature of E in t minus what the motion takes away.
        cross = np.einsum("gc,rs->gcrs", energy.fractions * mean, np.eye(n_outputs))
        cross += np.einsum("gc,gr,cs->gcrs", energy.fractions * variance, a, energy.multiplier)
        cross = cross.reshape(len(a), size, n_outputs)
        moved = np.linalg.solve(energy.hessian(a), np.swapaxes(cross, 1, 2))
        hessian += np.einsum("g,gxs,gsy->xy", w, cross, moved)
    if len(state.rays.gains):
        g = state.rays.gains
        gradients, curvatures = gain_curvatures(energy, state.rays)
        stiffness = state.ray_weights * (1.0 + g**2) / np.where(g > 0.0, g * (1.0 - g) * (1.0 + g), 1.0)
        expected = expected + state.ray_weights @ gradients
        hessian += np.einsum("k,kx,ky->xy", stiffness, gradients, gradients)
        hessian += np.einsum("k,kxy->xy", state.ray_weights, curvatures)
    return expected.reshape(n_classes, n_outputs), hessian


def unchanged_weights(state: Population, factor: float) -> Float[np.ndarray, "cls output"]:
    """The change of t that keeps fractions and amplitudes, to first order, when the softness is multiplied by a factor.

    A fraction w needs E_0 - E(a_γ) = τ log w, an amplitude w needs 1 - gain = τ'/w.
    """
    energy = state.energy
    shape = energy.multiplier.shape
    rows: list[Float[np.ndarray, " variable"]] = []
    wanted: list[float] = []
    if len(state.minima.energies):
        keep = state.weights > 1e-4
        a, w = state.readouts[keep], state.weights[keep]
        h = energy.tilts(a)
        statistic = (energy.fractions * energy.table(h).mean(h))[:, :, None] * a[:, None, :]
        for row, weight in zip(statistic.reshape(len(a), -1), w, strict=True):
            rows.append(np.append(row, -1.0))
            wanted.append((factor - 1.0) / state.sharpness * float(np.log(weight)))
    if len(state.rays.gains):
        gradients, _ = gain_curvatures(energy, state.rays)
        for row, gain, weight in zip(gradients, state.rays.gains, state.ray_weights, strict=True):
            if weight > 1e-3:
                rows.append(np.append(row, 0.0))
                wanted.append((1.0 - factor) * float(1.0 - gain))
    if not rows:
        return np.zeros(shape)
    change = np.linalg.lstsq(np.array(rows), np.array(wanted), rcond=1e-8)[0]
    return np.reshape(change[:-1], shape)


def moments_of(
    state: Population,
) -> tuple[Float[np.ndarray, "cls cls"], Float[np.ndarray, " cls"], Float[np.ndarray, "output output"]]:
    """Class blocks of the kernel between different patterns, its diagonal, and U, of the bulk and the outliers together."""
    h = state.energy.tilts(state.readouts)
    table = state.energy.table(h)
    mean, variance = table.mean(h), table.variance(h)
    w = state.weights
    blocks = np.einsum("g,gc,gd->cd", w, mean, mean)
    diagonal = w @ (variance + mean**2)
    overlap = np.einsum("g,gr,gs->rs", w, state.readouts, state.readouts)
    scale = np.sqrt(state.ray_weights)[:, None]
    phi, u = scale * state.rays.activations, scale * state.rays.readouts
    return blocks + phi.T @ phi, diagonal + np.sum(phi**2, axis=0), overlap + u.T @ u


def gathered(
    values: Float[np.ndarray, " point"], weights: Float[np.ndarray, " point"], step: float
) -> tuple[Float[np.ndarray, " node"], Float[np.ndarray, " node"]]:
    """Weighted values shared out linearly between the nodes of an even grid: the nodes and their weights.

    Example:
        >>> gathered(np.array([0.25]), np.array([1.0]), 1.0)
        (array([0., 1.]), array([0.75, 0.25]))
    """
    lower = math.floor(float(values.min()) / step)
    position = values / step - lower
    index = np.floor(position).astype(np.int64)
    part = position - index
    size = int(index.max()) + 2
    mass = np.bincount(index, weights=weights * (1.0 - part), minlength=size)
    mass += np.bincount(index + 1, weights=weights * part, minlength=size)
    return (lower + np.arange(size)) * step, mass
