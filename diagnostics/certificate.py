"""Is a trained network at the global minimum? A bound by duality says how far above it can be at most."""

# JAX's asarray has no full type.
# pyright: reportUnknownMemberType=false

import math
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from hiddencodes.models import MLP, Params
from hiddencodes.models.unit_gain import largest_gains
from hiddencodes.models.weight_decay_dual import dual_bound, has_free_constant, loss_and_residuals
from hiddencodes.tasks.arguments import positive_number


class OptimalityCertificate(NamedTuple):
    """How far networks can be from the global minimum, of networks of any number of units.

    Attributes:
        objective: Loss and decay of each network.
        bound: Lower bound on the objective of every network, from this one's residuals.
        gap: Objective minus bound, over the objective; the network cannot be further above the global minimum.
        largest_gain: Of a unit that could be added, over the gain that pays for its decay: 1 at a minimum, above 1 where a new unit lowers the
            objective.
        searches: By what share of the largest gain the worst of the better half of the searches fell short: if it is much, the search for
            the best unit is difficult, and the bound is to be doubted.

    >>> from hiddencodes.models import linear, standard
    >>> weights = {"hidden_1": {"kernel": np.zeros((1, 1))}, "readout": {"kernel": np.zeros((1, 1))}}
    >>> found = optimality_certificate(MLP(1, 1, 1, 1, linear, standard), weights, [[1.0]], [[2.0]], starts=4)
    >>> float(found.objective), float(found.largest_gain.round(6))
    (2.0, 20.0)
    """

    objective: Float[np.ndarray, "*batch"]
    bound: Float[np.ndarray, "*batch"]
    gap: Float[np.ndarray, "*batch"]
    largest_gain: Float[np.ndarray, "*batch"]
    searches: Float[np.ndarray, "*batch"]


