"""Drift along the chains: which layers keep the codes of their units, and what stays when units change theirs."""

import numpy as np
import xarray as xr

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Claim, Section, Settings, describe_run, drawing
from hiddencodes.benchmarks.papers.coding_schemes.measurements import SAMPLER, chains_of, mean_of

N_TEMPERATURE = 0.004
DEPTH = 2


def drift(settings: Settings) -> Section:
    """L = 2: permutation symmetry is broken in the feature layer of nonlinear networks, and nowhere in linear ones."""
    n_train, width = settings.choose(full=(60, 100), quick=(30, 50))
    draws = settings.choose(full=500, quick=150)
    task = hc.orthogonal_classes(n_train, y_minus=0.5, n_inputs=n_train)
    sparse = hc.orthogonal_classes(n_train, y_minus=-0.5, n_inputs=n_train)
    claims: list[Claim] = []
    rows: dict[str, object] = {}
    curves: dict[str, list[drawing.CurveRow]] = {}
    transitions: list[drawing.TransitionRow] = []
    expected = {
        "sigmoidal": ("ergodic", "broken"),
        "linear": ("ergodic", "ergodic"),
        "relu": (None, "broken"),
    }
    for activation in settings.choose(
        full=(hc.sigmoidal, hc.linear, hc.relu), quick=(hc.sigmoidal, hc.linear)
    ):
        name = activation.name
        used = sparse if name == "relu" else task
        mlp = hc.MLP(used.n_inputs, 3, width, DEPTH, activation, hc.mean_field)
        run = settings.sample(
            name, hc.Posterior(mlp, used, n_temperature=N_TEMPERATURE), sampler=SAMPLER, precision="float32",
            chains=4, draws=draws, warmup=settings.choose(full=1500, quick=500), thin=settings.choose(full=4, quick=2),
        )  # fmt: skip
        rows[name] = describe_run(run)
        report = hc.symmetry_breaking(run)
        for row in report.pooled:
            where = "the feature layer" if row.layer == DEPTH else "the layer below"
            curves.setdefault(f"layer {row.layer}", []).append(
                drawing.CurveRow(
                    name,
                    np.array(list(row.autocorrelation), float),
                    np.array([value for value, _ in row.autocorrelation.values()]),
                    np.array([error for _, error in row.autocorrelation.values()]),
                )
            )
            verdict = expected[name][row.layer - 1]
            if verdict is not None and row.verdict == "undecided":
                claims.append(
                    Claim.not_compared(
                        f"{name}-layer-{row.layer}",
                        f"{name}: permutation symmetry in {where} is {verdict}",
                        row.sentence,
                        grade="poster",
                    )
                )
                continue
            if verdict is None:
                claims.append(
                    Claim.not_compared(
                        f"{name}-layer-{row.layer}",
                        f"{name}: {where} does not drift",
                        f"the poster says so of the feature layer; measured here: {row.sentence}",
                        grade="poster",
                    )
                )
                continue
            claims.append(
                Claim.statement_true(
                    f"{name}-layer-{row.layer}",
                    f"{name}: permutation symmetry in {where} is {verdict}"
                    + (": units keep their codes" if verdict == "broken" else ": units drift"),
                    row.verdict == verdict,
                    row.sentence,
                    grade="poster",
                    expected=verdict,
                )
            )
        if name == "relu":
            for row in report.pooled:
                claims.append(_outliers_stay(row))
        if name == "sigmoidal":
            lower, upper = report.pooled[0], report.pooled[1]
            claims.append(
                Claim.above(
                    "sigmoidal-rates",
                    "sigmoidal: units below the feature layer change their code at least a hundred times as often",
                    # Where no change was seen, three would still be likely.
                    100.0
                    * max(upper.changes + 2.0 * upper.changes_error, 3e3 / (upper.run_length * 4 * width)),
                    lower.changes,
                    lower.changes_error,
                    grade="checked",
                    evidence=f"{lower.changes:.3g} and {upper.changes:.3g} changes per unit and 1000 draws",
                )
            )
            claims.append(
                Claim.statement_true(
                    "sigmoidal-composition",
                    "sigmoidal: below the feature layer the shares of the codes are conserved while units change theirs",
                    lower.transitions.conserved and lower.transitions.stayed < 0.75,
                    f"distance of first and last composition {lower.transitions.distance:.3g}, "
                    f"{lower.transitions.expected_distance:.3g} expected from the exchange of units; "
                    f"{lower.transitions.stayed:.0%} end with their first code",
                    grade="poster",
                )
            )
            claims.append(
                Claim.above(
                    "sigmoidal-stay",
                    "sigmoidal: at least nine in ten units of the feature layer end with the code they began with",
                    0.9,
                    upper.transitions.stayed,
                    grade="checked",
                )
            )
            for row in (lower, upper):
                transitions.append(
                    drawing.TransitionRow(
                        f"sigmoidal, layer {row.layer}",
                        list(row.transitions.codes),
                        row.transitions.probabilities,
                    )
                )
            claims.append(_kernel_stands(run))
    return Section(
        title="Drift and broken permutation symmetry",
        question="Do units keep their codes along the chain, layer by layer?",
        claims=tuple(claims),
        figures={
            "transitions": drawing.transition_matrix(transitions),
            "autocorrelation": drawing.curve_panels(
                curves,
                x_label="lag (sampler draws)",
                y_label="autocorrelation of class means",
                log_x=True,
                log_y=False,
            ),
        },
        captions={
            "transitions": "Probability that a unit with the code of the row at the first draw has that of the column at the last.",
            "autocorrelation": "Units that keep their code keep an autocorrelation near one.",
        },
        settings={
            "patterns": n_train,
            "targets": "1 and 1/2; ReLU: 1 and -1/2",
            "n_temperature": N_TEMPERATURE,
            "runs": rows,
        },
        notes=(
            "Verdicts hold for the length of the run: broken may mean that the memory is longer than it.",
        ),
        unknown=(
            "Sampling dynamics and length of the published drift panel, and how its time compares with draws here.",
        ),
    )


