"""What the coding-schemes sections measure, on runs whose answer is known, and the section that samples nothing."""

import jax
import numpy as np
import pytest
import xarray as xr

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Settings
from hiddencodes.benchmarks.papers.coding_schemes import REPRODUCTION, tables
from hiddencodes.benchmarks.papers.coding_schemes.measurements import (
    Measured,
    at_infinite_width,
    branch_means,
    class_multiplier,
    mean_of,
    saddle_of,
    targets_by_class,
)
from hiddencodes.benchmarks.papers.coding_schemes.relu_outliers import (
    amplitude,
    bulk_means,
    exponent,
    outlier_counts,
    stay,
)

CHAINS, DRAWS, UNITS = 4, 50, 12


def run_of(class_means: np.ndarray, readout: np.ndarray, multiplier: np.ndarray | None = None) -> xr.DataTree:
    """A run with given units (chain, draw, class, unit), (chain, draw, output, unit) and multipliers (chain, draw, pattern, output)."""
    lead = ("seed", "chain", "draw")
    t = np.zeros((*class_means.shape[:2], 4, 3)) if multiplier is None else multiplier
    return xr.DataTree.from_dict(
        {
            "/posterior": xr.Dataset({"residual_multiplier": ((*lead, "pattern", "output"), t[None])}),
            "/units": xr.Dataset(
                {
                    "class_means": ((*lead, "layer", "class", "unit"), class_means[None, :, :, None]),
                    "readout": ((*lead, "output", "unit"), readout[None]),
                }
            ),
            "/constant_data": xr.Dataset({"labels_train": (("seed", "pattern"), [[0, 0, 1, 2]])}),
        }
    )


def test_extrapolation_removes_a_correction_of_order_one_over_n():
    truth, slope = np.array([2.0, -1.0]), np.array([5.0, 3.0])
    narrow = Measured(truth + slope / 50, np.array([0.1, 0.1]))
    wide = Measured(truth + slope / 200, np.array([0.2, 0.0]))
    found = at_infinite_width(narrow, wide, 50, 200)
    np.testing.assert_allclose(found.mean, truth, rtol=1e-12)
    # x = (4 wide - narrow)/3, the two runs independent.
    np.testing.assert_allclose(found.error, [np.hypot(4 * 0.2, 0.1) / 3, 0.1 / 3], rtol=1e-12)


def test_multiplier_is_averaged_within_classes():
    t = np.broadcast_to(np.array([[1.0, 0, 0], [3.0, 0, 0], [5.0, 1, 0], [7.0, 0, 2]]), (CHAINS, DRAWS, 4, 3))
    run = run_of(np.zeros((CHAINS, DRAWS, 3, 2)), np.zeros((CHAINS, DRAWS, 3, 2)), t)
    np.testing.assert_allclose(class_multiplier(run).mean, [[2.0, 0, 0], [5.0, 1, 0], [7.0, 0, 2]])


def test_branches_are_told_apart_by_code():
    rng = np.random.default_rng(0)
    means = np.zeros((CHAINS, DRAWS, 3, UNITS))
    readout = np.zeros((CHAINS, DRAWS, 3, UNITS))
    # Nine units of code 011 with readouts around (-1, 1, 1), three of code 100 around (2, 0, 0).
    means[..., 1:, :9] = 0.9
    means[..., 0, 9:] = 0.8
    readout[..., 0, :9], readout[..., 1:, :9] = -1.0, 1.0
    readout[..., 0, 9:] = 2.0
    readout += 0.1 * rng.standard_normal(readout.shape)
    share, center, spread = branch_means(run_of(means, readout), ["011", "100"])
    np.testing.assert_allclose(share.mean, [0.75, 0.25])
    expected = np.array([[-1.0, 1.0, 1.0], [2.0, 0.0, 0.0]])
    # Independent draws: standard errors 0.1/sqrt(units x draws x chains); five of them, twelve numbers.
    assert np.all(np.abs(center.mean - expected) < 5 * 0.1 / np.sqrt(3 * DRAWS * CHAINS))
    assert np.all(np.abs(spread.mean - 0.1) < 5 * 0.1 / np.sqrt(2 * 3 * DRAWS * CHAINS))
    assert np.all(spread.error > 0)


