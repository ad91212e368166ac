import json

import arviz as az
import numpy as np
import pytest
import xarray as xr
from scipy import stats
from synthetic_run import replace, synthetic_run

from hiddencodes.diagnostics import convergence
from hiddencodes.diagnostics.sampler_health import bfmi


def row(report, name, seed=0):
    return next(r for r in report.table if (r.variable, r.seed) == (name, seed))


def edited(run: xr.DataTree, group: str, name: str, change) -> xr.DataTree:
    values = run[group][name].values.copy()
    change(values)
    return replace(run, group, name, values)


def test_independent_draws_converge():
    """8 chains of 1000 independent draws. R-hat - 1 = sum over 16 half-chains of chi^2 / (2 * 500 * 15): for 100
    entries its largest is near 1 + 40 / 15000, far below 1.01."""
    report = convergence(synthetic_run(chains=8, draws=1000))
    assert report.ok
    assert report.reasons == ()
    assert report.verdict.startswith("converged: worst R-hat 1.00")
    assert report.verdict.endswith("0 divergences; agreement of 8 independent starts (prior draws)")
    assert "equilibrated" not in report.verdict
    assert row(report, "kernel_blocks").entries == 4
    assert row(report, "residual_multiplier").entries == 12


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_numbers_are_those_of_arviz(correlation):
    run = synthetic_run(seeds=2, chains=4, draws=300, correlation=correlation, superchain=[0, 0, 1, 1])
    report = convergence(run)
    posterior = run["posterior"].to_dataset()
    dims = ["chain", "draw"]
    rhat = az.rhat(posterior, sample_dims=dims)
    nested = az.rhat_nested(posterior, sample_dims=dims, superchain_ids=np.array([0, 0, 1, 1]))
    bulk = az.ess(posterior, sample_dims=dims, method="bulk")
    tail = az.ess(posterior, sample_dims=dims, method="tail", prob=(0.05, 0.95))
    mcse = az.mcse(posterior, sample_dims=dims, method="mean")
    for name in posterior:
        for s in (0, 1):
            found = row(report, name, s)
            assert found.rhat.value == pytest.approx(rhat[name].isel(seed=s).values.max())
            assert found.nested_rhat.value == pytest.approx(nested[name].isel(seed=s).values.max())
            assert found.ess_bulk.value == pytest.approx(bulk[name].isel(seed=s).values.min())
            assert found.ess_tail.value == pytest.approx(tail[name].isel(seed=s).values.min())
            assert found.mcse.value == pytest.approx(mcse[name].isel(seed=s).values.max())
    assert report.sampler.bfmi["seed 1 chain 2"] == pytest.approx(
        bfmi(run["sample_stats"]["energy"].values)[1, 2]
    )


def test_bfmi_is_that_of_arviz():
    energy = np.random.default_rng(0).standard_normal((3, 50))
    data = az.from_dict({"posterior": {"x": energy}, "sample_stats": {"energy": energy}})
    np.testing.assert_allclose(bfmi(energy), np.ravel(az.bfmi(data)["energy"].values))


def test_a_shifted_chain_is_found_and_its_entry_named():
    def shift(values):
        values[1, 2, :, 0, 1, 0] += 1.0

    report = convergence(edited(synthetic_run(seeds=2), "posterior", "kernel_blocks", shift))
    assert not report.ok
    assert report.verdict.startswith("NOT converged: R-hat 1.")
    assert "> 1.01 for kernel_blocks[seed=1, layer=1, class=c1, class_2=0]" in report.verdict
    assert row(report, "kernel_blocks", 0).rhat.value < 1.01


def test_a_chain_with_another_spread_is_found_although_means_agree():
    def widen(values):
        values[0, 0] *= 3

    report = convergence(edited(synthetic_run(), "posterior", "train_loss", widen))
    assert "train_loss[seed=0]" in report.verdict
    assert not report.ok


def test_slow_chains_have_too_few_effective_draws():
    report = convergence(synthetic_run(correlation=0.98, draws=500))
    # tau = (1 + 0.98) / (1 - 0.98) = 99: about 20 effective draws of 2000.
    assert not report.ok
    assert row(report, "train_loss").ess_bulk.value < 100
    assert any(reason.startswith("bulk ESS") for reason in report.reasons)


@pytest.mark.parametrize("where", ["posterior", "sample_stats"])
def test_a_chain_that_left_the_finite_numbers_is_left_out_and_named(where):
    def spoil(values):
        values[0, 3, 17:] = np.nan if where == "posterior" else False

    run = edited(synthetic_run(chains=5), where, "train_loss" if where == "posterior" else "finite", spoil)
    report = convergence(run)
    assert len(report.excluded) == 1
    assert report.excluded[0].startswith("seed 0 chain 3 (non-finite")
    assert report.excluded[0].endswith("from draw 17)")
    assert not report.ok
    assert "left out: seed 0 chain 3" in report.verdict
    kept = run["posterior"]["train_loss"].isel(seed=0, chain=[0, 1, 2, 4]).to_dataset()
    assert row(report, "train_loss").rhat.value == pytest.approx(az.rhat(kept)["train_loss"].item())
    tolerated = convergence(run, excluded_max=1)
    assert tolerated.ok
    assert "left out: seed 0 chain 3" in tolerated.verdict


