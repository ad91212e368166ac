"""What is trained: networks of one shape as a target of the engine, with everything that may differ between them as data."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from hiddencodes.models.likelihood import Likelihood
from hiddencodes.models.mlp import MLP, Params, weight_shapes
from hiddencodes.models.posterior import PosteriorData, train_loss
from hiddencodes.sampling.batch_norm import gain_shapes, normalized, stored_moments, stored_shapes
from hiddencodes.sampling.observables import Observable
from hiddencodes.sampling.target import NetworkTarget, Shapes, exchangeable, observe, unflatten

OPTIMIZERS = {"sgd": "sgd"} | dict.fromkeys(
    ("adam", "adamw", "adamax", "amsgrad", "nadam", "radam", "adabelief", "adagrad", "rmsprop", "lion"),
    "adam",
)
"""Optimizers of optax, and the column of a parameterization's table that is theirs: those of the second normalize gradients."""


@dataclass(frozen=True)
class Optimizer:
    """An optimizer of optax by its name, with its settings but for the learning rate. Equal ones share compiled programs.

    Attributes:
        name: One of `OPTIMIZERS`.
        settings: Its other arguments, (keyword, value) pairs.

    Raises:
        ValueError: If there is no such optimizer, or it has no such setting.

    Example:
        >>> Optimizer("sgd", (("momentum", 0.9),))
        Optimizer(name='sgd', settings=(('momentum', 0.9),))
    """

    name: str
    settings: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:  # noqa: D105
        if self.name not in OPTIMIZERS:
            raise ValueError(f"optimizer: expected one of {list(OPTIMIZERS)}, got {self.name!r}")
        try:
            self.make(0.1)
        except TypeError as error:
            raise ValueError(f"optimizer: {self.name} with {dict(self.settings)}: {error}") from error

    def make(self, learning_rate: Any) -> optax.GradientTransformation:
        """The transformation."""
        return getattr(optax, self.name)(learning_rate, **dict(self.settings))


class Knobs(NamedTuple):
    """What may differ between the posteriors of one compiled program, a number for each.

    Attributes:
        network: Which of the networks of the program it is.
        learning_rate: The optimizer's.
        weight_decay: lambda of every layer's weights and biases: the objective has ``lambda/2 |w|^2``.
        label_noise: Probability that a pattern's target is that of a random pattern, drawn anew in every step.
        input_noise: Standard deviation of noise added to the inputs in every step, in units of that of all training inputs.
        dropout: Probability that a hidden unit is silent in a step; the others are louder by 1 / (1 - dropout).
        steps: Number of steps after which a cosine schedule ends.
        stop_below: A network is trained no further when the mean objective of the steps of an epoch falls below it.
    """

    network: Any
    learning_rate: Any
    weight_decay: dict[str, dict[str, Any]]
    label_noise: Any
    input_noise: Any
    dropout: Any
    steps: Any
    stop_below: Any = 0.0


class TrainingData(NamedTuple):
    """The arrays of a program: every leaf with a leading seed axis."""

    posterior: PosteriorData
    knobs: Knobs


@dataclass(frozen=True)
class Recipe:
    """What is compiled in.

    Attributes:
        optimizer: The optimizer.
        steps_per_snapshot: Steps between two snapshots.
        batch_size: Patterns of a step; None for all.
        average: Whether the loss is averaged over the patterns of a step, instead of summed.
        trained: Names of the layers that are trained.
        rates: Factors on the learning rate by layer and kind of weight.
        cosine: Whether the learning rate falls to zero along a half cosine.
        noisy: Which of label noise, input noise and dropout there are.
        batch_norm: Whether inputs and hidden preactivations are normalized over the patterns of a step.
        running: Whether a snapshot is normalized with averages along training, instead of moments of the training set.
        stops: Whether some network may stop before the others.
    """

    optimizer: Optimizer
    steps_per_snapshot: int
    batch_size: int | None
    average: bool
    trained: tuple[str, ...]
    rates: tuple[tuple[str, str, float], ...]
    cosine: bool = False
    noisy: tuple[str, ...] = ()
    batch_norm: bool = False
    running: bool = False
    stops: bool = False


@dataclass(frozen=True)
class TrainingTarget:
    """Networks of the same sizes that are trained in one program; positions are their weights.

    Attributes:
        networks: The networks, which differ in their activation only.
        likelihood: Whose loss is minimized.
        observables: What a snapshot is.
        recipe: How they are trained.
    """

    networks: tuple[MLP, ...]
    likelihood: Likelihood
    observables: tuple[Observable, ...]
    recipe: Recipe = field(repr=False)

    @property
    def mlp(self) -> MLP:
        """A network with the sizes of all."""
        return self.networks[0]

    @property
    def dimension(self) -> int:
        """Number of weights, biases, gains and averages."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.shapes()))

    def shapes(self) -> Shapes:
        """Shapes of all weights, and of the gains and averages of normalized layers."""
        shapes = weight_shapes(self.mlp)
        dtype = shapes["readout"]["kernel"].dtype
        more = [gain_shapes(self.mlp, dtype)] if self.recipe.batch_norm else []
        more += [stored_shapes(self.mlp, dtype)] if self.recipe.running else []
        for each in more:
            for name, leaves in each.items():
                shapes[name] |= leaves
        return shapes

    def network_weights(self, q: Float[Array, " dimension"], data: TrainingData) -> Params:
        """Weights of the plain network at q: normalization, as a snapshot has it, is in them."""
        return self._plain(q, data)[0]

    def _plain(self, q: Float[Array, " dimension"], data: TrainingData) -> tuple[Params, Array]:
        """Weights of the plain network, and what the first layer reads of the training patterns before that is in its weights."""
        params, x = unflatten(self.shapes(), q), jnp.asarray(data.posterior.x_train)
        if not self.recipe.batch_norm:
            return params, x
        fixed = stored_moments(self.mlp, params) if self.recipe.running else None

        def snapshot(mlp: MLP) -> Any:
            def of(params: Params) -> tuple[Params, Array]:
                found = normalized(mlp, params, x, None, fixed)
                return found.plain, found.inputs

            return of

        return jax.lax.switch(data.knobs.network, [snapshot(mlp) for mlp in self.networks], params)

    def groups(self) -> Int[np.ndarray, " dimension"]:
        """See `hiddencodes.sampling.target.exchangeable`."""
        return exchangeable(self.mlp, self.shapes())

    def log_likelihood(
        self, q: Float[Array, " dimension"], data: TrainingData, inverse_temperature: Float[Array, ""]
    ) -> Float[Array, ""]:
        """Minus the training loss over the temperature."""
        params = self.network_weights(q, data)
        each = [
            lambda p, m=mlp: train_loss(m, self.likelihood, p, data.posterior)[0] for mlp in self.networks
        ]
        return -inverse_temperature * jax.lax.switch(data.knobs.network, each, params)

    def observe(
        self, q: Float[Array, " dimension"], data: TrainingData, key: PRNGKeyArray
    ) -> dict[str, Array]:
        """All observables at q."""
        del key
        params, inputs = self._plain(q, data)
        targets = [NetworkTarget(mlp, self.likelihood, self.observables) for mlp in self.networks]
        each = [lambda p, t=t: observe(t, p, data.posterior, inputs) for t in targets]
        return jax.lax.switch(data.knobs.network, each, params)