def optimality_certificate(
    mlp: MLP,
    weights: Mapping[str, Mapping[str, ArrayLike]],
    inputs: ArrayLike,
    targets: ArrayLike,
    *,
    loss: str = "gaussian",
    hidden_decay: float = 0.1,
    readout_decay: float = 0.1,
    bias_decay: float | None = None,
    starts: int = 256,
    seed: int = 0,
) -> OptimalityCertificate:
    """Bound how far trained networks of one hidden layer are above the global minimum of

        loss(F)  +  lambda_w/2 |W|^2  +  lambda_b/2 |b|^2  +  lambda_a/2 |A|^2,

    as `hiddencodes.sampling.train` minimizes it with ``loss="sum"``; with ``loss="mean"`` all decay rates are to be multiplied by the number of
    patterns. Residuals, scaled down until no unit's gain pays for its decay, are feasible for the dual problem. That no unit was
    overlooked rests on a search from many starts, accurate to about 1e-5. The gap is of the order of the square root of the true excess: a
    tighter answer is the objective against the bound of `hiddencodes.theory.global_minimum`.

    Args:
        mlp: The network.
        weights: As `hiddencodes.sampling.final_weights` returns them, every array with the same leading axes.
        inputs: Training inputs (pattern, input).
        targets: Training targets (pattern, output).
        loss: ``"gaussian"`` or ``"bernoulli"``.
        hidden_decay: lambda_w.
        readout_decay: lambda_a.
        bias_decay: lambda_b of networks with biases; None for that of the weights, 0 for free biases.
        starts: Random starts of the search for the unit of largest gain.
        seed: Seed of the starts.

    Raises:
        ValueError: If the network has more than one hidden layer, or an argument is out of range.

    Example:
        >>> from hiddencodes.models import relu, standard
        >>> weights = {"hidden_1": {"kernel": np.zeros((2, 4, 5))}, "readout": {"kernel": np.zeros((2, 5, 1))}}
        >>> y = np.array([[1.0], [1.0], [-1.0], [-1.0]])
        >>> found = optimality_certificate(MLP(4, 1, 5, 1, relu, standard), weights, np.eye(4), y, starts=16)
        >>> found.gap.round(2), found.largest_gain.round(2)  # silent networks are far from it
        (array([0.86, 0.86]), array([14.14, 14.14]))
    """
    if mlp.depth != 1:
        raise ValueError(f"mlp: the bound is for one hidden layer, got depth={mlp.depth}")
    for name, value in (("hidden_decay", hidden_decay), ("readout_decay", readout_decay)):
        positive_number(name, value)
    of_bias = hidden_decay if bias_decay is None else bias_decay
    if not (math.isfinite(of_bias) and of_bias >= 0):
        raise ValueError(f"bias_decay: expected a number that is not negative, got {bias_decay!r}")
    x, y = np.asarray(inputs, float), np.asarray(targets, float)
    multipliers = [
        mlp.parameterization.layer(shape.index, mlp.depth).multiplier(shape.fan_in, shape.fan_out)
        for shape in mlp.layers()
    ]
    arrays = {name: {k: np.asarray(v, float) for k, v in layer.items()} for name, layer in weights.items()}
    outputs = network_outputs(mlp, arrays, x)
    value, residuals = loss_and_residuals(loss, outputs, y)
    rates = {"hidden_1": {"kernel": hidden_decay, "bias": of_bias}, "readout": {"kernel": readout_decay}}
    objective = value + sum(
        rates[name][kind] / 2 * np.sum(array**2, axis=tuple(range(len(value.shape), array.ndim)))
        for name, layer in arrays.items()
        for kind, array in layer.items()
    )
    # In units of the weights that act, decay rates are divided by the squared multipliers.
    hidden, readout = hidden_decay / multipliers[0] ** 2, readout_decay / multipliers[1] ** 2
    free = mlp.bias and of_bias == 0
    if mlp.bias and not free:
        x = np.column_stack([x, np.full(len(x), math.sqrt(hidden / of_bias))])
    found = largest_gains(residuals, x, mlp.activation, free_bias=free, starts=starts, seed=seed)
    largest = found.gain.max(-1)
    limit = math.sqrt(hidden * readout)
    centre = has_free_constant(mlp.activation, free_bias=free)
    bound = dual_bound(loss, residuals, y, limit / np.maximum(largest, 1e-300), centre=centre)
    better = np.sort(found.gain, axis=-1)[..., found.gain.shape[-1] // 2]
    return OptimalityCertificate(
        objective, bound, (objective - bound) / objective, largest / limit, 1 - better / largest
    )


def network_outputs(
    mlp: MLP, weights: Mapping[str, Mapping[str, ArrayLike]], inputs: ArrayLike
) -> Float[np.ndarray, "*batch pattern output"]:
    """Outputs of many networks, in double precision.

    Args:
        mlp: The network.
        weights: Every array with the same leading axes, as `hiddencodes.sampling.final_weights` returns them.
        inputs: (pattern, input).

    >>> from hiddencodes.models import linear, standard
    >>> weights = {"hidden_1": {"kernel": np.ones((3, 2, 1, 4))}, "readout": {"kernel": np.ones((3, 2, 4, 1))}}
    >>> network_outputs(MLP(1, 1, 4, 1, linear, standard), weights, [[2.0]]).shape
    (3, 2, 1, 1)
    """
    with jax.enable_x64(True):
        lead = np.shape(weights["readout"]["kernel"])[:-2]
        x = jnp.asarray(np.asarray(inputs, float))

        def flat(array: ArrayLike) -> Array:
            values = np.asarray(array, float)
            return jnp.asarray(values.reshape(-1, *values.shape[len(lead) :]))

        def output(params: Params) -> Array:
            return mlp.apply(params, x).output

        together = {name: {k: flat(v) for k, v in layer.items()} for name, layer in weights.items()}
        found = np.asarray(jax.vmap(output)(together))
    return found.reshape(*lead, *found.shape[1:])
