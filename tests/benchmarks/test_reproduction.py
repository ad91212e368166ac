"""Sections run one after the other; what one of them breaks, or what breaks in between, costs nothing that was found before."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from html_elements import Elements
from matplotlib.figure import Figure
from scipy import stats

import hiddencodes as hc
from hiddencodes import report
from hiddencodes.benchmarks.papers import (
    Claim,
    Paper,
    Reproduction,
    Section,
    Settings,
    describe_run,
    reproduction,
    run,
)
from hiddencodes.drawing import png
from hiddencodes.sampling import Progress

SCRIPT = "<script>alert(1)</script>"
IMAGE = "\"'><img src=x onerror=alert(2)>"
PAPER = Paper("Somebody, Journal 1 (2024)", "2406.16689")


def claim(name: str = "mean", measured: float = 1.0) -> Claim:
    return Claim.agrees(name, "The mean is 1.", 1.0, measured, 0.1, grade="derived")


def first(settings: Settings) -> Section:
    """The first part."""
    return Section(
        "First part",
        "Does it hold?",
        (claim(), Claim.frozen("codes", "All codes occur.", "no unit changed its code", grade="poster")),
        figures={"curve": Figure(figsize=(1, 1)), "other": png(Figure(figsize=(1, 1)))},
        captions={"curve": "A caption."},
        settings={"width": settings.choose(full=100, quick=10), "runs": {"N T": 0.1, "activation": "relu"}},
        notes=("A note.",),
        unknown=("The temperature.",),
    )


def second_part(settings: Settings) -> Section:
    """The second part.

    More words.
    """
    return Section("Second part", "Really?", (claim("mean"), claim("other", 1.1)))


def failing_claim(settings: Settings) -> Section:
    """A claim that fails."""
    return Section("Third part", "", (claim("mean", 2.0),))


def broken(settings: Settings) -> Section:
    """An error."""
    raise ZeroDivisionError("nothing <to> divide by")


def forgetful(settings: Settings) -> Section:
    """A section without a result."""
    return None  # pyright: ignore[reportReturnType]


def bad_figure(settings: Settings) -> Section:
    """A figure that cannot be drawn."""
    figure = Figure(figsize=(1, 1))
    figure.text(0.5, 0.5, r"$\unknown{$", parse_math=True)
    return Section("Bad figure", "", (claim(),), figures={"bad": figure, "good": Figure(figsize=(1, 1))})


def make(*sections: Any, **words: Any) -> Reproduction:
    return Reproduction("tiny-paper", "A tiny paper", PAPER, sections, **words)


def read(folder: Path) -> dict[str, Any]:
    def refuse(text: str) -> None:
        raise AssertionError(text)

    return json.loads((folder / "results.json").read_text(encoding="utf-8"), parse_constant=refuse)


def test_everything_is_written(tmp_path: Path) -> None:
    outcome = run(make(first, second_part, unknown=("The paper's seed.",)), tmp_path / "out", quick=True)
    assert outcome.ok
    assert outcome.folder == tmp_path / "out"
    names = {p.relative_to(outcome.folder).as_posix() for p in outcome.folder.rglob("*") if p.is_file()}
    assert names == {"results.json", "report.html", "figures/first_curve.png", "figures/first_other.png"}
    found = read(outcome.folder)
    assert found == outcome.results
    assert [(c["section"], c["name"], c["verdict"]) for c in found["claims"]] == [
        ("first", "mean", "holds"),
        ("first", "codes", "frozen, not compared"),
        ("second-part", "mean", "holds"),
        ("second-part", "other", "holds"),
    ]
    assert found["counts"] == {"holds": 3, "fails": 0, "frozen, not compared": 1, "not compared": 0}
    assert found["unknown"] == ["The paper's seed.", "The temperature."]
    assert found["sections"][0]["settings"] == {"width": 10, "runs": {"N T": 0.1, "activation": "relu"}}
    assert found["sections"][0]["notes"] == ["A note."]
    assert (found["quick"], found["complete"], found["reproduction"]) == (True, True, "tiny-paper")
    assert found["paper"] == {"citation": PAPER.citation, "arxiv": PAPER.arxiv, "doi": ""}
    assert found["versions"]["jax"] == jax.__version__
    assert found["device"]["platform"] == "cpu"
    assert {"created", "seconds", "hiddencodes_version"} <= set(found)


@pytest.mark.parametrize("section", [failing_claim, broken, forgetful, bad_figure])
def test_what_goes_wrong_costs_no_other_section(section: Any, tmp_path: Path) -> None:
    outcome = run(make(section, first, second_part), tmp_path)
    found = read(tmp_path)
    assert not outcome.ok
    assert not found["ok"]
    assert found["complete"]
    assert [c["section"] for c in found["claims"]][-4:] == ["first"] * 2 + ["second-part"] * 2
    errors = {
        "broken": "ZeroDivisionError: nothing <to> divide by",
        "forgetful": "TypeError: forgetful returned None instead of a Section",
    }
    error = found["sections"][0]["error"]
    if section is failing_claim:
        assert (found["counts"]["fails"], found["failed_sections"], error) == (1, [], None)
    elif section is bad_figure:
        assert found["failed_sections"] == ["bad-figure"]
        assert error.startswith("figure bad: ")
        # Neither its claims nor its other figure are lost.
        assert found["claims"][0] == {"section": "bad-figure", **claim().to_dict()}
        assert (tmp_path / "figures" / "bad-figure_good.png").is_file()
    else:
        assert found["failed_sections"] == [section.__name__]
        assert error == errors[section.__name__]
        assert "Traceback" in found["sections"][0]["trace"]
        assert error in Elements((tmp_path / "report.html").read_text(encoding="utf-8")).texts


def test_repeated_names_of_claims_are_an_error_of_their_section(tmp_path: Path) -> None:
    def twice(settings: Settings) -> Section:
        return Section("Twice", "", (claim(), claim()))

    outcome = run(make(twice), tmp_path)
    assert "the names ['mean'] are given to more than one claim" in outcome.results["sections"][0]["error"]


def test_sections_may_be_chosen(tmp_path: Path) -> None:
    outcome = run(make(broken, first, second_part), tmp_path / "a", only=["second-part"])
    assert outcome.ok
    assert outcome.results["left_out"] == ["broken", "first"]
    assert [s["name"] for s in outcome.results["sections"]] == ["second-part"]
    with pytest.raises(ValueError, match="no section is called third; there are broken, first"):
        run(make(broken, first), tmp_path / "b", only=["third"])
    assert not (tmp_path / "b").exists()


def test_a_full_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(FileExistsError, match="not an empty folder"):
        run(make(first), tmp_path)


class Killed(BaseException):
    """Stands for the end of the process: nothing that catches exceptions catches it."""


def test_killed_at_any_write_what_is_on_disk_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, seen = os.replace, []
    for n_writes in range(12):
        left = n_writes

        def stop(source: Path, target: Path) -> None:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            replace(source, target)

        folder = tmp_path / str(n_writes)
        with monkeypatch.context() as patch:
            patch.setattr(report.os, "replace", stop)
            try:
                run(make(first, second_part), folder)
            except Killed:
                seen.append(_state(folder))
            else:
                break
    # Two files before the first section, its two figures and two files after it, two files after the second.
    assert seen == [None, 0, 0, 0, 0, 2, 2, 4]


def _state(folder: Path) -> int | None:
    """How many claims are on disk; None if there is no file yet. What is there has to be whole and fit together."""
    for path in folder.rglob("*.png"):
        if not path.name.startswith("."):
            assert path.read_bytes().rstrip(b"\0").endswith(b"IEND\xaeB`\x82")
    if (folder / "report.html").exists():
        Elements((folder / "report.html").read_text(encoding="utf-8")).check_standalone()
    if not (folder / "results.json").exists():
        return None
    found = read(folder)
    for section in found["sections"]:
        for name in section["figures"]:
            assert (folder / "figures" / f"{section['name']}_{name}.png").is_file()
    return len(found["claims"])


def test_a_process_that_is_killed_keeps_what_it_found(tmp_path: Path) -> None:
    code = f"""
