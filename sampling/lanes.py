"""How a program runs its lanes: batched or one after another within a device, in equal parts on all devices of all processes.

A lane is one chain of one seed. Arrays of lanes are (seed, chain, ...); chains lie on the axis ``chain`` of a mesh of devices, and a
second axis ``pattern`` may hold the training patterns of very large tasks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

Batching = Literal["vmap", "loop"]
# What an argument is to the lanes: every lane has its own, every seed has its own, all share it.
Axis = Literal["lane", "seed", "shared"]


def lane_waste(n_steps: np.ndarray) -> float:
    """Share of the gradients that are computed for nothing where all lanes move together: the others wait for the longest trajectory.

    Args:
        n_steps: Steps of every trajectory (seed, chain, draw).

    Example:
        >>> lane_waste(np.array([[[4, 2], [2, 2]]]))
        0.16666666666666663
    """
    longest = n_steps.max(axis=(0, 1))
    return 1.0 - float(n_steps.mean() / max(float(longest.mean()), 1.0))


_BY_CHAIN, _WHOLE = PartitionSpec(None, "chain"), PartitionSpec()


@dataclass(frozen=True)
class Lanes:
    """Where and how lanes run. Compiled programs are shared between runs whose lanes compare equal.

    Attributes:
        batching: ``"vmap"`` (all lanes of a device at once) or ``"loop"`` (one after another; on a CPU a lane's arrays then
            stay in its caches).
        mesh: Devices (chain, pattern); None for one device.
    """

    batching: Batching = "vmap"
    mesh: Mesh | None = None

    @property
    def devices(self) -> int:
        """How many devices hold chains or patterns."""
        return 1 if self.mesh is None else self.mesh.size

    @property
    def parts(self) -> int:
        """In how many parts the chains are."""
        return 1 if self.mesh is None else self.mesh.shape["chain"]

    @property
    def processes(self) -> int:
        """How many processes hold chains."""
        return 1 if self.mesh is None else len({d.process_index for d in self.mesh.devices.flat})

    def over(self, function: Callable[..., Any], *axes: Axis) -> Callable[..., Any]:
        """A function of one lane as one of all lanes, whose results lead with (seed, chain).

        Args:
            function: Of one lane.
            axes: What each of its arguments is to the lanes.
        """
        local = _loop(function, axes) if self.batching == "loop" else _batch(function, axes)
        if self.mesh is None:
            return local
        specs = tuple(_BY_CHAIN if axis == "lane" else _WHOLE for axis in axes)
        # Patterns that are divided are left to the compiler, which adds up what devices know of a sum over them.
        manual = {"chain"} if self.mesh.shape["pattern"] > 1 else {"chain", "pattern"}
        return jax.shard_map(
            local, mesh=self.mesh, in_specs=specs, out_specs=_BY_CHAIN, axis_names=manual, check_vma=False
        )

    def gather(self, tree: Any) -> Any:
        """Inside a program: all lanes on every device.

        What is pooled over chains is gathered first and then added up on every device in the order of one device, so that the
        number of devices does not change a single bit of it.
        """
        return tree if self.mesh is None else _constrain(tree, NamedSharding(self.mesh, _WHOLE))

    def scatter(self, tree: Any) -> Any:
        """Inside a program: every lane on its device."""
        return tree if self.mesh is None else _constrain(tree, NamedSharding(self.mesh, _BY_CHAIN))

    def spread(self, tree: Any) -> Any:
        """Arrays on the host, the same in all processes, as arrays whose lanes are on their devices."""
        return tree if self.mesh is None else _put(tree, NamedSharding(self.mesh, _BY_CHAIN))

    def repeat(self, tree: Any) -> Any:
        """Arrays on the host, the same in all processes, as arrays that every device has all of."""
        return tree if self.mesh is None else _put(tree, NamedSharding(self.mesh, _WHOLE))

    def repeat_data(self, data: Any) -> Any:
        """A posterior's arrays (seed, ...) on every device; if patterns have an axis, arrays (seed, pattern, ...) are divided along it."""
        if self.mesh is None or self.mesh.shape["pattern"] == 1:
            return self.repeat(data)
        n_train = data.x_train.shape[1]
        divided = NamedSharding(self.mesh, PartitionSpec(None, "pattern"))
        whole = NamedSharding(self.mesh, _WHOLE)

        def put(leaf: Any) -> Any:
            by_pattern = np.ndim(leaf) > 1 and np.shape(leaf)[1] == n_train
            return _put(leaf, divided if by_pattern else whole)

        return jax.tree.map(put, data)

    def own(self, chains: int) -> slice:
        """The chains that live in this process."""
        if self.processes == 1:
            return slice(0, chains)
        each = chains // self.processes
        return slice(jax.process_index() * each, (jax.process_index() + 1) * each)

    def to_host(self, tree: Any, *, copy: bool = True) -> Any:
        """The lanes of this process, (seed, own chain, ...), or arrays that all processes have.

        Args:
            tree: Arrays on devices.
            copy: Whether arrays are copied: a program that is given an array to work in overwrites it.
        """
        return jax.tree.map(lambda leaf: _to_host(leaf, copy), tree)


