"""Figures show what they say they show."""

import doctest
import importlib
from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib import rcParams

from hiddencodes.chain_figures import chains, main_invariants, spread
from hiddencodes.diagnostics import class_means, codes
from hiddencodes.drawing import STYLE, png
from hiddencodes.figures import activations, kernels, learned_kernel, unit_order
from hiddencodes.unit_figures import code_shares, prior_readout_scale, readouts

MakeRun = Callable[..., xr.DataTree]
LABELS = np.repeat([0, 1, 2], [4, 2, 2])


@pytest.mark.parametrize(
    "name", ["drawing", "figures", "unit_figures", "chain_figures", "html_parts", "report", "cli"]
)
def test_examples_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"hiddencodes.{name}")).failed == 0


@pytest.fixture(scope="module")
def runs(make_run: MakeRun) -> dict[str, xr.DataTree]:
    small = {"width": 30, "n_train": 16, "n_draws": 12}
    return {kind: make_run(kind, **small) for kind in ("sigmoidal", "relu", "linear", "lazy")}


def test_saturating_units_are_sorted_by_code_then_activity() -> None:
    rng = np.random.default_rng(0)
    phi = rng.random((50, 8))
    means = class_means(phi, LABELS)
    bits = codes(means, "half")
    order = unit_order(phi, means, bits, "sigmoidal")
    assert sorted(order) == list(range(50))
    value = bits[order] @ np.array([4, 2, 1])
    assert np.all(np.diff(value) <= 0)
    activity = phi[order].mean(axis=1)
    assert np.all(np.diff(activity)[np.diff(value) == 0] <= 0)


def test_rectified_units_are_sorted_by_energy_and_others_by_the_first_class() -> None:
    phi = np.random.default_rng(1).normal(size=(20, 8))
    means = class_means(phi, LABELS)
    by_energy = unit_order(phi, means, means > 0, "relu")
    assert np.all(np.diff((phi[by_energy] ** 2).sum(axis=1)) <= 0)
    by_class = unit_order(phi, means, means > 0, "linear")
    assert np.all(np.diff(means[by_class, 0]) <= 0)


def test_the_learned_kernel_is_the_mean_over_chains(runs: dict[str, xr.DataTree]) -> None:
    phi = runs["relu"]["final"]["activations"].values[1, :, 0]
    expected = np.mean([p.T @ p / p.shape[0] for p in phi], axis=0)
    np.testing.assert_allclose(learned_kernel(runs["relu"], seed=1), expected, rtol=1e-12)


def test_kernel_panels_share_one_color_scale(runs: dict[str, xr.DataTree]) -> None:
    for panel in kernels(runs).subfigs:
        prior, learned = (axes.images[0] for axes in panel.axes[:2])
        assert prior.get_clim() == learned.get_clim()
        assert prior.get_array().shape == (16, 16)


def test_activation_panels_show_every_unit(runs: dict[str, xr.DataTree]) -> None:
    figure = activations(runs)
    for panel, (kind, run) in zip(figure.subfigs, runs.items(), strict=True):
        shown = panel.axes[1 if kind == "relu" else 0].images[0].get_array()
        stored = run["final"]["activations"].values[0, 0, 0]
        np.testing.assert_array_equal(np.sort(shown, axis=0), np.sort(stored, axis=0))
        assert panel.axes[0].get_title(loc="left") == kind
    most_active = figure.subfigs[1].axes[0].images[0].get_array()
    assert most_active.shape == (9, 16)


def test_the_readout_histogram_has_unit_area(runs: dict[str, xr.DataTree]) -> None:
    figure = readouts({"sigmoidal": runs["sigmoidal"]})
    assert len(figure.axes) == 3
    for axes in figure.axes:
        area = sum(patch.get_width() * patch.get_height() for patch in axes.patches)
        assert area == pytest.approx(1.0, abs=1e-9)
        x, density = axes.lines[0].get_data()
        # The prior's density over at least three standard deviations: 0.9973 of its mass, by the trapezoidal rule.
        assert np.trapezoid(density, x) > 0.99


def test_the_prior_of_stored_readouts_in_the_standard_parameterization(make_run: MakeRun) -> None:
    run = make_run("linear", width=20, n_train=16, n_draws=4)
    mean_field = prior_readout_scale(run)
    run.attrs["model"] = run.attrs["model"].replace("mean_field", "standard")
    assert prior_readout_scale(run) == pytest.approx(mean_field / np.sqrt(20))


def test_the_least_mixed_member_of_a_family_is_shown(make_run: MakeRun) -> None:
    run = make_run(n_draws=20)
    run["posterior"]["kernel_blocks"][0, :, :, 0, 2, 1] += 10.0 * np.arange(4)[:, None]
    shown = {series.name: series.values for series in main_invariants(run, 0)}
    np.testing.assert_array_equal(
        shown["kernel, layer 1\nclasses 1, 2"], run["posterior"]["kernel_blocks"].values[0, :, :, 0, 2, 1]
    )
    assert len(shown) == 5


def test_spread_of_chains_that_stand_still() -> None:
    assert spread(np.array([[1.0, 1.0], [2.0, 2.0]])) == 1.0
    assert spread(np.ones((2, 3))) == 0.0


def test_rank_histograms_count_every_draw(runs: dict[str, xr.DataTree]) -> None:
    figure = chains(runs["sigmoidal"])
    for axes in figure.axes[1::2]:
        counts = [patch.get_data().values.sum() for patch in axes.patches]
        assert counts == [12] * 4


def test_code_bars(runs: dict[str, xr.DataTree]) -> None:
    figure = code_shares({"a": [("01", 0.75, 0.1), ("10", 0.25, 0.1)], "b": []})
    assert [patch.get_width() for patch in figure.axes[0].patches] == [75.0, 25.0]
    assert [text.get_text() for text in figure.axes[1].texts] == ["no codes"]


def test_figures_leave_matplotlib_as_it_was(runs: dict[str, xr.DataTree]) -> None:
    before = {key: rcParams[key] for key in STYLE}
    assert png(kernels(runs), dpi=20).startswith(b"\x89PNG")
    assert {key: rcParams[key] for key in STYLE} == before
    assert plt.get_fignums() == []


def test_labels_are_not_markup(runs: dict[str, xr.DataTree]) -> None:
    figure = kernels({"$\\frac{$": runs["sigmoidal"]})
    assert png(figure, dpi=20)


def test_chains_that_left_the_finite_numbers_are_not_drawn(make_run: MakeRun) -> None:
    run = make_run(width=20, n_train=12, n_draws=8)
    run["posterior"]["train_loss"][0, 0, 5] = np.nan
    run["units"]["readout"][0, 0] = np.nan
    run["final"]["activations"][0, 0] = np.nan
    drawn = [activations({"a": run}), kernels({"a": run}), readouts({"a": run}), chains(run)]
    assert all(png(figure, dpi=20) for figure in drawn)
    run["sample_stats"]["finite"][:] = False
    drawn = [activations({"a": run}), kernels({"a": run}), readouts({"a": run}), chains(run)]
    assert all(png(figure, dpi=20) for figure in drawn)
