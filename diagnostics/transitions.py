"""Which codes units had at the first draw and at the last, and whether the population's code book stayed the same."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

FALSE_ALARM = 1e-3  # probability that a conserved code book is called changed
_SAMPLES = 4999
_CHUNK = 1000


class CodeTransitions(NamedTuple):
    """Codes of the units at the first and at the last stored draw.

    Attributes:
        codes: Codes that occur, most frequent first.
        counts: Units with code i first and code j last (code, code_2).
        probabilities: The same, divided by the units that started with code i; NaN where none did.
        first: Share of each code at the first draw; `last`, at the last.
        distance: Total variation distance between the two, (1/2) sum |last - first|.
        expected_distance: What it is on average if units move one by one and the composition is conserved.
        p_value: Probability of a distance as large as that if the composition is conserved; 0.0002 at least.
    """

    codes: tuple[str, ...]
    counts: Int[np.ndarray, "code code_2"]
    probabilities: Float[np.ndarray, "code code_2"]
    first: Float[np.ndarray, " code"]
    last: Float[np.ndarray, " code"]
    distance: float
    expected_distance: float
    p_value: float

    @property
    def conserved(self) -> bool:
        """Whether the composition is compatible with a conserved one (false alarms: one in 1000)."""
        return self.p_value > FALSE_ALARM

    @property
    def stayed(self) -> float:
        """Share of the units whose last code is their first."""
        return float(np.trace(self.counts) / self.counts.sum())

    def to_dict(self) -> dict[str, object]:
        """JSON-able; None for rows without units."""
        rows = [[float(x) if np.isfinite(x) else None for x in row] for row in self.probabilities]
        return {
            "codes": list(self.codes),
            "counts": self.counts.tolist(),
            "probabilities": rows,
            "first": self.first.tolist(),
            "last": self.last.tolist(),
            "stayed": self.stayed,
            "distance": self.distance,
            "expected_distance": self.expected_distance,
            "p_value": self.p_value,
            "conserved": self.conserved,
        }


def code_transitions(first: Bool[np.ndarray, "..."], last: Bool[np.ndarray, "..."]) -> CodeTransitions:
    """Transition matrix of codes between two draws, and a test of whether the composition is conserved.

    Units keep their identity, so only those that moved can change the composition. In a reversible chain at equilibrium
    (all samplers here) a unit goes from code i to code j as often as from j to i, so the first and the last code of every unit that
    moved can be exchanged: the p-value and the expected distance come from 4999 random exchanges, unit by unit. Units
    count as independent; that their composition is all but fixed by the training set makes the test conservative.

    Args:
        first: Codes at the first draw, all chains, (..., unit, class).
        last: Codes of the same units at the last draw.

    Returns:
        `CodeTransitions`.

    Raises:
        ValueError: When the two differ in shape, hold no unit, or have more than 62 classes.

    >>> first = np.array([[True, False], [True, False], [False, True]])
    >>> found = code_transitions(first, first[[0, 2, 2]])
    >>> found.codes, found.counts.tolist(), found.stayed == 2 / 3
    (('01', '10'), [[1, 0], [1, 1]], True)
    """
    if first.shape != last.shape or first.size == 0:
        raise ValueError(
            f"first: must have the shape of last, and not be empty, got {first.shape} and {last.shape}"
        )
    n_class = first.shape[-1]
    if n_class > 62:
        raise ValueError(f"first: {n_class} classes, a code has at most 62")
    powers = 1 << np.arange(n_class - 1, -1, -1, dtype=np.int64)
    numbers = np.stack([(first @ powers).ravel(), (last @ powers).ravel()])
    values, index = np.unique(numbers, return_inverse=True)
    index = index.reshape(numbers.shape)
    order = np.argsort(-np.bincount(index.ravel(), minlength=len(values)), kind="stable")
    rank = np.argsort(order)
    counts = np.zeros((len(values), len(values)), dtype=np.int64)
    np.add.at(counts, (rank[index[0]], rank[index[1]]), 1)
    n_unit = int(counts.sum())
    start, end = counts.sum(1), counts.sum(0)
    probabilities = np.divide(
        counts, start[:, None], out=np.full(counts.shape, np.nan), where=start[:, None] > 0
    )
    distance = float(np.abs(end - start).sum() / (2 * n_unit))
    exchanged = _exchanged(counts)
    as_large = int((exchanged >= distance * (1 - 1e-9)).sum())
    return CodeTransitions(
        tuple(format(value, f"0{n_class}b") for value in values[order].tolist()),
        counts,
        probabilities,
        start / n_unit,
        end / n_unit,
        distance,
        float(exchanged.mean()),
        (1 + as_large) / (1 + _SAMPLES),
    )


def _exchanged(counts: Int[np.ndarray, "code code_2"]) -> Float[np.ndarray, " sample"]:
    """Distances after every unit's first and last code were exchanged at random."""
    i, j = np.nonzero(np.triu(counts + counts.T, 1))
    if len(i) == 0:
        return np.zeros(_SAMPLES)
    moved = counts[i, j] + counts[j, i]
    rng = np.random.default_rng(0)
    order = np.argsort(np.concatenate([i, j]), kind="stable")
    ends = np.concatenate([i, j])[order]
    starts = np.flatnonzero(np.concatenate([[True], ends[1:] != ends[:-1]]))
    distances = np.empty(_SAMPLES)
    for first in range(0, _SAMPLES, _CHUNK):
        size = min(_CHUNK, _SAMPLES - first)
        flow = 2 * rng.binomial(moved, 0.5, (size, len(moved))) - moved
        change = np.add.reduceat(np.concatenate([-flow, flow], axis=1)[:, order], starts, axis=1)
        distances[first : first + size] = np.abs(change).sum(1) / (2 * counts.sum())
    return distances