import os, signal
from hiddencodes.benchmarks.papers import Claim, Paper, Reproduction, Section, run

def first(settings):
    return Section("First", "", (Claim.agrees("mean", "The mean is 1.", 1.0, 1.0, 0.1, grade="derived"),))

def killed(settings):
    os.kill(os.getpid(), signal.SIGKILL)

run(Reproduction("tiny", "Tiny", Paper("Somebody", "1"), (first, killed)), {str(tmp_path / "out")!r})
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    found = read(tmp_path / "out")
    assert [c["name"] for c in found["claims"]] == ["mean"]
    assert (found["ok"], found["complete"], found["pending"]) == (False, False, ["killed"])
    page = Elements((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert "Not finished: killed had not run when this was written." in page.texts


def test_an_interruption_ends_the_run_and_keeps_what_was_found(tmp_path: Path) -> None:
    def interrupted(settings: Settings) -> Section:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(make(first, interrupted, second_part), tmp_path)
    assert len(read(tmp_path)["claims"]) == 2
    assert read(tmp_path)["pending"] == ["interrupted", "second-part"]


def test_theory_is_computed_in_double_precision(tmp_path: Path) -> None:
    def precision(settings: Settings) -> Section:
        return Section("Precision", "", settings={"dtype": str(jnp.ones(1).dtype)})

    with jax.enable_x64(False):
        outcome = run(make(precision), tmp_path)
        assert jnp.ones(1).dtype == jnp.float32
    assert outcome.results["sections"][0]["settings"] == {"dtype": "float64"}


def test_texts_stay_texts(tmp_path: Path) -> None:
    nasty = SCRIPT + IMAGE

    def section(settings: Settings) -> Section:
        return Section(
            f"title {nasty}",
            f"question {nasty}",
            (
                Claim.agrees(
                    "a", f"statement {nasty}", [1.0, 2.0], [1.0, 2.0], 0.1, grade="derived", extra=0.1,
                    extra_reason=f"reason {nasty}", entries=[f"entry {nasty}"] * 2, evidence=f"remark {nasty}",
                ),
                Claim.statement_true("b", "b", True, f"evidence {nasty}", grade="text", expected=f"expected {nasty}"),
                Claim.frozen("c", "c", f"why {nasty}", grade="text"),
            ),
            figures={"figure": Figure(figsize=(1, 1))},
            captions={"figure": f"caption {nasty}"},
            settings={f"key {nasty}": f"value {nasty}", f"run {nasty}": {f"field {nasty}": [f"cell {nasty}"]}},
            notes=(f"note {nasty}",),
            unknown=(f"unknown {nasty}",),
        )  # fmt: skip

    def bad(settings: Settings) -> Section:
        raise ValueError(f"error {nasty}")

    reproduction = Reproduction(
        "tiny", f"heading {nasty}", Paper(f"citation {nasty}", f"arxiv {nasty}", f"doi {nasty}"),
        (section, bad), f"asked {nasty}", (f"unknown too {nasty}",),
    )  # fmt: skip
    page = Elements((run(reproduction, tmp_path).folder / "report.html").read_text(encoding="utf-8"))
    page.check_standalone()
    assert all(attributes.get("src") != "x" for _, attributes in page.found)
    text = "".join(page.texts)
    for word in (
        "title", "question", "statement", "reason", "entry", "remark", "evidence", "expected", "why", "caption", "key",
        "value", "run", "field", "cell", "note", "unknown", "error", "heading", "citation", "arxiv", "doi", "asked",
        "unknown too",
    ):  # fmt: skip
        assert f"{word} {nasty}" in text, word


def test_small_versions_allow_what_students_law_of_eight_half_chains_does():
    assert stats.t.isf(stats.norm.sf(reproduction._FULL), 7) == pytest.approx(reproduction._QUICK, abs=0.05)


def test_what_the_report_says(tmp_path: Path) -> None:
    page = Elements(
        (run(make(first, failing_claim, broken), tmp_path, quick=True).folder / "report.html").read_text()
    )
    text = "".join(page.texts)
    for said in (
        "3 claims: 1 holds; 1 fails; 1 frozen, not compared", "This is the small version", "Stopped by an error: broken",
        "derived here", "authors' poster", "8.5 standard errors", "1.00 ± 0.10", "no unit changed its code", "A caption.",
        "The temperature.", "What is unknown about the published experiments", "Versions", "arXiv 2406.16689",
    ):  # fmt: skip
        assert said in text, said
    assert len([kind for kind, _ in page.found if kind == "img"]) == 2


@pytest.mark.parametrize(
    ("make_it", "message"),
    [
        (lambda: Reproduction("a/b", "T", PAPER), "name: expected a name like 'a-b'"),
        (lambda: make(first, first), "are not all different"),
        (lambda: Section("T", "", figures={"../up": b"\x89PNG"}), "figures: expected a name like 'up'"),
        (lambda: Section("T", "", figures={"a": b"<svg>"}), "figures: 'a' is not a PNG"),
        (lambda: Section("T", "", captions={"a": "b"}), r"captions: \['a'\] name no figure"),
    ],
)
def test_what_cannot_be_shown_is_refused(make_it: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_it()


def test_runs_of_a_section_are_kept_and_have_keys_of_their_own(tmp_path: Path) -> None:
    task = hc.orthogonal_classes(n_train=8)
    mlp = hc.MLP(task.n_inputs, task.n_outputs, 6, 1, hc.sigmoidal, hc.mean_field)
    events: list[tuple[str, Progress]] = []
    settings = Settings(
        True, tmp_path, key=3, section="figure-1", progress=lambda label, event: events.append((label, event))
    )
    posterior = hc.Posterior(mlp, task, n_temperature=0.1)
    kept = settings.sample("N = 6", posterior, chains=2, draws=4, warmup=8)
    assert settings.store("N = 6") == tmp_path / "runs" / "figure-1_N-6.zarr"
    assert (hc.open_run(settings.store("N = 6"))["posterior"] == kept["posterior"]).all()
    assert {label for label, _ in events} == {"N = 6"}
    described = describe_run(kept)
    assert {k: described[k] for k in ("L", "N", "P", "N T", "chains", "draws")} == {
        "L": 1, "N": 6, "P": 8, "N T": 0.1, "chains": 2, "draws": 4,
    }  # fmt: skip
    with pytest.raises(FileExistsError, match="figure-1_N-6"):
        settings.sample("N = 6", posterior, chains=2, draws=4, warmup=8)


def test_who_stops_a_run_stops_the_reproduction(tmp_path: Path) -> None:
    """Otherwise claims would be about the draws that there are, and the next run would begin."""
    task = hc.orthogonal_classes(n_train=8)
    mlp = hc.MLP(task.n_inputs, task.n_outputs, 6, 1, hc.sigmoidal, hc.mean_field)

    def stop(label: str, event: Progress) -> None:
        if (event.phase, event.done) == ("sampling", 1):
            signal.raise_signal(signal.SIGTERM)

    settings = Settings(True, tmp_path, section="a", progress=stop)
    posterior = hc.Posterior(mlp, task, n_temperature=0.1)
    options: Any = {"chains": 2, "draws": 4, "warmup": 8, "segment": 1}
    with pytest.warns(UserWarning, match="stopped after"), pytest.raises(KeyboardInterrupt, match="'cold'"):
        settings.sample("cold", posterior, **options)
    assert hc.open_run(settings.store("cold")).attrs["complete"] == 0


def test_random_keys() -> None:
    keys = [
        Settings(True, Path("x"), key, section).random_key(label)
        for key in (0, 1)
        for section in ("a", "b")
        for label in ("x", "y")
    ]
    assert len(set(keys)) == 8
    assert all(0 <= key < 2**31 for key in keys)
    assert keys[0] == Settings(False, Path("y"), 0, "a").random_key("x")
