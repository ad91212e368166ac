"""The convergence report: verdict, reasons and the numbers behind them."""

import math
from dataclasses import dataclass
from typing import NamedTuple, cast

from hiddencodes.diagnostics.sampler_health import SamplerHealth


class Worst(NamedTuple):
    """A worst value and the entry of the variable that has it; NaN and "" where nothing was assessed."""

    value: float
    entry: str


class VariableSummary(NamedTuple):
    """Convergence of one variable in one seed.

    Attributes:
        variable: Name in the group `posterior`.
        seed: Seed of the run.
        entries: Number of scalar entries.
        assessed: Entries given to ArviZ: those with the largest plain split R-hat.
        constant: Entries that never change, in no chain and between none.
        frozen: Entries that are constant within every chain, at different values; their R-hat is infinite.
        rhat: Largest rank-normalized split R-hat (arXiv 1903.08008).
        nested_rhat: Largest nested R-hat (arXiv 2110.13017) over superchains of common starts.
        ess_bulk: Smallest bulk effective sample size.
        ess_tail: Smallest tail effective sample size (5 % and 95 % quantiles).
        mcse: Largest Monte-Carlo standard error of the mean, in units of the variable.
        undefined: Entries that are NaN in every chain and draw; they are left out.
    """

    variable: str
    seed: int | str
    entries: int
    assessed: int
    constant: int
    frozen: int
    rhat: Worst
    nested_rhat: Worst
    ess_bulk: Worst
    ess_tail: Worst
    mcse: Worst
    undefined: tuple[str, ...]


@dataclass(frozen=True)
class ConvergenceReport:
    """Verdict on a run and the numbers behind it.

    Attributes:
        ok: True when every criterion holds.
        reasons: Why not, one phrase each; empty when ok.
        cautions: What does not decide the verdict but should be known.
        table: One row per variable and seed.
        sampler: What `sample_stats` says.
        excluded: Chains left out because they left the finite numbers or ended stuck or diverging.
        starts: Which starts agree.
        assessable: False when there are too few draws, chains or starts to say anything.
    """

    ok: bool
    reasons: tuple[str, ...]
    cautions: tuple[str, ...]
    table: tuple[VariableSummary, ...]
    sampler: SamplerHealth
    excluded: tuple[str, ...]
    starts: str
    assessable: bool

    @property
    def verdict(self) -> str:
        """One line: converged, NOT converged or not assessable, and why."""
        if not self.ok:
            word = "NOT converged" if self.assessable else "not assessable"
            return f"{word}: {'; '.join((*self.reasons, *self.cautions))}"
        rhat = max((row.rhat for row in self.table if row.assessed), key=lambda worst: worst.value)
        ess = min(worst.value for row in self.table if row.assessed for worst in (row.ess_bulk,))
        facts = [f"worst R-hat {rhat.value:.3f} ({rhat.entry})", f"smallest bulk ESS {ess:.0f}"]
        if self.sampler.divergences is not None:
            facts.append(f"{self.sampler.divergences} divergences")
        return f"converged: {', '.join(facts)}; {'; '.join((f'agreement of {self.starts}', *self.cautions))}"

    def to_dict(self) -> dict[str, object]:
        """JSON-able: numbers that are not finite become None."""
        return cast(
            "dict[str, object]",
            _jsonable(
                {
                    "ok": self.ok,
                    "verdict": self.verdict,
                    "assessable": self.assessable,
                    "reasons": self.reasons,
                    "cautions": self.cautions,
                    "starts": self.starts,
                    "excluded": self.excluded,
                    "sampler": self.sampler._asdict(),
                    "table": [
                        {k: v._asdict() if isinstance(v, Worst) else v for k, v in row._asdict().items()}
                        for row in self.table
                    ],
                }
            ),
        )


def _jsonable(value: object) -> object:
    if isinstance(value, dict):
        return {str(k): _jsonable(v) for k, v in cast("dict[object, object]", value).items()}
    if isinstance(value, list | tuple):
        return [_jsonable(v) for v in cast("list[object]", value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value