def test_constant_variables_are_named_and_do_not_decide():
    def flatten(values):
        values[:] = 0.3

    report = convergence(edited(synthetic_run(), "posterior", "kernel_diagonal", flatten))
    assert report.ok
    assert "constant: kernel_diagonal" in report.verdict
    assert row(report, "kernel_diagonal").constant == 2
    assert np.isnan(row(report, "kernel_diagonal").rhat.value)
    json.dumps(report.to_dict(), allow_nan=False)


def test_one_constant_entry_does_not_hide_the_others():
    def flatten(values):
        values[:, :, :, 0, 0, 0] = 0.0

    report = convergence(edited(synthetic_run(), "posterior", "kernel_blocks", flatten))
    assert report.ok
    assert (row(report, "kernel_blocks").constant, row(report, "kernel_blocks").assessed) == (1, 3)


def test_chains_frozen_at_different_values_do_not_converge():
    def freeze(values):
        values[:] = np.arange(4)[:, None]

    report = convergence(edited(synthetic_run(), "posterior", "log_density", freeze))
    assert not report.ok
    assert row(report, "log_density").frozen == 1
    assert "R-hat inf > 1.01 for log_density[seed=0]" in report.verdict
    json.dumps(report.to_dict(), allow_nan=False)


def test_one_frozen_chain_among_moving_ones_does_not_converge():
    def freeze(values):
        values[0, 1] = 4.0

    report = convergence(edited(synthetic_run(), "posterior", "log_density", freeze))
    assert not report.ok
    assert "log_density[seed=0]" in report.verdict


def test_a_run_in_which_nothing_moves_is_not_assessable():
    run = synthetic_run()
    for name in run["posterior"].data_vars:
        run = replace(run, "posterior", name, np.ones(run["posterior"][name].shape))
    report = convergence(run)
    assert not report.ok
    assert not report.assessable
    assert "no variable changes" in report.verdict


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"chains": 1}, "1 healthy chains from 1 starts"),
        ({"draws": 3}, "3 draws per chain, at least 4"),
        ({"superchain": [0, 0, 0, 0]}, "4 healthy chains from 1 starts"),
    ],
)
def test_too_little_to_say(options, reason):
    report = convergence(synthetic_run(**options))
    assert not report.ok
    assert report.verdict.startswith("not assessable: ")
    assert reason in report.verdict
    json.dumps(report.to_dict(), allow_nan=False)


def test_nested_rhat_sees_superchains_that_disagree():
    """A small shift between superchains of many chains: nested R-hat compares superchain means."""

    def shift(values):
        values[0, :4] += 0.4

    run = synthetic_run(chains=8, superchain=[0, 0, 0, 0, 1, 1, 1, 1])
    report = convergence(edited(run, "posterior", "train_loss", shift))
    # B = 0.4^2 / 2 against W = 1: sqrt(1.08) = 1.039; rank normalization and 8000 draws move it by less than 0.01.
    assert row(report, "train_loss").nested_rhat.value == pytest.approx(np.sqrt(1.08), abs=0.01)
    assert "agreement of" not in report.verdict
    assert report.starts.startswith("2 independent starts")


def nested_rhat_by_hand(x: np.ndarray, superchain: list[int]) -> float:
    """Eqs. 6-8 of arXiv 2110.13017 for (chain, draw), of the ranks of half chains and of their distances to the median."""
    half = x.shape[1] // 2

    def of(values: np.ndarray) -> float:
        ranks = stats.rankdata(values).reshape(values.shape)
        z = stats.norm.ppf((ranks - 3 / 8) / (values.size + 1 / 4))
        means, within = [], []
        for k in set(superchain):
            halves = [h for c, row in enumerate(z) if superchain[c] == k for h in (row[:half], row[half:])]
            mean = sum(h.mean() for h in halves) / len(halves)
            spread = sum((h.mean() - mean) ** 2 for h in halves) / (len(halves) - 1)
            variance = sum(((h - h.mean()) ** 2).sum() / (half - 1) for h in halves) / len(halves)
            means.append(mean)
            within.append(spread + variance)
        grand = sum(means) / len(means)
        between = sum((mean - grand) ** 2 for mean in means) / (len(means) - 1)
        return (1 + between / (sum(within) / len(within))) ** 0.5

    return max(of(x), of(np.abs(x - np.median(x))))


