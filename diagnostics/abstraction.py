"""Is a code of binary latents abstract, and which units make it?"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike

from hiddencodes.diagnostics.parallelism import natural_pairing, parallelism_score

UNIT_CLASSES = ("silent", "constant", "one latent", "linear mixture", "conjunctive")
"""What a unit responds to; the classes of `unit_selectivity` by number."""


class Abstraction(NamedTuple):
    """How abstract a code of n latents is.

    Attributes:
        parallelism: Mean cosine between the coding vectors of a latent in two contexts, for every latent (..., latent).
        least_cosine: The smallest of these cosines, of all latents and contexts.
        higher_content: Share of products of latents in the variance of the responses.
        overlap: Largest cosine between the mean coding directions of two latents.
        perfect: Whether ``least_cosine`` is at least 1 - margin.

    >>> latents = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    >>> abstraction(latents @ latents.T, latents).parallelism.round(6)
    array([1., 1.])
    """

    parallelism: Float[np.ndarray, "*batch latent"]
    least_cosine: Float[np.ndarray, "*batch"]
    higher_content: Float[np.ndarray, "*batch"]
    overlap: Float[np.ndarray, "*batch"]
    perfect: Bool[np.ndarray, "*batch"]


def abstraction(kernel: ArrayLike, latents: ArrayLike, *, margin: float = 1e-3) -> Abstraction:
    """Measure how far a code is from perfectly abstract: every latent along one direction, whatever the others are.

    The coding vector of latent k in a context, the values of all others, is the difference of the responses to y_k = 1 and -1. A code is
    perfectly abstract if all coding vectors of a latent are the same, for all latents, and so if responses have no part in products of
    latents.

    Args:
        kernel: Inner products of responses (..., condition, condition).
        latents: +1 and -1 (condition, latent), all combinations once, of at least two latents.
        margin: How far cosines of a perfectly abstract code may be below 1.

    Raises:
        ValueError: If the margin is not between 0 and 1, or latents are not all combinations.

    >>> latents = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    >>> found = abstraction(latents @ latents.T, latents)
    >>> bool(found.perfect), float(found.higher_content)
    (True, 0.0)
    >>> bool(abstraction(np.eye(4), latents).perfect)  # a unit for every condition
    False
    """
    k, y = np.asarray(kernel, float), np.asarray(latents, float)
    if not 0 <= margin <= 1:
        raise ValueError(f"margin: expected a number between 0 and 1, got {margin!r}")
    if y.ndim != 2 or y.shape[1] < 2 or k.shape[-2:] != (len(y), len(y)) or len(y) != 2 ** y.shape[1]:
        raise ValueError(
            f"latents: expected all combinations of at least two, got the shape {y.shape} for kernels of the shape {k.shape}"
        )
    n = y.shape[1]
    pairings = [natural_pairing(y, i) for i in range(n)]
    scores = np.stack([parallelism_score(k, y[:, i], pairings[i]) for i in range(n)], axis=-1)
    least = np.min([_least_cosine(k, y[:, i] > 0, pairings[i]) for i in range(n)], axis=0)
    latent = np.einsum("pi,...pq,qj->...ij", y, k, y) / len(y)
    size = np.sqrt(np.diagonal(latent, axis1=-2, axis2=-1))
    centre = np.eye(len(y)) - 1 / len(y)
    total = np.einsum("pq,...qp->...", centre, k)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = latent / (size[..., :, None] * size[..., None, :])
        overlap = np.abs(np.where(np.eye(n) > 0, 0.0, cosines)).max((-2, -1))
        higher = np.clip(1 - np.trace(latent, axis1=-2, axis2=-1) / total, 0.0, None)
    return Abstraction(scores, np.asarray(least), higher, overlap, np.asarray(least >= 1 - margin))


def _least_cosine(k: np.ndarray, side: np.ndarray, partner: np.ndarray) -> np.ndarray:
    plus = np.flatnonzero(side)
    minus = partner[plus]

    def block(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return k[..., rows[:, None], columns[None, :]]

    products = block(plus, plus) - block(plus, minus) - block(minus, plus) + block(minus, minus)
    size = np.sqrt(np.clip(np.diagonal(products, axis1=-2, axis2=-1), 0.0, None))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((products / (size[..., :, None] * size[..., None, :])).min((-2, -1)))


def unit_selectivity(
    activations: ArrayLike, latents: ArrayLike, *, threshold: float = 0.05
) -> Int[np.ndarray, "*batch unit"]:
    """What every unit responds to, by number in ``UNIT_CLASSES``.

    Of a unit's mean squared response over all combinations of latents, a share belongs to its mean, one to each latent and one to each product of
    latents. Units are silent below ``threshold`` of the strongest unit's; constant if all but ``threshold`` of it is the mean; else, by
    what the variance consists of up to ``threshold``: one latent, a linear mixture of latents, or else conjunctive.

    Args:
        activations: Responses (..., condition, unit).
        latents: +1 and -1 (condition, latent), all combinations once.
        threshold: The share that does not count.

    >>> latents = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    >>> units = np.column_stack([np.zeros(4), np.ones(4), latents[:, 0] > 0, latents.sum(1), (latents.sum(1) == 2)])
    >>> unit_selectivity(units, latents).tolist()
    [0, 1, 2, 3, 4]
    """
    a, y = np.asarray(activations, float), np.asarray(latents, float)
    if y.ndim != 2 or a.ndim < 2 or a.shape[-2] != len(y) or len(y) != 2 ** y.shape[1]:
        raise ValueError(
            f"latents: expected all combinations, got the shape {y.shape} for responses of the shape {a.shape}"
        )
    if not 0 < threshold < 1:
        raise ValueError(f"threshold: expected a number between 0 and 1, got {threshold!r}")
    power = np.mean(a**2, axis=-2)
    mean = np.mean(a, axis=-2)
    variance = power - mean**2
    each = np.einsum("...pu,pi->...iu", a, y / len(y)) ** 2
    strongest = power.max(-1, keepdims=True)
    classes = np.full(power.shape, 4)
    classes = np.where(variance - each.sum(-2) <= threshold * variance, 3, classes)
    classes = np.where(variance - each.max(-2) <= threshold * variance, 2, classes)
    classes = np.where(variance <= threshold * power, 1, classes)
    return np.where(power <= threshold * np.where(strongest > 0, strongest, 1.0), 0, classes)
