import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from hiddencodes.models.activations import (
    Activation,
    clipped_relu,
    erf,
    hard_tanh,
    leaky_relu,
    linear,
    relu,
    shifted_relu,
    sigmoidal,
    tanh,
)
from hiddencodes.models.gaussian_integrals import (
    evaluate,
    piecewise_linear_form,
    piecewise_linear_kernel,
    smooth_kernel,
    smooth_mean,
)
from hiddencodes.models.nngp import activation_kernel, activation_mean

PIECEWISE = (
    linear,
    relu,
    leaky_relu(0.3),
    hard_tanh,
    shifted_relu(0.5),
    shifted_relu(-1.0),
    clipped_relu(1.5),
)
SMOOTH = (sigmoidal, erf, tanh)
CORRELATIONS = np.array(
    [-1, -1 + 1e-9, -1 + 1e-4, -0.9, -0.4, 0, 0.3, 0.8, 0.99, 1 - 1e-4, 1 - 1e-6, 1 - 1e-10, 1]
)
# What the docstrings promise: an error below 1e-9 of max(1, √(q1 q2)).
PROMISE = 1e-9

variances = st.floats(1e-3, 30.0)
correlations = st.floats(-1.0, 1.0) | st.floats(0.0, 12.0).map(lambda digits: 1.0 - 10.0**-digits)


