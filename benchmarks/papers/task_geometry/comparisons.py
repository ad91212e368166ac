"""Rows of measured geometry against rows of expected geometry."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from hiddencodes.benchmarks.papers import Claim

MEASURES = ("input_alignment", "target_alignment", "parallelism", "dimension")
SHORT = {
    "input_alignment": "input", "target_alignment": "target", "parallelism": "parallelism", "dimension": "dimension"
}  # fmt: skip
# The independent measurement has two networks per row, whose standard deviation is said to be "mostly at most 0.03".
REFERENCE_ERROR = 0.03 / np.sqrt(2)
# Of dimensions, from 1 to 7 and printed with one or two digits, it is taken as a share: an assumption.
REFERENCE_DIMENSION_ERROR = 0.03

ONE_SAMPLE = "Networks of one point of a grid share its training set: errors there are over initial weights and minibatches."
SHORTER = "The small version trains for a half or a third of the epochs of the independent measurement, when geometry has all but settled."


class Row(NamedTuple):
    """Mean and standard error of every measure over independent networks."""

    mean: dict[str, float]
    error: dict[str, float]


def row_of(geometry: xr.Dataset, seeds: Sequence[int], *, draw: int = -1) -> Row:
    """The last geometry of some posteriors of a run; networks of different tasks count as independent.

    Args:
        geometry: What `hiddencodes.geometry` returns.
        seeds: Positions of the posteriors.
        draw: Which snapshot.
    """
    last = geometry.isel(seed=list(seeds), draw=draw)
    mean, error = {}, {}
    for name in last.data_vars:
        if "chain" not in last[name].dims:
            continue
        values = last[name].values.ravel()
        # Networks that share a task share its accidents: between several tasks the spread of their means counts.
        groups = last[name].mean("chain").values if len(seeds) > 1 else values
        mean[str(name)] = float(values.mean())
        error[str(name)] = float(np.std(groups, ddof=1) / np.sqrt(len(groups)))
    return Row(mean, error)


def paired_gap(
    geometry: xr.Dataset, first: Sequence[int], second: Sequence[int], measure: str
) -> tuple[float, float]:
    """Mean difference of a measure between two sets of posteriors of the same tasks, and its standard error over tasks.

    Args:
        geometry: What `hiddencodes.geometry` returns.
        first, second: Positions of the posteriors, tasks in the same order.
        measure: Which measure.
    """
    last = geometry[measure].isel(draw=-1).mean("chain").values
    difference = last[list(first)] - last[list(second)]
    return float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference)))


def agrees_with_row(
    name: str, statement: str, expected: Mapping[str, float], found: Row, *, z: float | None = None
) -> Claim:
    """A row of the independent measurement and ours agree within the errors of both.

    Args:
        name: The claim's name.
        statement: What is claimed.
        expected: The row, by measure.
        found: Ours.
        z: Standard errors that are allowed.
    """
    names = list(expected)
    theirs = [REFERENCE_DIMENSION_ERROR * expected[n] if n == "dimension" else REFERENCE_ERROR for n in names]
    return Claim.agrees(
        name,
        statement,
        np.asarray([expected[n] for n in names]),
        np.asarray([found.mean[n] for n in names]),
        np.hypot([found.error[n] for n in names], theirs),
        grade="measured",
        z=z,
        entries=[SHORT.get(n, n) for n in names],
        evidence=", ".join(
            f"{SHORT.get(n, n)} {found.mean[n]:.3f}({1e3 * found.error[n]:.0f})" for n in names
        ),
    )
