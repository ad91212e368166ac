"""Is a variable coded along one direction whatever the others are? The parallelism score of Bernardi et al. (2020)."""

from itertools import permutations
from typing import Any, cast

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

# All pairings of so many conditions are tried: 4! = 24.
_MOST_CONDITIONS = 8


def parallelism_score(
    kernel: ArrayLike, dichotomy: ArrayLike, pairing: ArrayLike | None = None
) -> Float[np.ndarray, "*batch"]:
    """Mean cosine between the vectors that lead from one side of a dichotomy to the other.

    Conditions are paired across the dichotomy, ``v_i = z_i - z_p(i)``; from the kernel
    ``v_i . v_j = K_ij - K_ip(j) - K_p(i)j + K_p(i)p(j)``. Without a pairing the best one counts: of up to 8 conditions all are tried,
    beyond that the one with the smallest sum of squared distances is taken. The best pairing favours codes of few conditions: a
    code without any structure has a positive score. Where latents are known, `natural_pairing` has no such bias.

    Args:
        kernel: Condition kernel (..., condition, condition).
        dichotomy: +1 and -1 for every condition, equally often.
        pairing: For every condition its partner on the other side; None for the best.

    Returns:
        Scores between -1 and 1; NaN for one pair.

    Raises:
        ValueError: If the dichotomy is not balanced, or the pairing does not cross it.

    >>> latents = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    >>> round(float(parallelism_score(latents @ latents.T, latents[:, 0])), 6)
    1.0
    >>> float(parallelism_score(np.eye(4), latents[:, 0], natural_pairing(latents, 0)))
    0.0
    """
    k, sides = np.asarray(kernel, float), _sides(dichotomy)
    plus, minus = np.flatnonzero(sides), np.flatnonzero(~sides)
    if pairing is not None:
        partner = np.asarray(pairing)
        if (
            partner.shape != sides.shape
            or np.any(partner[partner] != np.arange(len(sides)))
            or np.any(sides[partner] == sides)
        ):
            raise ValueError(f"pairing: it does not pair the two sides of the dichotomy, got {partner!r}")
        return _score(k, plus, partner[plus])
    if len(sides) <= _MOST_CONDITIONS:
        scores = [_score(k, plus, minus[list(order)]) for order in permutations(range(len(minus)))]
        return np.asarray(np.max(scores, axis=0))
    flat = k.reshape(-1, *k.shape[-2:])
    found = [_score(each, plus, minus[_nearest(each, plus, minus)]) for each in flat]
    return np.asarray(found).reshape(k.shape[:-2])


def natural_pairing(latents: ArrayLike, which: int) -> Int[np.ndarray, " condition"]:
    """The partner of every condition that differs from it in one latent only.

    Args:
        latents: +1 and -1, (condition, latent), all combinations once.
        which: Number of the latent.

    Raises:
        ValueError: If a condition has no partner.

    >>> natural_pairing([[1, 1], [1, -1], [-1, 1], [-1, -1]], 1)
    array([1, 0, 3, 2])
    """
    table = np.asarray(latents, float)
    flipped = table.copy()
    flipped[:, which] *= -1
    same = np.all(flipped[:, None, :] == table[None, :, :], axis=-1)
    if not np.all(same.sum(1) == 1):
        raise ValueError(
            f"latents: condition {int(np.argmax(same.sum(1) != 1))} has {same.sum(1).min()} partners, not one"
        )
    return np.argmax(same, axis=1)


def _sides(dichotomy: ArrayLike) -> Bool[np.ndarray, " condition"]:
    values = np.asarray(dichotomy, float).ravel()
    sides = values > 0
    if 2 * sides.sum() != len(sides) or np.any(np.abs(values) != 1):
        raise ValueError(f"dichotomy: expected +1 and -1 equally often, got {np.asarray(dichotomy)!r}")
    return sides


def _score(k: np.ndarray, plus: np.ndarray, partners: np.ndarray) -> np.ndarray:
    def block(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return k[..., rows[:, None], columns[None, :]]

    products = block(plus, plus) - block(plus, partners) - block(partners, plus) + block(partners, partners)
    norms = np.sqrt(np.clip(np.diagonal(products, axis1=-2, axis2=-1), 0.0, None))
    pairs = np.triu_indices(len(plus), 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = products / (norms[..., :, None] * norms[..., None, :])
        return np.asarray(cosines[..., pairs[0], pairs[1]].sum(-1) / len(pairs[0]))


def _nearest(k: np.ndarray, plus: np.ndarray, minus: np.ndarray) -> np.ndarray:
    diagonal = np.diagonal(k)
    distance = diagonal[plus][:, None] + diagonal[minus][None, :] - 2 * k[np.ix_(plus, minus)]
    return np.asarray(cast("Any", linear_sum_assignment)(distance)[1])