def outlier_run(width: int, shared: int) -> xr.DataTree:
    """A dim bulk, and one outlier of code 100 whose amplitude 0.8 sqrt(N) is shared by so many units."""
    rng = np.random.default_rng(width)
    readout = 0.1 * rng.standard_normal((CHAINS, DRAWS, 3, width))
    means = np.full((CHAINS, DRAWS, 3, width), 0.4)
    readout[..., :shared] = 0.0
    readout[..., 0, :shared] = 0.8 * np.sqrt(width / shared)
    means[..., 0, :shared] = 10.0
    means[..., 1:, :shared] = 0.0
    return run_of(means, readout)


@pytest.mark.parametrize("shared", [1, 3])
def test_amplitude_of_a_code_does_not_depend_on_how_many_units_share_it(shared):
    run = outlier_run(200, shared)
    np.testing.assert_allclose(amplitude(run, ["100"]).mean, [0.8 * np.sqrt(200)], rtol=1e-12)
    assert outlier_counts(run, ["100", "010"]) == {"100": shared, "010": 0.0}
    assert stay(run, ["100", "010"]) == 1.0
    readout, activity = bulk_means(run)
    assert np.all(np.abs(readout.mean) < 5 * 0.1 / np.sqrt((200 - shared) * DRAWS * CHAINS))
    np.testing.assert_allclose(activity.mean, 0.4, rtol=1e-12)
    moved = np.asarray(run["units"]["readout"].values)
    moved[:, :, -1] = np.roll(moved[:, :, -1], shared, axis=-1)
    assert stay(run, ["100"]) == 0.0


def test_exponent_of_a_power_law_with_a_correction():
    n = np.array([50.0, 100, 200, 800])
    size = 3.0 * n**0.4 * np.exp(2.0 / n)
    found, error = exponent(n, size, 0.01 * size)
    assert found == pytest.approx(0.4, abs=1e-9)
    # Scatter of the fit over noisy repetitions, against the error it states: a standard deviation from 400, five errors.
    rng = np.random.default_rng(0)
    fits = [exponent(n, size * np.exp(0.01 * rng.standard_normal(4)), 0.01 * size)[0] for _ in range(400)]
    assert np.std(fits) == pytest.approx(error, rel=5 / np.sqrt(800))


def test_the_theory_of_a_posterior_is_that_of_its_task():
    task = hc.orthogonal_classes(12, y_minus=0.5, kappa=2.0)
    np.testing.assert_array_equal(targets_by_class(task), np.where(np.eye(3) > 0, 1.0, 0.5))
    mlp = hc.MLP(task.n_inputs, 3, 20, 1, hc.sigmoidal, hc.mean_field)
    posterior = hc.Posterior(mlp, task, hc.GaussianPrior(readout_scale=2.0), n_temperature=0.1)
    found = saddle_of(posterior)
    same = hc.single_unit_saddle(
        hc.sigmoidal,
        (6, 3, 3),
        targets_by_class(task),
        readout_variance=4 / 12,
        n_temperature=0.1,
        input_variance=2.0,
    )
    np.testing.assert_allclose(found.multiplier, same.multiplier, rtol=1e-9)


def test_mean_of_takes_the_spread_between_chains_into_account():
    frozen = np.repeat(np.array([1.0, 2.0, 3.0, 6.0])[:, None], DRAWS, axis=1)
    found = mean_of(frozen)
    assert (float(found.mean), float(found.error)) == pytest.approx((3.0, np.std([1, 2, 3, 6], ddof=1) / 2))


@pytest.mark.slow
def test_the_theory_alone_gives_the_known_numbers(tmp_path):
    with jax.enable_x64(True):
        section = tables.limits_and_poster(Settings(quick=True, folder=tmp_path))
    # The poster's shares are those of one frozen chain.
    assert [c.name for c in section.claims if c.verdict != "holds"] == ["poster-shares"]
    assert len(section.claims) >= 10


def test_every_section_has_a_headline():
    assert len(REPRODUCTION.sections) >= 6
    assert all((section.__doc__ or "").strip() for section in REPRODUCTION.sections)
