"""What the engine samples: a standard Gaussian prior times a tempered likelihood, in flat whitened coordinates."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from hiddencodes.models.likelihood import Likelihood
from hiddencodes.models.mlp import MLP, Params, weight_shapes
from hiddencodes.models.posterior import PosteriorData, train_loss
from hiddencodes.sampling.observables import Context, Observable

Shapes = dict[str, dict[str, jax.ShapeDtypeStruct]]


@runtime_checkable
class Target(Protocol):
    """A density ``exp(-|q|^2/2) x likelihood(q, data)^(1/T)`` over flat coordinates q, and what is recorded of q.

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

    def log_likelihood(
        self, q: Float[Array, " dimension"], data: Any, inverse_temperature: Float[Array, ""]
    ) -> Float[Array, ""]:
        """The log-likelihood at temperature T, of which whatever does not depend on q may be left out."""
        ...

    def observe(self, q: Float[Array, " dimension"], data: Any, key: PRNGKeyArray) -> dict[str, Array]:
        """The named quantities stored for a draw; with the key, coordinates that are not sampled are drawn."""
        ...


@runtime_checkable
class Network(Target, Protocol):
    """A target that is a network: what `hiddencodes.sampling.sample` samples."""

    @property
    def mlp(self) -> MLP:
        """The network."""
        ...

    @property
    def observables(self) -> tuple[Observable, ...]:
        """What is recorded."""
        ...

    def shapes(self) -> Shapes:
        """The shapes of the weights that are sampled."""
        ...

    def prior_std(self, data: PosteriorData) -> Any:
        """Weights per unit of q: a number for every array of weights that is sampled."""
        ...

    def log_likelihood_of(
        self, params: Params, data: PosteriorData, inverse_temperature: Float[Array, ""]
    ) -> Float[Array, ""]:
        """The log-likelihood of weights, ``log_likelihood(q)`` with ``params = prior_std * q``."""
        ...

    def hidden(self, q: Float[Array, " dimension"], data: PosteriorData) -> tuple[Array, ...]:
        """Activations of every hidden layer on the training patterns, (pattern, unit) each."""
        ...


def recorded(target: Target) -> tuple[tuple[int, Target], ...]:
    """What is stored every k-th draw, for every k: the target with those observables only."""
    observables: tuple[Observable, ...] | None = getattr(target, "observables", None)
    if observables is None:
        return ((1, target),)
    intervals = sorted({o.every for o in observables})
    chosen = {k: tuple(o for o in observables if o.every == k) for k in intervals}
    return tuple((k, cast("Target", replace(cast("Any", target), observables=chosen[k]))) for k in intervals)


def observed_names(target: Target) -> tuple[str, ...]:
    """Names of the observables of a target that says what they are."""
    observables: tuple[Observable, ...] = getattr(target, "observables", ())
    return tuple(o.name for o in observables)


class Density(NamedTuple):
    """The log-density in preconditioned coordinates u with ``q = scale * u``: a function of u that says what it is made of.

    Attributes:
        target: What is sampled.
        data: Its data.
        scale: The metric.
        inverse_temperature: 1/T.
    """

    target: Target
    data: Any
    scale: Float[Array, " dimension"]
    inverse_temperature: Float[Array, ""]

    def __call__(self, u: Float[Array, " dimension"]) -> Float[Array, ""]:
        """The log-density at u."""
        q = self.scale * u
        return -0.5 * jnp.vdot(q, q) + self.target.log_likelihood(q, self.data, self.inverse_temperature)


def exchangeable(mlp: MLP, shapes: Shapes) -> Int[np.ndarray, " dimension"]:
    """Permuting hidden units exchanges all weights of one input, of one layer between hidden layers, of one output."""
    ids: dict[str, dict[str, np.ndarray]] = {}
    used = 0
    for shape in mlp.layers():
        if shape.name not in shapes:
            continue
        ids[shape.name] = {}
        for leaf, leaf_shape in shapes[shape.name].items():
            group = np.zeros(leaf_shape.shape, int)
            if leaf == "kernel" and shape.index == 0:
                group = group + np.arange(leaf_shape.shape[0])[:, None]
            elif leaf == "kernel" and shape.index == mlp.depth:
                group = group + np.arange(shape.fan_out)[None, :]
            ids[shape.name][leaf] = used + group
            used += int(group.max()) + 1
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(ids)])


def flatten(weights: Any) -> Float[Array, " dimension"]:
    """The inverse of `unflatten`."""
    return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(weights)])


def unflatten(shapes: Shapes, q: Float[Array, " dimension"]) -> Params:
    """A flat vector as weights of these shapes."""
    leaves, structure = jax.tree.flatten(shapes)
    ends = np.cumsum([leaf.size for leaf in leaves])
    pieces = [q[end - leaf.size : end].reshape(leaf.shape) for leaf, end in zip(leaves, ends, strict=True)]
    weights: Params = jax.tree.unflatten(structure, pieces)
    return weights


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

    def shapes(self) -> Shapes:
        """The shapes of all weights."""
        return weight_shapes(self.mlp)

    def groups(self) -> Int[np.ndarray, " dimension"]:
        """See `exchangeable`."""
        return exchangeable(self.mlp, weight_shapes(self.mlp))

    def prior_std(self, data: PosteriorData) -> Any:
        """Weights per unit of q."""
        return data.prior_std

    def params(self, q: Float[Array, " dimension"], data: PosteriorData) -> Params:
        """The weights at q."""
        return jax.tree.map(jnp.multiply, unflatten(weight_shapes(self.mlp), q), self.prior_std(data))

    def log_likelihood(
        self, q: Float[Array, " dimension"], data: PosteriorData, inverse_temperature: Float[Array, ""]
    ) -> Float[Array, ""]:
        """Minus the training loss over the temperature."""
        return self.log_likelihood_of(self.params(q, data), data, inverse_temperature)

    def log_likelihood_of(
        self, params: Params, data: PosteriorData, inverse_temperature: Float[Array, ""]
    ) -> Float[Array, ""]:
        """Minus the training loss of weights over the temperature."""
        return -inverse_temperature * train_loss(self.mlp, self.likelihood, params, data)[0]

    def hidden(self, q: Float[Array, " dimension"], data: PosteriorData) -> tuple[Array, ...]:
        """Activations of every hidden layer on the training patterns, (pattern, unit) each."""
        return self.mlp.apply(self.params(q, data), jnp.asarray(data.x_train)).postactivations

    def observe(
        self, q: Float[Array, " dimension"], data: PosteriorData, key: PRNGKeyArray
    ) -> dict[str, Array]:
        """All observables at q, from one forward pass. Every weight is sampled: the key is not used."""
        del key
        return observe(self, self.params(q, data), data)


def observe(
    network: NetworkTarget, params: Params, data: PosteriorData, inputs: Array | None = None
) -> dict[str, Array]:
    """All observables of given weights; ``inputs`` as in `Context`, the training patterns if None."""
    loss, activations = train_loss(network.mlp, network.likelihood, params, data)
    read = jnp.asarray(data.x_train) if inputs is None else inputs
    context = Context(network.mlp, network.likelihood, params, data, activations, loss, read)
    values = {observable.name: observable.function(context) for observable in network.observables}
    return {o.name: values[o.name].astype(o.dtype or values[o.name].dtype) for o in network.observables}
