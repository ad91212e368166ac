"""Batch normalization (arXiv 1502.03167) of a multilayer perceptron, and the plain network that it is at the end.

Inputs are standardized, and every hidden preactivation is ``gain * (z - mean z) / sqrt(var z + eps) + bias`` with moments over the patterns at
hand. With the moments of the whole training set this is a linear map, which weights and biases can take over: a snapshot of a network is
a plain multilayer perceptron, to which every observable applies.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from hiddencodes.models.mlp import MLP, Between, Params

EPSILON = 1e-5
"""Added to variances."""


class Normalized(NamedTuple):
    """A forward pass with normalized preactivations.

    Attributes:
        output: f.
        plain: Weights and biases of the network without normalization that has the same output on the same patterns.
    """

    output: Float[Array, "pattern output"]
    plain: Params


def _moments(values: Float[Array, "pattern unit"]) -> tuple[Array, Array]:
    mean = jnp.mean(values, axis=0)
    return mean, jnp.sqrt(jnp.mean(jnp.square(values - mean[None, :]), axis=0) + EPSILON)


def normalized(
    mlp: MLP, params: Any, x: Float[Array, "pattern input"], between: Between | None = None
) -> Normalized:
    """The forward pass of a network whose inputs and hidden preactivations are normalized over the patterns.

    Args:
        mlp: The network, with biases.
        params: Its weights, and a ``gain`` (unit,) in every hidden layer.
        x: Inputs.
        between: As in `MLP.apply`; the plain network is the one without it.

    Example:
        >>> import jax
        >>> from hiddencodes.models import relu, standard
        >>> mlp = MLP(3, 1, 4, 1, relu, standard, bias=True)
        >>> params = mlp.init(jax.random.key(0))
        >>> params["hidden_1"]["gain"] = jnp.ones(4)
        >>> x = jax.random.normal(jax.random.key(1), (6, 3))
        >>> found = normalized(mlp, params, x)
        >>> bool(jnp.allclose(found.output, mlp.apply(found.plain, x).output, atol=1e-5))
        True
    """
    shift, scale = _moments(x)
    h = (x - shift[None, :]) / scale[None, :]
    plain: Params = {}
    for shape in mlp.layers():
        leaves = params[shape.name]
        kernel = leaves["kernel"]
        multiplier = mlp.parameterization.layer(shape.index, mlp.depth).multiplier(
            shape.fan_in, shape.fan_out
        )
        z = multiplier * (h @ kernel)
        if shape.index == mlp.depth:
            plain[shape.name] = {"kernel": kernel}
            return Normalized(z, plain)
        mean, std = _moments(z)
        gain = leaves["gain"] / std
        own_kernel, own_bias = kernel * gain[None, :], leaves["bias"] - mean * gain
        if shape.index == 0:
            own_kernel = own_kernel / scale[:, None]
            own_bias = own_bias - multiplier * (shift @ own_kernel)
        plain[shape.name] = {"kernel": own_kernel, "bias": own_bias}
        h = mlp.activation((z - mean[None, :]) * gain[None, :] + leaves["bias"][None, :])
        if between is not None:
            h = between(shape.index, h)
    raise AssertionError("a network ends with its readout")
