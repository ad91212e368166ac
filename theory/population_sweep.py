"""Populations of single units that follow the multiplier t to its saddle point: the compiled inner loop.

A unit of the wide network is drawn from P(a, z) ∝ N(a|0, σ_a²) N(z|0, K_0) exp(aᵀtᵀφ(z)). Given z its readout is
Gaussian, a|z ~ N(σ_a² tᵀφ, σ_a²), so that only z need be sampled:

    P(z) ∝ N(z|0, K_0) exp(½ σ_a² |tᵀφ(z)|²),
    ⟨φ aᵀ⟩ = σ_a² ⟨φφᵀ⟩ t,   Cov(φ_μ a_r, φ_ν a_s) = σ_a² δ_rs ⟨φ_μ φ_ν⟩ + Cov(φ_μ â_r, φ_ν â_s),   â = σ_a² tᵀφ.

Patterns that may be exchanged without changing K_0 and Y share one row of t, because the dual is concave; they form a
group, and everything below sees activations only through their sums over groups.
"""

# JAX and BlackJAX leave parts of their signatures untyped; this file calls little else.
# pyright: reportMissingTypeStubs=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from blackjax.smc.solver import dichotomy
from jaxtyping import Array, Float, Key, PRNGKeyArray

from hiddencodes.models.activations import Activation
from hiddencodes.theory.population_moves import even_log_weights, log_effective_size, mutate, resample

_dichotomy: Any = dichotomy

# A move of t may bring the effective sample size down to this fraction of the units.
_LOWEST_SIZE = 0.4


class Problem(NamedTuple):
    """What is solved, as arrays.

    Attributes:
        root: R with R Rᵀ = K_0, (pattern, coordinate).
        groups: 1 where a pattern belongs to a group of exchangeable patterns, (pattern, group).
        sizes: Patterns per group.
        targets: One row of Y per group, (group, output).
        readout_variance: σ_a².
        n_temperature: N T.
        averaging: (pattern, class): activations times this are class means; no columns if codes are not wanted.
        threshold: Class means above it are "on".
    """

    root: Float[Array, "pattern coordinate"]
    groups: Float[Array, "pattern group"]
    sizes: Float[Array, " group"]
    targets: Float[Array, "group output"]
    readout_variance: Float[Array, ""]
    n_temperature: Float[Array, ""]
    averaging: Float[Array, "pattern class"]
    threshold: Float[Array, ""]


class Population(NamedTuple):
    """One replicate.

    Attributes:
        coordinates: ξ ~ N(0, 1) under the prior, z = R ξ, (unit, coordinate).
        log_weights: Normalized, (unit,).
        multiplier: t, one row per group, (group, output).
        hessian: Running mean of the Hessian of the dual, (unknown, unknown).
        log_step: Logarithm of the leapfrog step.
        key: Random key.
        decrement: √(gᵀ H⁻¹ g), g the gradient of the dual and H its Hessian, at the last step; below one Newton's method
            converges quadratically.
        acceptance: Mean acceptance of the last mutation.
    """

    coordinates: Float[Array, "unit coordinate"]
    log_weights: Float[Array, " unit"]
    multiplier: Float[Array, "group output"]
    hessian: Float[Array, "unknown unknown"]
    log_step: Float[Array, ""]
    key: PRNGKeyArray
    decrement: Float[Array, ""]
    acceptance: Float[Array, ""]


class Moments(NamedTuple):
    """Weighted averages over one population.

    Attributes:
        second: ⟨s sᵀ⟩ of the sums s of φ over groups, (group, group).
        squares: ⟨Σ_(μ in group) φ_μ²⟩.
        readout_overlap: ⟨a aᵀ⟩, (output, output).
        residual: Y - N T t - ⟨φ aᵀ⟩, averaged over groups, (group, output).
        codes: Weight of every code, the first class the most significant bit.
        acceptance: Mean acceptance of the mutation that led here.
    """

    second: Float[Array, "group group"]
    squares: Float[Array, " group"]
    readout_overlap: Float[Array, "output output"]
    residual: Float[Array, "group output"]
    codes: Float[Array, " code"]
    acceptance: Float[Array, ""]


