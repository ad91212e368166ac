"""What a reproduction found, as plain data: the content of ``results.json``."""

import datetime
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from typing import Any, NamedTuple, cast

import jax

from hiddencodes.benchmarks.papers.section import Section
from hiddencodes.benchmarks.papers.words import VERDICTS
from hiddencodes.plain_data import as_json

PACKAGES = ("jax", "jaxlib", "flax", "blackjax", "numpyro", "arviz", "xarray", "numpy", "scipy", "matplotlib")


class Finished(NamedTuple):
    """A section after it ran.

    Attributes:
        name: Its name.
        headline: What it is about, known even if it failed.
        section: What it found; None if it failed.
        images: Its figures as PNG, by name.
        seconds: Time it took.
        error: What went wrong; empty if nothing did.
        trace: Where.
    """

    name: str
    headline: str
    section: Section | None
    images: Mapping[str, bytes]
    seconds: float
    error: str = ""
    trace: str = ""

    @property
    def words(self) -> str:
        """The outcome in a few words."""
        if self.error:
            return "failed"
        claims = self.section.claims if self.section else ()
        return (
            "; ".join(f"{n} {verdict}" for verdict, n in _count(c.verdict for c in claims).items() if n)
            or "done"
        )


def results_of(
    about: Mapping[str, Any],
    done: Sequence[Finished],
    *,
    quick: bool,
    key: int,
    chosen: Sequence[str],
    left_out: Sequence[str],
    started: float,
) -> dict[str, Any]:
    """Everything that is known, as plain data that JSON can tell.

    Args:
        about: ``name``, ``title``, ``question``, ``paper`` and ``unknown`` of the reproduction.
        done: Sections that ran, in order.
        quick: Whether this is the small version.
        key: Random key.
        chosen: Names of the sections that run.
        left_out: Names of the others.
        started: Time of the start, in seconds since 1970.
    """
    claims = [
        {"section": part.name, **claim.to_dict()}
        for part in done
        for claim in (part.section.claims if part.section else ())
    ]
    failed = [part.name for part in done if part.error]
    counts = _count(claim["verdict"] for claim in claims)
    complete = len(done) == len(chosen)
    return as_json(
        {
            "reproduction": about["name"],
            "title": about["title"],
            "question": about["question"],
            "paper": about["paper"],
            "quick": quick,
            "key": key,
            "ok": complete and not failed and not counts["fails"],
            "complete": complete,
            "pending": list(chosen[len(done) :]),
            "left_out": list(left_out),
            "failed_sections": failed,
            "counts": counts,
            "hiddencodes_version": metadata.version("hiddencodes"),
            "versions": {name: metadata.version(name) for name in PACKAGES},
            "device": _device(),
            "created": datetime.datetime.fromtimestamp(started, datetime.UTC).isoformat(timespec="seconds"),
            "seconds": round(time.time() - started, 1),
            "claims": claims,
            "unknown": [
                *about["unknown"],
                *(line for part in done if part.section for line in part.section.unknown),
            ],
            "sections": [_section(part) for part in done],
        }
    )


def _count(verdicts: Iterable[str]) -> dict[str, int]:
    times = Counter(verdicts)
    return {verdict: times[verdict] for verdict in VERDICTS}


def _section(part: Finished) -> dict[str, Any]:
    section = part.section or Section(part.headline, "")
    return {
        "name": part.name,
        "title": section.title,
        "question": section.question,
        "settings": section.settings,
        "notes": section.notes,
        "figures": {name: section.captions.get(name, "") for name in part.images},
        "seconds": round(part.seconds, 1),
        "error": part.error or None,
        "trace": part.trace or None,
    }


def _device() -> dict[str, Any]:
    devices = cast("list[Any]", jax.devices())  # pyright: ignore[reportUnknownMemberType]  # JAX leaves it untyped
    return {
        "platform": devices[0].platform,
        "kind": devices[0].device_kind,
        "count": len(devices),
        "cores": os.cpu_count(),
    }
