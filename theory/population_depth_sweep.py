"""Populations of single units in every layer of a deep network: the compiled inner loop.

    layer L:      P(z) ∝ N(z|0, K_(L-1)) exp(½ σ_a² |tᵀφ(z)|²)
    layers l < L: P(z) ∝ N(z|0, K_(l-1)) exp(½ φ(z)ᵀ A_l φ(z)),   K_l = ⟨φφᵀ⟩_l,   A_l = K_l⁻¹ (⟨z zᵀ⟩_(l+1) - K_l) K_l⁻¹

With S the exponent in the law of layer l + 1 and g = ∇_z S, integration by parts turns the last expression into averages
without K_l⁻¹, whose noise is not amplified and vanishes with S:

    A_l = ⟨g gᵀ + ∇∇S⟩ = ⟨g gᵀ⟩ + A_(l+1) ∘ ⟨φ'φ'ᵀ⟩ + diag⟨φ'' ∘ (A_(l+1) φ)⟩,   A_L = σ_a² t tᵀ,

∘ being the entrywise product. Where φ has kinks, φ'' is not a function; there one integration by parts is undone, A_l = K_l⁻¹ ⟨z gᵀ⟩.
"""

# JAX and BlackJAX leave parts of their signatures untyped; this file calls little else.
# pyright: reportMissingTypeStubs=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PRNGKeyArray

from hiddencodes.models.activations import Activation
from hiddencodes.theory.population_moves import even_log_weights, log_effective_size, mutate, resample
from hiddencodes.theory.population_sweep import (
    Moments,
    Population,
    Problem,
    code_weights,
    initial_population,
    measure,
    newton_step,
)

# A change of the laws may bring the effective sample size of a layer down by this factor; it is halved until it does not.
_LOWEST_RATIO = 0.6
_SMALLEST_PART = 1e-3


class Layer(NamedTuple):
    """One replicate of a hidden layer below the last.

    Attributes:
        coordinates: ξ, z = R ξ with R Rᵀ = K_(l-1), (unit, coordinate).
        log_weights: Normalized, (unit,).
        kernel: K_l, as the layer above uses it, (pattern, pattern).
        coupling: A_l, (pattern, pattern).
        log_step: Logarithm of the leapfrog step.
        key: Random key.
    """

    coordinates: Float[Array, "unit coordinate"]
    log_weights: Float[Array, " unit"]
    kernel: Float[Array, "pattern pattern"]
    coupling: Float[Array, "pattern pattern"]
    log_step: Float[Array, ""]
    key: PRNGKeyArray


class LayerMoments(NamedTuple):
    """What a layer's units ask for: K_l of themselves, A_l of the layer above; and the weight of every code."""

    kernel: Float[Array, "pattern pattern"]
    coupling: Float[Array, "pattern pattern"]
    codes: Float[Array, " code"]


class Rates(NamedTuple):
    """Which part of the way K, A and t go in a sweep, and the weight of the remembered Hessian of the dual."""

    kernel: Float[Array, ""]
    coupling: Float[Array, ""]
    multiplier: Float[Array, ""]
    memory: Float[Array, ""]


def root_of(kernel: Float[Array, "pattern pattern"]) -> Float[Array, "pattern pattern"]:
    """Cholesky factor, continuous in the kernel; what is added is at the level of rounding."""
    jitter = jnp.finfo(kernel.dtype).eps * jnp.trace(kernel)
    return jnp.linalg.cholesky(kernel + jitter * jnp.eye(len(kernel), dtype=kernel.dtype))


def _exchanged(problem: Problem, matrix: Float[Array, "pattern pattern"]) -> Float[Array, "pattern pattern"]:
    """Average over exchanges of patterns within groups."""
    groups, sizes = problem.groups, problem.sizes
    diagonal = jnp.diagonal(matrix) @ groups
    blocks = groups.T @ matrix @ groups
    pairs = jnp.where(sizes > 1, sizes * (sizes - 1.0), 1.0)
    within = (jnp.diagonal(blocks) - diagonal) / pairs
    blocks = blocks / jnp.outer(sizes, sizes)
    blocks = blocks - jnp.diag(jnp.diagonal(blocks) - within)
    full = groups @ blocks @ groups.T
    return full + jnp.diag(groups @ (diagonal / sizes) - jnp.diagonal(full))