def panels(lowest: float, highest: float, breaks: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights on panels that end at the breaks."""
    inside = [each for each in breaks if lowest < each < highest]
    edges = np.unique(np.concatenate([np.linspace(lowest, highest, 121), inside]))
    node, weight = np.polynomial.legendre.leggauss(24)
    half = 0.5 * np.diff(edges)[:, None]
    return (edges[:-1, None] + half * (1.0 + node)).ravel(), (half * weight).ravel()


def by_conditioning(each: Activation, q1: float, q2: float, rho: float) -> float:
    """E φ(u) E[φ(v)|u]: the inner mean of every piece analytic, the outer one over panels ending at every kink."""
    spread = math.sqrt(q2 * (1.0 - rho) * (1.0 + rho))
    gain = rho * math.sqrt(q2 / q1)
    breaks = list(each.kinks)
    if abs(rho) > 1e-6:
        # The inner mean bends over a width spread/gain around the kinks; at correlation one it has kinks there.
        steps = np.array([-8, -4, -2, -1, 0, 1, 2, 4, 8]) * spread
        breaks += [float(step) for kink in each.kinks for step in (kink + steps) / gain]
    u, weight = panels(-12.0 * math.sqrt(q1), 12.0 * math.sqrt(q1), breaks)
    form = piecewise_linear_form(each)
    inner = form.intercept + form.slope * gain * u
    for bend, kink in zip(form.bends, form.kinks, strict=True):
        above = gain * u - kink
        if spread > 0.0:
            h = above / spread
            density = np.exp(-0.5 * h * h) / math.sqrt(2 * math.pi)
            inner = inner + bend * (above * special.ndtr(h) + spread * density)
        else:
            inner = inner + bend * np.maximum(above, 0.0)
    density = np.exp(-0.5 * u * u / q1) / math.sqrt(2 * math.pi * q1)
    return float(np.sum(weight * density * evaluate(each, u) * inner))


def by_grid(each: Activation, q1: float, q2: float, rho: float) -> float:
    """Two-dimensional trapezoidal rule in independent normals; exponentially convergent for a smooth φ."""
    x = np.linspace(-9.0, 9.0, 1201)
    weight = np.exp(-0.5 * x * x)
    weight /= weight.sum()
    u = math.sqrt(q1) * x
    v = math.sqrt(q2) * (rho * x[:, None] + math.sqrt((1.0 - rho) * (1.0 + rho)) * x)
    return float((weight * evaluate(each, u)) @ evaluate(each, v) @ weight)


@pytest.mark.parametrize("each", PIECEWISE, ids=str)
@given(q1=variances, q2=variances, rho=correlations)
@settings(max_examples=40, deadline=None)
def test_piecewise_linear_kernels(each: Activation, q1: float, q2: float, rho: float) -> None:
    kernel = activation_kernel(each, q1, q2, rho * math.sqrt(q1 * q2))
    assert abs(float(kernel) - by_conditioning(each, q1, q2, rho)) < PROMISE * max(1.0, math.sqrt(q1 * q2))


@pytest.mark.parametrize("each", [hard_tanh, shifted_relu(0.5), clipped_relu(1.5)], ids=str)
def test_nearly_equal_variances_at_every_correlation(each: Activation) -> None:
    # The hardest corner: the exponential of the angular integral is steepest where the variances nearly agree.
    for q2 in (1.0, 1.0001, 1.003, 1.03, 1.3):
        kernel = activation_kernel(each, 1.0, q2, CORRELATIONS * math.sqrt(q2))
        expected = [by_conditioning(each, 1.0, q2, float(rho)) for rho in CORRELATIONS]
        np.testing.assert_allclose(kernel, expected, rtol=0, atol=PROMISE)


@pytest.mark.parametrize("each", SMOOTH, ids=str)
@pytest.mark.parametrize(("q1", "q2"), [(1e-3, 1e-3), (1e-3, 30.0), (1.0, 2.0), (30.0, 30.0)])
def test_smooth_kernels(each: Activation, q1: float, q2: float) -> None:
    rho = np.array([-1.0, -0.7, 0.0, 0.5, 0.999, 1.0])
    expected = [by_grid(each, q1, q2, float(value)) for value in rho]
    np.testing.assert_allclose(
        activation_kernel(each, q1, q2, rho * math.sqrt(q1 * q2)), expected, rtol=0, atol=PROMISE
    )


@pytest.mark.parametrize("each", [sigmoidal, erf], ids=str)
def test_closed_forms_and_the_hermite_series_agree(each: Activation) -> None:
    q1, q2 = np.array([[0.1], [1.0], [9.0]]), np.array([[0.5, 1.0, 20.0]])
    for rho in CORRELATIONS:
        closed = activation_kernel(each, q1, q2, rho * np.sqrt(q1 * q2))
        np.testing.assert_allclose(
            smooth_kernel(each, q1, q2, np.full((3, 3), rho)), closed, rtol=0, atol=PROMISE
        )
        np.testing.assert_allclose(smooth_mean(each, q1), activation_mean(each, q1), rtol=0, atol=1e-14)


@pytest.mark.parametrize("each", [linear, relu, leaky_relu(0.3)], ids=str)
def test_closed_forms_and_the_angular_integral_agree(each: Activation) -> None:
    q1, q2 = np.full(CORRELATIONS.shape, 0.7), np.full(CORRELATIONS.shape, 2.0)
    closed = activation_kernel(each, q1, q2, CORRELATIONS * np.sqrt(q1 * q2))
    integral = piecewise_linear_kernel(piecewise_linear_form(each), q1, q2, CORRELATIONS)
    np.testing.assert_allclose(integral, closed, rtol=0, atol=1e-14)


@pytest.mark.parametrize("each", [*PIECEWISE, *SMOOTH], ids=str)
@given(q=variances)
@settings(max_examples=20, deadline=None)
def test_means(each: Activation, q: float) -> None:
    u, weight = panels(-12.0 * math.sqrt(q), 12.0 * math.sqrt(q), list(each.kinks))
    expected = np.sum(weight * np.exp(-0.5 * u * u / q) / math.sqrt(2 * math.pi * q) * evaluate(each, u))
    assert abs(float(activation_mean(each, q)) - expected) < 1e-12


@pytest.mark.parametrize("each", [*PIECEWISE, *SMOOTH], ids=str)
@given(q1=variances, q2=variances, rho=correlations)
@settings(max_examples=15, deadline=None)
def test_bounds_and_symmetries(each: Activation, q1: float, q2: float, rho: float) -> None:
    scale = math.sqrt(q1 * q2)
    tolerance = PROMISE * max(1.0, scale)
    kernel = float(activation_kernel(each, q1, q2, rho * scale))
    assert abs(kernel - float(activation_kernel(each, q2, q1, rho * scale))) < tolerance
    q = np.array([q1, q2])
    squares = activation_kernel(each, q, q, q)
    assert abs(kernel) <= math.sqrt(squares[0] * squares[1]) + tolerance
    independent = float(activation_mean(each, q1) * activation_mean(each, q2))
    assert abs(float(activation_kernel(each, q1, q2, 0.0)) - independent) < tolerance


@pytest.mark.parametrize("each", [*PIECEWISE, *SMOOTH], ids=str)
def test_a_vanishing_variance_leaves_a_constant(each: Activation) -> None:
    value = float(evaluate(each, np.zeros(1))[0])
    kernel = activation_kernel(each, np.array([0.0, 0.0, 1e-300]), np.array([1.0, 0.0, 1.0]), 0.0)
    one, zero = float(activation_mean(each, 1.0)), float(activation_mean(each, 0.0))
    assert zero == pytest.approx(value, abs=1e-15)
    np.testing.assert_allclose(kernel, value * np.array([one, value, one]), rtol=0, atol=1e-14)


def test_printed_value() -> None:
    # E φ(z)² of the sigmoidal function at unit variance, to the digits printed.
    assert float(activation_kernel(sigmoidal, 1.0, 1.0, 1.0)) == pytest.approx(0.354619, abs=5e-7)


@given(q1=variances, q2=variances, rho=st.floats(-1.0, 1.0), shift=st.floats(0.2, 5.0))
@settings(max_examples=40, deadline=None)
def test_identities(q1: float, q2: float, rho: float, shift: float) -> None:
    scale = math.sqrt(q1 * q2)
    c = rho * scale

    def kernel(each: Activation, factor: float = 1.0) -> float:
        return float(activation_kernel(each, factor * q1, factor * q2, factor * c))

    rounding = 1e-13 * max(1.0, scale)
    assert abs(kernel(leaky_relu(1.0)) - c) < rounding
    assert abs(kernel(leaky_relu(0.0)) - kernel(relu)) < rounding
    assert abs(kernel(shifted_relu(0.0)) - kernel(relu)) < rounding
    assert abs(kernel(clipped_relu(1e3)) - kernel(relu)) < rounding
    assert abs(kernel(shifted_relu(-1e3)) - (c + 1e6)) < 1e-9  # linear and far above zero; 1e6 carries 1e-10
    # sigmoidal(z) = [1 + erf(√π z/2)]/2, and max(z - s, 0) = s max(z/s - 1, 0).
    assert abs(kernel(sigmoidal) - 0.25 * (1.0 + kernel(erf, 0.25 * math.pi))) < rounding
    rescaled = shift**2 * kernel(shifted_relu(1.0), shift**-2)
    assert abs(kernel(shifted_relu(shift)) - rescaled) < PROMISE * max(1.0, scale)


@pytest.mark.parametrize("each", [tanh, clipped_relu(1.1), leaky_relu(0.1)], ids=str)
def test_single_precision_in_jax_changes_nothing(each: Activation) -> None:
    expected = activation_kernel(each, 1.0, 2.0, 0.5), activation_mean(each, 1.0)
    with jax.enable_x64(False):
        assert activation_kernel(each, 1.0, 2.0, 0.5) == expected[0]
        assert activation_mean(each, 1.0) == expected[1]


def test_rounding_past_perfect_correlation_is_correlation_one() -> None:
    for each in (relu, sigmoidal, tanh, hard_tanh):
        assert activation_kernel(each, 1.0, 1.0, 1.0 + 1e-7) == activation_kernel(each, 1.0, 1.0, 1.0)


def test_many_distinct_variances_are_done_in_pieces() -> None:
    q = np.linspace(0.5, 1.0, 5000)
    kernel = activation_kernel(tanh, q, q, 0.5 * q)
    np.testing.assert_allclose(
        kernel[[0, -1]], activation_kernel(tanh, q[[0, -1]], q[[0, -1]], 0.5 * q[[0, -1]])
    )


def test_refuses_kernels() -> None:
    with pytest.raises(ValueError, match="q1 must be finite and non-negative"):
        activation_kernel(relu, -1.0, 1.0, 0.0)
    with pytest.raises(ValueError, match="q must be finite"):
        activation_mean(relu, math.nan)
    with pytest.raises(ValueError, match=r"\|c\| <= sqrt"):
        activation_kernel(relu, 1.0, 1.0, 1.1)
    with pytest.raises(ValueError, match=r"\|c\| <= sqrt"):
        activation_kernel(relu, 1.0, 1.0, math.nan)


def test_refuses_what_it_cannot_integrate() -> None:
    bent = Activation("bent", jnp.tanh, kinks=(0.0,))
    with pytest.raises(ValueError, match="curved pieces"):
        activation_kernel(bent, 1.0, 1.0, 0.5)
    with pytest.raises(ValueError, match="16384 Hermite terms do not suffice at variance 100000"):
        activation_kernel(tanh, 1e5, 1e5, 0.5)
    with pytest.raises(ValueError, match="not piecewise linear"):
        piecewise_linear_form(tanh)
