"""The multilayer perceptron whose hidden codes are studied."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from hiddencodes.models.activations import Activation
from hiddencodes.models.parameterization import Parameterization

Params = dict[str, dict[str, Array]]
"""Weights as a pytree: ``{"hidden_1": {"kernel": (N0, N), "bias": (N,)}, ..., "readout": {"kernel": (N, m)}}``."""


class Activations(NamedTuple):
    """What a forward pass computes, layer by layer.

    Attributes:
        preactivations: z^l, one array (pattern, unit) per hidden layer.
        postactivations: phi(z^l), one array (pattern, unit) per hidden layer.
        output: f, an array (pattern, output).
    """

    preactivations: tuple[Float[Array, "pattern unit"], ...]
    postactivations: tuple[Float[Array, "pattern unit"], ...]
    output: Float[Array, "pattern output"]


@dataclass(frozen=True)
class LayerShape:
    """One weight layer: its name, index (0 is the input layer) and size."""

    name: str
    index: int
    fan_in: int
    fan_out: int


class _Layer(nn.Module):
    """``multiplier * (x @ kernel) + bias``."""

    features: int
    multiplier: float
    std: float
    bias: bool

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", nn.initializers.normal(self.std), (x.shape[-1], self.features))
        z = self.multiplier * (x.astype(kernel.dtype) @ kernel)
        if self.bias:
            bias = self.param("bias", nn.initializers.normal(1.0), (self.features,))
            z = z + bias[None, :]
        return z


class Network(nn.Module):
    """The Flax module behind `MLP`; use it where a Flax module is wanted (``mlp.network``)."""

    mlp: "MLP"

    @nn.compact
    def __call__(self, x: Array) -> Activations:
        """The forward pass for patterns ``x`` of shape (pattern, input)."""
        mlp = self.mlp
        preactivations: list[Array] = []
        postactivations: list[Array] = []
        for shape in mlp.layers():
            scaling = mlp.parameterization.layer(shape.index, mlp.depth)
            z = _Layer(
                features=shape.fan_out,
                multiplier=scaling.multiplier(shape.fan_in, shape.fan_out),
                std=scaling.variance(shape.fan_in, shape.fan_out) ** 0.5,
                bias=mlp.bias and shape.index < mlp.depth,
                name=shape.name,
            )(x)
            if shape.index == mlp.depth:
                return Activations(tuple(preactivations), tuple(postactivations), z)
            x = mlp.activation(z)
            preactivations.append(z)
            postactivations.append(x)
        raise AssertionError("a network ends with its readout")


@dataclass(frozen=True)
class MLP:
    """A wide multilayer perceptron: sizes, activation and parameterization.

    With multipliers c_l and weights W^l of the parameterization,

        z^1 = c_1 W^1 x + b^1,    z^l = c_l W^l phi(z^{l-1}) + b^l,    f = c_{L+1} A phi(z^L).

    Biases are optional and belong to hidden layers only, so that the output stays linear in the feature layer's codes.

    Attributes:
        n_inputs: Number of inputs N0.
        n_outputs: Number of outputs m.
        width: Number of units N of every hidden layer.
        depth: Number of hidden layers L.
        activation: The nonlinearity phi.
        parameterization: How the layers scale with width.
        bias: Whether hidden units have biases.

    Raises:
        ValueError: If a size is not a positive integer.

    Example:
        >>> from hiddencodes.models import mean_field, relu
        >>> mlp = MLP(n_inputs=4, n_outputs=2, width=8, depth=1, activation=relu, parameterization=mean_field)
        >>> params = mlp.init(jax.random.key(0))
        >>> mlp.apply(params, jnp.ones((3, 4))).output.shape
        (3, 2)
    """

    n_inputs: int
    n_outputs: int
    width: int
    depth: int
    activation: Activation
    parameterization: Parameterization
    bias: bool = False

    def __post_init__(self) -> None:  # noqa: D105
        for name in ("n_inputs", "n_outputs", "width", "depth"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}: expected a positive integer, got {value!r}")

    def layers(self) -> Iterator[LayerShape]:
        """The weight layers in order, the readout last."""
        fan_in = self.n_inputs
        for index in range(self.depth):
            yield LayerShape(f"hidden_{index + 1}", index, fan_in, self.width)
            fan_in = self.width
        yield LayerShape("readout", self.depth, fan_in, self.n_outputs)

    @property
    def network(self) -> Network:
        """The Flax module."""
        return Network(mlp=self)

    @property
    def n_parameters(self) -> int:
        """Number of weights and biases."""
        biases = self.width * self.depth if self.bias else 0
        return biases + sum(shape.fan_in * shape.fan_out for shape in self.layers())

    def init(self, key: PRNGKeyArray) -> Params:
        """Weights drawn with the parameterization's variances (the readout's prior scale is the posterior's business)."""
        variables = self.network.init(key, jnp.zeros((1, self.n_inputs)))
        return variables["params"]

    def apply(self, params: Params, x: Float[Array, "pattern input"]) -> Activations:
        """The forward pass.

        Args:
            params: Weights, see `Params`.
            x: Inputs (pattern, input); computed in the dtype of the weights.
        """
        result = self.network.apply({"params": params}, x)
        assert isinstance(result, Activations)
        return result


def weight_shapes(mlp: MLP) -> dict[str, dict[str, jax.ShapeDtypeStruct]]:
    """The weights' shapes, in the structure of `Params`."""
    return jax.eval_shape(mlp.init, jax.random.key(0))
