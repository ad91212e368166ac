"""The posterior over weights: prior, likelihood, temperature and task in one object."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray

from hiddencodes.models.likelihood import Likelihood
from hiddencodes.models.likelihood import likelihood as likelihood_by_name
from hiddencodes.models.mlp import MLP, Activations, Params, weight_shapes
from hiddencodes.models.prior import GaussianPrior, log_prior, sample_prior
from hiddencodes.tasks import Task


class PosteriorData(NamedTuple):
    """Everything about a posterior that may change without recompiling: arrays only, a pytree.

    Attributes:
        x_train: Training inputs (pattern, input).
        y_train: Training targets (pattern, output).
        labels_train: Class of every training pattern (pattern,).
        class_average: ``class_average[mu, c] = 1/P_c`` if mu belongs to class c, else 0 (pattern, class).
        x_test: Test inputs (test_pattern, input).
        temperature: T.
        prior_std: Prior standard deviation of every leaf of the weights.
    """

    x_train: Float[ArrayLike, "*seed pattern input"]
    y_train: Float[ArrayLike, "*seed pattern output"]
    labels_train: Int[ArrayLike, "*seed pattern"]
    class_average: Float[ArrayLike, "*seed pattern class"]
    x_test: Float[ArrayLike, "*seed test_pattern input"]
    temperature: Float[ArrayLike, "*seed"]
    prior_std: Any


def train_loss(
    mlp: MLP, likelihood: Likelihood, params: Params, data: PosteriorData
) -> tuple[Float[Array, ""], Activations]:
    """The loss on the training set and the forward pass that gave it.

    Args:
        mlp: The network.
        likelihood: The likelihood, whose loss is not yet divided by the temperature.
        params: Weights.
        data: The posterior's arrays, without a seed axis.

    Returns:
        The loss, a scalar, and the activations on the training set.

    Example:
        >>> from hiddencodes.models import gaussian, mean_field, sigmoidal
        >>> from hiddencodes.tasks import orthogonal_classes
        >>> posterior = Posterior(MLP(8, 3, 10, 1, sigmoidal, mean_field), orthogonal_classes(8), temperature=0.1)
        >>> params = jax.tree.map(jnp.zeros_like, posterior.sample_prior(jax.random.key(0)))
        >>> loss, activations = train_loss(posterior.mlp, gaussian, params, posterior.data())
        >>> loss.item()  # every output is 0; every pattern has one target of 1
        4.0
    """
    activations = mlp.apply(params, jnp.asarray(data.x_train))
    loss = likelihood.loss(activations.output, jnp.asarray(data.y_train), jnp.asarray(data.labels_train))
    return loss, activations


def log_density(mlp: MLP, likelihood: Likelihood, params: Params, data: PosteriorData) -> Float[Array, ""]:
    """``log p(data | params) + log p(params)`` with all normalizing constants of the Gaussians.

    The function behind `Posterior.log_density`, with everything that may change without recompiling in ``data``.

    Args:
        mlp: The network.
        likelihood: The likelihood.
        params: Weights.
        data: The posterior's arrays, without a seed axis.

    Returns:
        A scalar in the dtype of the weights.

    Example:
        >>> from hiddencodes.models import gaussian, mean_field, sigmoidal
        >>> from hiddencodes.tasks import orthogonal_classes
        >>> posterior = Posterior(MLP(8, 3, 10, 1, sigmoidal, mean_field), orthogonal_classes(8), temperature=0.1)
        >>> params = posterior.sample_prior(jax.random.key(0))
        >>> bool(log_density(posterior.mlp, gaussian, params, posterior.data()) == posterior.log_density(params))
        True
    """
    loss, _ = train_loss(mlp, likelihood, params, data)
    temperature = jnp.asarray(data.temperature, loss.dtype)
    constant = likelihood.log_normalizer(np.size(data.y_train), temperature)
    return log_prior(params, data.prior_std) - loss / temperature + constant


@dataclass(frozen=True, eq=False)
class Posterior:
    """The posterior of an `MLP`'s weights on a `Task`.

        log p(theta | D) = -loss(theta) / T + log prior(theta) + constant,

    with ``loss = (1/2) sum_{mu,r} (y - f)^2`` (Gaussian), ``-sum_mu log softmax(f)[label]`` (categorical) or
    ``sum_{mu,r} log(1 + exp(-y f))`` (Bernoulli, targets +1 and -1). The
    temperature may be given as T or as the width-independent ``n_temperature = N T``: the log prior is O(N P) and the loss
    over T is O(P/T), so T = O(1/N) keeps both terms of one order (arXiv 2406.16689).

    Args:
        mlp: The network.
        task: The data.
        prior: The Gaussian prior over weights.
        likelihood: ``"gaussian"``, ``"categorical"`` or ``"bernoulli"``, or a `Likelihood`.
        temperature: T > 0.
        n_temperature: N T > 0; give exactly one of the two.

    Raises:
        ValueError: If the network and the task do not fit, or the temperature is missing, given twice or not positive.

    Example:
        >>> from hiddencodes.models import mean_field, sigmoidal
        >>> from hiddencodes.tasks import orthogonal_classes
        >>> task = orthogonal_classes(n_train=8)
        >>> mlp = MLP(task.n_inputs, task.n_outputs, 10, 1, sigmoidal, mean_field)
        >>> posterior = Posterior(mlp, task, n_temperature=0.01)
        >>> params = posterior.sample_prior(jax.random.key(0))
        >>> posterior.log_density(params).shape
        ()
    """

    mlp: MLP
    task: Task
    prior: GaussianPrior = field(default_factory=GaussianPrior)
    likelihood: Likelihood | str = "gaussian"
    temperature: float | None = None
    n_temperature: float | None = None

    def __post_init__(self) -> None:  # noqa: D105
        if isinstance(self.likelihood, str):
            object.__setattr__(self, "likelihood", likelihood_by_name(self.likelihood))
        if (self.temperature is None) == (self.n_temperature is None):
            raise ValueError(
                "temperature, n_temperature: expected exactly one of the two, got "
                f"temperature={self.temperature!r} and n_temperature={self.n_temperature!r}"
            )
        name = "temperature" if self.n_temperature is None else "n_temperature"
        value = getattr(self, name)
        if not 0.0 < value < float("inf"):
            raise ValueError(f"{name}: expected a positive finite number, got {value!r}")
        if self.temperature is None:
            object.__setattr__(self, "temperature", value / self.mlp.width)
        else:
            object.__setattr__(self, "n_temperature", value * self.mlp.width)
        for ours, theirs, text in (
            (self.mlp.n_inputs, self.task.n_inputs, "inputs"),
            (self.mlp.n_outputs, self.task.n_outputs, "outputs"),
        ):
            if ours != theirs:
                raise ValueError(f"mlp: it has {ours} {text} but the task has {theirs}")
        if self._likelihood.name == "categorical" and self.task.n_outputs != self.task.n_classes:
            raise ValueError(
                f"likelihood: categorical needs one output per class, got {self.task.n_outputs} outputs for "
                f"{self.task.n_classes} classes"
            )

        if self._likelihood.name == "bernoulli":
            wrong = self.task.y_train[np.abs(self.task.y_train) != 1]
            if len(wrong):
                raise ValueError(f"likelihood: bernoulli needs targets of +1 and -1, got {wrong[0]:g}")

    @property
    def _likelihood(self) -> Likelihood:
        assert isinstance(self.likelihood, Likelihood)
        return self.likelihood

    @property
    def readout_variance(self) -> float:
        """The prior variance sigma_a^2 of a readout weight, with the rule resolved."""
        return self.prior.resolve_readout_variance(self.mlp, self.task.n_train)

    def data(self) -> PosteriorData:
        """The arrays of this posterior (NumPy, double precision)."""
        task = self.task
        one_hot = np.arange(task.n_classes)[None, :] == task.labels_train[:, None]
        assert self.temperature is not None
        return PosteriorData(
            x_train=task.x_train,
            y_train=task.y_train,
            labels_train=task.labels_train,
            class_average=one_hot / task.class_counts[None, :],
            x_test=task.x_test,
            temperature=np.asarray(self.temperature, float),
            prior_std=jax.tree.map(
                lambda s: np.asarray(s, float), self.prior.standard_deviations(self.mlp, task.n_train)
            ),
        )

    def log_density(self, params: Params) -> Float[Array, ""]:
        """The log-density at ``params``, normalized but for the evidence (and the tempering of the categorical likelihood).

        A plain function of a pytree: differentiate it, hand it to any sampler.

        Args:
            params: Weights.

        Returns:
            A scalar in the dtype of the weights.

        Example:
            >>> from hiddencodes.models import mean_field, sigmoidal
            >>> from hiddencodes.tasks import orthogonal_classes
            >>> posterior = Posterior(MLP(8, 3, 10, 1, sigmoidal, mean_field), orthogonal_classes(8), temperature=0.1)
            >>> gradient = jax.grad(posterior.log_density)(posterior.sample_prior(jax.random.key(0)))
            >>> jax.tree.map(lambda leaf: leaf.shape, gradient)
            {'hidden_1': {'kernel': (8, 10)}, 'readout': {'kernel': (10, 3)}}
        """
        return log_density(self.mlp, self._likelihood, params, self.data())

    def sample_prior(self, key: PRNGKeyArray) -> Params:
        """Weights drawn from the prior, in JAX's default floating-point type.

        Args:
            key: Random key.
        """
        return sample_prior(self.mlp, self.prior.standard_deviations(self.mlp, self.task.n_train), key)

    def to_numpyro(self) -> Callable[[], None]:
        """This posterior as a NumPyro model without arguments.

        Sites are called ``layer.leaf`` (``"hidden_1.kernel"``); the Gaussian likelihood is an observed site
        ``"targets"``, the categorical one a factor ``"log_likelihood"``. NumPyro's log-density equals `log_density`.

        Example:
            >>> import numpyro
            >>> from hiddencodes.models import mean_field, sigmoidal
            >>> from hiddencodes.tasks import orthogonal_classes
            >>> posterior = Posterior(MLP(8, 3, 10, 1, sigmoidal, mean_field), orthogonal_classes(8), temperature=0.1)
            >>> sites = numpyro.handlers.trace(numpyro.handlers.seed(posterior.to_numpyro(), 0)).get_trace()
            >>> {name: site["value"].shape for name, site in sites.items()}
            {'hidden_1.kernel': (8, 10), 'readout.kernel': (10, 3), 'targets': (8, 3)}
        """
        import numpyro
        import numpyro.distributions as dist

        std = self.prior.standard_deviations(self.mlp, self.task.n_train)
        shapes = weight_shapes(self.mlp)
        y_train = jnp.asarray(self.task.y_train)

        def model() -> None:
            params: dict[str, dict[str, Any]] = {
                layer: {
                    leaf: numpyro.sample(  # pyright: ignore[reportUnknownMemberType]
                        f"{layer}.{leaf}",
                        dist.Normal(0.0, std[layer][leaf]).expand(shape.shape).to_event(len(shape.shape)),
                    )
                    for leaf, shape in leaves.items()
                }
                for layer, leaves in shapes.items()
            }
            output = self.mlp.apply(params, jnp.asarray(self.task.x_train)).output
            assert self.temperature is not None
            if self._likelihood.name == "gaussian":
                noise = dist.Normal(output, self.temperature**0.5).to_event(2)
                numpyro.sample("targets", noise, obs=y_train)  # pyright: ignore[reportUnknownMemberType]
            else:
                loss = self._likelihood.loss(output, y_train, jnp.asarray(self.task.labels_train))
                numpyro.factor("log_likelihood", -loss / self.temperature)  # pyright: ignore

        return model
