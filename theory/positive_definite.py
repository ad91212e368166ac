"""Factorization of the kernels that the theory inverts, with an error that says which one is singular."""

import numpy as np
from jaxtyping import Float
from scipy import linalg  # pyright: ignore[reportMissingTypeStubs]


def cholesky_factor(
    name: str, matrix: Float[np.ndarray, "pattern pattern"]
) -> Float[np.ndarray, "pattern pattern"]:
    """Lower Cholesky factor of a symmetric positive definite matrix.

    Args:
        name: What error messages call the matrix.
        matrix: The matrix, (pattern, pattern).

    Returns:
        The lower triangular factor.

    Raises:
        ValueError: if the matrix is not symmetric, or is singular to working precision, as an input kernel is with
            more patterns than input dimensions.

    Example:
        >>> cholesky_factor("k_input", np.ones((2, 2)))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        ValueError: k_input (2 x 2) is singular to working precision: its rank is 1 (an input kernel has at most ...
    """
    if matrix.shape[0] != matrix.shape[1] or not np.allclose(matrix, matrix.T):
        raise ValueError(f"{name} must be a symmetric matrix, got shape {matrix.shape}")
    eigenvalues = np.linalg.eigvalsh(matrix)
    smallest = matrix.shape[0] * np.finfo(np.float64).eps * np.max(np.abs(eigenvalues))
    if not np.min(eigenvalues) > smallest:
        raise ValueError(
            f"{name} ({matrix.shape[0]} x {matrix.shape[0]}) is singular to working precision: its rank is "
            f"{np.count_nonzero(eigenvalues > smallest)} (an input kernel has at most the number of inputs as its rank; "
            f"the zero-temperature formulas need as many inputs as patterns)"
        )
    return np.linalg.cholesky(matrix)


def solve_factored(
    factor: Float[np.ndarray, "pattern pattern"], right: Float[np.ndarray, "pattern column"]
) -> Float[np.ndarray, "pattern column"]:
    """L⁻¹ B for a lower triangular L: with K = L Lᵀ, AᵀK⁻¹B = (L⁻¹A)ᵀ(L⁻¹B).

    Example:
        >>> solve_factored(np.array([[2.0]]), np.array([[3.0]])).item()
        1.5
    """
    solution: np.ndarray = linalg.solve_triangular(  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        factor, right, lower=True
    )
    return solution  # pyright: ignore[reportUnknownVariableType]
