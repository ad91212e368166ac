"""The multilayer perceptron whose hidden codes are studied."""

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, SupportsIndex, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from hiddencodes.models.activations import Activation
from hiddencodes.models.parameterization import Parameterization

Params = dict[str, dict[str, Array]]
"""Weights as a pytree: ``{"hidden_1": {"kernel": (N0, N), "bias": (N,)}, ..., "readout": {"kernel": (N, m)}}``."""


Between = Callable[[int, Array], Array]


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
    """One weight layer.

    Attributes:
        name: Its key in `Params`.
        index: 0 is the input layer, the depth L the readout.
        fan_in: Number of inputs of a unit.
        fan_out: Number of units.
    """

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
    """The Flax module behind `MLP`; use it where a Flax module is wanted (``mlp.network``).

    Example:
        >>> from hiddencodes.models import mean_field, relu
        >>> network = MLP(4, 2, 8, 1, relu, mean_field).network
        >>> variables = network.init(jax.random.key(0), jnp.ones((1, 4)))
        >>> network.apply(variables, jnp.ones((3, 4))).output.shape
        (3, 2)
    """

    mlp: "MLP"

    @nn.compact
    def __call__(self, x: Array, first: bool = True, between: Between | None = None) -> Activations:
        """The forward pass for patterns ``x`` of shape (pattern, input).

        Args:
            x: Inputs, or without the first layer its pre-activations (pattern, unit).
            first: Whether to apply the first layer.
            between: What happens to postactivations before the next layer reads them, given the number of the layer.
        """
        mlp = self.mlp
        preactivations: list[Array] = []
        postactivations: list[Array] = []
        if not first:
            preactivations.append(x)
            x = mlp.activation(x)
            postactivations.append(x)
        for shape in mlp.layers():
            if shape.index == 0 and not first:
                continue
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
            if between is not None:
                x = between(shape.index, x)
            preactivations.append(z)
            postactivations.append(x)
        raise AssertionError("a network ends with its readout")


@dataclass(frozen=True)
class MLP:
    """A wide multilayer perceptron: sizes, activation and parameterization.

    With multipliers c_l and weights W^l of the parameterization,

        z^1 = c_1 W^1 x + b^1,    z^l = c_l W^l phi(z^{l-1}) + b^l,    f = c_{L+1} A phi(z^L).

    Biases are optional and belong to hidden layers only, so that the output stays linear in the feature layer's codes.
    Networks compare by value: equal ones share compiled programs.

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
            value: object = getattr(self, name)
            # NumPy's integers are welcome, as plain ones, so that equal networks compare equal.
            if isinstance(value, bool) or not isinstance(value, SupportsIndex) or operator.index(value) < 1:
                raise ValueError(f"{name}: expected a positive integer, got {value!r}")
            object.__setattr__(self, name, operator.index(value))

    def layers(self) -> Iterator[LayerShape]:
        """The weight layers in order, the readout last.

        Example:
            >>> from hiddencodes.models import mean_field, relu
            >>> [(l.name, l.fan_in, l.fan_out) for l in MLP(4, 2, 8, 2, relu, mean_field).layers()]
            [('hidden_1', 4, 8), ('hidden_2', 8, 8), ('readout', 8, 2)]
        """
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
        """Number D of weights and biases, ``N0 N + (L - 1) N^2 + N m``, and ``L N`` more with biases.

        Example:
            >>> from hiddencodes.models import mean_field, relu
            >>> MLP(4, 2, 8, 2, relu, mean_field, bias=True).n_parameters
            128
        """
        biases = self.width * self.depth if self.bias else 0
        return biases + sum(shape.fan_in * shape.fan_out for shape in self.layers())

    def init(self, key: PRNGKeyArray) -> Params:
        """Independent Gaussian weights with the parameterization's variances, and standard normal biases.

        The prior's own factors, the readout's among them, are applied by `Posterior.sample_prior`.

        Args:
            key: Random key.

        Returns:
            The weights, in JAX's default floating-point type.

        Example:
            >>> from hiddencodes.models import mean_field, relu
            >>> params = MLP(4, 2, 8, 1, relu, mean_field, bias=True).init(jax.random.key(0))
            >>> jax.tree.map(lambda leaf: leaf.shape, params)
            {'hidden_1': {'bias': (8,), 'kernel': (4, 8)}, 'readout': {'kernel': (8, 2)}}
        """
        variables = self.network.init(key, jnp.zeros((1, self.n_inputs)))
        return cast(Params, variables["params"])

    def apply(
        self, params: Params, x: Float[Array, "pattern input"], between: Between | None = None
    ) -> Activations:
        """The forward pass.

        Args:
            params: Weights, see `Params`.
            x: Inputs (pattern, input); computed in the dtype of the weights.
            between: What happens to the postactivations (pattern, unit) of a hidden layer before the next one reads them, such as
                dropout, given the number of the layer, from 0; they are returned as the next layer read them.

        Returns:
            Every layer's pre- and postactivations and the output, in the dtype of the weights.

        Raises:
            flax.errors.ScopeParamShapeError: If a weight does not have the shape that the sizes ask for.

        Example:
            >>> from hiddencodes.models import linear, mean_field
            >>> params = {"hidden_1": {"kernel": jnp.array([[4.0, 0.0]])}, "readout": {"kernel": jnp.array([[1.0], [2.0]])}}
            >>> activations = MLP(1, 1, 2, 1, linear, mean_field).apply(params, jnp.array([[3.0]]))
            >>> activations.preactivations[0].tolist(), activations.output.tolist()
            ([[12.0, 0.0]], [[6.0]])
        """
        result = self.network.apply({"params": params}, x, between=between)
        assert isinstance(result, Activations)
        return result

    def apply_behind(self, params: Params, z: Float[Array, "pattern unit"]) -> Activations:
        """The forward pass behind the first layer.

        Args:
            params: Weights; those of the first layer are not used and may be missing.
            z: Pre-activations of the first hidden layer.

        Returns:
            Every layer's pre- and postactivations and the output, as `apply` would.

        Example:
            >>> from hiddencodes.models import linear, mean_field
            >>> mlp = MLP(1, 1, 2, 1, linear, mean_field)
            >>> mlp.apply_behind({"readout": {"kernel": jnp.array([[1.0], [2.0]])}}, jnp.array([[12.0, 0.0]])).output.tolist()
            [[6.0]]
        """
        result = self.network.apply({"params": params}, z, first=False)
        assert isinstance(result, Activations)
        return result


def weight_shapes(mlp: MLP) -> dict[str, dict[str, jax.ShapeDtypeStruct]]:
    """The weights' shapes, in the structure of `Params` and JAX's default floating-point type.

    Example:
        >>> from hiddencodes.models import mean_field, relu
        >>> weight_shapes(MLP(4, 2, 8, 1, relu, mean_field))["hidden_1"]["kernel"].shape
        (4, 8)
    """
    return jax.eval_shape(mlp.init, jax.random.key(0))
