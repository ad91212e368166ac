"""What a move between codes is: a sweep over the units of a layer that leaves the posterior as it is."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from blackjax.base import SamplingAlgorithm
from jaxtyping import Array, Float, Int, PRNGKeyArray

from hiddencodes.sampling.target import Target


class MoveInfo(NamedTuple):
    """What a sweep reports: counts by the code that a unit had and the one that was proposed, (code, code) each.

    Where a move has no codes, other kinds take their place, named in `Learned`.
    """

    proposed: Int[Array, "*lane code code"]
    accepted: Int[Array, "*lane code code"]


class Learned(NamedTuple):
    """What a move knows of the codes, from the positions of all chains during warm-up.

    Attributes:
        parameters: Arrays with a leading seed axis, whose shapes never change.
        names: Names of the codes of every seed, in the order of their rows.
    """

    parameters: Any
    names: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Move:
    """A kernel that changes codes. Moves that compare equal share compiled programs.

    Between sweeps, local transitions equilibrate everything else; both leave the posterior invariant, and so does what is
    composed of them.

    Attributes:
        name: Its name in runs.
        check: ``(target, data) -> None``; raises ValueError where the move does not apply.
        learn: ``(target, q, data, key) -> Learned``, on the host, with q of shape (seed, chain, dimension).
        sweep: ``(target, key, q, data, parameters, inverse_temperature) -> (q, MoveInfo)``, for one chain.
        settings: Names and values of what was chosen, for the record.
        white: Whether it needs white coordinates: a posterior that is not reduced is then sampled in them.
    """

    name: str
    check: Callable[[Any, Any], None] = field(repr=False)
    learn: Callable[[Any, Float[Array, "seed chain dimension"], Any, PRNGKeyArray], Learned] = field(
        repr=False
    )
    sweep: Callable[[Any, PRNGKeyArray, Array, Any, Any, Array], tuple[Array, MoveInfo]] = field(repr=False)
    white: bool = False
    settings: tuple[tuple[str, int | None], ...] = ()


class MoveState(NamedTuple):
    """BlackJAX's state of a move: the position alone."""

    position: Float[Array, " dimension"]


def as_blackjax(
    move: Move, target: Target, data: Any, parameters: Any, inverse_temperature: Array
) -> SamplingAlgorithm:
    """A move as a BlackJAX sampling algorithm, to be composed with kernels by hand.

    Args:
        move: The move.
        target: What is sampled.
        data: Its data, without a seed axis.
        parameters: What `Move.learn` found, without a seed axis.
        inverse_temperature: 1/T.
    """

    def init(position: Array, rng_key: Any = None) -> MoveState:
        del rng_key
        return MoveState(position)

    def step(rng_key: PRNGKeyArray, state: MoveState) -> tuple[MoveState, MoveInfo]:
        q, info = move.sweep(target, rng_key, state.position, data, parameters, inverse_temperature)
        return MoveState(q), info

    return SamplingAlgorithm(init, step)  # pyright: ignore[reportArgumentType]
