"""Warm-up: the schedule, the jitter, the metric and the tuned trajectory on targets whose answers are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_target import GaussianTarget

import hiddencodes as hc
from hiddencodes.sampling import adaptation
from hiddencodes.sampling.plan import Host, Plan, Setup
from hiddencodes.sampling.run_chains import run_chains


def test_schedule_anneals_geometrically_to_the_target():
    plan = adaptation.schedule(100, np.array([1e-4, 2.0]))
    log_temperature = np.log([1e-4, 2.0]) + plan.log_heat
    # Evenly spaced in the logarithm over the first 70 iterations, then at the target; no heating above a target over 1.
    np.testing.assert_allclose(np.diff(log_temperature[:70, 0]), -np.log(1e4) / 70, rtol=1e-9)
    np.testing.assert_array_equal(plan.log_heat[69:, 0], 0.0)
    np.testing.assert_array_equal(plan.log_heat[:, 1], 0.0)
    assert plan.measure.nonzero()[0].tolist() == list(range(70, 80))
    assert plan.set_metric.nonzero()[0].tolist() == [79]
    assert plan.average_weight.nonzero()[0].tolist() == list(range(90, 100))


@pytest.mark.parametrize("warmup", [0, 1, 3, 7])
def test_short_schedules_are_complete(warmup):
    plan = adaptation.schedule(warmup, np.array([0.1]))
    assert all(len(row) == warmup for row in plan)
    assert warmup == 0 or plan.average_weight.sum() >= 1
    assert np.isfinite(plan.gain).all()


def test_halton_jitter_fills_the_interval_evenly():
    values = np.asarray(
        jax.vmap(lambda i: adaptation.halton(i, np.dtype("float64")))(jnp.arange(255, dtype=jnp.int32))
    )
    # The first 2^k - 1 elements of the base-2 sequence are a permutation of j/2^k.
    np.testing.assert_allclose(np.sort(values), np.arange(1, 256) / 256, rtol=0, atol=1e-15)


def _tuned(sampler: hc.Sampler, variances: np.ndarray, groups: np.ndarray | None = None, chains: int = 8):
    class Target(GaussianTarget):
        def groups(self):
            return np.arange(self.dimension) if groups is None else groups

    dimension = len(variances)
    data = (jnp.diag(1.0 / variances - 1.0)[None], jnp.zeros((1, dimension)))
    plan = Plan(np.arange(1), chains, 1000, 200, 1, np.arange(chains), 200, segment=200)
    segments = []
    setup = Setup(Target(dimension), data, np.ones(1), sampler, plan, jax.random.key(2), np.dtype("float64"))
    finished = run_chains(setup, Host(segments.append))
    return finished, segments[0]


def test_the_metric_is_the_pooled_variance():
    """Within 5 standard errors: 100 measuring draws of 8 chains, 4 exchangeable coordinates per group.

    The estimate is drawn towards one with the weight of 5 draws; draws of jittered HMC are correlated, which the factor
    of 4 in the variance of the estimate allows for (an effective draw every four).
    """
    variances = np.repeat([0.04, 0.5, 1.0], 4)
    finished, _ = _tuned(hc.hmc(), variances, groups=np.repeat([0, 1, 2], 4))
    measured = np.asarray(finished.tuning.scale[0]) ** 2
    assert np.all(measured.reshape(3, 4) == measured.reshape(3, 4)[:, :1])
    expected = (99 * variances + 5) / 104
    error = variances * np.sqrt(2 * 4 / (100 * 8 * 4)) + 4 * variances / 100
    assert np.all(np.abs(measured - expected) < 5 * error)


@pytest.mark.parametrize("sampler", [hc.hmc(), hc.adjusted_mclmc()], ids=["hmc", "adjusted_mclmc"])
def test_the_trajectory_is_of_the_order_of_a_half_turn(sampler):
    """For a standard Gaussian the criterion is largest where longest trajectories turn by pi/2 to 2 pi."""
    finished, segment = _tuned(sampler, np.full(50, 0.999))
    turn = float(finished.tuning.length) / sampler.length_unit(50)
    assert np.pi / 2 < turn < 2 * np.pi
    steps = segment.stats["n_steps"]
    assert np.all(steps == steps[:1, :1])
