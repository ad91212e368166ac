"""The reproductions that the command line offers."""

from hiddencodes.benchmarks.papers import abstraction, coding_schemes, task_geometry
from hiddencodes.benchmarks.papers.reproduction import Reproduction

REPRODUCTIONS: tuple[Reproduction, ...] = (
    coding_schemes.REPRODUCTION,
    task_geometry.REPRODUCTION,
    abstraction.REPRODUCTION,
)
