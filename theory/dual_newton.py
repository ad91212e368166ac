"""The concave dual of one hidden layer, maximized over the multiplier by Newton's method.

For N → ∞ the multiplier t of the output constraints maximizes (arXiv 2406.16689; per pattern)

    D(t) = Σ_c p_c t_c·y_c - (N T/2) Σ_c p_c |t_c|² - F(t),

F the convex function of `single_unit_population`, whose softness is lowered to 1e-7 nats per pattern.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.linalg import null_space  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from hiddencodes.theory.outlier_rays import parallel_groups, rays, stationary_directions, with_mixtures
from hiddencodes.theory.readout_energy import ReadoutEnergy
from hiddencodes.theory.single_unit_population import (
    Lattice,
    Population,
    Problem,
    population,
    statistics,
    unchanged_weights,
)
from hiddencodes.theory.tilted_moments import tilt_unit

_SOFTNESS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
_STEPS = 100
_RESIDUAL = 1e-9
_ROUNDS = 30
# A gain this far above one is a ray that was not confined; this close to one, a ray that may carry an outlier.
_CONFINED = 1e-6
_FLAT = 1.0 - 1e-5
# Rays with a smaller gain do not come into play, unless t moves far.
_USEFUL = 0.5
# Of the distance of a gain from one, a Newton step leaves at least this.
_LEAST_ROOM = 0.1
# Cosine of the angle within which rays are variants of one.
_PARALLEL = 0.9
# Tilt, in the units of `tilt_unit`, at which a ray has come to its energy at infinity.
_RAY_REACH = 30.0
# Of the energy between the bulk and the valleys, the part that the bulk may rise to; and the least height, in nats.
_RISE = 0.8
_HEIGHT = 4.0
# Depth, in nats, of the lattices: for the first estimate and for the result; deeper where the lattice has to stay.
_DEPTHS = (12.0, 24.0)
_BULK_DEPTHS = (12.0, 36.0)
# How often a lattice may follow a multiplier that still moves.
_LATTICES = 5
# Largest gains that a lattice is made for.
_GAINS = (0.9, 0.97, 0.99, 0.997, 0.999, 0.9997, 0.9999, 0.99997)


class Solution(NamedTuple):
    """The multiplier, the population there, and the largest violation of the constraint of a class."""

    multiplier: Float[np.ndarray, "cls output"]
    population: Population
    residual: float


def maximize(problem: Problem, start: Float[np.ndarray, "cls output"], n_patterns: int | None) -> Solution:
    """Maximize D from a multiplier that lies inside the confinement, or close to it.

    At finite P, ∫ exp(-P E) diverges along a flat ray. Where flat rays carry outliers, and their valleys are separated from
    the lowest minimum by four nats, the integral is over the bulk alone: what lies, at the multiplier for P → ∞, around that minimum up to
    80 % of the energy between them. It is a fixed region of readout weights, so that D stays smooth and concave. Else the
    integral is over everything: units fill the valleys, and t keeps away from where it diverges.

    Args:
        problem: The layer.
        start: Where to begin, (class, output); at finite P close to the solution for P → ∞, or the latter where φ does
            not saturate.
        n_patterns: P, or None for P → ∞.

    Raises:
        ValueError: if Newton's method does not come to rest, or the readout density has too many points.
    """
    energy = problem.energy(start)
    directions = stationary_directions(energy)
    directions = directions[rays(energy, directions).gains > _USEFUL]
    if n_patterns is None:
        found, _ = _confined(problem, start, directions, None, _SOFTNESS)
    else:
        height = n_patterns * _separation(energy, directions)
        if np.isfinite(height) and height >= _HEIGHT:
            found = _bulk(problem, start, directions, n_patterns, _RISE * height)
            if _largest_gain(problem, found.multiplier) < _FLAT:
                found = _everything(problem, found.multiplier, n_patterns)
        else:
            found = _everything(problem, start, n_patterns)
    scale = max(1.0, float(np.max(np.abs(problem.targets))))
    if not found.residual < 1e-5 * scale:
        raise ValueError(
            f"class_targets: the dual did not converge, the constraint is violated by {found.residual:.2g}"
        )
    return found


def _separation(energy: ReadoutEnergy, directions: Float[np.ndarray, "ray cls"]) -> float:
    """Energy per pattern from the lowest minimum to the lowest that is found far out on a flat ray; infinite if none is flat.

    Far out on a ray a unit may still lower its energy across it, in the classes which the ray leaves alone.
    """
    flat = directions[rays(energy, directions).gains > _FLAT]
    if not len(flat):
        return np.inf
    found = rays(energy, with_mixtures(flat))
    lowest = np.inf
    for ray in found.readouts[found.gains > _FLAT]:
        tilt = float(np.max(np.abs(energy.tilts(ray[None]))))
        far = ray * _RAY_REACH * tilt_unit(energy.activation, energy.input_variance) / tilt
        across = null_space(ray[None])
        lowest = min(lowest, energy.lowest_across(far, across))
    return lowest - float(energy.minima().energies[0])


def _bulk(
    problem: Problem,
    start: Float[np.ndarray, "cls output"],
    directions: Float[np.ndarray, "ray cls"],
    n_patterns: int,
    height: float,
) -> Solution:
    """Maximize with the bulk alone, up to a height in nats at the start."""
    energy = problem.energy(start)
    minima = energy.minima()

    def lattice(depth: float) -> Lattice:
        return Lattice(n_patterns, energy.support(minima, n_patterns, min(height, depth)))

    found, directions = _confined(problem, start, directions, lattice(_BULK_DEPTHS[0]), _SOFTNESS)
    return _confined(problem, found.multiplier, directions, lattice(_BULK_DEPTHS[1]), _SOFTNESS[2:])[0]


def _everything(problem: Problem, start: Float[np.ndarray, "cls output"], n_patterns: int) -> Solution:
    """Maximize with the integral over all readout weights."""
    none = np.zeros((0, len(problem.fractions)))

    def solved(t: Float[np.ndarray, "cls output"], depth: float) -> Solution:
        energy = problem.energy(t)
        lattice = Lattice(n_patterns, energy.support(energy.minima(), n_patterns, depth))
        return _climb(problem, t, none, lattice, _SOFTNESS[-1:])

    gain = _largest_gain(problem, start)
    for allowed in _GAINS:
        # The support is finite where the gains are below one; it must cover what the solution needs.
        found = solved(start * min(1.0, allowed / gain) if gain > 0.0 else start, _DEPTHS[0])
        if _largest_gain(problem, found.multiplier) <= allowed:
            for _ in range(_LATTICES):
                before, found = found.multiplier, solved(found.multiplier, _DEPTHS[1])
                if float(np.max(np.abs(found.multiplier - before))) < 1e-3 * float(np.max(np.abs(before))):
                    break
            return found
    raise ValueError(
        f"class_counts: {n_patterns} patterns do not separate the outliers from the bulk of the units, which is too broad "
        f"to be summed over"
    )


def _largest_gain(problem: Problem, t: Float[np.ndarray, "cls output"]) -> float:
    energy = problem.energy(t)
    return float(np.max(rays(energy, stationary_directions(energy)).gains, initial=0.0))


def _confined(
    problem: Problem,
    start: Float[np.ndarray, "cls output"],
    directions: Float[np.ndarray, "ray cls"],
    lattice: Lattice | None,
    levels: tuple[float, ...],
) -> tuple[Solution, Float[np.ndarray, "all cls"]]:
    """Maximize, confining further rays until none is left that violates the confinement; with the directions of all."""
    found = _climb(problem, start, directions, lattice, levels)
    for _ in range(_ROUNDS):
        fresh = stationary_directions(found.population.energy)
        gains = rays(found.population.energy, fresh).gains
        violation = float(np.max(gains, initial=0.0)) - 1.0
        if violation < _CONFINED:
            break
        # The rays have turned with t: confine the new ones too, and those between the ones that share an outlier.
        merged = _merged(directions, found.population.ray_weights)
        directions = np.concatenate([directions, fresh[gains > 1.0 + 0.1 * _CONFINED], merged])
        levels = tuple(each for each in _SOFTNESS if each <= max(10.0 * violation, _SOFTNESS[-2]))
        found = _climb(problem, found.multiplier, directions, lattice, levels)
    return found, directions


def _merged(
    directions: Float[np.ndarray, "ray cls"], weights: Float[np.ndarray, " ray"]
) -> Float[np.ndarray, "mean cls"]:
    """The mean directions of nearly parallel rays that carry weight."""
    merged: list[Float[np.ndarray, " cls"]] = []
    for near in parallel_groups(directions, weights, _PARALLEL):
        if np.sum(near) > 1:
            mean = weights[near] @ directions[near]
            merged.append(mean / np.linalg.norm(mean))
    return np.array(merged).reshape(-1, directions.shape[1])


def _climb(
    problem: Problem,
    start: Float[np.ndarray, "cls output"],
    directions: Float[np.ndarray, "ray cls"],
    lattice: Lattice | None,
    levels: tuple[float, ...],
) -> Solution:
    """Newton's method for given rays, at falling softness."""
    p, y = problem.fractions[:, None], problem.targets
    scale = float(np.max(np.abs(y), initial=1e-3))

    def value(found: Population) -> float:
        multiplier = found.energy.multiplier
        quadratic = 0.5 * problem.n_temperature * float(np.sum(p * multiplier**2))
        return float(np.sum(p * multiplier * y)) - quadratic - found.log_partition

    def at(t: Float[np.ndarray, "cls output"], softness: float, near: Population | None) -> Population | None:
        where = near.minima.positions if lattice is None and near is not None else lattice
        return population(problem, t, softness, directions, where)

    t, residual = start, np.inf
    state: Population | None = None
    for level, softness in enumerate(levels):
        guess = None
        if state is not None:
            factor = softness / levels[level - 1]
            guess = at(t + unchanged_weights(state, factor), softness, None)
            if guess is not None and not _keeps_room(state, guess, factor):
                guess = None
        else:
            # Next to the confinement but far from the maximum Newton's method creeps along the wall.
            t = t * min(
                1.0,
                (1.0 - softness)
                / float(np.max(rays(problem.energy(t), directions).gains, initial=0.0) or 1.0),
            )
        state = at(t, softness, None)
        if state is None:
            raise ValueError(f"class_targets: no bulk of the units at the multiplier {t}")
        if guess is not None and value(guess) > value(state):
            state = guess
        accuracy = _RESIDUAL if softness == levels[-1] else 1e-5
        for _ in range(_STEPS):
            t = state.energy.multiplier
            expected, hessian = statistics(state)
            gradient = p * y - problem.n_temperature * p * t - expected
            residual = float(np.max(np.abs(gradient / p)))
            if residual < accuracy * scale:
                break
            hessian += problem.n_temperature * np.diag(np.repeat(problem.fractions, y.shape[1]))
            ridge = 1e-13 * float(np.trace(hessian))
            direction = np.linalg.solve(hessian + ridge * np.eye(len(hessian)), gradient.ravel())
            slope = float(direction @ gradient.ravel())
            before, step, trial = value(state), 1.0, None
            while step > 1e-9 and trial is None:
                # The minima next to the present ones tell most of the steps that are too long; all have to confirm.
                for near in (state, None) if lattice is None else (state,):
                    trial = at(t + step * direction.reshape(t.shape), softness, near)
                    # Rounding of the value limits what a step can be asked to gain.
                    least = before + 1e-4 * step * slope - 1e-15 * abs(before)
                    if trial is None or not _keeps_room(state, trial) or value(trial) < least:
                        trial = None
                        break
                step *= 0.5
            if trial is None:
                break
            state = trial
    assert state is not None
    return Solution(state.energy.multiplier, state, residual)


def _keeps_room(state: Population, trial: Population, factor: float = 1.0) -> bool:
    """Whether no gain has come much closer to one: there the Hessian cannot be inverted any more."""
    return bool(np.all(1.0 - trial.rays.gains > _LEAST_ROOM * factor * (1.0 - state.rays.gains)))