@pytest.mark.parametrize("superchain", [[0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2], [0, 1, 2, 3, 4, 5]])
@pytest.mark.parametrize("disagreement", ["none", "level", "spread"])
def test_nested_rhat_is_that_of_its_paper(superchain, disagreement):
    def disagree(values):
        for c, k in enumerate(superchain):
            values[0, c] = values[0, c] * (1 + (disagreement == "spread") * k) + (disagreement == "level") * k

    run = edited(
        synthetic_run(chains=6, draws=100, correlation=0.5, superchain=superchain),
        "posterior",
        "train_loss",
        disagree,
    )
    expected = nested_rhat_by_hand(run["posterior"]["train_loss"].values[0], superchain)
    assert row(convergence(run), "train_loss").nested_rhat.value == pytest.approx(expected, rel=1e-12)
    assert (expected > 1.1) == (disagreement != "none")


def test_superchains_that_disagree_although_each_agrees_with_itself():
    """Four starts, each with a level of its own that its four chains share, small against the spread of the draws.

    Every superchain alone converges. Levels 0, d, 2d, 3d have the variance 5 d^2 / 3 between them: with d = 0.2 nested R-hat
    is sqrt(1 + 0.067) = 1.033.
    """
    superchain = np.repeat(np.arange(4), 4)
    shift = lambda values: np.add(values, 0.2 * superchain[None, :, None], out=values)
    run = edited(synthetic_run(chains=16, superchain=superchain.tolist()), "posterior", "train_loss", shift)
    for k in range(4):
        of_one = xr.DataTree.from_dict(
            {"/posterior": run["posterior"].to_dataset().isel(chain=superchain == k)}
        )
        assert convergence(of_one).ok
    report = convergence(run)
    # The mean of a superchain has the variance 1/4000, the variance of four levels then the error
    # (4 x 0.067 / (3 x 4000))^(1/2) = 0.005, and nested R-hat 0.0023.
    assert row(report, "train_loss").nested_rhat.value == pytest.approx((1 + 0.0667) ** 0.5, abs=5 * 0.0023)
    assert any(reason.startswith("nested R-hat") and "train_loss" in reason for reason in report.reasons)
    assert not report.ok


def test_unequal_superchains_are_cut_to_equal_size():
    run = synthetic_run(chains=5, superchain=[7, 7, 7, 3, 3])
    found = row(convergence(run), "train_loss").nested_rhat.value
    loss = run["posterior"]["train_loss"].isel(seed=0, chain=[3, 4, 0, 1]).to_dataset()
    expected = az.rhat_nested(loss, superchain_ids=np.array([0, 0, 1, 1]))["train_loss"].item()
    assert found == pytest.approx(expected)


def test_divergences_fail_and_low_bfmi_is_a_caution():
    def diverge(values):
        values[0, 0, :2] = True

    def drift(values):
        values[0, 1] = np.cumsum(values[0, 1])

    run = edited(synthetic_run(), "sample_stats", "diverging", diverge)
    assert "2 divergences" in convergence(run).reasons
    assert convergence(run, divergences_max=2).ok
    slow = convergence(edited(synthetic_run(), "sample_stats", "energy", drift))
    assert slow.ok
    assert "BFMI" in slow.verdict
    assert "(seed 0 chain 1)" in slow.verdict


def test_lane_statistics():
    def uneven(values):
        values[0] = np.array([10, 20, 30, 40])[:, None]

    report = convergence(edited(synthetic_run(), "sample_stats", "n_steps", uneven))
    assert report.sampler.gradients_per_draw == {"0": 25}
    assert report.sampler.idle["0"] == pytest.approx(1 - 25 / 40)
    assert report.sampler.acceptance["0"] == pytest.approx(0.8)


def test_without_sampler_statistics():
    run = synthetic_run()
    bare = xr.DataTree.from_dict({"/posterior": run["posterior"].to_dataset()})
    report = convergence(bare)
    assert report.ok
    assert report.sampler.divergences is None
    assert "divergences" not in report.verdict
    assert report.starts == "4 independent starts"


def test_the_screen_keeps_the_worst_entries():
    """400 entries of which one is shifted: it is among the few that are assessed in full."""

    def shift(values):
        values[0, 0, :, 137, 1] += 1.0

    run = edited(synthetic_run(patterns=200, draws=200), "posterior", "residual_multiplier", shift)
    found = row(convergence(run, max_entries=5), "residual_multiplier")
    assert (found.entries, found.assessed) == (400, 5)
    assert found.rhat.entry == "residual_multiplier[seed=0, pattern=137, output=1]"


def test_single_precision_and_errors():
    run = synthetic_run(draws=200)
    for name in run["posterior"].data_vars:
        run = replace(run, "posterior", name, run["posterior"][name].values.astype(np.float32))
    assert convergence(run, ess_min=100, rhat_max=1.1).ok
    with pytest.raises(ValueError, match=r"rhat_max: 0\.9"):
        convergence(run, rhat_max=0.9)
    with pytest.raises(ValueError, match="no group 'posterior'"):
        convergence(xr.DataTree())
    with pytest.raises(ValueError, match="no dimension 'seed'"):
        convergence(
            xr.DataTree.from_dict({"/posterior": xr.Dataset({"x": (("chain", "draw"), np.ones((2, 5)))})})
        )
