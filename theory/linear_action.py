"""The action of a wide linear network as a function of one m x m matrix, and its minimum.

Seen from the outputs, a linear network with weights of unit prior variance is f = Z Bᵀ with N independent columns
z ~ N(0, K_0) of Z and an m x N matrix B, the product of all weights above the first layer: given Q = B Bᵀ,
f ~ N(0, K_0 ⊗ Q/N). Q is a product of L Wishart factors, Q_l | Q_(l+1) ~ W_N(Q_(l+1))/N from Q_(L+1) = σ_a² I down to
Q_1 = Q, and U = Q_L is the readout overlap (arXiv 2406.16689 for the network, 2012.04030 for integrating layer by layer).
At large N all Q_l are powers of one matrix, Q_l = σ_a² R^(L-l+1), R = U/σ_a², whose value minimizes

    A(R) = L (tr R - log|R|) + (1/N) Σ_p log|S_p| + Σ_p y_pᵀ S_p⁻¹ y_p,   S_p = κ_p Q + N T I,   Q = σ_a² R^L

with κ_p the eigenvalues of K_0 and y_p the targets in its eigenbasis: the posterior of Q has density ∝ exp(-(N/2) A). The
minimum obeys, for any K_0 and number of outputs, with t_p = S_p⁻¹ y_p,

    R^(1-L) - R^(-L) = σ_a² Σ_p κ_p (t_p t_pᵀ - S_p⁻¹/N),   at T = 0:   R^(L+1) - (1 - P/N) R^L = Yᵀ K_0⁻¹ Y/σ_a².
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import optimize  # pyright: ignore[reportMissingTypeStubs]

from hiddencodes.theory.positive_definite import cholesky_factor

_GRID_POINTS = 1001
_NEWTON_STEPS = 200


class LinearProblem(NamedTuple):
    """A linear network and its data, in the eigenbasis of the input kernel.

    Attributes:
        eigenvalues: κ_p of K_0, (pattern,).
        vectors: Columns are the eigenvectors, (pattern, pattern).
        targets: y_p, row p for eigenvector p, (pattern, output).
        depth: L.
        readout_variance: σ_a².
        n_temperature: N T.
        inverse_width: 1/N, 0 for the infinitely wide network.
    """

    eigenvalues: Float[np.ndarray, " pattern"]
    vectors: Float[np.ndarray, "pattern pattern"]
    targets: Float[np.ndarray, "pattern output"]
    depth: int
    readout_variance: float
    n_temperature: float
    inverse_width: float


class OverlapRatio(NamedTuple):
    """R = U/σ_a² by its eigenvalues (output,) and eigenvectors (output, output)."""

    values: Float[np.ndarray, " output"]
    vectors: Float[np.ndarray, "output output"]

    def power(self, exponent: float) -> Float[np.ndarray, "output output"]:
        """R to any power."""
        return (self.vectors * self.values**exponent) @ self.vectors.T


def linear_problem(
    k_input: Float[np.ndarray, "pattern pattern"],
    y: Float[np.ndarray, "pattern output"],
    depth: int,
    readout_variance: float,
    n_temperature: float,
    width: int | None,
) -> LinearProblem:
    """Check the arguments and diagonalize the input kernel.

    Raises:
        ValueError: if an argument is out of range, or `k_input` is not symmetric positive semidefinite,
            or singular at zero temperature.

    Example:
        >>> linear_problem(np.eye(1), np.ones((1, 1)), 2, 1.0, 0.0, width=4).inverse_width
        0.25
    """
    if y.ndim != 2 or k_input.shape != (len(y), len(y)):
        raise ValueError(
            f"k_input must be (pattern, pattern) and y (pattern, output), got {k_input.shape} and {y.shape}"
        )
    if not np.all(np.isfinite(k_input)):
        raise ValueError("k_input must be finite, got NaN or infinity")
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    if depth != int(depth):
        raise ValueError(f"depth must be an integer, got {depth}")
    if not (math.isfinite(readout_variance) and readout_variance > 0.0):
        raise ValueError(f"readout_variance must be finite and positive, got {readout_variance}")
    if not (math.isfinite(n_temperature) and n_temperature >= 0.0):
        raise ValueError(f"n_temperature must be finite and non-negative, got {n_temperature}")
    if width is not None and width < 1:
        raise ValueError(f"width must be at least 1, got {width}")
    if n_temperature == 0.0:
        cholesky_factor("k_input", k_input)
    elif not np.allclose(k_input, k_input.T):
        raise ValueError(f"k_input must be a symmetric matrix, got shape {k_input.shape}")
    eigenvalues, vectors = np.linalg.eigh(k_input)
    if np.min(eigenvalues) < -1e-10 * np.max(np.abs(eigenvalues)):
        raise ValueError(f"k_input must be positive semidefinite, got the eigenvalue {np.min(eigenvalues)}")
    # Rounding must not pass for signal: at low temperature an eigenvalue of 1e-17 would be worth a huge R.
    floor = len(y) * np.finfo(np.float64).eps * np.max(eigenvalues)
    return LinearProblem(
        np.where(eigenvalues > floor, eigenvalues, 0.0),
        vectors,
        vectors.T @ y,
        depth,
        float(readout_variance),
        float(n_temperature),
        0.0 if width is None else 1.0 / width,
    )


def _zero_temperature(problem: LinearProblem) -> OverlapRatio:
    """Every eigenvalue r of R by itself: r^(L+1) - (1 - P/N) r^L = g/σ_a²."""
    depth, constant = problem.depth, 1.0 - problem.inverse_width * len(problem.targets)
    whitened = problem.targets / np.sqrt(problem.eigenvalues)[:, None]
    signal, vectors = np.linalg.eigh(whitened.T @ whitened)
    # Yᵀ K_0⁻¹ Y is singular for targets of fewer dimensions than outputs; rounding then leaves ±1e-16.
    signal = np.where(signal < 1e-13 * len(whitened) * np.max(signal), 0.0, signal)
    if constant <= 0.0 and np.min(signal) == 0.0:
        raise ValueError(
            f"y has a direction without any target and width does not exceed the {len(whitened)} patterns: the readout "
            f"of that direction vanishes at zero temperature; set n_temperature above 0"
        )
    drive = signal / problem.readout_variance
    # Newton's method from above the root of a convex function: monotone, so that it needs no safeguard.
    ratio = max(constant, 0.0) + drive ** (1.0 / (depth + 1))
    for _ in range(_NEWTON_STEPS):
        excess = ratio**depth * (ratio - constant) - drive
        slope = ratio ** (depth - 1) * ((depth + 1) * ratio - depth * constant)
        ratio = np.maximum(ratio - excess / slope, max(constant, 0.0))
    return OverlapRatio(ratio, vectors)


def _one_direction(problem: LinearProblem, targets: Float[np.ndarray, " pattern"]) -> float:
    """The global minimum of the action over r, for one output or one direction of the outputs.

    With two minima at large N T and L > 1 (a first-order transition), the lower one is returned.
    """
    depth, noise = problem.depth, problem.n_temperature
    prior = problem.eigenvalues * problem.readout_variance
    square = np.square(targets)

    def action(log_ratio: float) -> float:
        spread = prior * math.exp(depth * log_ratio) + noise
        likelihood = problem.inverse_width * float(np.sum(np.log(spread))) + float(np.sum(square / spread))
        return depth * (math.exp(log_ratio) - log_ratio) + likelihood

    def slope(log_ratio: float) -> float:
        signal = prior * math.exp(depth * log_ratio)
        spread = signal + noise
        force = problem.inverse_width * np.sum(signal / spread) - np.sum(square * signal / spread**2)
        return math.exp(log_ratio) - 1.0 + float(force)

    # x/(x + N T)² ≤ 1/(4 N T) bounds R from above; from below Σ x/(x + N T) < N/2 leaves R > 1/2.
    highest = math.log(1.0 + float(np.sum(square)) / (4.0 * noise)) + 1e-9
    lowest = -1e-9
    if problem.inverse_width > 0.0:
        floor = 0.5 * noise / (problem.inverse_width * float(np.sum(prior)) + 1e-300)
        lowest = min(math.log(0.5), math.log(floor) / depth) - 1e-9
    grid = np.linspace(lowest, highest, _GRID_POINTS)
    slopes = np.array([slope(point) for point in grid])
    starts = np.flatnonzero((slopes[:-1] < 0.0) & (slopes[1:] >= 0.0))
    roots = [float(optimize.brentq(slope, grid[i], grid[i + 1], xtol=1e-15, rtol=1e-14)) for i in starts]  # pyright: ignore
    return math.exp(min(roots, key=action))


class Expansion(NamedTuple):
    """The action to second order around R, at X^½ (1 + E) X^½ with X = R^L and a symmetric E in the eigenbasis of R.

    Attributes:
        value: A.
        gradient: dA/dE along `directions`, (direction,).
        hessian: (direction, direction).
        directions: An orthonormal basis of the symmetric matrices, (direction, output, output).
    """

    value: float
    gradient: Float[np.ndarray, " direction"]
    hessian: Float[np.ndarray, "direction direction"]
    directions: Float[np.ndarray, "direction output output"]


def _symmetric_basis(size: int) -> Float[np.ndarray, "direction output output"]:
    rows, columns = np.triu_indices(size)
    basis = np.zeros((len(rows), size, size))
    scale = np.where(rows == columns, 1.0, math.sqrt(0.5))
    basis[np.arange(len(rows)), rows, columns] = scale
    basis[np.arange(len(rows)), columns, rows] = scale
    return basis


def expansion(problem: LinearProblem, ratio: OverlapRatio) -> Expansion:
    """Value, gradient and Hessian of the action.

    Example:
        >>> problem = linear_problem(np.eye(1), np.ones((1, 1)), 1, 1.0, 0.0, None)
        >>> value, gradient, hessian, _ = expansion(problem, OverlapRatio(np.array([1.0]), np.eye(1)))
        >>> print(value, gradient, hessian)
        2.0 [-1.] [[3.]]
    """
    depth, power = problem.depth, ratio.values**problem.depth
    signal = problem.readout_variance * np.outer(problem.eigenvalues, power)
    spread = signal + problem.n_temperature
    targets = problem.targets @ ratio.vectors
    value = depth * float(np.sum(ratio.values - np.log(ratio.values)))
    value += problem.inverse_width * float(np.sum(np.log(spread))) + float(np.sum(targets**2 / spread))

    # The prior part is tr f(X), f(x) = L x^(1/L) - log x; divided differences of f' give its second derivative.
    first = ratio.values - 1.0
    root = np.sqrt(power)
    gradient = np.diag(first + problem.inverse_width * np.sum(signal / spread, axis=0))
    pull = np.sqrt(problem.readout_variance * problem.eigenvalues)[:, None] * targets / spread * root
    gradient = gradient - pull.T @ pull

    size = len(power)
    gap = power[:, None] - power[None, :]
    middle = 0.5 * (power[:, None] + power[None, :])
    close = np.abs(gap) < 1e-5 * middle
    derivative = ratio.values ** (1.0 - depth)
    limit = (1.0 / depth - 1.0) * middle ** (1.0 / depth - 2.0)
    divided = np.where(close, limit, (derivative[:, None] - derivative[None, :]) / np.where(close, 1.0, gap))
    prior = 1.0 + divided * np.outer(root, root) ** 2
    filtered = signal / spread
    eye = np.eye(size)
    pairs = prior - problem.inverse_width * (filtered.T @ filtered)
    tensor = np.einsum("ij,ik,jl->ijkl", pairs, eye, eye)
    tensor += 2.0 * np.einsum("ijl,jk->ijkl", np.einsum("pi,pj,pl->ijl", pull, filtered, pull), eye)
    directions = _symmetric_basis(size)
    flat = directions.reshape(len(directions), size**2)
    hessian = flat @ tensor.reshape(size**2, size**2) @ flat.T
    return Expansion(value, flat @ gradient.ravel(), 0.5 * (hessian + hessian.T), directions)


def _moved(ratio: OverlapRatio, step: Float[np.ndarray, "output output"], depth: int) -> OverlapRatio:
    """X^½ exp(E) X^½, back to R = X^(1/L)."""
    values, vectors = np.linalg.eigh(step)
    half = np.exp(0.5 * values)[:, None] * vectors.T * ratio.values ** (0.5 * depth)
    _, singular, right = np.linalg.svd(half)
    return OverlapRatio(singular ** (2.0 / depth), ratio.vectors @ right.T)


def _newton(problem: LinearProblem, ratio: OverlapRatio) -> OverlapRatio:
    """Newton's method with the absolute values of the Hessian's eigenvalues, which always descends."""
    here = expansion(problem, ratio)
    for _ in range(_NEWTON_STEPS):
        scale = 1.0 + float(np.max(ratio.values))
        if np.max(np.abs(here.gradient)) < 1e-11 * scale:
            return ratio
        curvatures, modes = np.linalg.eigh(here.hessian)
        curvatures = np.maximum(np.abs(curvatures), 1e-8 * np.max(np.abs(curvatures)))
        step = -np.einsum("k,kij->ij", modes @ (modes.T @ here.gradient / curvatures), here.directions)
        step /= max(1.0, 0.5 * float(np.max(np.abs(step))))
        moved = _moved(ratio, step, problem.depth)
        there = expansion(problem, moved)
        for _ in range(40):
            if there.value <= here.value + 1e-14 * abs(here.value):
                break
            step = 0.5 * step
            moved = _moved(ratio, step, problem.depth)
            there = expansion(problem, moved)
        ratio, here = moved, there
    if np.max(np.abs(here.gradient)) < 1e-8 * (1.0 + float(np.max(ratio.values))):
        return ratio
    raise RuntimeError(
        f"Newton's method left a gradient of {np.max(np.abs(here.gradient)):.1e} of the action"
    )


def overlap_ratio(problem: LinearProblem) -> OverlapRatio:
    """The minimum R of the action.

    At T > 0 the search is global along the eigenvectors of Yᵀ K_0 (K_0 + N T/σ_a²)⁻² Y, which is all of it for one output and
    whenever the matrices Yᵀ h(K_0) Y commute; otherwise Newton's method goes on from there.

    Example:
        >>> print(overlap_ratio(linear_problem(np.eye(1), np.full((1, 1), 2**0.5), 1, 1.0, 0.0, None)).values)
        [2.]
    """
    if problem.n_temperature == 0.0:
        return _zero_temperature(problem)
    weight = (
        problem.eigenvalues / (problem.eigenvalues + problem.n_temperature / problem.readout_variance) ** 2
    )
    _, vectors = np.linalg.eigh(problem.targets.T @ (weight[:, None] * problem.targets))
    rotated = problem.targets @ vectors
    values = np.array([_one_direction(problem, column) for column in rotated.T])
    return _newton(problem, OverlapRatio(values, vectors))
