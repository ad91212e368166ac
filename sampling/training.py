"""Training as a kernel of the engine: a transition is all steps of an optimizer between two snapshots."""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from hiddencodes.models.mlp import MLP, Params, weight_shapes
from hiddencodes.sampling.batch_norm import STORED, Moments, averaged, gain_shapes, normalized
from hiddencodes.sampling.minibatches import shuffled
from hiddencodes.sampling.sampler import Sampler, StepInfo
from hiddencodes.sampling.target import flatten, unflatten
from hiddencodes.sampling.training_target import OPTIMIZERS, Optimizer, Recipe, TrainingData, TrainingTarget


class TrainingState(NamedTuple):
    """A network in training.

    Attributes:
        position: Its weights, flat.
        logdensity: Minus the mean objective of the steps of the last epoch that is complete.
        memory: The optimizer's state.
        step: Steps taken.
    """

    position: Float[Array, " dimension"]
    logdensity: Float[Array, ""]
    memory: Any
    step: Int[Array, ""]


class Parts(NamedTuple):
    """The arrays of a network in training, by layer and name.

    Attributes:
        trained: Weights that are trained.
        fixed: Weights that are not.
        averages: Moments averaged along training; empty without `Recipe.running`.
    """

    trained: Params
    fixed: Params
    averages: Params

    @property
    def joined(self) -> Params:
        """All of them."""
        names = dict.fromkeys(name for part in self for name in part)
        return {name: {k: v for part in self for k, v in part.get(name, {}).items()} for name in names}


def parts(recipe: Recipe, params: Params) -> Parts:
    """What an optimizer changes, and what it does not."""
    weights = {name: {k: v for k, v in layer.items() if k not in STORED} for name, layer in params.items()}
    averages = {name: {k: v for k, v in layer.items() if k in STORED} for name, layer in params.items()}
    return Parts(
        {name: layer for name, layer in weights.items() if name in recipe.trained},
        {name: layer for name, layer in weights.items() if name not in recipe.trained},
        {name: layer for name, layer in averages.items() if layer},
    )


def objective(
    target: TrainingTarget,
    key: PRNGKeyArray,
    trained: Params,
    fixed: Params,
    data: TrainingData,
    index: Int[Array, " entry"] | None,
    weight: Float[Array, " entry"] | None,
) -> tuple[Float[Array, ""], tuple[Moments, ...]]:
    """Loss and weight decay on some patterns, and the moments that layers were normalized with (none without normalization).

    Args:
        target: Networks and recipe.
        key: For noise and dropout.
        trained: Weights that are trained.
        fixed: The others.
        data: The arrays of one posterior.
        index: The patterns; None for all.
        weight: How much each of them counts; None for one each.
    """
    recipe, posterior, knobs = target.recipe, data.posterior, data.knobs
    pick = lambda array: array if index is None else array[index]
    x, y, labels = (
        pick(jnp.asarray(a)) for a in (posterior.x_train, posterior.y_train, posterior.labels_train)
    )
    label_key, who_key, input_key, drop_key = jax.random.split(key, 4)
    all_targets, all_labels = jnp.asarray(posterior.y_train), jnp.asarray(posterior.labels_train)
    if "label_noise" in recipe.noisy:
        other = jax.random.randint(who_key, (x.shape[0],), 0, all_targets.shape[0])
        wrong = jax.random.uniform(label_key, (x.shape[0],), x.dtype) < knobs.label_noise
        y = jnp.where(wrong[:, None], all_targets[other], y)
        labels = jnp.where(wrong, all_labels[other], labels)
    if "input_noise" in recipe.noisy:
        size = knobs.input_noise * jnp.std(jnp.asarray(posterior.x_train))
        x = x + size * jax.random.normal(input_key, x.shape, x.dtype)

    def silenced(layer: int, hidden: Array) -> Array:
        u = jax.random.uniform(jax.random.fold_in(drop_key, layer), hidden.shape, hidden.dtype)
        return jnp.where(u >= knobs.dropout, hidden / (1.0 - knobs.dropout), 0.0)

    between = silenced if "dropout" in recipe.noisy else None
    params = {**trained, **fixed}

    def run(mlp: MLP, params: Params, x: Array) -> tuple[Array, tuple[Moments, ...]]:
        if not recipe.batch_norm:
            return mlp.apply(params, x, between).output, ()
        # Patterns that only fill up the last batch of an epoch are not among its moments.
        found = normalized(mlp, params, x, between, weight=weight)
        return found.output, found.moments

    forward = [lambda p, x, m=mlp: run(m, p, x) for mlp in target.networks]
    output, moments = jax.lax.switch(knobs.network, forward, params, x)
    if weight is None:
        loss = target.likelihood.loss(output, y, labels)
        count = jnp.asarray(x.shape[0], output.dtype)
    else:
        one = lambda f, y, c: target.likelihood.loss(f[None], y[None], c[None])
        loss = jnp.vdot(weight, jax.vmap(one)(output, y, labels))
        count = jnp.sum(weight)
    decay = sum(
        0.5 * knobs.weight_decay[name][leaf] * jnp.sum(jnp.square(value))
        for name, leaves in trained.items()
        for leaf, value in leaves.items()
    )
    if recipe.average:
        return loss / count + decay, moments
    # The sum over all patterns, estimated from those of the step: decay must not outweigh a small batch.
    return loss * (all_targets.shape[0] / count) + decay, moments


def _init(position: Array, density: Any) -> TrainingState:
    target, data = density.target, density.data
    trained = parts(target.recipe, unflatten(target.shapes(), position)).trained
    memory = target.recipe.optimizer.make(data.knobs.learning_rate).init(trained)
    return TrainingState(position, jnp.zeros((), position.dtype), memory, jnp.zeros((), jnp.int32))


