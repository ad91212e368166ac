import numpy as np
import pytest
from synthetic_run import replace, synthetic_run

from hiddencodes.diagnostics import convergence


def frozen(run, chain: int, start: int):
    """Every observable of one chain stays at its median over the run from a draw on."""
    for name in run["posterior"].data_vars:
        values = run["posterior"][name].values.copy()
        values[0, chain, start:] = np.median(values[0], axis=(0, 1))
        run = replace(run, "posterior", name, values)
    return run


def accepting(run, chain: int, rate: float):
    values = run["sample_stats"]["acceptance_rate"].values.copy()
    values[0, chain] = rate
    return replace(run, "sample_stats", "acceptance_rate", values)


@pytest.mark.parametrize(("chains", "start"), [(4, 0), (16, 0), (64, 0), (4, 900), (16, 900), (64, 900)])
def test_a_chain_that_stops_at_the_median_is_named(chains, start):
    run = synthetic_run(chains=chains, draws=1000, patterns=1, test_patterns=1)
    report = convergence(frozen(run, 3, start))
    assert not report.ok
    assert report.assessable
    assert f"stuck: seed 0 chain 3 did not move from draw {start} on" in report.reasons


def test_a_rest_in_the_middle_is_named_and_short_ones_are_not():
    run = synthetic_run(draws=1000)
    values = run["posterior"]["log_density"].values.copy()
    values[0, 1, 300:400] = 0.0
    report = convergence(replace(run, "posterior", "log_density", values))
    assert "stuck: seed 0 chain 1 did not move from draw 300 to 399" in report.reasons
    values = run["posterior"]["log_density"].values.copy()
    values[0, 1, 300:399] = values[0, 1, 300]
    assert convergence(replace(run, "posterior", "log_density", values)).ok


def test_a_chain_that_hardly_accepts_is_named():
    report = convergence(accepting(synthetic_run(), 2, 0.05))
    assert report.reasons == ("stuck: seed 0 chain 2 has mean acceptance rate 0.05 < 0.1",)
    assert convergence(accepting(synthetic_run(), 2, 0.2)).ok


def test_where_every_chain_is_constant_none_is_called_stuck():
    run = synthetic_run()
    for name in run["posterior"].data_vars:
        run = replace(run, "posterior", name, np.ones(run["posterior"][name].shape))
    report = convergence(run)
    assert not report.assessable
    assert report.reasons == ("no variable changes along the chains",)
