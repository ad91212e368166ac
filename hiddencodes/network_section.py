"""The parts of a report that speak about one network: codes, convergence, drift, settings."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hiddencodes.html_parts import Html, badge, bullets, esc, join, number, table, tag, with_error

_SMALLEST_SHARE = 0.005
_RULES = {"half": "1/2", "zero": "0", "half_maximum": "half of the largest class mean in the layer"}


def network_section(label: str, network: Mapping[str, Any], chain_figures: list[Html]) -> Html:
    """Everything about one network.

    Args:
        label: Its label.
        network: Its part of the summary.
        chain_figures: Trace and rank plots.
    """
    return join(
        [
            tag("h3", label),
            _scheme(network),
            _undecided(network["undecided"]),
            *(_codes(table) for table in network["codes"]),
            _convergence(network["convergence"]),
            _drift(network["drift"]) if network["drift"] else "",
            _symmetry(network["symmetry"]) if network["symmetry"] else "",
            *(_moves(counts) for counts in network["moves"]),
            tag("details", tag("summary", "Traces and ranks"), *chain_figures) if chain_figures else "",
        ]
    )


def scheme_badge(scheme: Mapping[str, Any] | None) -> Html:
    """The name of a coding scheme, or that there is none to name."""
    if scheme is None:
        return badge("unknown", good=False)
    return badge(scheme["scheme"], good=None if scheme["table"] else False)


def _undecided(messages: Mapping[str, str]) -> Html:
    """Which diagnostics refused the run, and why; the scheme and the convergence say so in their own place."""
    return bullets(
        f"{name}: undecided: {text}"
        for name, text in messages.items()
        if name not in ("scheme", "convergence")
    )


def _scheme(network: Mapping[str, Any]) -> Html:
    scheme = network["scheme"]
    if scheme is None:
        return tag("p", scheme_badge(None), " No chain stayed finite: there is nothing to measure.")
    sentence = scheme["sentence"].partition(": ")[2]
    if not scheme["table"]:
        return tag("p", scheme_badge(scheme), " ", sentence)
    names = ("feature_learning", "significance", "participation", "typical_signal", "discreteness")
    rows = [
        [
            row["layer"],
            "all" if row["seed"] is None else row["seed"],
            row["scheme"],
            *(_statistic(row[name]) for name in names),
        ]
        for row in scheme["table"]
    ]
    thresholds = scheme["table"][0]
    header = ["layer", "seed", "scheme", *(name.replace("_", " ") for name in names)]
    limits = ["", "", "threshold", *(number(thresholds[name]["threshold"]) for name in names)]
    return join(
        [
            tag("p", scheme_badge(scheme), " ", sentence),
            table(header, [*rows, limits], numbers=range(3, 8)),
        ]
    )


def _statistic(entry: Mapping[str, Any]) -> str:
    return with_error(entry["value"], entry["error"])


def _codes(codes: Mapping[str, Any]) -> Html:
    seeds = list(codes["by_seed"])
    shown = {code: row for code, row in codes["pooled"].items() if row["fraction"] >= _SMALLEST_SHARE}

    def cell(row: Mapping[str, Any] | None) -> str:
        return with_error(row["fraction"], row["error"], 100.0) if row else "0"

    rows = [
        [tag("code", code), cell(row), *(cell(codes["by_seed"][seed].get(code)) for seed in seeds)]
        for code, row in shown.items()
    ]
    rest = len(codes["pooled"]) - len(shown)
    note = f" {rest} rarer codes are left out." if rest else ""
    title = (
        f"Share of units (%) per code in layer {codes['layer']}; digits are the classes "
        f"{', '.join(codes['class_names'])}; a class counts where its mean activation is above {_RULES.get(codes['rule'], codes['rule'])}.{note}"
    )
    header = ["code", "all seeds", *(f"seed {seed}" for seed in seeds)]
    return join([tag("h4", f"Codes, layer {codes['layer']}"), table(header, rows, numbers=range(1, 2 + len(seeds))),
                 tag("p", title, class_="lead")])  # fmt: skip


def _convergence(report: Mapping[str, Any]) -> Html:
    word = "converged" if report["ok"] else "not converged" if report["assessable"] else "not assessable"
    rows = [
        [
            tag("code", row["variable"]),
            row["seed"],
            row["entries"],
            _rhat(row, "rhat"),
            _rhat(row, "nested_rhat"),
            number(_rounded(row["ess_bulk"]["value"])),
            number(_rounded(row["ess_tail"]["value"])),
            row["rhat"]["entry"].partition("[")[2].rstrip("]").partition(", ")[2],
        ]
        for row in report["table"]
    ]
    header = ["observable", "seed", "entries", "R-hat", "nested R-hat", "bulk ESS", "tail ESS", "worst entry"]
    sampler = report["sampler"]
    facts = [f"divergences: {number(sampler['divergences'])}", f"starts: {report['starts']}"]
    facts += [f"acceptance, seed {seed}: {number(value)}" for seed, value in sampler["acceptance"].items()]
    facts += [f"gradients per draw, seed {s}: {number(v)}" for s, v in sampler["gradients_per_draw"].items()]
    facts += [f"gradients spent waiting, seed {s}: {number(100 * v)} %" for s, v in sampler["idle"].items()]
    return join(
        [
            tag("h4", "Convergence"),
            tag("p", badge(word, good=report["ok"]), " ", "" if report["reasons"] else report["verdict"]),
            bullets([*report["reasons"], *report["cautions"]]),
            table(header, rows, numbers=range(2, 7)),
            bullets(facts),
        ]
    )


def _rhat(row: Mapping[str, Any], name: str) -> str:
    """A worst R-hat; entries that stand still at different values in different chains have an infinite one."""
    value = row[name]["value"]
    if value is None:
        return "∞" if row["frozen"] else number(None)
    return f"{value:.3f}"


def _rounded(value: float | None) -> int | None:
    return None if value is None else round(value)


def _drift(report: Mapping[str, Any]) -> Html:
    lags = sorted({int(lag) for row in report["rows"] for lag in row["autocorrelation"]})
    rows = [
        [
            row["layer"],
            row["seed"],
            with_error(row["changes_per_unit_per_1000_draws"], row["error"]),
            *(with_error(*row["autocorrelation"].get(str(lag), (None, None))) for lag in lags),
        ]
        for row in report["rows"]
    ]
    header = ["layer", "seed", "code changes", *(f"autocorrelation, lag {lag}" for lag in lags)]
    note = (
        "Code changes per unit and 1000 draws of the sampler, and the autocorrelation of the units' class means: near 1 at "
        "long lags where units keep their codes (broken permutation symmetry), 0 where they drift."
    )
    return join([tag("h4", "Drift"), table(header, rows, numbers=range(2, 3 + len(lags))),
                 tag("p", note, class_="lead")])  # fmt: skip


def _symmetry(report: Mapping[str, Any]) -> Html:
    note = (
        "q_EA is the share of the variance between units that survives time-averaging, between the first and the last third of "
        "the run. Broken means that units keep what tells them apart for the length of this run, ergodic that they forget it."
    )
    sentences = join((tag("li", row["sentence"]) for row in report["pooled"]), "")
    return join(
        [tag("h4", "Permutation symmetry of the units"), tag("ul", sentences), tag("p", note, class_="lead")]
    )


def _moves(counts: Mapping[str, Any]) -> Html:
    codes = [tag("code", code) for code in counts["codes"]]

    def cell(proposed: int, accepted: int) -> str:
        return f"{100.0 * accepted / proposed:.2g} % of {proposed}" if proposed else ""

    rows = [
        [code, *map(cell, proposed, accepted)]
        for code, proposed, accepted in zip(codes, counts["proposed"], counts["accepted"], strict=True)
        if any(proposed)
    ]
    what = (
        "what a pair of units was (rows) and would become (columns); of the angles that are proposed at once, one at most is taken"
        if counts["move"] == "pair_rotation"
        else "the code that a unit had (rows) and the one that was proposed (columns)"
    )
    note = (
        f"Share of proposals that was accepted, by {what}. Together "
        f"{number(_percent(counts['same_code']))} % of those that change nothing in it and {number(_percent(counts['other_code']))} % of those that do."
    )
    title = f"Moves between codes: {counts['move']}, seed {counts['seed']}"
    return join([tag("h4", title), table(["", *codes], rows, numbers=range(1, 1 + len(codes))),
                 tag("p", note, class_="lead")])  # fmt: skip


def _percent(share: float | None) -> float | None:
    return None if share is None else 100.0 * share


def provenance_section(summary: Mapping[str, Any]) -> Html:
    """Settings of every network, versions, timings, and how the data were made."""
    networks = summary["networks"]
    rows: dict[str, list[object]] = {}
    for network in networks.values():
        sampler: Mapping[str, Any] = network["sampler"] or {}
        timings: Mapping[str, Any] = network["timings"] or {}
        entries: dict[str, object] = {
            **{key.replace("_", " "): value for key, value in network["model"].items()},
            **{key.replace("_", " "): value for key, value in network["settings"].items()},
            **{f"sampler {key.replace('_', ' ')}": v for key, v in sampler.items()},
            **{f"{key.removesuffix('_seconds')} time (s)": v for key, v in timings.items()},
        }
        for key, value in entries.items():
            rows.setdefault(key, []).append(number(value, 4))
    settings = table(["", *networks], [[key, *values] for key, values in rows.items()])
    first = next(iter(networks.values()))
    packages: Mapping[str, Any] = first["versions"] or {}
    versions = {"hiddencodes": summary["hiddencodes_version"], **packages}
    provenance: list[Any] = first["provenance"] or []
    data = join(
        (tag("pre", json.dumps(entry, ensure_ascii=False, indent=1)) for entry in provenance),
        "",
    )
    return join(
        [
            settings,
            *(
                _sessions(label, network["sessions"])
                for label, network in networks.items()
                if network["sessions"]
            ),
            tag("p", tag("strong", "Versions: "), ", ".join(f"{k} {v}" for k, v in versions.items())),
            tag("p", tag("strong", "Seeds: "), ", ".join(map(str, first["seeds"]))),
            tag("details", tag("summary", "How the training and test sets were made"), data),
            tag(
                "details",
                tag("summary", "The study"),
                tag("pre", esc(json.dumps(summary["study"], indent=1, ensure_ascii=False))),
            ),
        ]
    )


def _sessions(label: str, sessions: Sequence[Mapping[str, Any]]) -> Html:
    """The stretches in which a network was sampled: on what, with which revision of the code."""
    known = ("from", "time", "device", "processes", "revision")
    rows = [[str(session.get(key, "")) for key in known] for session in sessions]
    title = f"{label}: sampled in {len(rows)} stretch{'es' * (len(rows) > 1)}"
    return tag("details", tag("summary", title), table([*known], rows))
