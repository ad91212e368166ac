"""Figures of task geometry: measures along training and along a task parameter, the plane of alignments, a unit's gradient field."""

# pyright: reportUnknownMemberType=false
# matplotlib's methods take keyword arguments without types.

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import hiddencodes as hc
from hiddencodes.drawing import GRAY, PALETTE, grid_of, new_figure, styled

MARKERS = ("o", "^", "s")


class Line(NamedTuple):
    """A line with a band of standard errors."""

    label: str
    x: Float[np.ndarray, " point"]
    y: Float[np.ndarray, " point"]
    error: Float[np.ndarray, " point"]


@styled
def line_panels(panels: Mapping[str, Sequence[Line]], *, x_label: str) -> Figure:
    """One panel per measure, one color per label.

    Args:
        panels: Lines by heading.
        x_label: What the horizontal axes show.
    """
    rows, columns = grid_of(len(panels), 4)
    figure = new_figure(3.0 * columns, 2.5 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    colors = {
        label: PALETTE[i % len(PALETTE)]
        for i, label in enumerate(dict.fromkeys(line.label for lines in panels.values() for line in lines))
    }
    for axes, (heading, lines) in zip(grid, panels.items(), strict=False):
        for line in lines:
            axes.fill_between(
                line.x,
                line.y - line.error,
                line.y + line.error,
                color=colors[line.label],
                alpha=0.25,
                linewidth=0,
            )
            axes.plot(line.x, line.y, color=colors[line.label], label=line.label, linewidth=1.4)
        axes.set_title(heading)
        axes.set_xlabel(x_label)
    grid[0].legend(frameon=False, fontsize=7)
    return figure


class Cloud(NamedTuple):
    """Networks in the plane of alignments.

    Attributes:
        label: What they are.
        inputs, targets: Their alignments.
    """

    label: str
    inputs: Float[np.ndarray, " network"]
    targets: Float[np.ndarray, " network"]


@styled
def alignment_planes(panels: Mapping[str, tuple[float, Sequence[Cloud]]]) -> Figure:
    """Input and target alignment of layers, with the arc that none can cross.

    Args:
        panels: By heading the alignment of inputs and targets, and the networks.
    """
    rows, columns = grid_of(len(panels), 4)
    figure = new_figure(2.7 * columns, 2.8 * rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes, (heading, (aligned, clouds)) in zip(grid, panels.items(), strict=False):
        a = np.linspace(aligned, 1.0, 200)
        axes.plot(a, hc.largest_target_alignment(a, aligned), color=GRAY, linewidth=1.0)
        for i, cloud in enumerate(clouds):
            axes.plot(
                cloud.inputs,
                cloud.targets,
                MARKERS[i // len(PALETTE)],
                color=PALETTE[i % len(PALETTE)],
                markersize=3.5,
                alpha=0.7,
                label=cloud.label,
            )
        axes.set_title(heading)
        axes.set_xlim(-0.02, 1.04)
        axes.set_ylim(-0.02, 1.06)
    for axes in grid[-columns:]:
        axes.set_xlabel("input alignment")
    for axes in grid[::columns]:
        axes.set_ylabel("target alignment")
    grid[0].legend(frameon=False, fontsize=7)
    return figure


class Heat(NamedTuple):
    """A panel of `heat_maps`: values (row, column)."""

    heading: str
    values: Float[np.ndarray, "row column"]


@styled
def heat_maps(
    panels: Sequence[Heat],
    *,
    x: Sequence[float],
    y: Sequence[float],
    x_label: str,
    y_label: str,
    columns: int,
) -> Figure:
    """Maps over two parameters of the task, all on a scale from 0 to 1.

    Args:
        panels: What is drawn.
        x, y: Values of the two parameters.
        x_label, y_label: Their names.
        columns: Panels per row.
    """
    rows, columns = grid_of(len(panels), columns)
    figure = new_figure(3.1 * columns, 1.9 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    image = None
    for axes, panel in zip(grid, panels, strict=False):
        image = axes.imshow(
            panel.values,
            vmin=0.0,
            vmax=1.0,
            cmap="viridis",
            aspect="auto",
            origin="lower",
            interpolation="nearest",
        )
        axes.set_title(panel.heading)
        every = max(1, (len(x) - 1) // 4)
        axes.set_xticks(range(0, len(x), every), [f"{v:g}" for v in x[::every]])
        axes.set_yticks(range(len(y)), [f"{v:g}" for v in y])
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
    if image is not None:
        figure.colorbar(image, ax=grid.tolist(), fraction=0.03, pad=0.02)
    return figure


class FieldPanel(NamedTuple):
    """A panel of `gradient_fields`.

    Attributes:
        heading: What it is.
        activation: Of the unit.
        trajectories: Input weights along training in the plane (unit, snapshot, 2).
    """

    heading: str
    activation: hc.Activation
    trajectories: Float[np.ndarray, "unit snapshot two"]


@styled
def gradient_fields(
    panels: Sequence[FieldPanel],
    plane: Float[np.ndarray, "two input"],
    task: hc.ConditionTask,
    *,
    reach: float,
    axis_names: tuple[str, str],
) -> Figure:
    """The expected gradient of a unit with a positive readout weight in a plane of input weights, and how trained units moved there.

    Args:
        panels: One per activation.
        plane: Two orthonormal directions.
        task: The task.
        reach: Half the width of the drawn square.
        axis_names: Names of the directions.
    """
    figure = new_figure(3.9 * len(panels), 3.9)
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    side = np.linspace(-reach, reach, 17)
    at = np.stack(np.meshgrid(side, side), -1)
    for axes, panel in zip(grid, panels, strict=True):
        field = (
            hc.expected_gradient(at @ plane, task.means, task.targets, panel.activation, noise=task.noise)
            @ plane.T
        )
        axes.quiver(
            at[..., 0],
            at[..., 1],
            field[..., 0],
            field[..., 1],
            np.linalg.norm(field, axis=-1),
            cmap="Greys",
            pivot="mid",
        )
        for track in panel.trajectories:
            axes.plot(track[:, 0], track[:, 1], color=PALETTE[0], linewidth=0.7, alpha=0.6)
            axes.plot(*track[-1], "o", color=PALETTE[1], markersize=2.5)
        _conditions(axes, plane, task, reach)
        axes.set_title(panel.heading)
        axes.set_xlabel(axis_names[0])
        axes.set_ylabel(axis_names[1])
        axes.set_xlim(-reach, reach)
        axes.set_ylim(-reach, reach)
        axes.set_aspect("equal")
    return figure


def _conditions(axes: Axes, plane: np.ndarray, task: hc.ConditionTask, reach: float) -> None:
    """Where the conditions lie, drawn at the rim."""
    places: np.ndarray = task.means @ plane.T
    for place, label in zip(places, task.targets[:, 0], strict=True):
        length = float(np.linalg.norm(np.asarray(place)))
        if length > 1e-9:
            axes.plot(
                *(0.93 * reach * place / length),
                "s",
                color=PALETTE[2] if label > 0 else PALETTE[3],
                markersize=7,
            )
