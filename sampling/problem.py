"""What posteriors mean to the compiled programs: a target, its arrays, and what a run says about both."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from hiddencodes.models import Posterior, PosteriorData, Reduced
from hiddencodes.models.likelihood import Likelihood
from hiddencodes.sampling import arguments
from hiddencodes.sampling.observables import Observable, default_observables
from hiddencodes.sampling.reduced_target import reduced_target
from hiddencodes.sampling.target import Network, NetworkTarget

Precision = Literal["float64", "float32"]


class Problem(NamedTuple):
    """Posteriors that share all but their data, as a target.

    Attributes:
        originals: The posteriors over all weights, one per seed.
        reduced: The same, reduced; empty where they are not.
        target: What is sampled.
    """

    originals: list[Posterior]
    reduced: list[Reduced]
    target: Network

    @property
    def likelihood(self) -> Likelihood:
        """The likelihood."""
        likelihood = self.originals[0].likelihood
        assert isinstance(likelihood, Likelihood)
        return likelihood

    @property
    def coordinates(self) -> str:
        """What the coordinates are, in words."""
        return self.reduced[0].description if self.reduced else "weights"

    def data(self, dtype: Any) -> PosteriorData:
        """The arrays of what is sampled, with a leading seed axis."""
        return stack_data([p.posterior for p in self.reduced] or self.originals, dtype)


def problem(
    posteriors: Sequence[Posterior] | Sequence[Reduced], observables: Sequence[Observable] | None
) -> Problem:
    """The target of posteriors, one per seed.

    Args:
        posteriors: Posteriors as `hiddencodes.sampling.arguments.posteriors` returns them.
        observables: What is stored of a draw; None for the default.
    """
    reduced = [p for p in posteriors if isinstance(p, Reduced)]
    originals = [p.original if isinstance(p, Reduced) else p for p in posteriors]
    first = originals[0]
    assert isinstance(first.likelihood, Likelihood)
    if observables is None:
        observables = default_observables(first.likelihood, first.task.n_test)
    recorded = arguments.observables(observables)
    target: Network = NetworkTarget(first.mlp, first.likelihood, recorded)
    if reduced:
        target = reduced_target(reduced, recorded)
    return Problem(originals, reduced, target)


@contextmanager
def numerics(precision: Precision) -> Generator[None]:
    """The floating-point types of a run, whatever JAX's defaults are.

    Accelerators round the factors of single-precision products to fewer bits unless told not to; at a low temperature that
    noise would decide every Metropolis test.
    """
    with jax.enable_x64(precision == "float64"), jax.default_matmul_precision("highest"):
        yield


def stack_data(posteriors: Sequence[Posterior], dtype: Any) -> PosteriorData:
    """The posteriors' arrays with a leading seed axis, floating-point ones in ``dtype``."""

    def stack(*leaves: Any) -> Any:
        array = np.stack([np.asarray(leaf) for leaf in leaves])
        return jnp.asarray(array, dtype if array.dtype.kind == "f" else np.int32)

    return jax.tree.map(stack, *(p.data() for p in posteriors))


def run_activations(target: Network, q: Any, data: PosteriorData, coords: dict[str, Any]) -> xr.Dataset:
    """Activations of every unit on every training pattern in single precision.

    Args:
        target: What was sampled.
        q: Whitened positions, (seed, chain, dimension).
        data: Its data.
        coords: Labels of every axis.
    """
    activations = _activations(target, q, data)
    dims = ("seed", "chain", "layer", "unit", "pattern")
    dataset = xr.Dataset({"activations": (dims, np.asarray(activations, np.float32))})
    return dataset.assign_coords({name: coords[name] for name in dims})


def _activations_(target: Network, q: Any, data: PosteriorData) -> Any:
    def of_lane(q: Any, data: PosteriorData) -> Any:
        return jnp.stack([h.T for h in target.hidden(q, data)])

    of_chain = jax.vmap(of_lane, in_axes=(0, None))
    return jax.vmap(of_chain)(q, data)


_activations = jax.jit(_activations_, static_argnums=0)
