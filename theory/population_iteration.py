"""The two stages in which populations of single units reach their saddle point and average over it, driven from the host."""

# JAX and BlackJAX leave parts of their signatures untyped; this file calls little else.
# pyright: reportMissingTypeStubs=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hiddencodes.models.activations import Activation
from hiddencodes.theory.population_sweep import Population, Problem, start, sweep

_MOST_BRIDGE_SWEEPS = 400
# A replicate has arrived when the Newton decrement was below one this many times. What is left of it then is noise, of size
# √(unknowns/units).
_SETTLED_SWEEPS = 6


class HostMoments(NamedTuple):
    """`hiddencodes.theory.population_sweep.Moments` of every replicate, in double precision on the host."""

    second: Float[np.ndarray, "replicate group group"]
    squares: Float[np.ndarray, "replicate group"]
    readout_overlap: Float[np.ndarray, "replicate output output"]
    residual: Float[np.ndarray, "replicate group output"]
    codes: Float[np.ndarray, "replicate code"]
    acceptance: Float[np.ndarray, " replicate"]


class Solution(NamedTuple):
    """Replicates at the saddle point, in double precision on the host.

    Attributes:
        coordinates: ξ of the units after the last sweep, (replicate, unit, coordinate).
        weights: Sum to one in every replicate, (replicate, unit).
        multiplier: t of every group, (replicate, group, output).
        moments: Means over the averaging stage.
        arrived: Whether every replicate came near the maximum of the dual.
    """

    coordinates: Float[np.ndarray, "replicate unit coordinate"]
    weights: Float[np.ndarray, "replicate unit"]
    multiplier: Float[np.ndarray, "replicate group output"]
    moments: HostMoments
    arrived: bool


def solve(
    activation: Activation,
    *,
    root: Float[np.ndarray, "pattern coordinate"],
    member: Float[np.ndarray, "pattern group"],
    targets: Float[np.ndarray, "group output"],
    readout_variance: float,
    n_temperature: float,
    averaging: Float[np.ndarray, "pattern cls"],
    threshold: float,
    units: int,
    replicates: int,
    sweeps: int,
    key: int,
    double: bool,
) -> Solution:
    """Bring `replicates` populations to the saddle point, and average over `sweeps` of them.

    Args:
        activation: φ.
        root: R with R Rᵀ = K_0.
        member: 1 where a pattern belongs to a group of exchangeable patterns.
        targets: One row of Y per group.
        readout_variance: σ_a².
        n_temperature: N T.
        averaging: Weights of class means; no columns if codes are not wanted.
        threshold: Class means above it are "on".
        units: Units per replicate.
        replicates: Number of populations.
        sweeps: Length of the averaging stage.
        key: Seed.
        double: Whether to compute in double precision.

    Returns:
        The replicates and their averages.
    """
    with jax.enable_x64(double):
        problem = Problem(
            root=jnp.asarray(root),
            groups=jnp.asarray(member),
            sizes=jnp.asarray(np.sum(member, axis=0)),
            targets=jnp.asarray(targets),
            readout_variance=jnp.asarray(float(readout_variance)),
            n_temperature=jnp.asarray(float(n_temperature)),
            averaging=jnp.asarray(averaging),
            threshold=jnp.asarray(float(threshold)),
        )
        populations = start(problem, jax.random.split(jax.random.key(key), replicates), units=units)
        populations, arrived = bridge(problem, populations, activation)
        populations, moments = average(problem, populations, activation, sweeps=sweeps)
        return Solution(
            coordinates=_on_host(populations.coordinates),
            weights=np.exp(_on_host(populations.log_weights)),
            multiplier=_on_host(populations.multiplier),
            moments=moments,
            arrived=arrived,
        )


def _on_host(leaf: Array) -> np.ndarray:
    return np.asarray(leaf, np.float64)


def bridge(problem: Problem, populations: Population, activation: Activation) -> tuple[Population, bool]:
    """Newton's method, its steps shortened to what importance weights bear, from the prior to the saddle point.

    Args:
        problem: What is solved.
        populations: Replicates as `start` makes them.
        activation: φ.

    Returns:
        The replicates, and whether all of them arrived.
    """
    full, forget = jnp.ones((), problem.root.dtype), jnp.zeros((), problem.root.dtype)
    arrived = np.zeros(len(populations.decrement), int)
    for _ in range(_MOST_BRIDGE_SWEEPS):
        populations, _ = sweep(problem, populations, full, forget, activation=activation)
        decrement = np.asarray(populations.decrement)
        arrived += decrement < 1.0
        if np.min(arrived) >= _SETTLED_SWEEPS or not np.all(np.isfinite(decrement)):
            break
    return populations, bool(np.min(arrived) >= _SETTLED_SWEEPS)


def average(
    problem: Problem, populations: Population, activation: Activation, *, sweeps: int
) -> tuple[Population, HostMoments]:
    """Robbins-Monro iteration: Newton steps of length 2/(k + 2), and averages over the last three quarters.

    That length makes t the average of what the populations ask for with weights ∝ k, which forgets the start as 1/k².

    Args:
        problem: What is solved.
        populations: Replicates near the saddle point.
        activation: φ.
        sweeps: Number of steps.

    Returns:
        The replicates, and the mean of their moments, in double precision on the host.
    """
    dtype, first = problem.root.dtype, sweeps // 4
    total: HostMoments | None = None
    for k in range(sweeps):
        length, memory = jnp.asarray(2.0 / (k + 2.0), dtype), jnp.asarray((k + 1.0) / (k + 2.0), dtype)
        populations, moments = sweep(problem, populations, length, memory, activation=activation)
        if k >= first:
            here = HostMoments(*map(_on_host, moments))
            total = here if total is None else HostMoments(*map(np.add, total, here))
    assert total is not None
    return populations, HostMoments(*(each / (sweeps - first) for each in total))