def _batch(function: Callable[..., Any], axes: tuple[Axis, ...]) -> Callable[..., Any]:
    chains = jax.vmap(function, in_axes=tuple(0 if axis == "lane" else None for axis in axes))
    return jax.vmap(chains, in_axes=tuple(None if axis == "shared" else 0 for axis in axes))


def _loop(function: Callable[..., Any], axes: tuple[Axis, ...]) -> Callable[..., Any]:
    def over(inner: Callable[..., Any], mapped: tuple[bool, ...]) -> Callable[..., Any]:
        def run(*values: Any) -> Any:
            leaves, structure = jax.tree.flatten([v for m, v in zip(mapped, values, strict=True) if m])
            # Arrays without entries, such as an empty test set, stay outside: on several devices XLA crashes while it compiles a
            # loop over them (jaxlib 0.11.2).
            looped = [leaf for leaf in leaves if leaf.size]

            def one(own: list[Any]) -> Any:
                taken = iter(own)
                mine = [
                    next(taken) if leaf.size else jnp.zeros(leaf.shape[1:], leaf.dtype) for leaf in leaves
                ]
                of_this = iter(jax.tree.unflatten(structure, mine))
                return inner(*(next(of_this) if m else v for m, v in zip(mapped, values, strict=True)))

            return jax.lax.map(one, looped)

        return run

    chains = over(function, tuple(axis == "lane" for axis in axes))
    return over(chains, tuple(axis != "shared" for axis in axes))


def _constrain(tree: Any, sharding: NamedSharding) -> Any:
    return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, sharding), tree)


def _put(tree: Any, sharding: NamedSharding) -> Any:
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    def put(leaf: Any) -> Any:
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(put, tree)


def _to_host(leaf: Any, copy: bool) -> np.ndarray:
    if leaf.is_fully_addressable or leaf.is_fully_replicated:
        return np.array(leaf) if copy else np.asarray(leaf)
    # Devices of a process hold consecutive chains; with several pattern devices each part is there more than once.
    parts = {shard.index[1].start or 0: shard.data for shard in leaf.addressable_shards}
    return np.concatenate([np.asarray(parts[start]) for start in sorted(parts)], axis=1)


def lanes(chains: int, pattern_devices: int = 1, batching: Batching | None = None) -> Lanes:
    """Chains in equal parts on all devices of all processes, or on the largest number of them that divides the chains.

    One device where JAX was told which (``jax_default_device``).

    Args:
        chains: Chains per seed.
        pattern_devices: Devices that share the training patterns of the same chains.
        batching: How lanes run within a device; None for one after another on CPUs, all at once elsewhere.

    Raises:
        ValueError: If the devices cannot be divided so.

    Example:
        >>> lanes(1).devices
        1
    """
    if batching is None:
        batching = "loop" if jax.default_backend() == "cpu" else "vmap"
    if jax.config.jax_default_device is not None:
        return Lanes(batching)
    processes = jax.process_count()
    local = jax.local_device_count() // pattern_devices
    if local == 0:
        raise ValueError(
            f"pattern_devices: this process has {jax.local_device_count()} devices, got {pattern_devices!r}"
        )
    fitting = [n for n in range(1, local + 1) if chains % (n * processes) == 0]
    if not fitting:
        raise ValueError(
            f"chains: expected a multiple of the number of processes ({processes}), got {chains!r}"
        )
    used = fitting[-1] * pattern_devices
    if used * processes == 1:
        return Lanes(batching)
    by_process = [[d for d in jax.devices() if d.process_index == p][:used] for p in range(processes)]
    mesh = Mesh(np.array(by_process).reshape(processes * fitting[-1], pattern_devices), ("chain", "pattern"))
    return Lanes(batching, mesh)
