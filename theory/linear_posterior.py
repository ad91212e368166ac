"""Independent draws from the posterior of one linear hidden layer with one output."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import sampling  # pyright: ignore[reportMissingTypeStubs]

from hiddencodes.theory.linear import OverlapDensity, overlap_density


class LinearPosteriorDraws(NamedTuple):
    """Independent posterior draws.

    Attributes:
        readout: a, (draw, unit).
        preactivations: z on the training patterns, (draw, pattern, unit).
    """

    readout: Float[np.ndarray, "draw unit"]
    preactivations: Float[np.ndarray, "draw pattern unit"]


class _LogOverlapDensity:
    """The density of s = log q in the form that `scipy.stats.sampling` asks for."""

    def __init__(self, density: OverlapDensity, log_maximum: float) -> None:
        self._density, self._log_maximum = density, log_maximum

    def pdf(self, log_overlap: float) -> float:
        return math.exp(self._density.log_density(np.array([log_overlap])).item() - self._log_maximum)


def _draw_overlaps(
    density: OverlapDensity, draws: int, rng: np.random.Generator
) -> Float[np.ndarray, " draw"]:
    grid, values = density.grid()
    mode = float(grid[np.argmax(values)])
    # Beyond 40 nats below the maximum less than 1e-17 of the mass is left.
    support = grid[values > -40.0]
    log_maximum = density.log_density(np.array([mode])).item()
    inverse = sampling.NumericalInversePolynomial(
        # The protocol lists cdf and logpdf too; with a pdf neither is called.
        _LogOverlapDensity(density, log_maximum),  # pyright: ignore[reportArgumentType]
        center=mode,
        domain=(float(support[0]), float(support[-1])),
        u_resolution=1e-12,
        random_state=rng,
    )
    return np.exp(np.asarray(inverse.rvs(draws)))  # pyright: ignore[reportUnknownMemberType]


def sample_linear_posterior(
    k_input: Float[np.ndarray, "pattern pattern"],
    y: Float[np.ndarray, "pattern output"],
    width: int,
    readout_variance: float,
    draws: int,
    rng: np.random.Generator,
    temperature: float = 0.0,
) -> LinearPosteriorDraws:
    """Draw (a, z) independently from the exact posterior, the reference that chains are tested against.

    q = |a|²/N is drawn from its law (`hiddencodes.theory.linear.readout_overlap_exact`) by numerical inversion, to
    1e-12 in probability; a is √(N q) times a uniform direction; z is a prior draw Z ~ N(0, K_0) per unit,
    conditioned on the targets:

        z = Z + K_0 ((q/N) K_0 + T I)⁻¹ (Y - Z a/N - ε) aᵀ/N,   ε ~ N(0, T I).

    Args:
        k_input: K_0 = X Xᵀ/N_0, (pattern, pattern); may be singular if T > 0.
        y: Targets, (pattern, 1).
        width: N.
        readout_variance: σ_a².
        draws: How many.
        rng: Source of randomness.
        temperature: T.

    Returns:
        Readout weights and preactivations; z a/N equals Y at T = 0.

    Raises:
        ValueError: as `readout_overlap_exact`, or if `draws` is below one.

    Example:
        >>> a, z = sample_linear_posterior(np.eye(3), np.ones((3, 1)), 10, 1.0, 1, np.random.default_rng(0))
        >>> print(np.round(z[0] @ a[0] / 10, 12))
        [1. 1. 1.]
    """
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    density = overlap_density(k_input, y, width, readout_variance, temperature)
    overlap = _draw_overlaps(density, draws, rng)
    direction = rng.standard_normal((draws, width))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    readout = np.sqrt(width * overlap)[:, None] * direction

    # In the eigenbasis of K_0 the patterns are independent.
    scales = np.sqrt(density.eigenvalues)
    prior = scales[:, None] * rng.standard_normal((draws, len(y), width))
    noise = math.sqrt(temperature) * rng.standard_normal((draws, len(y)))
    output = np.einsum("dpn,dn->dp", prior, readout) / width
    gain = density.eigenvalues / (np.outer(overlap / width, density.eigenvalues) + temperature)
    shift = gain * (density.targets - output - noise)
    rotated = prior + shift[:, :, None] * readout[:, None, :] / width
    return LinearPosteriorDraws(readout, np.einsum("pk,dkn->dpn", density.vectors, rotated))
