"""Training as a kernel of the engine: a transition is all steps of an optimizer between two snapshots."""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from hiddencodes.models.mlp import MLP, Params, weight_shapes
from hiddencodes.sampling.batch_norm import normalized
from hiddencodes.sampling.minibatches import shuffled
from hiddencodes.sampling.sampler import Sampler, StepInfo
from hiddencodes.sampling.target import flatten, unflatten
from hiddencodes.sampling.training_target import OPTIMIZERS, Optimizer, Recipe, TrainingData, TrainingTarget


class TrainingState(NamedTuple):
    """A network in training.

    Attributes:
        position: Its weights, flat.
        logdensity: Minus the objective of the last step.
        memory: The optimizer's state.
        step: Steps taken.
    """

    position: Float[Array, " dimension"]
    logdensity: Float[Array, ""]
    memory: Any
    step: Int[Array, ""]


def split_trained(recipe: Recipe, params: Params) -> tuple[Params, Params]:
    """Weights that are trained, and the others."""
    return (
        {name: leaves for name, leaves in params.items() if name in recipe.trained},
        {name: leaves for name, leaves in params.items() if name not in recipe.trained},
    )


def objective(
    target: TrainingTarget,
    key: PRNGKeyArray,
    trained: Params,
    fixed: Params,
    data: TrainingData,
    index: Int[Array, " entry"] | None,
    weight: Float[Array, " entry"] | None,
) -> Float[Array, ""]:
    """Loss and weight decay on some patterns.

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
    run = (
        (lambda m, p, x: normalized(m, p, x, between))
        if recipe.batch_norm
        else (lambda m, p, x: m.apply(p, x, between))
    )
    forward = [lambda p, x, m=mlp: run(m, p, x).output for mlp in target.networks]
    output = jax.lax.switch(knobs.network, forward, params, x)
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
        return loss / count + decay
    # The sum over all patterns, estimated from those of the step: decay must not outweigh a small batch.
    return loss * (all_targets.shape[0] / count) + decay


def _init(position: Array, density: Any) -> TrainingState:
    target, data = density.target, density.data
    trained, _ = split_trained(target.recipe, unflatten(target.shapes(), position))
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
    trained, fixed = split_trained(recipe, unflatten(target.shapes(), state.position))
    rates = {(layer, leaf): rate for layer, leaf, rate in recipe.rates}

    def one(i: Array, carry: tuple[Any, Any, Array]) -> tuple[Any, Any, Array]:
        trained, memory, _ = carry
        index = weight = None
        if recipe.batch_size is not None:
            # A snapshot begins an epoch of its own, so that no order has to be carried from one to the next.
            place = i % per_epoch * size + jnp.arange(size, dtype=jnp.int32)
            index = shuffled(jax.random.fold_in(key, i // per_epoch), place % n_train, n_train)
            weight = (place < n_train).astype(dtype) if n_train % size else None
        noise_key = jax.random.fold_in(jax.random.fold_in(key, i), np.uint32(2**32 - 1))
        value, gradient = jax.value_and_grad(partial_objective)(trained, noise_key, index, weight)
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
        return optax.apply_updates(trained, cast("Any", changes)), memory, value

    def partial_objective(trained: Params, key: Any, index: Any, weight: Any) -> Array:
        return objective(target, key, trained, fixed, data, index, weight)

    steps = jnp.asarray(recipe.steps_per_snapshot, jnp.int32)
    trained, memory, value = jax.lax.fori_loop(0, steps, one, (trained, state.memory, -state.logdensity))
    position = flatten({**trained, **fixed})
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
                found.append((layer, "gain", 1.0 if equal else rate))
    return tuple(found)
