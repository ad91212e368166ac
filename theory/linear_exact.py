"""Deep linear networks with one output exactly: at any depth, width, number of patterns and temperature.

Let Q_l be the squared norm over N of the readout carried back to layer l through the weights above it. Then Q_L = |a|²/N,
every step down multiplies by an independent factor, Q_(l-1) = Q_l χ²_N/N, and given Q_1 the outputs are
f ~ N(0, K_0 Q_1/N) (arXiv 2406.16689 for the network). The posterior of u = log(Q_1/σ_a²) is therefore an L-fold
convolution of one known density times a Gaussian likelihood (`hiddencodes.theory.linear_recursion`), and given Q_1, ..., Q_L and f,

    E K_l = (1 - 1/N) E K_(l-1) + E[f fᵀ/Q_l],

because z^l has the component N^½ f/Q_l^½ along one direction of the units and the prior's in the N - 1 others.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hiddencodes.theory.linear import overlap_density
from hiddencodes.theory.linear_prediction import LinearPrediction
from hiddencodes.theory.linear_recursion import OverlapRecursion


class DeepLinearLaw(NamedTuple):
    """Posterior moments of a linear network with one output; exact up to rounding.

    Attributes:
        readout_overlap: E U, U = |a|²/N.
        readout_overlap_variance: Var U.
        output_overlap: E Q_1; given the weights above the first layer the outputs are N(0, K_0 Q_1/N).
        output_overlap_variance: Var Q_1.
        kernels: E K_l of layers 1 to L, (layer, pattern, pattern).
        multiplier: E t = E (y - f)/(N T), its limit at T = 0, (pattern, 1).
    """

    readout_overlap: float
    readout_overlap_variance: float
    output_overlap: float
    output_overlap_variance: float
    kernels: Float[np.ndarray, "layer pattern pattern"]
    multiplier: Float[np.ndarray, "pattern output"]


def _recursion(
    k_input: Float[np.ndarray, "pattern pattern"],
    y: Float[np.ndarray, "pattern output"],
    depth: int,
    width: int,
    readout_variance: float,
    n_temperature: float,
) -> tuple[
    OverlapRecursion,
    Float[np.ndarray, " pattern"],
    Float[np.ndarray, "pattern pattern"],
    Float[np.ndarray, " pattern"],
]:
    """The law of Q_1, and eigenvalues and eigenvectors of K_0 and the targets in their basis."""
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    if width < 3:
        raise ValueError(f"width must be at least 3 for the moments of 1/Q_l to exist, got {width}")
    density = overlap_density(k_input, y, width, readout_variance, n_temperature / width)
    return OverlapRecursion(density, depth), density.eigenvalues, density.vectors, density.targets


def deep_linear_exact(
    k_input: Float[np.ndarray, "pattern pattern"],
    y: Float[np.ndarray, "pattern output"],
    depth: int,
    width: int,
    readout_variance: float,
    *,
    n_temperature: float = 0.0,
) -> DeepLinearLaw:
    """Posterior means of overlaps, kernels and multiplier of a linear network with one output, at any width.

    p(Q_1, ..., Q_L | y) ∝ Π_l p(Q_l | Q_(l+1)) N(y; 0, K_0 Q_1/N + T I), and with the eigenvalues κ_p of K_0

        E[f_p | Q_1] = κ_p Q_1 y_p/(κ_p Q_1 + N T),   Cov(f_p, f_q | Q_1) = δ_pq κ_p Q_1 T/(κ_p Q_1 + N T)
        E K_l = (1 - 1/N) E K_(l-1) + E[f fᵀ/Q_l],    E t_p = E[1/(κ_p Q_1 + N T)] y_p.

    For N → ∞ this is `hiddencodes.theory.linear.linear_saddle`; at L = 1 `hiddencodes.theory.linear.readout_overlap_exact`.

    Args:
        k_input: K_0 = X Xᵀ/N_0, (pattern, pattern); may be singular if T > 0.
        y: Targets, (pattern, 1).
        depth: L, the number of hidden layers.
        width: N, at least 3.
        readout_variance: σ_a².
        n_temperature: N T.

    Returns:
        The moments.

    Raises:
        ValueError: as `hiddencodes.theory.linear.readout_overlap_exact`, or if `depth` or `width` is too small.

    Example:
        >>> law = deep_linear_exact(np.eye(40), np.ones((40, 1)), depth=1, width=50, readout_variance=1 / 40)
        >>> print(round(law.readout_overlap, 6))
        1.002753
    """
    recursion, eigenvalues, vectors, targets = _recursion(
        k_input, y, depth, width, readout_variance, n_temperature
    )
    weights, overlap = recursion.posterior, recursion.output_overlap
    spread = np.outer(overlap, eigenvalues) + n_temperature
    signal = np.outer(overlap, eigenvalues) / spread
    mean_output = signal * targets
    kernel, kernels = k_input, list[np.ndarray]()
    for layer in range(1, depth + 1):
        weight = weights * recursion.conditional_moment(depth - layer + 1, -1.0)
        products = mean_output.T @ (weight[:, None] * mean_output)
        products[np.diag_indices_from(products)] += weight @ signal * (n_temperature / width)
        kernel = (1.0 - 1.0 / width) * kernel + vectors @ products @ vectors.T
        kernels.append(kernel)
    first, second = recursion.conditional_moment(1, 1.0), recursion.conditional_moment(1, 2.0)
    mean_readout = float(weights @ first)
    mean_overlap = float(weights @ overlap)
    multiplier = vectors @ ((weights @ (1.0 / spread)) * targets)
    return DeepLinearLaw(
        readout_overlap=mean_readout,
        readout_overlap_variance=float(weights @ (second - 2.0 * mean_readout * first)) + mean_readout**2,
        output_overlap=mean_overlap,
        output_overlap_variance=float(weights @ np.square(overlap - mean_overlap)),
        kernels=np.stack(kernels),
        multiplier=multiplier[:, None],
    )


def deep_linear_prediction(
    k_input: Float[np.ndarray, "pattern pattern"],
    k_cross: Float[np.ndarray, "pattern test_pattern"],
    k_test: Float[np.ndarray, " test_pattern"],
    y: Float[np.ndarray, "pattern output"],
    depth: int,
    width: int,
    readout_variance: float,
    *,
    n_temperature: float = 0.0,
) -> LinearPrediction:
    """Mean and variance of the output of a linear network, exact at any width; one output.

    The mean over the law of Q_1 of the formulas of `hiddencodes.theory.linear_prediction.linear_prediction`, and the
    variance of the conditional mean.

    Args:
        k_input: K_0 between training patterns, (pattern, pattern); may be singular if T > 0.
        k_cross: K_0 between training and test patterns, (pattern, test_pattern).
        k_test: Diagonal of K_0 at the test patterns, (test_pattern,).
        y: Targets, (pattern, 1).
        depth: L.
        width: N, at least 3.
        readout_variance: σ_a².
        n_temperature: N T.

    Returns:
        Mean and variance.

    Raises:
        ValueError: as `deep_linear_exact`.

    Example:
        >>> cross, test = np.array([[0.6], [0.0]]), np.array([1.0])
        >>> mean, variance, _ = deep_linear_prediction(np.eye(2), cross, test, np.ones((2, 1)), 2, 30, 1.0)
        >>> overlap = deep_linear_exact(np.eye(2), np.ones((2, 1)), 2, 30, 1.0).output_overlap
        >>> print(np.round(mean, 12), np.round(30 * variance / overlap, 12))
        [[0.6]] [[0.64]]
    """
    recursion, eigenvalues, vectors, targets = _recursion(
        k_input, y, depth, width, readout_variance, n_temperature
    )
    weights, overlap = recursion.posterior, recursion.output_overlap
    gain = overlap[:, None] / (np.outer(overlap, eigenvalues) + n_temperature)
    cross = vectors.T @ k_cross
    mean_given_overlap = (gain * targets) @ cross
    mean = weights @ mean_given_overlap
    of_mean = weights @ np.square(mean_given_overlap - mean)
    given_overlap = ((weights @ overlap) * k_test - ((weights * overlap) @ gain) @ np.square(cross)) / width
    return LinearPrediction(mean[:, None], (given_overlap + of_mean)[:, None], of_mean[:, None])
