"""Checks shared by the task generators: each names the argument and the offending value."""

import math
import numbers
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import ArrayLike

# Written out, because run-time type checkers do not take `float` to include `int`.
type Number = float | int


def finite_array(name: str, value: ArrayLike, ndim: int) -> Float64[np.ndarray, "..."]:
    """Copy `value` to float64 and refuse NaN, infinities and anything that is not a real number.

    Args:
        name: The argument's name, for the message.
        value: Array of real numbers.
        ndim: The number of axes it must have.

    Returns:
        A new float64 array of the same shape.

    Raises:
        ValueError: On a wrong number of axes, on non-numeric entries and on non-finite entries.

    >>> finite_array("x_train", [[0.0, float("nan")]], 2)
    Traceback (most recent call last):
        ...
    ValueError: x_train: 1 non-finite entry, first at [0, 1] (nan)
    """
    raw = np.asarray(value)
    if raw.dtype.kind not in "iuf":
        raise ValueError(f"{name}: entries must be real numbers, the dtype is {raw.dtype}")
    if raw.ndim != ndim:
        raise ValueError(f"{name}: expected {ndim} axes, the shape is {raw.shape}")
    array = np.array(raw, dtype=np.float64)
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        entries = "entry" if len(bad) == 1 else "entries"
        first = [int(index) for index in bad[0]]
        raise ValueError(
            f"{name}: {len(bad)} non-finite {entries}, first at {first} ({array[tuple(bad[0])]})"
        )
    return array


def integer_labels(name: str, value: ArrayLike, length: int | None = None) -> Int64[np.ndarray, " pattern"]:
    """Copy `value` to int64 and refuse anything that is not a vector of integers.

    Args:
        name: The argument's name, for the message.
        value: Vector of integers; floating-point and boolean labels are refused.
        length: How many labels there must be; `None` for any number.

    Returns:
        A new int64 vector.

    Raises:
        ValueError: On a wrong shape, a wrong length or a dtype that is not integer.

    >>> integer_labels("labels_train", [0.0, 1.0])
    Traceback (most recent call last):
        ...
    ValueError: labels_train: labels must be integers, the dtype is float64 (first label 0.0)
    """
    raw = np.asarray(value)
    if raw.ndim != 1:
        raise ValueError(f"{name}: expected 1 axis, the shape is {raw.shape}")
    if raw.dtype.kind not in "iu":
        first = f" (first label {raw[0]})" if raw.size else ""
        raise ValueError(f"{name}: labels must be integers, the dtype is {raw.dtype}{first}")
    if length is not None and len(raw) != length:
        raise ValueError(f"{name}: {len(raw)} labels for {length} patterns")
    return np.array(raw, dtype=np.int64)


def finite_number(name: str, value: Number, low: Number = -math.inf, high: Number = math.inf) -> float:
    """Return `value` as a float if it is finite and `low <= value <= high`.

    Raises:
        ValueError: Otherwise.

    >>> finite_number("test_overlap", 1.5, 0, 1)
    Traceback (most recent call last):
        ...
    ValueError: test_overlap: 1.5 is not in [0, 1]
    """
    if not math.isfinite(value):
        raise ValueError(f"{name}: {value} is not finite")
    if not low <= value <= high:
        raise ValueError(f"{name}: {value} is not in [{low}, {high}]")
    return float(value)


def positive_number(name: str, value: Number) -> float:
    """Return `value` as a float if it is finite and larger than zero.

    Raises:
        ValueError: Otherwise.

    >>> positive_number("kappa", 0)
    Traceback (most recent call last):
        ...
    ValueError: kappa: 0 is not positive
    """
    if not finite_number(name, value) > 0:
        raise ValueError(f"{name}: {value} is not positive")
    return float(value)


def integer_at_least(name: str, value: object, low: int) -> int:
    """Return `value` as an int if it is an integer and `value >= low`.

    Raises:
        ValueError: Otherwise.

    >>> integer_at_least("n_train", -3, 1)
    Traceback (most recent call last):
        ...
    ValueError: n_train: -3 is not an integer of at least 1
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < low:
        raise ValueError(f"{name}: {value!r} is not an integer of at least {low}")
    return int(value)


def split_by_fractions(
    name: str, total: int, fractions: Sequence[Number], *, allow_empty: bool = False
) -> tuple[int, ...]:
    """Split `total` patterns into classes by largest-remainder rounding of `fractions * total`.

    Every class gets `floor(f_c total)` patterns; the patterns left over go, one each, to the classes with the
    largest remainders (the earlier class on ties), so that the counts sum to `total` and
    `|count_c - f_c total| < 1`.

    Args:
        name: Name of the argument that holds `total`, for the message.
        total: Number of patterns.
        fractions: Positive class fractions, sum 1.
        allow_empty: Whether a class may end up with no pattern (a test set may lack a class).

    Returns:
        The number of patterns of each class.

    Raises:
        ValueError: If a fraction is not positive, the fractions do not sum to 1 (to 1e-9), or a class would be
            empty.

    >>> split_by_fractions("n_train", 10, (1 / 2, 1 / 4, 1 / 4))
    (5, 3, 2)
    """
    integer_at_least(name, total, 0 if allow_empty else 1)
    if not len(fractions):
        raise ValueError("fractions: empty, at least one class is needed")
    shares = [positive_number("fractions", fraction) for fraction in fractions]
    if abs(math.fsum(shares) - 1.0) > 1e-9:
        raise ValueError(f"fractions: {tuple(shares)} sum to {math.fsum(shares)}, not to 1")
    quotas = [share * total for share in shares]
    counts = [math.floor(quota) for quota in quotas]
    # Rounded, so that a tie stays a tie under the rounding errors of `share * total`.
    remainders = [round(quota - count, 9) for quota, count in zip(quotas, counts, strict=True)]
    by_remainder = sorted(range(len(shares)), key=lambda c: -remainders[c])
    for c in by_remainder[: total - sum(counts)]:
        counts[c] += 1
    if not allow_empty and 0 in counts:
        empty = counts.index(0)
        raise ValueError(f"{name}: {total} patterns leave class {empty} (fraction {shares[empty]}) empty")
    return tuple(counts)
