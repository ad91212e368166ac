"""The saddle point of a wide network with several hidden layers, by Monte Carlo.

With f_r(x) = N⁻¹ Σ_i a_i^r φ(z_i^L(x)), hidden weights of unit prior variance and T of order 1/N, the evidence is governed
by an action with a multiplier t per pattern and output, and a kernel K_l with its conjugate A_l per layer (arXiv 2406.16689):

    I = extr  t·Y - (N T/2)|t|² - log Z_L(t; K_(L-1)) + Σ_(l<L) [½ tr A_l K_l - log Z_l(A_l; K_(l-1))],
    Z_L = E_(z ~ N(0, K_(L-1))) exp(½ σ_a² |tᵀφ(z)|²),   Z_l = E_(z ~ N(0, K_(l-1))) exp(½ φ(z)ᵀ A_l φ(z)).

Stationary in A_l: K_l = ⟨φφᵀ⟩_l. Stationary in K_l: A_l = K_l⁻¹ (⟨z zᵀ⟩_(l+1) - K_l) K_l⁻¹.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from hiddencodes.models.activations import Activation
from hiddencodes.models.gaussian_integrals import evaluate
from hiddencodes.models.nngp import nngp_kernels
from hiddencodes.theory.kernel_blocks import kernel_class_blocks
from hiddencodes.theory.population_depth_iteration import DeepSolution, solve_deep
from hiddencodes.theory.population_result import UnitCode
from hiddencodes.theory.population_setup import (
    averaging_weights,
    check_labels,
    check_population,
    counted_codes,
    exchangeable_groups,
    input_root,
    replicate_estimate,
)
from hiddencodes.theory.single_unit_arguments import code_threshold

_RESIDUAL_TOLERANCE = 0.02
_MISMATCH_TOLERANCE = 0.05


@dataclass(frozen=True, eq=False)
class DeepMonteCarloSaddle:
    """The saddle point of all layers, with standard errors over independent replicates.

    Attributes:
        multiplier: t, (pattern, output).
        multiplier_error: (pattern, output).
        readout_overlap: U = ⟨a aᵀ⟩, (output, output).
        readout_overlap_error: (output, output).
        kernels: K_l = ⟨φφᵀ⟩ of layers 1 to L, (layer, pattern, pattern).
        kernels_error: The same.
        couplings: A_l of layers 1 to L - 1, (lower_layer, pattern, pattern).
        couplings_error: The same.
        kernel_blocks: Class means of K_l, μ = ν left out, (layer, class, class); None without labels.
        kernel_blocks_error: The same.
        kernel_diagonal: Class means of K_l(μ, μ), (layer, class); None without labels.
        kernel_diagonal_error: The same.
        codes: Per layer the codes that occur, the most frequent first; empty without labels or a threshold.
        residual: Y - N T t - ⟨φ aᵀ⟩, averaged over the sweeps, (pattern, output).
        residual_error: (pattern, output).
        mismatch: How far K_l and A_l, as the neighboring layers use them, are from the averages they should equal, in
            Frobenius norm relative to these: the largest over l.
        converged: Whether |residual| is below 2 % of |Y| and `mismatch` below 5 %. Lengthen `relaxation` if not.
        acceptance_rate: Of the trajectories of the last layer's units.
    """

    multiplier: Float[np.ndarray, "pattern output"]
    multiplier_error: Float[np.ndarray, "pattern output"]
    readout_overlap: Float[np.ndarray, "output output"]
    readout_overlap_error: Float[np.ndarray, "output output"]
    kernels: Float[np.ndarray, "layer pattern pattern"]
    kernels_error: Float[np.ndarray, "layer pattern pattern"]
    couplings: Float[np.ndarray, "lower_layer pattern pattern"]
    couplings_error: Float[np.ndarray, "lower_layer pattern pattern"]
    kernel_blocks: Float[np.ndarray, "layer class class"] | None
    kernel_blocks_error: Float[np.ndarray, "layer class class"] | None
    kernel_diagonal: Float[np.ndarray, "layer class"] | None
    kernel_diagonal_error: Float[np.ndarray, "layer class"] | None
    codes: tuple[tuple[UnitCode, ...], ...]
    residual: Float[np.ndarray, "pattern output"]
    residual_error: Float[np.ndarray, "pattern output"]
    mismatch: float
    converged: bool
    acceptance_rate: float
    _solution: DeepSolution
    _targets: Float[np.ndarray, "pattern output"]
    _ridge: float

    def predict_mean(
        self,
        k_cross: Float[np.ndarray, "pattern test_pattern"],
        k_test: Float[np.ndarray, " test_pattern"],
        *,
        key: int = 0,
    ) -> tuple[Float[np.ndarray, "test_pattern output"], Float[np.ndarray, "test_pattern output"]]:
        """Mean output at test patterns for N → ∞: regression with the learned kernel of the last layer.

            E f(x) = k_L(x)ᵀ (K_L + (N T/σ_a²) I)⁻¹ Y,   k_l(x)_μ = ⟨φ(z_μ) φ(z(x))⟩_l.

        Test patterns do not enter the law of the units, so that z^l(x) given z^l on the training set is Gaussian as under
        the prior, with the kernels of layer l - 1; layer by layer this gives k_l(x) and K_l(x, x).

        Args:
            k_cross: K_0 between training and test patterns, (pattern, test_pattern).
            k_test: Diagonal of K_0 at the test patterns, (test_pattern,).
            key: Seed of the pre-activations at the test patterns.

        Returns:
            Mean and its standard error over replicates, each (test_pattern, output).

        Raises:
            ValueError: if the kernels do not fit together.
        """
        n_train = len(self._targets)
        if k_cross.shape[0] != n_train:
            raise ValueError(
                f"k_cross must have a row per training pattern, {n_train}, got the shape {k_cross.shape}"
            )
        solution, rng = self._solution, np.random.default_rng(key)
        means = list[np.ndarray]()
        for replicate in range(len(solution.multiplier)):
            kernel, cross, own = solution.k_input, k_cross, k_test
            for layer, coordinates in enumerate(solution.coordinates):
                weights = solution.weights[layer][replicate]
                z = coordinates[replicate] @ solution.roots[layer][replicate].T
                coefficients: np.ndarray = np.linalg.lstsq(kernel, cross, rcond=1e-12)[0]
                variance = own - np.sum(cross * coefficients, axis=0)
                if np.min(variance, initial=0.0) < -1e-6 * np.max(np.abs(own), initial=1.0):
                    raise ValueError(
                        f"k_test must be the diagonal of the kernel that k_cross belongs to; it leaves a test pattern "
                        f"the conditional variance {np.min(variance)}"
                    )
                center: np.ndarray = z @ coefficients
                noise = rng.standard_normal(center.shape)
                test = evaluate(solution.activation, center + np.sqrt(np.maximum(variance, 0.0)) * noise)
                phi = evaluate(solution.activation, z)
                weighted = phi * weights[:, None]
                kernel, cross, own = weighted.T @ phi, weighted.T @ test, weights @ np.square(test)
            regularized = kernel + self._ridge * np.eye(n_train)
            means.append(cross.T @ np.linalg.solve(regularized, self._targets))
        return replicate_estimate(np.stack(means))


def _mismatch(
    used: Float[np.ndarray, "replicate lower_layer pattern pattern"],
    averaged: Float[np.ndarray, "replicate lower_layer pattern pattern"],
) -> float:
    difference = np.linalg.norm(np.mean(used - averaged, axis=0), axis=(-2, -1))
    return float(np.max(difference / np.linalg.norm(np.mean(averaged, axis=0), axis=(-2, -1)), initial=0.0))


def deep_unit_monte_carlo(
    activation: Activation,
    k_input: Float[np.ndarray, "pattern pattern"],
    y: Float[np.ndarray, "pattern output"],
    depth: int,
    *,
    readout_variance: float,
    n_temperature: float = 0.0,
    labels: Int[np.ndarray, " pattern"] | None = None,
    threshold: float | None = None,
    units: int = 1024,
    replicates: int = 8,
    relaxation: int = 150,
    sweeps: int = 150,
    key: int = 0,
    precision: Literal["float64", "float32"] = "float64",
) -> DeepMonteCarloSaddle:
    """Find multiplier, kernels and laws of single units of a deep network in the mean-field scaling.

    Every layer has a population of units that starts in its prior. In each sweep t takes a damped Newton step as in
    `single_unit_monte_carlo`, K_l goes half of the way to ⟨φφᵀ⟩_l and A_l a twentieth of the way to what the layer above
    asks for: t follows K and K follows A almost adiabatically, without which the feedback between layers diverges. When
    a kernel changes, A and t are carried along at fixed action on the whitened units. All populations follow by importance
    weights, shorter steps being taken where these are too uneven, and Hamiltonian Monte Carlo. After `relaxation` sweeps
    the steps shrink as 1/k and averages are taken.

    Matrices are averaged over exchanges of patterns that change neither K_0 nor Y.

    The action is not concave in the kernels, and may have several saddle points; this is the one reached from the prior.
    Finite networks can be far from it: where classes share one code, units of other codes carry part of the output, and
    their share falls only as about N^(-1/2). With many patterns (from about 50 for the sigmoidal) the energies of codes, P
    times a kernel, amplify the noise of the kernels until the populations do not settle; `converged` is false then, and
    more units help only as 1/√units.

    Args:
        activation: φ; a smooth one has less noise.
        k_input: K_0 = X Xᵀ/N_0, (pattern, pattern); regular if φ is linear.
        y: Y, (pattern, output).
        depth: L, the number of hidden layers.
        readout_variance: σ_a².
        n_temperature: N T.
        labels: Class of every pattern, for class means of kernels and for codes.
        threshold: As in `single_unit_monte_carlo`.
        units: Units per layer and replicate, at least twice the number of unknowns in t, and as many as patterns.
        replicates: Independent sets of populations.
        relaxation: Sweeps before averaging.
        sweeps: Sweeps of the averaging stage.
        key: Seed.
        precision: Of the populations, whatever JAX's default is.

    Returns:
        The saddle point with standard errors; look at `converged`.

    Raises:
        ValueError: if shapes do not fit, an argument is out of range or `k_input` is not positive semidefinite.

    Example:
        >>> from hiddencodes.models.activations import linear
        >>> saddle = deep_unit_monte_carlo(
        ...     linear, np.eye(2), np.ones((2, 1)), 1, readout_variance=1.0, units=256, relaxation=16, sweeps=48
        ... )
        >>> exact = 2.0  # U²/σ_a² - U = Yᵀ K_0⁻¹ Y
        >>> saddle.converged, abs(saddle.readout_overlap.item() - exact) < 0.1
        (True, True)
    """
    n_train, n_outputs = y.shape
    if k_input.shape != (n_train, n_train):
        raise ValueError(
            f"k_input must have a row and a column per row of y, {n_train}, got the shape {k_input.shape}"
        )
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    if relaxation < 1:
        raise ValueError(f"relaxation must be at least 1, got {relaxation}")
    check_labels(labels, n_train)
    root = input_root(k_input)
    groups = exchangeable_groups(k_input, y)
    n_groups = int(np.max(groups)) + 1
    check_population(units, replicates, sweeps, readout_variance, n_temperature, n_groups * n_outputs)
    if units < n_train:
        raise ValueError(f"units must be at least the number of patterns, {n_train}, got {units}")
    if threshold is None:
        threshold = code_threshold(activation)
    averaging = averaging_weights(labels, threshold, n_train)
    prior = nngp_kernels(activation, k_input, depth).postactivation[: depth - 1]
    solution = solve_deep(
        activation,
        root=root,
        k_input=k_input,
        prior=np.reshape(prior, (depth - 1, n_train, n_train)),
        groups=groups,
        y=y,
        readout_variance=readout_variance,
        n_temperature=n_temperature,
        averaging=averaging,
        threshold=math.inf if threshold is None else threshold,
        units=units,
        replicates=replicates,
        relaxation=relaxation,
        sweeps=sweeps,
        key=key,
        double=precision == "float64",
    )
    residual, residual_error = replicate_estimate(solution.residual[:, groups])
    blocks, diagonal = (None, None), (None, None)
    if labels is not None:
        means = kernel_class_blocks(solution.kernels, labels)
        blocks, diagonal = replicate_estimate(means.blocks), replicate_estimate(means.diagonal)
    mismatch = max(
        _mismatch(solution.used_kernels, solution.kernels[:, :-1]),
        _mismatch(solution.used_couplings, solution.couplings),
    )
    small = bool(np.linalg.norm(residual) <= _RESIDUAL_TOLERANCE * np.linalg.norm(y))
    multiplier, multiplier_error = replicate_estimate(solution.multiplier[:, groups])
    overlap, overlap_error = replicate_estimate(solution.readout_overlap)
    kernels, kernels_error = replicate_estimate(solution.kernels)
    couplings, couplings_error = replicate_estimate(solution.couplings)
    return DeepMonteCarloSaddle(
        multiplier=multiplier,
        multiplier_error=multiplier_error,
        readout_overlap=overlap,
        readout_overlap_error=overlap_error,
        kernels=kernels,
        kernels_error=kernels_error,
        couplings=couplings,
        couplings_error=couplings_error,
        kernel_blocks=blocks[0],
        kernel_blocks_error=blocks[1],
        kernel_diagonal=diagonal[0],
        kernel_diagonal_error=diagonal[1],
        codes=tuple(counted_codes(each, averaging.shape[1]) for each in solution.codes),
        residual=residual,
        residual_error=residual_error,
        mismatch=mismatch,
        converged=small and mismatch <= _MISMATCH_TOLERANCE,
        acceptance_rate=solution.acceptance,
        _solution=solution,
        _targets=y,
        _ridge=n_temperature / readout_variance,
    )
