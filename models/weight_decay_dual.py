"""Lower bounds on what networks of one hidden layer with weight decay can reach, from the residuals of any of them.

For ``loss(F) + lambda_w/2 |W|^2 + lambda_a/2 |A|^2`` with ``F = phi(X W) A``, any Z with

    |Z^T phi(u)| <= sqrt(lambda_a lambda_w) |w|    for every unit

bounds the objective of all networks of all widths from below: by ``tr(Z^T Y) - |Z|^2/2`` for half the squared error, and by the sum of the
entropies ``-p log p - (1-p) log(1-p)`` of ``p = Y Z`` for the log loss. This is the Lagrange dual of the convex problem over
distributions of preactivations; at a global minimum the bound by its residuals is the objective.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.special import entr, expit  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from hiddencodes.models.activations import Activation

# Of the scales at which residuals give a bound, so many are tried.
_SCALES = 400
# Residuals that are this small against the targets are rounding.
_NOTHING = 1e-12


def has_free_constant(activation: Activation, *, free_bias: bool) -> bool:
    """Whether outputs can have a constant part at no cost: by biases that do not decay, or where phi(0) is not zero.

    >>> from hiddencodes.models import relu, sigmoidal
    >>> has_free_constant(relu, free_bias=False), has_free_constant(sigmoidal, free_bias=False)
    (False, True)
    """
    return free_bias or abs(float(activation(jnp.zeros(1))[0])) > 0.0


def loss_and_residuals(
    loss: str, outputs: ArrayLike, targets: ArrayLike
) -> tuple[Float[np.ndarray, "*batch"], Float[np.ndarray, "*batch pattern output"]]:
    """The loss, summed over patterns and outputs, and minus its derivative by the outputs.

    Args:
        loss: ``"gaussian"``, half the squared error, or ``"bernoulli"``, the log loss of targets of +1 and -1.
        outputs: F (..., pattern, output).
        targets: Y (pattern, output).

    Raises:
        ValueError: If there is no such loss, or a target is not one that it takes.

    >>> loss_and_residuals("gaussian", [[0.5]], [[1.0]])[0].item()
    0.125
    """
    f, y = np.asarray(outputs, float), np.asarray(targets, float)
    if loss == "gaussian":
        return np.asarray(0.5 * np.sum((y - f) ** 2, axis=(-2, -1))), y - f
    if loss != "bernoulli":
        raise ValueError(f"loss: expected 'gaussian' or 'bernoulli', got {loss!r}")
    if np.any(np.abs(y) != 1):
        raise ValueError(f"targets: expected +1 and -1, got {y[np.abs(y) != 1][0]:g}")
    return np.asarray(np.sum(np.logaddexp(0.0, -y * f), axis=(-2, -1))), y * expit(-y * f)


def dual_bound(
    loss: str, residuals: ArrayLike, targets: ArrayLike, largest_scale: ArrayLike | float, *, centre: bool
) -> Float[np.ndarray, "*batch"]:
    """The best bound that residuals give when they are scaled down until no unit has too large a gain.

    Args:
        loss: As in `loss_and_residuals`.
        residuals: Z (..., pattern, output).
        targets: Y (pattern, output).
        largest_scale: sqrt(lambda_a lambda_w) over the largest gain, by which Z may be multiplied (...).
        centre: Whether outputs can have a constant part at no cost; then only residuals that sum to zero give a bound.

    Returns:
        Bounds (...); minus infinity where a scale is infinite although there are residuals: then the search for units found only silent
        ones, and knows nothing.

    >>> y = np.array([[1.0], [-1.0]])
    >>> round(float(dual_bound("gaussian", 0.5 * y, y, 1.0, centre=True)), 3)
    0.75
    """
    z, y = np.asarray(residuals, float), np.asarray(targets, float)
    if centre:
        z = z - z.mean(-2, keepdims=True)
    top = np.asarray(largest_scale, float)
    blind = ~np.isfinite(top) & (np.abs(z).max((-2, -1), initial=0.0) > _NOTHING * np.abs(y).max(initial=0.0))
    top = np.where(np.isfinite(top), top, 1.0)
    if loss == "gaussian":
        along, size = np.sum(z * y, axis=(-2, -1)), np.sum(z**2, axis=(-2, -1))
        scale = np.clip(along / np.where(size > 0, size, 1.0), 0.0, top)
        return np.where(blind, -np.inf, scale * along - 0.5 * scale**2 * size)
    p = y * z
    top = np.minimum(top, 1.0 / np.maximum(p.max((-2, -1)), 1e-300))
    scale = np.linspace(0.0, 1.0, _SCALES) * top[..., None]
    tried = np.sum(_entropy(scale[..., None, None] * p[..., None, :, :]), axis=(-2, -1))
    return np.where(blind, -np.inf, tried.max(-1))


def _entropy(p: np.ndarray) -> np.ndarray:
    return np.asarray(entr(p) + entr(np.maximum(1.0 - p, 0.0)))
