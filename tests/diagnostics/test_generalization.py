"""Bias and variance of made-up predictions whose parts are known."""

import json

import numpy as np
import pytest
import xarray as xr
from synthetic_run import LEADING, autoregressive

from hiddencodes.diagnostics.error_split import PARTS, compare_bias_variance
from hiddencodes.diagnostics.generalization import bias_variance

BIAS, BETWEEN, WITHIN, READOUT = 0.5, 0.3, 0.2, 0.7


def run_of_predictions(f: np.ndarray, y: np.ndarray, **more: np.ndarray) -> xr.DataTree:
    """A run with predictions (seed, chain, draw, test_pattern, output) and targets (seed, test_pattern, output)."""
    dims = (*LEADING, "test_pattern", "output")
    variables = {"test_predictions": (dims, f)}
    variables |= {name: (dims[: np.ndim(value)], value) for name, value in more.items()}
    groups = {
        "/": xr.Dataset(attrs={"likelihood": "gaussian"}),
        "/posterior": xr.Dataset(variables, {"seed": np.arange(len(f)) + 3}),
        "/observed_data": xr.Dataset({"y_test": (("seed", "test_pattern", "output"), y)}),
    }
    return xr.DataTree.from_dict(groups)


def predictions(rng, seeds=1, chains=4, draws=200, patterns=30, correlation=0.8, between=BETWEEN):
    """Predictions with bias, an offset per chain and AR(1) noise; targets are zero. Two outputs."""
    shape = (seeds, chains, draws, patterns, 2)
    noise = np.sqrt(WITHIN) * autoregressive(rng, shape, correlation)
    offset = np.sqrt(between) * rng.standard_normal((seeds, chains, 1, patterns, 2))
    return BIAS + offset + noise, np.zeros((seeds, patterns, 2))


@pytest.mark.parametrize("chains", [1, 2, 5])
def test_the_parts_add_up(chains):
    f, y = predictions(np.random.default_rng(0), seeds=2, chains=chains, draws=50)
    report = bias_variance(run_of_predictions(f, y))
    for s, split in enumerate(report.by_seed):
        assert split.seed == s + 3
        assert split.total.value == pytest.approx((f[s] ** 2).mean(), rel=1e-12)
        assert split.total.value == pytest.approx(split.bias_squared.value + split.variance.value, rel=1e-12)
        if chains > 1:
            inside = split.within.value + split.between.value
            assert split.variance.value == pytest.approx(inside, rel=1e-12)
        assert np.isnan(split.between.value) == (chains == 1)
        assert np.isfinite(split.total.error) == (chains > 2)
    pooled = np.mean([split.total.value for split in report.by_seed])
    assert report.pooled.total.value == pytest.approx(pooled, rel=1e-12)
    json.dumps(report.to_dict(), allow_nan=False)


@pytest.mark.parametrize("between", [0.0, BETWEEN])
@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_no_bias_from_few_chains_and_draws(correlation, between):
    """Many short runs: the mean of every part is the truth, and the jackknife errors are those that the runs scatter by."""
    rng = np.random.default_rng(1)
    n_run = 60
    f, y = predictions(rng, n_run, 5, 400, 20, correlation, between)
    found = bias_variance(run_of_predictions(f, y)).by_seed
    truth = {"bias_squared": BIAS**2, "within": WITHIN, "between": between, "variance": WITHIN + between}
    truth |= {"total": BIAS**2 + WITHIN + between, "readout": 0.0}
    for name in PARTS:
        parts = [getattr(split, name) for split in found]
        values = np.array([part.value for part in parts])
        error = values.std(ddof=1) / np.sqrt(n_run)
        assert abs(values.mean() - truth[name]) <= 5 * error
        # The relative error of a standard deviation from 60 runs is 9 %, the jackknife's over 5 chains is 40 % per run.
        if name != "readout":
            claimed = np.sqrt(np.mean([part.error**2 for part in parts]))
            assert 0.6 < claimed / values.std(ddof=1) < 1.6
    assert abs(np.mean([s.bias_squared.value for s in found]) - BIAS**2) < 0.02


def test_effective_draws_of_autoregressive_noise():
    f, y = predictions(np.random.default_rng(2), draws=4000, correlation=0.8)
    split = bias_variance(run_of_predictions(f, y)).by_seed[0]
    # tau = (1 + c) / (1 - c) = 9; its relative error is (2 K / n)^(1/2) < 7 % per series, far less over 240 of them.
    assert split.effective_draws == pytest.approx(4 * 4000 / 9, rel=0.05)
    assert split.resolved
    short, y = predictions(np.random.default_rng(2), draws=40, correlation=0.8)
    assert not bias_variance(run_of_predictions(short, y)).by_seed[0].resolved


