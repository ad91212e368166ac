"""Rays along which units grow: their cost, their gain as a maximum, its derivatives, and what E does along them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiddencodes.models.activations import Activation, leaky_relu, relu, shifted_relu, sigmoidal, tanh
from hiddencodes.theory.outlier_rays import gain_curvatures, parallel_groups, rays, stationary_directions
from hiddencodes.theory.readout_energy import ReadoutEnergy


def random_energy(activation: Activation, n_classes: int, n_outputs: int, seed: int) -> ReadoutEnergy:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(n_classes, 3.0))
    t = rng.standard_normal((n_classes, n_outputs))
    return ReadoutEnergy(activation, p, float(rng.uniform(0.3, 3.0)), float(rng.uniform(0.3, 3.0)), t)


def random_directions(energy: ReadoutEnergy, count: int, seed: int) -> np.ndarray:
    v = np.random.default_rng(seed).standard_normal((count, len(energy.fractions)))
    return v / np.linalg.norm(v, axis=1, keepdims=True)


@pytest.mark.parametrize("activation", [relu, leaky_relu(0.3), shifted_relu(0.7)], ids=str)
def test_rays_cost_one_and_gain_what_they_add_to_the_constraint(activation):
    energy = random_energy(activation, 4, 3, 0)
    directions = random_directions(energy, 80, 1)
    found = rays(
        energy, directions[rays(energy, directions).gains > 0.0][:50]
    )  # a ReLU that is silent everywhere has none
    cost = np.sum(found.readouts**2, axis=1) / (2 * energy.scaled_variance)
    cost += found.preactivations**2 @ energy.fractions / (2 * energy.input_variance)
    np.testing.assert_allclose(cost, 1.0, rtol=1e-12)
    # The asymptotic form of a shifted ReLU is the ReLU.
    below = 0.3 if activation.name == "leaky_relu" else 0.0
    phi = np.where(found.preactivations > 0.0, found.preactivations, below * found.preactivations)
    np.testing.assert_allclose(found.activations, phi, rtol=1e-12)
    gains = np.einsum("c,kc,kc->k", energy.fractions, energy.tilts(found.readouts), phi)
    np.testing.assert_allclose(found.gains, gains, rtol=1e-12)
    # No other readout of the same cost gains more.
    turned = found.readouts[:, None] + 0.1 * np.random.default_rng(2).standard_normal((50, 20, 3))
    turned *= np.linalg.norm(found.readouts, axis=1)[:, None, None] / np.linalg.norm(
        turned, axis=2, keepdims=True
    )
    other = np.einsum("c,kjr,cr,kc->kj", energy.fractions, turned, energy.multiplier, phi)
    assert np.all(other <= found.gains[:, None] + 1e-12)


@pytest.mark.parametrize("activation", [relu, leaky_relu(0.3), leaky_relu(-0.5)], ids=str)
@given(seed=st.integers(0, 10_000), n_classes=st.integers(1, 4), n_outputs=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_no_direction_gains_more_than_the_stationary_ones(activation, seed, n_classes, n_outputs):
    energy = random_energy(activation, n_classes, n_outputs, seed)
    best = np.max(rays(energy, stationary_directions(energy)).gains, initial=0.0)
    # `best` is the gain of a direction, too, so that it is the maximum.
    gains = rays(energy, random_directions(energy, 300, seed + 1)).gains
    assert np.max(gains) <= best * (1 + 1e-12)


def test_saturating_activations_have_no_rays():
    for activation in (tanh, sigmoidal):
        assert len(stationary_directions(random_energy(activation, 3, 2, 0))) == 0


@pytest.mark.parametrize("activation", [relu, leaky_relu(0.3)], ids=str)
def test_derivatives_of_the_gains(activation):
    energy = random_energy(activation, 3, 2, 3)
    directions = stationary_directions(energy)
    assert len(directions) > 1

    def gains(t: np.ndarray) -> np.ndarray:
        return rays(energy._replace(multiplier=t.reshape(3, 2)), directions).gains

    gradients, hessians = gain_curvatures(energy, rays(energy, directions))
    t, step = energy.multiplier.ravel(), 1e-4
    # Central differences err by step² times derivatives of order one, and by rounding over step or step².
    for i in range(6):
        ahead, behind = t + step * np.eye(6)[i], t - step * np.eye(6)[i]
        np.testing.assert_allclose((gains(ahead) - gains(behind)) / (2 * step), gradients[:, i], atol=1e-7)
        shifted = (
            energy._replace(multiplier=ahead.reshape(3, 2)),
            energy._replace(multiplier=behind.reshape(3, 2)),
        )
        up, down = (gain_curvatures(each, rays(each, directions))[0] for each in shifted)
        np.testing.assert_allclose((up - down) / (2 * step), hessians[:, i], atol=1e-6)


@pytest.mark.parametrize("activation", [relu, leaky_relu(0.3)], ids=str)
def test_energy_falls_along_a_ray_exactly_if_its_gain_is_above_one(activation):
    energy = random_energy(activation, 3, 2, 5)
    found = rays(energy, stationary_directions(energy))
    steepest = int(np.argmax(found.gains))
    for gain in (0.98, 1.02):
        scaled = energy._replace(multiplier=energy.multiplier * gain / found.gains[steepest])
        u = found.readouts[steepest]
        u = u / np.max(np.abs(scaled.tilts(u[None])))
        # Far out E is (1 - gain²) |a|²/2s² up to terms that stay finite, at least 0.02 × 500 here.
        near, far = scaled.energy(np.array([100.0, 200.0])[:, None] * u)
        change = (1 - gain**2) * 3.0e4 * float(u @ u) / (2 * scaled.scaled_variance)
        assert far - near == pytest.approx(change, rel=0.02)


def test_groups_of_parallel_rays():
    directions = np.array([[1.0, 0.0], [0.96, 0.28], [0.0, 2.0], [0.0, 1.0], [-1.0, 0.0]])
    weights = np.array([0.2, 0.5, 0.1, 0.3, 1e-9])
    groups = parallel_groups(directions, weights, 0.9)
    assert [group.tolist() for group in groups] == [
        [True, True, False, False, False],
        [False, False, True, True, False],
    ]
    assert parallel_groups(directions[:0], weights[:0], 0.9) == []
