"""A reproduction of a paper: sections that run one after the other, and what is left of them if one fails."""

import json
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax

from hiddencodes.benchmarks.papers.claim import standard_errors
from hiddencodes.benchmarks.papers.page import render
from hiddencodes.benchmarks.papers.results import Finished, results_of
from hiddencodes.benchmarks.papers.section import (
    Section,
    SectionFunction,
    Settings,
    section_headline,
    section_name,
)
from hiddencodes.drawing import png
from hiddencodes.report import write_whole
from hiddencodes.rules import slug
from hiddencodes.runner import new_run_folder
from hiddencodes.sampling import Progress

Watch = Callable[[str, Progress | str, str], None]
"""Called with a section's name, what happens in it (the sampler's report, or a few words) and the run's label."""


class Paper(NamedTuple):
    """What is reproduced.

    Attributes:
        citation: Authors, title, journal and year.
        arxiv: Number on arXiv.
        doi: Digital object identifier.
    """

    citation: str
    arxiv: str
    doi: str = ""


# Standard errors that claims are allowed. Errors of the small version come from four short chains, which tell the error of a mean no
# better than their eight halves do: what is four standard errors of a Gaussian law is 8.5 of Student's with 7 degrees of freedom.
_FULL = 4.0
_QUICK = 8.5


