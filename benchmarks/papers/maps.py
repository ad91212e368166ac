"""Pictures of matrices with theory on the left and samples on the right: kernels, activations, moves between codes."""

# pyright: reportUnknownMemberType=false
# matplotlib's methods take keyword arguments without types.

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure, SubFigure

from hiddencodes.drawing import (
    DIVERGING,
    GRAY,
    INK,
    SEQUENTIAL,
    color_bar,
    grid_of,
    mark_classes,
    new_figure,
    say,
    styled,
)
from hiddencodes.figures import unit_order

NO_THEORY = "no prediction"


class KernelRow(NamedTuple):
    """One row of `kernel_pair`.

    Attributes:
        label: What it is.
        theory: The predicted kernel; None if there is no prediction.
        sampled: The measured kernel.
    """

    label: str
    theory: Float[np.ndarray, "pattern pattern"] | None
    sampled: Float[np.ndarray, "pattern pattern"]


class ActivationRow(NamedTuple):
    """One row of `activation_panels`.

    Attributes:
        label: What it is.
        theory: Activations of units drawn from the theory; None if there is no prediction.
        sampled: Activations of the units of a sampled network.
    """

    label: str
    theory: Float[np.ndarray, "unit pattern"] | None
    sampled: Float[np.ndarray, "unit_2 pattern"]


class TransitionRow(NamedTuple):
    """One panel of `transition_matrix`.

    Attributes:
        label: What it is.
        codes: Names of the codes.
        probabilities: Rows: code at the first draw; columns: code at the last draw. A row of a code that no unit had is nan.
    """

    label: str
    codes: Sequence[str]
    probabilities: Float[np.ndarray, "code code"]


def expand_blocks(
    blocks: Float[np.ndarray, "class class"], diagonal: Float[np.ndarray, " class"], counts: Sequence[int]
) -> Float[np.ndarray, "pattern pattern"]:
    """The kernel of patterns, sorted by class, that has given class blocks.

    Args:
        blocks: Kernel of two different patterns, by their classes.
        diagonal: Kernel of a pattern with itself, by its class.
        counts: Patterns per class.

    Example:
        >>> expand_blocks(np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([3.0, 4.0]), [2, 1]).tolist()
        [[3.0, 1.0, 0.0], [1.0, 3.0, 0.0], [0.0, 0.0, 4.0]]
    """
    labels = np.repeat(np.arange(len(counts)), counts)
    kernel = blocks[np.ix_(labels, labels)].astype(np.float64)
    np.fill_diagonal(kernel, diagonal[labels])
    return kernel


