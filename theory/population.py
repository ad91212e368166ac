"""The saddle point of a wide network with one hidden layer, for any input kernel and activation, by Monte Carlo.

In the mean-field scaling f_r(x) = N⁻¹ Σ_i a_i^r φ(z_i(x)) with T of order 1/N the evidence obeys a large-deviation
principle (Cramér), (1/N) log p(Y) → -I, with a concave dual in t, one row per pattern (arXiv 2406.16689):

    I = max_t  Σ_μr t_μr Y_μr - (N T/2) |t|² - log Z_1(t),   Z_1(t) = E_a E_z exp(aᵀtᵀφ(z)),
    a ~ N(0, σ_a² I),   z ~ N(0, K_0).

At the maximum the units are independent, P(a, z) ∝ N(a) N(z) exp(aᵀtᵀφ(z)), and Y = N T t + ⟨φ aᵀ⟩.
"""

import math
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from hiddencodes.models.activations import Activation
from hiddencodes.models.gaussian_integrals import evaluate
from hiddencodes.theory.kernel_blocks import kernel_class_blocks
from hiddencodes.theory.population_iteration import solve
from hiddencodes.theory.population_prediction import UnitPopulations
from hiddencodes.theory.population_result import MonteCarloSaddle
from hiddencodes.theory.population_setup import (
    averaging_weights,
    check_labels,
    check_population,
    counted_codes,
    exchangeable_groups,
    input_root,
    kernels_from_sums,
    replicate_estimate,
)
from hiddencodes.theory.single_unit_arguments import code_threshold

_RESIDUAL_TOLERANCE = 0.02


def single_unit_monte_carlo(
    activation: Activation,
    k_input: Float[np.ndarray, "pattern pattern"],
    y: Float[np.ndarray, "pattern output"],
    *,
    readout_variance: float,
    n_temperature: float = 0.0,
    labels: Int[np.ndarray, " pattern"] | None = None,
    threshold: float | None = None,
    units: int = 2048,
    replicates: int = 8,
    sweeps: int = 100,
    key: int = 0,
    precision: Literal["float64", "float32"] = "float64",
) -> MonteCarloSaddle:
    """Find the multiplier t and the law of single units for any input kernel and any targets.

    A population of units starts in the prior, where t = 0, and follows t through Newton's method on the concave dual:

        t ← t + α H⁻¹ (Y - N T t - ⟨φ aᵀ⟩),   H = Cov(φ aᵀ) + N T,

    with averages over the population, readouts integrated out exactly. Each step is as long as importance weights bear
    (sequential Monte Carlo: reweighting, systematic resampling at low effective sample size, then a trajectory of
    Hamiltonian Monte Carlo per unit), so that fractions of units in separate modes follow t although no unit crosses
    between modes. Then steps shrink as 1/k, so that t averages what `sweeps` populations ask for (Robbins-Monro), and
    kernels, overlap and codes are averaged alongside.

    Patterns that may be exchanged without changing K_0 and Y (all of a class, for orthogonal inputs) share their t,
    which the concave dual makes exact. Errors come from independent replicates; what all replicates miss, such as a
    mode that no unit of the prior is near, they cannot show. The bias of a population is of relative order
    (unknowns/units)/sweeps.

    Not for positively homogeneous activations (ReLU) with strong targets: there the law of one unit ceases to be
    normalizable where a few units of amplitude √N condense, which no population of independent units has. Such a run
    does not converge. Work per sweep is of order replicates × units × pattern².

    Args:
        activation: φ.
        k_input: K_0 = X Xᵀ/N_0, (pattern, pattern); may be singular.
        y: Y, (pattern, output).
        readout_variance: σ_a², of order 1/P for readouts of order one.
        n_temperature: N T.
        labels: Class of every pattern, for class means of the kernel and for codes.
        threshold: A unit responds to a class if its class-mean activation exceeds this. By default midway between the ends
            of φ, and no codes if φ does not saturate or the classes are more than 12.
        units: Units per replicate, at least twice the number of unknowns.
        replicates: Independent populations.
        sweeps: Steps of the averaging stage.
        key: Seed.
        precision: Of the populations, whatever JAX's default is; single precision is about twice as fast on a CPU.

    Returns:
        The saddle point with standard errors; look at `converged`.

    Raises:
        ValueError: if shapes do not fit, an argument is out of range or `k_input` is not positive semidefinite.

    Example:
        >>> from hiddencodes.models.activations import linear
        >>> saddle = single_unit_monte_carlo(
        ...     linear, np.eye(2), np.ones((2, 1)), readout_variance=1.0, units=256, sweeps=16
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
    check_labels(labels, n_train)
    root = input_root(k_input)
    groups = exchangeable_groups(k_input, y)
    sizes = np.bincount(groups).astype(np.float64)
    check_population(units, replicates, sweeps, readout_variance, n_temperature, len(sizes) * n_outputs)
    member = (groups[:, None] == np.arange(len(sizes))).astype(np.float64)
    if threshold is None:
        threshold = code_threshold(activation)
    averaging = averaging_weights(labels, threshold, n_train)
    solution = solve(
        activation,
        root=root,
        member=member,
        targets=member.T @ y / sizes[:, None],
        readout_variance=readout_variance,
        n_temperature=n_temperature,
        averaging=averaging,
        threshold=math.inf if threshold is None else threshold,
        units=units,
        replicates=replicates,
        sweeps=sweeps,
        key=key,
        double=precision == "float64",
    )
    moments = solution.moments

    multipliers = solution.multiplier[:, groups]
    drawn = UnitPopulations(
        activation=activation,
        root=root,
        coordinates=solution.coordinates,
        weights=solution.weights,
        multiplier=multipliers,
        targets=y,
        readout_variance=float(readout_variance),
        n_temperature=float(n_temperature),
    )
    kernels = kernels_from_sums(moments.second, moments.squares, groups)
    residual, residual_error = replicate_estimate(moments.residual[:, groups])
    blocks, diagonal = (None, None), (None, None)
    if labels is not None:
        means = kernel_class_blocks(kernels, labels)
        blocks, diagonal = replicate_estimate(means.blocks), replicate_estimate(means.diagonal)
    small = bool(np.linalg.norm(residual) <= _RESIDUAL_TOLERANCE * np.linalg.norm(y))
    multiplier, multiplier_error = replicate_estimate(multipliers)
    kernel, kernel_error = replicate_estimate(kernels)
    overlap, overlap_error = replicate_estimate(moments.readout_overlap)
    return MonteCarloSaddle(
        multiplier=multiplier,
        multiplier_error=multiplier_error,
        kernel=kernel,
        kernel_error=kernel_error,
        readout_overlap=overlap,
        readout_overlap_error=overlap_error,
        kernel_blocks=blocks[0],
        kernel_blocks_error=blocks[1],
        kernel_diagonal=diagonal[0],
        kernel_diagonal_error=diagonal[1],
        codes=counted_codes(moments.codes, averaging.shape[1]),
        residual=residual,
        residual_error=residual_error,
        converged=solution.arrived and small,
        acceptance_rate=float(np.mean(moments.acceptance)),
        units=drawn,
        readouts=_draw_readouts(drawn, key),
    )


def _draw_readouts(units: UnitPopulations, key: int) -> Float[np.ndarray, "replicate unit output"]:
    """A | z ~ N(σ_a² tᵀφ, σ_a²)."""
    phi = evaluate(units.activation, units.coordinates @ units.root.T)
    mean = units.readout_variance * (phi @ units.multiplier)
    noise = np.random.default_rng(key).standard_normal(mean.shape)
    return mean + math.sqrt(units.readout_variance) * noise
