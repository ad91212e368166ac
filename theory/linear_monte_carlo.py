"""Deep linear networks with several outputs at finite width, by sampling the m x m overlaps alone.

The law of the overlaps is known, Q_l | Q_(l+1) ~ W_N(Q_(l+1))/N with Q_(L+1) = σ_a² I, and so is that of the outputs given
Q_1, vec f ~ N(0, K_0 ⊗ Q_1/N) (`hiddencodes.theory.linear_action`). With Bartlett's triangular factors B_l of Wishart
matrices, Q_l = T_l T_lᵀ with T_l = σ_a N^-(L-l+1)/2 B_L ... B_l, the posterior has L m (m + 1)/2 independent coordinates,
whatever N and P: the off-diagonal entries, prior N(0, 1), and the logs of the diagonal ones, prior χ_(N-i). Metropolis
chains sample it, and given the overlaps E K_l = (1 - m/N) E K_(l-1) + E[f Q_l⁻¹ fᵀ] as in
`hiddencodes.theory.linear_exact`. No approximation is left but the Monte-Carlo error, which is stated.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from hiddencodes.theory.kernel_blocks import kernel_class_blocks
from hiddencodes.theory.linear_action import LinearProblem, linear_problem, overlap_ratio

_GROUPS, _CHAINS_OF_GROUP = 32, 8
_ADAPTATIONS, _STEPS_OF_ADAPTATION = 12, 50


class Estimate(NamedTuple):
    """A Monte-Carlo mean and its standard error, arrays of one shape."""

    mean: Float[np.ndarray, "..."]
    error: Float[np.ndarray, "..."]


class LinearMonteCarlo(NamedTuple):
    """Posterior means of a linear network of finite width, with Monte-Carlo errors.

    Attributes:
        readout_overlap: E U, (output, output).
        output_overlap: E Q_1, (output, output).
        kernels: E K_l of layers 1 to L, (layer, pattern, pattern).
        multiplier: E t = E (Y - f)/(N T), (pattern, output).
        kernel_blocks: Class-block means of the kernels, (layer, class, class); without labels a single class.
        kernel_diagonal: Class means of their diagonals, (layer, class).
        acceptance_rate: Of the Metropolis chains after warm-up.
    """

    readout_overlap: Estimate
    output_overlap: Estimate
    kernels: Estimate
    multiplier: Estimate
    kernel_blocks: Estimate
    kernel_diagonal: Estimate
    acceptance_rate: float


class _Coordinates:
    """Triangular factors of the overlaps of many chains, and the log density of their coordinates."""

    def __init__(self, problem: LinearProblem, width: int) -> None:
        self._problem, self._width = problem, width
        self._size = problem.targets.shape[1]
        self._below = np.tril_indices(self._size, -1)
        self._count = self._size * (self._size + 1) // 2
        self.dimension = problem.depth * self._count
        self._degrees: Float[np.ndarray, " output"] = width - np.arange(self._size, dtype=np.float64)

    def at_saddle(self) -> Float[np.ndarray, " coordinate"]:
        """The coordinates of Q_l = σ_a² R^(L-l+1)."""
        ratio = overlap_ratio(self._problem)
        above, found = np.eye(self._size), list[np.ndarray]()
        for power in range(1, self._problem.depth + 1):
            here = np.linalg.cholesky(ratio.power(float(power)))
            factor = math.sqrt(self._width) * np.linalg.solve(above, here)
            found += [np.log(np.diagonal(factor)), factor[self._below]]
            above = here
        return np.concatenate(found)

    def prior_deviations(self) -> Float[np.ndarray, " coordinate"]:
        """Standard deviations of the prior; log χ_n has about 1/√(2n)."""
        one = np.concatenate([np.sqrt(0.5 / self._degrees), np.ones(len(self._below[0]))])
        return np.tile(one, self._problem.depth)

    def factors(
        self, states: Float[np.ndarray, "chain coordinate"]
    ) -> list[Float[np.ndarray, "chain output output"]]:
        """T_L to T_1."""
        scale, result = math.sqrt(self._problem.readout_variance), list[np.ndarray]()
        product = np.tile(scale * np.eye(self._size), (len(states), 1, 1))
        for layer in range(self._problem.depth):
            part = states[:, layer * self._count : (layer + 1) * self._count]
            factor = np.zeros_like(product)
            factor[:, np.arange(self._size), np.arange(self._size)] = np.exp(part[:, : self._size])
            factor[:, self._below[0], self._below[1]] = part[:, self._size :]
            product = product @ factor / math.sqrt(self._width)
            result.append(product)
        return result

    def log_density(self, states: Float[np.ndarray, "chain coordinate"]) -> Float[np.ndarray, " chain"]:
        parts = states.reshape(len(states), self._problem.depth, self._count)
        logs, rest = parts[:, :, : self._size], parts[:, :, self._size :]
        # χ_n has the density ∝ b^(n-1) exp(-b²/2), and log b has one power of b more.
        prior = np.sum(self._degrees * logs - 0.5 * np.exp(2.0 * logs), axis=(1, 2)) - 0.5 * np.sum(
            rest**2, axis=(1, 2)
        )
        overlap = self.factors(states)[-1]
        values, vectors = np.linalg.eigh(overlap @ overlap.transpose(0, 2, 1))
        spread = self._problem.eigenvalues[None, :, None] * values[:, None, :] + self._problem.n_temperature
        targets = self._problem.targets @ vectors
        return prior - 0.5 * np.sum(np.log(spread) + self._width * targets**2 / spread, axis=(1, 2))


def _metropolis(
    coordinates: _Coordinates, steps: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "draw chain coordinate"], float]:
    """Random-walk Metropolis of independent chains whose step is tuned to their scatter during warm-up.

    One draw is kept in as many steps as there are coordinates.
    """
    chains, dimension = _GROUPS * _CHAINS_OF_GROUP, coordinates.dimension
    deviations = 0.5 * coordinates.prior_deviations()
    states = coordinates.at_saddle() + deviations * rng.standard_normal((chains, dimension))
    log_density = coordinates.log_density(states)
    root, scale = np.diag(deviations), 2.38 / math.sqrt(dimension)
    draws, accepted = list[np.ndarray](), 0
    warmup = _ADAPTATIONS * _STEPS_OF_ADAPTATION
    for step in range(warmup + steps):
        proposals = states + scale * rng.standard_normal((chains, dimension)) @ root.T
        proposed = coordinates.log_density(proposals)
        accept = np.log(rng.random(chains)) < proposed - log_density
        states, log_density = (
            np.where(accept[:, None], proposals, states),
            np.where(accept, proposed, log_density),
        )
        if step < warmup and (step + 1) % _STEPS_OF_ADAPTATION == 0:
            covariance = np.atleast_2d(np.cov(states, rowvar=False))
            root = np.linalg.cholesky(covariance + 1e-10 * np.diag(np.diagonal(covariance)))
        if step >= warmup:
            accepted += int(np.sum(accept))
            if (step - warmup) % dimension == 0:
                draws.append(states)
    return np.stack(draws), accepted / (steps * chains)


class _GroupMeans(NamedTuple):
    readout_overlap: Float[np.ndarray, "output output"]
    output_overlap: Float[np.ndarray, "output output"]
    kernels: Float[np.ndarray, "layer pattern pattern"]
    multiplier: Float[np.ndarray, "pattern output"]


def _group_means(
    problem: LinearProblem,
    k_input: Float[np.ndarray, "pattern pattern"],
    width: int,
    factors: list[Float[np.ndarray, "draw output output"]],
) -> _GroupMeans:
    """Averages over draws, given Q exact."""
    draws, size = len(factors[0]), problem.targets.shape[1]
    # In the eigenbasis of Q_1, draw by draw, outputs and eigenvectors of K_0 are independent.
    values, vectors = np.linalg.eigh(factors[-1] @ factors[-1].transpose(0, 2, 1))
    signal = problem.eigenvalues[None, :, None] * values[:, None, :]
    spread = signal + problem.n_temperature
    targets = problem.targets @ vectors
    back = vectors.transpose(0, 2, 1)
    output = (signal * targets / spread) @ back
    left = problem.n_temperature / width * signal / spread
    kernel, kernels = k_input, list[np.ndarray]()
    for factor in factors[::-1]:
        # fᵀ Q_l⁻¹ f by T_l⁻¹, Q_l = T_l T_lᵀ.
        inverse = np.linalg.inv(factor)
        whitened = (
            (output @ inverse.transpose(0, 2, 1)).transpose(1, 0, 2).reshape(len(k_input), draws * size)
        )
        spreading = np.einsum(
            "dpi,dji->p", left, np.square(inverse @ vectors).transpose(0, 1, 2), optimize=True
        )
        product = (whitened @ whitened.T + np.diag(spreading)) / draws
        kernel = (1.0 - size / width) * kernel + problem.vectors @ product @ problem.vectors.T
        kernels.append(kernel)
    top, bottom = factors[0], factors[-1]
    return _GroupMeans(
        np.mean(top @ top.transpose(0, 2, 1), axis=0),
        np.mean(bottom @ bottom.transpose(0, 2, 1), axis=0),
        np.stack(kernels),
        problem.vectors @ np.mean((targets / spread) @ back, axis=0),
    )


def _estimate(groups: list[Float[np.ndarray, "..."]]) -> Estimate:
    """Mean over groups of independent chains, and the standard error by their scatter."""
    mean = sum(groups[1:], groups[0]) / len(groups)
    scatter = sum((np.square(group - mean) for group in groups), np.zeros_like(mean))
    return Estimate(mean, np.sqrt(scatter / (len(groups) * (len(groups) - 1.0))))


def linear_monte_carlo(
    k_input: Float[np.ndarray, "pattern pattern"],
    y: Float[np.ndarray, "pattern output"],
    depth: int,
    width: int,
    readout_variance: float,
    *,
    n_temperature: float = 0.0,
    labels: Int[np.ndarray, " pattern"] | None = None,
    steps: int = 1000,
    seed: int = 0,
) -> LinearMonteCarlo:
    """Posterior means of a linear network with any number of outputs at its actual width, with Monte-Carlo errors.

    256 chains start around the saddle point; where two solutions compete (a first-order transition, possible at large N T
    for L > 1) they stay near that of the lower action.

    Args:
        k_input: K_0 = X Xᵀ/N_0, (pattern, pattern); may be singular if T > 0.
        y: Targets, (pattern, output).
        depth: L.
        width: N, at least m + 2.
        readout_variance: σ_a².
        n_temperature: N T.
        labels: Class of every pattern, for the class blocks.
        steps: Metropolis steps after a warm-up of 600.
        seed: Seed of the chains.

    Returns:
        Means and errors; the errors are those of 32 groups of 8 chains.

    Raises:
        ValueError: as `hiddencodes.theory.linear.linear_saddle`, or if `width` or `steps` is too small.

    Example:
        >>> found = linear_monte_carlo(np.eye(4), np.ones((4, 1)), 1, 50, 0.25, steps=50)
        >>> found.kernels.mean.shape
        (1, 4, 4)
    """
    if width < y.shape[1] + 2:
        raise ValueError(
            f"width must be at least the number of outputs plus 2, {y.shape[1] + 2}, got {width}"
        )
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    problem = linear_problem(k_input, y, depth, readout_variance, n_temperature, width)
    coordinates = _Coordinates(problem, width)
    draws, acceptance_rate = _metropolis(coordinates, steps, np.random.default_rng(seed))
    groups = list[_GroupMeans]()
    for group in np.split(draws, _GROUPS, axis=1):
        factors = coordinates.factors(group.reshape(-1, coordinates.dimension))
        groups.append(_group_means(problem, k_input, width, factors))
    classes = np.zeros(len(y), dtype=np.int64) if labels is None else labels
    blocks = [kernel_class_blocks(group.kernels, classes) for group in groups]
    return LinearMonteCarlo(
        _estimate([group.readout_overlap for group in groups]),
        _estimate([group.output_overlap for group in groups]),
        _estimate([group.kernels for group in groups]),
        _estimate([group.multiplier for group in groups]),
        _estimate([block.blocks for block in blocks]),
        _estimate([block.diagonal for block in blocks]),
        acceptance_rate,
    )
