"""Exact reductions: the same posterior in fewer coordinates.

Weights of the first layer enter only through their projection on the span of the training inputs, and readout weights of a
Gaussian likelihood only through a Gaussian integral. Both can be taken out of what is sampled and drawn afterwards, from
their exact conditional law, so that nothing about the posterior changes but the cost of sampling it:

    >>> from hiddencodes.models import MLP, Posterior, mean_field, sigmoidal
    >>> from hiddencodes.tasks import orthogonal_classes
    >>> task = orthogonal_classes(n_train=8, n_inputs=100)
    >>> posterior = Posterior(MLP(task.n_inputs, task.n_outputs, 10, 1, sigmoidal, mean_field), task, n_temperature=0.1)
    >>> reduced = integrate_readout(whiten_inputs(project_inputs(posterior)))
    >>> posterior.mlp.n_parameters, reduced.dimension
    (1030, 80)
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from hiddencodes.models.likelihood import Likelihood
from hiddencodes.models.mlp import Params
from hiddencodes.models.posterior import Posterior
from hiddencodes.models.readout_regression import draw_readout, readout_weight

# Singular values of the inputs below this, relative to the largest and per row or column, are rounding.
_RANK = 4.0 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Reduced:
    """A posterior in reduced coordinates, made by `project_inputs`, `whiten_inputs` and `integrate_readout`.

    Attributes:
        original: The posterior over all weights.
        posterior: The posterior of the network that reads projected inputs: coordinates along the training inputs first, then
            those that only test inputs have. The latter do not enter the training set: their weights keep their prior.
        basis: Orthonormal columns V; projected inputs are ``X V`` up to a factor, (input, projected_input).
        n_along: How many projected inputs the training set has: the rank R of its inputs.
        readout_integrated: Whether the readout is integrated out.

    Example:
        >>> from hiddencodes.models import MLP, mean_field, sigmoidal
        >>> from hiddencodes.tasks import orthogonal_classes
        >>> task = orthogonal_classes(n_train=8, n_inputs=20)
        >>> reduced = project_inputs(Posterior(MLP(20, 3, 10, 1, sigmoidal, mean_field), task, n_temperature=0.1))
        >>> weights = reduced.original.sample_prior(jax.random.key(0))
        >>> small = reduced.to_reduced(weights)
        >>> again = reduced.from_reduced(jax.random.key(1), small)
        >>> small["hidden_1"]["kernel"].shape, again["hidden_1"]["kernel"].shape
        ((8, 10), (20, 10))
    """

    original: Posterior
    posterior: Posterior
    basis: Float[np.ndarray, "input projected_input"]
    n_along: int
    readout_integrated: bool = False

    @property
    def dimension(self) -> int:
        """Number of coordinates that are sampled."""
        mlp = self.posterior.mlp
        readout = mlp.width * mlp.n_outputs if self.readout_integrated else 0
        return mlp.n_parameters - (mlp.n_inputs - self.n_along) * mlp.width - readout

    @property
    def description(self) -> str:
        """The coordinates in words."""
        inputs = (
            f"{self.n_along} projected inputs" if self.n_along < self.original.task.n_inputs else "weights"
        )
        return inputs + (", readout integrated out" if self.readout_integrated else "")

    def to_reduced(self, params: Params) -> Params:
        """The coordinates that are sampled, of given weights.

        Args:
            params: Weights of the original network.

        Returns:
            Weights of the first layer along the training inputs (rank, unit), the other layers as they are, and no readout
            where it is integrated out.
        """
        kernel = params["hidden_1"]["kernel"]
        ratio = jnp.asarray(self._std(self.posterior) / self._std(self.original), kernel.dtype)
        along = ratio * (jnp.asarray(self.basis[:, : self.n_along], kernel.dtype).T @ kernel)
        result = {**params, "hidden_1": {**params["hidden_1"], "kernel": along}}
        if self.readout_integrated:
            del result["readout"]
        return result

    def from_reduced(self, key: PRNGKeyArray, reduced: Params) -> Params:
        """Weights of the original network: what is not sampled is drawn from its exact law given what is.

        Args:
            key: Random key.
            reduced: Coordinates as `to_reduced` returns them.
        """
        input_key, readout_key = jax.random.split(key)
        along = reduced["hidden_1"]["kernel"]
        basis = jnp.asarray(self.basis[:, : self.n_along], along.dtype)
        std = jnp.asarray(self._std(self.original), along.dtype)
        ratio = std / jnp.asarray(self._std(self.posterior), along.dtype)
        prior = std * jax.random.normal(input_key, (len(basis), along.shape[1]), along.dtype)
        kernel = prior + basis @ (ratio * along - basis.T @ prior)
        params = {**reduced, "hidden_1": {**reduced["hidden_1"], "kernel": kernel}}
        if self.readout_integrated:
            params["readout"] = {"kernel": self._drawn_readout(readout_key, params)}
        return params

    def _drawn_readout(self, key: PRNGKeyArray, params: Params) -> Float[Array, "unit output"]:
        mlp, task = self.original.mlp, self.original.task
        dtype = params["hidden_1"]["kernel"].dtype
        empty = {"kernel": jnp.zeros((mlp.width, mlp.n_outputs), dtype)}
        phi = mlp.apply({**params, "readout": empty}, jnp.asarray(task.x_train, dtype)).postactivations[-1]
        std = self.original.data().prior_std["readout"]["kernel"]
        y, temperature = jnp.asarray(task.y_train, dtype), self.original.temperature
        assert temperature is not None
        return jnp.asarray(std, dtype) * draw_readout(key, phi, y, readout_weight(mlp, std), temperature)

    def _std(self, posterior: Posterior) -> float:
        return float(posterior.data().prior_std["hidden_1"]["kernel"])


def project_inputs(posterior: Posterior | Reduced) -> Reduced:
    """Sample the weights of the first layer along the training inputs only: rank(X) x N numbers instead of N0 x N.

    The other directions keep their prior and are drawn on demand: for test inputs in the observables of a run, all of
    them in `Reduced.from_reduced`. With the singular value decomposition X = U S V^T the projected inputs are
    ``X V = U S``, rescaled so that the network of fewer inputs has the same prior of pre-activations.

    Args:
        posterior: The posterior, of any depth, with any likelihood.

    Returns:
        The reduced posterior.

    Raises:
        ValueError: If all training inputs are zero.

    Example:
        >>> from hiddencodes.models import MLP, mean_field, relu
        >>> from hiddencodes.tasks import mnist
        >>> task = mnist(digits=(0, 1), n_train=20)
        >>> posterior = Posterior(MLP(task.n_inputs, task.n_outputs, 50, 1, relu, mean_field), task, n_temperature=0.1)
        >>> posterior.mlp.n_parameters, project_inputs(posterior).dimension  # 20 centered patterns: rank 19
        (39300, 1050)
    """
    if isinstance(posterior, Reduced):
        projected = project_inputs(posterior.original)
        return replace(projected, readout_integrated=posterior.readout_integrated)
    x_train, x_test = posterior.task.x_train, posterior.task.x_test
    along = _row_space(x_train)
    # What is left of a test input inside the span is rounding, relative to the input as it was.
    rest = x_test - (x_test @ along) @ along.T
    size = np.linalg.norm(x_test, 2) if x_test.size else 0.0
    beyond = _row_space(rest, largest=size)
    if not along.size:
        raise ValueError("posterior: all training inputs are zero, there is nothing to project on")
    return _with_basis(_as_it_is(posterior), np.concatenate([along, beyond], axis=1), along.shape[1])


def whiten_inputs(posterior: Posterior | Reduced) -> Reduced:
    """Rotate projected inputs so that every training pattern has a coordinate of its own, in which its pre-activation is white.

    With as many independent training inputs as patterns the projected inputs become the symmetric square root of the
    kernel, ``(X X^T)^(1/2)``: pre-activations on the training set are ``z = K0^(1/2) xi`` with xi ~ N(0, 1) a priori, one
    row of xi per pattern. For orthogonal inputs the root is diagonal, which saves the product with the inputs. Where
    patterns are linearly dependent there is no such rotation, and the projection is returned as it is.

    Args:
        posterior: The posterior, projected or not; it is projected first.

    Returns:
        The reduced posterior.

    Example:
        >>> from hiddencodes.models import MLP, mean_field, sigmoidal
        >>> from hiddencodes.tasks import orthogonal_classes
        >>> task = orthogonal_classes(n_train=8, n_inputs=20)
        >>> reduced = whiten_inputs(Posterior(MLP(20, 3, 10, 1, sigmoidal, mean_field), task, n_temperature=0.1))
        >>> bool(np.allclose(reduced.posterior.task.x_train[:, :8], np.sqrt(8) * np.eye(8)))
        True
    """
    reduced = project_inputs(posterior)
    along = reduced.basis[:, : reduced.n_along]
    x_train = reduced.original.task.x_train
    if reduced.n_along < len(x_train):
        return reduced
    u, _, vt = np.linalg.svd(x_train @ along)
    turned = along @ vt.T @ u.T
    basis = np.concatenate([turned, reduced.basis[:, reduced.n_along :]], axis=1)
    return _with_basis(reduced, basis, reduced.n_along)


def integrate_readout(posterior: Posterior | Reduced) -> Reduced:
    """Integrate the readout weights out of a posterior with Gaussian likelihood (the collapsed posterior).

    What is sampled is ``log p(W | D) = -|W|^2/2 + log E_a exp(-loss/T)`` (`readout_evidence`), which costs a Cholesky
    decomposition of the smaller of P x P and N x N per gradient; the readout is drawn exactly afterwards.

    Args:
        posterior: The posterior, reduced or not.

    Raises:
        ValueError: If the likelihood is not Gaussian.

    Example:
        >>> from hiddencodes.models import MLP, mean_field, sigmoidal
        >>> from hiddencodes.tasks import orthogonal_classes
        >>> task = orthogonal_classes(n_train=8)
        >>> reduced = integrate_readout(Posterior(MLP(8, 3, 10, 1, sigmoidal, mean_field), task, n_temperature=0.1))
        >>> reduced.dimension
        80
    """
    reduced = posterior if isinstance(posterior, Reduced) else _as_it_is(posterior)
    likelihood = reduced.original.likelihood
    assert isinstance(likelihood, Likelihood)
    if likelihood.name != "gaussian":
        raise ValueError(
            f"likelihood: only a Gaussian one lets the readout be integrated out, got {likelihood.name!r}"
        )
    return replace(reduced, readout_integrated=True)


def _as_it_is(posterior: Posterior) -> Reduced:
    n_inputs = posterior.task.n_inputs
    return Reduced(posterior, posterior, np.eye(n_inputs), n_inputs)


def _row_space(x: Float[np.ndarray, "row input"], largest: float | None = None) -> np.ndarray:
    """Orthonormal basis of the span of the rows, (input, rank)."""
    if not x.size:
        return np.zeros((x.shape[1], 0))
    _, s, vt = np.linalg.svd(x, full_matrices=False)
    scale = float(s[0]) if largest is None else largest
    return vt[s > _RANK * max(x.shape) * scale].T


def _with_basis(reduced: Reduced, basis: np.ndarray, n_along: int) -> Reduced:
    """The same posterior in the coordinates of another basis."""
    original = reduced.original
    n_inputs = basis.shape[1]
    mlp = replace(original.mlp, n_inputs=n_inputs)
    # Weights of equal prior: what a layer multiplies its inputs with changes with their number.
    scale = np.sqrt(n_inputs / original.task.n_inputs)
    projected = [scale * (x @ basis) for x in (original.task.x_train, original.task.x_test)]
    projected[0][:, n_along:] = 0.0
    task = replace(original.task, x_train=projected[0], x_test=projected[1])
    return replace(
        reduced,
        posterior=replace(original, mlp=mlp, task=task, n_temperature=None),
        basis=basis,
        n_along=n_along,
    )