def sort_units(
    phi: Float[np.ndarray, "unit pattern"], counts: Sequence[int], activation: str = "sigmoidal"
) -> Float[np.ndarray, "unit pattern"]:
    """Units in the order in which they are best seen: by code (saturating), by activity (rectified), else by first class mean.

    Args:
        phi: Activations, patterns sorted by class.
        counts: Patterns per class.
        activation: The activation's name.

    Example:
        >>> sort_units(np.array([[0.0, 1.0], [1.0, 0.0]]), [1, 1]).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    starts = _edges(counts)[:-1].astype(int)
    means = np.add.reduceat(phi, starts, axis=1) / np.asarray(counts)
    threshold = 0.5 if activation == "sigmoidal" else 0.0
    return phi[unit_order(phi, means, means > threshold, activation)]


@styled
def kernel_pair(
    rows: Sequence[KernelRow],
    counts: Sequence[int],
    names: Sequence[str],
    *,
    left: str = "theory",
    right: str = "samples",
) -> Figure:
    """Kernels of patterns sorted by class: theory on the left, samples on the right, one color scale per row.

    Args:
        rows: What is compared.
        counts: Patterns per class.
        names: Names of the classes.
        left: Heading of the left column.
        right: Heading of the right column.
    """
    n_rows, columns = grid_of(len(rows))
    figure = new_figure(5.0 * columns, 2.7 * n_rows)
    for panel, row in zip(_panels(figure, n_rows, columns), rows, strict=False):
        axes = panel.subplots(1, 2)
        kernels = [row.sampled] if row.theory is None else [row.theory, row.sampled]
        # The diagonal is often far above the blocks, and says nothing about classes: the scale follows the blocks.
        off = np.concatenate([k[~np.eye(len(k), dtype=bool)] for k in kernels])
        low, high = float(np.quantile(off, 0.002)), float(np.quantile(off, 0.998))
        limit = max(-low, high, 1e-12)
        norm = Normalize(-limit, limit) if low < 0 else Normalize(0.0, limit)
        for part, kernel, title in zip(axes, (row.theory, row.sampled), (left, right), strict=True):
            if kernel is None:
                say(part, "", NO_THEORY)
            else:
                part.imshow(
                    kernel, norm=norm, cmap=DIVERGING if low < 0 else SEQUENTIAL, interpolation="nearest"
                )
                mark_classes(part, _edges(counts), list(names), both=True)
            part.set_xlabel(title)
        axes[0].set_title(row.label)
        color_bar(panel, axes, "kernel", extend="max")
    return figure


@styled
def activation_panels(
    rows: Sequence[ActivationRow],
    counts: Sequence[int],
    names: Sequence[str],
    *,
    left: str = "theory",
    right: str = "samples",
) -> Figure:
    """Activations, units by patterns sorted by class: theory on the left, samples on the right, one color scale per row.

    Args:
        rows: What is compared; units are drawn in the order given (see `sort_units`).
        counts: Patterns per class.
        names: Names of the classes.
        left: Heading of the left column.
        right: Heading of the right column.
    """
    figure = new_figure(7.6, 0.3 + 2.5 * len(rows))
    for panel, row in zip(_panels(figure, len(rows), 1), rows, strict=True):
        axes = panel.subplots(1, 2)
        shown = [row.sampled.ravel()] if row.theory is None else [row.theory.ravel(), row.sampled.ravel()]
        norm, colors = _activation_scale(np.concatenate(shown))
        for part, phi, title in zip(axes, (row.theory, row.sampled), (left, right), strict=True):
            if phi is None:
                say(part, "", NO_THEORY)
                continue
            part.imshow(phi, aspect="auto", interpolation="nearest", cmap=colors, norm=norm)
            mark_classes(part, _edges(counts), list(names))
            part.set_yticks([])
            part.set_ylabel(f"{len(phi)} units")
            part.set_xlabel(f"{title}: patterns by class")
        axes[0].set_title(row.label)
        color_bar(panel, axes, "activation φ")
    return figure


@styled
def transition_matrix(rows: Sequence[TransitionRow]) -> Figure:
    """Probability that a unit with one code at the first draw has another at the last, one panel per row.

    Args:
        rows: What is shown.
    """
    n_rows, columns = grid_of(len(rows))
    most = max(len(row.codes) for row in rows)
    size = min(4.6, 1.6 + 0.42 * most)
    figure = new_figure((size + 0.7) * columns, size * n_rows)
    for panel, row in zip(_panels(figure, n_rows, columns), rows, strict=False):
        axes = panel.subplots()
        axes.imshow(row.probabilities, cmap="Blues", norm=Normalize(0.0, 1.0), interpolation="nearest")
        ticks = np.arange(len(row.codes))
        style: dict[str, Any] = {"family": "DejaVu Sans Mono", "fontsize": 7.5}
        axes.set_xticks(ticks, list(row.codes), rotation=90 if most > 6 else 0, **style)
        axes.set_yticks(ticks, list(row.codes), **style)
        axes.tick_params(length=0)
        axes.set_xlabel("code at the last draw")
        axes.set_ylabel("code at the first draw")
        axes.set_title(row.label)
        if most <= 10:
            _write_values(axes, row.probabilities)
        for spine in axes.spines.values():
            spine.set_visible(False)
        color_bar(panel, np.array([axes]), "share of units (numbers: %)")
    return figure


def _write_values(axes: Axes, values: Float[np.ndarray, "row column"]) -> None:
    for i, j in np.ndindex(values.shape):
        value = float(values[i, j])
        text = "–" if np.isnan(value) else f"{100 * value:.0f}"  # noqa: RUF001
        axes.text(
            j,
            i,
            text,
            ha="center",
            va="center",
            fontsize=7,
            color="white" if value > 0.55 else INK if value else GRAY,
        )


def _panels(figure: Figure, rows: int, columns: int) -> list[SubFigure]:
    grid = np.asarray(figure.subfigures(rows, columns, wspace=0.04, hspace=0.05, squeeze=False))
    return list(grid.ravel())


def _edges(counts: Sequence[int]) -> Float[np.ndarray, " edge"]:
    return np.concatenate([[0.0], np.cumsum(np.asarray(counts, np.float64))])


def _activation_scale(phi: Float[np.ndarray, " value"]) -> tuple[Normalize, str]:
    """The range [0, 1] of sigmoidal units; a root scale for rectified ones, whose outliers are many times the bulk."""
    low, high = float(phi.min()), float(phi.max())
    if low < 0:
        return Normalize(-max(-low, high), max(-low, high)), DIVERGING
    if high <= 1.0:
        return Normalize(0.0, 1.0), SEQUENTIAL
    return PowerNorm(0.5, 0.0, high), SEQUENTIAL
