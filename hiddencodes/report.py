"""The report of a study: one HTML file without outside parts, figures as PNG, and all numbers as JSON."""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from hiddencodes.html_parts import Html, badge, document, join, number, picture, table, tag
from hiddencodes.network_section import network_section, provenance_section, scheme_badge
from hiddencodes.pictures import Picture, draw_chains, draw_pictures
from hiddencodes.plain_data import as_list
from hiddencodes.schema import Study
from hiddencodes.summary import summarize


def render(
    summary: Mapping[str, Any], pictures: list[Picture], chain_pictures: Mapping[str, list[Picture]]
) -> str:
    """The report as one HTML document: no scripts, nothing loaded from elsewhere, every text escaped.

    Args:
        summary: What `summarize` says.
        pictures: Figures that compare networks.
        chain_pictures: Trace and rank plots by network.
    """
    study = summary["study"]
    body = join(
        [
            _head(summary),
            tag("h2", "Verdicts"),
            _verdicts(summary),
            tag("h2", "Hidden codes"),
            *(_figure(shown) for shown in pictures),
            tag("h2", "Predictions"),
            _predictions(summary),
            tag("h2", "Networks"),
            *(
                network_section(label, network, [_figure(p) for p in chain_pictures.get(label, [])])
                for label, network in summary["networks"].items()
            ),
            tag("h2", "Settings and provenance"),
            provenance_section(summary),
        ]
    )
    return document(f"{study['name']}: hidden codes", body)


def _head(summary: Mapping[str, Any]) -> Html:
    study, networks = summary["study"], list(summary["networks"].values())
    task = {key: value for key, value in study["task"].items() if value is not None and key != "kind"}
    what = ", ".join(f"{key} {_short(value)}" for key, value in task.items())
    sizes = networks[0]["sizes"]
    return join(
        [
            tag("h1", study["name"]),
            tag("p", f"Hidden codes of {len(networks)} sampled networks", class_="lead"),
            tag("p", tag("strong", "Task: "), tag("code", study["task"]["kind"]), f" with {what}."),
            tag(
                "p",
                tag("strong", "Sampling: "),
                tag("code", study["sampling"]["sampler"]),
                f", {_many(sizes, 'seed')} × {_many(sizes, 'chain')} × {_many(sizes, 'draw')} after "  # noqa: RUF001
                f"{study['sampling']['warmup']} warm-up iterations. Each seed draws its own training set and its own "
                "chains.",
            ),
        ]
    )


def _many(sizes: Mapping[str, int], what: str) -> str:
    return f"{sizes[what]} {what}{'s' if sizes[what] != 1 else ''}"


def _short(value: object) -> str:
    items = as_list(value)
    return number(value) if items is None else "(" + ", ".join(map(number, items)) + ")"


def _verdicts(summary: Mapping[str, Any]) -> Html:
    def row(label: str, network: Mapping[str, Any]) -> list[object]:
        model, scheme, chain = network["model"], network["scheme"], network["convergence"]
        word = "converged" if chain["ok"] else "not converged" if chain["assessable"] else "not assessable"
        kind = (
            f"{model['activation']}, {model['parameterization']}, N = {model['width']}, L = {model['depth']}"
        )
        name = join([tag("strong", label), tag("div", kind, class_="lead")], "")
        decided = scheme["sentence"].partition(": ")[2] if scheme else "no chain stayed finite"
        why = one_reason(chain)
        return [
            name,
            scheme_badge(scheme),
            tag("small", decided),
            join([badge(word, good=chain["ok"]), tag("div", tag("small", why), class_="lead")], ""),
            _certificate(network["equilibrium"]),
        ]

    rows = [row(label, network) for label, network in summary["networks"].items()]
    note = tag(
        "p",
        "Schemes: ",
        tag("strong", "lazy"),
        " – no learned codes; ",  # noqa: RUF001
        tag("strong", "analog"),
        " – every unit responds to every class, with graded strength; ",  # noqa: RUF001
        tag("strong", "redundant"),
        " – each code is shared by many units; ",  # noqa: RUF001
        tag("strong", "sparse"),
        " – few units carry codes (arXiv 2406.16689). Convergence is judged by quantities that do not change when hidden "  # noqa: RUF001
        "units are permuted; it says that the chains agree, not that they have seen everything. Equilibrium is claimed only "
        "with a certificate: chains that started with deliberately wrong shares of codes, or at an exact draw of the "
        "posterior, must end alike.",
        class_="lead",
    )
    return join([table(["network", "scheme", "decided by", "chains", "equilibrium"], rows), note])


