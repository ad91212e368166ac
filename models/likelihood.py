"""Likelihoods: how outputs are scored against targets at a temperature."""

from collections.abc import Callable
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

Loss = Callable[[Array, Array, Array], Array]


def _squared_error(
    output: Float[Array, "pattern output"],
    targets: Float[Array, "pattern output"],
    labels: Int[Array, " pattern"],
) -> Float[Array, ""]:
    del labels
    return 0.5 * jnp.sum((targets.astype(output.dtype) - output) ** 2)


def _cross_entropy(
    output: Float[Array, "pattern output"],
    targets: Float[Array, "pattern output"],
    labels: Int[Array, " pattern"],
) -> Float[Array, ""]:
    del targets
    log_probabilities = jax.nn.log_softmax(output, axis=-1)
    return -jnp.sum(jnp.take_along_axis(log_probabilities, labels[:, None], axis=-1))


def _log_loss(
    output: Float[Array, "pattern output"],
    targets: Float[Array, "pattern output"],
    labels: Int[Array, " pattern"],
) -> Float[Array, ""]:
    del labels
    return jnp.sum(jax.nn.softplus(-targets.astype(output.dtype) * output))


@dataclass(frozen=True)
class Likelihood:
    """A loss turned into a likelihood, ``log p(data | f) = -loss / T + constant``.

    Likelihoods compare by name and loss, and equal ones share compiled programs; a loss should therefore be defined at
    module level.

    Attributes:
        name: ``"gaussian"``, ``"categorical"`` or ``"bernoulli"``.
        loss: ``(output, targets, labels) -> scalar``. Gaussian: ``(1/2) sum (y - f)^2``, a noise of variance T on every
            output. Categorical: ``-sum log softmax(f)[label]``, tempered by 1/T (unnormalized unless T = 1). Bernoulli:
            ``sum log(1 + exp(-y f))`` for targets y of +1 and -1, every output by itself; tempered as well.

    Example:
        >>> gaussian.loss(jnp.array([[1.0], [0.0]]), jnp.array([[3.0], [1.0]]), jnp.array([0, 0])).item()
        2.5
        >>> f"{categorical.loss(jnp.array([[5.0, 5.0]]), jnp.zeros((1, 2)), jnp.array([1])):.6f}"  # log 2
        '0.693147'
        >>> f"{bernoulli.loss(jnp.zeros((1, 2)), jnp.array([[1.0, -1.0]]), jnp.array([0])):.6f}"  # 2 log 2
        '1.386294'
    """

    name: str
    loss: Loss = field(repr=False)

    def log_normalizer(self, n_targets: int, temperature: Float[Array, ""]) -> Float[Array, ""]:
        """The constant: ``-(n/2) log(2 pi T)`` for the Gaussian likelihood, 0 for every other.

        Args:
            n_targets: Number n of scalar targets, patterns times outputs.
            temperature: T.

        Example:
            >>> f"{gaussian.log_normalizer(2, jnp.array(1.0)):.6f}"  # -log(2 pi)
            '-1.837877'
        """
        if self.name == "gaussian":
            return -0.5 * n_targets * jnp.log(2 * np.pi * temperature)
        return jnp.zeros_like(temperature)


gaussian = Likelihood("gaussian", _squared_error)
categorical = Likelihood("categorical", _cross_entropy)
bernoulli = Likelihood("bernoulli", _log_loss)


def likelihood(name: str) -> Likelihood:
    """The likelihood called ``name``.

    Args:
        name: ``"gaussian"``, ``"categorical"`` or ``"bernoulli"``.

    Raises:
        ValueError: If there is no such likelihood.

    Example:
        >>> likelihood("gaussian").name
        'gaussian'
    """
    known = {each.name: each for each in (gaussian, categorical, bernoulli)}
    if name not in known:
        raise ValueError(f"likelihood: {name!r} is unknown; expected one of {sorted(known)}")
    return known[name]
