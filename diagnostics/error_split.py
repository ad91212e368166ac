"""Parts of the mean squared test error, and two networks' parts beside each other."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

PARTS = ("total", "bias_squared", "variance", "readout", "within", "between")


class ErrorPart(NamedTuple):
    """One part of the mean squared test error per output.

    Attributes:
        value: Estimate, corrected for the finite numbers of chains and draws (so it may come out slightly negative).
        error: Monte-Carlo standard error: jackknife over chains; NaN for fewer than three.
        pattern_error: Standard error from the finite test set: over test patterns.
        seed_error: Standard error over seeds of the mean over seeds; NaN in one seed.
    """

    value: float
    error: float
    pattern_error: float
    seed_error: float


class ErrorSplit(NamedTuple):
    """Parts of the test error: total = bias_squared + variance, variance = readout + within + between.

    Attributes:
        seed: Seed; None for the mean over seeds.
        total: Mean squared error of one posterior sample, per output.
        bias_squared: (y - E f)^2.
        variance: Posterior variance of f.
        readout: Its part at given hidden weights, E Var[f | W]; zero where the readout was not integrated out.
        within: Variance inside the chains.
        between: Variance between the chains' own long-time means; zero for chains that all see the same posterior.
        effective_draws: Effectively independent draws over all chains.
        resolved: Whether each chain has the 10 effectively independent draws that tell `within` from `between`.
    """

    seed: int | str | None
    total: ErrorPart
    bias_squared: ErrorPart
    variance: ErrorPart
    readout: ErrorPart
    within: ErrorPart
    between: ErrorPart
    effective_draws: float
    resolved: bool

    def to_dict(self) -> dict[str, object]:
        """JSON-able; None for numbers that are not known."""
        parts = {name: {k: _number(x) for k, x in getattr(self, name)._asdict().items()} for name in PARTS}
        rest = {"effective_draws": _number(self.effective_draws), "resolved": self.resolved}
        return {"seed": self.seed, **parts, **rest}


@dataclass(frozen=True)
class BiasVariance:
    """Split of the test error of a run.

    Attributes:
        by_seed: From the predictions of the draws, for every seed; `pooled` is the mean over seeds.
        conditional_by_seed: From the predictors given the hidden weights, `conditional_pooled` their mean; empty and
            None where the run did not store them.
        excluded: Chains left out because they left the finite numbers.
    """

    by_seed: tuple[ErrorSplit, ...]
    pooled: ErrorSplit
    conditional_by_seed: tuple[ErrorSplit, ...] = ()
    conditional_pooled: ErrorSplit | None = None
    excluded: tuple[str, ...] = ()

    @property
    def best(self) -> ErrorSplit:
        """The mean over seeds with the smaller Monte-Carlo noise: the conditional one where there is one."""
        return self.pooled if self.conditional_pooled is None else self.conditional_pooled

    def to_dict(self) -> dict[str, object]:
        """JSON-able; None for numbers that are not known."""
        pooled = self.conditional_pooled
        return {
            "by_seed": [row.to_dict() for row in self.by_seed],
            "pooled": self.pooled.to_dict(),
            "conditional_by_seed": [row.to_dict() for row in self.conditional_by_seed],
            "conditional_pooled": None if pooled is None else pooled.to_dict(),
            "excluded": list(self.excluded),
        }


class ComparedPart(NamedTuple):
    """One part of the test error in two networks.

    Attributes:
        name: Which part, see `ErrorSplit`.
        first: Value and Monte-Carlo error in the first network.
        second: The same in the second.
        difference: second - first, and its error.
    """

    name: str
    first: tuple[float, float]
    second: tuple[float, float]
    difference: tuple[float, float]


@dataclass(frozen=True)
class ErrorComparison:
    """Parts of the test error of two networks on one task, from `compare_bias_variance`.

    Attributes:
        labels: Names of the networks.
        rows: One per part.
    """

    labels: tuple[str, str]
    rows: tuple[ComparedPart, ...]

    def to_dict(self) -> dict[str, object]:
        """JSON-able; None for numbers that are not known."""
        rows: list[dict[str, object]] = []
        for row in self.rows:
            pairs = {"first": row.first, "second": row.second, "difference": row.difference}
            rows.append({"part": row.name, **{k: [_number(x) for x in v] for k, v in pairs.items()}})
        return {"labels": list(self.labels), "rows": rows}

    @property
    def text(self) -> str:
        """A table in plain text."""

        def cell(pair: tuple[float, float]) -> str:
            return f"{pair[0]:.4g} +- {pair[1]:.1g}"

        lines = [f"{'':<14}" + "".join(f"{name:>22}" for name in (*self.labels, "difference"))]
        for row in self.rows:
            cells = (row.first, row.second, row.difference)
            lines.append(f"{row.name:<14}" + "".join(f"{cell(pair):>22}" for pair in cells))
        return "\n".join(lines)


def compare_bias_variance(
    first: BiasVariance, second: BiasVariance, labels: tuple[str, str] = ("lazy", "non-lazy")
) -> ErrorComparison:
    """The parts of the test error of two networks beside each other, averaged over seeds.

    Both sides use the predictors given the hidden weights if both runs stored them. Errors are Monte-Carlo errors: both
    networks are judged on the test patterns they were given.

    Args:
        first: Split of one network, for instance the lazy one.
        second: Split of the other.
        labels: Their names.

    Returns:
        `ErrorComparison`.

    >>> def split(*values):
    ...     parts = [ErrorPart(x, 0.1, 0.0, 0.0) for x in values]
    ...     return BiasVariance((), ErrorSplit(None, *parts, effective_draws=100.0, resolved=True))
    >>> lazy, other = split(3.0, 1.0, 2.0, 0.0, 2.0, 0.0), split(1.5, 1.0, 0.5, 0.0, 0.5, 0.0)
    >>> print("\\n".join(line.rstrip() for line in compare_bias_variance(lazy, other).text.splitlines()[:4]))
                                    lazy              non-lazy            difference
    total                       3 +- 0.1            1.5 +- 0.1           -1.5 +- 0.1
    bias_squared                1 +- 0.1              1 +- 0.1              0 +- 0.1
    variance                    2 +- 0.1            0.5 +- 0.1           -1.5 +- 0.1
    """
    both = first.conditional_pooled is not None and second.conditional_pooled is not None
    one, other = (first.best, second.best) if both else (first.pooled, second.pooled)
    rows: list[ComparedPart] = []
    for name in PARTS:
        a: ErrorPart = getattr(one, name)
        b: ErrorPart = getattr(other, name)
        difference = (b.value - a.value, float(np.hypot(a.error, b.error)))
        rows.append(ComparedPart(name, (a.value, a.error), (b.value, b.error), difference))
    return ErrorComparison(labels, tuple(rows))


def _number(x: float) -> float | None:
    return float(x) if np.isfinite(x) else None
