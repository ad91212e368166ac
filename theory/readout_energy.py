"""The density of one unit's readout weights, given the multiplier: its energy, minima and support.

With orthogonal inputs (K_0 = κ I) the pre-activations of a unit are independent given its readout weights a, and
(arXiv 2406.16689)

    P(a) ∝ exp(-P E(a)),   E(a) = |a|²/2s² - Σ_c p_c log g(t_c·a),   g(h) = E exp(h φ(z)), z ~ N(0, κ),

with P patterns, a share p_c of them in class c, readout variance σ_a² = s²/P, and t_c the multiplier of the output
constraint of class c. The low minima of E are the branches of the population, one code each.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from hiddencodes.models.activations import Activation
from hiddencodes.theory.tilted_moments import TiltedMoments, asymptotic_slopes, evaluate, tilted_moments

# The posterior of a is a mixture over z of Gaussians of covariance σ_a² I. Sums over a lattice of this spacing, in units of
# σ_a, therefore integrate it to exp(-2 π²/0.7²) ≈ 3e-18, and interpolate it to exp(-π²/(2 × 0.7²)) ≈ 4e-5.
SPACING = 0.7
# Points lighter than exp(-30) of the heaviest are left out: 1e5 of them would still weigh 1e-8.
_DEPTH = 30.0
_MOST_POINTS = 6_000_000
# Tilts beyond this are on a ray to infinity of an unbounded activation.
_RAY_TILT = 60.0


class Minima(NamedTuple):
    """Local minima of E, lowest first: positions (minimum, output) and energies (minimum,)."""

    positions: Float[np.ndarray, "minimum output"]
    energies: Float[np.ndarray, " minimum"]


class ReadoutEnergy(NamedTuple):
    """E(a) for one activation, one set of classes and one multiplier.

    Attributes:
        activation: φ.
        fractions: p_c.
        scaled_variance: s² = P σ_a².
        input_variance: κ.
        multiplier: t, (class, output).
    """

    activation: Activation
    fractions: Float[np.ndarray, " cls"]
    scaled_variance: float
    input_variance: float
    multiplier: Float[np.ndarray, "cls output"]

    def tilts(self, a: Float[np.ndarray, "point output"]) -> Float[np.ndarray, "point cls"]:
        """h_c = t_c·a."""
        return a @ self.multiplier.T

    def table(self, tilts: Float[np.ndarray, "point cls"]) -> TiltedMoments:
        """The cumulants of φ in a range that covers the tilts."""
        reach = float(np.max(np.abs(tilts), initial=0.0))
        return tilted_moments(self.activation, self.input_variance, reach)

    def energy(self, a: Float[np.ndarray, "point output"]) -> Float[np.ndarray, " point"]:
        """E(a)."""
        h = self.tilts(a)
        return np.sum(a**2, axis=1) / (2.0 * self.scaled_variance) - self.table(h).log_g(h) @ self.fractions

    def hessian(self, a: Float[np.ndarray, "point output"]) -> Float[np.ndarray, "point output output"]:
        """E''(a) = I/s² - Σ_c p_c Var(φ | t_c·a) t_c t_cᵀ."""
        h = self.tilts(a)
        weight = self.table(h).variance(h) * self.fractions
        eye = np.eye(a.shape[1]) / self.scaled_variance
        return eye - np.einsum("pc,cr,cs->prs", weight, self.multiplier, self.multiplier)

    def _downhill(self, a: Float[np.ndarray, "point output"]) -> Float[np.ndarray, "point output"]:
        """a = s² Σ_c p_c ⟨φ⟩_c t_c at a stationary point; as an iteration it lowers E at every step.

        -log g is concave and lies below its tangent, so that this is the exact minimization of an upper bound.
        """
        h = self.tilts(a)
        return self.scaled_variance * (self.table(h).mean(h) * self.fractions) @ self.multiplier

    def _inside(self, a: Float[np.ndarray, "point output"]) -> Bool[np.ndarray, " point"]:
        if asymptotic_slopes(self.activation) == (0.0, 0.0):
            return np.ones(len(a), dtype=bool)
        return np.max(np.abs(self.tilts(a)), axis=1, initial=0.0) < _RAY_TILT

    def minima(self, starts: Float[np.ndarray, "point output"] | None = None) -> Minima:
        """All local minima that are reached from one start per subset of the classes, and from `starts`."""
        n_outputs = self.multiplier.shape[1]
        a = np.concatenate([_subset_starts(self), np.zeros((0, n_outputs)) if starts is None else starts])
        a = a[self._inside(a)]
        for _ in range(80):
            a = self._downhill(a)
            a = a[self._inside(a)]
        for _ in range(60):
            newton, change = self._newton(a)
            a = newton[self._inside(newton)]
            if change < 1e-12:
                break
        curved = np.linalg.eigvalsh(self.hessian(a))[:, 0] > 0.0 if len(a) else np.zeros(0, dtype=bool)
        a = a[curved & self._settled(a)]
        energies = self.energy(a) if len(a) else np.zeros(0)
        order = np.argsort(energies, kind="stable")
        kept: list[int] = []
        tolerance = 1e-5 * (math.sqrt(self.scaled_variance) + float(np.max(np.abs(a), initial=0.0)))
        for i in order.tolist():
            if all(float(np.max(np.abs(a[i] - a[j]))) > tolerance for j in kept):
                kept.append(i)
        return Minima(a[kept], energies[kept])

    def _settled(self, a: Float[np.ndarray, "point output"]) -> Bool[np.ndarray, " point"]:
        step = np.max(np.abs(self._downhill(a) - a), axis=1, initial=0.0)
        return step < 1e-8 * (1.0 + np.max(np.abs(a), axis=1, initial=0.0))

    def _newton(
        self, a: Float[np.ndarray, "point output"]
    ) -> tuple[Float[np.ndarray, "point output"], float]:
        """Newton's step where E is convex and the step lowers it, the downhill step elsewhere."""
        if not len(a):
            return a, 0.0
        safe = self._downhill(a)
        gradient = (a - safe) / self.scaled_variance
        hessian = self.hessian(a)
        values, vectors = np.linalg.eigh(hessian)
        convex = values[:, 0] > 1e-8 * values[:, -1]
        values = np.where(convex[:, None], values, 1.0)
        step = np.einsum("prs,ps,pts,pt->pr", vectors, 1.0 / values, vectors, gradient)
        trial = np.where(convex[:, None], a - step, safe)
        ok = self._inside(trial)
        trial = np.where(ok[:, None], trial, safe)
        better = self.energy(trial) <= self.energy(safe) + 1e-12 * np.abs(self.energy(safe))
        chosen = np.where(better[:, None], trial, safe)
        return chosen, float(np.max(np.abs(chosen - a)))

    def support(
        self, minima: Minima, n_patterns: int, ceiling: float = math.inf
    ) -> tuple[Float[np.ndarray, "point output"], Float[np.ndarray, " point"]]:
        """Lattice points that carry the mass of exp(-P E) around the minima, and -P E there.

        Args:
            minima: Where to begin.
            n_patterns: P.
            ceiling: Points with E above it do not belong to the support: it ends a valley that leads to infinity.

        Raises:
            ValueError: if the support has too many points to be summed over.
        """
        spacing = SPACING * math.sqrt(self.scaled_variance / n_patterns)
        limit = min(float(minima.energies[0]) + _DEPTH / n_patterns, ceiling)
        seeds = minima.positions[minima.energies <= limit]
        neighbors = _neighborhood(seeds.shape[1])
        frontier = np.unique(
            (np.rint(seeds / spacing).astype(np.int64)[:, None] + neighbors).reshape(-1, seeds.shape[1]),
            axis=0,
        )
        seen = _codes(frontier)
        points, values = list[np.ndarray](), list[np.ndarray]()
        total = 0
        while len(frontier):
            energy = self.energy(frontier * spacing)
            inside = energy <= limit
            points.append(frontier[inside])
            values.append(-n_patterns * energy[inside])
            total += int(inside.sum())
            if total > _MOST_POINTS:
                raise ValueError(
                    f"class_targets: the readout density of {seeds.shape[1]} outputs needs more than {_MOST_POINTS} points"
                )
            spread = (points[-1][:, None] + neighbors).reshape(-1, seeds.shape[1])
            keys, first = np.unique(_codes(spread), return_index=True)
            fresh = ~np.isin(keys, seen, assume_unique=True)
            frontier = spread[first[fresh]]
            # Only the last two shells can be met again.
            seen = np.concatenate([seen, keys[fresh]])
        return np.concatenate(points) * spacing, np.concatenate(values)