def _certificate(equilibrium: Mapping[str, Any]) -> Html:
    if equilibrium["certificate"] == "none":
        return tag("small", "no certificate was run")
    word = f"{'' if equilibrium['ok'] else 'not '}equilibrated"
    why = equilibrium["verdict"].partition(": ")[2]
    return join([badge(word, good=equilibrium["ok"]), tag("div", tag("small", why), class_="lead")], "")


def one_reason(convergence: Mapping[str, Any]) -> str:
    """Why chains are judged as they are: the first reason and how many more there are, or the facts that speak for them.

    Example:
        >>> one_reason({"reasons": ["R-hat 1.2 > 1.01 for loss", "3 divergences"], "verdict": ""})
        'R-hat 1.2 > 1.01 for loss (and 1 more reason)'
    """
    reasons = convergence["reasons"]
    if not reasons:
        return convergence["verdict"].partition(": ")[2]
    more = len(reasons) - 1
    return reasons[0] + (f" (and {more} more reason{'s' * (more > 1)})" if more else "")


def _predictions(summary: Mapping[str, Any]) -> Html:
    rows = [
        [
            label,
            row["seed"],
            number(row.get("train_loss")),
            number(row.get("bias_squared")),
            number(row.get("variance_within")),
            number(row.get("variance_between")),
            number(row.get("accuracy")),
        ]
        for label, network in summary["networks"].items()
        for row in network["errors"]
    ]
    header = [
        "network",
        "seed",
        "training loss",
        "test bias²",
        "variance in chains",
        "between chains",
        "accuracy",
    ]
    note = tag(
        "p",
        "Mean squared test error per output = bias² of the mean prediction + variance of the predictions over the posterior. "
        "Accuracy is that of the mean output's largest entry.",
        class_="lead",
    )
    return join([table(header, rows, numbers=range(1, 7)), note])


def _figure(shown: Picture) -> Html:
    return picture(shown.name, shown.caption, shown.image)


def write_report(folder: Path, study: Study, runs: Mapping[str, xr.DataTree]) -> Path:
    """Write ``figures/*.png``, ``summary.json`` and ``report.html`` into a folder; a file is replaced only by a whole one.

    Args:
        folder: The run folder.
        study: The study.
        runs: Runs by label.

    Returns:
        The path of the report.
    """
    loaded = {label: _loaded(run) for label, run in runs.items()}
    summary = summarize(study, loaded)
    pictures = draw_pictures(loaded, summary)
    of_chains = {label: draw_chains(label, run) for label, run in loaded.items()}
    (folder / "figures").mkdir(exist_ok=True)
    for name, content in _files(summary, pictures, of_chains):
        write_whole(folder / name, content)
    return folder / "report.html"


def _loaded(run: xr.DataTree) -> xr.DataTree:
    """A run in memory, variables in alphabetical order: zarr lists them in whichever order the disk answers."""
    # xarray's methods take keyword arguments without types.
    groups = {
        name: node.to_dataset().load()  # pyright: ignore[reportUnknownMemberType]
        for name, node in run.children.items()
    }
    tree = xr.DataTree.from_dict(  # pyright: ignore[reportUnknownMemberType]
        {name: data[sorted(map(str, data.data_vars))] for name, data in groups.items()}
    )
    tree.attrs = dict(run.attrs)
    return tree


def _files(
    summary: Mapping[str, Any], pictures: list[Picture], of_chains: Mapping[str, list[Picture]]
) -> Iterator[tuple[str, bytes]]:
    for shown in [*pictures, *(p for several in of_chains.values() for p in several)]:
        yield f"figures/{shown.name}.png", shown.image
    yield "summary.json", json.dumps(summary, indent=1, allow_nan=False, ensure_ascii=False).encode()
    yield "report.html", render(summary, pictures, of_chains).encode()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file such that nobody ever sees a part of it.

    Args:
        path: The file.
        content: Its bytes.
    """
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        temporary = Path(file.name)
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            temporary.unlink()
            raise
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)
