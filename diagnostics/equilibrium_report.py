"""The certificate of equilibrium: verdict, reasons and the numbers behind them."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

CERTIFIES = {
    "compositions": "different compositions",
    "teacher": "an exact draw of the posterior and annealed prior draws",
}


class ShareComparison(NamedTuple):
    """The share of one code by superchain.

    Attributes:
        seed: Seed of the run.
        layer: Hidden layer, 1..L.
        code: The code.
        start: Its share of the units when the chains started, mean over the chains of a superchain, (superchain,).
        mean: Its mean share over the draws, (superchain,).
        error: Standard error of the mean, (superchain,).
    """

    seed: int | str
    layer: int
    code: str
    start: tuple[float, ...]
    mean: tuple[float, ...]
    error: tuple[float, ...]

    @property
    def apart(self) -> float:
        """How far apart the superchains started."""
        return max(self.start) - min(self.start)

    @property
    def resolution(self) -> float:
        """Standard error of the difference of two superchains: what the comparison can see."""
        return math.sqrt(2.0) * max(self.error)


class Disagreement(NamedTuple):
    """How far superchains differ in one entry of a variable.

    Attributes:
        entry: The entry.
        deviation: Difference of a superchain from the others, in standard errors; infinite where nothing moves.
        nested_rhat: Nested R-hat over superchains (arXiv 2110.13017).
        ess: Smallest effective sample size of a superchain.
    """

    entry: str
    deviation: float
    nested_rhat: float
    ess: float


@dataclass(frozen=True)
class EquilibriumReport:
    """Whether superchains of different starts agree.

    Attributes:
        certificate: ``"compositions"``, ``"teacher"``, or ``"none"`` where the starts certify nothing.
        ok: True if a certificate was run and passed.
        reasons: Why not, one phrase each.
        starts: The starts in words.
        entries: How many entries were compared.
        limit: Largest deviation that is accepted, in standard errors.
        worst: The entry that deviates most.
        worst_rhat: The entry with the largest nested R-hat.
        fewest: The entry with the fewest effective draws.
        shares: Shares of the codes by superchain.
    """

    certificate: str
    ok: bool
    reasons: tuple[str, ...]
    starts: str
    entries: int
    limit: float
    worst: Disagreement | None
    worst_rhat: Disagreement | None
    fewest: Disagreement | None
    shares: tuple[ShareComparison, ...]

    @property
    def verdict(self) -> str:
        """One line: equilibrated, NOT equilibrated or no certificate, and why."""
        if self.certificate == "none":
            return f"no certificate of equilibrium: {'; '.join(self.reasons)}"
        if not self.ok:
            return f"NOT equilibrated: {'; '.join(self.reasons)} ({self.starts})"
        assert self.worst is not None
        assert self.worst_rhat is not None
        text = (
            f"equilibrated: chains from {CERTIFIES[self.certificate]} agree on {self.entries} entries, worst "
            f"{self.worst.deviation:.1f} standard errors of {self.limit:.1f} ({self.worst.entry}), nested R-hat "
            f"{self.worst_rhat.nested_rhat:.3f}"
        )
        if self.certificate == "compositions" and self.shares:
            widest = max(self.shares, key=lambda row: row.apart)
            start = " and ".join(f"{x:.3g}" for x in widest.start)
            end = " and ".join(f"{m:.4f}({e:.4f})" for m, e in zip(widest.mean, widest.error, strict=True))
            text += f"; the share of {widest.code} started at {start} and is {end}"
        return f"{text} ({self.starts})"

    def to_dict(self) -> dict[str, object]:
        """JSON-able; None for numbers that are not finite."""

        def plain(value: Any) -> Any:
            if isinstance(value, dict):
                return {str(k): plain(v) for k, v in cast("dict[object, object]", value).items()}
            if isinstance(value, tuple | list):
                return [plain(v) for v in cast("list[object]", value)]
            return None if isinstance(value, float) and not math.isfinite(value) else value

        rows = {name: getattr(self, name) for name in ("worst", "worst_rhat", "fewest")}
        return plain(
            {
                "certificate": self.certificate, "ok": self.ok, "verdict": self.verdict, "reasons": self.reasons,
                "starts": self.starts, "entries": self.entries, "limit": self.limit,
                **{name: None if row is None else row._asdict() for name, row in rows.items()},
                "shares": [row._asdict() for row in self.shares],
            }
        )  # fmt: skip
