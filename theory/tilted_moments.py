"""One pre-activation under an exponential tilt: log g(h) = log E exp(h φ(z)), z ~ N(0, κ), and its derivatives.

Everything a single unit does with orthogonal inputs goes through these functions of one variable (arXiv 2406.16689): given
its readout weights, its pre-activation of a pattern has the density N(z; 0, κ) exp(h φ(z))/g(h), so that log g generates the
cumulants of its activation.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicHermiteSpline

from hiddencodes.models.activations import Activation
from hiddencodes.models.gaussian_integrals import evaluate

# Gaussian weight beyond this many standard deviations is below exp(-72).
_RANGE = 12.0
_NODES_PER_PANEL = 16
_PANELS_AT_KINKS = 12
# Where φ saturates its cumulants go on changing until far tilts, ever more slowly; else they are those of a Gaussian as soon
# as the tilt is large in the units of `tilt_unit`, in which these tables are.
_SATURATED_TABLE = 4096.0
_UNBOUNDED_TABLES = (16.0, 32.0)
_STEP = 0.04
_RELATIVE_STEP = 0.006
_FAR = 1e8
# A slope at infinity beyond this is not one.
_STEEP = 1e6


class TiltedMoments(NamedTuple):
    """Cumulants of φ(z) under the tilted density, tabulated for tilts |h| up to `reach`.

    Cubic Hermite interpolation with exact slopes, errors below 1e-7 of the largest value. Where φ saturates the spacing is
    0.04/max(1, √κ) or 0.6 % of |h|, whichever is wider; else it is 0.04 of `tilt_unit`. Beyond `reach` the mean of an activation that saturates stays where
    it is, and that of another one goes on with the slope it has.

    Attributes:
        reach: Largest |h| of the table.
        saturates: Whether φ does.
        splines: log g and its first two derivatives.
    """

    reach: float
    saturates: bool
    splines: tuple[CubicHermiteSpline, CubicHermiteSpline, CubicHermiteSpline]

    def log_g(self, h: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """log g(h)."""
        near, beyond = self._split(h)
        slope = 0.0 if self.saturates else self.splines[2](near)
        return self.splines[0](near) + beyond * (self.splines[1](near) + 0.5 * beyond * slope)

    def mean(self, h: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """⟨φ⟩_h = d log g/dh."""
        near, beyond = self._split(h)
        return self.splines[1](near) + (0.0 if self.saturates else beyond * self.splines[2](near))

    def variance(self, h: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """⟨φ²⟩_h - ⟨φ⟩_h² = d² log g/dh²."""
        return self.splines[2](self._split(h)[0])

    def _split(
        self, h: Float[np.ndarray, "*shape"]
    ) -> tuple[Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"]]:
        near = np.clip(h, -self.reach, self.reach)
        return near, h - near


@lru_cache(maxsize=64)
def asymptotic_slopes(activation: Activation) -> tuple[float, float]:
    """φ(z)/z as z → -∞ and as z → +∞; zero for an activation that saturates, or oscillates within bounds.

    Raises:
        ValueError: if the activation grows faster than linearly: g(h) = E exp(h φ(z)) is infinite then.

    Example:
        >>> from hiddencodes.models.activations import leaky_relu, tanh
        >>> asymptotic_slopes(leaky_relu(0.25)), asymptotic_slopes(tanh)
        ((0.25, 1.0), (0.0, 0.0))
    """
    z = np.array([-2.0 * _FAR, -_FAR, _FAR, 2.0 * _FAR])
    phi = evaluate(activation, z)
    below, above = float(phi[1] - phi[0]) / _FAR, float(phi[3] - phi[2]) / _FAR
    if not (abs(below) < _STEEP and abs(above) < _STEEP):
        raise ValueError(
            f"activation: {activation} grows faster than linearly, its units have no finite density"
        )
    # An oscillation within bounds leaves 1e-8.
    return (round(below, 6), round(above, 6))


def tilt_unit(activation: Activation, input_variance: float) -> float:
    """The tilt that moves the pre-activation by one standard deviation where φ is steepest at infinity.

    Example:
        >>> from hiddencodes.models.activations import relu
        >>> tilt_unit(relu, 4.0)
        0.5
    """
    steepest = max(map(abs, asymptotic_slopes(activation)))
    return 1.0 / (math.sqrt(input_variance) * steepest) if steepest else math.inf


def is_linear(activation: Activation) -> bool:
    """Whether φ is a multiple of the identity, whatever it is called.

    Example:
        >>> from hiddencodes.models.activations import leaky_relu, linear, relu
        >>> is_linear(linear), is_linear(leaky_relu(1.0)), is_linear(relu)
        (True, True, False)
    """
    z = np.linspace(-5.0, 5.0, 101)
    phi = evaluate(activation, z)
    below, above = asymptotic_slopes(activation)
    return below != 0.0 and bool(np.allclose(phi, above * z, rtol=0.0, atol=1e-9 * abs(above)))


def tilted_moments(activation: Activation, input_variance: float, reach: float) -> TiltedMoments:
    """Tabulate the cumulants of φ(z), z ~ N(0, κ), for |h| up to at least `reach`.

    E exp(h φ) is integrated by Gauss-Legendre panels that end at the kinks of φ; the integration range follows the tilted
    density where φ is not bounded. Tables are kept for later calls.

    Args:
        activation: φ.
        input_variance: κ.
        reach: Largest |h| that will be asked for; tables end at 4096, at 32 of `tilt_unit` where φ does not
            saturate.

    Returns:
        The table.

    Example:
        >>> from hiddencodes.models.activations import relu
        >>> table = tilted_moments(relu, 1.0, 2.0)
        >>> h = 1.5  # g(h) = 1/2 + exp(h^2/2) Φ(h) for a ReLU
        >>> g = np.exp(table.log_g(np.array([h]))).item()
        >>> abs(g - 0.5 - math.exp(h * h / 2) * 0.5 * math.erfc(-h / math.sqrt(2))) < 1e-7
        True
    """
    if asymptotic_slopes(activation) == (0.0, 0.0):
        return _table(activation, float(input_variance), _SATURATED_TABLE)
    # Few sizes: a solver that asks for more and more range builds few tables.
    unit = tilt_unit(activation, input_variance)
    size = next((size for size in _UNBOUNDED_TABLES if size * unit >= reach), _UNBOUNDED_TABLES[-1])
    return _table(activation, float(input_variance), size * unit)


@lru_cache(maxsize=32)
def _table(activation: Activation, input_variance: float, reach: float) -> TiltedMoments:
    scale = math.sqrt(input_variance)
    z, log_weight = _quadrature(activation, scale, reach)
    phi = evaluate(activation, z)
    unit = tilt_unit(activation, input_variance)
    if math.isinf(unit):
        h = _nodes(_STEP / max(1.0, scale), _RELATIVE_STEP, reach)
    else:
        h = _nodes(_STEP * unit, 0.0, reach)
    cumulants = np.empty((4, len(h)))
    chunk = max(1, 4_000_000 // len(z))
    for start in range(0, len(h), chunk):
        part = slice(start, start + chunk)
        exponent = log_weight + h[part, None] * phi
        top = exponent.max(axis=1, keepdims=True)
        p = np.exp(exponent - top)
        total = p.sum(axis=1)
        p /= total[:, None]
        mean = p @ phi
        centered = phi - mean[:, None]
        cumulants[:, part] = (
            top[:, 0] + np.log(total), mean, (p * centered**2).sum(1), (p * centered**3).sum(1)
        )  # fmt: skip
    log_g, mean, variance, third = cumulants
    return TiltedMoments(
        reach,
        asymptotic_slopes(activation) == (0.0, 0.0),
        (
            CubicHermiteSpline(h, log_g, mean),
            CubicHermiteSpline(h, mean, variance),
            CubicHermiteSpline(h, variance, third),
        ),
    )


def _nodes(step: float, relative_step: float, reach: float) -> Float[np.ndarray, " node"]:
    """Tilts of the table, symmetric about zero, spaced by the wider of `step` and `relative_step` |h|."""
    near = min(step / relative_step, reach) if relative_step else reach
    h = np.linspace(0.0, near, math.ceil(near / step) + 1)
    if near < reach:
        count = math.ceil(math.log(reach / near) / relative_step)
        h = np.concatenate([h, np.geomspace(near, reach, count + 1)[1:]])
    return np.concatenate([-h[:0:-1], h])


def _quadrature(
    activation: Activation, scale: float, reach: float
) -> tuple[Float[np.ndarray, " node"], Float[np.ndarray, " node"]]:
    """Nodes z and log weights of the measure N(0, scale²), wide enough for every tilt |h| ≤ reach."""
    # A slope s moves the tilted density by h s κ, that is by h s √κ standard deviations.
    shift = reach * scale * max(map(abs, asymptotic_slopes(activation)))
    width = 0.5 / max(1.0, 0.5 * scale)
    half = math.ceil((_RANGE + shift) / width)
    edges = np.arange(-half, half + 1) * width
    # On the flat side of a kink nothing changes; on the other one exp(h φ) does within 1/|h|.
    near = np.concatenate([[0.0], width * 0.5 ** np.arange(_PANELS_AT_KINKS)])
    kinks = np.asarray(activation.kinks, float)[:, None] / scale + np.concatenate([-near, near])
    edges = np.unique(np.concatenate([edges, kinks.ravel()]))
    unit, unit_weight = np.polynomial.legendre.leggauss(_NODES_PER_PANEL)
    middle, radius = 0.5 * (edges[1:] + edges[:-1]), 0.5 * np.diff(edges)
    x = (middle[:, None] + radius[:, None] * unit).ravel()
    log_weight = np.log((radius[:, None] * unit_weight).ravel()) - 0.5 * x**2 - 0.5 * math.log(2.0 * math.pi)
    return scale * x, log_weight
