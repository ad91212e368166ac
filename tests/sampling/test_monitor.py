"""The R-hat of the progress bar against its formula on all draws at once."""

import arviz as az
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiddencodes.sampling.monitor import Monitor


def split_r_hat(x: np.ndarray) -> float:
    """Plain split R-hat of one scalar, (chain, draw)."""
    half = x.shape[1] // 2
    parts = np.concatenate([x[:, :half], x[:, half:]])
    within = parts.var(1, ddof=1).mean()
    between = half * parts.mean(1).var(ddof=1)
    return float(np.sqrt(((half - 1) / half * within + between / half) / within))


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), blocks=st.integers(1, 8).map(lambda k: 2 * k), shift=st.floats(-3, 3))
def test_sums_of_segments_give_the_r_hat_of_all_draws(seed, blocks, shift):
    x = np.random.default_rng(seed).standard_normal((1, 4, 5 * blocks))
    x[:, 0] += shift
    monitor = Monitor()
    for part in np.split(x, blocks, axis=2):
        monitor.add({"x": part})
    assert monitor.worst() == pytest.approx(split_r_hat(x[0]), rel=1e-9)


def test_many_segments_are_joined_and_agree_with_arviz():
    """ArviZ's "split" method on 400 independent draws of 4 chains; joined blocks halve the draws within a block of it."""
    x = np.random.default_rng(0).standard_normal((1, 4, 400))
    monitor = Monitor()
    for part in np.split(x, 100, axis=2):
        monitor.add({"x": part})
    assert len(monitor._blocks) <= 16
    expected = float(np.asarray(az.rhat(x[0], method="split")))
    # The halves differ from ArviZ's by at most a block, 1/8 of the draws, each worth its share of R-hat's own error, 1/200.
    assert monitor.worst() == pytest.approx(expected, abs=0.01)


def test_lost_chains_and_constants_say_nothing():
    x = np.random.default_rng(0).standard_normal((2, 3, 40))
    x[0, 1, 7:] = np.nan
    monitor = Monitor()
    assert np.isnan(monitor.worst())
    for part in np.split(x, 2, axis=2):
        monitor.add({"x": part, "constant": np.ones_like(part), "none": part[:, :, :0]})
    assert monitor.worst() == pytest.approx(max(split_r_hat(x[0][[0, 2]]), split_r_hat(x[1])), rel=1e-12)