def _outliers_stay(row: hc.LayerSymmetry) -> Claim:
    """Do the few units that carry a code at the first draw still carry it at the last?"""
    counts, codes = row.transitions.counts, row.transitions.codes
    coded = [i for i, code in enumerate(codes) if "1" in code]
    started, kept = int(counts[coded].sum()), int(counts[coded, coded].sum())
    share = kept / max(started, 1)
    if row.verdict == "undecided":
        return Claim.not_compared(
            f"relu-stay-{row.layer}",
            f"relu, layer {row.layer}: most units that begin with a code end with it",
            "units that share a code still coalesce: lengthen warm-up",
            grade="poster",
            measured=share,
        )
    return Claim.above(
        f"relu-stay-{row.layer}",
        f"relu, layer {row.layer}: most units that begin with a code end with it",
        0.5,
        share,
        float(np.sqrt(max(share * (1.0 - share), 1.0 / max(started, 1)) / max(started, 1))),
        z=2.0,
        grade="poster",
        evidence=f"{kept} of {started} over all chains",
    )


def _kernel_stands(run: xr.DataTree) -> Claim:
    blocks = chains_of(run, "posterior/kernel_blocks")[:, :, 0]
    third = blocks.shape[1] // 3
    early, late = mean_of(blocks[:, :third]), mean_of(blocks[:, -third:])
    upper = np.triu_indices(3)
    return Claim.agrees(
        "sigmoidal-kernel",
        "sigmoidal: the kernel of the drifting layer stands still (class blocks, first against last third of the run)",
        early.mean[upper],
        late.mean[upper],
        np.hypot(early.error, late.error)[upper],
        grade="poster",
    )
