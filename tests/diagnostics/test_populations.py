"""The populations the scheme decision is tested on are those of the theory."""

import numpy as np
import populations as pop
import pytest
from layouts import Layout, correlated_kernel, orthogonal_kernel, prior_moments

THREE = (0.5, 0.25, 0.25)


def test_dual_of_the_three_class_task_at_finite_temperature():
    """P = 60, y- = 1/2, NT = 0.004: multipliers and code fractions, checked against HMC of a width-100 network."""
    layout = Layout(60, THREE, 0.5)
    t, residual = pop.solve_sigmoidal(
        layout,
        pop.sigmoidal_dual(layout),
        pop.branch_grid(layout, pop.sigmoidal_dual(layout)),
        0.004,
        steps=10,
    )
    expected = [[4.801, -0.676, -0.676], [-1.771, 8.016, -1.022], [-1.771, -1.022, 8.016]]
    assert residual < 1e-8
    # The reference prints three decimals.
    np.testing.assert_allclose(t, expected, atol=2e-3)


@pytest.mark.parametrize("key", sorted(k for k in pop.SIGMOIDAL_DUAL if k[1] == 60 or k[0] == 2))
def test_stored_duals_solve_the_saddle_point_equations(key):
    n_class, n_patterns, off = key
    layout = Layout(n_patterns, THREE if n_class == 3 else (0.5, 0.5), off)
    t = pop.sigmoidal_dual(layout)
    solved, residual = pop.solve_sigmoidal(layout, t, pop.branch_grid(layout, t), steps=6)
    assert residual < 1e-6
    # Stored with four decimals.
    np.testing.assert_allclose(t, solved, atol=1e-3)


def test_redundant_codes_have_the_fractions_of_the_reference():
    """P = 60, one-hot, zero temperature: 011 .325, 101 and 110 .331 each, 100 .014."""
    means = pop.redundant(Layout(60, THREE, 0.0), 500, 20, np.random.default_rng(0)).reshape(-1, 3)
    code = (means > 0.5) @ [4, 2, 1]
    for number, fraction in ((0b011, 0.325), (0b101, 0.331), (0b110, 0.331), (0b100, 0.014)):
        # z = 5 binomial errors of 10,000 units, and the last digit of the reference.
        assert (code == number).mean() == pytest.approx(
            fraction, abs=5 * np.sqrt(fraction * (1 - fraction) / len(code)) + 1e-3
        )


def test_analog_kernel_is_the_learned_kernel():
    """N^-1 sum_i z z^T averages to K0 + Y U^-1 Y^T; here in class blocks, K0 = 1, two classes, targets 1 and -1."""
    layout = Layout(60, (0.5, 0.5), -1.0)
    m = pop.analog(orthogonal_kernel(layout), layout, 200, 100, np.random.default_rng(0)).reshape(-1, 2)
    second = m.T @ m / len(m)
    # Y^T Y / P = [[1, -1], [-1, 1]] has the eigenvalue 2: u (u P - 1) = 2 P; Y U^-1 Y^T has blocks +-2/u.
    u = (1 + np.sqrt(1 + 8 * 60**2)) / 120
    expected = 2 / u * np.array([[1, -1], [-1, 1]]) + np.eye(2) / 30
    # Fourth moments of Gaussians: Var = (S_cc S_c'c' + S_cc'^2) / n <= 2 S_cc^2 / n.
    np.testing.assert_allclose(second, expected, atol=5 * np.sqrt(2 / len(m)) * expected[0, 0])


def test_sparse_bulk_and_outliers_match_the_reference():
    """y- = -1/2: bulk class means .484, .346, .346 as P grows; outliers abar_k relu(zbar_k) at sqrt(N) zbar."""
    means = pop.sparse(Layout(100, THREE, -0.5), 500, 20, np.random.default_rng(0))
    bulk = means[:, 3:].reshape(-1, 3)
    # z = 5 standard errors, the third digit of the reference and its O(1/P) correction (E'' near 1: 1/(2P) relative).
    np.testing.assert_allclose(bulk.mean(0), [0.484, 0.346, 0.346], atol=5 * 0.1 / np.sqrt(len(bulk)) + 0.01)
    scale = np.sqrt(500)
    np.testing.assert_allclose(means[:, 0, 0].mean() / scale, 1.275, atol=0.01)
    np.testing.assert_allclose(means[:, 1, 1].mean() / scale, 1.583, atol=0.01)


@pytest.mark.parametrize("name", ["linear", "sigmoidal", "relu"])
def test_prior_moments_are_those_of_lazy_units(name):
    layout = Layout(60, THREE, 0.0)
    kernel = correlated_kernel(layout)
    prior = prior_moments(name, kernel, layout)
    m = pop.lazy(name, kernel, layout, 200, 250, np.random.default_rng(0)).reshape(-1, 3)
    deviation = m - prior.mean
    error = m.std(0) / np.sqrt(len(m))
    assert (np.abs(deviation.mean(0)) < 5 * error).all()
    products = deviation[:, :, None] * deviation[:, None, :]
    assert (np.abs(products.mean(0) - prior.covariance) < 5 * products.std(0) / np.sqrt(len(m))).all()
