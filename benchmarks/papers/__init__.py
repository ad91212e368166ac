"""Reproductions of published systems: what is claimed, what theory predicts, what sampled networks do.

A reproduction is a tuple of functions from `Settings` to `Section`; a section holds `Claim`s and figures. `run` runs them and
writes ``results.json`` and ``report.html``.
"""

from hiddencodes.benchmarks.papers import drawing as drawing
from hiddencodes.benchmarks.papers.claim import Claim as Claim
from hiddencodes.benchmarks.papers.reproduction import Outcome as Outcome
from hiddencodes.benchmarks.papers.reproduction import Paper as Paper
from hiddencodes.benchmarks.papers.reproduction import Reproduction as Reproduction
from hiddencodes.benchmarks.papers.reproduction import run as run
from hiddencodes.benchmarks.papers.section import Section as Section
from hiddencodes.benchmarks.papers.section import SectionFunction as SectionFunction
from hiddencodes.benchmarks.papers.section import Settings as Settings
from hiddencodes.benchmarks.papers.section import describe_run as describe_run
from hiddencodes.benchmarks.papers.words import Grade as Grade
from hiddencodes.benchmarks.papers.words import Verdict as Verdict