def _wanted_coupling(
    activation: Activation,
    root: Float[Array, "pattern coordinate"],
    coupling: Float[Array, "pattern pattern"],
    coordinates: Float[Array, "unit coordinate"],
    weights: Float[Array, " unit"],
) -> Float[Array, "pattern pattern"]:
    """A of the layer below, from the units of a layer whose law has this root and this A."""
    z = coordinates @ root.T
    slope = jax.vmap(jax.vmap(jax.grad(activation)))
    first = slope(z)
    field = activation(z) @ coupling
    force = first * field
    weighted = force * weights[:, None]
    if activation.kinks:
        product = coordinates.T @ weighted
        half = jax.scipy.linalg.solve_triangular(root, product, trans="T", lower=True)
        return 0.5 * (half + half.T)
    second = jax.vmap(jax.vmap(jax.grad(jax.grad(activation))))(z)
    wanted = weighted.T @ force + coupling * ((first * weights[:, None]).T @ first)
    return wanted + jnp.diag(weights @ (second * field))


def _log_tilt(
    activation: Activation,
    root: Float[Array, "pattern coordinate"],
    coupling: Float[Array, "pattern pattern"],
    xi: Float[Array, " coordinate"],
) -> Float[Array, ""]:
    phi = activation(root @ xi)
    return 0.5 * jnp.dot(phi, coupling @ phi)


class _Laws(NamedTuple):
    """Roots and couplings of all layers, and the multiplier that the last coupling is made of."""

    roots: list[Float[Array, "pattern coordinate"]]
    couplings: list[Float[Array, "pattern pattern"]]
    multiplier: Float[Array, "group output"]


def _laws(
    problem: Problem,
    kernels: list[Float[Array, "pattern pattern"]],
    couplings: list[Float[Array, "pattern pattern"]],
    multiplier: Float[Array, "group output"],
) -> _Laws:
    t = problem.groups @ multiplier
    roots = [problem.root, *map(root_of, kernels)]
    return _Laws(roots, [*couplings, problem.readout_variance * t @ t.T], multiplier)


