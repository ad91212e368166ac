"""The report of a reproduction: one HTML file, theory beside samples, every claim with its verdict."""

from collections.abc import Iterable, Mapping
from typing import Any

from hiddencodes.benchmarks.papers.words import GRADES
from hiddencodes.html_parts import (
    Html,
    badge,
    bullets,
    document,
    join,
    number,
    picture,
    table,
    tag,
    with_error,
)
from hiddencodes.plain_data import as_list, as_table

_GOOD: Mapping[str, bool] = {"holds": True, "fails": False}
_PLURAL = {"holds": "hold", "fails": "fail"}


def render(results: Mapping[str, Any], images: Mapping[str, bytes]) -> str:
    """The report as one HTML document: no scripts, nothing loaded from elsewhere, every text escaped.

    Args:
        results: What ``results.json`` holds.
        images: PNG files by ``<section>_<figure>``.
    """
    parts = [
        _head(results),
        tag("h2", "Claims"),
        _all_claims(results),
        tag("h2", "What is unknown about the published experiments"),
        bullets(results["unknown"]) or tag("p", "Nothing is listed."),
        *(_section(section, results["claims"], images) for section in results["sections"]),
        tag("h2", "Provenance"),
        _provenance(results),
    ]
    return document(f"{results['title']}: a reproduction", join(parts))


def count_words(counts: Mapping[str, int]) -> str:
    """How many claims have which verdict.

    Example:
        >>> count_words({"holds": 2, "fails": 1, "frozen, not compared": 0})
        '3 claims: 2 hold; 1 fails'
    """
    total = sum(counts.values())
    parts = [
        f"{n} {verdict if n == 1 else _PLURAL.get(verdict, verdict)}" for verdict, n in counts.items() if n
    ]
    return f"{total} claim{'s' * (total != 1)}" + (f": {'; '.join(parts)}" if parts else "")


def _head(results: Mapping[str, Any]) -> Html:
    paper = results["paper"]
    source = f"{paper['citation']}, arXiv {paper['arxiv']}" + (
        f", doi {paper['doi']}" if paper["doi"] else ""
    )
    failed = results["failed_sections"]
    remarks = [
        "This is the small version (quick): fewer and shorter chains, larger errors."
        if results["quick"]
        else "",
        f"Not finished: {', '.join(results['pending'])} had not run when this was written."
        if results["pending"]
        else "",
        f"Left out on request: {', '.join(results['left_out'])}." if results["left_out"] else "",
        f"Stopped by an error: {', '.join(failed)}." if failed else "",
    ]
    return join(
        [
            tag("h1", results["title"]),
            tag("p", source, class_="lead"),
            tag("p", results["question"]) if results["question"] else "",
            tag("p", tag("strong", count_words(results["counts"])), "."),
            *(tag("p", remark) for remark in remarks if remark),
        ]
    )


def _all_claims(results: Mapping[str, Any]) -> Html:
    rows = [
        [claim["section"], _what(claim), *shown_numbers(claim), _verdict(claim)]
        for claim in results["claims"]
    ]
    rows += [
        [section["name"], section["error"], "", "", badge("stopped by an error", good=False)]
        for section in results["sections"]
        if section["error"]
    ]
    note = tag(
        "p",
        "A claim holds if the measured value is within its tolerance, which is stated with its reason in the section. "
        "“Frozen, not compared”: the sampled chain is known to keep the codes it started with, so that its value says "
        "nothing for or against the theory.",
        class_="lead",
    )
    return join([table(["section", "claim", "expected", "measured", "verdict"], rows), note])


def _section(
    section: Mapping[str, Any], claims: Iterable[Mapping[str, Any]], images: Mapping[str, bytes]
) -> Html:
    name = section["name"]
    rows = [
        [
            _what(claim, long=True),
            GRADES[claim["grade"]],
            *shown_numbers(claim),
            _tolerance(claim),
            _verdict(claim),
        ]
        for claim in claims
        if claim["section"] == name
    ]
    header = ["claim", "expected value from", "expected", "measured", "tolerance", "verdict"]
    trace = section["trace"]
    return join(
        [
            tag("h2", section["title"]),
            tag("p", section["question"]) if section["question"] else "",
            tag("p", badge("stopped by an error", good=False), " ", section["error"])
            if section["error"]
            else "",
            tag("details", tag("summary", "Where"), tag("pre", trace)) if trace else "",
            *(
                picture(figure, caption, images[f"{name}_{figure}"])
                for figure, caption in section["figures"].items()
            ),
            table(header, rows) if rows else "",
            bullets(section["notes"]),
            _settings(section),
        ]
    )


