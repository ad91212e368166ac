"""Wide linear networks in the mean-field scaling: the saddle point at any depth, and one hidden layer exactly.

The network is f_r(x) = N⁻¹ Σ_i a_i^r z_i^L(x) with unit prior variance of the hidden weights, a_i^r ~ N(0, σ_a²), and
posterior ∝ prior × exp(-|y - f|²/2T) (arXiv 2406.16689). U = aᵀa/N is the readout overlap.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import special  # pyright: ignore[reportMissingTypeStubs]

from hiddencodes.theory.linear_action import linear_problem, overlap_ratio
from hiddencodes.theory.positive_definite import cholesky_factor

_GRID_POINTS = 4001
# Log densities this far below the maximum do not count in double precision, whatever they multiply.
_LOG_DENSITY_RANGE = 60.0
_LOG_OVERLAP_RANGE = 60.0


class LinearSaddle(NamedTuple):
    """The saddle point of a deep linear network.

    Attributes:
        readout_overlap: U = ⟨aᵀa⟩/N, (output, output).
        kernels: K_l(μ, ν) = ⟨z_μ z_ν⟩ of layers 1 to L, (layer, pattern, pattern).
        multiplier: t = ⟨Y - f⟩/(N T), its limit at T = 0, (pattern, output).
        output_overlap: Q = σ_a² (U/σ_a²)^L, (output, output): given the weights above the first layer, f ~ N(0, K_0 ⊗ Q/N).
    """

    readout_overlap: Float[np.ndarray, "output output"]
    kernels: Float[np.ndarray, "layer pattern pattern"]
    multiplier: Float[np.ndarray, "pattern output"]
    output_overlap: Float[np.ndarray, "output output"]


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
    *,
    n_temperature: float = 0.0,
    width: int | None = None,
) -> LinearSaddle:
    """Readout overlap, kernels of every layer and multiplier of a linear network, for any inputs and number of outputs.

    With R = U/σ_a², Q = σ_a² R^L, κ_p and v_p the eigenvalues and eigenvectors of K_0, y_p = Yᵀ v_p, S_p = κ_p Q + N T I
    and t = Σ_p v_p t_pᵀ, t_p = S_p⁻¹ y_p:

        R^(1-L) - R^(-L) = σ_a² Σ_p κ_p (t_p t_pᵀ - S_p⁻¹/N)
        K_l = (1 - m/N) K_(l-1) + F M_l Fᵀ + (N T/N) Σ_p κ_p tr(M_l Q S_p⁻¹) v_p v_pᵀ,
        F = ⟨f⟩ = K_0 t Q = Y - N T t,   M_l = R^-(L-l+1)/σ_a².

    N → ∞ drops the terms with 1/N. At T = 0 this is R^(L+1) - (1 - P/N) R^L = Yᵀ K_0⁻¹ Y/σ_a², and the predictor is that of
    a Gaussian process. With a `width` the terms of order P/N and the recursion of the kernels are exact; what is left out,
    the fluctuations of R, is of relative order 1/N (`deep_linear_exact` has them, for one output).

    Args:
        k_input: K_0 = X Xᵀ/N_0, (pattern, pattern); may be singular if T > 0.
        y: Targets, (pattern, output).
        depth: L, the number of hidden layers.
        readout_variance: σ_a², of order P^(-1/L) for readouts of order one.
        n_temperature: N T.
        width: N of a network of finite width; None for N → ∞ at fixed P.

    Returns:
        U, the kernels, t and Q.

    Raises:
        ValueError: if `k_input` is singular at T = 0 (more patterns than inputs) or not positive semidefinite; if an
            argument is out of range; if, at T = 0, an output direction has no target and `width` does not exceed P.

    Example:
        >>> saddle = linear_saddle(np.eye(2), np.array([[1.0], [1.0]]), depth=1, readout_variance=1.0)
        >>> print(saddle.readout_overlap, saddle.kernels[0, 0])
        [[2.]] [1.5 0.5]
    """
    problem = linear_problem(k_input, y, depth, readout_variance, n_temperature, width)
    ratio = overlap_ratio(problem)
    output_values = readout_variance * ratio.values**depth
    spread = np.outer(problem.eigenvalues, output_values) + n_temperature
    multiplier = problem.vectors @ (problem.targets @ ratio.vectors / spread) @ ratio.vectors.T
    # In the eigenbases of K_0 and R: the mean output, and the variance that the noise leaves it.
    mean_output = problem.vectors @ (
        problem.eigenvalues[:, None] * output_values / spread * (problem.targets @ ratio.vectors)
    )
    left = problem.inverse_width * n_temperature * problem.eigenvalues[:, None] * output_values / spread
    kernel, kernels = k_input, list[np.ndarray]()
    for layer in range(1, depth + 1):
        strength = ratio.values ** -(depth - layer + 1.0) / readout_variance
        kernel = (1.0 - problem.inverse_width * y.shape[1]) * kernel + (
            mean_output * strength
        ) @ mean_output.T
        kernel = kernel + (problem.vectors * (left @ strength)) @ problem.vectors.T
        kernels.append(kernel)
    return LinearSaddle(
        readout_variance * ratio.power(1.0),
        np.stack(kernels),
        multiplier,
        readout_variance * ratio.power(float(depth)),
    )


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

    def log_likelihood(self, log_overlap: Float[np.ndarray, " point"]) -> Float[np.ndarray, " point"]:
        """log N(Y; 0, (q/N) K_0 + T I) at every `log_overlap`, up to a constant."""
        spread = np.outer(np.exp(log_overlap) / self.width, self.eigenvalues) + self.temperature
        return -0.5 * np.sum(np.log(spread) + np.square(self.targets) / spread, axis=1)

    def log_density(self, log_overlap: Float[np.ndarray, " point"]) -> Float[np.ndarray, " point"]:
        """Log density at every `log_overlap`."""
        overlap = np.exp(log_overlap)
        prior = 0.5 * self.width * (log_overlap - overlap / self.readout_variance)
        return prior + self.log_likelihood(log_overlap)

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
