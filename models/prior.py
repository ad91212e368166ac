"""Gaussian priors over weights, with the readout's variance scaled by the number of training patterns."""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from hiddencodes.models.mlp import MLP, Params

READOUT_RULES = ("1/P", "P^(-1/L)", "auto")

StandardDeviations = Mapping[str, Mapping[str, ArrayLike]]
"""One scalar per leaf, in the structure of `Params`."""


@dataclass(frozen=True)
class GaussianPrior:
    """Independent zero-mean Gaussian weights.

    The variance of a hidden weight is ``hidden_variance`` times the parameterization's; a readout weight has
    sigma_a^2 = s^2 r(P, L) times the parameterization's. The rule r keeps readouts O(1) *after* learning in the non-lazy
    scaling (arXiv 2406.16689): 1/P for bounded activations and for one hidden layer, P^(-1/L) for linear and positively
    homogeneous ones.

    Attributes:
        readout_variance: ``"1/P"``, ``"P^(-1/L)"``, a positive number, or ``"auto"``: 1 for the lazy parameterizations
            (standard, ntk), otherwise the rule that fits the activation.
        readout_scale: The prefactor s.
        hidden_variance: sigma_W^2.
        bias_variance: sigma_b^2.

    Raises:
        ValueError: If a variance is not positive and finite or the rule is unknown.

    Example:
        >>> from hiddencodes.models import mean_field, sigmoidal
        >>> mlp = MLP(5, 1, 10, 1, sigmoidal, mean_field)
        >>> GaussianPrior().resolve_readout_variance(mlp, n_train=50)
        0.02
    """

    readout_variance: float | str = "auto"
    readout_scale: float = 1.0
    hidden_variance: float = 1.0
    bias_variance: float = 1.0

    def __post_init__(self) -> None:  # noqa: D105
        rule = self.readout_variance
        if isinstance(rule, str) and rule not in READOUT_RULES:
            raise ValueError(
                f"readout_variance: {rule!r} is unknown; expected a number or one of {READOUT_RULES}"
            )
        for name in ("readout_variance", "readout_scale", "hidden_variance", "bias_variance"):
            value = getattr(self, name)
            if not isinstance(value, str) and not 0.0 < value < float("inf"):
                raise ValueError(f"{name}: expected a positive finite number, got {value!r}")

    def resolve_readout_variance(self, mlp: MLP, n_train: int) -> float:
        """The variance ``sigma_a^2 = s^2 r(P, L)`` of a readout weight, before the parameterization's own factor.

        Args:
            mlp: The network; its depth L, activation and parameterization settle the rule.
            n_train: Number of training patterns P.

        Example:
            >>> from hiddencodes.models import mean_field, relu
            >>> GaussianPrior(readout_scale=2.0).resolve_readout_variance(MLP(5, 1, 10, 2, relu, mean_field), 100)
            0.4
        """
        rule = self.readout_variance
        if rule == "auto":
            if mlp.parameterization.name in ("standard", "ntk"):
                rule = 1.0
            else:
                rule = "P^(-1/L)" if mlp.activation.positively_homogeneous else "1/P"
        if isinstance(rule, str):
            rule = 1.0 / n_train if rule == "1/P" else float(n_train) ** (-1.0 / mlp.depth)
        return self.readout_scale**2 * rule

    def standard_deviations(self, mlp: MLP, n_train: int) -> dict[str, dict[str, float]]:
        """The prior standard deviation of every leaf of the weights, in the structure of `Params`.

        Hidden weights: ``sqrt(sigma_W^2 v)`` with v the parameterization's variance; readout: ``sqrt(sigma_a^2 v)``;
        biases: sigma_b.

        Args:
            mlp: The network.
            n_train: Number of training patterns P.

        Example:
            >>> from hiddencodes.models import sigmoidal, standard
            >>> GaussianPrior(hidden_variance=4.0).standard_deviations(MLP(16, 1, 25, 1, sigmoidal, standard), n_train=9)
            {'hidden_1': {'kernel': 0.5}, 'readout': {'kernel': 0.2}}
        """
        result: dict[str, dict[str, float]] = {}
        for shape in mlp.layers():
            scaling = mlp.parameterization.layer(shape.index, mlp.depth)
            is_readout = shape.index == mlp.depth
            factor = self.resolve_readout_variance(mlp, n_train) if is_readout else self.hidden_variance
            leaves = {"kernel": (factor * scaling.variance(shape.fan_in, shape.fan_out)) ** 0.5}
            if mlp.bias and not is_readout:
                leaves["bias"] = self.bias_variance**0.5
            result[shape.name] = leaves
        return result


def log_prior(params: Params, std: StandardDeviations) -> Float[Array, ""]:
    """The log-density of the weights, ``sum_w log N(w; 0, std^2) = -sum_w [w^2 / (2 std^2) + log std + log(2 pi) / 2]``.

    Args:
        params: Weights.
        std: A pytree of the same structure with one standard deviation per leaf.

    Returns:
        A scalar in the dtype of the weights.

    Raises:
        ValueError: If the two structures differ.

    Example:
        >>> params = {"readout": {"kernel": jnp.array([[3.0]])}}
        >>> f"{log_prior(params, {'readout': {'kernel': 3.0}}):.5f}"  # -1/2 - log(3) - log(2 pi)/2
        '-2.51755'
    """

    def leaf(w: Array, s: ArrayLike) -> Array:
        s = jnp.asarray(s, w.dtype)
        return -0.5 * jnp.sum((w / s) ** 2) - w.size * (
            jnp.log(s) + 0.5 * jnp.log(2 * jnp.pi).astype(w.dtype)
        )

    return jnp.stack(jax.tree.leaves(jax.tree.map(leaf, params, std))).sum()


def sample_prior(mlp: MLP, std: StandardDeviations, key: PRNGKeyArray) -> Params:
    """Weights drawn from the prior, ``w ~ N(0, std^2)``.

    Args:
        mlp: The network.
        std: One standard deviation per leaf.
        key: Random key.

    Returns:
        The weights, in JAX's default floating-point type.

    Example:
        >>> from hiddencodes.models import mean_field, relu
        >>> mlp = MLP(4, 2, 8, 1, relu, mean_field)
        >>> std = GaussianPrior().standard_deviations(mlp, n_train=100)
        >>> sample_prior(mlp, std, jax.random.key(0))["readout"]["kernel"].shape
        (8, 2)
    """
    variance_of_init = GaussianPrior(readout_variance=1.0).standard_deviations(mlp, 1)
    return jax.tree.map(
        lambda w, s, s0: w * (jnp.asarray(s, w.dtype) / s0), mlp.init(key), std, variance_of_init
    )