def initial_population(problem: Problem, units: int, key: PRNGKeyArray) -> Population:
    """Independent units of the prior, t = 0."""
    here, later = jax.random.split(key)
    dimension, dtype = problem.root.shape[1], problem.root.dtype
    return Population(
        coordinates=jax.random.normal(here, (units, dimension), dtype),
        log_weights=even_log_weights(units, dtype),
        multiplier=jnp.zeros_like(problem.targets),
        hessian=jnp.zeros((problem.targets.size, problem.targets.size), dtype),
        log_step=jnp.log(jnp.asarray(0.5 * dimension**-0.25, dtype)),
        key=later,
        decrement=jnp.full((), jnp.inf, dtype),
        acceptance=jnp.zeros((), dtype),
    )


def code_weights(
    problem: Problem, phi: Float[Array, "unit pattern"], weights: Float[Array, " unit"]
) -> Float[Array, " code"]:
    """Weight of every code, the first class the most significant bit."""
    n_classes = problem.averaging.shape[1]
    bits = (phi @ problem.averaging > problem.threshold).astype(jnp.int32)
    code = bits @ (2 ** jnp.arange(n_classes - 1, -1, -1, dtype=jnp.int32))
    return jax.ops.segment_sum(weights, code, num_segments=2**n_classes)


def measure(
    problem: Problem, population: Population, activation: Activation
) -> tuple[Float[Array, "unit group"], Moments, Float[Array, "unknown unknown"]]:
    """Group sums, averages, and the Hessian of the dual at the present t.

    The dual in one row of t per group is Σ_g n_g [t_g·y_g - (N T/2)|t_g|²] - log Z_1(t).
    """
    phi = activation(population.coordinates @ problem.root.T)
    sums = phi @ problem.groups
    weights = jax.nn.softmax(population.log_weights)
    second = (sums * weights[:, None]).T @ sums
    shape, size = problem.targets.shape, problem.targets.size
    readout = problem.readout_variance * (sums @ population.multiplier)
    statistic = (sums[:, :, None] * readout[:, None, :]).reshape(len(sums), size)
    mean = weights @ statistic
    centered = statistic - mean[None, :]
    explained = (centered * weights[:, None]).T @ centered
    conditional = problem.readout_variance * second + jnp.diag(problem.n_temperature * problem.sizes)
    hessian = explained + jnp.kron(conditional, jnp.eye(shape[1], dtype=second.dtype))
    wanted = problem.targets - problem.n_temperature * population.multiplier
    moments = Moments(
        second=second,
        squares=weights @ (jnp.square(phi) @ problem.groups),
        readout_overlap=problem.readout_variance * jnp.eye(shape[1], dtype=second.dtype)
        + (readout * weights[:, None]).T @ readout,
        residual=wanted - mean.reshape(shape) / problem.sizes[:, None],
        codes=code_weights(problem, phi, weights),
        acceptance=population.acceptance,
    )
    return sums, moments, hessian


class Step(NamedTuple):
    """A damped Newton step of the dual.

    Attributes:
        direction: H⁻¹ g, (group, output).
        length: What part of it to take at most.
        decrement: √(gᵀ H⁻¹ g).
        hessian: Running mean of the Hessian, the present one included.
    """

    direction: Float[Array, "group output"]
    length: Float[Array, ""]
    decrement: Float[Array, ""]
    hessian: Float[Array, "unknown unknown"]


