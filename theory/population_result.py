"""What the Monte Carlo saddle point of a wide network tells: order parameters with errors, codes, units, predictions."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from hiddencodes.theory.population_prediction import (
    MonteCarloPrediction,
    UnitPopulations,
    predict_from_units,
)


@dataclass(frozen=True)
class UnitCode:
    """A code, which classes a unit responds to, and the share of the units that have it.

    Attributes:
        code: One digit per class, 1 where the class-mean activation exceeds the threshold.
        fraction: Share of the units.
        error: Its standard error.
    """

    code: str
    fraction: float
    error: float


@dataclass(frozen=True, eq=False)
class MonteCarloSaddle:
    """The saddle point, with standard errors over independent replicates of the population of units.

    Attributes:
        multiplier: t, (pattern, output).
        multiplier_error: (pattern, output).
        kernel: K_1 = ⟨φφᵀ⟩, (pattern, pattern).
        kernel_error: (pattern, pattern).
        readout_overlap: U = ⟨a aᵀ⟩, (output, output).
        readout_overlap_error: (output, output).
        kernel_blocks: Class means of K_1, μ = ν left out, (class, class); None without labels.
        kernel_blocks_error: The same.
        kernel_diagonal: Class means of K_1(μ, μ), (class,); None without labels.
        kernel_diagonal_error: The same.
        codes: Codes that occur, the most frequent first; empty where `single_unit_monte_carlo` has no threshold.
        residual: Y - N T t - ⟨φ aᵀ⟩, averaged over the sweeps like everything else, (pattern, output).
        residual_error: (pattern, output).
        converged: Whether every replicate came near the maximum of the dual, and |residual| is below 2 % of |Y|. If not, the
            targets may be out of reach at this temperature (raise it), a few units may carry the output (see
            `single_unit_monte_carlo`), or the population is too small.
        acceptance_rate: Of the units' trajectories; 0.8 is aimed at.
        units: The units at the last sweep.
        readouts: a of these units, (replicate, unit, output).
    """

    multiplier: Float[np.ndarray, "pattern output"]
    multiplier_error: Float[np.ndarray, "pattern output"]
    kernel: Float[np.ndarray, "pattern pattern"]
    kernel_error: Float[np.ndarray, "pattern pattern"]
    readout_overlap: Float[np.ndarray, "output output"]
    readout_overlap_error: Float[np.ndarray, "output output"]
    kernel_blocks: Float[np.ndarray, "class class"] | None
    kernel_blocks_error: Float[np.ndarray, "class class"] | None
    kernel_diagonal: Float[np.ndarray, " class"] | None
    kernel_diagonal_error: Float[np.ndarray, " class"] | None
    codes: tuple[UnitCode, ...]
    residual: Float[np.ndarray, "pattern output"]
    residual_error: Float[np.ndarray, "pattern output"]
    converged: bool
    acceptance_rate: float
    units: UnitPopulations
    readouts: Float[np.ndarray, "replicate unit output"]

    @property
    def preactivations(self) -> Float[np.ndarray, "replicate unit pattern"]:
        """Z of the units at the last sweep; `units.weights` are their weights."""
        return self.units.coordinates @ self.units.root.T

    def predict(
        self,
        k_cross: Float[np.ndarray, "pattern test_pattern"],
        k_test: Float[np.ndarray, " test_pattern"],
        width: int,
        *,
        key: int = 0,
    ) -> MonteCarloPrediction:
        """Mean and variance of the outputs of a network of width N at test patterns.

            E f(x)   = k_1(x)ᵀ (K_1 + (N T/σ_a²) I)⁻¹ Y,   k_1(x)_μ = ⟨φ(z_μ) φ(z(x))⟩
            Var f(x) = (1/N) [C_GG - C_GF (C_FF + N T I)⁻¹ C_FG]

        with F = (a_r φ_μ), G = a_s φ(x) and C their covariances over units: what a test output does when the outputs on
        the training set are held. The mean is the limit N → ∞, corrections being of order 1/N (for a linear network at
        T = 0 there are none); the variance is leading order, corrections being of order (1/N)².

        Args:
            k_cross: K_0 between training and test patterns, (pattern, test_pattern).
            k_test: Diagonal of K_0 at the test patterns, (test_pattern,).
            width: N.
            key: Seed of the pre-activations at the test patterns, which are drawn given those on the training set.

        Returns:
            Mean and variance with their Monte Carlo errors.

        Raises:
            ValueError: if `width` is below one or the kernels do not fit together.
        """
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        return predict_from_units(self.units, k_cross, k_test, width, key)
