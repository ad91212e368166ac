"""What a run of chains is told and what it tells: sizes, finished segments, progress."""

import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, PRNGKeyArray

from hiddencodes.sampling.adaptation import Tuning
from hiddencodes.sampling.checkpoint import Checkpoint
from hiddencodes.sampling.lanes import Lanes
from hiddencodes.sampling.monitor import Monitor
from hiddencodes.sampling.move import Move
from hiddencodes.sampling.sampler import Sampler
from hiddencodes.sampling.target import Target

# Draws of a segment: a twentieth of the run, unless its buffers would be too large or it would take too long to lose.
_SEGMENTS, _SECONDS_OF_SEGMENT, _MOST_SECONDS_OF_SEGMENT = 20, 10.0, 60.0
# Files are opened, checked and synchronized once per segment, a tenth of a second: draws to disk come in larger pieces.
LARGEST_CAPACITY = {"in memory": 128, "on disk": 1024}
SECONDS_WORTH_WRITING = 2.0


class Progress(NamedTuple):
    """A report from the host between two segments.

    Attributes:
        phase: What is going on.
        done: Iterations (warm-up) or draws (sampling) finished.
        total: How many there will be.
        draws_per_second: Rate over all lanes, in this phase.
        acceptance: Mean acceptance over the last segment.
        seconds_left: Estimated time to the end of this phase.
        worst_rhat: Largest R-hat so far of the observables that are watched, of the chains of this process; NaN in warm-up.
    """

    phase: Literal["compile", "warmup", "sampling"]
    done: int
    total: int
    draws_per_second: float
    acceptance: float
    seconds_left: float
    worst_rhat: float = float("nan")


Report = Callable[[Progress], None]


class Plan(NamedTuple):
    """The sizes of a run.

    Attributes:
        seeds: Seed numbers.
        chains: Chains per seed.
        warmup: Warm-up iterations.
        draws: Stored draws per chain.
        thin: Transitions per stored draw.
        superchain: Number of the starting point of every chain (chain,).
        capacity: Most draws per segment: rows of the buffers on the device.
        segment: Draws per segment; None to choose it from the time that iterations of warm-up take.
        worth: Draws that take as many bytes as a checkpoint.
        least_seconds: A segment takes at least as long, if its draws fit into the buffers.
    """

    seeds: np.ndarray
    chains: int
    warmup: int
    draws: int
    thin: int
    superchain: np.ndarray
    capacity: int
    segment: int | None = None
    worth: int = 1
    least_seconds: float = 0.0

    @property
    def lanes(self) -> int:
        """Chains times seeds."""
        return self.chains * len(self.seeds)


def segment_length(plan: Plan, intervals: tuple[int, ...], per_iteration: float | None) -> int:
    """Draws per segment, a multiple of the intervals of observables that are kept every k-th draw where that is possible.

    Args:
        plan: The sizes.
        intervals: Every so many draws something is kept.
        per_iteration: Seconds of a transition of all lanes; None if that is not known.
    """
    if plan.segment is not None:
        return min(plan.segment, plan.capacity)
    n = min(-(-plan.draws // _SEGMENTS), plan.capacity)
    if per_iteration is not None:
        at_once = per_iteration * plan.thin
        # Long enough for a checkpoint not to outweigh the draws that it follows, unless that is more than one wants to lose.
        worth = min(plan.worth, int(_MOST_SECONDS_OF_SEGMENT / at_once))
        n = max(n, min(plan.draws, plan.capacity, int(plan.least_seconds / at_once)))
        n = min(n, max(1, worth, int(_SECONDS_OF_SEGMENT / at_once)))
    common = int(np.lcm.reduce(intervals))
    return max(common, n // common * common) if common <= plan.capacity else n


class Segment(NamedTuple):
    """Draws ``first .. first + n`` of the lanes of this process, as NumPy arrays (seed, own chain, row, ...).

    Attributes:
        first: Number of the first draw.
        n: How many draws.
        observed: Observables; a row per draw, or per ``every`` draws.
        stats: What the sampler reports.
        status: What every chain is, and since which draw (`hiddencodes.sampling.health.status`); None where that is not known.
        length: Draws of a full segment.
    """

    first: int
    n: int
    observed: dict[str, np.ndarray]
    stats: dict[str, np.ndarray]
    status: tuple[np.ndarray, np.ndarray] | None = None
    length: int = 0


class Finished(NamedTuple):
    """The end of a run.

    Attributes:
        q: Whitened positions of all chains at the last draw, on the host.
        tuning: What warm-up settled on.
        seconds: ``compile``, ``warmup`` and ``sampling``.
        draws: How many draws there are: fewer than planned if somebody stopped the run.
        moves: What the moves did while sampling.
    """

    q: Float[np.ndarray, "seed chain dimension"]
    tuning: Tuning
    seconds: dict[str, float]
    draws: int
    moves: tuple["Moved", ...] = ()


class Moved(NamedTuple):
    """What one move did while sampling.

    Attributes:
        name: The move.
        codes: Names of the codes of every seed, by row and column of the counts.
        proposed: How often a unit of the code of the row was proposed that of the column, (seed, chain, code, code).
        accepted: How often it was accepted.
    """

    name: str
    codes: tuple[tuple[str, ...], ...]
    proposed: np.ndarray
    accepted: np.ndarray


class Host(NamedTuple):
    """What the host does between segments.

    Attributes:
        consume: Takes finished draws.
        save: Keeps the state; called after the draws that it follows have been taken.
        report: Takes a report of progress.
        stop: Whether somebody asked for an end.
        monitor: Watches R-hat.
        lost_share: Share of the chains that may be lost.
    """

    consume: Callable[[Segment], None] = lambda segment: None
    save: Callable[[Checkpoint], None] | None = None
    report: Report = lambda progress: None
    stop: Callable[[], bool] = lambda: False
    monitor: Monitor | None = None
    lost_share: float = 1.0


class Setup(NamedTuple):
    """What is sampled, and how.

    Attributes:
        target: What to sample.
        data: Its data, every array with a leading seed axis, floating-point arrays in ``dtype``.
        temperature: T of every seed.
        sampler: The kernel.
        plan: The sizes.
        key: The run's random key.
        dtype: Floating-point type of positions and energies.
        how: Where and how lanes run.
        moves: Moves between codes.
        every: Local transitions between two sweeps.
        start: Where the chains start, whitened; the temperature is then the target's from the beginning. None for prior
            draws, which are annealed.
    """

    target: Target
    data: Any
    temperature: Float[np.ndarray, " seed"]
    sampler: Sampler
    plan: Plan
    key: PRNGKeyArray
    dtype: Any
    how: Lanes = Lanes()
    moves: tuple[Move, ...] = ()
    every: int = 1
    start: Float[np.ndarray, "seed chain dimension"] | None = None


class Clock:
    """Turns counts into progress reports."""

    def __init__(
        self, phase: Literal["warmup", "sampling"], total: int, lanes: int, report: Report, done: int = 0
    ) -> None:
        """Args: the phase; its length; how many lanes; who is told; how much of it is done already."""
        self.phase: Literal["warmup", "sampling"] = phase
        self.total, self.lanes, self.report, self.first = total, lanes, report, done
        self.start = time.perf_counter()

    def tick(self, done: int, acceptance: float, worst_rhat: float = float("nan")) -> None:
        """Report that so much is done."""
        seconds = max(time.perf_counter() - self.start, 1e-9)
        rate = (done - self.first) * self.lanes / seconds
        left = (self.total - done) * seconds / max(done - self.first, 1)
        self.report(Progress(self.phase, done, self.total, rate, acceptance, left, worst_rhat))
