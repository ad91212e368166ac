"""What cannot be faster: a bare gradient and, of the device, a large matrix product and a large triad.

    python benchmarks/speed/ceilings.py

prints the latter two. `work` says what XLA counts of a program: floating-point operations, and bytes that its operations read and write.
"""

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# Large enough to leave all caches, small enough for a laptop.
_MATRIX = {"cpu": 1536, "other": 8192}
_VECTOR = {"cpu": 1 << 24, "other": 1 << 28}


class Cost(NamedTuple):
    """What drawing took. Executed gradients include those of lanes that only wait; ``fixed_cpu`` is taken out of ``cpu``."""

    cpu: float
    wall: float
    useful: int
    executed: int
    fixed_cpu: float = 0.0


def clocked(function: Callable[..., Any], *args: Any) -> tuple[Any, float, float]:
    """What a function returns when its arrays are ready, with CPU and wall seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = jax.block_until_ready(function(*args))
    return result, time.process_time() - cpu, time.perf_counter() - wall


def bare(function: Callable[[Any], jax.Array], start: Any, how: str, steps: int) -> Callable[[int], Cost]:
    """That many values and gradients of every chain, each at a place that depends on the one before.

    Args:
        function: Of a position.
        start: Positions of all chains.
        how: ``"vmap"`` (chains at once) or ``"loop"`` (one after another).
        steps: Gradients of a chain.
    """
    chains = len(jax.tree.leaves(start)[0])
    value_and_grad = jax.value_and_grad(function)
    over = jax.vmap(value_and_grad) if how == "vmap" else lambda q: jax.lax.map(value_and_grad, q)

    @jax.jit
    def run(q: Any) -> Any:
        def body(carry: Any, _: None) -> tuple[Any, None]:
            q, total = carry
            value, gradient = over(q)
            return (jax.tree.map(lambda a, g: a + np.float32(1e-6) * g, q, gradient), total + value), None

        return jax.lax.scan(body, (q, jnp.zeros(chains)), None, steps)[0]

    jax.block_until_ready(run(start))
    return lambda number: Cost(*clocked(run, start)[1:], chains * steps, chains * steps)


def normals(chains: int, dimension: int, steps: int) -> Callable[[int], Cost]:
    """That many standard normal vectors for every chain, and nothing else."""

    @jax.jit
    def run(key: jax.Array) -> jax.Array:
        def body(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
            one = lambda key: jax.random.normal(key, (dimension,), jnp.float32)
            return total + jax.vmap(one)(jax.random.split(key, chains)), None

        return jax.lax.scan(body, jnp.zeros((chains, dimension)), jax.random.split(key, steps))[0]

    jax.block_until_ready(run(jax.random.key(0)))
    return lambda number: Cost(*clocked(run, jax.random.key(number))[1:], chains * steps, chains * steps)


def _fastest(function: Callable[..., Any], *args: Any, seconds: float) -> float:
    """The shortest time of a call: what the device can do when nothing disturbs it."""
    jax.block_until_ready(function(*args))
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        jax.block_until_ready(function(*args))
        best = min(best, time.perf_counter() - begin)
    return best


def _triad(a: jax.Array, b: jax.Array) -> jax.Array:
    return a + np.float32(1.5) * b


def ceilings(seconds: float = 1.0) -> dict[str, float]:
    """Floating-point operations and bytes per second of the first device, in single precision.

    The matrix product is measured as samplers compute, with all bits of its factors (``flops_per_second``), and as the device
    likes it best (``flops_per_second_default_precision``: accelerators round the factors).

    Args:
        seconds: How long each measurement may take.
    """
    kind = "cpu" if jax.default_backend() == "cpu" else "other"
    n, length = _MATRIX[kind], _VECTOR[kind]
    square = jax.random.normal(jax.random.key(0), (n, n), jnp.float32)
    a, b = jax.random.normal(jax.random.key(1), (2, length), jnp.float32)

    def product(precision: str) -> float:
        function = jax.jit(partial(jnp.matmul, precision=precision))
        return 2.0 * n**3 / _fastest(function, square, square, seconds=seconds)

    return {
        "flops_per_second": product("highest"),
        "flops_per_second_default_precision": product("default"),
        # Two vectors are read and one is written.
        "bytes_per_second": 3 * 4.0 * length / _fastest(jax.jit(_triad), a, b, seconds=seconds),
    }


def work(function: Callable[..., Any], *args: Any) -> dict[str, float]:
    """What XLA counts of one call of a function: ``flops`` and ``bytes``.

    A loop's body is counted once, whatever the number of its iterations: count one iteration.
    """
    counted = jax.jit(function).lower(*args).compile().cost_analysis()
    return {"flops": float(counted["flops"]), "bytes": float(counted["bytes accessed"])}


if __name__ == "__main__":
    print(json.dumps(ceilings(), indent=1))
