"""The coding scheme of a sampled run: every layer, every seed, and one sentence for the feature layer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from hiddencodes.diagnostics.decision import Scheme, SchemeDecision, classify_codes, decide
from hiddencodes.diagnostics.run_access import (
    chain_health,
    class_fractions,
    layer_index,
    seed_names,
    unit_class_means,
    variable,
)
from hiddencodes.diagnostics.scheme_statistics import Statistic


@dataclass(frozen=True)
class SchemeReport:
    """Coding schemes of a run.

    Attributes:
        layer: The layer the report speaks about (the feature layer, the last, by default).
        decision: Its scheme with statistics averaged over seeds.
        by_layer: The same for every layer, 1..L.
        by_seed: Layer to seed to decision.
        excluded: Chains left out because they left the finite numbers.
    """

    layer: int
    decision: SchemeDecision
    by_layer: dict[int, SchemeDecision]
    by_seed: dict[int, dict[str, SchemeDecision]]
    excluded: tuple[str, ...]

    @property
    def scheme(self) -> Scheme:
        """Scheme of the layer the report speaks about."""
        return self.decision.scheme

    @property
    def sentence(self) -> str:
        """One line: the scheme, the numbers that decided it, seeds that disagree, chains left out."""
        parts = [self.decision.sentence]
        others = [
            f"{seed} {d.scheme}" for seed, d in self.by_seed[self.layer].items() if d.scheme != self.scheme
        ]
        if others:
            parts.append(f"seeds that differ: {', '.join(others)}")
        if self.excluded:
            parts.append(f"left out: {', '.join(self.excluded)}")
        return "; ".join(parts)

    @property
    def table(self) -> list[dict[str, object]]:
        """One row per layer and seed, and one per layer with seed None for the average over seeds."""
        rows: list[dict[str, object]] = []
        for layer, decision in self.by_layer.items():
            rows.append({"layer": layer, "seed": None, **decision.to_dict()})
            rows.extend({"layer": layer, "seed": s, **d.to_dict()} for s, d in self.by_seed[layer].items())
        return rows

    def to_dict(self) -> dict[str, object]:
        """JSON-able; None for numbers that are not known."""
        return {
            "layer": self.layer,
            "scheme": self.scheme,
            "sentence": self.sentence,
            "table": self.table,
            "excluded": list(self.excluded),
        }


def coding_scheme(
    run: xr.DataTree, *, layer: int = -1, max_draws: int = 200, discreteness_draws: int = 16
) -> SchemeReport:
    """Decide the coding scheme of a run (see `classify_codes` for the decision).

    Statistics are computed per draw, averaged over draws and chains per seed, and then over seeds; errors take
    the spread between chains, within them and between seeds into account, whichever is largest.

    Args:
        run: A run with `units/class_means`, and the prior moments and labels in `constant_data`.
        layer: The layer the report speaks about, 1..L, or -1 for the last.
        max_draws: At most this many draws per chain, evenly spaced, are used.
        discreteness_draws: At most this many of them enter the discreteness, which costs most.

    Returns:
        `SchemeReport`; chains that left the finite numbers are left out and named.

    Raises:
        ValueError: When a variable is missing, the layer does not exist, it has fewer than 4 units, or no chain is
            healthy.

    Example: half of 100 units answer the first of two classes, the others the second; inputs are orthogonal.

    >>> codes = np.repeat([[0.95, 0.05], [0.05, 0.95]], 50, axis=0).T
    >>> lanes = ("seed", "chain", "draw")
    >>> units = xr.Dataset({"class_means": ((*lanes, "layer", "class", "unit"), np.tile(codes, (1, 2, 5, 1, 1, 1)))})
    >>> prior = xr.Dataset(
    ...     {
    ...         "labels_train": (("seed", "pattern"), [[0] * 30 + [1] * 30]),
    ...         "prior_class_mean": (("seed", "layer", "class"), [[[0.5, 0.5]]]),
    ...         "prior_class_covariance": (("seed", "layer", "class", "class_2"), [[0.105 / 30 * np.eye(2)]]),
    ...         "prior_variance": (("seed", "layer", "class"), [[[0.105, 0.105]]]),
    ...     }
    ... )
    >>> posterior = xr.Dataset({"train_loss": (lanes, np.arange(10.0).reshape(1, 2, 5))})
    >>> groups = {"/posterior": posterior, "/units": units, "/constant_data": prior}
    >>> coding_scheme(xr.DataTree.from_dict(groups)).scheme
    'redundant'
    """
    feature = layer_index(run, layer)
    if max_draws < 1 or discreteness_draws < 1:
        raise ValueError(
            f"max_draws, discreteness_draws: {max_draws}, {discreteness_draws}, must be at least 1"
        )
    n_unit = variable(run, "units", "class_means").sizes["unit"]
    if n_unit < 4:
        raise ValueError(f"run: the coding scheme needs at least 4 units per layer, got {n_unit}")
    health = chain_health(run)
    if not health.healthy.any():
        raise ValueError(f"run: no healthy chain: {', '.join(health.excluded)}")
    n_draw = variable(run, "units", "class_means").sizes["draw"]
    draws = np.linspace(0, n_draw - 1, min(max_draws, n_draw), dtype=np.int64)
    mean, covariance, variance = (
        variable(run, "constant_data", f"prior_{name}").transpose("seed", "layer", ...).values
        for name in ("class_mean", "class_covariance", "variance")
    )
    by_layer: dict[int, SchemeDecision] = {}
    by_seed: dict[int, dict[str, SchemeDecision]] = {}
    for index in range(mean.shape[1]):
        seeds: dict[str, SchemeDecision] = {}
        for s, seed in enumerate(seed_names(run)):
            if health.healthy[s].any():
                seeds[str(seed)] = classify_codes(
                    unit_class_means(run, index, s)[health.healthy[s]][:, draws],
                    mean[s, index],
                    covariance[s, index],
                    variance[s, index],
                    class_fractions(run, s),
                    discreteness_draws=discreteness_draws,
                )
        by_seed[index + 1] = seeds
        by_layer[index + 1] = average_decisions(list(seeds.values()))
    return SchemeReport(feature + 1, by_layer[feature + 1], by_layer, by_seed, health.excluded)


def average_decisions(decisions: Sequence[SchemeDecision]) -> SchemeDecision:
    """The decision from statistics averaged over seeds.

    The error of an average over S seeds is the larger of sqrt(sum error^2) / S and the seeds' standard deviation
    over sqrt(S).

    Args:
        decisions: One per seed, at least one.

    Returns:
        `SchemeDecision`.

    >>> half = np.array([0.5, 0.5])
    >>> m = np.repeat([[0.95, 0.05], [0.05, 0.95]], 50, axis=0)
    >>> one = classify_codes(m, half, 0.003 * np.eye(2), np.array([0.1, 0.1]), half)
    >>> average_decisions([one, one]).scheme
    'redundant'
    """

    def average(statistics: Sequence[Statistic]) -> Statistic:
        n = len(statistics)
        values = np.array([s.value for s in statistics])
        error = math.sqrt(sum(s.error**2 for s in statistics)) / n
        if n > 1:
            error = float(np.fmax(error, values.std(ddof=1) / math.sqrt(n)))
        return Statistic(float(values.mean()), error, float(np.mean([s.threshold for s in statistics])))

    return decide(
        average([d.feature_learning for d in decisions]),
        average([d.significance for d in decisions]),
        average([d.participation for d in decisions]),
        average([d.typical_signal for d in decisions]),
        average([d.discreteness for d in decisions]),
    )
