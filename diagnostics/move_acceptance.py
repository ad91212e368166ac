"""How often moves between codes were proposed and accepted, by the code before and the code after."""

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Int

from hiddencodes.diagnostics.run_access import variable


class MoveAcceptance(NamedTuple):
    """Counts of one move in one seed, over all chains and sweeps while draws were stored.

    Where a move proposes several states at once and takes one at most (`pair_rotation`), every one of them counts.

    Attributes:
        move: Its name.
        seed: Seed of the run.
        codes: Codes found during warm-up, or the kinds that the move tells apart; "rest" stands for all others.
        proposed: How often a unit with the code of the row was proposed that of the column.
        accepted: How often that was accepted.
    """

    move: str
    seed: int | str
    codes: tuple[str, ...]
    proposed: Int[np.ndarray, "code code"]
    accepted: Int[np.ndarray, "code code"]

    def rate(self, *, same: bool) -> float:
        """Acceptance of proposals that keep the code, or of those that change it; NaN if there were none."""
        chosen = np.eye(len(self.codes), dtype=bool) == same
        proposed = int(self.proposed[chosen].sum())
        return int(self.accepted[chosen].sum()) / proposed if proposed else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """Numbers and strings only."""
        return {
            "move": self.move,
            "seed": self.seed,
            "same_code": self.rate(same=True),
            "other_code": self.rate(same=False),
            "codes": list(self.codes),
            "proposed": self.proposed.tolist(),
            "accepted": self.accepted.tolist(),
        }


def move_acceptance(run: xr.DataTree) -> tuple[MoveAcceptance, ...]:
    """What the moves of a run did, pair of codes by pair of codes.

    Args:
        run: A run. One without moves gives no rows.

    Returns:
        One row per move and seed.

    >>> counts = (("move", "seed", "chain", "code", "code_2"), np.array([[[[[8, 2], [2, 0]]]]]))
    >>> run = xr.DataTree.from_dict({"/moves": xr.Dataset(
    ...     {"proposed": counts, "accepted": counts, "codes": (("move", "seed", "code"), [[["011", "101"]]])},
    ...     {"move": ["cavity_refresh"], "seed": [0]})})
    >>> row, = move_acceptance(run)
    >>> row.codes, row.rate(same=False)
    (('011', '101'), 1.0)
    """
    if "moves" not in run.children:
        return ()
    proposed, accepted, codes = (variable(run, "moves", n) for n in ("proposed", "accepted", "codes"))
    rows: list[MoveAcceptance] = []
    for m, move in enumerate(proposed["move"].values.tolist()):
        for s, seed in enumerate(proposed["seed"].values.tolist()):
            names = tuple(str(name) for name in codes.values[m, s] if name)
            n = len(names)
            counts = (
                array.values[m, s, :, :n, :n].sum(axis=0).astype(np.int64) for array in (proposed, accepted)
            )
            rows.append(MoveAcceptance(str(move), seed, names, *counts))
    return tuple(rows)
