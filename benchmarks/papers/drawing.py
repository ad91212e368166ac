"""How the reproductions draw: theory on the left, samples on the right."""

from hiddencodes.benchmarks.papers.maps import (
    ActivationRow,
    KernelRow,
    TransitionRow,
    activation_panels,
    expand_blocks,
    kernel_pair,
    sort_units,
    transition_matrix,
)
from hiddencodes.benchmarks.papers.plots import (
    CodeRow,
    CurveRow,
    ReadoutRow,
    code_bars,
    curve_panels,
    curves,
    readout_panels,
)

__all__ = [
    "ActivationRow",
    "CodeRow",
    "CurveRow",
    "KernelRow",
    "ReadoutRow",
    "TransitionRow",
    "activation_panels",
    "code_bars",
    "curve_panels",
    "curves",
    "expand_blocks",
    "kernel_pair",
    "readout_panels",
    "sort_units",
    "transition_matrix",
]
