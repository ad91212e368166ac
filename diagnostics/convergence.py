"""Can the chains be trusted? ArviZ diagnostics on the observables that do not depend on the order of the units."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int

from hiddencodes.diagnostics.chain_statistics import assess
from hiddencodes.diagnostics.convergence_report import ConvergenceReport, VariableSummary, Worst
from hiddencodes.diagnostics.run_access import chain_health, coordinate, dataset, seed_names, undefined
from hiddencodes.diagnostics.sampler_health import sampler_health, stuck_chains
from hiddencodes.tasks.arguments import Number

# Chains that a reason names; all of them are in `ConvergenceReport.excluded` and in the run.
_NAMED = 8


def convergence(
    run: xr.DataTree,
    *,
    rhat_max: Number = 1.01,
    ess_min: Number = 400,
    divergences_max: int = 0,
    excluded_max: int = 0,
    bfmi_min: Number = 0.3,
    max_entries: int = 32,
) -> ConvergenceReport:
    """Judge the chains of a run by the variables of its group `posterior`, seed by seed.

    Every entry of a variable is screened by the plain split R-hat of its values and of their distances to the
    median; the `max_entries` entries with the largest then get ArviZ's rank-normalized split R-hat, nested R-hat,
    bulk and tail effective sample size and Monte-Carlo error. Chains that left the finite numbers, or ended stuck or diverging, are
    left out, named, and make the verdict negative beyond `excluded_max`. So does a chain that stood still while others moved
    (`stuck_chains`). Entries that are NaN in every chain and draw are undefined and only named. Agreement of the chains is all that is tested: the
    report says of which starts.

    Args:
        run: A run with dimensions seed, chain, draw. `constant_data/superchain` marks chains with a common start;
            without it every chain counts as its own start. Superchains are cut to equal size for nested R-hat.
        rhat_max: Largest R-hat and nested R-hat.
        ess_min: Smallest bulk and tail effective sample size, over all chains of a seed.
        divergences_max: Divergent draws that are tolerated.
        excluded_max: Lost chains that are tolerated.
        bfmi_min: Energy Bayesian fraction of missing information below which a caution is given.
        max_entries: Entries per variable and seed that are assessed in full.

    Returns:
        `ConvergenceReport`.

    Raises:
        ValueError: When the group `posterior` or one of its dimensions is missing, a limit is out of range, or the run is of training.

    >>> loss = np.random.default_rng(0).standard_normal((1, 4, 500))
    >>> run = xr.DataTree.from_dict({"/posterior": xr.Dataset({"train_loss": (("seed", "chain", "draw"), loss)})})
    >>> convergence(run).verdict
    'converged: worst R-hat 1.001 (train_loss[seed=0]), smallest bulk ESS 2003; agreement of 4 independent starts'
    """
    for name, limit, low in (
        ("rhat_max", rhat_max, 1.0),
        ("ess_min", ess_min, 0),
        ("max_entries", max_entries, 1),
    ):
        if not limit >= low:
            raise ValueError(f"{name}: {limit}, must be at least {low}")
    if run.attrs.get("kind") == "training":
        raise ValueError(
            "run: its draws are snapshots along training, of which convergence to a posterior is not asked"
        )
    health = chain_health(run)
    posterior = dataset(run, "posterior")
    n_chain, n_draw = posterior.sizes["chain"], posterior.sizes["draw"]
    superchain = _superchains(run, n_chain)
    sampler = sampler_health(run, health.healthy)
    rows: list[VariableSummary] = []
    reasons: list[str] = []
    assessable = n_draw >= 4
    if n_draw < 4:
        reasons.append(f"{n_draw} draws per chain, at least 4 are needed")
    for s, seed in enumerate(seed_names(run)):
        keep = health.healthy[s]
        if keep.sum() < 2 or len(np.unique(superchain[keep])) < 2:
            assessable = False
            n_start = len(np.unique(superchain[keep]))
            reasons.append(
                f"seed {seed}: {int(keep.sum())} healthy chains from {n_start} starts, 2 are needed"
            )
        elif n_draw >= 4:
            for name, values in posterior.data_vars.items():
                array = values.transpose("seed", "chain", "draw", ...).isel(seed=s)
                rows.append(_summary(str(name), seed, array, keep, superchain, max_entries))
    if assessable and not any(row.assessed for row in rows):
        assessable = False
        reasons.append("no variable changes along the chains")
    stuck = stuck_chains(run, health.healthy)
    if stuck:
        reasons.append(f"stuck: {_listed(stuck)}")
    if len(health.excluded) > excluded_max:
        reasons.append(f"left out: {_listed(health.excluded)}")
    if sampler.divergences is not None and sampler.divergences > divergences_max:
        reasons.append(f"{sampler.divergences} divergences")
    reasons.extend(_failures(rows, rhat_max, ess_min))
    cautions = [f"left out: {_listed(health.excluded)}"] if 0 < len(health.excluded) <= excluded_max else []
    constant = sorted({row.variable for row in rows if 0 < row.constant == row.entries - len(row.undefined)})
    missing = [entry for row in rows for entry in row.undefined]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        cautions.append(f"undefined: {', '.join(missing[:3])}{more}")
    if constant:
        cautions.append(f"constant: {', '.join(constant)}")
    if sampler.bfmi and min(sampler.bfmi.values()) < bfmi_min:
        lowest = min(sampler.bfmi, key=lambda chain: sampler.bfmi[chain])
        cautions.append(f"BFMI {sampler.bfmi[lowest]:.2f} < {bfmi_min:g} ({lowest})")
    starts = len(np.unique(superchain[health.healthy.any(0)]))
    how = run.attrs.get("initialization")
    return ConvergenceReport(
        ok=assessable and not reasons,
        reasons=tuple(reasons),
        cautions=tuple(cautions),
        table=tuple(rows),
        sampler=sampler,
        excluded=health.excluded,
        starts=f"{starts} independent starts" + (f" ({how})" if how else ""),
        assessable=assessable,
    )


def _listed(chains: tuple[str, ...]) -> str:
    """Chains in words; of many the first."""
    more = f" and {len(chains) - _NAMED} more" if len(chains) > _NAMED else ""
    return ", ".join(chains[:_NAMED]) + more


def _superchains(run: xr.DataTree, n_chain: int) -> Int[np.ndarray, " chain"]:
    if "constant_data" in run.children and "superchain" in run["constant_data"]:
        return np.unique(dataset(run, "constant_data")["superchain"].values, return_inverse=True)[1]
    return np.arange(n_chain)


def _failures(rows: list[VariableSummary], rhat_max: Number, ess_min: Number) -> list[str]:
    failures: list[str] = []
    tests: tuple[tuple[str, str, float], ...] = (
        ("R-hat", "rhat", 1.0), ("nested R-hat", "nested_rhat", 1.0), ("bulk ESS", "ess_bulk", -1.0),
        ("tail ESS", "ess_tail", -1.0),
    )  # fmt: skip
    for label, field, sign in tests:
        limit = rhat_max if sign > 0 else ess_min
        found: list[Worst] = [getattr(row, field) for row in rows if row.assessed]
        # A NaN is not a pass.
        bad = [w for w in found if not sign * w.value <= sign * limit]
        if bad:
            worst = max(bad, key=lambda w: math.inf if math.isnan(w.value) else sign * w.value)
            value = f"{worst.value:.3f}" if sign > 0 else f"{worst.value:.0f}"
            more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
            failures.append(f"{label} {value} {'>' if sign > 0 else '<'} {limit:g} for {worst.entry}{more}")
    return failures


def _summary(
    name: str,
    seed: int | str,
    array: xr.DataArray,
    keep: Bool[np.ndarray, " chain"],
    superchain: Int[np.ndarray, " chain"],
    max_entries: int,
) -> VariableSummary:
    dims = [str(d) for d in array.dims[2:]]
    shape = array.shape[2:]
    x = np.moveaxis(array.values[keep].reshape(int(keep.sum()), array.shape[1], -1), -1, 0).astype(np.float64)
    rounding = 8 * np.finfo(array.dtype if array.dtype.kind == "f" else np.float64).eps
    # Accumulated sums differ in the last bits although nothing moved.
    still = x.max(-1) - x.min(-1) <= rounding * np.abs(x).max(-1)
    level = x.mean(-1)
    same = level.max(-1) - level.min(-1) <= rounding * np.abs(level).max(-1)
    constant = still.all(-1) & same
    frozen = still.all(-1) & ~same
    missing = undefined(name, array.values[None]).ravel()
    moving = np.flatnonzero(~constant & ~frozen & ~missing)
    scores = _screen(x[moving])
    chosen = np.sort(moving[np.argsort(-scores, kind="stable")[:max_entries]])

    def label(flat: int) -> str:
        index = np.unravel_index(flat, shape) if shape else ()
        parts = [f"seed={seed}"]
        for dim, i in zip(dims, index, strict=True):
            parts.append(f"{dim}={coordinate(array, dim)[i]}")
        return f"{name}[{', '.join(parts)}]"

    def worst(values: Float[np.ndarray, " entry"], pick: Callable[[Any], Any]) -> Worst:
        if len(values) == 0:
            return Worst(math.nan, "")
        # argmax and argmin return the first NaN, so a NaN is the worst of all.
        i = int(pick(values))
        return Worst(float(values[i]), label(int(chosen[i])))

    # One by one: at their rank normalization alone, entries of many chains at once would take several times the memory of their values.
    found = np.asarray([assess(x[i], superchain[keep]) for i in chosen]).reshape(-1, 5)
    rhat, nested = (worst(found[:, i], np.argmax) for i in (0, 1))
    bulk, tail = (worst(found[:, i], np.argmin) for i in (2, 3))
    mcse = worst(found[:, 4], np.argmax)
    if frozen.any():
        stuck = label(int(np.flatnonzero(frozen)[0]))
        rhat, nested = Worst(math.inf, stuck), Worst(math.inf, stuck)
        bulk, tail = Worst(float(keep.sum()), stuck), Worst(float(keep.sum()), stuck)
        mcse = Worst(float((level[frozen].std(-1, ddof=1) / math.sqrt(keep.sum())).max()), stuck)
    assessed = len(chosen) + int(frozen.sum())
    return VariableSummary(
        name,
        seed,
        x.shape[0],
        assessed,
        int(constant.sum()),
        int(frozen.sum()),
        rhat,
        nested,
        bulk,
        tail,
        mcse,
        tuple(label(i) for i in np.flatnonzero(missing).tolist()),
    )


def _screen(x: Float[np.ndarray, "entry chain draw"]) -> Float[np.ndarray, " entry"]:
    """Between-half-chain over within-half-chain variance, of the values or their distances to the median."""
    half = x.shape[-1] // 2
    scores = np.zeros(len(x))
    for values in (x, np.abs(x - np.median(x, axis=(1, 2), keepdims=True))):
        halves = np.concatenate([values[..., :half], values[..., -half:]], axis=1)
        between, within = halves.mean(-1).var(-1), halves.var(-1).mean(-1)
        ratio = np.divide(between, within, out=np.full(len(x), np.inf), where=within > 0)
        scores = np.maximum(scores, np.where((between == 0) & (within == 0), 0.0, ratio))
    return scores
