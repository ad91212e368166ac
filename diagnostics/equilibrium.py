"""Certificates of equilibrium: do chains that started in different phases end up in the same one?

Chains that started alike may agree and still all be in the wrong place. What can be certified is that chains whose starts
differ in what relaxes slowest, the shares of the codes, forget where they came from; and, where one start is an exact draw of
the posterior, that the others join it.
"""

import math
from statistics import NormalDist
from typing import Any, NamedTuple, cast

import numpy as np
import xarray as xr
from arviz_stats.base.array import array_stats
from jaxtyping import Bool, Float, Int

from hiddencodes.diagnostics.codes import class_means, codes, run_rule
from hiddencodes.diagnostics.equilibrium_report import (
    CERTIFIES,
    Disagreement,
    EquilibriumReport,
    ShareComparison,
)
from hiddencodes.diagnostics.run_access import (
    chain_health,
    coordinate,
    dataset,
    seed_names,
    undefined,
    unit_class_means,
    variable,
)
from hiddencodes.tasks.arguments import Number

# Probability that chains in equilibrium are refused because of one of all compared entries.
FALSE_ALARM = 0.01
# Codes with a smaller share of the draws of every superchain are not compared: a few units visit them now and then.
RARE = 0.01
# Share of a code, at least, by which different compositions must differ: less is chance.
APART = 0.05


def equilibrium(
    run: xr.DataTree, *, rhat_max: Number = 1.01, ess_min: Number = 100, sharpness: Number = 0.1
) -> EquilibriumReport:
    """Judge whether chains from different starts agree on every invariant and on the shares of all codes.

    The starts are those of the run: `hiddencodes.sampling.composition_start` and `teacher_start` make them. Every superchain
    is compared with the others by the difference of means in units of its standard error (sd / sqrt(ESS)); the limit
    follows from the number of entries compared such that chains in equilibrium are refused once in a hundred times (Bonferroni).
    The nested R-hat of every entry must be below ``rhat_max``, which asks for more: its square exceeds one by z^2/ESS where the means
    of two superchains are z standard errors apart, so that chance alone passes 1.01 unless every superchain has several hundred effective
    draws. Codes that fewer than 1 % of the units carry are left out. Compositions certify something only if a difference a
    tenth (`sharpness`) of that of the starts would have been seen.

    Args:
        run: A run with dimensions seed, chain, draw and ``constant_data/superchain``.
        rhat_max: Largest nested R-hat.
        ess_min: Smallest effective sample size of every superchain and entry: standard errors are not known otherwise.
        sharpness: Largest standard error of a difference of shares, relative to the difference at the start.

    Returns:
        `EquilibriumReport`. Without different starts its verdict says that there is no certificate.

    Raises:
        ValueError: When a group is missing or a limit is out of range.

    >>> rng = np.random.default_rng(0)
    >>> run = xr.DataTree.from_dict({"/posterior": xr.Dataset(
    ...     {"train_loss": (("seed", "chain", "draw"), rng.standard_normal((1, 4, 500)))})})
    >>> equilibrium(run).verdict
    'no certificate of equilibrium: all chains have the same kind of start'
    """
    for name, limit, low in (
        ("rhat_max", rhat_max, 1.0),
        ("ess_min", ess_min, 1.0),
        ("sharpness", sharpness, 0.0),
    ):
        if not limit >= low:
            raise ValueError(f"{name}: {limit}, must be at least {low}")
    posterior = dataset(run, "posterior")
    kind, starts = str(run.attrs.get("certificate", "none")), str(run.attrs.get("initialization", ""))
    if kind not in CERTIFIES:
        return EquilibriumReport(
            "none", False, ("all chains have the same kind of start",), starts, 0, math.nan, None, None, None, ()
        )  # fmt: skip
    health = chain_health(run)
    superchain = np.unique(variable(run, "constant_data", "superchain").values, return_inverse=True)[1]
    reasons: list[str] = []
    if health.excluded:
        reasons.append(f"left out: {', '.join(health.excluded)}")
    rows: list[Disagreement] = []
    shares: list[ShareComparison] = []
    if posterior.sizes["draw"] < 4:
        reasons.append(f"{posterior.sizes['draw']} draws per chain, at least 4 are needed")
    else:
        for s, seed in enumerate(seed_names(run)):
            keep = health.healthy[s]
            counts = np.bincount(superchain[keep], minlength=int(superchain.max()) + 1)
            if counts.min() == 0 or len(counts) < 2:
                reasons.append(f"seed {seed}: a start without a healthy chain")
                continue
            for name, values in posterior.data_vars.items():
                array = values.transpose("seed", "chain", "draw", ...).isel(seed=s)
                rows += _compared(*_entries(str(name), seed, array, keep), superchain[keep])
            for layer in range(_layers(run)):
                table, found = _shares(run, s, seed, layer, keep, superchain)
                shares += table
                rows += found
        if not _layers(run):
            reasons.append("the run has no class means: shares of codes were not compared")
    limits = _Limits(float(rhat_max), float(ess_min), float(sharpness), len(np.unique(superchain)))
    return _judged(kind, starts, reasons, rows, shares, limits)


