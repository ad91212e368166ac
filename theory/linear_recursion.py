"""The squared norm of the readout of a deep linear network, carried down layer by layer: its law on a grid.

With Q_L = |a|²/N and Q_(l-1) = Q_l χ²_N/N for independent factors, u = log(Q_1/σ_a²) is a sum of L independent terms of
known density, and given Q_1 the outputs on the training set are N(0, K_0 Q_1/N). The sums over the grid of logarithms are
trapezoidal rules for integrands that are analytic and decay at both ends: their error falls exponentially with the spacing.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.lib.stride_tricks import sliding_window_view
from scipy import special  # pyright: ignore[reportMissingTypeStubs]

from hiddencodes.theory.linear import OverlapDensity

# What lies this many nats below the maximum does not count in double precision.
_NATS = 60.0
_COARSE_POINTS = 2001
_COARSE_REACH = 80.0
# Points per standard deviation of the narrowest factor; three leave an error of exp(-2 π² 9).
_POINTS_PER_DEVIATION = 3.0
_WIDEST_SPACING = 0.1

Points = Float[np.ndarray, " point"]


class _Grid(NamedTuple):
    """Points spacing * (start, start + 1, ...)."""

    start: int
    size: int
    spacing: float

    def points(self) -> Points:
        return self.spacing * np.arange(self.start, self.start + self.size)


def _support(log_density: Callable[[Points], Points], center: float) -> tuple[float, float]:
    """Where the log density is within `_NATS` of its maximum."""
    lowest, highest = center - _COARSE_REACH, center + _COARSE_REACH
    for _ in range(2):
        points = np.linspace(lowest, highest, _COARSE_POINTS)
        values = log_density(points)
        inside = np.flatnonzero(values > np.max(values) - _NATS)
        step = points[1] - points[0]
        lowest, highest = float(points[inside[0]] - step), float(points[inside[-1]] + step)
    return lowest, highest


class OverlapRecursion:
    """Log densities of u_n, the log of the product of n of the L factors, on grids of one spacing.

    Attributes:
        output_overlap: Values of Q_1 that cover its posterior, (point,).
        posterior: Their probabilities, (point,).

    Example:
        >>> from hiddencodes.theory.linear import overlap_density
        >>> density = overlap_density(np.eye(1), np.ones((1, 1)), 9, 1.0, temperature=0.0)
        >>> law = OverlapRecursion(density, depth=3)
        >>> mean, inverse = law.posterior @ law.conditional_moment(1, 1.0), law.posterior @ (1.0 / law.output_overlap)
        >>> print(round(mean - inverse, 12))  # 1 - P/N, an identity
        0.888888888889
    """

    def __init__(self, density: OverlapDensity, depth: int) -> None:
        """Tabulate the posterior of Q_1.

        Args:
            density: Width, σ_a² and the Gaussian likelihood.
            depth: L.
        """
        self._half_width, self._depth = 0.5 * density.width, depth
        self._density, self._offset = density, math.log(density.readout_variance)
        ranges = self._ranges()
        self._mode = self._highest(ranges[-1]) / depth
        self._spacing = self._choose_spacing(ranges[-1])
        self._grids = [
            _Grid(math.floor(low / self._spacing), math.ceil((high - low) / self._spacing) + 2, self._spacing)
            for low, high in ranges
        ]
        self._factor = self._log_factor(self._grids[0].points())
        self._plain = [self._factor]
        for n in range(1, depth):
            self._plain.append(self._step(self._plain[-1], n))
        log_ratio = self._grids[-1].points()
        tilt = self._half_width * math.expm1(self._mode)
        log_posterior = self._plain[-1] + self._log_likelihood(log_ratio) - tilt * log_ratio
        posterior = np.exp(log_posterior - np.max(log_posterior))
        self.posterior = posterior / np.sum(posterior)
        self.output_overlap = density.readout_variance * np.exp(self._grids[-1].points())

    def _log_likelihood(self, log_ratio: Points) -> Points:
        return self._density.log_likelihood(log_ratio + self._offset)

    def _log_factor(self, log_ratio: Points) -> Points:
        # The density ∝ exp((N/2)(s - e^s)) of s = log(χ²_N/N), times e^(θs) with the θ that puts its maximum, 0, at the mode
        # of the posterior: logs far down in the tail would lose digits. A sum of such s just carries the factor e^(θu) on.
        shift = log_ratio - self._mode
        return self._half_width * math.exp(self._mode) * (shift - np.expm1(shift))

    def _ranges(self) -> list[tuple[float, float]]:
        """Ranges of u_1 to u_L: the largest joint density at equal factors, also when weighted by 1/Q_l to Q_l²."""
        half, depth = self._half_width, self._depth

        def at_equal_factors(log_ratio: Points, factors: int) -> Points:
            return half * (log_ratio - factors * np.exp(log_ratio / factors))

        def weighted(log_density: Callable[[Points], Points], center: float) -> tuple[float, float]:
            found = [
                _support(lambda u, k=power: log_density(u) + k * u, center) for power in (-1.0, 0.0, 2.0)
            ]
            return min(low for low, _ in found), max(high for _, high in found)

        coarse = np.linspace(-_COARSE_REACH, _COARSE_REACH, _COARSE_POINTS)
        center = float(coarse[np.argmax(self._log_total(coarse))])
        last = weighted(self._log_total, center)
        ends = np.linspace(*last, 301)
        likelihood = self._log_likelihood(ends)
        ranges = list[tuple[float, float]]()
        for n in range(1, depth):

            def envelope(log_ratio: Points, n: int = n) -> Points:
                rest = (ends[None, :] - log_ratio[:, None]) / (depth - n)
                joint = half * (depth - n) * (rest - np.exp(rest)) + likelihood
                return at_equal_factors(log_ratio, n) + np.max(joint, axis=1)

            ranges.append(weighted(envelope, center * n / depth))
        return [*ranges, last]

    def _log_total(self, log_ratio: Points) -> Points:
        """The joint density of L equal factors."""
        prior = self._half_width * (log_ratio - self._depth * np.exp(log_ratio / self._depth))
        return prior + self._log_likelihood(log_ratio)

    def _highest(self, last: tuple[float, float]) -> float:
        points = np.linspace(*last, _COARSE_POINTS)
        return float(points[np.argmax(self._log_total(points))])

    def _choose_spacing(self, last: tuple[float, float]) -> float:
        points = np.linspace(*last, _COARSE_POINTS)
        log_density = self._log_total(points)
        # The sharpest peak that matters, of one or several.
        curvature = -np.diff(log_density, 2) / (points[1] - points[0]) ** 2
        sharpest = float(np.max(curvature[log_density[1:-1] > np.max(log_density) - 0.5 * _NATS]))
        # One factor at a given total has at least the curvature (N/2) e^s.
        deviation = 1.0 / math.sqrt(max(sharpest, self._half_width * math.exp(max(self._mode, 0.0))))
        return min(_WIDEST_SPACING, deviation / _POINTS_PER_DEVIATION)

    def _step(self, log_density: Float[np.ndarray, " below"], n: int) -> Points:
        """The density of u_(n+1) from that of u_n: one more factor."""
        source, target = self._grids[n - 1], self._grids[n]
        first = self._grids[0].start
        # Row k of the windows holds log_density at target - s for s over the factor's grid.
        low = target.start - first - len(self._factor) + 1
        high = target.start + target.size - 1 - first
        padded = np.full(high - low + 1, -np.inf)
        begin, end = max(source.start, low), min(source.start + source.size - 1, high)
        padded[begin - low : end - low + 1] = log_density[begin - source.start : end - source.start + 1]
        terms = sliding_window_view(padded, len(self._factor)) + self._factor[::-1]
        total: Points = special.logsumexp(terms, axis=1)  # pyright: ignore
        return total + math.log(self._spacing)

    def conditional_moment(self, factors: int, power: float) -> Points:
        """E[Q_l^k | Q_1] for l = L + 1 - `factors` and k = `power`, at every point of the posterior."""
        points = self._grids[factors - 1].points()
        message = self._plain[factors - 1] + power * (points + self._offset)
        if factors == self._depth:
            return np.exp(power * (points + self._offset))
        for n in range(factors, self._depth):
            message = self._step(message, n)
        return np.exp(message - self._plain[-1])
