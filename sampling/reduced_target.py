"""A reduced posterior as a target: what is not sampled is drawn when a draw is recorded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from hiddencodes.models.likelihood import Likelihood
from hiddencodes.models.mlp import MLP, Activations, Params, weight_shapes
from hiddencodes.models.posterior import PosteriorData
from hiddencodes.models.readout_regression import draw_readout, readout_evidence, readout_weight
from hiddencodes.models.reductions import Reduced
from hiddencodes.sampling.observables import Observable
from hiddencodes.sampling.target import NetworkTarget, Shapes, exchangeable, observe, unflatten

# Off-diagonal inputs smaller than this, relative to the diagonal, are rounding.
_DIAGONAL = 1e-12


@dataclass(frozen=True)
class ReducedTarget:
    """A `hiddencodes.models.reductions.Reduced` posterior in coordinates whitened by the prior.

    Attributes:
        mlp: The network that reads projected inputs.
        likelihood: The likelihood.
        observables: What is recorded.
        n_along: How many projected inputs the training set has.
        readout_integrated: Whether the readout is integrated out.
        diagonal: Whether pattern mu has the projected input mu and no other.
    """

    mlp: MLP
    likelihood: Likelihood
    observables: tuple[Observable, ...]
    n_along: int
    readout_integrated: bool
    diagonal: bool

    @property
    def dimension(self) -> int:
        """Number of coordinates."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.shapes()))

    def shapes(self) -> Shapes:
        """The shapes of the weights that are sampled."""
        shapes = weight_shapes(self.mlp)
        kernel = shapes["hidden_1"]["kernel"]
        shapes["hidden_1"]["kernel"] = jax.ShapeDtypeStruct((self.n_along, self.mlp.width), kernel.dtype)
        if self.readout_integrated:
            del shapes["readout"]
        return shapes

    def groups(self) -> Int[np.ndarray, " dimension"]:
        """See `hiddencodes.sampling.target.exchangeable`."""
        return exchangeable(self.mlp, self.shapes())

    def hidden(self, q: Float[Array, " dimension"], data: PosteriorData) -> tuple[Array, ...]:
        """Activations of every hidden layer on the training patterns, (pattern, unit) each."""
        return self._forward(self.params(q, data), data).postactivations

    def log_likelihood(
        self, q: Float[Array, " dimension"], data: PosteriorData, inverse_temperature: Float[Array, ""]
    ) -> Float[Array, ""]:
        """Minus the training loss over the temperature, or its exponential averaged over the readout's prior."""
        return self.log_likelihood_of(self.params(q, data), data, inverse_temperature)

    def log_likelihood_of(
        self, params: Params, data: PosteriorData, inverse_temperature: Float[Array, ""]
    ) -> Float[Array, ""]:
        """The same for given weights."""
        activations = self._forward(params, data)
        y = jnp.asarray(data.y_train)
        if not self.readout_integrated:
            loss = self.likelihood.loss(activations.output, y, jnp.asarray(data.labels_train))
            return -inverse_temperature * loss
        return readout_evidence(
            activations.postactivations[-1], y, self._readout_weight(data), 1.0 / inverse_temperature
        )

    def observe(
        self, q: Float[Array, " dimension"], data: PosteriorData, key: PRNGKeyArray
    ) -> dict[str, Array]:
        """All observables, with the weights of other inputs and an integrated readout drawn from their exact laws."""
        params = self.params(q, data)
        input_key, readout_key = jax.random.split(key)
        along = params["hidden_1"]["kernel"]
        if self.readout_integrated:
            phi = self._forward(params, data).postactivations[-1]
            alpha = draw_readout(
                readout_key, phi, jnp.asarray(data.y_train), self._readout_weight(data), data.temperature
            )
            params = {**params, "readout": {"kernel": data.prior_std["readout"]["kernel"] * alpha}}
        if self.mlp.n_inputs > self.n_along:
            shape = (self.mlp.n_inputs - self.n_along, self.mlp.width)
            other = data.prior_std["hidden_1"]["kernel"] * jax.random.normal(input_key, shape, along.dtype)
            kernel = jnp.concatenate([along, other])
            params = {**params, "hidden_1": {**params["hidden_1"], "kernel": kernel}}
        return observe(NetworkTarget(self.mlp, self.likelihood, self.observables), params, data)

    def prior_std(self, data: PosteriorData) -> Any:
        """Weights per unit of q, of the weights that are sampled."""
        return {
            layer: {leaf: data.prior_std[layer][leaf] for leaf in leaves}
            for layer, leaves in self.shapes().items()
        }

    def params(self, q: Float[Array, " dimension"], data: PosteriorData) -> Params:
        """The weights that are sampled."""
        return jax.tree.map(jnp.multiply, unflatten(self.shapes(), q), self.prior_std(data))

    def _forward(self, params: Params, data: PosteriorData) -> Activations:
        """The forward pass on the training set."""
        mlp = self.mlp
        multiplier = mlp.parameterization.layer(0, mlp.depth).multiplier(mlp.n_inputs, mlp.width)
        kernel, x = params["hidden_1"]["kernel"], jnp.asarray(data.x_train)[:, : self.n_along]
        z = multiplier * (jnp.diagonal(x)[:, None] * kernel if self.diagonal else x @ kernel)
        if mlp.bias:
            z = z + params["hidden_1"]["bias"][None, :]
        if self.readout_integrated:
            params = {**params, "readout": {"kernel": jnp.zeros((mlp.width, mlp.n_outputs), z.dtype)}}
        return mlp.apply_behind(params, z)

    def _readout_weight(self, data: PosteriorData) -> Float[Array, ""]:
        return readout_weight(self.mlp, data.prior_std["readout"]["kernel"])


def reduced_target(reduced: Sequence[Reduced], observables: tuple[Observable, ...]) -> ReducedTarget:
    """The target of reduced posteriors, one per seed, that share all but their data."""
    first = reduced[0]
    assert isinstance(first.posterior.likelihood, Likelihood)
    return ReducedTarget(
        mlp=first.posterior.mlp,
        likelihood=first.posterior.likelihood,
        observables=observables,
        n_along=first.n_along,
        readout_integrated=first.readout_integrated,
        diagonal=all(_is_diagonal(each.posterior.task.x_train[:, : each.n_along]) for each in reduced),
    )


def _is_diagonal(x: Float[np.ndarray, "pattern input"]) -> bool:
    if x.shape[0] != x.shape[1]:
        return False
    return float(np.max(np.abs(x - np.diag(np.diagonal(x))))) <= _DIAGONAL * float(np.max(np.abs(x)))
