"""Replica exchange between modes that the local kernel does not connect, and Bennett's acceptance ratio."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bimodal_target import BimodalTarget
from scipy import stats
from statistics_of_chains import Z, assert_estimate, assert_mean

import hiddencodes as hc
from hiddencodes.sampling import evidence
from hiddencodes.sampling.exchange import exchange, swap_index
from hiddencodes.sampling.path import Path, Schedule

RUNGS, CHAINS, DRAWS = 10, 8, 400
TARGET, DATA = BimodalTarget(), np.array([0.7, 0.3])


def run(key: int):
    """All replicas start in the lesser mode."""
    powers = np.geomspace(0.002, 1.0, RUNGS - 1)
    one = jnp.ones(())
    path = Path(jnp.asarray(DATA), one, jnp.zeros(()), one)
    schedule = Schedule(powers, 0.3 * powers**-0.25 * 0.2, np.ones((RUNGS - 1, TARGET.dimension)))
    q = np.broadcast_to(TARGET.centers()[1], (RUNGS, CHAINS, TARGET.dimension))
    return exchange(
        hc.hmc(), TARGET, DRAWS, jax.random.key(key), jnp.asarray(200, jnp.int32), jnp.asarray(3, jnp.int32), path,
        jax.tree.map(jnp.asarray, schedule), jnp.asarray(q),
    )[1]  # fmt: skip


def ratios(recorded):
    u = (np.moveaxis(np.asarray(leaf), 0, 2) for leaf in (recorded.forward, recorded.backward))
    return evidence.ladder_ratios(*u)


def test_modes_and_evidence_from_a_start_in_the_lesser_mode():
    recorded = run(0)
    log_z, share = TARGET.exact(DATA)
    found = ratios(recorded)
    assert_estimate(float(found.value[-1]), float(found.error[-1]), CHAINS, log_z, 0.2)
    first = (np.asarray(recorded.observed["q"])[..., 0] > 0.0).astype(float)
    assert_mean(first.T, share)
    # Modes change because prior draws arrive, in every chain.
    assert np.all(np.sum(recorded.arrivals, axis=0) > 10)
    # Even and odd pairs in turn.
    np.testing.assert_array_equal(np.sum(recorded.proposals[:2], axis=0)[:, 0], 3)
    assert np.all(np.asarray(recorded.swaps) <= np.asarray(recorded.proposals))


def test_error_of_the_log_evidence_is_calibrated():
    log_z, _ = TARGET.exact(DATA)
    z = []
    for key in range(1, 17):
        found = ratios(run(key))
        z.append((found.value[-1] - log_z) / found.error[-1])
    sums = stats.t.rvs(CHAINS - 1, size=(200_000, len(z)), random_state=np.random.default_rng(0))
    low, high = np.quantile(np.sum(sums**2, axis=1), [1e-4, 1.0 - 1e-4])
    assert low < np.sum(np.square(z)) < high


def test_swaps_exchange_neighbours():
    accepted = jnp.array([[True, False], [False, True], [True, False]])
    np.testing.assert_array_equal(swap_index(accepted), [[1, 0], [0, 2], [3, 1], [2, 3]])


@pytest.mark.parametrize("shift", [0.3, 2.0])
def test_bennett_of_two_gaussians(rng, shift):
    """Densities N(0, 1) and e^0.4 N(shift, 1): errors from the variance of the estimating equation."""
    n = 20_000
    u = lambda x: 0.4 + shift * x - 0.5 * shift**2
    forward, backward = u(rng.standard_normal(n)), u(shift + rng.standard_normal(n))
    found = float(evidence.bennett(forward, backward))
    f, b = 1.0 / (1.0 + np.exp(0.4 - forward)), 1.0 / (1.0 + np.exp(backward - 0.4))
    slope = np.mean(f * (1.0 - f)) + np.mean(b * (1.0 - b))
    error = np.sqrt((np.var(f) + np.var(b)) / n) / slope
    assert abs(found - 0.4) < Z * error


def test_jackknife_error_of_independent_chains(rng):
    """200 ladders of one pair: their spread is what the errors say."""
    u = (
        0.4
        + 0.8 * rng.standard_normal((200, 2, 1, 10, 30))
        + np.array([-0.32, 0.32])[None, :, None, None, None]
    )
    found = [evidence.ladder_ratios(one[0], one[1]) for one in u]
    values, errors = (np.array([getattr(f, name)[-1] for f in found]) for name in ("value", "error"))
    # Variances of 200 values and of 200 averages of 10 chains: relative errors √(2/200) and √(2/9/200), and the bias
    # of the jackknife, of order one over the number of draws of a chain.
    ratio = np.mean(errors**2) / np.var(values, ddof=1)
    assert abs(ratio - 1.0) < Z * np.sqrt(2.0 / 200 + 2.0 / 9 / 200) + 1.0 / 30


def test_log_mean_is_blind_to_the_scale(rng):
    log_z = rng.standard_normal(12)
    one, other = evidence.log_mean(log_z), evidence.log_mean(log_z - 5e4)
    np.testing.assert_allclose(one.value - 5e4, other.value, rtol=1e-12)
    np.testing.assert_allclose(one.error, other.error, rtol=1e-9)
