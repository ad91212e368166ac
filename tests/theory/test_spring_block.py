"""The chain of springs and blocks: closed forms, simulation, the limit of small steps, and fits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hiddencodes as hc
from hiddencodes.theory.spring_block_fit import mean_drift

ZERO_NOISE = {
    0.01: [0.09, 0.10, 0.11, 0.12, 0.13, 0.14, 0.15, 0.16],
    0.05: [0, 0, 1 / 24, 11 / 120, 17 / 120, 23 / 120, 29 / 120, 7 / 24],
    0.1: [0, 0, 0, 0, 0.1, 0.2, 0.3, 0.4],
    0.2: [0, 0, 0, 0, 0, 2 / 15, 1 / 3, 8 / 15],
    0.4: [0, 0, 0, 0, 0, 0, 0.3, 0.7],
}


@pytest.mark.parametrize("friction", ZERO_NOISE)
def test_elongations_without_noise(friction):
    np.testing.assert_allclose(hc.pulled_chain(friction), ZERO_NOISE[friction], atol=1e-12)


@pytest.mark.parametrize(("blocks", "stiffness", "pull"), [(7, 1.0, 1.0), (4, 2.0, 0.7), (1, 1.0, 3.0)])
def test_a_chain_pulled_from_rest_stops_at_the_closed_form(blocks, stiffness, pull):
    frictions = np.array([0.0, 0.01, 0.07, 0.3, 0.9]) * stiffness * pull
    sizes = {"blocks": blocks, "stiffness": stiffness, "pull": pull}
    found = hc.simulate_chain(frictions, 0.5 * frictions, 0.0, steps=25_000, averaged=1e-4, chains=1, **sizes)
    expected = np.stack([hc.pulled_chain(f, **sizes) for f in frictions])
    np.testing.assert_allclose(found.elongations, expected, atol=1e-10)
    np.testing.assert_allclose(expected.sum(-1), pull)
    np.testing.assert_allclose(found.load[:, 0], pull)


def start_of(relaxed):
    """Distance of the pulled chain's first elongations, all in the last spring, from the relaxed ones."""
    first = np.append(np.zeros(relaxed.shape[-1] - 1), 1.0)
    return np.linalg.norm(relaxed - first, axis=-1, keepdims=True)


@pytest.mark.parametrize(("noise", "right", "left"), [(0.1, 0.02, 0.06), (0.05, 0.1, 0.1), (0.5, 0.3, 0.0)])
def test_the_start_is_forgotten_at_least_as_fast_as_said(noise, right, left):
    expected, rate = hc.relaxed_chain(right, left), hc.relaxation_rate(right, left, noise)
    for time in (5.0, 20.0, 80.0):
        steps = round(time / 0.01)
        found = hc.chain_profile(right, noise, ratio=left / right, step=0.01, steps=steps, averaged=1 / steps)
        assert np.abs(found - expected).max() < start_of(expected) * np.exp(-rate * time)
    # and where forces are small, not much faster
    longer = hc.chain_profile(
        right, noise, ratio=left / right, step=0.01, steps=2 * steps, averaged=1 / steps
    )
    apart = np.linalg.norm(found - expected), np.linalg.norm(longer - expected)
    # Forces are not small to the end where friction is strong: somewhat faster still.
    assert rate <= np.log(apart[0] / apart[1]) / (0.01 * steps) < 1.2 * rate


@pytest.mark.parametrize("step", [0.01, 0.2])
def test_after_a_long_time_noise_does_not_matter(step):
    noise, right, left = np.array(
        [(0.3, 0.02, 0.06), (0.1, 0.05, 0.02), (1.0, 0.0, 0.1), (0.2, 0.05, 0.05)]
    ).T
    steps = round(200 / step)
    found = hc.simulate_chain(right, left, noise, step=step, steps=steps, averaged=0.5, chains=60)
    expected = np.stack([hc.relaxed_chain(r, b) for r, b in zip(right, left, strict=True)])
    rates = [hc.relaxation_rate(r, b, e) for e, r, b in zip(noise, right, left, strict=True)]
    remainder = start_of(expected) * np.exp(-np.array(rates) * 0.5 * 200)[:, None]
    assert remainder.max() < 1e-3
    assert np.all(np.abs(found.elongations - expected) < 5 * found.errors + remainder)
    # The errors tell something: the slopes that are expected are larger.
    assert np.all(found.errors[:2] < 0.02)