class _Limits(NamedTuple):
    """The limits of a certificate, and how many superchains it compares."""

    rhat_max: float
    ess_min: float
    sharpness: float
    superchains: int


def _layers(run: xr.DataTree) -> int:
    """How many layers have class means."""
    stored = "units" in run.children and "class_means" in run["units"]
    return run["units"]["class_means"].sizes["layer"] if stored else 0


def _judged(
    kind: str, starts: str, reasons: list[str], rows: list[Disagreement], shares: list[ShareComparison], limits: _Limits
) -> EquilibriumReport:  # fmt: skip
    rhat_max, ess_min, sharpness, groups = limits
    worst = max(rows, key=lambda row: row.deviation, default=None)
    rhat = max(rows, key=lambda row: row.nested_rhat, default=None)
    fewest = min(rows, key=lambda row: row.ess, default=None)
    # Two superchains are compared once, more of them each with the others.
    comparisons = max(len(rows), 1) * (groups if groups > 2 else 1)
    limit = NormalDist().inv_cdf(1.0 - FALSE_ALARM / (2.0 * comparisons))
    if worst is None or rhat is None or fewest is None:
        reasons.append("no variable changes along the chains")
    else:
        if fewest.ess < ess_min:
            few = sum(row.ess < ess_min for row in rows)
            reasons.append(
                f"{fewest.ess:.0f} effective draws < {ess_min:g} of {fewest.entry} ({few} such entries)"
            )
        if not worst.deviation <= limit:
            many = sum(not row.deviation <= limit for row in rows)
            reasons.append(
                f"starts differ by {worst.deviation:.1f} standard errors in {worst.entry} ({many} such entries)"
            )
        if not rhat.nested_rhat <= rhat_max:
            needed = limit**2 / (rhat_max**2 - 1.0) if rhat_max > 1.0 else math.inf
            reasons.append(
                f"nested R-hat {rhat.nested_rhat:.3f} > {rhat_max:g} for {rhat.entry} ({rhat.ess:.0f} effective draws; "
                f"{needed:.0f} keep chance below the limit)"
            )
    if kind == "compositions":
        for seed in dict.fromkeys(row.seed for row in shares):
            widest = max((row for row in shares if row.seed == seed), key=lambda row: row.apart)
            if not (widest.apart >= APART and widest.resolution <= sharpness * widest.apart):
                reasons.append(
                    f"seed {seed}: starts {widest.apart:.3g} apart in the share of {widest.code} (at least {APART:g} is needed), "
                    f"seen to {widest.resolution:.2g}"
                )
    return EquilibriumReport(
        kind, not reasons, tuple(reasons), starts, len(rows), limit, worst, rhat, fewest, tuple(shares)
    )


def _entries(
    name: str, seed: int | str, array: xr.DataArray, keep: Bool[np.ndarray, " chain"]
) -> tuple[Float[np.ndarray, "entry healthy draw"], list[str]]:
    """Entries of a variable that are defined and not the same everywhere, with their names."""
    dims = [str(d) for d in array.dims[2:]]
    values = array.values
    x = np.moveaxis(values[keep].reshape(int(keep.sum()), values.shape[1], -1), -1, 0).astype(np.float64)
    missing = undefined(name, values[None]).ravel()
    rounding = 8 * np.finfo(array.dtype if array.dtype.kind == "f" else np.float64).eps
    constant = np.ptp(x, axis=(1, 2)) <= rounding * np.abs(x).max((1, 2))
    chosen = np.flatnonzero(~missing & ~constant)
    names: list[str] = []
    for flat in chosen.tolist():
        index = np.unravel_index(flat, array.shape[2:]) if dims else ()
        parts = [
            f"seed={seed}",
            *(f"{d}={coordinate(array, d)[i]}" for d, i in zip(dims, index, strict=True)),
        ]
        names.append(f"{name}[{', '.join(parts)}]")
    return x[chosen], names


