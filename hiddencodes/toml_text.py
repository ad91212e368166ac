"""A study as TOML text, for studies that were not read from a file as they are."""

import json
from typing import Any

from hiddencodes.plain_data import as_list, as_table
from hiddencodes.schema import Study


def to_toml(study: Study) -> str:
    """The study as a TOML document that `parse_study` reads back to an equal study; entries left to their defaults stay out.

    Example:
        >>> from hiddencodes.study import load_study, parse_study
        >>> parse_study(to_toml(load_study())) == load_study()
        True
    """
    data = study.model_dump(exclude_none=True, exclude_unset=True)
    tables = [f"[{key}]\n{_pairs(data[key])}" for key in ("task", "sampling") if key in data]
    tables += [f"[[network]]\n{_pairs(network)}" for network in data["network"]]
    top = {key: value for key, value in data.items() if key not in ("task", "sampling", "network")}
    return "\n".join([_pairs(top), *tables])


def _pairs(table: dict[str, Any]) -> str:
    return "".join(f"{key} = {inline(value)}\n" for key, value in table.items())


def inline(value: object) -> str:
    """A value on one line."""
    if (table := as_table(value)) is not None:
        return "{" + ", ".join(f"{k} = {inline(v)}" for k, v in table.items()) + "}"
    if (items := as_list(value)) is not None:
        return "[" + ", ".join(inline(v) for v in items) + "]"
    if isinstance(value, str):
        # JSON's strings are TOML's, but for the delete character, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)
