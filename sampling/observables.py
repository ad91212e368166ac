"""What is stored of a draw. Observables that do not change when hidden units are permuted are marked as such."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from hiddencodes.models.likelihood import Likelihood
from hiddencodes.models.mlp import MLP, Activations, Params, weight_shapes
from hiddencodes.models.posterior import PosteriorData
from hiddencodes.models.posterior import log_density as posterior_log_density
from hiddencodes.models.readout_regression import ReadoutPrediction, readout_regression, readout_weight


class Context(NamedTuple):
    """One draw as an observable sees it: weights, data, and the forward pass on the training set.

    Attributes:
        mlp: The network.
        likelihood: The likelihood.
        params: The weights.
        data: The posterior's arrays.
        activations: The forward pass on the training set.
        loss: The training loss.
        inputs: What the first layer reads of the training patterns: themselves, or behind a batch normalization that is in the weights here.
    """

    mlp: MLP
    likelihood: Likelihood
    params: Params
    data: PosteriorData
    activations: Activations
    loss: Float[Array, ""]
    inputs: Float[Array, "pattern input"]


@dataclass(frozen=True)
class Observable:
    """A named function of a draw.

    Attributes:
        name: Name of the variable in the run.
        dims: Names of the axes behind ``seed, chain, draw``.
        function: ``Context -> array``; pure JAX, no host calls.
        invariant: Whether the value is unchanged by permutations of hidden units. Invariant observables go to the run's
            ``posterior`` group, where convergence is judged; the others to ``units``.
        every: Only every k-th draw is stored, the last of each k; k above 1 has a group of its own, ``every_k``.
        dtype: Type in which it is stored, such as ``"float16"``; None for that of the run.

    Example:
        >>> norm = Observable("readout_norm", (), lambda c: jnp.sum(c.params["readout"]["kernel"] ** 2), invariant=True)
        >>> norm.name
        'readout_norm'
    """

    name: str
    dims: tuple[str, ...]
    function: Callable[[Context], Array] = field(repr=False)
    invariant: bool = True
    every: int = 1
    dtype: str | None = None

    def __post_init__(self) -> None:  # noqa: D105
        if self.every < 1:
            raise ValueError(f"every: expected a positive integer, got {self.every!r}")
        if self.dtype not in (None, "float16", "float32", "float64", "int8", "int32", "bool"):
            raise ValueError(f"dtype: expected the name of a type that can be stored, got {self.dtype!r}")

    @property
    def group(self) -> str:
        """The group of the run that it is stored in."""
        if self.every > 1:
            return f"every_{self.every}"
        return "posterior" if self.invariant else "units"


def weight_observables(mlp: MLP, *, every: int = 1, dtype: str | None = "float32") -> tuple[Observable, ...]:
    """All weights and biases of a network as observables, for those who want to store them: they are the largest part of a draw.

    Weights that are not sampled (see `hiddencodes.models.reductions`) are drawn from their exact law given the others. Single
    weights of exchangeable units say nothing about convergence.

    Args:
        mlp: The network.
        every: Only every k-th draw is stored.
        dtype: Type in which they are stored; None for that of the run.

    Returns:
        ``hidden_1_kernel`` (hidden_1_from, hidden_1_to) and so on.

    Example:
        >>> from hiddencodes.models import mean_field, relu
        >>> [o.name for o in weight_observables(MLP(3, 1, 10, 1, relu, mean_field), every=10)]
        ['hidden_1_kernel', 'readout_kernel']
    """

    def one(layer: str, leaf: str) -> Observable:
        axes = ("to",) if leaf == "bias" else ("from", "to")
        dims = tuple(f"{layer}_{axis}" for axis in axes)
        return Observable(f"{layer}_{leaf}", dims, _weight(layer, leaf), False, every, dtype)

    return tuple(one(layer, leaf) for layer, leaves in weight_shapes(mlp).items() for leaf in leaves)


@cache  # equal observables share compiled programs, and functions are equal to themselves only
def _weight(layer: str, leaf: str) -> Callable[[Context], Array]:
    return lambda c: c.params[layer][leaf]


def _class_means(c: Context) -> Float[Array, "layer class unit"]:
    averages = jnp.asarray(c.data.class_average)
    return jnp.stack([averages.T @ h for h in c.activations.postactivations])


def _class_diagonal(c: Context) -> Float[Array, "layer class"]:
    averages = jnp.asarray(c.data.class_average)
    return jnp.stack([averages.T @ jnp.mean(h**2, axis=1) for h in c.activations.postactivations])


def _kernel_blocks(c: Context) -> Float[Array, "layer class class_2"]:
    # The mean over all pairs of a block is an inner product of class means; the diagonal of K is then taken out of the
    # within-class blocks: (P_c^2 block - sum_mu K_mumu) / (P_c^2 - P_c).
    means = _class_means(c)
    blocks = jnp.einsum("lci,ldi->lcd", means, means) / c.mlp.width
    counts = 1.0 / jnp.max(jnp.asarray(c.data.class_average), axis=0)
    within = jnp.einsum("lcc->lc", blocks)
    # A class of one pattern has no pair: its within-class block is undefined, which NaN says (rounding over zero would
    # be infinite).
    others = jnp.where(counts > 1.0, counts - 1.0, jnp.nan)
    within = (within * counts[None, :] - _class_diagonal(c)) / others[None, :]
    eye = jnp.eye(counts.shape[0], dtype=bool)[None, :, :]
    return jnp.where(eye, within[:, :, None], blocks)


def _residual_multiplier(c: Context) -> Float[Array, "pattern output"]:
    n_temperature = c.mlp.width * jnp.asarray(c.data.temperature)
    return (jnp.asarray(c.data.y_train) - c.activations.output) / n_temperature


def _test_predictions(c: Context) -> Float[Array, "test_pattern output"]:
    return c.mlp.apply(c.params, jnp.asarray(c.data.x_test)).output


def _conditional_test(c: Context) -> ReadoutPrediction:
    if c.likelihood.name != "gaussian":
        raise ValueError(
            f"observables: the predictor given the hidden weights needs the Gaussian likelihood, got {c.likelihood.name!r}"
        )
    on_test = c.mlp.apply(c.params, jnp.asarray(c.data.x_test))
    return readout_regression(
        c.activations.postactivations[-1],
        on_test.postactivations[-1],
        jnp.asarray(c.data.y_train),
        readout_weight(c.mlp, c.data.prior_std["readout"]["kernel"]),
        c.data.temperature,
    )


def _readout(c: Context) -> Float[Array, "output unit"]:
    return c.params["readout"]["kernel"].T


def _readout_overlap(c: Context) -> Float[Array, "output output_2"]:
    a = _readout(c)
    return a @ a.T / c.mlp.width


def _log_density(c: Context) -> Float[Array, ""]:
    return posterior_log_density(c.mlp, c.likelihood, c.params, c.data)


kernel_blocks = Observable("kernel_blocks", ("layer", "class", "class_2"), _kernel_blocks)
kernel_diagonal = Observable("kernel_diagonal", ("layer", "class"), _class_diagonal)
train_loss = Observable("train_loss", (), lambda c: c.loss)
residual_multiplier = Observable("residual_multiplier", ("pattern", "output"), _residual_multiplier)
test_predictions = Observable("test_predictions", ("test_pattern", "output"), _test_predictions)
conditional_test_predictions = Observable(
    "conditional_test_predictions", ("test_pattern", "output"), lambda c: _conditional_test(c).mean
)
conditional_test_variance = Observable(
    "conditional_test_variance", ("test_pattern",), lambda c: _conditional_test(c).variance
)
log_density = Observable("log_density", (), _log_density)
readout_overlap = Observable("readout_overlap", ("output", "output_2"), _readout_overlap)
class_means = Observable("class_means", ("layer", "class", "unit"), _class_means, invariant=False)
readout = Observable("readout", ("output", "unit"), _readout, invariant=False)
train_predictions = Observable("train_predictions", ("pattern", "output"), lambda c: c.activations.output)


def default_observables(likelihood: Likelihood, n_test: int) -> tuple[Observable, ...]:
    """Everything that the diagnostics and the report read.

    With the kernel ``K_l(mu, nu) = N^-1 sum_i phi(z_i^l(mu)) phi(z_i^l(nu))`` of hidden layer l and c, d classes:

    - ``kernel_blocks`` (layer, class, class_2): mean of ``K_l(mu, nu)`` over mu in c and nu in d, mu = nu left out; NaN within
      a class of one pattern;
    - ``kernel_diagonal`` (layer, class): mean of ``K_l(mu, mu)`` over mu in c;
    - ``train_loss``, ``log_density``: scalars;
    - ``readout_overlap`` (output, output_2): ``U = a^T a / N`` of the readout weights a;
    - ``residual_multiplier`` (pattern, output): ``t = (y - f) / (N T)``;
    - ``test_predictions`` (test_pattern, output): f on the test set;
    - ``class_means`` (layer, class, unit): mean of ``phi(z_i^l(mu))`` over mu in c; not permutation-invariant;
    - ``readout`` (output, unit): ``a_i^r``; not permutation-invariant.

    Not among them, because they cost a Cholesky factorization per stored draw (some percent of a draw of 20 leapfrog steps),
    are `conditional_test_predictions` (test_pattern, output), E[f | hidden weights], and `conditional_test_variance`
    (test_pattern,), Var[f | hidden weights]: the readout integrated out, for the Gaussian likelihood (`readout_regression`).

    Args:
        likelihood: The residual multiplier belongs to the Gaussian likelihood.
        n_test: Test predictions are left out when there is no test set.

    Example:
        >>> from hiddencodes.models import categorical
        >>> [o.name for o in default_observables(categorical, n_test=0) if o.invariant]
        ['kernel_blocks', 'kernel_diagonal', 'train_loss', 'log_density', 'readout_overlap']
    """
    chosen = [kernel_blocks, kernel_diagonal, train_loss, log_density, readout_overlap, class_means, readout]
    if likelihood.name == "gaussian":
        chosen.append(residual_multiplier)
    if n_test:
        chosen.append(test_predictions)
    return tuple(chosen)
