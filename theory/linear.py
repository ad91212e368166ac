"""Wide linear networks in the mean-field scaling: the saddle point at any depth, and one hidden layer exactly.

The network is f_r(x) = N⁻¹ Σ_i a_i^r z_i^L(x) with unit prior variance of the hidden weights, a_i^r ~ N(0, σ_a²), and
posterior ∝ prior × exp(-|y - f|²/2T) (arXiv 2406.16689). U = aᵀa/N is the readout overlap.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import special  # pyright: ignore[reportMissingTypeStubs]

from hiddencodes.theory.positive_definite import cholesky_factor, solve_factored

_GRID_POINTS = 4001
# Log densities this far below the maximum do not count in double precision, whatever they multiply.
_LOG_DENSITY_RANGE = 60.0
_LOG_OVERLAP_RANGE = 60.0


class LinearSaddle(NamedTuple):
    """The zero-temperature saddle point of a deep linear network for N → ∞.

    Attributes:
        readout_overlap: U = ⟨aᵀa⟩/N, (output, output).
        kernels: K_l(μ, ν) = ⟨z_μ z_ν⟩ of layers 1 to L, (layer, pattern, pattern).
    """

    readout_overlap: Float[np.ndarray, "output output"]
    kernels: Float[np.ndarray, "layer pattern pattern"]


class ReadoutOverlapLaw(NamedTuple):
    """Moments of q = |a|²/N under the exact posterior of one linear hidden layer with one output."""

    mean: float
    variance: float


def _positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0.0):
        raise ValueError(f"{name} must be finite and positive, got {value}")


def linear_saddle(
    k_input: Float[np.ndarray, "pattern pattern"],
    y: Float[np.ndarray, "pattern output"],
    depth: int,
    readout_variance: float,
) -> LinearSaddle:
    """Readout overlap and kernels of every layer at T = 0, N → ∞.

        U^(L+1)/σ_a^(2L) - U^L/σ_a^(2(L-1)) = Yᵀ K_0⁻¹ Y
        K_l = K_(l-1) + σ_a^(2(L-l)) Y U^(-(L-l+1)) Yᵀ

    The eigenvalue v = u/σ_a² of U/σ_a² that belongs to the eigenvalue g of Yᵀ K_0⁻¹ Y is the root v ≥ 1 of
    v^L (v - 1) = g/σ_a². At L = 1 the correction to U is of relative order (P/N) σ_a²/U.

    Args:
        k_input: K_0 = X Xᵀ/N_0, (pattern, pattern), positive definite.
        y: Targets, (pattern, output).
        depth: L, the number of hidden layers.
        readout_variance: σ_a², of order P^(-1/L) for readouts of order one.

    Returns:
        U and the kernels.

    Raises:
        ValueError: if `k_input` is singular (more patterns than inputs), `depth` is below one, or
            `readout_variance` is not positive.

    Example:
        >>> saddle = linear_saddle(np.eye(2), np.array([[1.0], [1.0]]), depth=1, readout_variance=1.0)
        >>> print(saddle.readout_overlap, saddle.kernels[0, 0])
        [[2.]] [1.5 0.5]
    """
    _positive("readout_variance", readout_variance)
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    whitened = solve_factored(cholesky_factor("k_input", k_input), y)
    signal, vectors = np.linalg.eigh(whitened.T @ whitened)
    # Yᵀ K_0⁻¹ Y is singular for targets of fewer dimensions than outputs; rounding then leaves ±1e-16.
    drive = np.maximum(signal, 0.0) / readout_variance
    # Newton's method from above the root of a convex function: monotone, so that it needs no safeguard.
    ratio = 1.0 + drive ** (1.0 / (depth + 1))
    for _ in range(100):
        excess = ratio**depth * (ratio - 1.0) - drive
        slope = ratio ** (depth - 1) * ((depth + 1) * ratio - depth)
        ratio = np.maximum(ratio - excess / slope, 1.0)

    projected = y @ vectors
    kernel, kernels = k_input, list[np.ndarray]()
    for layer in range(1, depth + 1):
        strength = ratio ** -(depth - layer + 1.0) / readout_variance
        kernel = kernel + (projected * strength) @ projected.T
        kernels.append(kernel)
    overlap = (vectors * (readout_variance * ratio)) @ vectors.T
    return LinearSaddle(overlap, np.stack(kernels))


def _single_output(y: Float[np.ndarray, "pattern output"]) -> Float[np.ndarray, "pattern output"]:
    if y.shape[1] != 1:
        raise ValueError(f"y must have one output for the exact law, got shape {y.shape}")
    return y


def _bessel_ratio(order: float, argument: float) -> float:
    """K_(order+1)(x)/K_order(x), stable at every order.

    K_ν grows with ν, so that its three-term recurrence is stable upwards and so is that of the ratio,
    r_ν = 2ν/x + 1/r_(ν-1); K_(-ν) = K_ν gives the negative orders.
    """
    if order < -0.5:
        return 1.0 / _bessel_ratio(-order - 1.0, argument)
    # `order` is at least -1/2; start the recurrence in [-1/2, 1/2], where no order overflows.
    steps = max(math.ceil(order - 0.5), 0)
    start = order - steps
    ratio = float(special.kve(start + 1.0, argument) / special.kve(start, argument))
    for step in range(1, steps + 1):
        ratio = 2.0 * (start + step) / argument + 1.0 / ratio
    return ratio


class OverlapDensity(NamedTuple):
    """Log density of s = log q, q = |a|²/N, up to a constant, for one linear hidden layer with one output.

    p(q | Y) ∝ q^(N/2-1) exp(-N q/2σ_a²) N(Y; 0, (q/N) K_0 + T I), in the eigenbasis of K_0.
    """

    width: int
    readout_variance: float
    temperature: float
    eigenvalues: Float[np.ndarray, " pattern"]
    vectors: Float[np.ndarray, "pattern pattern"]
    targets: Float[np.ndarray, " pattern"]

    def log_density(self, log_overlap: Float[np.ndarray, " point"]) -> Float[np.ndarray, " point"]:
        """Log density at every `log_overlap`."""
        overlap = np.exp(log_overlap)
        spread = np.outer(overlap / self.width, self.eigenvalues) + self.temperature
        likelihood = -0.5 * np.sum(np.log(spread) + np.square(self.targets) / spread, axis=1)
        return 0.5 * self.width * (log_overlap - overlap / self.readout_variance) + likelihood

    def grid(self) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
        """Log overlaps that cover all of the mass, evenly spaced, and the log density there, maximum 0."""
        center = math.log(self.readout_variance)
        coarse = np.linspace(center - _LOG_OVERLAP_RANGE, center + _LOG_OVERLAP_RANGE, _GRID_POINTS)
        values = self.log_density(coarse)
        inside = np.flatnonzero(values > np.max(values) - _LOG_DENSITY_RANGE)
        step = 2.0 * _LOG_OVERLAP_RANGE / (_GRID_POINTS - 1)
        lowest, highest = float(coarse[inside[0]]), float(coarse[inside[-1]])
        fine = np.linspace(lowest - step, highest + step, _GRID_POINTS)
        values = self.log_density(fine)
        return fine, values - np.max(values)


def overlap_density(
    k_input: Float[np.ndarray, "pattern pattern"],
    y: Float[np.ndarray, "pattern output"],
    width: int,
    readout_variance: float,
    temperature: float,
) -> OverlapDensity:
    """Check the arguments of the exact law and diagonalize the input kernel.

    Example:
        >>> density = overlap_density(np.eye(1), np.ones((1, 1)), 2, 1.0, temperature=0.0)
        >>> print(density.log_density(np.array([0.0])))
        [-1.65342641]
    """
    _positive("readout_variance", readout_variance)
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}")
    if not (math.isfinite(temperature) and temperature >= 0.0):
        raise ValueError(f"temperature must be finite and non-negative, got {temperature}")
    if temperature == 0.0:
        cholesky_factor("k_input", k_input)
        if not np.any(y):
            raise ValueError("y is zero in every pattern: at temperature 0 the law of |a|^2/N may not exist")
    eigenvalues, vectors = np.linalg.eigh(k_input)
    if np.min(eigenvalues) < -1e-10 * np.max(np.abs(eigenvalues)):
        raise ValueError(f"k_input must be positive semidefinite, got the eigenvalue {np.min(eigenvalues)}")
    eigenvalues = np.maximum(eigenvalues, 0.0)
    targets = (vectors.T @ _single_output(y))[:, 0]
    return OverlapDensity(width, readout_variance, temperature, eigenvalues, vectors, targets)


def readout_overlap_exact(
    k_input: Float[np.ndarray, "pattern pattern"],
    y: Float[np.ndarray, "pattern output"],
    width: int,
    readout_variance: float,
    temperature: float = 0.0,
) -> ReadoutOverlapLaw:
    """Mean and variance of q = |a|²/N, one linear hidden layer, one output, at any width and number of patterns.

    Given a, f on the training set is N(0, (q/N) K_0). At T = 0 the posterior of q is therefore generalized inverse
    Gaussian,

        p(q) ∝ q^((N-P)/2-1) exp(-N q/2σ_a² - N A/2q),   A = Yᵀ K_0⁻¹ Y,
        E q^k = (b/a)^(k/2) K_(ν+k)(√(ab))/K_ν(√(ab)),   ν = (N - P)/2, a = N/σ_a², b = N A.

    At T > 0 it is p(q) ∝ q^(N/2-1) exp(-N q/2σ_a²) N(Y; 0, (q/N) K_0 + T I), integrated over log q by the trapezoidal
    rule, which converges exponentially for such an integrand.

    Args:
        k_input: K_0 = X Xᵀ/N_0, (pattern, pattern); may be singular if T > 0.
        y: Targets, (pattern, 1).
        width: N.
        readout_variance: σ_a².
        temperature: T.

    Returns:
        Mean and variance of q.

    Raises:
        ValueError: if `y` has several outputs or, at T = 0, is zero; if `k_input` is singular at T = 0 (more patterns
            than inputs); if `width`, `readout_variance` or `temperature` is out of range.

    Example:
        >>> law = readout_overlap_exact(np.eye(40), np.ones((40, 1)), width=50, readout_variance=1 / 40)
        >>> print(round(law.mean, 6))
        1.002753
    """
    density = overlap_density(k_input, y, width, readout_variance, temperature)
    if temperature == 0.0:
        norm = float(np.sum(np.square(density.targets) / density.eigenvalues))
        order, argument = 0.5 * (width - len(y)), width * math.sqrt(norm / readout_variance)
        scale = math.sqrt(norm * readout_variance)
        first, second = _bessel_ratio(order, argument), _bessel_ratio(order + 1.0, argument)
        return ReadoutOverlapLaw(scale * first, scale**2 * first * (second - first))
    log_overlap, values = density.grid()
    probability = np.exp(values) / np.sum(np.exp(values))
    overlap = np.exp(log_overlap)
    mean = float(probability @ overlap)
    return ReadoutOverlapLaw(mean, float(probability @ np.square(overlap - mean)))
