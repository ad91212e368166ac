"""Drift: how fast the codes of single units change along the chain while the population's code book stays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from hiddencodes.diagnostics.codes import Rule, codes, run_rule
from hiddencodes.diagnostics.monte_carlo import chain_mean
from hiddencodes.diagnostics.run_access import (
    chain_health,
    class_fractions,
    require_order,
    seed_names,
    thinning,
    unit_class_means,
    variable,
)
from hiddencodes.tasks.arguments import Number


class LayerDrift(NamedTuple):
    """Drift of one layer in one seed.

    Attributes:
        layer: Hidden layer, 1..L.
        seed: Seed of the run.
        changes: Code changes per unit per 1000 sampler draws, and `changes_error`, its standard error.
        autocorrelation: Lag in sampler draws to (autocorrelation of the class means, standard error over chains).
    """

    layer: int
    seed: int | str
    changes: float
    changes_error: float
    autocorrelation: dict[int, tuple[float, float]]


@dataclass(frozen=True)
class DriftReport:
    """Drift of every layer and seed, and the chains left out because they left the finite numbers."""

    rows: tuple[LayerDrift, ...]
    thin: int
    excluded: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """JSON-able; None for numbers that are not known."""

        def number(x: float) -> float | None:
            return x if np.isfinite(x) else None

        rows = [
            {
                "layer": row.layer,
                "seed": row.seed,
                "changes_per_unit_per_1000_draws": number(row.changes),
                "error": number(row.changes_error),
                "autocorrelation": {str(k): [number(x) for x in v] for k, v in row.autocorrelation.items()},
            }
            for row in self.rows
        ]
        return {"rows": rows, "thin": self.thin, "excluded": list(self.excluded)}


def code_changes(
    bits: Bool[np.ndarray, "*batch draw unit class"], thin: int = 1
) -> Float[np.ndarray, "*batch"]:
    """Code changes per unit per 1000 sampler draws.

    Two stored draws are `thin` sampler draws apart and show at most one change, so the rate is a lower bound once
    it nears 1000 / thin.

    Args:
        bits: Codes along the chain.
        thin: Sampler draws per stored draw.

    Returns:
        Rate per chain; NaN for a single draw.

    Raises:
        ValueError: When `thin` is below 1.

    >>> bits = np.array([[[True, False]], [[True, True]], [[True, True]]])
    >>> code_changes(bits, thin=10)
    array(50.)
    """
    return (
        np.asarray(_changed(bits, thin).mean(-1)) if bits.shape[-3] > 1 else np.full(bits.shape[:-3], np.nan)
    )


def _changed(bits: Bool[np.ndarray, "*batch draw unit class"], thin: int) -> Float[np.ndarray, "*batch step"]:
    if thin < 1:
        raise ValueError(f"thin: {thin}, must be at least 1")
    return (bits[..., 1:, :, :] != bits[..., :-1, :, :]).any(-1).mean(-1) * 1000 / thin


def autocorrelation(
    class_means: Float[np.ndarray, "chain draw unit class"],
    lags: Sequence[int],
    class_fractions: Float[np.ndarray, " class"] | None = None,
) -> tuple[Float[np.ndarray, " lag"], Float[np.ndarray, " lag"]]:
    """Autocorrelation over draws of the units' class means, centered on the population.

    rho(lag) = sum_c p_c <(m_ic(s) - m_c)(m_ic(s + lag) - m_c)> / sum_c p_c <(m_ic - m_c)^2>, averages over draws s
    and units i, with m_c the mean over units and draws of the chain. Units that keep their code keep rho near 1
    (broken permutation symmetry); where they drift, it decays to 0.

    Args:
        class_means: Class means along the chains.
        lags: Lags in stored draws, each below the number of draws.
        class_fractions: p_c; equal weights if not given.

    Returns:
        rho averaged over chains, and its standard error between chains (NaN for one chain). NaN where the class
        means do not vary.

    Raises:
        ValueError: On a lag that is negative or not below the number of draws.

    >>> frozen = np.broadcast_to([[0.1], [0.9]], (2, 8, 2, 1))
    >>> rho, error = autocorrelation(frozen, [1, 5])
    >>> rho.round(6), error.round(6)
    (array([1., 1.]), array([0., 0.]))
    """
    n_chain, n_draw, _, n_class = class_means.shape
    for lag in lags:
        if not 0 <= lag < n_draw:
            raise ValueError(f"lags: {lag}, the chains have {n_draw} draws")
    p = np.full(n_class, 1 / n_class) if class_fractions is None else class_fractions
    rho = np.empty((n_chain, len(lags)))
    for chain, means in enumerate(class_means):
        centered = means - means.mean((0, 1), dtype=np.float64)
        # Differences of size rounding are not variance.
        rounding = (16 * np.finfo(class_means.dtype).eps * np.abs(means).max()) ** 2
        variance = float((centered**2).mean((0, 1)) @ p)
        for k, lag in enumerate(lags):
            product = float((centered[: n_draw - lag] * centered[lag:]).mean((0, 1)) @ p)
            rho[chain, k] = product / variance if variance > rounding else np.nan
    error = rho.std(0, ddof=1) / np.sqrt(n_chain) if n_chain > 1 else np.full(len(lags), np.nan)
    return rho.mean(0), error


def drift(
    run: xr.DataTree, *, lags: Sequence[int] = (1, 10, 100), rule: Rule | Number = "auto"
) -> DriftReport:
    """Code changes and autocorrelations of the class means, for every layer and seed of a run.

    Args:
        run: A run; its attribute `thin` turns stored draws into sampler draws.
        lags: Lags in stored draws; those beyond the chain are left out.
        rule: Threshold of the codes (see `codes`).

    Returns:
        `DriftReport`.

    Raises:
        ValueError: When the run has no class means, or no chain of it is healthy, or its draws are particles.

    >>> import json
    >>> dims = ("seed", "chain", "draw", "layer", "class", "unit")
    >>> units = xr.Dataset({"class_means": (dims, np.tile([[0.9, 0.1], [0.1, 0.9]], (1, 1, 5, 1, 1, 1)))})
    >>> groups = {
    ...     "/posterior": xr.Dataset({"train_loss": (("seed", "chain", "draw"), np.zeros((1, 1, 5)))}),
    ...     "/units": units,
    ...     "/constant_data": xr.Dataset({"labels_train": (("seed", "pattern"), [[0, 1]])}),
    ... }
    >>> row = drift(xr.DataTree.from_dict(groups)).rows[0]
    >>> row.layer, row.changes, round(row.autocorrelation[1][0], 6)
    (1, 0.0, 1.0)
    """
    require_order(run)
    health, thin, chosen = chain_health(run), thinning(run), run_rule(run, rule)
    if not health.healthy.any():
        raise ValueError(f"run: no healthy chain: {', '.join(health.excluded)}")
    rows: list[LayerDrift] = []
    for layer in range(variable(run, "units", "class_means").sizes["layer"]):
        for s, seed in enumerate(seed_names(run)):
            if not health.healthy[s].any():
                continue
            means = unit_class_means(run, layer, s)[health.healthy[s]]
            usable = [lag for lag in lags if lag < means.shape[1]]
            rho, rho_error = autocorrelation(means, usable, class_fractions(run, s))
            rate, rate_error = float("nan"), float("nan")
            if means.shape[1] > 1:
                result = chain_mean(_changed(codes(means, chosen), thin))
                rate, rate_error = float(result.mean), float(result.error)
            at_lags = {
                lag * thin: (float(r), float(e)) for lag, r, e in zip(usable, rho, rho_error, strict=True)
            }
            rows.append(LayerDrift(layer + 1, seed, rate, rate_error, at_lags))
    return DriftReport(tuple(rows), thin, health.excluded)
