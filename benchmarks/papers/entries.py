"""Numbers that a claim compares, entry by entry."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float

Numbers = float | int | np.ndarray | np.generic | jax.Array | Sequence[Any]
"""A number, or anything that NumPy makes an array of numbers from."""


class Entries(NamedTuple):
    """Expected and measured numbers side by side, flattened.

    Attributes:
        expected: Expected values, or bounds.
        measured: Measured values.
        error: Standard errors; None if there are none.
        tolerance: ``z error + extra``.
        names: One name per entry; empty for a single number.
    """

    expected: Float[np.ndarray, " entry"]
    measured: Float[np.ndarray, " entry"]
    error: Float[np.ndarray, " entry"] | None
    tolerance: Float[np.ndarray, " entry"]
    names: tuple[str, ...]


def entries(
    expected: Numbers,
    measured: Numbers,
    error: Numbers | None,
    *,
    z: float,
    extra: Numbers = 0.0,
    names: Sequence[str] | None = None,
) -> Entries:
    """Check shapes and signs, and flatten.

    Args:
        expected: One number for all entries, or one each.
        measured: A number, or an array.
        error: Standard errors of ``measured``, one for all or one each, or None.
        z: Standard errors that are allowed.
        extra: What is allowed beyond them, one for all or one each.
        names: Names of the entries, in the array's order; their positions if None.

    Raises:
        ValueError: If shapes do not fit, there is no entry, or an error, z or ``extra`` is negative.

    Example:
        >>> entries([[1.0, 2.0]], [[1.0, 2.5]], 0.1, z=4.0).names
        ('[0, 0]', '[0, 1]')
    """
    wanted, got = (np.asarray(x, np.float64) for x in (expected, measured))
    if wanted.shape not in ((), got.shape) or not got.size:
        raise ValueError(
            f"measured: expected the shape {wanted.shape} and at least one entry, got {got.shape}"
        )
    spread = {"error": 0.0 if error is None else error, "extra": extra}
    wide: dict[str, np.ndarray] = {}
    for name, value in spread.items():
        array = np.asarray(value, np.float64)
        if array.shape not in ((), got.shape) or (array < 0).any():
            raise ValueError(
                f"{name}: expected numbers of at least 0, one or of shape {got.shape}, got {value!r}"
            )
        wide[name] = np.broadcast_to(array, got.shape).ravel()
    if not 0 < z < float("inf"):
        raise ValueError(f"z: expected a positive number, got {z!r}")
    if names is not None and len(names) != got.size:
        raise ValueError(f"entries: expected {got.size} names, got {len(names)}")
    if names is None:
        names = [str([int(i) for i in index]) for index in np.ndindex(got.shape)] if got.ndim else [""]
    return Entries(
        np.broadcast_to(wanted, got.shape).ravel(),
        got.ravel(),
        None if error is None else wide["error"],
        z * wide["error"] + wide["extra"],
        tuple(names),
    )


def agreement(values: Entries) -> tuple[bool, int]:
    """Whether every entry agrees within its tolerance, and the one farthest off in units of it.

    Args:
        values: The numbers. What is not finite does not agree.

    Example:
        >>> agreement(entries([1.0, 2.0], [1.1, 2.3], 0.1, z=4.0))
        (True, 1)
    """
    known = _known(values)
    difference = np.abs(
        np.subtract(values.expected, values.measured, out=np.full(len(known), np.inf), where=known)
    )
    # Without a tolerance, entries that differ come first and entries that do not come last.
    distance = np.where(difference > 0, np.inf, 0.0)
    distance = np.divide(difference, values.tolerance, out=distance, where=known & (values.tolerance > 0))
    return bool((known & (difference <= values.tolerance)).all()), _farthest(distance)


def clearance(values: Entries, side: float) -> tuple[bool, int]:
    """Whether every entry clears its bound by more than its tolerance, and the one that clears it least.

    Args:
        values: The numbers; bounds are ``expected``. What is not finite clears nothing.
        side: 1 if measured values have to be above their bounds, -1 if below.

    Example:
        >>> clearance(entries([1.0, 1.0], [1.5, 1.3], 0.1, z=4.0), 1.0)
        (False, 1)
    """
    known = _known(values)
    margin = np.full(len(known), -np.inf)
    np.subtract(side * values.measured, side * values.expected, out=margin, where=known)
    np.subtract(margin, values.tolerance, out=margin, where=known)
    return bool((margin > 0).all()), _farthest(-margin)


def reported(values: Entries, at: int) -> dict[str, Any]:
    """The entry that stands for all, as a claim shows it."""
    return {
        "expected": float(values.expected[at]),
        "measured": float(values.measured[at]),
        "error": None if values.error is None else float(values.error[at]),
        "tolerance": float(values.tolerance[at]),
        "n_entries": len(values.names),
        "entry": values.names[at],
    }


def _known(values: Entries) -> Bool[np.ndarray, " entry"]:
    return np.isfinite(values.expected) & np.isfinite(values.measured) & np.isfinite(values.tolerance)


def _farthest(distance: Float[np.ndarray, " entry"]) -> int:
    return int(np.argmax(distance))
