"""A claim: one line of a reproduction that says what is expected, what was measured, and whether that holds."""

import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hiddencodes.benchmarks.papers import entries as compare
from hiddencodes.benchmarks.papers.entries import Numbers
from hiddencodes.benchmarks.papers.words import GRADES, VERDICTS, Grade, Relation, Verdict
from hiddencodes.plain_data import as_json

_STANDARD_ERRORS: ContextVar[float] = ContextVar("standard errors", default=4.0)


@dataclass(frozen=True)
class Claim:
    """One claim and its verdict. Make it with `agrees`, `below`, `above`, `statement_true`, `frozen` or `not_compared`.

    Attributes:
        name: Letters, digits and dashes; unique within its section.
        statement: What is claimed, in one sentence.
        expected: The value (or bound, or text) that is expected; of several entries the reported one.
        measured: The value that was measured.
        error: Standard error of ``measured``; None if it has none.
        tolerance: By how much the two may differ; for a bound, by how much the measured value has to clear it.
        tolerance_reason: Where the tolerance comes from.
        grade: Where the expected value comes from; `GRADES` has the words.
        verdict: ``"holds"``, ``"fails"``, ``"frozen, not compared"`` (the chain is known to keep its starting codes) or
            ``"not compared"``.
        evidence: What else the verdict rests on, or why there is none.
        n_entries: How many numbers were compared, each with its own tolerance.
        entry: Which of them is reported: the one with the largest difference in units of its tolerance.
        relation: ``"="`` if the two should agree; ``"<"`` or ``">"`` if the measured value should be below or above the bound.

    Raises:
        ValueError: If the name is not a slug, the statement is empty, or grade or verdict are unknown.

    Example:
        >>> claim = Claim.agrees("mean", "The mean is 1.", 1.0, 1.05, 0.02, grade="derived")
        >>> claim.verdict, claim.tolerance, claim.tolerance_reason
        ('holds', 0.08, '4 standard errors')
        >>> Claim.agrees("mean", "The mean is 1.", 1.0, float("nan"), 0.02, grade="derived").verdict
        'fails'
    """

    name: str
    statement: str
    expected: float | str | None
    measured: float | str | None
    error: float | None
    tolerance: float | None
    tolerance_reason: str
    grade: Grade
    verdict: Verdict
    evidence: str = ""
    n_entries: int = 1
    entry: str = ""
    relation: Relation = "="

    def __post_init__(self) -> None:
        """Refuse what a report could not show."""
        if not re.fullmatch(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*", self.name):
            raise ValueError(f"name: expected letters and digits joined by dashes, got {self.name!r}")
        if not self.statement:
            raise ValueError(f"statement: the claim {self.name!r} says nothing")
        if self.grade not in GRADES:
            raise ValueError(f"grade: expected one of {', '.join(GRADES)}, got {self.grade!r}")
        if self.verdict not in VERDICTS:
            raise ValueError(f"verdict: expected one of {VERDICTS}, got {self.verdict!r}")

    @classmethod
    def agrees(
        cls,
        name: str,
        statement: str,
        expected: Numbers,
        measured: Numbers,
        error: Numbers | None = None,
        *,
        grade: Grade,
        z: float | None = None,
        extra: Numbers = 0.0,
        extra_reason: str = "",
        entries: Sequence[str] | None = None,
        evidence: str = "",
    ) -> "Claim":
        r"""Measured and expected values agree: ``|expected - measured| <= z error + extra``, entry by entry.

        The threshold is not corrected for the number of entries: with n independent Gaussian entries, a true claim fails by
        chance with probability about ``6e-5 n`` at z = 4; where the error comes from the spread between a few chains it is more (a
        Student law: 0.5 % per entry from 8 chains). A value, error or tolerance that is not finite never agrees.

        Args:
            name: The claim's name.
            statement: What is claimed.
            expected: One number for all entries, or one each.
            measured: A number, or an array.
            error: Standard errors of ``measured``, one for all or one each; None if it has none, in which case ``extra``
                is the whole tolerance.
            grade: Where the expected value comes from.
            z: Standard errors that are allowed; None for 4, or what `standard_errors` says.
            extra: What is allowed beyond them, one for all or one each.
            extra_reason: Why; needed if ``extra`` is not zero.
            entries: Names of the entries, in the array's order.
            evidence: A remark.

        Raises:
            ValueError: If shapes do not fit, there is no entry, an error, z or ``extra`` is negative, or ``extra`` has no
                reason.

        Example:
            >>> claim = Claim.agrees("t", "Multipliers.", [1.0, 2.0], [1.0, 2.5], 0.1, grade="derived", entries=["a", "b"])
            >>> claim.verdict, claim.entry, claim.expected, claim.measured, claim.n_entries
            ('fails', 'b', 2.0, 2.5, 2)
        """
        if np.any(np.asarray(extra) != 0.0) and not extra_reason:
            raise ValueError(f"extra_reason: the claim {name!r} widens its tolerance without saying why")
        z = _STANDARD_ERRORS.get() if z is None else z
        values = compare.entries(expected, measured, error, z=z, extra=extra, names=entries)
        parts = [f"{z:g} standard errors"] if error is not None else []
        parts += [extra_reason] if extra_reason else []
        reason = " + ".join(parts) or "exact"
        outcome = compare.agreement(values)
        return cls._compared(outcome, values, reason, "=", name, statement, grade, evidence)

    @classmethod
    def below(
        cls,
        name: str,
        statement: str,
        bound: Numbers,
        measured: Numbers,
        error: Numbers | None = None,
        *,
        grade: Grade,
        z: float | None = None,
        entries: Sequence[str] | None = None,
        evidence: str = "",
    ) -> "Claim":
        """The measured value is shown to be below a bound: ``measured + z error < bound``, entry by entry.

        Args:
            name: The claim's name.
            statement: What is claimed.
            bound: One number for all entries, or one each.
            measured: A number, or an array.
            error: Standard errors of ``measured``; None if it has none.
            grade: Where the bound comes from.
            z: Standard errors by which the bound has to be cleared; None for 4, or what `standard_errors` says.
            entries: Names of the entries, in the array's order.
            evidence: A remark.

        Raises:
            ValueError: If shapes do not fit, there is no entry, or an error or z is negative.

        Example:
            >>> Claim.below("q", "q is small.", 0.5, 0.4, 0.03, grade="derived").verdict
            'fails'
        """
        z = _STANDARD_ERRORS.get() if z is None else z
        values = compare.entries(bound, measured, error, z=z, names=entries)
        outcome, reason = compare.clearance(values, -1.0), f"below the bound{_by(z, error)}"
        return cls._compared(outcome, values, reason, "<", name, statement, grade, evidence)

    @classmethod
    def above(
        cls,
        name: str,
        statement: str,
        bound: Numbers,
        measured: Numbers,
        error: Numbers | None = None,
        *,
        grade: Grade,
        z: float | None = None,
        entries: Sequence[str] | None = None,
        evidence: str = "",
    ) -> "Claim":
        """The measured value is shown to be above a bound: ``measured - z error > bound``, entry by entry.

        Arguments and errors are those of `below`.

        Example:
            >>> Claim.above("q", "q is large.", 0.5, [0.7, 0.9], 0.03, grade="derived").measured
            0.7
        """
        z = _STANDARD_ERRORS.get() if z is None else z
        values = compare.entries(bound, measured, error, z=z, names=entries)
        outcome, reason = compare.clearance(values, 1.0), f"above the bound{_by(z, error)}"
        return cls._compared(outcome, values, reason, ">", name, statement, grade, evidence)

    @classmethod
    def statement_true(
        cls,
        name: str,
        statement: str,
        holds: bool | np.bool,
        evidence: str,
        *,
        grade: Grade,
        expected: str = "true",
    ) -> "Claim":
        """A statement that is true or false, with what that rests on.

        Args:
            name: The claim's name.
            statement: What is claimed.
            holds: Whether it is true.
            evidence: What that rests on.
            grade: Where the expectation comes from.
            expected: What is expected, in words.

        Raises:
            ValueError: If there is no evidence.

        Example:
            >>> Claim.statement_true("codes", "One per class.", False, "found 100, 010", grade="poster").verdict
            'fails'
        """
        if not evidence:
            raise ValueError(f"evidence: the claim {name!r} rests on nothing")
        verdict: Verdict = "holds" if holds else "fails"
        return cls(name, statement, expected, evidence, None, None, "true or false", grade, verdict)

    @classmethod
    def frozen(
        cls,
        name: str,
        statement: str,
        why: str,
        *,
        grade: Grade,
        expected: float | str | None = None,
        measured: float | str | None = None,
        error: float | None = None,
    ) -> "Claim":
        """Not compared, because the sampled chain keeps what its start gave it; neither passes nor fails.

        Args:
            name: The claim's name.
            statement: What is claimed.
            why: How it is known that the chain is frozen.
            grade: Where the expected value comes from.
            expected: The expected value, shown only.
            measured: What the frozen chain has, shown only.
            error: Its standard error.

        Raises:
            ValueError: If there is no reason.
        """
        return cls._uncompared("frozen, not compared", name, statement, why, grade, expected, measured, error)

    @classmethod
    def not_compared(
        cls,
        name: str,
        statement: str,
        why: str,
        *,
        grade: Grade,
        expected: float | str | None = None,
        measured: float | str | None = None,
        error: float | None = None,
    ) -> "Claim":
        """Not compared for another reason, a setting that was not published for instance; neither passes nor fails.

        Arguments and errors are those of `frozen`.
        """
        return cls._uncompared("not compared", name, statement, why, grade, expected, measured, error)

    @classmethod
    def _compared(
        cls, outcome: tuple[bool, int], values: compare.Entries, reason: str, relation: Relation, *words: Any
    ) -> "Claim":
        name, statement, grade, evidence = words
        holds, worst = outcome
        verdict: Verdict = "holds" if holds else "fails"
        shown: dict[str, Any] = {
            "tolerance_reason": reason,
            "relation": relation,
            **compare.reported(values, worst),
        }
        return cls(name, statement, grade=grade, verdict=verdict, evidence=evidence, **shown)

    @classmethod
    def _uncompared(
        cls, verdict: Verdict, name: str, statement: str, why: str, grade: Grade, *shown: float | str | None
    ) -> "Claim":
        if not why:
            raise ValueError(f"why: the claim {name!r} is not compared without a reason")
        expected, measured = (x if isinstance(x, str | None) else float(x) for x in shown[:2])
        error = None if shown[2] is None else float(shown[2])
        return cls(name, statement, expected, measured, error, None, "none", grade, verdict, why)

    def to_dict(self) -> dict[str, Any]:
        """The claim as plain data for JSON; numbers that are not finite become None."""
        return as_json(asdict(self))


@contextmanager
def standard_errors(z: float) -> Generator[None]:
    """How many standard errors the claims made inside are allowed, unless they say so themselves.

    Args:
        z: Standard errors, instead of 4.

    Example:
        >>> with standard_errors(2.0):
        ...     claim = Claim.agrees("mean", "The mean is 1.", 1.0, 1.05, 0.02, grade="derived")
        >>> claim.verdict, claim.tolerance_reason
        ('fails', '2 standard errors')
    """
    token = _STANDARD_ERRORS.set(z)
    try:
        yield
    finally:
        _STANDARD_ERRORS.reset(token)


def _by(z: float, error: Numbers | None) -> str:
    return "" if error is None else f" by {z:g} standard errors"