def test_frozen_chains_spread_between_them_only():
    offset = np.random.default_rng(3).standard_normal((1, 4, 1, 5, 2))
    f = np.broadcast_to(offset, (1, 4, 30, 5, 2)).copy()
    split = bias_variance(run_of_predictions(f, np.zeros((1, 5, 2)))).pooled
    assert split.within.value == 0
    assert split.between.value == pytest.approx(offset.var(1, ddof=1).mean())
    assert split.effective_draws == np.inf


def test_the_predictor_given_the_hidden_weights():
    rng = np.random.default_rng(4)
    g, y = predictions(rng, 30, 4, 200, 20)
    readout = rng.gamma(3.0, READOUT / 3, size=g.shape[:-1])
    f = g + np.sqrt(readout)[..., None] * rng.standard_normal(g.shape)
    report = bias_variance(
        run_of_predictions(f, y, conditional_test_predictions=g, conditional_test_variance=readout)
    )
    truth = {"bias_squared": BIAS**2, "readout": READOUT, "within": WITHIN, "between": BETWEEN}
    truth |= {"variance": READOUT + WITHIN + BETWEEN, "total": BIAS**2 + READOUT + WITHIN + BETWEEN}
    assert report.best is report.conditional_pooled
    for name, value in truth.items():
        values = np.array([getattr(split, name).value for split in report.conditional_by_seed])
        assert abs(values.mean() - value) < 5 * values.std(ddof=1) / np.sqrt(30)
        part = getattr(report.conditional_pooled, name)
        assert part.value == pytest.approx(values.mean())
        assert part.seed_error == pytest.approx(values.std(ddof=1) / np.sqrt(30))
    # The same bias and the same variance as without conditioning, whose inner part holds the readout's.
    plain = report.pooled
    for name in ("bias_squared", "variance", "total", "between"):
        one, other = getattr(plain, name), getattr(report.conditional_pooled, name)
        assert abs(one.value - other.value) < 5 * np.hypot(one.error, other.error)
    assert plain.within.value == pytest.approx(READOUT + WITHIN, rel=0.02)


def test_error_over_test_patterns():
    rng = np.random.default_rng(5)
    n_pattern, n_run = 40, 80
    y = rng.standard_normal((n_run, n_pattern, 1))
    f = np.broadcast_to(
        0.1 * rng.standard_normal((n_run, 1, 100, 1, 1)), (n_run, 4, 100, n_pattern, 1)
    ).copy()
    found = [split.total for split in bias_variance(run_of_predictions(f, y)).by_seed]
    # y^2 has variance 2; the sampled runs agree with it and with one another within the error of a standard deviation.
    claimed = np.sqrt(np.mean([part.pattern_error**2 for part in found]))
    assert claimed == pytest.approx(np.sqrt(2 / n_pattern), rel=0.25)
    assert np.std([part.value for part in found]) == pytest.approx(claimed, rel=5 / np.sqrt(2 * n_run))


def test_chains_that_left_the_finite_numbers_are_left_out():
    f, y = predictions(np.random.default_rng(6))
    f[0, 1, 7:] = np.nan
    report = bias_variance(run_of_predictions(f, y))
    assert report.excluded == ("seed 3 chain 1 (non-finite test_predictions from draw 7)",)
    assert report.pooled.total.value == pytest.approx((f[0, [0, 2, 3]] ** 2).mean())


def test_two_networks_beside_each_other():
    rng = np.random.default_rng(7)
    first, second = (bias_variance(run_of_predictions(*predictions(rng, between=b))) for b in (1.0, 0.0))
    found = compare_bias_variance(first, second, ("a", "b"))
    assert [row.name for row in found.rows] == list(PARTS)
    row = found.rows[PARTS.index("between")]
    assert row.first == first.pooled.between[:2]
    assert row.difference[0] == pytest.approx(second.pooled.between.value - first.pooled.between.value)
    assert row.difference[1] == pytest.approx(
        np.hypot(first.pooled.between.error, second.pooled.between.error)
    )
    assert abs(row.difference[0] + 1.0) < 5 * row.difference[1]
    assert len(found.text.splitlines()) == 1 + len(PARTS)
    json.dumps(found.to_dict(), allow_nan=False)


def test_errors():
    f, y = predictions(np.random.default_rng(8), draws=5)
    run = run_of_predictions(f, y)
    run.attrs["likelihood"] = "categorical"
    with pytest.raises(ValueError, match="likelihood 'categorical'"):
        bias_variance(run)
    with pytest.raises(ValueError, match="no variable 'test_predictions'"):
        bias_variance(
            run_of_predictions(f, y).map_over_datasets(
                lambda d: d.drop_vars("test_predictions", errors="ignore").assign(
                    x=(LEADING, np.zeros((1, 4, 5)))
                )
            )
        )
    with pytest.raises(ValueError, match="no healthy chain"):
        bias_variance(run_of_predictions(np.where(np.arange(5)[:, None, None] > 2, np.inf, f), y))
