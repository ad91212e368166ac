"""Which chains can be used: a status per chain, kept up to date inside the compiled programs."""

from enum import IntEnum
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

STILL_DRAWS = 20  # a chain is stuck when it has not moved for this many draws,
DIVERGENT_EXCESS = 20  # and diverging when it had this many more divergent draws than others


class Status(IntEnum):
    """What a chain is."""

    OK = 0
    NON_FINITE = 1
    STUCK = 2
    DIVERGING = 3


class Health(NamedTuple):
    """What decides on the status of every chain.

    Attributes:
        first_bad: First draw at which the state was not finite, -1 for none.
        still: Draws since the chain last moved.
        excess: Divergent minus other draws, never below zero.
        excess_since: The draw from which ``excess`` has been above zero.
    """

    first_bad: Int[Array | np.ndarray, "seed chain"]
    still: Int[Array | np.ndarray, "seed chain"]
    excess: Int[Array | np.ndarray, "seed chain"]
    excess_since: Int[Array | np.ndarray, "seed chain"]


def fresh(seeds: int, chains: int) -> Health:
    """All chains are well."""
    zero = np.zeros((seeds, chains), np.int32)
    return Health(zero - np.int32(1), zero, zero, zero)


def after_draw(
    health: Health,
    draw: Int[Array, ""],
    finite: Bool[Array, "seed chain"],
    moved: Bool[Array, "seed chain"],
    diverging: Bool[Array, "seed chain"],
) -> Health:
    """The state of affairs after a draw.

    Args:
        health: Before it.
        draw: Its number.
        finite: Whether position and log-density are finite.
        moved: Whether the position has changed since the draw before.
        diverging: Whether any of its transitions diverged.
    """
    excess = jnp.where(diverging, health.excess + 1, jnp.maximum(health.excess - 1, 0))
    return Health(
        first_bad=jnp.where((health.first_bad < 0) & ~finite, draw, health.first_bad),
        still=jnp.where(moved, 0, health.still + 1),
        excess=excess,
        excess_since=jnp.where(health.excess == 0, draw, health.excess_since),
    )


def status(health: Health, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """The status of every chain after so many draws, and the draw from which it has held (-1 for a chain that is well).

    A chain that left the finite numbers stays lost; one that is stuck or diverging may recover.

    Example:
        >>> well = fresh(1, 2)
        >>> status(well._replace(still=np.array([[0, 30]], np.int32)), 100)
        (array([[0, 2]], dtype=int8), array([[-1, 70]], dtype=int32))
    """
    first_bad, still, excess, since = (np.asarray(leaf) for leaf in health)
    found = np.full(first_bad.shape, Status.OK, np.int8)
    begin = np.full(first_bad.shape, -1, np.int32)
    for what, holds, start in (
        (Status.DIVERGING, excess >= DIVERGENT_EXCESS, since),
        (Status.STUCK, still >= STILL_DRAWS, draws - still),
        (Status.NON_FINITE, first_bad >= 0, first_bad),
    ):
        found[holds], begin[holds] = what, start[holds]
    return found, begin


class ChainsLostError(ArithmeticError):
    """More chains of a run are lost (not finite, stuck or diverging) than ``lost_share`` of `sample` allows; the message names them.

    Example:
        >>> raise ChainsLostError("3 of 4 chains are lost")
        Traceback (most recent call last):
            ...
        hiddencodes.sampling.health.ChainsLostError: 3 of 4 chains are lost
    """


def check(found: np.ndarray, begin: np.ndarray, seeds: np.ndarray, allowed: float, where: str) -> None:
    """Refuse to go on when too many chains are lost.

    Args:
        found: Status, (seed, chain).
        begin: Since which draw.
        seeds: Numbers of the seeds.
        allowed: Share of the chains that may be lost.
        where: What has been saved, for the message.

    Raises:
        ChainsLostError: If more are.
    """
    lost = found != Status.OK
    if lost.mean() <= allowed:
        return
    words = {
        Status.NON_FINITE: "left the finite numbers",
        Status.STUCK: "stuck",
        Status.DIVERGING: "diverging",
    }
    names = [
        f"seed {seeds[s]} chain {c} ({words[Status(int(found[s, c]))]} from draw {begin[s, c]})"
        for s, c in np.argwhere(lost)
    ]
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    raise ChainsLostError(
        f"{int(lost.sum())} of {lost.size} chains are lost, more than lost_share={allowed:g} allows: {shown}. {where}"
    )
