"""Which codes the units of a layer have, what their readouts look like, and what a move between codes may propose."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

# Rows of the table: the most frequent codes, and one for everything else. Its size never changes, so nothing compiles anew.
CAPACITY = 16
_REST_SHARE = 0.05
# Proposals are wider than what was seen: readouts are few, and their tails must be reached.
_INFLATION = 1.3
_FLOOR = 0.02
_REST_INFLATION = 2.0
# Prior weight, in units, with which the covariance of a code is drawn towards that of all codes.
_SHRINKAGE = 10.0


class CodeTable(NamedTuple):
    """What `hiddencodes.sampling.code_proposals.Codes` holds, on the host: the same fields."""

    log_weight: Float[np.ndarray, " code"]
    mean: Float[np.ndarray, "code output"]
    factor: Float[np.ndarray, "code output output"]
    activation: Float[np.ndarray, "code pattern"]


def unit_codes(
    phi: Float[np.ndarray, "unit pattern"], labels: Int[np.ndarray, " pattern"], n_classes: int
) -> tuple[Bool[np.ndarray, "unit class"], Float[np.ndarray, "unit class"]]:
    """Codes of units and the class means behind them: a class is on above the middle of the range of all class means."""
    averages = (labels[:, None] == np.arange(n_classes)) / np.bincount(labels, minlength=n_classes)
    class_means = phi @ averages
    return class_means > 0.5 * (np.min(class_means) + np.max(class_means)), class_means


def code_name(bits: Bool[np.ndarray, "unit class"]) -> Shaped[np.ndarray, " unit"]:
    """One digit per class."""
    return np.array(["".join("1" if bit else "0" for bit in row) for row in bits])


def known_codes(
    phi: Float[np.ndarray, "unit pattern"],
    alpha: Float[np.ndarray, "unit output"],
    labels: Int[np.ndarray, " pattern"],
    n_classes: int,
) -> tuple[CodeTable, tuple[str, ...]]:
    """Codes from samples: units pooled over chains.

    See `unit_codes`. Mean activations are those of a class, for all of its patterns. One more row stands for everything else, so that codes that no
    chain has seen yet can be found.

    Args:
        phi: Activations on the training patterns.
        alpha: Readouts in units of their prior standard deviation.
        labels: Class of every pattern.
        n_classes: C.

    Returns:
        The table of `CAPACITY` rows, and the names of the rows that are used: one digit per class, and "rest".
    """
    bits, class_means = unit_codes(phi, labels, n_classes)
    found, index, counts = np.unique(bits, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")[: CAPACITY - 1]
    n_outputs = alpha.shape[1]
    centered = alpha - np.stack([alpha[index == k].mean(axis=0) for k in range(len(found))])[index]
    within = centered.T @ centered / len(alpha)

    log_weight = np.full(CAPACITY, -np.inf)
    mean = np.zeros((CAPACITY, n_outputs))
    factor = np.broadcast_to(np.eye(n_outputs), (CAPACITY, n_outputs, n_outputs)).copy()
    activation = np.zeros((CAPACITY, phi.shape[1]))
    floor = _FLOOR * np.eye(n_outputs)
    log_weight[: len(order)] = np.log((1.0 - _REST_SHARE) / len(order))
    for row, k in enumerate(order):
        mine = index == k
        own = centered[mine].T @ centered[mine]
        covariance = (own + _SHRINKAGE * within) / (counts[k] + _SHRINKAGE)
        mean[row] = alpha[mine].mean(axis=0)
        factor[row] = np.linalg.cholesky(_INFLATION * covariance + floor)
        activation[row] = class_means[mine].mean(axis=0)[labels]
    rest = len(order)
    log_weight[rest] = np.log(_REST_SHARE)
    mean[rest] = alpha.mean(axis=0)
    spread = alpha - mean[rest]
    factor[rest] = np.linalg.cholesky(
        _REST_INFLATION * spread.T @ spread / len(alpha) + 0.1 * np.eye(n_outputs)
    )
    activation[rest] = class_means.mean(axis=0)[labels]
    return CodeTable(log_weight, mean, factor, activation), (*code_name(found[order]).tolist(), "rest")
