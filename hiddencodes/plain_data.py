"""Telling apart what plain data (TOML, JSON) is made of."""

from collections.abc import Mapping
from typing import Any, cast


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
