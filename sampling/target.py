"""What the engine samples: a standard Gaussian prior times a tempered likelihood, in flat whitened coordinates."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hiddencodes.models.likelihood import Likelihood
from hiddencodes.models.mlp import MLP, Params, weight_shapes
from hiddencodes.models.posterior import PosteriorData, train_loss
from hiddencodes.sampling.observables import Context, Observable


@runtime_checkable
class Target(Protocol):
    """A density ``exp(-|q|^2/2 - loss(q, data)/T)`` over flat coordinates q, and what is recorded of q.

    Targets are hashable and compare by value: equal targets share compiled programs. Everything that may change between
    runs of one program is in ``data``, a pytree of arrays.
    """

    @property
    def dimension(self) -> int:
        """Number of coordinates D."""
        ...

    def groups(self) -> Int[np.ndarray, " dimension"]:
        """Which coordinates are exchangeable: equal numbers share one entry of the metric."""
        ...

    def loss(self, q: Float[Array, " dimension"], data: Any) -> Float[Array, ""]:
        """The loss whose 1/T-multiple is the negative log-likelihood."""
        ...

    def observe(self, q: Float[Array, " dimension"], data: Any) -> dict[str, Array]:
        """The named quantities stored for a draw."""
        ...


def log_density(
    target: Target, data: Any, scale: Float[Array, " dimension"], inverse_temperature: Float[Array, ""]
) -> Callable[[Array], Array]:
    """The log-density in preconditioned coordinates u with ``q = scale * u``."""

    def function(u: Float[Array, " dimension"]) -> Float[Array, ""]:
        q = scale * u
        return -0.5 * jnp.vdot(q, q) - inverse_temperature * target.loss(q, data)

    return function


@dataclass(frozen=True)
class NetworkTarget:
    """The posterior of a network's weights in coordinates whitened by the prior, ``weight = std * q``.

    Attributes:
        mlp: The network.
        likelihood: The likelihood.
        observables: What is recorded.
    """

    mlp: MLP
    likelihood: Likelihood
    observables: tuple[Observable, ...]

    @property
    def dimension(self) -> int:
        """Number of weights and biases."""
        return self.mlp.n_parameters

    def groups(self) -> Int[np.ndarray, " dimension"]:
        """Permuting hidden units exchanges all weights of one input, of one layer between hidden layers, of one output."""
        ids: dict[str, dict[str, np.ndarray]] = {}
        used = 0
        for shape in self.mlp.layers():
            ids[shape.name] = {}
            for leaf, leaf_shape in weight_shapes(self.mlp)[shape.name].items():
                group = np.zeros(leaf_shape.shape, int)
                if leaf == "kernel" and shape.index == 0:
                    group = group + np.arange(shape.fan_in)[:, None]
                elif leaf == "kernel" and shape.index == self.mlp.depth:
                    group = group + np.arange(shape.fan_out)[None, :]
                ids[shape.name][leaf] = used + group
                used += int(group.max()) + 1
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(ids)])

    def params(self, q: Float[Array, " dimension"], data: PosteriorData) -> Params:
        """The weights at q."""
        leaves, structure = jax.tree.flatten(weight_shapes(self.mlp))
        ends = np.cumsum([leaf.size for leaf in leaves])
        pieces = [
            q[end - leaf.size : end].reshape(leaf.shape) for leaf, end in zip(leaves, ends, strict=True)
        ]
        weights: Params = jax.tree.unflatten(structure, pieces)
        return jax.tree.map(lambda leaf, s: leaf * s, weights, data.prior_std)

    def loss(self, q: Float[Array, " dimension"], data: PosteriorData) -> Float[Array, ""]:
        """The training loss."""
        return train_loss(self.mlp, self.likelihood, self.params(q, data), data)[0]

    def observe(self, q: Float[Array, " dimension"], data: PosteriorData) -> dict[str, Array]:
        """All observables at q, from one forward pass."""
        params = self.params(q, data)
        loss, activations = train_loss(self.mlp, self.likelihood, params, data)
        context = Context(self.mlp, self.likelihood, params, data, activations, loss)
        return {observable.name: observable.function(context) for observable in self.observables}
