"""Minima of deeper networks: one layer is known, gradients vanish, units of one latent make the kernels."""

import numpy as np
import pytest

import hiddencodes as hc


def test_one_layer_is_the_known_case():
    one = hc.deep_linear_minimum(8, 3, 1)
    theory = hc.factorial_minimum(np.eye(8), hc.factorial_latents(3), hc.tanh)
    assert one.objective == pytest.approx(theory.objective)
    assert one.eigenvalues[0] == pytest.approx(theory.eigenvalue)


def _network(p, n, q, weights):
    """Two layers of units of one latent, of the sizes that give outputs q Y; their objective."""
    t = (2 * n**2 * (n + 1) * p * q**2) ** (1 / 3)
    return n * p * (1 - q) ** 2 / 2 + weights / 2 * 3 * t


@pytest.mark.parametrize("n", [2, 3])
def test_two_layers_of_relu_units(n):
    """The sizes of weights that are balanced between the layers, built by hand, have this objective and these kernels."""
    p = 2**n
    found = hc.two_layer_relu_minimum(p, n)
    y = hc.factorial_latents(n)
    units = np.concatenate([y > 0, y < 0], axis=1).astype(float)
    # First layer: a unit per value of a latent, response s on half of the patterns. Second: w on itself minus on its opposite.
    kappa, const = found.eigenvalues, found.constants
    s = np.sqrt(2 * kappa[0] / p)
    first = s * units
    kernel = first @ first.T
    spectrum = hc.walsh_spectrum(kernel, hc.walsh_functions(n)[0])
    np.testing.assert_allclose(spectrum[1 : n + 1], kappa[0])
    assert spectrum[0] == pytest.approx(const[0])
    assert const[1] == pytest.approx(n * kappa[1])
    # Balanced layers: all have the same squared norm, T each.
    t = (2 * n**2 * (n + 1) * p * found.amplitude**2) ** (1 / 3)
    assert np.trace(kernel) == pytest.approx(t)
    assert found.objective == pytest.approx(_network(p, n, found.amplitude, 0.1))


def test_stationary():
    for q in (hc.two_layer_relu_minimum(4, 2).amplitude,):
        step = 1e-5
        slope = (_network(4, 2, q + step, 0.1) - _network(4, 2, q - step, 0.1)) / (2 * step)
        assert slope == pytest.approx(0.0, abs=1e-6)


def test_decay_that_is_too_large():
    assert hc.deep_linear_minimum(4, 2, 2, decay=10.0).amplitude == 0.0
    assert hc.two_layer_relu_minimum(4, 2, decay=10.0).objective == 4.0
    with pytest.raises(ValueError, match="depth: 0 is not positive"):
        hc.deep_linear_minimum(4, 2, 0)
