"""Codes of hidden units: which classes activate a unit, how many units share a code, how fast codes drift."""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int, Real

from hiddencodes.diagnostics.monte_carlo import chain_mean
from hiddencodes.diagnostics.run_access import (
    activation_name,
    chain_health,
    coordinate,
    layer_index,
    seed_names,
    unit_class_means,
    variable,
)
from hiddencodes.tasks.arguments import Number

Rule = Literal["auto", "half", "half_maximum", "zero"]

_RULES: dict[str, Rule] = {
    "sigmoidal": "half",
    "linear": "zero",
    "erf": "zero",
    "tanh": "zero",
    "hard_tanh": "zero",
    "relu": "half_maximum",
    "leaky_relu": "half_maximum",
    "shifted_relu": "half_maximum",
    "clipped_relu": "half_maximum",
}


class CodeFraction(NamedTuple):
    """Share of the units that carry a code, and its Monte-Carlo error (see `ChainMean`)."""

    fraction: float
    error: float
    within: float
    between: float


@dataclass(frozen=True)
class CodeTable:
    """Codes of one layer and the share of the units that carry them.

    Attributes:
        layer: Hidden layer, 1..L; None for bare arrays.
        rule: How class means became bits.
        class_names: Classes in the order of the bits.
        pooled: Code to share, the mean over seeds; most frequent code first.
        by_seed: The same for every seed.
        excluded: Chains left out because they left the finite numbers.
    """

    layer: int | None
    rule: str
    class_names: tuple[str, ...]
    pooled: dict[str, CodeFraction]
    by_seed: dict[str, dict[str, CodeFraction]]
    excluded: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """JSON-able; None for errors that are not known."""

        def rows(table: dict[str, CodeFraction]) -> dict[str, object]:
            return {
                code: {key: x if np.isfinite(x) else None for key, x in row._asdict().items()}
                for code, row in table.items()
            }

        return {
            "layer": self.layer,
            "rule": self.rule,
            "class_names": list(self.class_names),
            "pooled": rows(self.pooled),
            "by_seed": {seed: rows(table) for seed, table in self.by_seed.items()},
            "excluded": list(self.excluded),
        }


def class_means(
    activations: Float[np.ndarray, "*batch unit pattern"],
    labels: Int[np.ndarray, " pattern"],
    n_classes: int | None = None,
) -> Float[np.ndarray, "*batch unit class"]:
    """Mean activation of every unit over the patterns of every class.

    Args:
        activations: phi(z), patterns last.
        labels: Class of each pattern, 0..C-1.
        n_classes: C; the largest label plus one if not given.

    Returns:
        Class means, classes last.

    Raises:
        ValueError: On a class without a pattern or a label out of range.

    >>> class_means(np.array([[0.0, 1.0, 5.0]]), np.array([0, 0, 1]))
    array([[0.5, 5. ]])
    """
    n = int(labels.max()) + 1 if n_classes is None else n_classes
    if labels.min() < 0 or labels.max() >= n:
        raise ValueError(f"labels: values {labels.min()} to {labels.max()}, expected 0 to {n - 1}")
    counts = np.bincount(labels, minlength=n)
    if (counts == 0).any():
        raise ValueError(f"labels: no pattern of class {int(np.argmin(counts))}")
    averaging = (np.eye(n)[labels] / counts).astype(activations.dtype)
    return activations @ averaging


