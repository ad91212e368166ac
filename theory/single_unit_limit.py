"""One hidden layer in the mean-field scaling, orthogonal inputs, P → ∞: which codes exist, and how many units carry them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import linprog  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from hiddencodes.models.activations import Activation
from hiddencodes.theory.branches import Branch, Outlier, branches_of, outliers_of
from hiddencodes.theory.column_generation import first_multiplier
from hiddencodes.theory.dual_newton import maximize
from hiddencodes.theory.linear_unit import linear_population
from hiddencodes.theory.outlier_rays import pairs_may_turn
from hiddencodes.theory.single_unit_arguments import checked_problem
from hiddencodes.theory.single_unit_population import Population, moments_of
from hiddencodes.theory.tilted_moments import is_linear

# At softness 1e-7 a branch that is not part of the optimum is lighter than this.
_ACTIVE = 1e-9
# Branches whose contributions to the constraints differ by less than this are one and the same to them.
_DISTINCT = 1e-4


@dataclass(frozen=True, eq=False)
class SingleUnitLimit:
    """The saddle point of one hidden layer at N → ∞, then P → ∞.

    Attributes:
        multiplier: t, (class, output).
        kernel_blocks: K_cd between different patterns of classes c and d, (class, class).
        kernel_diagonal: (class,).
        readout_overlap: U = ⟨a aᵀ⟩, (output, output).
        branches: The codes, largest fraction first; empty for linear units.
        outliers: Codes on single units.
        unique: Whether the constraints alone fix the fractions and the outliers. Where they do not fix the fractions (an odd φ,
            targets that make E(a) even), these are the ones that finite P tends to: the entropy of the population,
            Σ_γ P_γ log P_γ + ½ log det E''_γ, chooses among the optima of the linear program. Where they do not fix the
            outliers (targets that mix classes), only sums over outliers of products of their weights are meaningful.
        fraction_ranges: Lowest and highest fraction of every branch among all optima of the linear program, (branch, 2).
        lowest_energy: E_0, the energy that all branches share, in nats per pattern.
        residual: Largest violation of the constraints by the solution.
    """

    multiplier: Float[np.ndarray, "cls output"]
    kernel_blocks: Float[np.ndarray, "cls cls"]
    kernel_diagonal: Float[np.ndarray, " cls"]
    readout_overlap: Float[np.ndarray, "output output"]
    branches: tuple[Branch, ...]
    outliers: tuple[Outlier, ...]
    unique: bool
    fraction_ranges: Float[np.ndarray, "branch 2"]
    lowest_energy: float
    residual: float


def single_unit_limit(
    activation: Activation,
    class_fractions: Float[np.ndarray, "..."] | tuple[float, ...] | list[float],
    class_targets: Float[np.ndarray, "..."],
    *,
    readout_scale: float = 1.0,
    n_temperature: float = 0.0,
    input_variance: float = 1.0,
) -> SingleUnitLimit:
    """Solve one hidden layer for orthogonal inputs, K_0 = κ I, and readout variance s²/P, at N → ∞ and then P → ∞.

    P(a) then sits on the global minima of E(a) = |a|²/2s² - Σ_c p_c log g(t_c·a), and t makes as many of them equal as the
    targets need: a linear program over branches, started by column generation and finished by Newton's method.

    Args:
        activation: φ.
        class_fractions: p_c, normalized to one, (class,).
        class_targets: y, row c the target of class c, (class, output).
        readout_scale: s.
        n_temperature: N T.
        input_variance: κ.

    Returns:
        Multiplier, kernel, branches, outliers.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> from hiddencodes.models.activations import sigmoidal
        >>> limit = single_unit_limit(sigmoidal, (0.5, 0.25, 0.25), np.where(np.eye(3) > 0, 1.0, 0.5))
        >>> {branch.code: round(branch.fraction, 3) for branch in limit.branches}
        {'011': 0.332, '101': 0.315, '110': 0.315, '111': 0.038}

    References:
        A. van Meegen and H. Sompolinsky, arXiv 2406.16689.
    """
    weights = np.asarray(class_fractions, dtype=np.float64)
    if not readout_scale > 0.0:
        raise ValueError(f"readout_scale: must be finite and positive, got {readout_scale}")
    problem = checked_problem(
        activation, weights, class_targets, float(readout_scale) ** 2, input_variance, n_temperature,
        weights_name="class_fractions",
    )  # fmt: skip
    if is_linear(activation):
        solution = linear_population(problem, None)
        state, unique, ranges = solution.population, True, np.zeros((0, 2))
    else:
        solution = maximize(problem, first_multiplier(problem), None)
        state, unique, ranges = _selected(solution.population)
    blocks, diagonal, overlap = moments_of(state)
    outliers = () if is_linear(activation) else outliers_of(state)
    scale = np.sqrt(problem.fractions)
    directions = np.array([outlier.preactivations * scale for outlier in outliers]).reshape(-1, len(weights))
    return SingleUnitLimit(
        multiplier=solution.multiplier,
        kernel_blocks=blocks,
        kernel_diagonal=diagonal,
        readout_overlap=overlap,
        branches=() if is_linear(activation) else branches_of(state),
        outliers=outliers,
        unique=unique and not pairs_may_turn(state.energy, directions),
        fraction_ranges=ranges,
        lowest_energy=float(state.minima.energies[0]),
        residual=solution.residual,
    )


def _selected(state: Population) -> tuple[Population, bool, Float[np.ndarray, "branch 2"]]:
    """The population with the fractions that finite P tends to, whether they are unique, and their ranges."""
    active = np.flatnonzero(state.weights > _ACTIVE)
    energy = state.energy
    a, w = state.readouts[active], state.weights[active]
    h = energy.tilts(a)
    columns = (energy.table(h).mean(h)[:, :, None] * a[:, None, :]).reshape(len(a), -1)
    columns = np.concatenate([columns, np.ones((len(a), 1))], axis=1)
    unique = int(np.linalg.matrix_rank(columns, tol=_DISTINCT)) == len(a)
    ranges = np.stack([w, w], axis=1)
    if not unique:
        prior = -0.5 * np.linalg.slogdet(energy.hessian(a))[1]
        ranges = _ranges(columns, w)
        w = _most_probable(columns, w, prior)
    chosen = state._replace(readouts=a, weights=w / w.sum())
    order = [branch.code for branch in branches_of(chosen)]
    labels = [
        branches_of(chosen._replace(readouts=a[i : i + 1], weights=np.ones(1)))[0].code for i in range(len(a))
    ]
    by_code = np.array([ranges[[label == code for label in labels]].sum(axis=0) for code in order])
    return chosen, unique, by_code.reshape(len(order), 2)


def _most_probable(
    columns: Float[np.ndarray, "branch row"],
    w: Float[np.ndarray, " branch"],
    prior: Float[np.ndarray, " branch"],
) -> Float[np.ndarray, " branch"]:
    """The fractions ∝ exp(prior + columns·λ) with the same moments columnsᵀ w: Newton's method for λ."""
    wanted = columns.T @ w
    shift = np.zeros(columns.shape[1])

    def fractions(at: Float[np.ndarray, " row"]) -> Float[np.ndarray, " branch"]:
        exponent = prior + columns @ at
        p = np.exp(exponent - exponent.max())
        return p / p.sum()

    # Columns that differ by rounding alone are the same column: nothing can be had by weighing them differently.
    least = _DISTINCT**2 * float(np.max(columns**2))
    p = fractions(shift)
    error = float(np.abs(columns.T @ p - wanted).max())
    for _ in range(200):
        centered = columns - p @ columns
        hessian = (centered * p[:, None]).T @ centered
        values, vectors = np.linalg.eigh(hessian)
        inverse = np.where(values > least, 1.0 / np.maximum(values, least), 0.0)
        step = vectors @ (inverse * (vectors.T @ (wanted - columns.T @ p)))
        size = 1.0
        while size > 1e-6:
            trial = fractions(shift + size * step)
            now = float(np.abs(columns.T @ trial - wanted).max())
            if now < error:
                shift, p, error = shift + size * step, trial, now
                break
            size *= 0.5
        else:
            break
    return p


def _ranges(
    columns: Float[np.ndarray, "branch row"], w: Float[np.ndarray, " branch"]
) -> Float[np.ndarray, "branch 2"]:
    """Lowest and highest fraction of every branch that the constraints allow."""
    wanted = columns.T @ w
    ends = np.empty((len(w), 2))
    for i in range(len(w)):
        for k, sign in enumerate((1.0, -1.0)):
            objective = np.zeros(len(w))
            objective[i] = sign
            # Redundant constraints agree only to the accuracy of the solution.
            found = linprog(
                objective,
                A_ub=np.concatenate([columns.T, -columns.T]),
                b_ub=np.concatenate([wanted + 1e-6, 1e-6 - wanted]),
                bounds=(0.0, 1.0),
            )
            ends[i, k] = sign * float(found.fun) if found.status == 0 else w[i]
    return ends
