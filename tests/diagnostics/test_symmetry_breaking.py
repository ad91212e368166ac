"""Symmetry breaking of made-up units whose memory is known in closed form."""

import json

import numpy as np
import pytest
from layouts import Layout, prior_moments
from synthetic_run import run_of_units

from hiddencodes.diagnostics.symmetry_breaking import symmetry_breaking
from hiddencodes.diagnostics.symmetry_report import Overlap, decide

LAYOUT = Layout(60, (0.5, 0.25, 0.25), 0.0)
PRIOR = prior_moments("sigmoidal", np.eye(60), LAYOUT)
CODES = np.array([[0.9, 0.1, 0.1], [0.1, 0.9, 0.9]])


def measure(means: np.ndarray, activation: str = "sigmoidal", **settings):
    """One seed from class means (chain, draw, unit, class), or several layers or seeds (all axes of a run)."""
    means = means if means.ndim == 6 else means[None, :, :, None]
    return symmetry_breaking(run_of_units(means, [PRIOR] * means.shape[3], activation=activation, **settings))


def hopping(rng, chains: int, draws: int, units: int, flip: float) -> np.ndarray:
    """Two-state units that flip with probability `flip` per draw; autocorrelation (1 - 2 flip)^lag."""
    start = rng.integers(2, size=(chains, 1, units))
    flips = np.cumsum(rng.random((chains, draws - 1, units)) < flip, axis=1)
    return CODES[np.concatenate([start, start + flips], axis=1) % 2]


def analog(rng, chains: int, draws: int, units: int, keep: float) -> np.ndarray:
    """Ornstein-Uhlenbeck class means of unit variance; autocorrelation keep^lag."""
    x = rng.standard_normal((chains, draws, units, 3))
    for t in range(1, draws):
        x[:, t] = keep * x[:, t - 1] + np.sqrt(1 - keep**2) * x[:, t]
    return x


def frozen(rng, chains: int, draws: int, units: int, noise: float) -> np.ndarray:
    state = CODES[rng.integers(2, size=(chains, 1, units))]
    return state + noise * rng.standard_normal((chains, draws, units, 3))


def block_correlation(keep: float, draws: int) -> tuple[float, float]:
    """Averages of keep^lag over pairs of draws: first and last third, and neighboring thirds (first two, last two)."""
    block = draws // 3
    t = np.arange(draws)
    rho = keep ** np.abs(t[:, None] - t[None, :])
    early, middle, late = t[:block], t[block : draws - block], t[-block:]
    far = rho[np.ix_(early, late)].mean()
    return far, (rho[np.ix_(early, middle)].mean() + rho[np.ix_(middle, late)].mean()) / 2


def assert_overlap(overlap, far: float, near: float):
    assert overlap.q_error < 0.1
    assert abs(overlap.q - far) < 5 * overlap.q_error
    assert abs(overlap.near - near) < 5 * overlap.near_error


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.3])
def test_units_that_keep_their_codes(noise):
    layer = measure(frozen(np.random.default_rng(0), 4, 300, 80, noise)).pooled[0]
    # Class means are 0.4 from their mean in every class.
    expected = 0.4**2 / (0.4**2 + noise**2)
    if noise:
        assert_overlap(layer.overlap, expected, expected)
    else:
        assert layer.overlap.q == pytest.approx(1)
        assert layer.changes == 0
    assert layer.verdict == "broken"
    # Noise of 0.3 crosses the threshold 0.4 away in a tenth of the draws: the units are broken but their codes flicker.
    assert layer.frozen == (noise < 0.1)
    assert layer.transitions.conserved


@pytest.mark.parametrize("thin", [1, 7])
def test_units_that_hop(thin):
    flip, draws = 0.03, 600
    report = measure(hopping(np.random.default_rng(1), 6, draws, 80, flip), thin=thin)
    layer = report.pooled[0]
    assert_overlap(layer.overlap, *block_correlation(1 - 2 * flip, draws))
    assert layer.verdict == "ergodic"
    assert not layer.frozen
    assert abs(layer.changes - 1000 * flip / thin) < 5 * layer.changes_error
    # All units carry a code in every draw.
    assert abs(layer.changes_per_run - flip * (draws - 1)) < 5 * layer.changes_error * thin * draws / 1000
    rho, error = layer.autocorrelation[10 * thin]
    assert abs(rho - (1 - 2 * flip) ** 10) < 7 * error
    found = layer.transitions
    assert found.codes in (("011", "100"), ("100", "011"))
    # After 599 draws half of the units have flipped an odd number of times.
    assert abs(found.stayed - 0.5) < 5 * 0.5 / np.sqrt(480)
    assert found.conserved


def test_hops_about_as_rare_as_the_run_is_long_are_undecided():
    draws = 400
    layer = measure(hopping(np.random.default_rng(2), 8, draws, 100, 0.5 / draws)).pooled[0]
    far, near = block_correlation(1 - 1 / draws, draws)
    assert_overlap(layer.overlap, far, near)
    assert layer.verdict == "undecided"
    assert "lengthen the run" in layer.reason
    # The memory falls by exp(-1/3) from near to far: e-fold in a run's length.
    assert layer.memory == pytest.approx(draws, rel=0.15)


@pytest.mark.parametrize(
    ("share", "verdict"), [(0.02, "ergodic"), (0.1, "ergodic"), (2.0, "undecided"), (30.0, "broken")]
)
def test_analog_units_are_judged_by_their_memory(share, verdict):
    """Memory of `share` runs: forgotten, fading, or not fading within the run, where analog units too keep their place."""
    draws = 600
    keep = np.exp(-1 / (share * draws))
    layer = measure(analog(np.random.default_rng(3), 4, draws, 100, keep), "linear").pooled[0]
    assert_overlap(layer.overlap, *block_correlation(keep, draws))
    assert layer.verdict == verdict


