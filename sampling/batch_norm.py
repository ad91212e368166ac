"""Batch normalization (arXiv 1502.03167) of a multilayer perceptron, and the plain network that it is at the end.

Every input and every hidden preactivation is ``gain * (z - mean z) / sqrt(var z + eps) + bias`` with moments over the patterns at
hand and a gain and a bias that are trained. With fixed moments, those of the whole training set or averages along training, this is a linear map, which weights and biases can
take over: a snapshot of a network is a plain multilayer perceptron, to which every observable applies.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hiddencodes.models.mlp import MLP, Between, Params

EPSILON = 1e-5
"""Added to variances."""

MOMENTUM = 0.1
"""Weight of a step's moments in the averages along training."""

STORED = ("mean", "variance", "input_mean", "input_variance")
"""Names of the averages among the arrays of a layer; those of the inputs are with the first layer."""


class Moments(NamedTuple):
    """Mean and variance over patterns.

    Attributes:
        mean: Of every unit.
        variance: Of every unit, without Bessel's correction.
    """

    mean: Float[Array, " unit"]
    variance: Float[Array, " unit"]

    @property
    def scale(self) -> Float[Array, " unit"]:
        """What normalization divides by."""
        return jnp.sqrt(self.variance + EPSILON)


class Normalized(NamedTuple):
    """A forward pass with normalized preactivations.

    Attributes:
        output: f.
        inputs: What the first layer reads.
        plain: Weights and biases of the network without normalization that has the same output on the same patterns.
        moments: What was normalized with: the inputs' moments, then every hidden layer's.
    """

    output: Float[Array, "pattern output"]
    inputs: Float[Array, "pattern input"]
    plain: Params
    moments: tuple[Moments, ...]


def _moments(values: Float[Array, "pattern unit"], weight: Float[Array, " pattern"] | None) -> Moments:
    if weight is None:
        mean = jnp.mean(values, axis=0)
        return Moments(mean, jnp.mean(jnp.square(values - mean[None, :]), axis=0))
    share = weight / jnp.sum(weight)
    mean = share @ values
    return Moments(mean, share @ jnp.square(values - mean[None, :]))


def normalized(
    mlp: MLP,
    params: Any,
    x: Float[Array, "pattern input"],
    between: Between | None = None,
    moments: tuple[Moments, ...] | None = None,
    weight: Float[Array, " pattern"] | None = None,
) -> Normalized:
    """The forward pass of a network whose inputs and hidden preactivations are normalized.

    Args:
        mlp: The network, with biases.
        params: Its weights, a ``gain`` (unit,) in every hidden layer, and in the first an ``input_gain`` and an ``input_bias`` (input,).
        x: Inputs.
        between: As in `MLP.apply`; the plain network is the one without it.
        moments: What to normalize with, as in `Normalized`; None for the moments over the patterns at hand.
        weight: How much each pattern counts in those; None for one each.

    Example:
        >>> from hiddencodes.models import relu, standard
        >>> mlp = MLP(3, 1, 4, 1, relu, standard, bias=True)
        >>> params = mlp.init(jax.random.key(0))
        >>> params["hidden_1"] |= {"gain": jnp.ones(4), "input_gain": jnp.ones(3), "input_bias": jnp.zeros(3)}
        >>> x = jax.random.normal(jax.random.key(1), (6, 3))
        >>> found = normalized(mlp, params, x)
        >>> bool(jnp.allclose(found.output, mlp.apply(found.plain, x).output, atol=1e-5))
        True
    """
    used = [_moments(x, weight) if moments is None else moments[0]]
    shift, scale = used[0].mean, used[0].scale
    first = params["hidden_1"]
    gain_of_inputs = first["input_gain"] / scale
    h = inputs = (x - shift[None, :]) * gain_of_inputs[None, :] + first["input_bias"][None, :]
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
            return Normalized(z, inputs, plain, tuple(used))
        used.append(_moments(z, weight) if moments is None else moments[shape.index + 1])
        gain = leaves["gain"] / used[-1].scale
        own_kernel, own_bias = kernel * gain[None, :], leaves["bias"] - used[-1].mean * gain
        if shape.index == 0:
            own_bias = own_bias + multiplier * ((first["input_bias"] - shift * gain_of_inputs) @ own_kernel)
            own_kernel = own_kernel * gain_of_inputs[:, None]
        plain[shape.name] = {"kernel": own_kernel, "bias": own_bias}
        h = mlp.activation((z - used[-1].mean[None, :]) * gain[None, :] + leaves["bias"][None, :])
        if between is not None:
            h = between(shape.index, h)
    raise AssertionError("a network ends with its readout")


def gain_shapes(mlp: MLP, dtype: Any) -> dict[str, dict[str, jax.ShapeDtypeStruct]]:
    """Shapes of what is trained beside weights and biases, by layer."""
    return _shapes(mlp, dtype, ("gain",), ("input_gain", "input_bias"))


def stored_shapes(mlp: MLP, dtype: Any) -> dict[str, dict[str, jax.ShapeDtypeStruct]]:
    """Shapes of the averages along training, by layer."""
    return _shapes(mlp, dtype, STORED[:2], STORED[2:])


def _shapes(
    mlp: MLP, dtype: Any, of_units: tuple[str, ...], of_inputs: tuple[str, ...]
) -> dict[str, dict[str, jax.ShapeDtypeStruct]]:
    """One number per unit of every hidden layer, and one per input with the first of them."""
    units = {name: jax.ShapeDtypeStruct((mlp.width,), dtype) for name in of_units}
    inputs = {name: jax.ShapeDtypeStruct((mlp.n_inputs,), dtype) for name in of_inputs}
    hidden = [shape for shape in mlp.layers() if shape.index < mlp.depth]
    return {shape.name: units | (inputs if shape.index == 0 else {}) for shape in hidden}


def stored_moments(mlp: MLP, params: Any) -> tuple[Moments, ...]:
    """The averages among a network's arrays, as `normalized` takes them."""
    hidden = [params[shape.name] for shape in mlp.layers() if shape.index < mlp.depth]
    first = Moments(hidden[0]["input_mean"], hidden[0]["input_variance"])
    return (first, *(Moments(layer["mean"], layer["variance"]) for layer in hidden))


def averaged(
    mlp: MLP, stored: Any, moments: tuple[Moments, ...], count: Float[Array, ""]
) -> dict[str, dict[str, Array]]:
    """Averages after a step: ``(1 - m) average + m step``, m = `MOMENTUM`, variances with Bessel's correction.

    Args:
        mlp: The network.
        stored: The averages before it, by layer and name.
        moments: Those of the step.
        count: Patterns of the step.
    """
    bessel = count / jnp.maximum(count - 1.0, 1.0)
    new: dict[str, dict[str, Array]] = {}
    for shape in mlp.layers():
        if shape.index == mlp.depth:
            continue
        found = dict(zip(STORED, (*moments[shape.index + 1], *moments[0]), strict=True))
        new[shape.name] = {
            name: (1.0 - MOMENTUM) * old
            + MOMENTUM * (found[name] * bessel if name.endswith("variance") else found[name])
            for name, old in stored[shape.name].items()
        }
    return new
