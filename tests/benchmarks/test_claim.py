"""A claim holds, fails, or is not compared; no number that is missing lets one pass."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hiddencodes.benchmarks.papers import Claim
from hiddencodes.benchmarks.papers.words import GRADES

WHAT = ("name", "A statement.")


def agrees(*values: Any, **options: Any) -> Claim:
    return Claim.agrees(*WHAT, *values, grade="derived", **options)


@pytest.mark.parametrize(
    ("measured", "error", "extra", "verdict"),
    [
        (1.39, 0.1, 0.0, "holds"),
        (0.61, 0.1, 0.0, "holds"),
        (1.41, 0.1, 0.0, "fails"),
        (0.59, 0.1, 0.0, "fails"),
        (1.41, 0.1, 0.02, "holds"),
        (1.43, 0.1, 0.02, "fails"),
        (1.0, None, 0.0, "holds"),
        (math.nextafter(1.0, 2.0), None, 0.0, "fails"),
        (1.0, 0.0, 0.0, "holds"),
        (1.0004, None, 5e-4, "holds"),
        (1.0006, None, 5e-4, "fails"),
    ],
)
def test_agreement_is_four_standard_errors_and_what_is_granted(
    measured: float, error: float | None, extra: float, verdict: str
) -> None:
    assert agrees(1.0, measured, error, extra=extra, extra_reason="rounding").verdict == verdict


def test_the_threshold_can_be_set() -> None:
    assert agrees(1.0, 1.25, 0.1, z=2.0).verdict == "fails"
    assert agrees(1.0, 1.25, 0.1, z=3.0).verdict == "holds"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", ["expected", "measured", "both", "error", "extra"])
def test_what_is_not_finite_never_holds(bad: float, place: str) -> None:
    values: dict[str, Any] = {"expected": 1.0, "measured": 1.0, "error": 0.1, "extra": 0.0}
    if place in ("error", "extra") and bad < 0:
        return  # refused, below
    values |= {"expected": bad, "measured": bad} if place == "both" else {place: bad}
    one = agrees(**values, extra_reason="why")
    several = agrees(**{k: np.array([v, v, 1.0]) for k, v in values.items()}, extra_reason="why")
    assert one.verdict == several.verdict == "fails"
    assert several.entry == "[0]"
    if place != "extra":
        bounds = {"error": values["error"], "grade": "derived"}
        for compare in (Claim.below, Claim.above):
            assert compare(*WHAT, values["expected"], values["measured"], **bounds).verdict == "fails"
            assert compare(*WHAT, values["expected"], [values["measured"], 0.0], **bounds).verdict == "fails"
    json.dumps(one.to_dict(), allow_nan=False)


def test_of_several_entries_the_worst_in_units_of_its_tolerance_is_reported() -> None:
    claim = agrees(np.zeros((2, 2)), [[0.5, -0.3], [0.0, 0.9]], [[0.5, 0.1], [1.0, 1.0]])
    assert (claim.verdict, claim.entry, claim.measured, claim.error, claim.n_entries) == (
        "holds", "[0, 1]", -0.3, 0.1, 4,
    )  # fmt: skip
    assert claim.tolerance == pytest.approx(0.4)
    named = agrees([0.0, 0.0], [1.0, 1.1], 1.0, entries=["first class", "second class"])
    assert named.entry == "second class"
    assert agrees(0.0, 0.0, 1.0).entry == ""


def test_one_entry_that_differs_fails_all() -> None:
    measured = np.zeros(1000)
    measured[700] = 4.1
    claim = agrees(0.0, measured, 1.0)
    assert (claim.verdict, claim.entry) == ("fails", "[700]")


def test_an_entry_without_tolerance_comes_first_if_it_differs_and_last_if_not() -> None:
    assert agrees([0.0, 0.0], [1e-9, 3.9], [0.0, 1.0]).entry == "[0]"
    assert agrees([0.0, 0.0], [0.0, 0.1], [0.0, 1.0]).entry == "[1]"


@pytest.mark.parametrize(
    ("measured", "error", "below", "above"),
    [
        (0.8, 0.04, "holds", "fails"),
        (0.8, 0.06, "fails", "fails"),
        (1.2, 0.04, "fails", "holds"),
        (1.2, 0.06, "fails", "fails"),
        (1.0, None, "fails", "fails"),
        (0.999, None, "holds", "fails"),
    ],
)
def test_a_bound_has_to_be_cleared(measured: float, error: float | None, below: str, above: str) -> None:
    assert Claim.below(*WHAT, 1.0, measured, error, grade="derived").verdict == below
    assert Claim.above(*WHAT, 1.0, measured, error, grade="derived").verdict == above


def test_of_several_bounds_the_closest_is_reported() -> None:
    claim = Claim.above(*WHAT, [0.0, 1.0], [3.0, 2.0], 0.1, grade="derived", entries=["a", "b"])
    assert (claim.verdict, claim.entry, claim.expected) == ("holds", "b", 1.0)
    claim = Claim.below(*WHAT, 1.0, [0.2, 0.9, 0.3], [0.0, 0.1, 0.0], grade="derived")
    assert (claim.verdict, claim.entry, claim.measured) == ("fails", "[1]", 0.9)
    assert (claim.relation, claim.tolerance_reason) == ("<", "below the bound by 4 standard errors")


numbers = arrays(float, 5, elements=st.floats(-10, 10, width=32))


@settings(max_examples=50, deadline=None)
@given(numbers, numbers, st.permutations(range(5)), st.sampled_from([-2.0, 0.25, 4.0]))
def test_verdicts_do_not_depend_on_order_units_or_sign(
    expected: np.ndarray, measured: np.ndarray, order: list[int], unit: float
) -> None:
    # Powers of two and single-precision numbers: rescaling rounds nothing.
    first = agrees(expected, measured, 0.5)
    assert agrees(expected[order], measured[order], 0.5).verdict == first.verdict
    assert agrees(unit * expected, unit * measured, abs(unit) * 0.5).verdict == first.verdict
    assert agrees(measured, expected, 0.5).verdict == first.verdict
    assert (first.verdict == "holds") == all(
        agrees(e, m, 0.5).verdict == "holds" for e, m in zip(expected, measured, strict=True)
    )


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (([1.0, 2.0], [1.0], 0.1), {}, "measured: expected the shape"),
        (([1.0], 1.0, 0.1), {}, "measured: expected the shape"),
        (([], [], 0.1), {}, "at least one entry"),
        ((1.0, 1.0, -0.1), {}, "error: expected numbers of at least 0"),
        (([1.0, 1.0], [1.0, 1.0], [0.1, 0.1, 0.1]), {}, "error: expected numbers"),
        ((1.0, 1.0, 0.1), {"z": 0.0}, "z: expected a positive number"),
        ((1.0, 1.0, 0.1), {"z": math.nan}, "z: expected a positive number"),
        ((1.0, 1.0, 0.1), {"z": math.inf}, "z: expected a positive number"),
        ((1.0, 1.0, 0.1), {"extra": 0.1}, "extra_reason: the claim 'name'"),
        ((1.0, 1.0, 0.1), {"extra": -0.1, "extra_reason": "why"}, "extra: expected numbers"),
        (([1.0, 1.0], [1.0, 1.0], 0.1), {"entries": ["a"]}, "entries: expected 2 names, got 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    values: tuple[Any, ...], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        agrees(*values, **options)


@pytest.mark.parametrize(
    ("name", "statement", "message"),
    [
        ("", "A statement.", "name: expected letters"),
        ("../up", "A statement.", "name: expected letters"),
        ("two words", "A statement.", "name: expected letters"),
        ("name", "", "statement: the claim 'name' says nothing"),
    ],
)
def test_names_and_statements(name: str, statement: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Claim.statement_true(name, statement, True, "seen", grade="derived")


def test_true_and_false() -> None:
    assert Claim.statement_true(*WHAT, True, "seen", grade="poster").verdict == "holds"
    false = Claim.statement_true(*WHAT, np.bool_(False), "seen otherwise", grade="poster")
    assert (false.verdict, false.measured) == ("fails", "seen otherwise")
    with pytest.raises(ValueError, match="evidence: the claim 'name' rests on nothing"):
        Claim.statement_true(*WHAT, True, "", grade="poster")


def test_what_is_not_compared_neither_holds_nor_fails() -> None:
    frozen = Claim.frozen(
        *WHAT, "no unit changed its code", grade="derived", expected=0.3, measured=0.5, error=0.01
    )
    assert (frozen.verdict, frozen.evidence) == ("frozen, not compared", "no unit changed its code")
    assert (frozen.expected, frozen.measured, frozen.error, frozen.tolerance) == (0.3, 0.5, 0.01, None)
    assert Claim.not_compared(*WHAT, "unpublished", grade="text").verdict == "not compared"
    for make in (Claim.frozen, Claim.not_compared):
        with pytest.raises(ValueError, match="why: the claim 'name'"):
            make(*WHAT, "", grade="text")


def test_a_claim_is_plain_json() -> None:
    claim = agrees(1.0, math.nan, 0.1)
    found = json.loads(json.dumps(claim.to_dict(), allow_nan=False))
    assert found["measured"] is None
    assert found["verdict"] == "fails"
    assert found["tolerance_reason"] == "4 standard errors"
    assert set(found) == {
        "name", "statement", "expected", "measured", "error", "tolerance", "tolerance_reason", "grade",
        "verdict", "evidence", "n_entries", "entry", "relation",
    }  # fmt: skip


def test_every_grade_has_words() -> None:
    assert list(GRADES) == [
        "text",
        "poster",
        "poster-meas",
        "secondary",
        "derived",
        "checked",
        "measured",
        "new",
    ]
    assert all(GRADES.values())
