"""The density of one unit's readout weights, given the multiplier: its energy, minima and support.

With orthogonal inputs (K_0 = κ I) the pre-activations of a unit are independent given its readout weights a, and
(arXiv 2406.16689)

    P(a) ∝ exp(-P E(a)),   E(a) = |a|²/2s² - Σ_c p_c log g(t_c·a),   g(h) = E exp(h φ(z)), z ~ N(0, κ),

with P patterns, a share p_c of them in class c, readout variance σ_a² = s²/P, and t_c the multiplier of the output
constraint of class c. The low minima of E are the branches of the population, one code each.
"""

import itertools
import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from hiddencodes.models.activations import Activation
from hiddencodes.models.gaussian_integrals import evaluate
from hiddencodes.theory.tilted_moments import TiltedMoments, asymptotic_slopes, tilt_unit, tilted_moments

# The posterior of a is a mixture over z of Gaussians of covariance σ_a² I. Sums over a lattice of this spacing, in units of
# σ_a, therefore integrate it to exp(-2 π²/0.7²) ≈ 3e-18, and interpolate it to exp(-π²/(2 × 0.7²)) ≈ 4e-5.
SPACING = 0.7
_MOST_POINTS = 6_000_000
# Tilts beyond this, in the units of `tilt_unit`, are on a ray to infinity of an unbounded activation.
_RAY_TILT = 32.0
_DOWNHILL_STEPS = 25
_NEWTON_STEPS = 40


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
        reach = _RAY_TILT * tilt_unit(self.activation, self.input_variance)
        return np.max(np.abs(self.tilts(a)), axis=1, initial=0.0) < reach

    def minima(self, near: Float[np.ndarray, "point output"] | None = None) -> Minima:
        """All local minima that are reached from one start per subset of the classes; or those next to given points only."""
        a = _subset_starts(self) if near is None else near
        a = a[self._inside(a)]
        for _ in range(_DOWNHILL_STEPS if near is None else 0):
            a = self._downhill(a)
            a = a[self._inside(a)]
        moving, rest = _distinct(a), list[Float[np.ndarray, "point output"]]()
        for _ in range(_NEWTON_STEPS):
            trial = self._newton(moving)
            done = np.max(np.abs(trial - moving), axis=1, initial=0.0) < 1e-12
            rest.append(trial[done])
            moving = trial[~done & self._inside(trial)]
            if not len(moving):
                break
        a = np.concatenate([*rest, moving])
        curved = np.linalg.eigvalsh(self.hessian(a))[:, 0] > 0.0 if len(a) else np.zeros(0, dtype=bool)
        a = a[curved & self._settled(a)]
        energies = self.energy(a) if len(a) else np.zeros(0)
        order = np.argsort(energies, kind="stable")
        a = _distinct(a[order])
        return Minima(a, self.energy(a) if len(a) else np.zeros(0))

    def _settled(self, a: Float[np.ndarray, "point output"]) -> Bool[np.ndarray, " point"]:
        step = np.max(np.abs(self._downhill(a) - a), axis=1, initial=0.0)
        return step < 1e-8 * (1.0 + np.max(np.abs(a), axis=1, initial=0.0))

    def _newton(self, a: Float[np.ndarray, "point output"]) -> Float[np.ndarray, "point output"]:
        """Newton's step where E is convex and the step lowers it, the downhill step elsewhere."""
        if not len(a):
            return a
        safe = self._downhill(a)
        gradient = (a - safe) / self.scaled_variance
        hessian = self.hessian(a)
        values, vectors = np.linalg.eigh(hessian)
        convex = values[:, 0] > 1e-8 * values[:, -1]
        values = np.where(convex[:, None], values, 1.0)
        along = np.einsum("pts,pt->ps", vectors, gradient) / values
        step = np.einsum("prs,ps->pr", vectors, along)
        trial = np.where(convex[:, None], a - step, safe)
        ok = self._inside(trial)
        trial = np.where(ok[:, None], trial, safe)
        lowest = self.energy(safe)
        # log g and its slope are interpolated apart: next to a minimum they agree on it to 1e-9.
        better = self.energy(trial) <= lowest + 1e-9 * (1.0 + np.abs(lowest))
        return np.where(better[:, None], trial, safe)

    def lowest_across(
        self, point: Float[np.ndarray, " output"], across: Float[np.ndarray, "output direction"]
    ) -> float:
        """The lowest energy that is found from a point when only some directions may be moved along."""

        def at(x: Float[np.ndarray, " direction"]) -> tuple[float, Float[np.ndarray, " direction"]]:
            a = (point + across @ x)[None]
            slope = (a - self._downhill(a)) / self.scaled_variance
            return float(self.energy(a)[0]), slope[0] @ across

        start = np.zeros(across.shape[1])
        return float(minimize(at, start, jac=True).fun) if across.size else at(start)[0]

    def support(self, minima: Minima, n_patterns: int, depth: float) -> Float[np.ndarray, "point output"]:
        """Lattice points that carry the mass of exp(-P E) around the minima.

        Args:
            minima: Where to begin.
            n_patterns: P.
            depth: How far, in nats, P E may lie above its lowest minimum. Beyond 24 a branch
                of up to four outputs has a share of 1e-9.

        Raises:
            ValueError: if the support has too many points to be summed over.
        """
        if not len(minima.energies):
            raise ValueError(
                "class_targets: the readout density has no maximum; the targets may be too large to be reached"
            )
        spacing = SPACING * math.sqrt(self.scaled_variance / n_patterns)
        limit = float(minima.energies[0]) + depth / n_patterns
        seeds = minima.positions[minima.energies <= limit]
        n_outputs = seeds.shape[1]
        neighbors = _neighborhood(n_outputs)
        frontier = np.rint(seeds / spacing).astype(np.int64)[:, None] + neighbors
        frontier = np.unique(frontier.reshape(-1, n_outputs), axis=0)
        # What is inside and adjacent to a shell lies in it, in the one before or in the next one.
        before, last = np.zeros(0, np.int64), _codes(frontier)
        points = list[np.ndarray]()
        total = 0
        while len(frontier):
            inside = frontier[self.energy(frontier * spacing) <= limit]
            points.append(inside)
            total += len(inside)
            if total > _MOST_POINTS or np.any(np.abs(frontier) >= _largest_coordinate(n_outputs)):
                raise ValueError(
                    f"class_targets: the readout density of {n_outputs} outputs needs more than {_MOST_POINTS} points"
                )
            spread = (inside[:, None] + neighbors).reshape(-1, n_outputs)
            keys, first = np.unique(_codes(spread), return_index=True)
            fresh = ~np.isin(keys, np.concatenate([before, last]), assume_unique=True)
            frontier = spread[first[fresh]]
            before, last = last, keys[fresh]
        return np.concatenate(points) * spacing


