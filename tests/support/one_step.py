"""Steps of gradient descent and Adam with the learning-rate factors of a parameterization."""

import jax
import jax.numpy as jnp

import hiddencodes as hc


def learning_rates(mlp: hc.MLP, optimizer: str) -> dict[str, dict[str, float]]:
    """The factor on the learning rate of every leaf; `optimizer` is "sgd" or "adam"."""
    factors = {}
    for shape in mlp.layers():
        scaling = mlp.parameterization.layer(shape.index, mlp.depth)
        factors[shape.name] = {"kernel": getattr(scaling, optimizer)(shape.fan_in, shape.fan_out)}
        if mlp.bias and shape.index < mlp.depth:
            bias = getattr(mlp.parameterization.bias, optimizer)
            factors[shape.name]["bias"] = bias(shape.fan_in, shape.fan_out)
    return factors


def descend(params, directions, factors, learning_rate: float):
    """`params - learning_rate * factor * direction`, leaf by leaf."""
    return jax.tree.map(lambda w, d, r: w - learning_rate * r * d, params, directions, factors)


def first_step(mlp: hc.MLP, params, gradient, optimizer: str, learning_rate: float):
    """The weights after the first step. Adam's moments are then g and g^2, and with epsilon -> 0 it moves by sign(g)."""
    directions = jax.tree.map(jnp.sign, gradient) if optimizer == "adam" else gradient
    return descend(params, directions, learning_rates(mlp, optimizer), learning_rate)
