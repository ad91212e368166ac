"""Figures show theory on the left, samples on the right, on the same scale."""

import io
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from hiddencodes.benchmarks.papers import drawing
from hiddencodes.drawing import png

COUNTS, NAMES = [6, 3, 3], ["a", "b", "$c"]
BLOCKS = np.array([[0.3, -0.1, 0.0], [-0.1, 0.4, 0.0], [0.0, 0.0, 0.5]])
KERNEL = drawing.expand_blocks(BLOCKS, np.full(3, 9.0), COUNTS)


def check_drawn(figure: Figure) -> None:
    image = np.asarray(Image.open(io.BytesIO(png(figure, dpi=50))).convert("L"))
    assert image.std() > 5


def panels(figure: Figure) -> list[Any]:
    return [axes for panel in figure.subfigs or [figure] for axes in panel.axes]


def test_blocks_become_a_kernel() -> None:
    labels = np.repeat([0, 1, 2], COUNTS)
    for mu in range(12):
        for nu in range(12):
            assert KERNEL[mu, nu] == (9.0 if mu == nu else BLOCKS[labels[mu], labels[nu]])


def test_kernels_share_a_scale_that_the_diagonal_does_not_set() -> None:
    figure = drawing.kernel_pair([drawing.KernelRow("net", KERNEL, 2 * KERNEL)], COUNTS, NAMES)
    left, right = [axes.images[0] for axes in panels(figure)[:2]]
    assert (left.get_array() == KERNEL).all()
    assert (right.get_array() == 2 * KERNEL).all()
    assert left.norm is right.norm
    assert right.norm.vmax == pytest.approx(1.0)
    assert [axes.get_xlabel() for axes in panels(figure)[:2]] == ["theory", "samples"]
    check_drawn(figure)


def test_what_is_not_predicted_is_said() -> None:
    phi = np.random.default_rng(0).random((5, 12))
    for figure in (
        drawing.kernel_pair([drawing.KernelRow("net", None, KERNEL)], COUNTS, NAMES),
        drawing.activation_panels([drawing.ActivationRow("net", None, phi)], COUNTS, NAMES),
        drawing.readout_panels([drawing.ReadoutRow("net", None, None, phi)]),
    ):
        assert [text.get_text() for text in panels(figure)[0].texts] == ["no prediction"]
        check_drawn(figure)


@pytest.mark.parametrize(
    ("low", "high", "limits"), [(0.0, 0.7, (0, 1)), (0.0, 7.0, (0, 7)), (-2.0, 1.0, (-2, 2))]
)
def test_activations_share_a_scale(low: float, high: float, limits: tuple[float, float]) -> None:
    phi = np.linspace(low, high, 5 * 12).reshape(5, 12)
    row = drawing.ActivationRow("net", phi, phi[:3] / 2)
    figure = drawing.activation_panels([row], COUNTS, NAMES)
    for axes in panels(figure)[:2]:
        assert (axes.images[0].norm.vmin, axes.images[0].norm.vmax) == limits
    check_drawn(figure)


def test_units_are_sorted_by_code() -> None:
    means = np.array([[0.1, 0.9, 0.9], [0.9, 0.1, 0.1], [0.1, 0.9, 0.8], [0.9, 0.1, 0.9]])
    phi = np.repeat(means, COUNTS, axis=1)
    assert drawing.sort_units(phi, COUNTS)[:, ::3][:, [0, 2, 3]].tolist() == means[[3, 1, 0, 2]].tolist()
    assert drawing.sort_units(phi, COUNTS, "linear")[0, 0] == 0.9
    # Sums of phi^2 over the patterns: 4.92, 4.92, 4.41 and 7.32.
    assert drawing.sort_units(phi, COUNTS, "relu")[[0, -1]].tolist() == phi[[3, 2]].tolist()


@pytest.mark.parametrize("log", [False, True])
def test_densities_and_histograms_share_axes(log: bool) -> None:
    x = np.linspace(-5.0, 5.0, 400)
    density = np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi)
    samples = np.random.default_rng(0).normal(size=(2, 3, 500))
    row = drawing.ReadoutRow("net", x, density, samples, ((1.0, "011"),))
    figure = drawing.readout_panels([row], log=log)
    left, right = panels(figure)
    assert left.get_xlim() == right.get_xlim()
    assert left.get_ylim() == right.get_ylim()
    assert right.get_yscale() == ("log" if log else "linear")
    bars = [patch for patch in right.patches if patch.get_height() > 0]
    # A histogram in the units of the density: its area is 1.
    assert sum(p.get_height() * p.get_width() for p in bars) == pytest.approx(1.0)
    assert [text.get_text() for text in left.texts] == ["011"]
    check_drawn(figure)


def test_curves() -> None:
    n = np.array([50.0, 100.0, 200.0])
    rows = [
        drawing.CurveRow("both", n, np.sqrt(n), np.ones(3), n, np.sqrt(n)),
        drawing.CurveRow("measured", n, n),
        drawing.CurveRow("predicted", theory_x=n, theory_y=n**2),
    ]
    figure = drawing.curves(rows, x_label="N", y_label="a", title="growth")
    check_drawn(figure)
    (axes,) = panels(figure)
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert sorted(names) == ["both, samples", "both, theory", "measured", "predicted"]
    ticks = [text.get_text() for text in axes.get_xticklabels()]
    assert ticks == ["50", "100", "200"]
    assert not [text for text in axes.get_yticklabels() if "$" in text.get_text()]
    several = drawing.curve_panels({"a": rows, "b": rows}, x_label="N", y_label="a")
    check_drawn(several)
    assert [axes.get_title(loc="left") for axes in panels(several)] == ["a", "b"]


def test_moves_between_codes() -> None:
    moves = np.array([[0.9, 0.1], [np.nan, np.nan]])
    figure = drawing.transition_matrix([drawing.TransitionRow("layer 1", ["10", "01"], moves)])
    axes = panels(figure)[0]
    assert [text.get_text() for text in axes.texts] == ["90", "10", "–", "–"]  # noqa: RUF001
    check_drawn(figure)


def test_shares_of_codes() -> None:
    share = np.array([0.3, 0.7])
    rows = [
        drawing.CodeRow("sigmoidal", ["10", "01"], share, share + 0.01, np.full(2, 0.02)),
        drawing.CodeRow("none", [], None, np.zeros(0)),
        drawing.CodeRow("relu", ["10"], None, np.ones(1)),
    ]
    figure = drawing.code_bars(rows)
    first = panels(figure)[0]
    assert [patch.get_width() for patch in first.patches] == pytest.approx([30, 70, 31, 71])
    check_drawn(figure)
