"""Tempered sequential Monte Carlo on targets whose normalizing constants are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bimodal_target import BimodalTarget
from gaussian_target import GaussianTarget, gaussian_data
from scipy import stats
from statistics_of_chains import assert_estimate

import hiddencodes as hc
from hiddencodes.sampling import annealing, evidence
from hiddencodes.sampling.path import Path, coordinates, no_schedule

D, POPULATIONS, PARTICLES = 4, 20, 100
BIMODAL, SHARES = BimodalTarget(), np.array([0.7, 0.3])


def path(data) -> Path:
    one = jnp.ones(())
    return Path(jax.tree.map(jnp.asarray, data), one, jnp.zeros(()), one)


def walk(target, data, key: int, schedule=None, n: int = 0, populations: int = POPULATIONS):
    rows = no_schedule(60, target, np.float64) if schedule is None else schedule
    keys = jax.random.split(jax.random.key(key), populations)
    done = annealing.anneal(
        hc.hmc(), target, PARTICLES, 4, keys, path(data), jnp.asarray(0.5), rows, jnp.asarray(n, jnp.int32)
    )
    assert float(done.position) == 1.0
    return done, np.asarray(done.steps.log_weight)[: int(done.n_done)].sum(0)


@pytest.fixture(scope="module")
def gaussian():
    """A Gaussian likelihood, thirty times as sharp as that of the support file, and the log of its normalizing constant."""
    (a, c), _, _ = gaussian_data(1, D)
    a, c = 30.0 * a[0], c[0]
    # The integral of N(q; 0, 1) exp(-(q - c)ᵀ A (q - c)/2).
    covariance = np.eye(D) + np.linalg.inv(a)
    exact = -0.5 * (np.linalg.slogdet(covariance)[1] + np.linalg.slogdet(a)[1])
    return (a, c), exact - 0.5 * c @ np.linalg.solve(covariance, c)


def sum_of_squares_bounds(n: int, degrees: int) -> np.ndarray:
    """Quantiles 1e-4 and 1 - 1e-4 of the sum of n squares of Student's t."""
    sums = np.sum(stats.t.rvs(degrees, size=(200_000, n), random_state=np.random.default_rng(0)) ** 2, axis=1)
    return np.quantile(sums, [1e-4, 1.0 - 1e-4])


@pytest.mark.parametrize("points", ["chosen on the way", "of another walk"])
@pytest.mark.parametrize("kind", ["two modes", pytest.param("one mode", marks=pytest.mark.slow)])
def test_error_of_the_log_evidence_is_calibrated(gaussian, kind, points):
    target, data, exact = GaussianTarget(D), *gaussian
    if kind == "two modes":
        target, data = BIMODAL, SHARES
        exact, _ = target.exact(data)
    schedule, n = None, 0
    if points == "of another walk":
        done, _ = walk(target, data, 1000)
        schedule, n = done.schedule, int(done.n_done)
    z = []
    for key in range(20):
        value, error = evidence.log_mean(walk(target, data, key, schedule, n)[1])
        z.append((float(value) - exact) / float(error))
    low, high = sum_of_squares_bounds(len(z), POPULATIONS - 1)
    assert low < np.sum(np.square(z)) < high
    # The mean of z is a mean of Student variables of this variance.
    spread = ((POPULATIONS - 1) / (POPULATIONS - 3) / len(z)) ** 0.5
    assert abs(np.mean(z)) < 5.0 * spread


@pytest.mark.slow
def test_particles_follow_the_posterior_and_points_the_effective_sample_size(gaussian):
    (a, c), _ = gaussian
    done, log_z = walk(GaussianTarget(D), (a, c), 0)
    n = int(done.n_done)
    ess = np.asarray(done.steps.ess)[:n]
    np.testing.assert_allclose(ess[:-1], 0.5, rtol=0.01)
    assert ess[-1] > 0.495
    covariance = np.linalg.inv(np.eye(D) + a)
    truth = [covariance @ a @ c, np.diag(covariance)]
    q = np.asarray(done.q)
    for values, exact in zip((q, (q - truth[0]) ** 2), truth, strict=True):
        means = values.mean(1)
        for i in range(D):
            mean, error = evidence.weighted_mean(means[:, i], log_z)
            assert_estimate(float(mean), float(error), POPULATIONS, exact[i], 0.2 * np.sqrt(covariance[i, i]))


def test_two_modes_get_their_weights_where_chains_stay_in_theirs():
    target, data = BIMODAL, SHARES
    log_z, share = target.exact(data)
    done, found = walk(target, data, 0)
    value, error = evidence.log_mean(found)
    assert_estimate(float(value), float(error), POPULATIONS, log_z, 0.2)
    first = np.mean(np.asarray(done.q)[:, :, 0] > 0.0, axis=1)
    mean, error = evidence.weighted_mean(first, found)
    assert_estimate(float(mean), float(error), POPULATIONS, share, 0.05)

    # HMC from there, at the temperature of the end: 100 draws of all particles, and none changes its mode.
    last = int(done.n_done) - 1
    step_size, scale = done.schedule.step_size[last], np.asarray(done.schedule.scale[last])
    log_l = lambda u: target.log_likelihood(scale * u, jnp.asarray(data), jnp.ones(()))
    density = lambda u: log_l(u) - 0.5 * jnp.vdot(scale * u, scale * u)
    u = np.reshape(np.asarray(done.q), (-1, target.dimension)) / scale
    sampler = hc.hmc()

    @jax.jit
    def chains(u):
        def draw(state, key):
            keys = jax.random.split(key, len(u))
            step = lambda key, state: sampler.step(key, state, density, step_size, jnp.asarray(8), 8)[0]
            state = jax.vmap(step)(keys, state)
            return state, state.position[:, 0] > 0.0

        state = jax.vmap(lambda u: sampler.init(u, density))(u)
        return jax.lax.scan(draw, state, jax.random.split(jax.random.key(5), 100))[1]

    modes = np.asarray(chains(jnp.asarray(u)))
    assert np.all(modes == modes[:1])


def test_the_second_leg_begins_where_the_first_ends():
    number = lambda x: jnp.asarray(x, float)
    there = Path((), number(1.0), number(np.log(4.0)), number(2.0))
    at = coordinates(there, jnp.array([0.0, 0.25, 1.0, 1.5, 2.0]))
    np.testing.assert_allclose(at.power, [0.0, 0.25, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(np.exp(at.log_scale), [4.0, 4.0, 4.0, 2.0, 1.0])


def test_the_metric_of_exchangeable_coordinates_is_pooled_and_drawn_towards_the_prior():
    q = jax.random.normal(jax.random.key(0), (4, 2500, 3)) * jnp.array([0.1, 0.3, 2.0])[None, None, :]
    scale = np.asarray(annealing.pooled_scale(q, np.array([0, 0, 1])))
    # The variance of a variance is 2/n of its square; five particles of variance one are mixed in.
    variance = np.array([0.5 * (0.01 + 0.09), 4.0])
    expected = (1e4 * variance + 5.0) / (1e4 + 5.0)
    assert np.all(np.abs(scale**2 / expected - 1.0) < 5.0 * np.sqrt(2.0 / 1e4))