def codes(
    class_means: Float[np.ndarray, "*batch unit class"], rule: Rule | Number = "auto"
) -> Bool[np.ndarray, "*batch unit class"]:
    """Code of every unit: the classes whose mean activation is above threshold.

    Args:
        class_means: Class-mean activations.
        rule: "half": 1/2, for activations between 0 and 1. "half_maximum": half of the largest class mean among
            the units of the same population (and draw), for unbounded ones. "zero": 0, for odd activations. A
            number: that threshold. "auto": "half" if all values lie in [0, 1], else "half_maximum".

    Returns:
        True where a class activates a unit.

    Raises:
        ValueError: On an unknown rule or class means that are not finite.

    >>> codes(np.array([[0.9, 0.1], [0.2, 0.8]])).astype(int)
    array([[1, 0],
           [0, 1]])
    """
    if not np.isfinite(class_means).all():
        raise ValueError(f"class_means: {int((~np.isfinite(class_means)).sum())} entries are not finite")
    if rule == "auto":
        rule = "half" if class_means.min() >= 0 and class_means.max() <= 1 else "half_maximum"
    if isinstance(rule, float | int):
        return np.asarray(class_means > rule)
    if rule == "half_maximum":
        return np.asarray(class_means > 0.5 * class_means.max((-2, -1), keepdims=True))
    if rule not in ("half", "zero"):
        raise ValueError(f"rule: {rule!r}, expected 'auto', 'half', 'half_maximum', 'zero' or a number")
    return np.asarray(class_means > (0.5 if rule == "half" else 0.0))


def run_rule(run: xr.DataTree, rule: Rule | Number = "auto") -> Rule | Number:
    """The rule for a run: "auto" becomes the one that fits the run's activation function.

    >>> run_rule(xr.DataTree(xr.Dataset(attrs={"model": '{"activation": "tanh"}'})))
    'zero'
    """
    return _RULES.get(activation_name(run) or "", "auto") if rule == "auto" else rule


def _table(bits: Bool[np.ndarray, "chain draw unit class"]) -> dict[str, CodeFraction]:
    n_classes = bits.shape[-1]
    if n_classes > 62:
        raise ValueError(f"class_means: {n_classes} classes, a code has at most 62")
    number = bits @ (1 << np.arange(n_classes - 1, -1, -1, dtype=np.int64))
    table: dict[str, CodeFraction] = {}
    for value in np.unique(number).tolist():
        result = chain_mean((number == value).mean(-1))
        table[format(value, f"0{n_classes}b")] = CodeFraction(*(float(x) for x in result))
    return dict(sorted(table.items(), key=lambda item: (-item[1].fraction, item[0])))


def _pooled(tables: list[dict[str, CodeFraction]]) -> dict[str, CodeFraction]:
    absent = CodeFraction(0.0, 0.0, 0.0, 0.0)
    pooled: dict[str, CodeFraction] = {}
    for code in {code for table in tables for code in table}:
        rows = np.array([table.get(code, absent) for table in tables])
        errors = np.sqrt((rows[:, 1:] ** 2).sum(0)) / len(rows)
        pooled[code] = CodeFraction(float(rows[:, 0].mean()), *(float(x) for x in errors))
    return dict(sorted(pooled.items(), key=lambda item: (-item[1].fraction, item[0])))


def code_table(
    source: xr.DataTree | Float[np.ndarray, "..."], *, layer: int = -1, rule: Rule | Number = "auto"
) -> CodeTable:
    """Share of the units that carry each code, for a run or for class means.

    Args:
        source: A run, or class means (chain, draw, unit, class) or (seed, chain, draw, unit, class).
        layer: Hidden layer of the run, 1..L, or -1 for the last.
        rule: Threshold (see `codes`); for a run, "auto" goes by the activation function.

    Returns:
        `CodeTable`. Errors are standard errors of the share over the posterior, per seed and for the mean over
        the given seeds; frozen chains count as one draw each.

    Raises:
        ValueError: On a wrong shape, an unknown layer, or when no chain of a run is healthy.

    >>> means = np.tile([[0.9, 0.1], [0.1, 0.9], [0.1, 0.8], [0.2, 0.8]], (2, 5, 1, 1))
    >>> {code: row.fraction for code, row in code_table(means).pooled.items()}
    {'01': 0.75, '10': 0.25}
    """
    if not isinstance(source, xr.DataTree):
        means = np.asarray(source)
        if means.ndim not in (4, 5):
            raise ValueError(f"source: shape {means.shape}, expected ([seed,] chain, draw, unit, class)")
        bits = codes(means.reshape(-1, *means.shape[-4:]), rule)
        tables = [_table(b) for b in bits]
        names = tuple(str(c) for c in range(means.shape[-1]))
        return CodeTable(None, str(rule), names, _pooled(tables), {str(s): t for s, t in enumerate(tables)})
    position = layer_index(source, layer)
    chosen = run_rule(source, rule)
    health = chain_health(source)
    by_seed: dict[str, dict[str, CodeFraction]] = {}
    for s, name in enumerate(seed_names(source)):
        if health.healthy[s].any():
            means = unit_class_means(source, position, s)[health.healthy[s]]
            by_seed[str(name)] = _table(codes(means, chosen))
    if not by_seed:
        raise ValueError(f"run: no healthy chain: {', '.join(health.excluded)}")
    names = tuple(map(str, coordinate(variable(source, "units", "class_means"), "class")))
    return CodeTable(
        position + 1, str(chosen), names, _pooled(list(by_seed.values())), by_seed, health.excluded
    )