def _step(
    key: PRNGKeyArray, state: TrainingState, density: Any, step_size: Array, n_steps: Array, max_steps: int
) -> tuple[TrainingState, StepInfo]:
    """All steps to the next snapshot; the engine's step size and number of steps are not used."""
    del step_size, max_steps
    target: TrainingTarget = density.target
    data: TrainingData = density.data
    recipe, dtype = target.recipe, state.position.dtype
    n_train = jnp.asarray(data.posterior.x_train).shape[0]
    size = recipe.batch_size or n_train
    per_epoch = -(-n_train // size)
    optimizer = recipe.optimizer.make(data.knobs.learning_rate)
    begin = parts(recipe, unflatten(target.shapes(), state.position))
    rates = {(layer, leaf): rate for layer, leaf, rate in recipe.rates}

    def one(carry: tuple[Array, Parts, Any, Array, Array]) -> tuple[Array, Parts, Any, Array, Array]:
        i, now, memory, before, total = carry
        trained = now.trained
        index = weight = None
        if recipe.batch_size is not None:
            # A snapshot begins an epoch of its own, so that no order has to be carried from one to the next.
            place = i % per_epoch * size + jnp.arange(size, dtype=jnp.int32)
            index = shuffled(jax.random.fold_in(key, i // per_epoch), place % n_train, n_train)
            weight = (place < n_train).astype(dtype) if n_train % size else None
        noise_key = jax.random.fold_in(jax.random.fold_in(key, i), np.uint32(2**32 - 1))
        (value, moments), gradient = jax.value_and_grad(partial_objective, has_aux=True)(
            trained, noise_key, index, weight
        )
        # optax mixes its counter with floats, which strict promotion forbids.
        with jax.numpy_dtype_promotion("standard"):
            changes, memory = optimizer.update(gradient, memory, trained)
        fall = jnp.ones((), dtype)
        if recipe.cosine:
            past = jnp.minimum((state.step + i).astype(dtype) / data.knobs.steps, 1.0)
            fall = 0.5 * (1.0 + jnp.cos(jnp.pi * past))
        changes = {
            layer: {leaf: fall * rates[layer, leaf] * change for leaf, change in leaves.items()}
            for layer, leaves in cast("Params", changes).items()
        }
        new = cast("Params", optax.apply_updates(trained, cast("Any", changes)))
        averages = now.averages
        if recipe.running:
            count = jnp.asarray(size, dtype) if weight is None else jnp.sum(weight)
            averages = averaged(target.mlp, averages, moments, count)
        total = total + value
        ends = (i + 1) % per_epoch == 0
        mean = jnp.where(ends, total / per_epoch, before)
        return i + 1, Parts(new, now.fixed, averages), memory, mean, jnp.where(ends, 0.0, total)

    def partial_objective(
        trained: Params, key: Any, index: Any, weight: Any
    ) -> tuple[Array, tuple[Moments, ...]]:
        return objective(target, key, trained, begin.fixed, data, index, weight)

    def goes_on(carry: tuple[Array, Parts, Any, Array, Array]) -> Array:
        i, _, _, mean, _ = carry
        more = i < recipe.steps_per_snapshot
        if not recipe.stops:
            return more
        # An epoch is always finished, and before the first one ends there is no objective.
        return more & ((mean >= data.knobs.stop_below) | (i % per_epoch != 0) | (state.step + i == 0))

    zero = jnp.zeros((), jnp.int32)
    steps, end, memory, value, _ = jax.lax.while_loop(
        goes_on, one, (zero, begin, state.memory, -state.logdensity, jnp.zeros((), dtype))
    )
    position = flatten(end.joined)
    ones = jnp.ones((), dtype)
    info = StepInfo(
        ones, jnp.zeros((), bool), value, jnp.zeros_like(n_steps) + steps, position, jnp.zeros_like(position)
    )
    return TrainingState(position, -value, memory, state.step + steps), info


# What the engine calls a sampler. Nothing is tuned: the recipe is with the target, the learning rates are with the data.
TRAINING = Sampler(
    name="training",
    target_acceptance=0.5,
    max_steps=1,
    tunes_length=False,
    has_energy=False,
    initial_step_size=lambda dimension: 1.0,
    length_unit=lambda dimension: 1.0,
    init=_init,
    step=_step,
)


def layer_rates(
    mlp: MLP, optimizer: Optimizer, equal: bool, batch_norm: bool = False
) -> tuple[tuple[str, str, float], ...]:
    """Factors on the learning rate of every kind of weight: one, or those of the parameterization; gains have those of biases.

    Args:
        mlp: The network.
        optimizer: Which has a column of the parameterization's table (`hiddencodes.sampling.training_target.OPTIMIZERS`).
        equal: Whether all factors are one.
        batch_norm: Whether there are gains.
    """
    shapes = {shape.name: shape for shape in mlp.layers()}
    found: list[tuple[str, str, float]] = []
    for layer, leaves in weight_shapes(mlp).items():
        shape = shapes[layer]
        for leaf in leaves:
            scaling = (
                mlp.parameterization.bias
                if leaf == "bias"
                else mlp.parameterization.layer(shape.index, mlp.depth)
            )
            rate = getattr(scaling, OPTIMIZERS[optimizer.name])(shape.fan_in, shape.fan_out)
            found.append((layer, leaf, 1.0 if equal else rate))
            if batch_norm and leaf == "bias":
                kinds = gain_shapes(mlp, float)[layer]
                found += [(layer, kind, 1.0 if equal else rate) for kind in kinds]
    return tuple(found)
