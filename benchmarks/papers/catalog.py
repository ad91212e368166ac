"""The reproductions that the command line offers."""

from hiddencodes.benchmarks.papers import abstraction, coding_schemes, spring_block, task_geometry
from hiddencodes.benchmarks.papers.reproduction import Reproduction

REPRODUCTIONS: tuple[Reproduction, ...] = (
    coding_schemes.REPRODUCTION,
    task_geometry.REPRODUCTION,
    abstraction.REPRODUCTION,
    spring_block.REPRODUCTION,
)