@dataclass(frozen=True)
class Reproduction:
    """A published system and the sections that hold it against sampled networks.

    Attributes:
        name: What the command line calls it.
        title: Heading of its report.
        paper: The paper.
        sections: Functions from `Settings` to `Section`; a section is called like its function, with dashes.
        question: What is asked, as plain text.
        unknown: What is not known about the published experiments.

    Raises:
        ValueError: If the name is not a slug, or two sections have the same name.

    Example:
        >>> def coins(settings: Settings) -> Section:
        ...     '''Is the coin fair?'''
        ...     return Section("Coins", "Is the coin fair?")
        >>> Reproduction("coins", "Coins", Paper("Somebody, 2024", "2406.16689"), (coins,)).headlines
        {'coins': 'Is the coin fair?'}
    """

    name: str
    title: str
    paper: Paper
    sections: tuple[SectionFunction, ...] = ()
    question: str = ""
    unknown: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what could not be named."""
        if slug(self.name) != self.name:
            raise ValueError(f"name: expected a name like {slug(self.name)!r}, got {self.name!r}")
        if len(self.headlines) < len(self.sections):
            raise ValueError(f"sections: {[section_name(f) for f in self.sections]} are not all different")

    @property
    def headlines(self) -> dict[str, str]:
        """What every section is about, by its name."""
        return {section_name(function): section_headline(function) for function in self.sections}


class Outcome(NamedTuple):
    """What is left of a reproduction.

    Attributes:
        folder: The folder with ``results.json``, ``report.html``, ``figures`` and ``runs``.
        results: The content of ``results.json``.
        ok: Whether every section ran to its end and no claim fails.
    """

    folder: Path
    results: dict[str, Any]
    ok: bool


def run(
    reproduction: Reproduction,
    out: str | Path | None = None,
    *,
    quick: bool = False,
    only: Iterable[str] = (),
    key: int = 0,
    watch: Watch | None = None,
) -> Outcome:
    """Run the sections of a reproduction one after the other.

    After every section its figures, ``results.json`` and ``report.html`` are written, each file whole or not at all, so that a
    process that is killed loses the section it was in and no other. A section that raises is recorded with its error, and the
    next one goes on. Theory is computed in double precision (``jax.enable_x64``).

    Args:
        reproduction: The reproduction.
        out: The folder; ``runs/<name>-<time>`` if None.
        quick: Whether a small version is wanted.
        only: Names of the sections to run; all if there are none.
        key: Random key, an integer.
        watch: Told what goes on.

    Returns:
        The folder, the results and whether all went well.

    Raises:
        ValueError: If there is no section of a name in ``only``.
        FileExistsError: If the folder exists and is not empty.
    """
    wanted = set(only) or set(reproduction.headlines)
    if strangers := sorted(wanted - set(reproduction.headlines)):
        raise ValueError(
            f"only: no section is called {', '.join(strangers)}; there are {_names(reproduction)}"
        )
    tell: Watch = watch or (lambda section, event, label: None)
    folder = new_run_folder(reproduction.name, out)
    chosen = [function for function in reproduction.sections if section_name(function) in wanted]
    settings = Settings(quick, folder, key)
    started, done = time.time(), list[Finished]()
    results = _write(folder, reproduction, settings, done, chosen, started)
    for function in chosen:
        name = section_name(function)
        tell(name, "running", "")
        finished = _run_section(function, settings, tell)
        done.append(finished)
        results = _write(folder, reproduction, settings, done, chosen, started)
        tell(name, finished.words, "")
    return Outcome(folder, results, results["ok"])


def _names(reproduction: Reproduction) -> str:
    return ", ".join(reproduction.headlines) or "none"


def _run_section(function: SectionFunction, settings: Settings, tell: Watch) -> Finished:
    """One section; whatever goes wrong in it is part of what it found."""
    name, begin = section_name(function), time.perf_counter()

    def show(label: str, event: Progress) -> None:
        tell(name, event, label)

    section: Section | None = None
    images: dict[str, bytes] = {}
    errors: list[str] = []
    traces: list[str] = []

    def attempt(what: str, action: Callable[[], None]) -> None:
        # Sections are programs of their own: none of their mistakes may cost what the other sections found.
        try:
            action()
        except Exception as error:  # noqa: BLE001
            errors.append(f"{what}{type(error).__name__}: {error}")
            traces.append(traceback.format_exc())

    def compute() -> None:
        nonlocal section
        with jax.enable_x64(True), standard_errors(_QUICK if settings.quick else _FULL):
            found = function(replace(settings, section=name, progress=show))
        if not isinstance(found, Section):  # pyright: ignore[reportUnnecessaryIsInstance]  # else a forgotten return passes
            raise TypeError(f"{function.__name__} returned {found!r} instead of a Section")
        section = found

    attempt("", compute)
    shown: Mapping[str, Any] = section.figures if section is not None else {}
    for figure_name, figure in shown.items():

        def draw(figure_name: str = figure_name, figure: Any = figure) -> None:
            images[figure_name] = figure if isinstance(figure, bytes) else png(figure)

        attempt(f"figure {figure_name}: ", draw)
    return Finished(
        name,
        section_headline(function),
        section,
        images,
        time.perf_counter() - begin,
        "; ".join(errors),
        "\n".join(traces),
    )


def _write(
    folder: Path,
    reproduction: Reproduction,
    settings: Settings,
    done: list[Finished],
    chosen: list[SectionFunction],
    started: float,
) -> dict[str, Any]:
    """Write what is known so far: figures first, then what speaks of them."""
    results = results_of(
        {
            "name": reproduction.name,
            "title": reproduction.title,
            "question": reproduction.question,
            "paper": reproduction.paper._asdict(),
            "unknown": list(reproduction.unknown),
        },
        done,
        quick=settings.quick,
        key=settings.key,
        chosen=[section_name(function) for function in chosen],
        left_out=[section_name(function) for function in reproduction.sections if function not in chosen],
        started=started,
    )
    (folder / "figures").mkdir(exist_ok=True)
    images = {f"{part.name}_{name}": image for part in done for name, image in part.images.items()}
    for name, image in images.items():
        path = folder / "figures" / f"{name}.png"
        if not path.exists():
            write_whole(path, image)
    text = json.dumps(results, indent=1, allow_nan=False, ensure_ascii=False)
    write_whole(folder / "results.json", text.encode())
    write_whole(folder / "report.html", render(results, images).encode())
    return results
