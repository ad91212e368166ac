"""A first estimate of the multiplier: the linear program over branches, solved by column generation.

For P → ∞ the units sit on branches (a, φ̄) at the cost |a|²/2s² + Σ_c p_c [h_c φ̄_c - log g(h_c)], h_c the tilt that has the
mean φ̄_c, and their fractions P_γ solve (arXiv 2406.16689)

    min Σ_γ P_γ cost_γ   subject to   Σ_γ P_γ a_γ φ̄_γc = y_c - N T t_c,   Σ_γ P_γ = 1,

plus outliers, whose fraction counts for nothing. The program's dual variables are p_c t_c and the lowest energy E_0; new
branches are the minima of E at the present t. The concave -N T|t|²/2 enters through its tangents.
"""

import numpy as np
from jaxtyping import Float
from scipy.optimize import linprog  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from hiddencodes.theory.outlier_rays import rays, stationary_directions
from hiddencodes.theory.readout_energy import ReadoutEnergy
from hiddencodes.theory.single_unit_population import Problem
from hiddencodes.theory.tilted_moments import asymptotic_slopes, tilted_moments

_ROUNDS = 200
# Branches are finitely many; rays are not, and Newton's method finds theirs.
_GAP = 1e-5
_GAP_WITH_RAYS = 3e-4
_TANGENTS = 20
_TOWARDS = 0.5


def first_multiplier(problem: Problem) -> Float[np.ndarray, "cls output"]:
    """A multiplier inside the confinement, at P → ∞ optimal up to 1e-5 nats per pattern, 3e-4 where φ does not saturate.

    Branches are added at points between the best multiplier so far and the optimum of the program, which moves less from
    round to round than the latter does alone.

    Args:
        problem: The layer.

    Returns:
        t, (class, output).

    Raises:
        ValueError: if the linear program cannot be solved.
    """
    p, y = problem.fractions, problem.targets
    size = y.size
    box = _box(problem)
    rows = _Rows(size)
    rows.add(np.zeros(size), 0.0, 1.0)
    curvature = problem.n_temperature * np.repeat(p, y.shape[1])
    if problem.n_temperature > 0.0:
        for t in np.linspace(-box, box, _TANGENTS):
            rows.add_tangents(curvature, np.full(size, t))
    objective = np.concatenate([(p[:, None] * y).ravel(), [1.0], np.ones(size)])
    best, best_value = np.zeros_like(y), 0.0
    saturates = asymptotic_slopes(problem.activation) == (0.0, 0.0)
    allowed = _GAP if saturates else _GAP_WITH_RAYS
    for _ in range(_ROUNDS):
        solution = _solve(-objective, rows, box)
        t = np.reshape(solution[:size], y.shape)
        if float(objective @ solution) - best_value < allowed:
            if float(np.max(np.abs(best))) < 0.9 * box:
                break
            box *= 2.0
            continue
        t = best + _TOWARDS * (t - best)
        lowest = _add_columns(rows, problem.energy(t), float(solution[size]))
        if problem.n_temperature > 0.0:
            rows.add_tangents(curvature, t.ravel())
        value = float(np.sum(p[:, None] * y * t)) - 0.5 * float(curvature @ t.ravel() ** 2) + lowest
        if value > best_value:
            best, best_value = t, value
    return best


def _solve(
    objective: Float[np.ndarray, " variable"], rows: "_Rows", box: float
) -> Float[np.ndarray, " variable"]:
    # HiGHS gives up on programs whose rows nearly repeat, and near the optimum every round finds the same branches again.
    table = np.column_stack([np.array(rows.coefficients), rows.bounds])
    _, kept = np.unique(np.round(table, 8), axis=0, return_index=True)
    message = ""
    for method in ("highs", "highs-ipm", "highs-ds"):
        found = linprog(
            objective,
            A_ub=table[kept, :-1],
            b_ub=table[kept, -1],
            bounds=[(-box, box)] * rows.size + [(None, None)] + [(None, 0.0)] * rows.size,
            method=method,
        )
        if found.status == 0:
            return np.asarray(found.x)
        message = found.message
    raise ValueError(f"class_targets: the linear program of the branches failed: {message}")


class _Rows:
    """Constraints of the dual program: coefficients·(t, E_0, q) ≤ bound, q_j ≤ -N T p t_j²/2."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.coefficients: list[Float[np.ndarray, " variable"]] = []
        self.bounds: list[float] = []

    def add(self, statistic: Float[np.ndarray, " entry"], cost: float, of_branch: float) -> None:
        """E_0 ≤ cost - statistic·t for a branch; 0 ≤ cost - statistic·t for an outlier."""
        self.coefficients.append(np.concatenate([statistic, [of_branch], np.zeros(self.size)]))
        self.bounds.append(cost)

    def add_tangents(self, curvature: Float[np.ndarray, " entry"], t: Float[np.ndarray, " entry"]) -> None:
        """q_j ≤ -curvature_j (t_j t - t_j²/2): the tangents of the concave term at t."""
        for j in range(self.size):
            row = np.zeros(2 * self.size + 1)
            row[j], row[self.size + 1 + j] = curvature[j] * t[j], 1.0
            self.coefficients.append(row)
            self.bounds.append(0.5 * float(curvature[j] * t[j] ** 2))


def _add_columns(rows: _Rows, energy: ReadoutEnergy, expected: float) -> float:
    """Add the branches with E close to the lowest or below what the program expects, and the steepest rays.

    Returns:
        The lowest energy; minus infinity outside the confinement.
    """
    minima = energy.minima()
    p = energy.fractions
    h = energy.tilts(minima.positions)
    table = energy.table(h)
    mean = table.mean(h)
    cost = np.sum(minima.positions**2, axis=1) / (2.0 * energy.scaled_variance)
    cost += (h * mean - table.log_g(h)) @ p
    lowest = float(np.min(minima.energies, initial=np.inf))
    for a, phi, value, at in zip(minima.positions, mean, cost, minima.energies, strict=True):
        if at < max(expected, lowest) + 0.05:
            rows.add(np.outer(p * phi, a).ravel(), float(value), 1.0)
    found = rays(energy, stationary_directions(energy))
    for u, phi, gain in zip(found.readouts, found.activations, found.gains, strict=True):
        if gain > 0.9:
            rows.add(np.outer(p * phi, u).ravel(), 1.0, 0.0)
    confined = float(np.max(found.gains, initial=0.0)) < 1.0
    return lowest if confined and len(minima.energies) else -np.inf


def _box(problem: Problem) -> float:
    """A bound of |t| that the solution rarely meets; it is doubled when it does."""
    s = np.sqrt(problem.scaled_variance)
    table = tilted_moments(problem.activation, problem.input_variance, 1.0)
    at_rest = np.zeros(1)
    size = float(np.sqrt(table.variance(at_rest)[0] + table.mean(at_rest)[0] ** 2))
    return 8.0 * (float(np.max(np.abs(problem.targets))) / (s * size) ** 2 + 1.0 / (s * size))
