"""Cumulants of one tilted pre-activation against closed forms, symmetries and adaptive quadrature."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special

from hiddencodes.models.activations import (
    clipped_relu,
    erf,
    hard_tanh,
    leaky_relu,
    relu,
    shifted_relu,
    sigmoidal,
    tanh,
)
from hiddencodes.theory.tilted_moments import TiltedMoments, asymptotic_slopes, is_linear, tilted_moments

# What the tables promise: errors below 1e-7 of the largest value.
PROMISED = 1e-7


def cumulants(table: TiltedMoments, h: np.ndarray) -> np.ndarray:
    return np.stack([table.log_g(h), table.mean(h), table.variance(h)])


def agree(found: np.ndarray, exact: np.ndarray) -> None:
    error = np.max(np.abs(found - exact), axis=1)
    assert np.all(error <= PROMISED * np.max(np.abs(exact), axis=1))


def rectified(h: np.ndarray, kappa: float) -> np.ndarray:
    """g = ½ + u, u = exp(κh²/2) Φ(√κ h); g' = κhu + √(κ/2π); g'' = κu + κh g', all divided by g."""
    log_u = 0.5 * kappa * h**2 + special.log_ndtr(math.sqrt(kappa) * h)
    log_g = np.logaddexp(math.log(0.5), log_u)
    u = np.exp(log_u - log_g)
    mean = kappa * h * u + math.sqrt(kappa / (2 * math.pi)) * np.exp(-log_g)
    return np.stack([log_g, mean, kappa * u + kappa * h * mean - mean**2])


@pytest.mark.parametrize("kappa", [0.05, 1.0, 30.0])
def test_rectified_units_have_a_closed_form_at_every_tilt(kappa):
    # On the table, and beyond it (32/√κ), where the tilted density is Gaussian on one side and absent on the other.
    h = np.linspace(0.0, 60.0, 1001) / math.sqrt(kappa)
    agree(cumulants(tilted_moments(relu, kappa, 60.0), h), rectified(h, kappa))
    # On the other side cancellation makes the closed form of the variance useless beyond a few standard deviations.
    h = np.linspace(-6.0, 0.0, 301) / math.sqrt(kappa)
    agree(cumulants(tilted_moments(relu, kappa, 60.0), h), rectified(h, kappa))


def test_unit_slope_is_a_gaussian_even_beyond_the_table():
    h = np.linspace(-200.0, 200.0, 77)
    exact = np.stack([0.7 * h**2 / 2, 0.7 * h, np.full_like(h, 0.7)])
    agree(cumulants(tilted_moments(leaky_relu(1.0), 0.7, 1.0), h), exact)


QUADRATURE = {
    "hard_tanh": (hard_tanh, 1.0, lambda z: np.clip(z, -1.0, 1.0)),
    "tanh": (tanh, 3.0, np.tanh),
    "clipped_relu": (clipped_relu(2.0), 0.5, lambda z: np.clip(z, 0.0, 2.0)),
    "shifted_relu": (shifted_relu(0.4), 2.0, lambda z: np.maximum(z - 0.4, 0.0)),
    "leaky_relu": (leaky_relu(0.1), 1.0, lambda z: np.where(z > 0.0, z, 0.1 * z)),
}


def by_quadrature(name: str, h: float) -> list[float]:
    """Adaptive quadrature in pieces that end at the kinks."""
    activation, kappa, phi = QUADRATURE[name]
    scale = math.sqrt(kappa)
    slope = max(map(abs, asymptotic_slopes(activation)))
    reach = 12.0 + abs(h) * scale * slope
    ends = sorted({*(k / scale for k in activation.kinks), *np.linspace(-reach, reach, 17)})
    grid = np.linspace(-reach, reach, 4001)
    top = float(np.max(h * phi(scale * grid) - grid**2 / 2))

    def moment(power: int, center: float) -> float:
        def integrand(x: float) -> float:
            f = float(phi(scale * x))
            return (f - center) ** power * math.exp(h * f - x * x / 2 - top)

        return sum(
            integrate.quad(integrand, low, high, epsabs=1e-13)[0] for low, high in itertools.pairwise(ends)
        )

    total = moment(0, 0.0)
    mean = moment(1, 0.0) / total
    return [top + math.log(total / math.sqrt(2 * math.pi)), mean, moment(2, mean) / total]


@pytest.mark.parametrize("name", QUADRATURE)
def test_adaptive_quadrature(name):
    table = tilted_moments(*QUADRATURE[name][:2], 10.0)
    for h in (-7.3, -0.61, 0.0, 1.234, 9.87):
        # The quadrature itself is good to 1e-12 or so.
        found = cumulants(table, np.array([h]))[:, 0]
        np.testing.assert_allclose(found, by_quadrature(name, h), rtol=2 * PROMISED, atol=1e-11)


@pytest.mark.parametrize("activation", [tanh, erf, hard_tanh], ids=str)
@given(h=st.floats(-5000.0, 5000.0), kappa=st.sampled_from([0.2, 1.0, 9.0]))
@settings(max_examples=40, deadline=None)
def test_odd_activations_have_even_and_odd_cumulants(activation, h, kappa):
    table = tilted_moments(activation, kappa, 1.0)
    there, back = cumulants(table, np.array([h])), cumulants(table, np.array([-h]))
    np.testing.assert_allclose(there[:, 0], back[:, 0] * [1.0, -1.0, 1.0], rtol=1e-9, atol=1e-12)
    assert abs(there[1, 0]) <= 1.0


def test_the_sigmoidal_activation_is_a_shifted_error_function():
    # φ(z) = ½ + ½ erf(√π z/2), so that log g(h; κ) = h/2 + log g_erf(h/2; πκ/4); φ(-z) = 1 - φ(z).
    h = np.linspace(-300.0, 300.0, 999)
    table, other = tilted_moments(sigmoidal, 1.3, 1.0), tilted_moments(erf, 1.3 * math.pi / 4, 1.0)
    shifted = cumulants(other, h / 2) * np.array([[1.0], [0.5], [0.25]]) + np.stack(
        [h / 2, np.full_like(h, 0.5), np.zeros_like(h)]
    )
    agree(cumulants(table, h), shifted)
    np.testing.assert_allclose(table.mean(h) + table.mean(-h), 1.0, rtol=0, atol=1e-10)


def test_a_leaky_unit_seen_from_the_other_side():
    # φ_s(-z) = -s φ_(1/s)(z).
    h = np.linspace(-8.0, 8.0, 301)
    found = cumulants(tilted_moments(leaky_relu(0.25), 1.7, 40.0), h)
    mirrored = cumulants(tilted_moments(leaky_relu(4.0), 1.7, 40.0), -0.25 * h)
    agree(found, mirrored * np.array([[1.0], [-0.25], [0.0625]]))


@pytest.mark.parametrize(
    "activation", [sigmoidal, hard_tanh, clipped_relu(1.0), relu, shifted_relu(-0.5)], ids=str
)
def test_every_cumulant_is_the_slope_of_the_one_before(activation):
    # Between the nodes too: central differences over 1e-3 err by 1e-6/6 third derivatives, each at most 2 φ_max³ here, and
    # by 1e-3⁻¹ times rounding and interpolation, 1e-9 of values up to 50.
    table = tilted_moments(activation, 1.0, 10.0)
    h = np.linspace(-9.0, 9.0, 1234)
    for value, slope in ((table.log_g, table.mean), (table.mean, table.variance)):
        difference = (value(h + 1e-3) - value(h - 1e-3)) / 2e-3
        np.testing.assert_allclose(difference, slope(h), rtol=0, atol=2e-5 * np.max(np.abs(slope(h))))


def test_far_tilts_of_an_activation_that_saturates():
    # Where all of φ's range is within reach, h(1 - ⟨φ⟩) tends to one power of a gamma law: for hard_tanh the density of z
    # just below the kink, n(1), over the mass beyond it, Φ(-1), over h: g ≈ e^h [Φ(-1) + n(1)/h].
    table = tilted_moments(hard_tanh, 1.0, 1.0)
    below, beyond = math.exp(-0.5) / math.sqrt(2 * math.pi), float(special.ndtr(-1.0))
    h = np.array([300.0, 1000.0, 4000.0])
    # The next orders are those of ∫ n(1 - x) exp(-h x) dx, n(1 - x) = n(1) (1 + x + O(x³)).
    expected = h + np.log(beyond + below / h + below / h**2)
    np.testing.assert_allclose(table.log_g(h), expected, rtol=1e-12, atol=6 * below / beyond / 300.0**4)
    # Beyond the table the mean stays: too low by no more than what it lacks to one, which is n(1)/Φ(-1)/h² at its end.
    far = np.array([1e5])
    lacking = 1.0 - table.mean(far)[0]
    assert lacking == pytest.approx(below / beyond / 4096**2, rel=1e-2)
    assert 0.0 < 1e5 + math.log(beyond) - table.log_g(far)[0] + below / beyond / 4096 < 1e5 * lacking


def test_which_activations_are_linear():
    assert is_linear(leaky_relu(1.0))
    assert not any(map(is_linear, (relu, leaky_relu(0.5), shifted_relu(-100.0), hard_tanh, sigmoidal)))
    assert asymptotic_slopes(shifted_relu(0.3)) == (0.0, 1.0)
    assert asymptotic_slopes(clipped_relu(2.0)) == (0.0, 0.0)


def test_tables_are_shared():
    assert tilted_moments(relu, 1.0, 3.0) is tilted_moments(relu, 1.0, 15.9)
    assert tilted_moments(relu, 1.0, 3.0) is not tilted_moments(relu, 2.0, 3.0)