def test_a_chain_that_cannot_creep_keeps_the_profile_without_noise():
    # Without noise, what is left of the threshold's width is a few times the noise.
    found = hc.simulate_chain(0.4, 0.4, 0.001, chains=4)
    np.testing.assert_allclose(found.elongations, hc.pulled_chain(0.4), atol=4e-3)


def test_mean_drift_is_the_mean_and_is_odd_around_its_zero():
    right, left, noise = (jnp.asarray(v) for v in (0.3, 0.1, 0.5))
    force = jnp.linspace(-1.0, 1.0, 7)
    kicked = np.asarray(force)[:, None] + 0.5 * np.random.default_rng(0).normal(size=200_000)
    moved = np.maximum(kicked - 0.3, 0) + np.minimum(kicked + 0.1, 0)
    error = moved.std(1) / np.sqrt(200_000)
    assert np.all(np.abs(mean_drift(force, right, left, noise) - moved.mean(1)) < 4.5 * error + 1e-6)
    centre = jnp.asarray(0.1)
    np.testing.assert_allclose(
        mean_drift(centre + force, right, left, noise),
        -mean_drift(centre - force, right, left, noise),
        atol=1e-6,
    )


def test_small_steps_are_the_chain_without_fluctuations():
    found = hc.simulate_chain(0.1, 0.2, np.array([0.05, 0.1, 0.3]), chains=40)
    expected = np.stack([hc.chain_profile(0.1, s) for s in (0.05, 0.1, 0.3)])
    # Fluctuations of a step move means by about its size.
    assert np.all(np.abs(found.elongations - expected) < 5 * found.errors + 0.01 * expected.max())


@pytest.mark.parametrize("shared", [True, False])
def test_inertia_changes_nothing_in_the_long_run(shared):
    found = hc.simulate_inertial_chain(
        0.006, 0.002, 0.01, shared_noise=shared, stiffness=0.3, steps=40_000, chains=40
    )
    expected = hc.relaxed_chain(0.006, 0.002, stiffness=0.3)
    assert np.all(np.abs(found.elongations - expected) < 5 * found.errors + 1e-6)


@pytest.mark.parametrize(("friction", "noise"), [pytest.param(0.1, 0.07, marks=pytest.mark.slow), (0.3, 0.2)])
def test_a_fit_finds_the_chain(friction, noise):
    truth = hc.chain_profile(friction, noise)[:7]
    exact = hc.fit_chain(3.0 * truth, np.full(7, 0.01))
    np.testing.assert_allclose([exact.friction, exact.noise], [friction, noise], rtol=1e-3)
    assert exact.chi_squared < 1e-8
    # Twice the errors are twice as uncertain; a noisy curve is off by what they say.
    twice = hc.fit_chain(3.0 * truth, np.full(7, 0.02))
    # More than that on a ridge, along which chi squared is flat farther out.
    assert 1.5 < twice.friction_error / exact.friction_error < 5.0
    rng = np.random.default_rng(1)
    off = []
    for _ in range(6):
        fit = hc.fit_chain(3.0 * truth + 0.01 * rng.normal(size=7), np.full(7, 0.01))
        off.append(
            (
                np.log(fit.friction / friction) / fit.friction_error,
                np.log(fit.noise / noise) / fit.noise_error,
                fit.chi_squared,
            )
        )
    off = np.array(off)
    assert np.all(np.abs(off[:, :2]) < 4.5)
    # Errors that are far too large would hold as well: six that are right scatter by 0.3 at least (chance 0.1 %).
    assert off[:, :2].std(0).min() > 0.3
    assert off[:, 2].mean() < 4 + 4 * np.sqrt(2 * 4 / 6)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.2, 0.3])
def test_errors_hold_on_the_ridge_of_relaxed_chains(noise):
    """Curves of this noise are nearly those of any larger one, and of another basin without noise."""
    truth, rng, known = hc.chain_profile(0.1, noise)[:7], np.random.default_rng(3), []
    for _ in range(5):
        fit = hc.fit_chain(truth + 0.005 * rng.normal(size=7), np.full(7, 0.005))
        assert abs(np.log(fit.friction / 0.1)) < 4.5 * fit.friction_error
        assert abs(np.log(fit.noise / noise)) < 4.5 * fit.noise_error
        known.append(fit.friction_error)
    # Errors that are infinite would always hold: friction is known on this ridge.
    assert np.median(known) < 0.5