def newton_step(
    problem: Problem,
    residual: Float[Array, "group output"],
    present: Float[Array, "unknown unknown"],
    remembered: Float[Array, "unknown unknown"],
    longest: Float[Array, ""],
    memory: Float[Array, ""],
) -> Step:
    """Newton's step, no longer than `longest`; `memory` is the weight of the running mean of the Hessian.

    With a remembered Hessian, one that is independent of the present residual, the steps vanish on average where the
    residual does. A population's own Hessian is large when its outputs are, and the average would be off by 1/units.

    log Z_1 of Gaussian units, ½ log det, is self-concordant with the constant √2: steps damped by 1/(1 + √2 decrement) stay
    where Z_1 exists, beyond which a finite population cannot see that its weights have lost their mean.
    """
    hessian = jnp.where(memory == 0.0, present, remembered)
    # The fixed point is that of the gradient; a ridge at rounding level only keeps the solver away from 0/0.
    ridge = jnp.finfo(hessian.dtype).eps * jnp.trace(hessian)
    regularized = hessian + ridge * jnp.eye(len(hessian), dtype=hessian.dtype)
    gradient = problem.sizes[:, None] * residual
    direction = jnp.linalg.solve(regularized, gradient.reshape(-1)).reshape(residual.shape)
    decrement = jnp.sqrt(jnp.sum(gradient * direction))
    length = jnp.minimum(longest, 1.0 / (1.0 + math.sqrt(2.0) * decrement))
    return Step(direction, length, decrement, memory * remembered + (1.0 - memory) * present)


def _sweep(
    problem: Problem,
    population: Population,
    longest: Float[Array, ""],
    memory: Float[Array, ""],
    activation: Activation,
) -> tuple[Population, Moments]:
    """Move t along the Newton direction, by importance weights, then mutate the units.

    Between t and t + αd a unit's weight changes by exp[σ_a² (α (tᵀφ)·(dᵀφ) + α² |dᵀφ|²/2)].
    """
    units, dtype = len(population.log_weights), population.log_weights.dtype
    sums, moments, hessian = measure(problem, population, activation)
    step = newton_step(problem, moments.residual, hessian, population.hessian, longest, memory)
    direction = step.direction
    field, change = sums @ population.multiplier, sums @ direction
    linear = problem.readout_variance * jnp.sum(field * change, axis=1)
    quadratic = 0.5 * problem.readout_variance * jnp.sum(jnp.square(change), axis=1)

    def excess(stride: Float[Array, ""]) -> Float[Array, ""]:
        weights = population.log_weights + stride * linear + stride**2 * quadratic
        return log_effective_size(weights) - jnp.log(jnp.asarray(_LOWEST_SIZE * units, dtype))

    stride = _dichotomy(excess, jnp.zeros_like(step.length), step.length)
    log_weights = jax.nn.log_softmax(population.log_weights + stride * linear + stride**2 * quadratic)
    multiplier = population.multiplier + stride * direction

    t = problem.groups @ multiplier

    def tilt(xi: Float[Array, " coordinate"]) -> Float[Array, ""]:
        return 0.5 * problem.readout_variance * jnp.sum(jnp.square(activation(problem.root @ xi) @ t))

    key, resampling, mutation = jax.random.split(population.key, 3)
    coordinates, log_weights = resample(population.coordinates, log_weights, resampling)
    coordinates, log_step, acceptance = mutate(tilt, coordinates, population.log_step, mutation)
    moved = Population(
        coordinates=coordinates,
        log_weights=log_weights,
        multiplier=multiplier,
        hessian=step.hessian,
        log_step=log_step,
        key=key,
        decrement=step.decrement,
        acceptance=acceptance,
    )
    return moved, moments


@partial(jax.jit, static_argnames=("units",))
def start(problem: Problem, keys: Key[Array, " replicate"], *, units: int) -> Population:
    """Replicates of units of the prior, stacked along the first axis."""
    return jax.vmap(lambda key: initial_population(problem, units, key))(keys)


@partial(jax.jit, static_argnames=("activation",))
def sweep(
    problem: Problem,
    populations: Population,
    longest: Float[Array, ""],
    memory: Float[Array, ""],
    *,
    activation: Activation,
) -> tuple[Population, Moments]:
    """`_sweep` of every replicate: one compiled program for all stages of the iteration."""
    return jax.vmap(lambda each: _sweep(problem, each, longest, memory, activation))(populations)
