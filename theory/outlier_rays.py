"""Outlier units: single units whose weights grow as √N, possible where the activation does not saturate.

With a = √N ā and z = √N z̄ a unit costs as much action as N others, N P [|ā|²/2s² + Σ_c p_c z̄_c²/2κ], s² = P σ_a², and adds
ā φ_∞(z̄)ᵀ to the constraint, φ_∞(z) = slope_± z with the asymptotic slopes of φ. It lowers the action as soon as

    vᵀ M v ≤ |v|² fails for some v ≥ 0,   M_cc' = s² κ √(p_c p_c') t_c·t_c',

in the case of a ReLU (slopes 0 and 1): the multiplier of a solution sits at the margin of this condition, and the outliers
on its flat rays (arXiv 2406.16689).
"""

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from hiddencodes.theory.readout_energy import ReadoutEnergy
from hiddencodes.theory.tilted_moments import asymptotic_slopes

# A ray whose share of the action is below this carries nothing.
_CARRIES = 1e-6
# Subsets of this many rays are mixed at most.
_MIXED = 6
# Angle by which pairs of outliers are turned.
_TURN = 0.05


class Rays(NamedTuple):
    """Directions along which a unit may grow without bound.

    Normalized to cost one: |ā|²/2s² + Σ_c p_c z̄_c²/2κ = 1.

    Attributes:
        readouts: ā, (ray, output).
        preactivations: z̄_c, (ray, class).
        activations: φ_∞(z̄_c), (ray, class).
        gains: Σ_c p_c (t_c·ā) φ_∞(z̄_c): below one inside, one on a flat ray, above one where the multiplier is infeasible.
    """

    readouts: Float[np.ndarray, "ray output"]
    preactivations: Float[np.ndarray, "ray cls"]
    activations: Float[np.ndarray, "ray cls"]
    gains: Float[np.ndarray, " ray"]


def stationary_directions(energy: ReadoutEnergy) -> Float[np.ndarray, "ray cls"]:
    """The stationary points of vᵀ M v over unit vectors v, one per assignment of "up", "down", "stays" to the classes.

    v_c = √(p_c/κ) z̄_c; the largest gain over an orthant is that of some face whose leading eigenvector lies inside it.
    """
    below, above = asymptotic_slopes(energy.activation)
    n_classes = len(energy.fractions)
    signs = [0.0] + ([1.0] if above else []) + ([-1.0] if below else [])
    scaled = energy.multiplier * np.sqrt(energy.fractions)[:, None]
    found = list[Float[np.ndarray, " cls"]]()
    for pattern in itertools.product(signs, repeat=n_classes):
        sign = np.array(pattern)
        face = np.flatnonzero(sign)
        if not len(face):
            continue
        slope = np.where(sign[face] > 0, above, below)
        form = (scaled[face] * slope[:, None]) @ (scaled[face] * slope[:, None]).T
        values, vectors = np.linalg.eigh(form)
        v = vectors[:, -1] * np.sign(vectors[:, -1] @ sign[face] or 1.0)
        if values[-1] > 0.0 and np.all(v * sign[face] > 0.0):
            full = np.zeros(n_classes)
            full[face] = v
            found.append(full)
    return np.array(found).reshape(-1, n_classes)


def rays(energy: ReadoutEnergy, directions: Float[np.ndarray, "ray cls"]) -> Rays:
    """The rays along given directions v of the pre-activations, each with its best readout.

    That readout is ā ∝ Σ_c p_c t_c φ_∞(z̄_c); half of the cost is spent on it and half on the pre-activations, so that the
    gain is s √κ |Σ_c √p_c slope_c v_c t_c|.
    """
    below, above = asymptotic_slopes(energy.activation)
    z = directions * np.sqrt(energy.input_variance / energy.fractions)
    phi = np.where(z > 0.0, above, below) * z
    pull = (phi * energy.fractions) @ energy.multiplier
    norm = np.linalg.norm(pull, axis=1)
    s = np.sqrt(energy.scaled_variance)
    readouts = s * pull / np.where(norm > 0.0, norm, 1.0)[:, None]
    return Rays(readouts, z, phi, s * norm)


def parallel_groups(
    directions: Float[np.ndarray, "ray cls"], weights: Float[np.ndarray, " ray"], cosine: float
) -> list[Bool[np.ndarray, " ray"]]:
    """Masks of the rays that are nearly parallel to the heaviest one, to the heaviest one of the others, and so on.

    Args:
        directions: Of the rays.
        weights: Rays that carry nothing are in no group.
        cosine: Least cosine of the angle between rays of a group.
    """
    norms = np.linalg.norm(directions, axis=1, keepdims=True)
    unit = directions / np.where(norms > 0.0, norms, 1.0)
    left = weights > _CARRIES
    groups: list[Bool[np.ndarray, " ray"]] = []
    while np.any(left):
        near = left & (unit @ unit[int(np.argmax(np.where(left, weights, 0.0)))] > cosine)
        groups.append(near)
        left &= ~near
    return groups


def with_mixtures(directions: Float[np.ndarray, "ray cls"]) -> Float[np.ndarray, "all cls"]:
    """The directions, and the means of several of them: where rays of different classes are flat, those between may be."""
    few = directions[:_MIXED]
    means = [
        few[list(members)].sum(axis=0)
        for count in range(2, len(few) + 1)
        for members in itertools.combinations(range(len(few)), count)
    ]
    means = [mean / norm for mean in means if (norm := float(np.linalg.norm(mean))) > 0.0]
    return np.concatenate([directions, np.array(means).reshape(-1, directions.shape[1])])


def pairs_may_turn(energy: ReadoutEnergy, directions: Float[np.ndarray, "ray cls"]) -> bool:
    """Whether two outliers v, w can be replaced by v cos θ + w sin θ and -v sin θ + w cos θ, which sum up to the same.

    Then a continuum of rays is flat, and outliers are one way of many to carry the classes.

    Args:
        energy: At the solution.
        directions: Of the outliers, √(p_c/κ) z̄_c up to a factor.
    """
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    for v, w in itertools.permutations(directions, 2):
        turned = np.stack([np.cos(_TURN) * v + np.sin(_TURN) * w, -np.sin(_TURN) * v + np.cos(_TURN) * w])
        norms = np.linalg.norm(turned, axis=1)
        if np.all(norms > 0.0) and np.all(rays(energy, turned / norms[:, None]).gains > 1.0 - 0.1 * _TURN**2):
            return True
    return False


def gain_curvatures(
    energy: ReadoutEnergy, found: Rays
) -> tuple[Float[np.ndarray, "ray variable"], Float[np.ndarray, "ray variable variable"]]:
    """Gradient and Hessian of the gains in the multiplier, its entries (class, output) in one axis.

    A gain is the length of a vector that is linear in t.
    """
    size = energy.multiplier.size
    n_rays, n_outputs = len(found.gains), energy.multiplier.shape[1]
    s = np.sqrt(energy.scaled_variance)
    pull = s * energy.fractions * found.activations
    unit = found.readouts / s
    gradients = np.einsum("kc,kr->kcr", pull, unit).reshape(n_rays, size)
    across = np.eye(n_outputs) - np.einsum("kr,ks->krs", unit, unit)
    hessians = np.einsum("kc,kd,krs->kcrds", pull, pull, across).reshape(n_rays, size, size)
    # A gain of zero is far inside the confinement: its curvature does not matter.
    return gradients, hessians / np.where(found.gains > 1e-12, found.gains, np.inf)[:, None, None]
