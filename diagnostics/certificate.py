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
from hiddencodes.models.unit_gain import UnitGains, gains_of, largest_gains
from hiddencodes.models.weight_decay_dual import dual_bound, has_free_constant, loss_and_residuals
from hiddencodes.tasks.arguments import positive_number

# Best units of a search that are tried for all networks, and by what share an objective below a bound says that a search failed.
_SHARED, _FAILED = 32, 1e-4


class OptimalityCertificate(NamedTuple):
    """How far networks can be from the global minimum, of networks of any number of units.

    Attributes:
        objective: Loss and decay of each network.
        bound: Lower bound on the objective of every network, from this one's residuals; minus infinity if the search failed: it found
            only silent units, or less than this network's objective shows to be there.
        gap: Objective minus bound, over the objective; the network cannot be further above the global minimum.
        largest_gain: Of a unit that could be added, over the gain that pays for its decay: 1 at a minimum, above 1 where a new unit lowers the
            objective.
        searches: Share of the searches that ended within a thousandth of the largest gain: if it is small, the best unit is hard to find, and
            the bound is to be doubted, or taken again with more ``starts``.
        worst_search: Gain at the worst of the searches, over the largest.

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
    worst_search: Float[np.ndarray, "*batch"]


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
    if y.shape != outputs.shape[-2:] or not np.all(np.isfinite(y)):
        raise ValueError(
            f"targets: expected finite numbers of the shape {outputs.shape[-2:]}, got the shape {y.shape}"
        )
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
    own = found.gain.max(-1)
    centre = has_free_constant(mlp.activation, free_bias=free)
    known = UnitGains(
        *(
            np.concatenate(pair)
            for pair in zip(_best(found), _units(arrays, x, multipliers[0], free=free), strict=True)
        )
    )
    # Units of the networks themselves, and the best for any of them, count for all.
    largest = np.maximum(
        own, gains_of(known.preactivations, known.norm, residuals, mlp.activation, centre=centre).max(-1)
    )
    limit = math.sqrt(hidden * readout)
    with np.errstate(divide="ignore"):
        bound = dual_bound(loss, residuals, y, limit / largest, centre=centre)
    bound = np.where(objective < bound * (1.0 - _FAILED), -np.inf, bound)
    best = np.where(own > 0, own, np.inf)[..., None]
    return OptimalityCertificate(
        objective, bound, (objective - bound) / objective, largest / limit, np.mean(found.gain >= (1.0 - 1e-3) * best, axis=-1),
        np.min(found.gain / best, axis=-1),
    )  # fmt: skip


def _best(found: UnitGains) -> UnitGains:
    """The best units of every search, in one list."""
    order = np.argsort(-found.gain, axis=-1)[..., :_SHARED]
    pick = [np.take_along_axis(found.gain, order, -1), np.take_along_axis(found.preactivations, order[..., None], -2), np.take_along_axis(found.norm, order, -1)]  # fmt: skip
    return UnitGains(pick[0].ravel(), pick[1].reshape(-1, pick[1].shape[-1]), pick[2].ravel())


def _units(
    arrays: Mapping[str, Mapping[str, np.ndarray]], x: np.ndarray, multiplier: float, *, free: bool
) -> UnitGains:
    """The units of the networks; ``x`` has a column for biases that decay."""
    weights = multiplier * arrays["hidden_1"]["kernel"]
    bias = arrays["hidden_1"].get("bias")
    flat = np.swapaxes(weights, -1, -2).reshape(-1, weights.shape[-2])
    u, norm = x[:, : flat.shape[1]] @ flat.T, np.sum(flat**2, axis=1)
    if bias is not None:
        u = u + bias.reshape(-1)
        if not free:
            norm = norm + (bias.reshape(-1) / x[:, -1][0]) ** 2
    return UnitGains(np.zeros(len(norm)), u.T, np.sqrt(norm))


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
