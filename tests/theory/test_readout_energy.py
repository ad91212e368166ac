"""E(a): derivatives, minima and lattices against quadrature, finite differences and exhaustive grids."""

from collections import deque
from functools import cache

import numpy as np
import pytest
from scipy import integrate, special

from hiddencodes.models.activations import clipped_relu, erf, hard_tanh, leaky_relu, relu, sigmoidal, tanh
from hiddencodes.theory import readout_energy
from hiddencodes.theory.readout_energy import SPACING, ReadoutEnergy

P = np.array([0.5, 0.3, 0.2])
TWO_OUTPUTS = np.array([[4.8, -1.5], [-1.9, 8.0], [2.5, 3.0]])


@cache
def one_output(name: str) -> ReadoutEnergy:
    """One class per sign of the multiplier: low minima on both sides, or none besides the one at the origin."""
    activation, t = {
        "sigmoidal": (sigmoidal, [[4.5], [-5.0]]),
        "tanh": (tanh, [[3.0], [-1.4]]),
        "hard_tanh": (hard_tanh, [[2.2], [2.4]]),
        "relu": (relu, [[0.8], [-0.6]]),
    }[name]
    return ReadoutEnergy(activation, np.array([0.6, 0.4]), 1.3, 0.8, np.array(t))


@cache
def two_outputs(name: str) -> ReadoutEnergy:
    activation, t = {
        "sigmoidal": (sigmoidal, TWO_OUTPUTS),
        "erf": (erf, 0.6 * TWO_OUTPUTS),
        "clipped": (clipped_relu(1.0), TWO_OUTPUTS),
        "leaky": (leaky_relu(0.2), 0.14 * TWO_OUTPUTS),
    }[name]
    return ReadoutEnergy(activation, P, 1.0, 1.0, t)


