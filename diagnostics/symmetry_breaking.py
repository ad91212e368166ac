"""Is the permutation symmetry of the hidden units broken along the chains, layer by layer?"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from hiddencodes.diagnostics.codes import Rule, codes, outlier_units, participation_ratio, run_rule
from hiddencodes.diagnostics.drift import LayerDrift, drift
from hiddencodes.diagnostics.run_access import (
    chain_health,
    class_fractions,
    seed_names,
    unit_class_means,
    variable,
)
from hiddencodes.diagnostics.symmetry_report import (
    FEWEST_DRAWS,
    LayerSymmetry,
    Overlap,
    SymmetryBreakingReport,
    decide,
)
from hiddencodes.diagnostics.transitions import code_transitions
from hiddencodes.tasks.arguments import Number


class _Moments(NamedTuple):
    """Every unit's share of the covariances between thirds of the run and of the variance, summed over classes."""

    far: Float[np.ndarray, "chain unit"]
    near: Float[np.ndarray, "chain unit"]
    total: Float[np.ndarray, "chain unit"]


class _Layer(NamedTuple):
    """What one layer and one seed contribute."""

    moments: _Moments
    bulk: _Moments
    first: Bool[np.ndarray, "chain unit class"]
    last: Bool[np.ndarray, "chain unit class"]
    coded: float


def _moments(
    means: Float[np.ndarray, "chain draw unit class"],
    p: Float[np.ndarray, " class"],
    members: Bool[np.ndarray, "chain unit"],
) -> _Moments:
    n_chain, n_draw, n_unit, _ = means.shape
    block = n_draw // 3
    result = _Moments(*np.zeros((3, n_chain, n_unit)))
    for chain, kept in enumerate(members):
        x = means[chain][:, kept].astype(np.float64)
        x -= x.mean(1, keepdims=True)
        early, late = x[:block].mean(0), x[-block:].mean(0)
        middle = x[block : n_draw - block].mean(0)
        total = (x**2).mean(0) @ p
        # Differences of size rounding are not variance.
        if total.mean() > (16 * np.finfo(means.dtype).eps * np.abs(means[chain]).max()) ** 2:
            result.far[chain, kept] = (early * late) @ p
            result.near[chain, kept] = (early * middle + middle * late) @ p / 2
            result.total[chain, kept] = total
    return result


