"""Where the chains of a run live: in equal parts on all devices of this process."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


class Layout(NamedTuple):
    """How arrays are laid out on devices; with one device they stay as they are.

    Attributes:
        by_chain: Of arrays (seed, chain, ...); None on one device.
        whole: Of arrays that every device has all of.
    """

    by_chain: NamedSharding | None
    whole: NamedSharding | None

    @property
    def devices(self) -> int:
        """How many devices hold chains."""
        return 1 if self.by_chain is None else self.by_chain.mesh.size

    def spread(self, tree: Any) -> Any:
        """Arrays (seed, chain, ...) with their chains on their devices; nothing moves that is there."""
        return tree if self.by_chain is None else jax.device_put(tree, self.by_chain)

    def repeat(self, tree: Any) -> Any:
        """Arrays that every device needs."""
        return tree if self.whole is None else jax.device_put(tree, self.whole)


def layout(chains: int) -> Layout:
    """As many devices as divide the number of chains of a seed; one where JAX was told which (``jax_default_device``).

    Example:
        >>> layout(1).devices
        1
    """
    devices = jax.local_devices()
    if jax.config.jax_default_device is not None:
        return Layout(None, None)
    used = max(n for n in range(1, len(devices) + 1) if chains % n == 0)
    if used == 1:
        return Layout(None, None)
    mesh = Mesh(np.array(devices[:used]), ("chain",))
    return Layout(NamedSharding(mesh, PartitionSpec(None, "chain")), NamedSharding(mesh, PartitionSpec()))
