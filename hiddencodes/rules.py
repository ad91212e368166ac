"""What the entries of a study must satisfy together: rules that no single field can check."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from hiddencodes.plain_data import as_list, as_table
from hiddencodes.tasks.arguments import split_by_fractions

KeyPath = tuple[str | int, ...]

ACTIVATION_PARAMETERS: dict[str, str | None] = {
    "linear": None,
    "sigmoidal": None,
    "erf": None,
    "tanh": None,
    "relu": None,
    "hard_tanh": None,
    "leaky_relu": "slope",
    "shifted_relu": "shift",
    "clipped_relu": "ceiling",
}
"""The nonlinearities that a study can name, each with the key of its parameter."""


class Contradiction(NamedTuple):
    """Entries that do not fit together.

    Attributes:
        path: The key to blame, from the root of the study.
        message: What is wrong and what was expected.
    """

    path: KeyPath
    message: str


def slug(label: str) -> str:
    """A file name for a label: letters, digits, ``.``, ``_`` and ``-`` only, never a path.

    Example:
        >>> slug("../lazy (σ = 1)"), slug("mean-field_2")
        ('lazy-1', 'mean-field_2')
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", label).strip(".-") or "unnamed"


def contradictions(study: Mapping[str, Any]) -> Iterator[Contradiction]:
    """Every contradiction in a study.

    Args:
        study: The study as plain dictionaries. Entries that are missing or of the wrong type are passed over: each field's
            own check names them.
    """
    seeds = _items(study, "seeds", int)
    yield from _repeated(("seeds",), seeds, "different seeds")
    task = as_table(study.get("task"))
    if task is not None:
        yield from _task(task)
    sampling = as_table(study.get("sampling"))
    if sampling is not None:
        chains, superchains = _count(sampling, "chains") or 4, _count(sampling, "superchains")
        if superchains and chains % superchains:
            message = f"does not divide the number of chains; expected a divisor of {chains}"
            yield Contradiction(("sampling", "superchains"), message)
        compositions = as_list(sampling.get("compositions")) or []
        if compositions and chains % len(compositions):
            message = f"has {len(compositions)} entries; expected a divisor of the number of chains, {chains}"
            yield Contradiction(("sampling", "compositions"), message)
        if compositions and superchains:
            message = "says which chains belong together; expected superchains or compositions, not both"
            yield Contradiction(("sampling", "compositions"), message)
    seen: dict[str, int] = {}
    for i, network in enumerate(map(as_table, as_list(study.get("network")) or [])):
        if network is None:
            continue
        yield from _temperature(network, ("network", i))
        yield from _activation(network.get("activation"), ("network", i, "activation"))
        label = network.get("label")
        if isinstance(label, str):
            first = seen.setdefault(slug(label).lower(), i)
            if first != i:
                yield Contradiction(
                    ("network", i, "label"),
                    f"is (or has the same file name as) the label of network[{first}]; expected different labels",
                )


def _task(task: Mapping[str, Any]) -> Iterator[Contradiction]:
    key = "digits" if "digits" in task else "classes"
    digits = _items(task, key, int)
    yield from _repeated(("task", key), digits, f"different {key}")
    fractions = _items(task, "fractions", int | float)
    n_train = _count(task, "n_train")
    if fractions and digits and len(digits) != len(fractions):
        message = f"has {len(fractions)} entries for {len(digits)} {key}; expected one for each"
        yield Contradiction(("task", "fractions"), message)
    if fractions and all(f > 0 for f in fractions):
        if abs(math.fsum(fractions) - 1.0) > 1e-9:
            message = f"sum to {math.fsum(fractions):g}; expected numbers that sum to 1"
            yield Contradiction(("task", "fractions"), message)
        elif n_train:
            yield from _empty_class(n_train, fractions)
    elif digits and n_train:
        yield from _empty_class(n_train, [1 / len(digits)] * len(digits))
    n_inputs = _count(task, "n_inputs")
    if task.get("kind") == "orthogonal_classes" and n_inputs and n_train:
        needed = n_train + (_count(task, "n_test") or 0)
        if n_inputs < needed:
            message = f"is too small for orthogonal patterns; expected at least n_train + n_test = {needed}"
            yield Contradiction(("task", "n_inputs"), message)
    if task.get("y_plus", 1.0) == task.get("y_minus", 0.0):
        key = "y_minus" if "y_minus" in task else "y_plus"
        yield Contradiction(
            ("task", key), "is the target of every class alike; expected y_plus and y_minus to differ"
        )


def _empty_class(n_train: int, fractions: Sequence[float]) -> Iterator[Contradiction]:
    try:
        split_by_fractions("n_train", n_train, fractions)
    except ValueError:
        message = f"leaves a class empty; expected at least one pattern for each of the fractions {tuple(fractions)}"
        yield Contradiction(("task", "n_train"), message)


def _temperature(network: Mapping[str, Any], path: KeyPath) -> Iterator[Contradiction]:
    given = [key for key in ("temperature", "n_temperature") if network.get(key) is not None]
    if len(given) == 2:
        yield Contradiction(
            (*path, "temperature"),
            "is given together with n_temperature = N T; expected exactly one of the two",
        )
    elif not given:
        yield Contradiction(
            path,
            "has no temperature; expected exactly one of the keys temperature (T) and n_temperature (N T)",
        )


def _activation(activation: object, path: KeyPath) -> Iterator[Contradiction]:
    table = {"name": activation} if isinstance(activation, str) else as_table(activation)
    if table is None or table.get("name") not in ACTIVATION_PARAMETERS:
        return
    name, parameter = table["name"], ACTIVATION_PARAMETERS[table["name"]]
    if parameter is not None and parameter not in table and name != "leaky_relu":
        yield Contradiction(path, f'needs a parameter; expected {{name = "{name}", {parameter} = NUMBER}}')
    for key in sorted({p for p in ACTIVATION_PARAMETERS.values() if p} - {parameter}):
        if table.get(key) is not None:
            yield Contradiction(
                (*path, key), f"is no parameter of {name}; expected {parameter or 'no parameter'}"
            )


def _repeated(path: KeyPath, values: list[Any], expected: str) -> Iterator[Contradiction]:
    for i, value in enumerate(values):
        if value in values[:i]:
            yield Contradiction((*path, i), f"is there twice; expected {expected}")


def _count(table: Mapping[str, Any], key: str) -> int | None:
    value = table.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _items(table: Mapping[str, Any], key: str, kind: Any) -> list[Any]:
    """The entries of an array of numbers, or nothing if it is anything else."""
    values = as_list(table.get(key)) or []
    return values if all(isinstance(v, kind) and not isinstance(v, bool) for v in values) else []