def _neighborhood(n_outputs: int) -> Int[np.ndarray, "neighbor output"]:
    """The point itself and its neighbors along the axes."""
    eye = np.eye(n_outputs, dtype=np.int64)
    return np.concatenate([np.zeros((1, n_outputs), np.int64), eye, -eye])


def _codes(points: Int[np.ndarray, "point output"]) -> Int[np.ndarray, " point"]:
    """One integer per lattice point."""
    bits = 62 // points.shape[1]
    shifted = points + (1 << (bits - 1))
    return shifted @ (1 << (bits * np.arange(points.shape[1], dtype=np.int64)))


def _subset_starts(energy: ReadoutEnergy) -> Float[np.ndarray, "point output"]:
    """One start per assignment of "low", "middle" and "high" activation to the classes."""
    low, high = typical_range(energy.activation, energy.input_variance)
    n_classes = len(energy.fractions)
    # 3^C assignments while they are few, then 2^C, then a fixed random subset of those.
    levels = (low, 0.5 * (low + high), high) if n_classes <= 5 else (low, high)
    if n_classes <= 10:
        phi = np.array(list(itertools.product(levels, repeat=n_classes)))
    else:
        phi = np.random.default_rng(0).choice(levels, size=(1024, n_classes))
    return energy.scaled_variance * (phi * energy.fractions) @ energy.multiplier


def typical_range(activation: Activation, input_variance: float) -> tuple[float, float]:
    """Lowest and highest value of φ, or those within three standard deviations where φ is not bounded.

    Example:
        >>> from hiddencodes.models.activations import relu, tanh
        >>> typical_range(tanh, 1.0), typical_range(relu, 4.0)
        ((-1.0, 1.0), (0.0, 6.0))
    """
    below, above = asymptotic_slopes(activation)
    reach = 3.0 * math.sqrt(input_variance)
    ends = np.array([-1e8 if below == 0.0 else -reach, 1e8 if above == 0.0 else reach])
    phi = evaluate(activation, np.concatenate([ends, np.linspace(-reach, reach, 201)]))
    return float(phi.min()), float(phi.max())
