"""The words of claims: where an expected value comes from, and what became of it."""

from collections.abc import Mapping
from typing import Literal, get_args

Grade = Literal["text", "poster", "poster-meas", "secondary", "derived", "checked", "measured", "new"]
Verdict = Literal["holds", "fails", "frozen, not compared", "not compared"]
Relation = Literal["=", "<", ">"]

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
GRADES: Mapping[Grade, str] = {
    "text": "published text",
    "poster": "authors' poster",
    "poster-meas": "measured from the authors' poster",
    "secondary": "described by others",
    "derived": "derived here",
    "checked": "derived here, checked numerically",
    "measured": "measured with an independent implementation",
    "new": "this project's own experiment",
}
"""Where an expected value comes from, in words."""
