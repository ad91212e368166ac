"""The four parameterizations, as data: how multipliers, prior variances and learning rates scale with width."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PowerLaw:
    """A factor ``fan_in**p * fan_out**q``.

    Attributes:
        fan_in: The exponent p of the number of inputs of the layer.
        fan_out: The exponent q of the number of outputs of the layer.

    Example:
        >>> PowerLaw(fan_in=-0.5)(100, 7)
        0.1
    """

    fan_in: float = 0.0
    fan_out: float = 0.0

    def __call__(self, fan_in: int, fan_out: int) -> float:
        """The factor for a layer of the given size."""
        return float(fan_in) ** self.fan_in * float(fan_out) ** self.fan_out


_ONE = PowerLaw()


@dataclass(frozen=True)
class LayerScaling:
    """How one kind of layer scales: ``z = multiplier * (w @ x)`` with ``w ~ N(0, variance)``.

    Attributes:
        multiplier: Forward multiplier of the weights.
        variance: Prior (and initialization) variance of a weight.
        sgd: Factor on the learning rate of (full-batch or stochastic) gradient descent on a loss that is summed over outputs.
        adam: Factor on the learning rate of Adam.
    """

    multiplier: PowerLaw
    variance: PowerLaw
    sgd: PowerLaw
    adam: PowerLaw


@dataclass(frozen=True)
class Parameterization:
    """A parameterization of a multilayer perceptron, as data.

    Weights are sampled and stored as O(1) numbers (except in ``standard``) and the forward pass carries the multiplier.
    Hidden biases have multiplier one, unit prior variance, and the learning-rate factors of ``bias``.

    Attributes:
        name: The name used in study files.
        input: Scaling of the first layer, whose fan-in is the number of inputs.
        hidden: Scaling of the layers between hidden layers.
        readout: Scaling of the last layer.
        bias: Scaling of the hidden biases (fan-in and fan-out are those of the layer's weights).

    Example:
        >>> mean_field.readout.multiplier(500, 3)
        0.002
    """

    name: str
    input: LayerScaling
    hidden: LayerScaling
    readout: LayerScaling
    bias: LayerScaling

    def layer(self, index: int, depth: int) -> LayerScaling:
        """The scaling of weight layer ``index`` (0 is the input layer, ``depth`` the readout)."""
        if index == 0:
            return self.input
        return self.hidden if index < depth else self.readout


def _bias(sgd: PowerLaw, adam: PowerLaw) -> LayerScaling:
    return LayerScaling(multiplier=_ONE, variance=_ONE, sgd=sgd, adam=adam)


_INVERSE_ROOT = PowerLaw(fan_in=-0.5)

# Lazy: the function moves O(1) in a step while every hidden preactivation moves O(1/sqrt(N)).
_NTK_LAYER = LayerScaling(
    multiplier=_INVERSE_ROOT, variance=_ONE, sgd=_ONE, adam=PowerLaw(fan_in=-0.5, fan_out=-0.5)
)
ntk = Parameterization(
    name="ntk",
    input=_NTK_LAYER,
    hidden=_NTK_LAYER,
    readout=LayerScaling(multiplier=_INVERSE_ROOT, variance=_ONE, sgd=_ONE, adam=_INVERSE_ROOT),
    bias=_bias(sgd=_ONE, adam=PowerLaw(fan_out=-0.5)),
)

# The same functions as ntk, with the multiplier absorbed into the weight: w_standard = w_ntk / sqrt(fan_in), so a
# learning rate is divided by fan_in (gradient descent) or by its root (Adam) to give the same change of the function.
_STANDARD_LAYER = LayerScaling(
    multiplier=_ONE,
    variance=PowerLaw(fan_in=-1.0),
    sgd=PowerLaw(fan_in=-1.0),
    adam=PowerLaw(fan_in=-1.0, fan_out=-0.5),
)
standard = Parameterization(
    name="standard",
    input=_STANDARD_LAYER,
    hidden=_STANDARD_LAYER,
    readout=LayerScaling(
        multiplier=_ONE,
        variance=PowerLaw(fan_in=-1.0),
        sgd=PowerLaw(fan_in=-1.0),
        adam=PowerLaw(fan_in=-1.0),
    ),
    bias=ntk.bias,
)

# Non-lazy: a readout of 1/N makes each unit's share of the output O(1/N); gradients are O(1/N), so the mean-field time
# scale multiplies every learning rate of gradient descent by the width.
mean_field = Parameterization(
    name="mean_field",
    input=LayerScaling(
        multiplier=_INVERSE_ROOT, variance=_ONE, sgd=PowerLaw(fan_out=1.0), adam=_INVERSE_ROOT
    ),
    hidden=LayerScaling(
        multiplier=_INVERSE_ROOT, variance=_ONE, sgd=PowerLaw(fan_out=1.0), adam=_INVERSE_ROOT
    ),
    readout=LayerScaling(
        multiplier=PowerLaw(fan_in=-1.0), variance=_ONE, sgd=PowerLaw(fan_in=1.0), adam=_ONE
    ),
    bias=_bias(sgd=PowerLaw(fan_out=1.0), adam=_ONE),
)

# Maximal-update parameterization (arXiv 2203.03466, table 8, whose columns give the learning rate of the effective weight
# multiplier * w; dividing by multiplier**2 for gradient descent and by multiplier for Adam gives that of w).
mup = Parameterization(
    name="mup",
    input=LayerScaling(
        multiplier=_INVERSE_ROOT,
        variance=_ONE,
        sgd=PowerLaw(fan_in=1.0, fan_out=1.0),
        adam=PowerLaw(fan_in=0.5),
    ),
    hidden=LayerScaling(
        multiplier=_INVERSE_ROOT, variance=_ONE, sgd=PowerLaw(fan_in=1.0), adam=_INVERSE_ROOT
    ),
    readout=mean_field.readout,
    bias=mean_field.bias,
)


def parameterization(name: str) -> Parameterization:
    """The parameterization called ``name``.

    Args:
        name: One of ``"standard"``, ``"ntk"``, ``"mean_field"``, ``"mup"``.

    Raises:
        ValueError: If there is no such parameterization.
    """
    known = {p.name: p for p in (standard, ntk, mean_field, mup)}
    if name not in known:
        raise ValueError(f"parameterization: {name!r} is unknown; expected one of {sorted(known)}")
    return known[name]
