"""The pictures of a report and the captions that say how to read them."""

from collections.abc import Mapping
from itertools import islice
from typing import Any, NamedTuple

import xarray as xr
from matplotlib.figure import Figure

from hiddencodes.chain_figures import chains
from hiddencodes.diagnostics.run_access import seed_names
from hiddencodes.drawing import png
from hiddencodes.figures import activations, kernels
from hiddencodes.rules import slug
from hiddencodes.unit_figures import code_shares, readouts

_MAX_CODES = 8


class Picture(NamedTuple):
    """A figure of the report.

    Attributes:
        name: File name without its ending.
        caption: What is shown and how to read it.
        image: The PNG.
    """

    name: str
    caption: str
    image: bytes


_CAPTIONS = {
    "activations": (
        "Hidden activations of the feature layer at the last draw of one chain: rows are units, columns are training "
        "patterns grouped by class. Saturating units are sorted by code (one digit per class, 1 where the class activates "
        "the unit) with the share of units beside it; a redundant code shows as solid blocks. Rectified units are sorted by "
        "activity, the nine most active enlarged on top; a sparse code shows as a few bright rows over a dim bulk, on a "
        "square-root color scale. Linear units are sorted by their response to the first class; an analog code shows as a "
        "gradient that fills all rows. A lazy network only shows what its inputs have in common."
    ),
    "kernels": (
        "Kernel of the feature layer (mean over units of the product of two patterns' activations), training patterns sorted "
        "by class; left under the prior at infinite width, right at the last draw, averaged over chains, on one color scale. Bright blocks on the diagonal "
        "that the prior does not have are learned; a lazy network's two panels look alike."
    ),
    "readouts": (
        "Readout weights of all units, chains, seeds and draws. Separate peaks are groups of units with one code each "
        "(redundant); a broad peak is an analog code; weights far outside the bulk belong to the few units of a sparse code. "
        "The line is the prior density, which a lazy network keeps."
    ),
    "codes": (
        "Share of the units of the feature layer with each code, averaged over seeds; the bars are Monte-Carlo standard "
        f"errors (the larger of the within-chain and the between-chain estimate). At most {_MAX_CODES} codes are shown. For "
        "lazy and analog networks the threshold cuts through a continuum, and the codes mean little."
    ),
}


def draw_pictures(runs: Mapping[str, xr.DataTree], summary: Mapping[str, Any]) -> list[Picture]:
    """The figures that compare networks.

    Args:
        runs: Runs by label.
        summary: What `summarize` says about them.
    """
    shares = {label: _shares(network) for label, network in summary["networks"].items()}
    figures: dict[str, Figure] = {
        "activations": activations(runs),
        "kernels": kernels(runs),
        "readouts": readouts(runs),
        "codes": code_shares(shares),
    }
    return [Picture(name, _CAPTIONS[name], png(figure)) for name, figure in figures.items()]


def _shares(network: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """The most frequent codes of the feature layer with their shares and errors."""
    pooled: Mapping[str, Any] = network["codes"][-1]["pooled"] if network["codes"] else {}
    return [(code, row["fraction"], row["error"] or 0.0) for code, row in islice(pooled.items(), _MAX_CODES)]


def draw_chains(label: str, run: xr.DataTree) -> list[Picture]:
    """Trace and rank plots of one network, one figure per seed."""
    return [
        Picture(
            f"chains-{slug(label)}-seed-{seed}",
            f"Seed {seed}: traces and rank histograms of the main observables that do not depend on the order of hidden "
            "units, of each family the one on which chains agree least; one color per chain. Chains that sample the same "
            "distribution have interwoven traces and flat rank histograms (dashed: uniform).",
            png(chains(run, seed=i), dpi=110),
        )
        for i, seed in enumerate(seed_names(run))
    ]
