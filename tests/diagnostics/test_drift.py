import json

import numpy as np
import populations as pop
import pytest
from layouts import Layout, prior_moments
from synthetic_run import run_of_units

from hiddencodes.diagnostics import autocorrelation, code_changes, codes, drift

LAYOUT = Layout(60, (0.5, 0.25, 0.25), 0.0)
PRIOR = prior_moments("sigmoidal", np.eye(60), LAYOUT)
FLIP = 0.05


def hopping(rng, chains: int, draws: int, units: int) -> np.ndarray:
    """Class means (chain, draw, unit, class) of units that hop between 100 and 011 with probability FLIP per draw."""
    start = rng.integers(2, size=(chains, 1, units))
    flips = np.cumsum(rng.random((chains, draws - 1, units)) < FLIP, axis=1)
    state = np.concatenate([start, start + flips], axis=1) % 2
    return np.where(state[..., None] == 1, [0.9, 0.1, 0.1], [0.1, 0.9, 0.9])


@pytest.mark.parametrize("thin", [1, 5])
def test_changes_of_hopping_units(thin):
    means = hopping(np.random.default_rng(0), 4, 1000, 50)[:, ::thin]
    rate = code_changes(codes(means), thin)
    # A two-state chain differs after n draws with probability (1 - (1 - 2 q)^n) / 2.
    seen = (1 - (1 - 2 * FLIP) ** thin) / 2
    error = np.sqrt(seen * (1 - seen) / (means.shape[1] * 50)) * 1000 / thin
    assert (np.abs(rate - seen * 1000 / thin) < 5 * error).all()


def test_autocorrelation_of_hopping_units():
    means = hopping(np.random.default_rng(1), 16, 2000, 50)
    rho, error = autocorrelation(means, [0, 1, 10, 100])
    np.testing.assert_allclose(rho[0], 1)
    # t with 15 degrees of freedom instead of a Gaussian: z = 5 becomes 7.
    assert (np.abs(rho[1:] - (1 - 2 * FLIP) ** np.array([1, 10, 100])) < 7 * error[1:]).all()
    assert (error[1:] < 0.02).all()


def test_drift_of_a_run_with_a_frozen_and_a_drifting_layer():
    rng = np.random.default_rng(2)
    moving = hopping(rng, 4, 300, 40)
    frozen = np.repeat(pop.redundant(LAYOUT, 40, 4, rng)[:, None], 300, axis=1)
    run = run_of_units(
        np.stack([moving, frozen], axis=2)[None], [PRIOR, PRIOR], activation="sigmoidal", thin=2
    )
    report = drift(run, lags=(1, 10, 500))
    first, second = report.rows
    assert (first.layer, second.layer) == (1, 2)
    assert sorted(first.autocorrelation) == [2, 20]
    assert abs(first.changes - FLIP * 500) < 5 * np.sqrt(FLIP / (4 * 299 * 40)) * 500
    assert second.changes == 0
    assert second.autocorrelation[20][0] == pytest.approx(1)
    json.dumps(report.to_dict(), allow_nan=False)


def test_constant_units_and_single_draws_are_unknown():
    rho, _ = autocorrelation(np.full((2, 5, 4, 3), 0.3), [1])
    assert np.isnan(rho).all()
    run = run_of_units(np.full((1, 2, 1, 1, 4, 3), 0.3), [PRIOR], activation="sigmoidal")
    row = drift(run).rows[0]
    assert np.isnan(row.changes)
    assert row.autocorrelation == {}


def test_errors():
    with pytest.raises(ValueError, match="thin: 0"):
        code_changes(np.zeros((2, 3, 2), bool), 0)
    with pytest.raises(ValueError, match="lags: 5, the chains have 5 draws"):
        autocorrelation(np.ones((1, 5, 3, 2)), [5])
