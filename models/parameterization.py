"""The four parameterizations, as data: how multipliers, prior variances and learning rates scale with width.

A layer computes ``z = c (w @ x)`` with multiplier c and ``w ~ N(0, v)``. The functions that a network goes through in
training do not change (arXiv 2203.03466) when, at once,

    c -> c k,    v -> v / k^2,    gradient descent's rate -> rate / k^2,    Adam's rate -> rate / k,

because ``c w`` and its change in a step stay the same; Adam's epsilon must be negligible beside the gradients. This ties
``standard`` to ``ntk``, and ``mup`` to the tables of arXiv 2203.03466.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class PowerLaw:
    """A factor ``fan_in**p * fan_out**q``, called with the layer's two sizes.

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

    A step changes a weight by ``-eta * sgd * gradient`` in gradient descent and by ``-eta * adam * (normalized
    gradient of order one)`` in Adam, with one eta for the whole network; the loss is summed over outputs, and its
    derivative by an output is of order one in width.

    Attributes:
        multiplier: Forward multiplier of the weights.
        variance: Prior (and initialization) variance of a weight.
        sgd: Factor on the learning rate of (full-batch or stochastic) gradient descent.
        adam: Factor on the learning rate of Adam.

    Example:
        >>> layer = standard.hidden
        >>> layer.multiplier(100, 100), layer.variance(100, 100), layer.sgd(100, 100), layer.adam(100, 100)
        (1.0, 0.01, 0.01, 0.001)
    """

    multiplier: PowerLaw
    variance: PowerLaw
    sgd: PowerLaw
    adam: PowerLaw


@dataclass(frozen=True)
class BiasScaling:
    """How the learning rates of hidden biases scale; a bias has multiplier one and prior variance of order one.

    Attributes:
        sgd: Factor on the learning rate of gradient descent.
        adam: Factor on the learning rate of Adam.

    Example:
        >>> mean_field.bias.sgd(5, 200)
        200.0
    """

    sgd: PowerLaw
    adam: PowerLaw


@dataclass(frozen=True)
class Parameterization:
    """A parameterization of a multilayer perceptron, as data.

    Weights are sampled and stored as O(1) numbers (except in ``standard``) and the forward pass carries the multiplier.

    Attributes:
        name: The name used in study files.
        input: Scaling of the first layer, whose fan-in is the number of inputs.
        hidden: Scaling of the layers between hidden layers.
        readout: Scaling of the last layer.
        bias: Learning rates of the hidden biases (fan-in and fan-out are those of the layer's weights).

    Example:
        >>> mean_field.readout.multiplier(500, 3)
        0.002
    """

    name: str
    input: LayerScaling
    hidden: LayerScaling
    readout: LayerScaling
    bias: BiasScaling

    def layer(self, index: int, depth: int) -> LayerScaling:
        """The scaling of one weight layer of a network with ``depth`` hidden layers.

        Args:
            index: 0 is the input layer, ``depth`` the readout.
            depth: Number of hidden layers L.

        Raises:
            ValueError: If ``index`` is not in 0..depth.

        Example:
            >>> ntk.layer(1, depth=1) == ntk.readout, ntk.layer(1, depth=2) == ntk.hidden
            (True, True)
        """
        if not 0 <= index <= depth:
            raise ValueError(f"index: expected a weight layer in 0..{depth}, got {index!r}")
        if index == 0:
            return self.input
        return self.hidden if index < depth else self.readout


_INVERSE_ROOT = PowerLaw(fan_in=-0.5)

# Lazy: the output moves O(1) in a step while every hidden preactivation moves O(1/sqrt(N)) (arXiv 1806.07572).
_NTK_LAYER = LayerScaling(
    multiplier=_INVERSE_ROOT, variance=_ONE, sgd=_ONE, adam=PowerLaw(fan_in=-0.5, fan_out=-0.5)
)
ntk = Parameterization(
    name="ntk",
    input=_NTK_LAYER,
    hidden=_NTK_LAYER,
    readout=LayerScaling(multiplier=_INVERSE_ROOT, variance=_ONE, sgd=_ONE, adam=_INVERSE_ROOT),
    bias=BiasScaling(sgd=_ONE, adam=PowerLaw(fan_out=-0.5)),
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
    bias=BiasScaling(sgd=PowerLaw(fan_out=1.0), adam=_ONE),
)

# Maximal-update parameterization. Table 3 of arXiv 2203.03466 has multiplier one; its weights are our c w:
#
#                      input, biases   hidden      readout
#     variance         1/fan_in        1/fan_in    1/fan_in^2
#     gradient descent fan_out         1           1/fan_in
#     Adam             1               1/fan_in    1/fan_in
#
# With k = c (see the module's docstring) our w has variance / c^2 = 1 and the rates sgd / c^2 and adam / c. Table 8 there
# is the same with c = 1/fan_in in the readout only.
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

    Example:
        >>> parameterization("mup").hidden.adam(100, 100)
        0.1
    """
    known = {p.name: p for p in (standard, ntk, mean_field, mup)}
    if name not in known:
        raise ValueError(f"parameterization: {name!r} is unknown; expected one of {sorted(known)}")
    return known[name]