def _compared(
    x: Float[np.ndarray, "entry chain draw"], names: list[str], superchain: Int[np.ndarray, " chain"]
) -> list[Disagreement]:
    """Every entry with its largest deviation between a superchain and the others."""
    if not names:
        return []
    stats = cast("Any", array_stats)  # arviz_stats has no annotations
    groups = np.unique(superchain)
    mean, error, ess = _by_group(x, superchain)
    deviation = np.zeros(len(x))
    for g in range(len(groups)):
        others = np.arange(len(groups)) != g
        rest, rest_error = mean[:, others].mean(1), np.sqrt((error[:, others] ** 2).sum(1)) / others.sum()
        both = np.hypot(error[:, g], rest_error)
        difference = np.abs(mean[:, g] - rest)
        # Chains that stand still at different values disagree beyond doubt; at the same value they say nothing.
        scaled = np.divide(difference, both, out=np.where(difference > 0, np.inf, 0.0), where=both > 0)
        deviation = np.maximum(deviation, scaled)
    counts = np.bincount(np.searchsorted(groups, superchain))
    members = np.concatenate([np.flatnonzero(superchain == g)[: counts.min()] for g in groups])
    with np.errstate(divide="ignore", invalid="ignore"):
        rhat = np.atleast_1d(stats.rhat_nested(x[:, members], superchain_ids=superchain[members]))
    rhat = np.where(np.isnan(rhat), np.inf, rhat)
    return [
        Disagreement(n, *row)
        for n, row in zip(names, np.stack([deviation, rhat, ess.min(1)], 1).tolist(), strict=True)
    ]


def _by_group(
    x: Float[np.ndarray, "entry chain draw"], superchain: Int[np.ndarray, " chain"]
) -> tuple[
    Float[np.ndarray, "entry group"], Float[np.ndarray, "entry group"], Float[np.ndarray, "entry group"]
]:
    """Mean, standard error and effective sample size by superchain."""
    stats = cast("Any", array_stats)
    columns: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for g in np.unique(superchain):
        mine = x[:, superchain == g]
        still = np.ptp(mine, axis=(1, 2)) == 0
        with np.errstate(divide="ignore", invalid="ignore"):
            moving: np.ndarray = np.atleast_1d(stats.ess(mine, method="mean"))
        ess = np.where(still, mine.shape[1], moving)
        columns.append((mine.mean((1, 2)), mine.std((1, 2)) / np.sqrt(ess), ess))
    mean, error, ess = (np.stack(part, axis=1) for part in zip(*columns, strict=True))
    return mean, error, ess


def _shares(
    run: xr.DataTree, s: int, seed: int | str, layer: int, keep: Bool[np.ndarray, " chain"],
    superchain: Int[np.ndarray, " chain"],
) -> tuple[list[ShareComparison], list[Disagreement]]:  # fmt: skip
    """The shares of a layer's codes."""
    rule = run_rule(run)
    bits = codes(unit_class_means(run, layer, s)[keep], rule)
    n_classes = bits.shape[-1]
    labels = np.asarray(variable(run, "constant_data", "labels_train").values)[s]
    before = np.asarray(variable(run, "initial", "activations").values)[s, keep, layer].astype(np.float64)
    first = codes(class_means(before, labels, n_classes), rule)
    powers = 1 << np.arange(n_classes - 1, -1, -1, dtype=np.int64)
    number, start = bits @ powers, first @ powers
    groups = np.unique(superchain[keep])
    values = np.union1d(np.unique(number), np.unique(start)).tolist()

    def largest(of: Int[np.ndarray, "... unit"]) -> dict[int, float]:
        """The largest share of every code in a superchain."""
        return {
            value: max(float((of[superchain[keep] == g] == value).mean()) for g in groups) for value in values
        }

    often, at_start = largest(number), largest(start)
    found = [value for value in values if max(often[value], at_start[value]) >= RARE]
    names = [format(value, f"0{n_classes}b") for value in found]
    x = np.stack([(number == value).mean(-1) for value in found])
    mean, error, _ = _by_group(x, superchain[keep])
    table = [
        ShareComparison(
            seed, layer + 1, name,
            tuple(float((start[superchain[keep] == g] == value).mean()) for g in groups),
            tuple(mean[i].tolist()), tuple(error[i].tolist()),
        )
        for i, (name, value) in enumerate(zip(names, found, strict=True))
    ]  # fmt: skip
    # What starts had and the draws hardly ever have is in the table; its effective draws would be counts of single visits.
    moving = (np.ptp(x, axis=(1, 2)) > 0) & (np.array([often[value] for value in found]) >= RARE)
    labelled = [f"code share[seed={seed}, layer={layer + 1}, code={n}]" for n in names]
    return table, _compared(
        x[moving], [n for n, m in zip(labelled, moving, strict=True) if m], superchain[keep]
    )