def _neighborhood(n_outputs: int) -> Int[np.ndarray, "neighbor output"]:
    """The point itself and its neighbors along the axes."""
    eye = np.eye(n_outputs, dtype=np.int64)
    return np.concatenate([np.zeros((1, n_outputs), np.int64), eye, -eye])


def _largest_coordinate(n_outputs: int) -> int:
    return 1 << (62 // n_outputs - 1)


def _codes(points: Int[np.ndarray, "point output"]) -> Int[np.ndarray, " point"]:
    """One integer per lattice point."""
    n_outputs = points.shape[1]
    shifts = (62 // n_outputs) * np.arange(n_outputs, dtype=np.int64)
    return (points + _largest_coordinate(n_outputs)) @ (1 << shifts)


def _distinct(points: Float[np.ndarray, "point output"]) -> Float[np.ndarray, "distinct output"]:
    """The points without later ones that repeat an earlier one."""
    tolerance = 1e-5 * (1.0 + float(np.max(np.abs(points), initial=0.0)))
    close = np.ones((len(points), len(points)), dtype=bool)
    for x in points.T:
        close &= np.abs(x[:, None] - x) <= tolerance
    return points[np.argmax(close, axis=1) == np.arange(len(points))] if len(points) else points


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


@lru_cache(maxsize=64)
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