def _sweep(
    problem: Problem, layers: list[Layer], top: Population, rates: Rates, activation: Activation
) -> tuple[list[Layer], Population, list[LayerMoments], Moments]:
    """Move every law towards what its neighbors ask for, by importance weights, then mutate all units."""
    kernels, couplings = [each.kernel for each in layers], [each.coupling for each in layers]
    old = _laws(problem, kernels, couplings, top.multiplier)
    units: list[Layer | Population] = [*layers, top]
    weights = [jax.nn.softmax(each.log_weights) for each in units]

    _, moments, hessian = measure(problem._replace(root=old.roots[-1]), top, activation)
    step = newton_step(problem, moments.residual, hessian, top.hessian, rates.multiplier, rates.memory)
    wanted = list[LayerMoments]()
    for index, layer in enumerate(layers):
        phi = activation(layer.coordinates @ old.roots[index].T)
        asked = _wanted_coupling(
            activation,
            old.roots[index + 1],
            old.couplings[index + 1],
            units[index + 1].coordinates,
            weights[index + 1],
        )
        wanted.append(
            LayerMoments(
                kernel=_exchanged(problem, (phi * weights[index][:, None]).T @ phi),
                coupling=_exchanged(problem, asked),
                codes=code_weights(problem, phi, weights[index]),
            )
        )

    def laws(part: Float[Array, ""]) -> tuple[list[Array], list[Array], _Laws]:
        new_kernels = [k + part * rates.kernel * (w.kernel - k) for k, w in zip(kernels, wanted, strict=True)]
        roots = [problem.root, *map(root_of, new_kernels)]
        # A and t act on z = R ξ. That their action on ξ is kept when R changes is what keeps unbounded units normalizable.
        kept = [
            jnp.eye(len(problem.root), dtype=problem.root.dtype),
            *(
                jax.scipy.linalg.solve_triangular(new.T, before.T, lower=False)
                for new, before in zip(roots[1:], old.roots[1:], strict=True)
            ),
        ]
        new_couplings = [
            keep @ a @ keep.T + part * rates.coupling * (w.coupling - a)
            for keep, a, w in zip(kept[:-1], couplings, wanted, strict=True)
        ]
        multiplier = (
            problem.groups.T @ (kept[-1] @ (problem.groups @ top.multiplier)) / problem.sizes[:, None]
        )
        multiplier = multiplier + part * step.length * step.direction
        return new_kernels, new_couplings, _laws(problem, new_kernels, new_couplings, multiplier)

    def gains(new: _Laws) -> list[Float[Array, " unit"]]:
        return [
            jax.vmap(partial(_log_tilt, activation, new.roots[index], new.couplings[index]))(each.coordinates)
            - jax.vmap(partial(_log_tilt, activation, old.roots[index], old.couplings[index]))(
                each.coordinates
            )
            for index, each in enumerate(units)
        ]

    def too_far(part: Float[Array, ""]) -> Array:
        ratios = [
            log_effective_size(each.log_weights + gain) - log_effective_size(each.log_weights)
            for each, gain in zip(units, gains(laws(part)[2]), strict=True)
        ]
        return (part > _SMALLEST_PART) & ~(jnp.min(jnp.stack(ratios)) > jnp.log(_LOWEST_RATIO))

    part = jax.lax.while_loop(too_far, lambda part: 0.5 * part, jnp.ones((), problem.root.dtype))
    new_kernels, new_couplings, new = laws(part)
    moved = list[tuple[Array, ...]]()
    for index, (each, gain) in enumerate(zip(units, gains(new), strict=True)):
        key, resampling, mutation = jax.random.split(each.key, 3)
        log_weights = jax.nn.log_softmax(each.log_weights + gain)
        coordinates, log_weights = resample(each.coordinates, log_weights, resampling)
        tilt = partial(_log_tilt, activation, new.roots[index], new.couplings[index])
        coordinates, log_step, acceptance = mutate(tilt, coordinates, each.log_step, mutation)
        moved.append((coordinates, log_weights, log_step, key, acceptance))
    new_layers = [
        Layer(x, w, kernel, coupling, log_step, key)
        for (x, w, log_step, key, _), kernel, coupling in zip(
            moved[:-1], new_kernels, new_couplings, strict=True
        )
    ]
    x, w, log_step, key, acceptance = moved[-1]
    new_top = Population(x, w, new.multiplier, step.hessian, log_step, key, step.decrement, acceptance)
    return new_layers, new_top, wanted, moments


@partial(jax.jit, static_argnames=("units",))
def start(
    problem: Problem,
    kernels: Float[Array, "layer pattern pattern"],
    keys: Key[Array, " replicate"],
    *,
    units: int,
) -> tuple[list[Layer], Population]:
    """Units of the prior in every layer, whose kernels below the last are `kernels`."""

    def one(key: PRNGKeyArray) -> tuple[list[Layer], Population]:
        layers = list[Layer]()
        rank = problem.root.shape[1]
        for kernel in kernels:
            key, here, later = jax.random.split(key, 3)
            coordinates = jax.random.normal(here, (units, rank), problem.root.dtype)
            step = jnp.log(jnp.asarray(0.5 * rank**-0.25, problem.root.dtype))
            weights = even_log_weights(units, problem.root.dtype)
            layers.append(Layer(coordinates, weights, kernel, jnp.zeros_like(kernel), step, later))
            rank = len(kernel)
        last = problem if len(kernels) == 0 else problem._replace(root=root_of(kernels[-1]))
        return layers, initial_population(last, units, key)

    return jax.vmap(one)(keys)


@partial(jax.jit, static_argnames=("activation",))
def sweep(
    problem: Problem, layers: list[Layer], top: Population, rates: Rates, *, activation: Activation
) -> tuple[list[Layer], Population, list[LayerMoments], Moments]:
    """One sweep of every replicate."""
    return jax.vmap(lambda low, high: _sweep(problem, low, high, rates, activation))(layers, top)
