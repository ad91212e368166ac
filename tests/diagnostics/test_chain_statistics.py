"""Shared ranks against ArviZ's own functions, each by itself."""

import numpy as np
import pytest
from arviz_stats.base.array import array_stats
from hypothesis import given
from hypothesis import strategies as st

from hiddencodes.diagnostics.chain_statistics import assess


@given(
    seed=st.integers(0, 2**31),
    chains=st.integers(2, 7),
    draws=st.integers(4, 41),
    kind=st.sampled_from(["normal", "ties", "one still", "apart"]),
    starts=st.integers(2, 4),
)
def test_numbers_are_those_of_arviz(seed, chains, draws, kind, starts):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((chains, draws))
    if kind == "ties":
        x = np.round(x)
        x[0, 0] = 5.0  # not all alike
    if kind == "one still":
        x[0] = 0.25
    if kind == "apart":
        x[0] += 10.0
    superchain = rng.integers(starts, size=chains)
    superchain[:2] = 0, 1
    with np.errstate(divide="ignore", invalid="ignore"):
        found = assess(x, superchain)
        np.testing.assert_allclose(found.rhat, array_stats.rhat(x), rtol=1e-10)
        np.testing.assert_allclose(found.ess_bulk, array_stats.ess(x, method="bulk"), rtol=1e-8)
        np.testing.assert_allclose(found.ess_tail, array_stats.ess(x, method="tail", prob=(0.05, 0.95)))
        np.testing.assert_allclose(found.mcse_mean, array_stats.mcse(x, method="mean"))
        used = np.unique(superchain)
        size = min(np.sum(superchain == k) for k in used)
        members = np.concatenate([np.flatnonzero(superchain == k)[:size] for k in used])
        ids = np.repeat(np.arange(len(used)), size)
        np.testing.assert_allclose(
            found.nested_rhat, array_stats.rhat_nested(x[members], superchain_ids=ids), rtol=1e-10
        )


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_value_that_is_not_a_number_is_not_a_pass():
    x = np.random.default_rng(0).standard_normal((4, 50))
    x[1, 7] = np.nan
    assert np.all(np.isnan(assess(x, np.arange(4))))