def test_a_curve_that_no_chain_has_ends_at_the_end_of_the_search():
    fit = hc.fit_chain(np.array([1.0, 0, 0, 0, 0, 0, 0]), np.full(7, 0.005))
    assert fit.chi_squared > 1000
    assert fit.friction_error == np.inf


def test_a_relaxed_curve_does_not_tell_the_noise():
    fit = hc.fit_chain(hc.relaxed_chain(0.02, 0.04)[:7], np.full(7, 0.003))
    np.testing.assert_allclose(fit.friction, 0.02, rtol=0.05)
    assert fit.noise_error == np.inf
    assert fit.friction_error < 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hc.pulled_chain(-0.1), "friction: expected a finite number of at least 0, got -0.1"),
        (lambda: hc.pulled_chain(0.1, blocks=0), "blocks: expected a positive integer, got 0"),
        (lambda: hc.relaxed_chain(0.1, 0.1, pull=0.0), "pull: expected a positive number"),
        (lambda: hc.simulate_chain(0.1, np.nan, 0.1), "friction_left: expected finite numbers"),
        (lambda: hc.simulate_chain(0.1, 0.1, 0.1, averaged=0.0), "averaged: expected a share"),
        (lambda: hc.simulate_inertial_chain(0.1, 0.1, 0.1, mass=0.0), "mass: expected a positive number"),
        (lambda: hc.chain_profile(0.1, 0.0), "friction, noise: expected positive numbers"),
        (lambda: hc.chain_profile(0.1, 0.1, averaged=2.0), "averaged: expected a share"),
        (
            lambda: hc.chain_profile(0.1, 0.1, ratio=-3.0),
            "ratio: expected a finite number of at least 0, got -3.0",
        ),
        (
            lambda: hc.simulate_chain(0.1, 0.1, 0.1, stiffness=100.0),
            "step: expected a positive number of at most 0.005",
        ),
        (
            lambda: hc.simulate_inertial_chain(0.1, 0.1, 0.1, stiffness=10.0),
            "step: expected a positive number of at most 0.025, the lesser of",
        ),
        (
            lambda: hc.simulate_inertial_chain(0.1, 0.1, 0.1, step=10.0, damping=8.0),
            "step: expected a positive number of at most 0.0625",
        ),
        (
            lambda: hc.simulate_inertial_chain(0.1, 0.1, 0.1, damping=0.0),
            "damping: expected a positive number, got 0.0",
        ),
        (
            lambda: hc.simulate_chain(np.array([0.1, np.inf]), 0.1, 0.1),
            "friction_right: expected finite numbers of at least 0, got inf",
        ),
        (lambda: hc.relaxation_rate(0.1, 0.1, 0.0), "noise: expected a positive number, got 0.0"),
        (lambda: hc.chain_profile(0.1, np.inf), "friction, noise: expected positive numbers"),
        (lambda: hc.chain_profile(0.1, 0.1, pull=-1.0), "pull: expected a positive number, got -1.0"),
        (lambda: hc.chain_profile(0.1, 0.1, blocks=0), "blocks: expected a positive integer, got 0"),
        (
            lambda: hc.fit_chain(np.array([1.0, -1.0, 1.0, -1.0 + 1e-9]), np.ones(4)),
            "loads: expected finite numbers with a positive sum",
        ),
        (lambda: hc.fit_chain(np.ones(5), np.ones(5), steps=0), "steps: expected a positive integer, got 0"),
        (lambda: hc.fit_chain(np.ones(2), np.ones(2)), "loads: expected at least four"),
        (lambda: hc.fit_chain(-np.ones(5), np.ones(5)), "loads: expected finite numbers with a positive sum"),
        (lambda: hc.fit_chain(np.ones(5), np.zeros(5)), "errors: expected positive numbers"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_random_key_decides():
    same = [
        hc.simulate_chain(0.1, 0.2, 0.1, steps=200, chains=2, key=k).elongations
        for k in (3, jax.random.key(3), 4)
    ]
    np.testing.assert_array_equal(same[0], same[1])
    assert not np.allclose(same[0], same[2])