def _layer(
    means: Float[np.ndarray, "chain draw unit class"], p: Float[np.ndarray, " class"], rule: Rule | Number
) -> _Layer:
    n_chain, n_draw, n_unit, _ = means.shape
    bits = codes(means, rule)
    share = float(bits.any(-1).mean())
    if n_draw < FEWEST_DRAWS:
        nothing = _Moments(*np.zeros((3, n_chain, n_unit)))
        return _Layer(nothing, nothing, bits[:, 0], bits[:, -1], share)
    everyone = np.ones((n_chain, n_unit), bool)
    moments = _moments(means, p, everyone)
    # Outliers are found in the middle of the run, the overlap measured between its ends.
    middle = means[:, n_draw // 3 : n_draw - n_draw // 3].mean(1, dtype=np.float64)
    bulk = ~outlier_units(((middle - np.median(middle, axis=1, keepdims=True)) ** 2) @ p)
    without = moments if bulk.all() else _moments(means, p, bulk)
    return _Layer(moments, without, bits[:, 0], bits[:, -1], share)


def overlap(
    far: Float[np.ndarray, "chain unit"],
    near: Float[np.ndarray, "chain unit"],
    total: Float[np.ndarray, "chain unit"],
) -> Overlap:
    """q_EA and its continuation from every unit's covariances between thirds of a run (see `symmetry_breaking`).

    Args:
        far: Between the first and the last third.
        near: Between neighboring thirds, mean of the two pairs.
        total: Variance between units, averaged over draws.

    Returns:
        `Overlap`; errors are the larger of the jackknife over units and the one over chains. NaN where no unit varies.

    >>> one = np.ones((4, 10))
    >>> found = overlap(0.8 * one, 0.9 * one, one)
    >>> round(found.q, 3), round(found.near, 3), round(found.later, 3)
    (0.8, 0.9, 0.562)
    """
    sums = np.array([far.sum(), near.sum(), total.sum()])
    parts = np.stack([far, near, total], axis=-1)
    values = _ratios(sums)
    errors = np.full(3, np.nan)
    for left_out in (parts.reshape(-1, 3), parts.sum(1)):
        n = len(left_out)
        if n > 1:
            errors = np.fmax(errors, np.sqrt((n - 1) * _ratios(sums - left_out).var(0)))
    return Overlap(*(float(x) for pair in zip(values, errors, strict=True) for x in pair))


def _ratios(sums: Float[np.ndarray, "*sample 3"]) -> Float[np.ndarray, "*sample 3"]:
    """q, q at half the distance, and q after one more run of this length if it goes on falling by the same factor."""
    far, near, total = np.moveaxis(sums, -1, 0)
    unknown = np.full(far.shape, np.nan)
    varies = total > 0
    q = np.divide(far, total, out=unknown.copy(), where=varies)
    q_near = np.divide(near, total, out=unknown.copy(), where=varies)
    # From thirds 1/3 of a run apart to thirds 2/3 apart by the factor q / q_near; three such steps are another run.
    step = np.divide(far, near, out=np.ones(far.shape), where=(far > 0) & (near > far))
    return np.stack([q, q_near, q * step**3], axis=-1)


def _assemble(
    layer: int, seed: int | str | None, parts: list[_Layer], rows: list[LayerDrift], draws: int, thin: int
) -> LayerSymmetry:
    def pool(which: str) -> Overlap:
        chosen: list[_Moments] = [getattr(part, which) for part in parts]
        return overlap(*(np.concatenate(arrays) for arrays in zip(*chosen, strict=True)))

    total, bulk = pool("moments"), pool("bulk")
    n = len(rows)
    changes = float(np.mean([row.changes for row in rows]))
    changes_error = float(np.sqrt(np.sum([row.changes_error**2 for row in rows])) / n)
    coded = float(np.mean([part.coded for part in parts]))
    per_run = changes * thin * (draws - 1) / 1000
    rho = {
        lag: (
            float(np.mean([row.autocorrelation[lag][0] for row in rows])),
            float(np.sqrt(np.sum([row.autocorrelation[lag][1] ** 2 for row in rows])) / n),
        )
        for lag in rows[0].autocorrelation
    }
    far = np.abs(np.concatenate([part.moments.far for part in parts]))
    verdict, reason = decide(total, draws)
    third = draws * thin / 3
    falls = total.near > total.q > 0
    return LayerSymmetry(
        layer=layer,
        seed=seed,
        changes=changes,
        changes_error=changes_error,
        changes_per_run=per_run / coded if coded > 0 else float("nan"),
        transitions=code_transitions(
            np.concatenate([part.first for part in parts]), np.concatenate([part.last for part in parts])
        ),
        autocorrelation=rho,
        overlap=total,
        bulk=bulk,
        carriers=float(participation_ratio(far).mean()),
        memory=third / float(np.log(total.near / total.q)) if falls else float("inf"),
        run_length=draws * thin,
        verdict=verdict,
        reason=reason,
    )


def symmetry_breaking(
    run: xr.DataTree, *, lags: Sequence[int] = (1, 10, 100), rule: Rule | Number = "auto"
) -> SymmetryBreakingReport:
    """Drift, code transitions, and the share of the between-unit variance that survives time-averaging, for every layer.

    Hidden units are exchangeable under the posterior, so in a chain that explores all of it every unit has the same
    long-time mean. With m_ic(s) the class mean of unit i in draw s less the mean over units, p_c the class fractions, and
    <.>_k the average over the k-th third of the chain,

        q_EA = sum_{i,c} p_c <m_ic>_1 <m_ic>_3 / sum_{i,c} p_c <m_ic^2>,

    sums over the chains too. Blocks that do not overlap make it free of the bias of a finite run: noise that is forgotten
    within a third of the run adds nothing, so q_EA tends to 0 for units that drift and to Var_i(long-time mean) over
    the whole between-unit variance where units keep their codes. The same between neighboring thirds, `near`, tells
    whether memory still fades: `later` = q_EA (q_EA / near)^3 is what would be left after another run of this length.
    Errors are the larger of the jackknife over units and the one over chains (of all seeds where seeds are pooled).

    Verdict, with 2 standard errors: *broken* if q_EA and `later` are above 1/2; *ergodic* if q_EA is below 1/2 and
    it or `later` not above 0.1; otherwise *undecided*, with a reason: a run too short, a part of the units that keeps its
    codes, or too large an error. It holds for the length of the run: a broken layer may drift on longer ones. Where few
    units carry the variance (ReLU outliers), `carriers` says how many, and `bulk` is q_EA without the outliers.

    A layer is called frozen if its units change their code less than 0.1 times over the run, counted per unit that carries a
    code (units that no class activates carry none). The codes at the first and the last draw give the transition matrix
    and a test of whether their composition is conserved (`code_transitions`).

    Args:
        run: A run with class means.
        lags: Lags of the autocorrelation in stored draws (see `drift`).
        rule: Threshold of the codes (see `codes`).

    Returns:
        `SymmetryBreakingReport`.

    Raises:
        ValueError: When the run has no class means, or no chain of it is healthy.

    >>> rng = np.random.default_rng(0)
    >>> dims = ("seed", "chain", "draw", "layer", "class", "unit")
    >>> frozen = 0.5 + 0.4 * rng.choice([-1, 1], (1, 2, 1, 1, 1, 50)) + 0.05 * rng.standard_normal((1, 2, 60, 1, 2, 50))
    >>> groups = {
    ...     "/posterior": xr.Dataset({"train_loss": (("seed", "chain", "draw"), np.zeros((1, 2, 60)))}),
    ...     "/units": xr.Dataset({"class_means": (dims, frozen)}),
    ...     "/constant_data": xr.Dataset({"labels_train": (("seed", "pattern"), [[0, 1]])}),
    ... }
    >>> layer = symmetry_breaking(xr.DataTree.from_dict(groups), rule="half").pooled[0]
    >>> layer.verdict, round(layer.overlap.q, 2), layer.frozen  # 0.4^2 / (0.4^2 + 0.05^2)
    ('broken', 0.98, True)
    """
    moves = drift(run, lags=lags, rule=rule)
    health, chosen = chain_health(run), run_rule(run, rule)
    means = variable(run, "units", "class_means")
    draws, seeds = means.sizes["draw"], seed_names(run)
    drifts = {(row.layer, row.seed): row for row in moves.rows}
    rows: list[LayerSymmetry] = []
    pooled: list[LayerSymmetry] = []
    for layer in range(1, means.sizes["layer"] + 1):
        parts: list[_Layer] = []
        found: list[LayerDrift] = []
        for s, seed in enumerate(seeds):
            keep = health.healthy[s]
            if keep.any():
                part = _layer(unit_class_means(run, layer - 1, s)[keep], class_fractions(run, s), chosen)
                parts.append(part)
                found.append(drifts[layer, seed])
                rows.append(_assemble(layer, seed, [part], found[-1:], draws, moves.thin))
        pooled.append(_assemble(layer, None, parts, found, draws, moves.thin))
    return SymmetryBreakingReport(tuple(rows), tuple(pooled), draws, moves.thin, str(chosen), health.excluded)