def participation_ratio(unit_energies: Real[np.ndarray, "*batch unit"]) -> Float[np.ndarray, "*batch"]:
    """Number of units that share a non-negative quantity: (sum_i e_i)^2 / sum_i e_i^2.

    Args:
        unit_energies: e_i, for instance sum_mu phi_i(mu)^2.

    Returns:
        1 for a single unit, N for equal shares, NaN where all e_i vanish.

    >>> participation_ratio(np.array([[1.0, 1.0, 1.0, 1.0], [2.0, 0.0, 0.0, 0.0]]))
    array([4., 1.])
    """
    energies = _floating(unit_energies)
    square = (energies**2).sum(-1)
    total = energies.sum(-1) ** 2
    return np.asarray(np.divide(total, square, out=np.full_like(square, np.nan), where=square > 0))


def outlier_units(
    unit_energies: Real[np.ndarray, "*batch unit"], false_positives: Number = 0.01
) -> Bool[np.ndarray, "*batch unit"]:
    """Units far above the bulk: x_i = log e_i above median + z * 1.4826 * median |x - median|.

    z = Phi^-1(1 - false_positives / N), so that a log-normal bulk without outliers yields `false_positives` units
    on average per population of many units; 1.4826 turns the median deviation of a Gaussian into its standard
    deviation. The logarithm takes the skewness from sums of squares. If half of the units are silent (or more than
    half agree exactly), every unit above the median counts.

    Args:
        unit_energies: e_i >= 0, for instance sum_mu phi_i(mu)^2, or |a_i|.
        false_positives: Expected number of false outliers per population.

    Returns:
        True for outliers; the sum over units is their number.

    Raises:
        ValueError: When an energy is negative or not finite, or `false_positives` not between 0 and 1.

    >>> int(outlier_units(np.array([1.0, 1.1, 0.9, 1.05, 0.95, 30.0])).sum())
    1
    """
    if not 0 < false_positives < 1:
        raise ValueError(f"false_positives: {false_positives}, must lie between 0 and 1")
    if not (np.isfinite(unit_energies) & (unit_energies >= 0)).all():
        raise ValueError(f"unit_energies: minimum {unit_energies.min()}, must be finite and not negative")
    energies = _floating(unit_energies)
    z = -NormalDist().inv_cdf(false_positives / energies.shape[-1])
    # A floor below every median that is not zero: log 0 would make a difference of two infinities.
    tiny = np.finfo(energies.dtype).tiny
    x = np.log(np.maximum(energies, tiny))
    center = np.median(x, axis=-1, keepdims=True)
    spread = 1.4826 * np.median(np.abs(x - center), axis=-1, keepdims=True)
    rounding = 16 * np.finfo(energies.dtype).eps * np.maximum(np.abs(center), 1)
    return np.asarray(x > center + np.maximum(z * spread, rounding))


def _floating(values: Real[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    return values if values.dtype.kind == "f" else values.astype(np.float64)
