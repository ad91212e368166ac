"""Telling apart what plain data (TOML, JSON) is made of, and making it."""

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np


def as_table(value: object) -> Mapping[str, Any] | None:
    """The value if it is a table with text keys, else None.

    Example:
        >>> as_table({"a": 1}), as_table([1])
        ({'a': 1}, None)
    """
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else None


def as_list(value: object) -> list[Any] | None:
    """The value as a list if it is an array, else None.

    Example:
        >>> as_list((1, 2)), as_list("12")
        ([1, 2], None)
    """
    return list(cast("list[Any]", value)) if isinstance(value, list | tuple) else None


def as_json(value: object) -> Any:
    """The value as plain data of which JSON can tell all: what is not a finite number becomes None, what JSON has no word for
    becomes text.

    Args:
        value: Mappings, sequences, NumPy arrays and numbers, nested; anything else.

    Example:
        >>> as_json({"t": np.array([1.0, np.nan]), 2: (True, None), "path": complex(0, 1)})
        {'t': [1.0, None], '2': [True, None], 'path': '1j'}
    """
    if (table := as_table(value)) is not None:
        return {str(key): as_json(v) for key, v in table.items()}
    if isinstance(value, np.ndarray | np.generic):
        return as_json(cast("object", value.tolist()))
    if (items := as_list(value)) is not None:
        return [as_json(v) for v in items]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | None) else str(value)