def by_quadrature(energy: ReadoutEnergy, a: np.ndarray) -> float:
    """E(a) with Gauss-Hermite nodes for the smooth activation used below."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    phi = np.tanh(np.sqrt(energy.input_variance) * nodes)
    g = np.exp(np.outer(energy.multiplier @ a, phi)) @ weights / weights.sum()
    return float(a @ a / (2 * energy.scaled_variance) - energy.fractions @ np.log(g))


def test_energy_is_its_definition():
    energy = ReadoutEnergy(tanh, P, 2.0, 0.7, TWO_OUTPUTS)
    for a in np.random.default_rng(0).standard_normal((6, 2)):
        # 120 nodes give the integrals of tanh, whose poles are at π/2, to 1e-10 at these tilts, tables 1e-7 of the largest.
        assert energy.energy(a[None])[0] == pytest.approx(by_quadrature(energy, a), abs=1e-7)


@pytest.mark.parametrize("name", ["sigmoidal", "erf", "clipped", "leaky"])
def test_hessian_and_stationarity_are_derivatives_of_the_energy(name):
    energy = two_outputs(name)
    a, step = np.random.default_rng(1).standard_normal((5, 2)), 1e-3
    for r in range(2):
        shift = step * np.eye(2)[r]
        slopes = (energy.energy(a + shift) - energy.energy(a - shift)) / (2 * step)
        # Σ_c p_c t_c ⟨φ⟩ as the moments of the table have it. Differences err by step²/6 times third derivatives, at most
        # |t|³ times a third cumulant of order one.
        h = energy.tilts(a)
        gradient = (
            a / energy.scaled_variance - (energy.table(h).mean(h) * energy.fractions) @ energy.multiplier
        )
        np.testing.assert_allclose(slopes, gradient[:, r], rtol=0, atol=step**2 / 6 * 8.0**3)
        h = energy.tilts(a + shift)
        there = (a + shift) / energy.scaled_variance - (
            energy.table(h).mean(h) * energy.fractions
        ) @ energy.multiplier
        h = energy.tilts(a - shift)
        back = (a - shift) / energy.scaled_variance - (
            energy.table(h).mean(h) * energy.fractions
        ) @ energy.multiplier
        curvature = (there - back) / (2 * step)
        np.testing.assert_allclose(curvature, energy.hessian(a)[:, r], rtol=0, atol=step**2 / 6 * 8.0**4)


@pytest.mark.parametrize("name", ["sigmoidal", "tanh", "hard_tanh", "relu"])
def test_every_minimum_of_a_fine_grid_is_found_with_one_output(name):
    energy = one_output(name)
    grid = np.linspace(-6.0, 6.0, 12_001)
    values = energy.energy(grid[:, None])
    inside = np.flatnonzero((values[1:-1] < values[:-2]) & (values[1:-1] < values[2:])) + 1
    found = energy.minima()
    # Within one step of the grid, and with the values there.
    np.testing.assert_allclose(np.sort(found.positions[:, 0]), grid[inside], rtol=0, atol=1e-3)
    assert np.all(np.diff(found.energies) >= 0.0)
    np.testing.assert_allclose(found.energies, energy.energy(found.positions), rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", ["sigmoidal", "erf", "clipped", "leaky"])
def test_every_minimum_of_a_fine_grid_is_found_with_two_outputs(name):
    energy = two_outputs(name)
    axis = np.linspace(-5.0, 5.0, 401)
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)
    values = energy.energy(points.reshape(-1, 2)).reshape(401, 401)
    middle = values[1:-1, 1:-1]
    lowest = np.ones_like(middle, dtype=bool)
    for i in range(3):
        for j in range(3):
            if (i, j) != (1, 1):
                lowest &= middle < values[i : i + 399, j : j + 399]
    expected = points[1:-1, 1:-1][lowest]
    found = energy.minima()
    assert len(found.positions) == len(expected)
    for point in expected:
        # The nearest grid point of a narrow oblique valley can be a few steps of 0.025 from its minimum.
        assert np.min(np.max(np.abs(found.positions - point), axis=1)) < 0.1
    for a in found.positions:
        h = energy.tilts(a[None])
        gradient = (
            a / energy.scaled_variance - (energy.table(h).mean(h) * energy.fractions)[0] @ energy.multiplier
        )
        np.testing.assert_allclose(gradient, 0.0, atol=1e-7)
    assert np.all(np.linalg.eigvalsh(energy.hessian(found.positions)) > 0.0)


def test_minima_next_to_given_points_are_those_of_the_full_search():
    energy = two_outputs("sigmoidal")
    every = energy.minima()
    near = energy.minima(every.positions[1:2] + 0.02)
    np.testing.assert_allclose(near.positions, every.positions[1:2], rtol=0, atol=1e-9)
    assert len(energy.minima(every.positions[:0]).energies) == 0


def test_a_flat_ray_is_not_a_minimum():
    # p t² = 1 for both classes: with h = √2 |a|, E = h²/4 - ½ log[½ + exp(h²/2) Φ(h)] - ½ log[½ + exp(h²/2) Φ(-h)],
    # which rises to ½ log 2, for ever.
    energy = ReadoutEnergy(relu, np.array([0.5, 0.5]), 1.0, 1.0, np.sqrt(2.0) * np.array([[1.0], [-1.0]]))
    found = energy.minima()
    np.testing.assert_allclose(found.positions, [[0.0]], atol=1e-9)
    a = np.array([-18.0, -4.0, 1.0, 15.0])
    h = np.sqrt(2.0) * np.abs(a)
    up = np.logaddexp(np.log(0.5), h**2 / 2 + special.log_ndtr(h))
    exact = h**2 / 4 - 0.5 * up - 0.5 * np.log(0.5 + 0.5 * special.erfcx(h / np.sqrt(2.0)))
    # Tables err by 1e-7 of the largest log g, a hundred here; it cancels against |a|²/2.
    np.testing.assert_allclose(energy.energy(a[:, None]), exact, rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", ["sigmoidal", "tanh", "relu"])
def test_lattice_sums_are_integrals(name):
    energy, n_patterns = one_output(name), 40
    minima = energy.minima()
    points = energy.support(minima, n_patterns, 30.0)
    weights = np.exp(-n_patterns * (energy.energy(points) - minima.energies[0]))
    step = SPACING * np.sqrt(energy.scaled_variance / n_patterns)
    for power in (0, 1, 2):

        def integrand(a: float, power: int = power) -> float:
            return a**power * float(
                np.exp(-n_patterns * (energy.energy(np.array([[a]]))[0] - minima.energies[0]))
            )

        exact = sum(
            integrate.quad(integrand, low, low + 0.5, epsabs=1e-11)[0] for low in np.arange(-6.0, 6.0, 0.5)
        )
        # What is left out weighs exp(-30) a point; tables make relative errors of P times 1e-8.
        assert step * float(weights @ points[:, 0] ** power) == pytest.approx(exact, rel=1e-6, abs=1e-8)


def test_the_support_is_all_that_is_deep_enough_and_connected_to_a_minimum():
    energy, n_patterns, depth = two_outputs("sigmoidal"), 30, 6.0
    minima = energy.minima()
    found = energy.support(minima, n_patterns, depth)
    spacing = SPACING * np.sqrt(energy.scaled_variance / n_patterns)
    index = np.rint(found / spacing).astype(int)
    np.testing.assert_allclose(index * spacing, found, rtol=0, atol=1e-12)
    axis = np.arange(-60, 61)
    every = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    limit = minima.energies[0] + depth / n_patterns
    deep = {tuple(point) for point in every[energy.energy(every * spacing) <= limit].tolist()}
    queue = deque()
    for seed in minima.positions[minima.energies <= limit]:
        x, y = np.rint(seed / spacing).astype(int).tolist()
        queue.extend(p for p in ((x, y), (x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)) if p in deep)
    reached = set(queue)
    while queue:
        x, y = queue.popleft()
        for p in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)):
            if p in deep and p not in reached:
                reached.add(p)
                queue.append(p)
    assert len(found) == len(reached) > 90
    assert {tuple(point) for point in index.tolist()} == reached


def test_a_support_that_is_too_large_is_refused(monkeypatch):
    energy = two_outputs("sigmoidal")
    minima = energy.minima()
    with monkeypatch.context() as patch:
        patch.setattr(readout_energy, "_MOST_POINTS", 50)
        with pytest.raises(ValueError, match="2 outputs needs more than 50 points"):
            energy.support(minima, 100, 30.0)
    # Ten outputs leave six bits per coordinate: the lattice of 10⁵ patterns does not fit, instead of folding onto itself.
    wide = ReadoutEnergy(sigmoidal, np.ones(1), 1.0, 1.0, 5.0 * np.eye(1, 10))
    with pytest.raises(ValueError, match="10 outputs"):
        wide.support(wide.minima(), 100_000, 1e-3)
