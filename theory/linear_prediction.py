"""What a wide linear network predicts: the mean of a Gaussian process, with a variance of order 1/N (arXiv 2406.16689)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hiddencodes.theory.linear_action import expansion, linear_problem, overlap_ratio


class LinearPrediction(NamedTuple):
    """Posterior of the outputs of a linear network at test patterns.

    Attributes:
        mean: (test_pattern, output).
        variance: Over posterior draws of the network, (test_pattern, output).
        variance_of_mean: The part of `variance` that comes from the fluctuations of the overlap, which move the mean; zero
            at T = 0, (test_pattern, output).
    """

    mean: Float[np.ndarray, "test_pattern output"]
    variance: Float[np.ndarray, "test_pattern output"]
    variance_of_mean: Float[np.ndarray, "test_pattern output"]


def linear_prediction(
    k_input: Float[np.ndarray, "pattern pattern"],
    k_cross: Float[np.ndarray, "..."],
    k_test: Float[np.ndarray, "..."],
    y: Float[np.ndarray, "pattern output"],
    depth: int,
    width: int,
    readout_variance: float,
    *,
    n_temperature: float = 0.0,
) -> LinearPrediction:
    """Mean and variance of the outputs of a linear network, to order 1/N.

    Given Q (`hiddencodes.theory.linear.linear_saddle`) the outputs are a Gaussian process with covariance K_0 ⊗ Q/N. For
    one output that is regression with the kernel Q K_0 and noise N T, the input kernel rescaled:

        E f(x)   = Q k_0(x)ᵀ t = Q k_0(x)ᵀ (Q K_0 + N T)⁻¹ y
        Var f(x) = (Q/N) [k_0(x, x) - Q k_0(x)ᵀ (Q K_0 + N T)⁻¹ k_0(x)] + (dE f(x)/dQ)² Var Q,

    Var Q of order 1/N from the curvature of the action at the saddle point. Several outputs have the same formulas with
    S_p = κ_p Q + N T I for every eigenvalue κ_p of K_0. At T = 0 the mean is k_0(x)ᵀ K_0⁻¹ Y whatever depth, width and σ_a²,
    that of the lazy network, while the variance, v(x) Q_rr/N with v(x) = k_0(x, x) - k_0(x)ᵀ K_0⁻¹ k_0(x), is smaller by
    the factor Q_rr/(N σ_lazy²).

    Args:
        k_input: K_0 between training patterns, (pattern, pattern); may be singular if T > 0.
        k_cross: K_0 between training and test patterns, (pattern, test_pattern).
        k_test: Diagonal of K_0 at the test patterns, (test_pattern,).
        y: Targets, (pattern, output).
        depth: L.
        width: N; enters Q through the terms of order P/N as well.
        readout_variance: σ_a².
        n_temperature: N T.

    Returns:
        Mean and variance of every output.

    Raises:
        ValueError: as `hiddencodes.theory.linear.linear_saddle`, or if `k_cross` and `k_test` do not fit.

    Example:
        >>> k_input, y = np.eye(2), np.ones((2, 1))
        >>> cross, test = np.array([[0.6], [0.0]]), np.array([1.0])
        >>> mean, variance, _ = linear_prediction(k_input, cross, test, y, 1, 1000, 1.0)
        >>> print(mean, np.round(1000 * variance / (1.0 - 0.36), 3))
        [[0.6]] [[1.999]]
    """
    problem = linear_problem(k_input, y, depth, readout_variance, n_temperature, width)
    if k_test.ndim != 1 or k_cross.shape != (len(y), len(k_test)):
        raise ValueError(
            f"k_cross must be (pattern, test_pattern) and k_test (test_pattern,), got {k_cross.shape} and {k_test.shape} for "
            f"{len(y)} patterns"
        )
    if np.any(k_test < 0.0):
        raise ValueError(f"k_test must be non-negative, got {np.min(k_test)}")
    ratio = overlap_ratio(problem)
    # In the eigenbases of K_0 and R everything but the targets is diagonal.
    overlap = readout_variance * ratio.values**depth
    spread = np.outer(problem.eigenvalues, overlap) + n_temperature
    multiplier = problem.targets @ ratio.vectors / spread
    cross = problem.vectors.T @ k_cross
    mean = (cross.T @ multiplier * overlap) @ ratio.vectors.T
    explained = np.square(cross).T @ (overlap**2 / spread)
    given_overlap = (np.outer(k_test, overlap) - explained) / width @ np.square(ratio.vectors).T

    # d mean = Σ_p k_p N T S_p⁻¹ dQ t_p; the posterior of Q is ∝ exp(-(N/2) A), A to second order.
    second = expansion(problem, ratio)
    root = np.sqrt(overlap)
    steps = root[:, None] * second.directions * root
    change = n_temperature * np.einsum(
        "pi,px,pj,kij->kxi", 1.0 / spread, cross, multiplier, steps, optimize=True
    )
    change = change @ ratio.vectors.T
    covariance = np.linalg.inv(second.hessian) * (2.0 / width)
    of_mean = np.einsum("kxr,kl,lxr->xr", change, covariance, change, optimize=True)
    return LinearPrediction(mean, given_overlap + of_mean, of_mean)
