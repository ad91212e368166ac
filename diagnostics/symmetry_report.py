"""The result of the symmetry-breaking measurement, and how its verdict is reached."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from hiddencodes.diagnostics.transitions import CodeTransitions

BROKEN = 0.5  # q_EA above which most of what tells units apart is permanent
FORGOTTEN = 0.1  # q_EA below which the rest may be a memory that still fades
FROZEN = 0.1  # code changes per coded unit over the run
FEWEST_DRAWS = 12
_Z = 2.0
_LARGE_ERROR = 0.1

Verdict = Literal["broken", "ergodic", "undecided"]


class Overlap(NamedTuple):
    """Share of the between-unit variance that is remembered between parts of a run.

    Attributes:
        q: q_EA, between the first and the last third, and `q_error`, its standard error.
        near: Between neighboring thirds, and `near_error`.
        later: What would be left of q_EA after another run of this length, q (q / near)^3, and `later_error`.
    """

    q: float
    q_error: float
    near: float
    near_error: float
    later: float
    later_error: float


class LayerSymmetry(NamedTuple):
    """Symmetry breaking in one layer.

    Attributes:
        layer: Hidden layer, 1..L.
        seed: Seed of the run; None where seeds are pooled.
        changes: Code changes per unit per 1000 sampler draws, and `changes_error`, its standard error.
        changes_per_run: Code changes over the whole run per unit that carries a code; NaN if none does.
        transitions: Codes at the first and the last stored draw.
        autocorrelation: Lag in sampler draws to (autocorrelation of the class means, standard error).
        overlap: q_EA of all units.
        bulk: q_EA without the outlier units.
        carriers: Number of units that share the surviving variance (participation ratio, mean over chains).
        memory: Sampler draws in which q falls by e, from `near` to `q`; infinite where no fall is seen.
        run_length: Sampler draws per chain.
        verdict: "broken", "ergodic" or "undecided".
        reason: Why it is undecided; empty otherwise.
    """

    layer: int
    seed: int | str | None
    changes: float
    changes_error: float
    changes_per_run: float
    transitions: CodeTransitions
    autocorrelation: dict[int, tuple[float, float]]
    overlap: Overlap
    bulk: Overlap
    carriers: float
    memory: float
    run_length: int
    verdict: Verdict
    reason: str

    @property
    def frozen(self) -> bool:
        """Whether codes change less than 0.1 times per coded unit over the run."""
        return self.changes_per_run < FROZEN

    @property
    def sentence(self) -> str:
        """The verdict and the numbers behind it."""
        where = f"layer {self.layer}" if self.seed is None else f"layer {self.layer}, seed {self.seed}"
        q = self.overlap
        parts = [f"q_EA = {_with_error(q.q, q.q_error)}"]
        if self.verdict == "broken" and math.isfinite(self.memory):
            parts.append(f"memory about {self.memory:.2g} draws in a run of {self.run_length}")
        if self.verdict == "broken" and math.isfinite(self.bulk.q) and self.bulk.q < BROKEN < q.q:
            parts.append(
                f"carried by {self.carriers:.2g} units, without outliers q_EA = "
                f"{_with_error(self.bulk.q, self.bulk.q_error)}"
            )
        changes = f"{_with_error(self.changes, self.changes_error)} code changes per unit and 1000 draws"
        parts.append(changes + (" (frozen)" if self.frozen else ""))
        kept = self.transitions
        parts.append(
            f"composition {'conserved' if kept.conserved else 'not conserved'} (distance {kept.distance:.2g}, "
            f"{kept.expected_distance:.2g} expected), {kept.stayed:.0%} of the units end with their first code"
        )
        reason = f" ({self.reason})" if self.reason else ""
        return f"{where}: {self.verdict}{reason}: {'; '.join(parts)}"

    def to_dict(self) -> dict[str, object]:
        """JSON-able; None for numbers that are not known or infinite."""
        return {
            "layer": self.layer,
            "seed": self.seed,
            "verdict": self.verdict,
            "reason": self.reason,
            "sentence": self.sentence,
            "frozen": self.frozen,
            "changes_per_unit_per_1000_draws": _number(self.changes),
            "changes_error": _number(self.changes_error),
            "changes_per_run": _number(self.changes_per_run),
            "overlap": {key: _number(x) for key, x in self.overlap._asdict().items()},
            "bulk": {key: _number(x) for key, x in self.bulk._asdict().items()},
            "carriers": _number(self.carriers),
            "memory_draws": _number(self.memory),
            "run_length": self.run_length,
            "autocorrelation": {str(k): [_number(x) for x in v] for k, v in self.autocorrelation.items()},
            "transitions": self.transitions.to_dict(),
        }


@dataclass(frozen=True)
class SymmetryBreakingReport:
    """Symmetry breaking of every layer.

    Attributes:
        rows: One per layer and seed.
        pooled: One per layer, chains of all seeds together.
        draws: Stored draws per chain.
        thin: Sampler draws per stored draw.
        rule: How class means became codes.
        excluded: Chains left out because they left the finite numbers.
    """

    rows: tuple[LayerSymmetry, ...]
    pooled: tuple[LayerSymmetry, ...]
    draws: int
    thin: int
    rule: str
    excluded: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """One sentence per layer."""
        return "\n".join(row.sentence for row in self.pooled)

    def to_dict(self) -> dict[str, object]:
        """JSON-able; None for numbers that are not known or infinite."""
        return {
            "rows": [row.to_dict() for row in self.rows],
            "pooled": [row.to_dict() for row in self.pooled],
            "draws": self.draws,
            "thin": self.thin,
            "rule": self.rule,
            "excluded": list(self.excluded),
        }


def decide(overlap: Overlap, draws: int) -> tuple[Verdict, str]:
    """Verdict on one layer, and the reason where it is undecided (rules: `symmetry_breaking`).

    Args:
        overlap: q_EA and its continuation.
        draws: Stored draws per chain.

    Returns:
        Verdict and reason.

    >>> decide(Overlap(0.9, 0.01, 0.91, 0.01, 0.87, 0.03), 1000)
    ('broken', '')
    >>> decide(Overlap(0.7, 0.01, 0.9, 0.01, 0.33, 0.02), 1000)
    ('undecided', 'the memory of the units still fades: lengthen the run')
    """
    if draws < FEWEST_DRAWS:
        return "undecided", f"{draws} stored draws, at least {FEWEST_DRAWS} are needed"
    q, error, later, later_error = overlap.q, overlap.q_error, overlap.later, overlap.later_error
    if not math.isfinite(q):
        return "undecided", "the units do not differ"
    if not math.isfinite(error + later_error):
        return "undecided", "the error is not known: more chains or units"
    fading = later + _Z * later_error < q - _Z * error
    if q - _Z * error > BROKEN and later - _Z * later_error > BROKEN:
        return "broken", ""
    if q + _Z * error < BROKEN and (q - _Z * error <= FORGOTTEN or (fading and later <= FORGOTTEN)):
        return "ergodic", ""
    if error > _LARGE_ERROR:
        return "undecided", "too large an error: more chains or a longer run"
    if fading:
        return "undecided", "the memory of the units still fades: lengthen the run"
    return "undecided", "a part of what tells the units apart is permanent"


def _number(x: float) -> float | None:
    return float(x) if math.isfinite(x) else None


def _with_error(value: float, error: float) -> str:
    return f"{value:.2g}" + (f" +- {error:.1g}" if math.isfinite(error) else "")