def test_half_of_the_units_frozen():
    rng = np.random.default_rng(4)
    means = np.concatenate([frozen(rng, 6, 600, 60, 0.0), hopping(rng, 6, 600, 60, 0.2)], axis=2)
    layer = measure(means).pooled[0]
    assert_overlap(layer.overlap, 0.5, 0.5)
    assert layer.verdict == "undecided"
    assert layer.reason == "a part of what tells the units apart is permanent"
    assert abs(layer.transitions.stayed - 0.75) < 5 * np.sqrt(0.25 * 0.5 / 720)


def test_few_frozen_outliers_over_a_bulk_that_drifts():
    rng = np.random.default_rng(5)
    means = 0.4 + 0.05 * analog(rng, 4, 600, 200, 0.9)
    for c in range(3):
        means[:, :, c, c] += 12.0
    layer = measure(means, "relu").pooled[0]
    assert layer.verdict == "broken"
    assert layer.frozen
    # Class fractions 1/2, 1/4, 1/4 weigh the outliers: (1 + 1/2 + 1/2)^2 / (1 + 1/4 + 1/4).
    assert layer.carriers == pytest.approx(8 / 3, rel=0.01)
    assert abs(layer.bulk.q - block_correlation(0.9, 600)[0]) < 5 * layer.bulk.q_error
    assert layer.bulk.q_error < 0.01
    assert "carried by 2.7 units, without outliers q_EA = " in layer.sentence
    assert layer.transitions.first[layer.transitions.codes.index("000")] == pytest.approx(197 / 200)


def test_a_silent_bulk_does_not_make_a_layer_frozen():
    rng = np.random.default_rng(5)
    means = 0.4 + 0.05 * analog(rng, 4, 60, 200, 0.0)
    for c in range(3):
        means[:, :, c, c] += 12.0
    # In one chain an outlier hands its code to another unit.
    means[0, 30:, 2, 2], means[0, 30:, 3, 2] = 0.4, 12.4
    layer = measure(means, "relu").pooled[0]
    # Two units of four chains with three outliers each.
    assert layer.changes_per_run == pytest.approx(2 / 12)
    assert not layer.frozen


def test_errors_are_the_scatter_of_independent_runs():
    rng = np.random.default_rng(6)
    draws, flip = 300, 1 / 300
    found = [measure(hopping(rng, 4, draws, 40, flip)).pooled[0].overlap for _ in range(60)]
    for name in ("q", "near", "later"):
        values = np.array([getattr(overlap, name) for overlap in found])
        claimed = np.array([getattr(overlap, f"{name}_error") for overlap in found])
        # The larger of two errors, so somewhat above; a scatter from 60 runs has an error of 9 %.
        assert 0.7 < np.sqrt((claimed**2).mean()) / values.std(ddof=1) < 1.6
    far, near = block_correlation(1 - 2 * flip, draws)
    for name, truth in (("q", far), ("near", near)):
        values = np.array([getattr(overlap, name) for overlap in found])
        assert abs(values.mean() - truth) < 5 * values.std(ddof=1) / np.sqrt(60)


def test_layers_and_seeds():
    rng = np.random.default_rng(7)
    layers = [[hopping(rng, 3, 300, 50, 0.1), frozen(rng, 3, 300, 50, 0.02)] for _ in range(2)]
    report = measure(np.stack([np.stack(seed, axis=2) for seed in layers]))
    assert [(row.layer, row.seed, row.verdict) for row in report.rows] == [
        (1, 0, "ergodic"), (1, 1, "ergodic"), (2, 0, "broken"), (2, 1, "broken")
    ]  # fmt: skip
    assert [(row.layer, row.seed, row.verdict) for row in report.pooled] == [
        (1, None, "ergodic"), (2, None, "broken")
    ]  # fmt: skip
    pooled, parts = report.pooled[1], report.rows[2:]
    np.testing.assert_allclose(pooled.changes, np.mean([row.changes for row in parts]))
    total = sum(int(row.transitions.counts.sum()) for row in parts)
    assert total == pooled.transitions.counts.sum() == 2 * 3 * 50
    assert report.text.startswith("layer 1: ergodic: q_EA = ")
    assert "layer 2: broken: q_EA = 1 +- " in report.text
    json.dumps(report.to_dict(), allow_nan=False)


def test_chains_that_left_the_finite_numbers_are_left_out():
    means = frozen(np.random.default_rng(8), 3, 60, 30, 0.02)[None, :, :, None]
    finite = np.ones((1, 3, 60), bool)
    finite[0, 1, 20:] = False
    report = measure(means, finite=finite)
    assert report.excluded == ("seed 0 chain 1 (non-finite state from draw 20)",)
    assert report.pooled[0].transitions.counts.sum() == 60


def test_what_cannot_be_known_is_undecided():
    few = measure(frozen(np.random.default_rng(9), 3, 11, 30, 0.02)).pooled[0]
    assert (few.verdict, few.reason) == ("undecided", "11 stored draws, at least 12 are needed")
    single = measure(frozen(np.random.default_rng(9), 2, 1, 30, 0.02))
    assert single.pooled[0].verdict == "undecided"
    json.dumps(single.to_dict(), allow_nan=False)
    same = measure(np.full((2, 50, 10, 3), 0.3)).pooled[0]
    assert (same.verdict, same.reason) == ("undecided", "the units do not differ")
    assert decide(Overlap(0.5, 0.2, 0.5, 0.2, 0.5, 0.3), 100) == (
        "undecided",
        "too large an error: more chains or a longer run",
    )
    lonely = measure(frozen(np.random.default_rng(10), 1, 60, 1, 0.02)).pooled[0]
    assert lonely.verdict == "undecided"