def _what(claim: Mapping[str, Any], *, long: bool = False) -> Html:
    lines: list[object] = [tag("div", claim["statement"])]
    if long:
        lines.append(tag("div", tag("code", claim["name"]), class_="lead"))
    if claim["n_entries"] > 1:
        text = f"{claim['n_entries']} entries; shown is {claim['entry']}, the least favorable"
        lines.append(tag("div", tag("small", text), class_="lead"))
    if long and claim["evidence"]:
        lines.append(tag("div", tag("small", claim["evidence"]), class_="lead"))
    return join(lines, "")


def shown_numbers(claim: Mapping[str, Any]) -> list[str]:
    """The expected value or bound and the measured value as text, the latter with its error.

    Example:
        >>> shown_numbers({"expected": 0.12345678, "measured": 0.1301, "error": 0.0042, "relation": "="})
        ['0.1235', '0.1301 ± 0.0042']
        >>> shown_numbers({"expected": 0.5, "measured": 0.02, "error": None, "relation": "<"})
        ['< 0.5', '0.02']
    """
    measured = claim["measured"]
    shown = measured if isinstance(measured, str) else with_error(measured, claim["error"])
    relation = "" if claim["relation"] == "=" else f"{claim['relation']} "
    return [relation + number(claim["expected"], 4), shown]


def _tolerance(claim: Mapping[str, Any]) -> Html:
    if claim["tolerance"] is None:
        return tag("small", claim["tolerance_reason"])
    return join([tag("div", number(claim["tolerance"], 2)), tag("small", claim["tolerance_reason"])], "")


def _verdict(claim: Mapping[str, Any]) -> Html:
    return badge(claim["verdict"], good=_GOOD.get(claim["verdict"]))


def _settings(section: Mapping[str, Any]) -> Html:
    """Settings of the section as a whole, then one column per run."""
    plain: list[list[object]] = []
    runs: dict[str, Mapping[str, Any]] = {}
    for name, value in section["settings"].items():
        inner = as_table(value)
        if inner is None:
            plain.append([name, _cell(value)])
        else:
            runs[name] = inner
    fields = list(dict.fromkeys(field for run in runs.values() for field in run))
    columns = [[field, *(_cell(run.get(field, "")) for run in runs.values())] for field in fields]
    if not plain and not columns:
        return tag("p", f"Took {_duration(section['seconds'])}.", class_="lead")
    return tag(
        "details",
        tag("summary", f"Settings ({_duration(section['seconds'])})"),
        table(["setting", "value"], plain) if plain else "",
        table(["run", *runs], columns) if columns else "",
    )


def _cell(value: object) -> str:
    items = as_list(value)
    return number(value, 4) if items is None else ", ".join(map(_cell, items))


def _duration(seconds: float) -> str:
    """Seconds in words.

    Example:
        >>> _duration(12.34), _duration(754.0)
        ('12.3 s', '12.6 min')
    """
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _provenance(results: Mapping[str, Any]) -> Html:
    device = results["device"]
    versions = {"hiddencodes": results["hiddencodes_version"], **results["versions"]}
    times = [[section["name"], _duration(section["seconds"])] for section in results["sections"]]
    return join(
        [
            tag("p", tag("strong", "Versions: "), ", ".join(f"{k} {v}" for k, v in versions.items())),
            tag(
                "p",
                tag("strong", "Device: "),
                f"{device['count']} × {device['kind']} ({device['platform']}), {device['cores']} processor cores",  # noqa: RUF001
            ),
            tag("p", tag("strong", "Started: "), results["created"], ", random key ", results["key"]),
            table(["section", "time"], [*times, ["all", _duration(results["seconds"])]]),
        ]
    )
