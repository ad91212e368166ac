"""Whether the lanes of a device run all at once or one after another: measured, since it depends on the machine and the network."""

import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hiddencodes.sampling import processes
from hiddencodes.sampling.lanes import Batching, Lanes
from hiddencodes.sampling.target import Density, Target

# Shorter runs do not earn back what the measurement costs, two small compilations.
LEAST_ITERATIONS = 1000
# The default of the platform is left only for something clearly faster, so that noise does not decide.
_MARGIN = 0.9
_SECONDS = 0.05
# Choices by what they depend on: another seed or other data of the same shapes neither measure nor compile again.
_chosen: dict[Any, Batching] = {}


@partial(jax.jit, static_argnames=("how", "target"))
def _gradients(how: Lanes, target: Target, repeats: Any, q: Any, data: Any, beta: Any) -> Any:
    def lane(q: Any, data: Any, beta: Any, repeats: Any) -> Any:
        value_and_grad = jax.value_and_grad(Density(target, data, jnp.ones_like(q), beta))

        def body(_: Any, carry: Any) -> Any:
            q, total = carry
            value, gradient = value_and_grad(q)
            return q + jnp.asarray(1e-6, q.dtype) * gradient, total + value

        return jax.lax.fori_loop(0, repeats, body, (q, jnp.zeros((), q.dtype)))

    return how.over(lane, "lane", "seed", "seed", "shared")(q, data, beta, repeats)


def faster_batching(target: Target, data: Any, beta: np.ndarray, chains: int, dtype: Any) -> Batching:
    """The faster way to compute gradients of the lanes of one device.

    Args:
        target: What is sampled.
        data: Its data, with a leading seed axis.
        beta: 1/T of every seed.
        chains: Chains of a seed on one device.
        dtype: Floating-point type.
    """
    shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(data))
    device = jax.local_devices()[0]
    subject = (target, shapes, chains, str(dtype), device.platform, device.device_kind)
    if subject not in _chosen:
        _chosen[subject] = processes.agreed(_measured, target, data, beta, chains, dtype)
    return _chosen[subject]


def _measured(target: Target, data: Any, beta: np.ndarray, chains: int, dtype: Any) -> Batching:
    usual: Batching = "loop" if jax.default_backend() == "cpu" else "vmap"
    other: Batching = "vmap" if usual == "loop" else "loop"
    if chains * len(beta) == 1:
        return usual
    rng = np.random.default_rng(0)
    q = jnp.asarray(rng.standard_normal((len(beta), chains, target.dimension)), dtype)
    scaled = jnp.asarray(beta, dtype)

    def seconds(batching: Batching, repeats: int) -> float:
        begin = time.perf_counter()
        jax.block_until_ready(_gradients(Lanes(batching), target, np.int32(repeats), q, data, scaled))
        return time.perf_counter() - begin

    for batching in (usual, other):
        seconds(batching, 1)
    repeats = max(1, min(64, int(_SECONDS / seconds(usual, 1))))
    times = {usual: float("inf"), other: float("inf")}
    for _ in range(3):
        for batching in (usual, other):
            times[batching] = min(times[batching], seconds(batching, repeats))
    return other if times[other] < _MARGIN * times[usual] else usual
