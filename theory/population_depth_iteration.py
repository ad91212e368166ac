"""The stages in which the populations of all layers relax to their saddle point and average over it, driven from the host."""

# JAX leaves parts of its signatures untyped; this file calls little else.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hiddencodes.models.activations import Activation
from hiddencodes.theory.population_depth_sweep import Layer, Rates, root_of, start, sweep
from hiddencodes.theory.population_setup import kernels_from_sums
from hiddencodes.theory.population_sweep import Population, Problem

# t follows K and K follows A: each much faster than the next.
_KERNEL_RATE, _COUPLING_RATE = 0.5, 0.05
# In the averaging stage the rates of K and A fall to half after this many sweeps, and as 1/k in the end.
_KERNEL_SWEEPS, _COUPLING_SWEEPS = 8.0, 40.0


class DeepSolution(NamedTuple):
    """Replicates at the saddle point, in double precision on the host.

    Attributes:
        activation: φ.
        k_input: K_0.
        roots: Of every layer R with R Rᵀ = K_(l-1), (replicate, pattern, coordinate).
        coordinates: Of every layer ξ of the units after the last sweep, z = R ξ, (replicate, unit, coordinate).
        weights: Of every layer, (replicate, unit).
        multiplier: t of every group, (replicate, group, output).
        residual: Means over the averaging stage, like what follows, (replicate, group, output).
        readout_overlap: (replicate, output, output).
        kernels: ⟨φφᵀ⟩, (replicate, layer, pattern, pattern).
        couplings: What the layers above ask for, (replicate, lower_layer, pattern, pattern).
        used_kernels: K_l below the last layer as the layers above used it at the end.
        used_couplings: A_l at the end.
        codes: Of every layer the weight of every code, (replicate, code).
        acceptance: Mean acceptance of the last layer's trajectories.
    """

    activation: Activation
    k_input: Float[np.ndarray, "pattern pattern"]
    roots: list[np.ndarray]
    coordinates: list[np.ndarray]
    weights: list[np.ndarray]
    multiplier: Float[np.ndarray, "replicate group output"]
    residual: Float[np.ndarray, "replicate group output"]
    readout_overlap: Float[np.ndarray, "replicate output output"]
    kernels: Float[np.ndarray, "replicate layer pattern pattern"]
    couplings: Float[np.ndarray, "replicate lower_layer pattern pattern"]
    used_kernels: Float[np.ndarray, "replicate lower_layer pattern pattern"]
    used_couplings: Float[np.ndarray, "replicate lower_layer pattern pattern"]
    codes: list[np.ndarray]
    acceptance: float


def _host(leaf: Array) -> np.ndarray:
    return np.asarray(leaf, np.float64)


def _rates(dtype: np.dtype, k: int | None) -> Rates:
    """Of the sweep k of the averaging stage; before that stage without k."""
    if k is None:
        rates = (_KERNEL_RATE, _COUPLING_RATE, 1.0, 0.0)
    else:
        kernel, coupling = (
            _KERNEL_RATE / (1 + k / _KERNEL_SWEEPS),
            _COUPLING_RATE / (1 + k / _COUPLING_SWEEPS),
        )
        rates = (kernel, coupling, 2.0 / (k + 2.0), (k + 1.0) / (k + 2.0))
    return Rates(*(jnp.asarray(each, dtype) for each in rates))


def solve_deep(
    activation: Activation,
    *,
    root: Float[np.ndarray, "pattern coordinate"],
    k_input: Float[np.ndarray, "pattern pattern"],
    prior: Float[np.ndarray, "lower_layer pattern pattern"],
    groups: Int[np.ndarray, " pattern"],
    y: Float[np.ndarray, "pattern output"],
    readout_variance: float,
    n_temperature: float,
    averaging: Float[np.ndarray, "pattern cls"],
    threshold: float,
    units: int,
    replicates: int,
    relaxation: int,
    sweeps: int,
    key: int,
    double: bool,
) -> DeepSolution:
    """Relax the populations of all layers from the prior, whose kernels are `prior`, and average over `sweeps` of them.

    The arguments are those of `hiddencodes.theory.population_depth.deep_unit_monte_carlo`.
    """
    sizes = np.bincount(groups).astype(np.float64)
    member = (groups[:, None] == np.arange(len(sizes))).astype(np.float64)
    with jax.enable_x64(double):
        problem = Problem(
            root=jnp.asarray(root),
            groups=jnp.asarray(member),
            sizes=jnp.asarray(sizes),
            targets=jnp.asarray(member.T @ y / sizes[:, None]),
            readout_variance=jnp.asarray(float(readout_variance)),
            n_temperature=jnp.asarray(float(n_temperature)),
            averaging=jnp.asarray(averaging),
            threshold=jnp.asarray(float(threshold)),
        )
        keys = jax.random.split(jax.random.key(key), replicates)
        layers, top = start(problem, jnp.asarray(prior), keys, units=units)
        dtype = problem.root.dtype
        for _ in range(relaxation):
            layers, top, _, _ = sweep(problem, layers, top, _rates(dtype, None), activation=activation)
        first = sweeps // 4
        rates = _rates(dtype, 0)
        layers, top, lower, last = sweep(problem, layers, top, rates, activation=activation)
        leaves, structure = jax.tree.flatten((lower, last))
        total = [np.zeros(leaf.shape) for leaf in leaves]
        for k in range(1, sweeps):
            layers, top, *asked = sweep(problem, layers, top, _rates(dtype, k), activation=activation)
            if k >= first:
                total = [old + _host(new) for old, new in zip(total, jax.tree.leaves(asked), strict=True)]
        lower, last = jax.tree.unflatten(structure, [each / (sweeps - first) for each in total])
        roots = [np.broadcast_to(root, (replicates, *root.shape))]
        roots += [_host(jax.vmap(root_of)(each.kernel)) for each in layers]
    everyone: list[Layer | Population] = [*layers, top]
    below = (replicates, len(layers), len(y), len(y))
    last_kernel = kernels_from_sums(last.second, last.squares, groups)
    return DeepSolution(
        activation=activation,
        k_input=k_input,
        roots=roots,
        coordinates=[_host(each.coordinates) for each in everyone],
        weights=[np.exp(_host(each.log_weights)) for each in everyone],
        multiplier=_host(top.multiplier),
        residual=last.residual,
        readout_overlap=last.readout_overlap,
        kernels=np.stack([*(each.kernel for each in lower), last_kernel], axis=1),
        couplings=_stacked([each.coupling for each in lower], below),
        used_kernels=_stacked([_host(each.kernel) for each in layers], below),
        used_couplings=_stacked([_host(each.coupling) for each in layers], below),
        codes=[*(each.codes for each in lower), last.codes],
        acceptance=float(np.mean(last.acceptance)),
    )


def _stacked(matrices: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    return np.stack(matrices, axis=1) if matrices else np.zeros(shape)
