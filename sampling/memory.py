"""How much memory a run will need, computed before anything is compiled."""

import math
from typing import Any, NamedTuple

import jax
import numpy as np
import psutil

from hiddencodes.models import MLP
from hiddencodes.sampling.lanes import Lanes
from hiddencodes.sampling.plan import Plan
from hiddencodes.sampling.sampler import Sampler
from hiddencodes.sampling.target import Network, Target

# Copies of a position that a lane holds at once: position, gradient, momentum and proposal for HMC-like kernels, more for
# NUTS, which keeps the ends of its subtrees; plus the adaptation's accumulators.
_COPIES, _COPIES_PER_DOUBLING, _ADAPTATION_COPIES = 12, 3, 5
# Weights, gradient, update and the optimizer's two moments, and what of them a step holds twice.
_COPIES_OF_TRAINING = 8
_ONE_DEVICE = Lanes()
# Matrices over patterns, and activations of the last layer, that a sweep of a move holds at once.
_MATRICES_OF_MOVES, _ACTIVATIONS_OF_MOVES = 4, 4


class MemoryBudget(NamedTuple):
    """Bytes that a run will need.

    Attributes:
        data: Training and test sets of all seeds.
        chains: Positions, gradients and adaptation of all lanes.
        activations: Forward and backward pass of all lanes.
        moves: What sweeps over the units of a layer hold, of all lanes.
        segment: Observables of one segment, on the device.
        trace: Observables of the whole run, on the host (0 when they are streamed to disk); all weights of a seed for
            NumPyro, which stores them.
        prior: The prior's kernels and the final activations, on the host.
        available: What the devices, or the machine if that is the device, have free.
    """

    data: int
    chains: int
    activations: int
    moves: int
    segment: int
    trace: int
    prior: int
    available: int

    @property
    def total(self) -> int:
        """Everything together."""
        return sum(self) - self.available

    def __str__(self) -> str:
        """One line for the terminal."""
        parts = ", ".join(
            f"{name} {getattr(self, name) / 1e6:.1f}" for name in self._fields if name != "available"
        )
        return f"memory: {self.total / 1e6:.1f} MB of {self.available / 1e6:.0f} MB free ({parts})"


def _bytes(tree: Any) -> int:
    return sum(int(math.prod(leaf.shape)) * np.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(tree))


def _available(devices: int) -> int:
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return devices * (int(stats["bytes_limit"]) - int(stats.get("bytes_in_use", 0)))
    return int(psutil.virtual_memory().available)


def draw_shapes(target: Target, data: Any, dtype: Any) -> dict[str, Any]:
    """Shapes and types of the observables of one draw of one lane."""
    one_seed = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), data)
    position = jax.ShapeDtypeStruct((target.dimension,), dtype)
    return jax.eval_shape(target.observe, position, one_seed, jax.random.key(0))


def draw_bytes(target: Any, data: Any, dtype: Any) -> int:
    """Bytes that one draw of one lane stores, on average."""
    shapes = draw_shapes(target, data, dtype)
    statistics = 4 * 8
    return statistics + sum(-(-_bytes(shapes[o.name]) // o.every) for o in target.observables)


def memory_budget(
    target: Network,
    data: Any,
    sampler: Sampler,
    plan: Plan,
    dtype: Any,
    *,
    streamed: bool,
    moves: bool = False,
    how: Lanes = _ONE_DEVICE,
) -> MemoryBudget:
    """The budget of a run.

    Args:
        target: What is sampled.
        data: Its data with leading seed axes.
        sampler: The kernel.
        plan: The sizes.
        dtype: Floating-point type.
        streamed: Whether draws go to disk segment by segment.
        moves: Whether there are sweeps; they run one after the other.
        how: Where and how lanes run: one after another they need the memory of one pass per device.
    """
    itemsize = np.dtype(dtype).itemsize
    mlp = target.mlp
    copies = _COPIES + _ADAPTATION_COPIES
    if sampler.name in ("nuts", "numpyro_nuts"):
        copies += _COPIES_PER_DOUBLING * sampler.max_steps.bit_length()
    patterns = data.x_train.shape[1] + data.x_test.shape[1]
    per_pattern = 4 * mlp.depth * mlp.width + mlp.n_outputs + mlp.n_inputs
    n_seeds, n_train = data.x_train.shape[:2]
    trace = 0 if streamed else plan.draws
    # Pre- and postactivation kernels and what computing them takes; then the activations at the last draw.
    prior = n_seeds * (mlp.depth + 4) * n_train**2 * 8 + plan.lanes * mlp.depth * mlp.width * n_train * (
        itemsize + 4
    )
    stored_weights = 0
    if sampler.name == "numpyro_nuts":
        # Samples as NumPyro returns them and their whitened copy.
        stored_weights = 2 * plan.chains * plan.draws * target.dimension * itemsize
    per_draw = draw_bytes(target, data, dtype) * plan.lanes
    swept = (_MATRICES_OF_MOVES * n_train + _ACTIVATIONS_OF_MOVES * mlp.width) * n_train if moves else 0
    at_once = plan.lanes if how.batching == "vmap" else how.devices
    return MemoryBudget(
        data=how.devices * _bytes(data),
        chains=copies * target.dimension * itemsize * plan.lanes,
        activations=patterns * per_pattern * itemsize * at_once,
        moves=swept * itemsize * at_once,
        segment=2 * plan.capacity * per_draw,
        trace=trace * per_draw + stored_weights,
        prior=prior,
        available=_available(how.devices),
    )


def training_budget(
    target: Target, mlp: MLP, data: Any, plan: Plan, dtype: Any, *, streamed: bool, how: Lanes
) -> MemoryBudget:
    """The budget of trained ensembles.

    Args:
        target: What is trained.
        mlp: Its network.
        data: Its training data with leading seed axes.
        plan: The sizes.
        dtype: Floating-point type.
        streamed: Whether snapshots go to disk segment by segment.
        how: Where and how lanes run.
    """
    itemsize = np.dtype(dtype).itemsize
    per_draw = draw_bytes(target, data, dtype) * plan.lanes
    # Snapshots pass through the whole training and test set, whatever the size of a step.
    patterns = data.posterior.x_train.shape[1] + data.posterior.x_test.shape[1]
    per_pattern = 4 * mlp.depth * mlp.width + mlp.n_outputs + mlp.n_inputs
    return MemoryBudget(
        data=how.devices * _bytes(data),
        chains=_COPIES_OF_TRAINING * target.dimension * itemsize * plan.lanes,
        activations=patterns
        * per_pattern
        * itemsize
        * (plan.lanes if how.batching == "vmap" else how.devices),
        moves=0,
        segment=2 * plan.capacity * per_draw,
        trace=0 if streamed else plan.draws * per_draw,
        prior=0,
        available=_available(how.devices),
    )


def check(budget: MemoryBudget, limit: int | None) -> None:
    """Refuse a run that does not fit.

    Args:
        budget: The run's budget.
        limit: Bytes allowed; None for all that is free.

    Raises:
        MemoryError: If the run needs more.
    """
    allowed = budget.available if limit is None else limit
    if budget.total > allowed:
        raise MemoryError(
            f"the run needs about {budget.total / 1e9:.2f} GB and may use {allowed / 1e9:.2f} GB; {budget}. Fewer chains, "
            "networks, seeds or draws, thinning, fewer observables or out= (draws go to disk) make it smaller"
        )
