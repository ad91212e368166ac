"""Gaussian priors over weights, with the readout's variance scaled by the number of training patterns."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from hiddencodes.models.mlp import MLP, Params

READOUT_RULES = ("1/P", "P^(-1/L)", "auto")


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
        """sigma_a^2 as a number for ``n_train`` = P patterns."""
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
        """The prior standard deviation of every leaf of the weights."""
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


def log_prior(params: Params, std: dict[str, dict[str, float]] | Params) -> Float[Array, ""]:
    """The log-density of the weights, ``sum_w log N(w; 0, std^2)``.

    Args:
        params: Weights.
        std: A pytree of the same structure with one standard deviation per leaf.
    """

    def leaf(w: Array, s: Array | float) -> Array:
        s = jnp.asarray(s, w.dtype)
        return -0.5 * jnp.sum((w / s) ** 2) - w.size * (
            jnp.log(s) + 0.5 * jnp.log(2 * jnp.pi).astype(w.dtype)
        )

    return jnp.stack(jax.tree.leaves(jax.tree.map(leaf, params, std))).sum()


def sample_prior(mlp: MLP, std: dict[str, dict[str, float]] | Params, key: PRNGKeyArray) -> Params:
    """Weights drawn from the prior with one standard deviation per leaf."""
    variance_of_init = GaussianPrior(readout_variance=1.0).standard_deviations(mlp, 1)
    return jax.tree.map(
        lambda w, s, s0: w * (jnp.asarray(s, w.dtype) / s0), mlp.init(key), std, variance_of_init
    )
