"""What all figures share: style, colors, class boundaries, and how a run is read."""

# pyright: reportUnknownMemberType=false
# matplotlib's methods take keyword arguments without types.

import io
import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from hiddencodes.diagnostics.run_access import chain_health, dataset, variable

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5B5B5B", "#B8A300")
"""Colors that stay apart under the common kinds of color blindness (Okabe and Ito), the yellow darkened for lines."""

RECTIFIED = ("relu", "leaky_relu", "shifted_relu")
"""Activations whose codes sit on few, very active units."""

INK = "#222222"
GRAY = "#777777"
SEQUENTIAL = "cividis"
DIVERGING = "RdBu_r"

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRAY,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "text.parse_math": False,  # labels come from users: a dollar sign is a dollar sign
}


@contextmanager
def _style() -> Generator[None]:
    with mpl.rc_context(STYLE):
        yield


def styled[**P, R](draw: Callable[P, R]) -> Callable[P, R]:
    """Run a drawing function in the house style, leaving matplotlib's settings as they were."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        with _style():
            return draw(*args, **kwargs)

    return drawn


def png(figure: Figure, dpi: int = 160) -> bytes:
    """The figure as PNG, without a time stamp: the same figure is the same file."""
    buffer = io.BytesIO()
    with _style():
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def model_of(run: xr.DataTree) -> dict[str, Any]:
    """The network's settings: width, depth, activation, parameterization, bias."""
    return json.loads(run.attrs["model"])


def activation_name(run: xr.DataTree) -> str:
    """The activation's name without its parameters."""
    return str(model_of(run)["activation"]).partition("(")[0]


def class_names(run: xr.DataTree) -> list[str]:
    """The classes, in the order of the labels."""
    return [str(name) for name in dataset(run, "posterior")["class"].values.tolist()]


def healthy_chains(run: xr.DataTree, seed: int) -> Int[np.ndarray, " chain"]:
    """Positions of the chains of a seed that stayed finite."""
    return np.flatnonzero(chain_health(run).healthy[seed])


def array(run: xr.DataTree, path: str) -> np.ndarray:
    """A variable of a run in double precision, e.g. ``array(run, "posterior/train_loss")``."""
    group, _, name = path.partition("/")
    return np.asarray(variable(run, group, name).values, dtype=np.float64)


def code_name(code: Any) -> str:
    """A code as text: one digit per class, 1 where the class activates the unit.

    Example:
        >>> code_name([True, False, True])
        '101'
    """
    return "".join("1" if active else "0" for active in code)


def train_labels(run: xr.DataTree, seed: int) -> Int[np.ndarray, " pattern"]:
    """The class of every training pattern of a seed (position)."""
    return np.asarray(variable(run, "constant_data", "labels_train").values)[seed]


def patterns_by_class(
    run: xr.DataTree, seed: int
) -> tuple[Int[np.ndarray, " pattern"], Float[np.ndarray, " edge"], Int[np.ndarray, " pattern"]]:
    """The sorted labels, where one class ends and the next begins, and the order of the patterns that sorts them."""
    labels = train_labels(run, seed)
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    return labels[order], np.concatenate([[0.0], np.cumsum(counts)]).astype(np.float64), order


def mark_classes(
    axes: Axes, edges: Float[np.ndarray, " edge"], names: list[str], *, both: bool = False
) -> None:
    """Draw the boundaries between classes on an image whose columns are sorted patterns, and name the classes."""
    for edge in edges[1:-1]:
        axes.axvline(edge - 0.5, color="white", linewidth=0.9)
        if both:
            axes.axhline(edge - 0.5, color="white", linewidth=0.9)
    centers = (edges[1:] + edges[:-1] - 1) / 2
    axes.set_xticks(centers, names)
    axes.tick_params(axis="x", length=0)
    if both:
        axes.set_yticks(centers, names)
        axes.tick_params(axis="y", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def color_bar(panel: SubFigure, axes: np.ndarray, label: str, *, extend: str = "neither") -> None:
    """A thin color bar beside all axes of a panel, for the image in the last of them."""
    bar = panel.colorbar(
        axes[-1].images[0], ax=axes.tolist(), fraction=0.05, pad=0.02, aspect=25, extend=extend
    )
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
    bar.set_label(label)


def say(axes: Axes, title: str, text: str) -> None:
    """A panel without data that says why."""
    axes.set_title(title)
    axes.text(0.5, 0.5, text, color=GRAY, ha="center", va="center", transform=axes.transAxes)
    axes.set_axis_off()


def grid_of(n: int, columns: int = 2) -> tuple[int, int]:
    """Rows and columns of a grid of n panels."""
    columns = max(1, min(n, columns))
    return -(-n // columns), columns


def new_figure(width: float, height: float) -> Figure:
    """An empty figure (inches), outside pyplot's global list."""
    return Figure(figsize=(width, height), layout="constrained")
