"""The convex program of weight decay: closed forms, other solvers, invariances."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

import hiddencodes as hc
from hiddencodes.models.unit_gain import largest_gains
from hiddencodes.models.weight_decay_dual import dual_bound, loss_and_residuals

STARTS = 48
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((6, 6)), RNG.choice([-1.0, 1.0], (6, 3))


@pytest.fixture(scope="module")
def solved():
    return hc.global_minimum(X, Y, hc.relu, starts=STARTS)


def objective(parameters, activation, width, x, y, decay=0.1):
    w, a = np.split(parameters, [x.shape[1] * width])
    w, a = w.reshape(-1, width), a.reshape(width, -1)
    f = np.asarray(activation(x @ w)) @ a
    return 0.5 * np.sum((y - f) ** 2) + decay / 2 * (np.sum(w**2) + np.sum(a**2))


def test_no_network_is_lower_and_one_is_as_low(solved):
    width = 40
    found = []
    for seed in range(2):
        rng = np.random.default_rng(seed)

        def value_and_gradient(parameters):
            w, a = np.split(parameters, [6 * width])
            w, a = w.reshape(6, width), a.reshape(width, 3)
            h = np.maximum(X @ w, 0)
            error = h @ a - Y
            value = 0.5 * np.sum(error**2) + 0.05 * (np.sum(w**2) + np.sum(a**2))
            of_w = X.T @ ((error @ a.T) * (h > 0)) + 0.1 * w
            return value, np.concatenate([of_w.ravel(), (h.T @ error + 0.1 * a).ravel()])

        best = minimize(value_and_gradient, 0.5 * rng.standard_normal(9 * width), jac=True, method="L-BFGS-B", options={"maxiter": 20000, "maxfun": 40000, "ftol": 1e-14})  # fmt: skip
        found.append(best.fun)
    assert min(found) >= solved.bound
    assert min(found) == pytest.approx(solved.objective, rel=2e-3)
    assert 0 <= solved.gap + 1e-9 < 1e-5


def test_units_that_are_there_make_the_outputs_and_the_objective(solved):
    u, mass = solved.preactivations, solved.mass
    features = np.maximum(u, 0)
    kernel = np.einsum("u,up,uq->pq", mass, features, features)
    np.testing.assert_allclose(kernel, solved.kernel, atol=1e-10)
    # Readouts follow by ridge regression.
    outputs = kernel @ np.linalg.solve(kernel + 0.1 * np.eye(6), Y)
    np.testing.assert_allclose(outputs, solved.outputs, atol=2e-3)
    cost = mass @ np.einsum("up,pq,uq->u", u, np.linalg.inv(X @ X.T), u)
    value = 0.05 * np.trace(Y.T @ np.linalg.solve(kernel + 0.1 * np.eye(6), Y)) + 0.05 * cost
    assert value == pytest.approx(solved.objective, rel=1e-4)


@pytest.mark.slow
def test_only_the_gram_matrix_counts(solved):
    turned = hc.global_minimum(hc.inputs_of_kernel(X @ X.T), Y, hc.relu, starts=STARTS)
    assert turned.objective == pytest.approx(solved.objective, rel=2e-5)


def test_only_the_product_of_the_decay_rates_counts(solved):
    other = hc.global_minimum(X, Y, hc.relu, hidden_decay=0.4, readout_decay=0.025, starts=STARTS)
    assert other.objective == pytest.approx(solved.objective, rel=2e-5)
    np.testing.assert_allclose(other.outputs, solved.outputs, atol=2e-3)


def test_a_linear_network_is_nuclear_norm_regression():
    # Half the squared error and 0.1 times the nuclear norm, of whitened inputs: singular values shrink by 0.1.
    x = np.eye(6)
    left, values, right = np.linalg.svd(Y, full_matrices=False)
    shrunk = np.maximum(values - 0.1, 0)
    found = hc.global_minimum(x, Y, hc.linear, starts=STARTS)
    np.testing.assert_allclose(found.outputs, (left * shrunk) @ right, atol=2e-3)
    expected = 0.5 * np.sum((values - shrunk) ** 2) + 0.1 * shrunk.sum()
    assert found.objective == pytest.approx(expected, rel=2e-5)


def test_a_free_bias_fits_the_mean_at_no_cost():
    y = np.full((6, 1), 3.0)
    found = hc.global_minimum(X, y, hc.relu, free_bias=True, starts=STARTS)
    assert found.objective == pytest.approx(0.0, abs=1e-6)
    assert found.free_constant


def test_too_much_decay_silences_the_network():
    found = hc.global_minimum(X, Y, hc.relu, hidden_decay=1e3, readout_decay=1e3, starts=STARTS)
    assert found.objective == pytest.approx(0.5 * Y.size)
    assert len(found.mass) == 0
    assert hc.kernel_range(found, np.eye(6)).highest == 0.0


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31), loss=st.sampled_from(["gaussian", "bernoulli"]), scale=st.floats(0.01, 3.0)
)
def test_weak_duality(seed, loss, scale):
    """A bound by any residuals is below the objective of any network."""
    rng = np.random.default_rng(seed)
    y = rng.choice([-1.0, 1.0], (5, 2))
    f = scale * rng.standard_normal((5, 2))
    w, a = rng.standard_normal((3, 8)), rng.standard_normal((8, 2)) * scale
    x = rng.standard_normal((5, 3))
    _, z = loss_and_residuals(loss, f, y)
    # Of a linear network the largest gain is a singular value.
    largest = np.linalg.svd(z.T @ x)[1][0]
    value, _ = loss_and_residuals(loss, x @ w @ a, y)
    network = value + 0.05 * (np.sum(w**2) + np.sum(a**2))
    assert dual_bound(loss, z, y, 0.1 / largest, centre=False) <= network + 1e-9


def test_the_search_finds_the_best_unit_of_few_patterns():
    """Against every pattern of activity of five patterns in two dimensions: arcs of the circle, exactly."""
    rng = np.random.default_rng(3)
    x, z = rng.standard_normal((5, 2)), rng.standard_normal((5, 1))
    angle = np.linspace(0, 2 * np.pi, 200_001)
    directions = np.stack([np.cos(angle), np.sin(angle)])
    exact = np.abs(z.T @ np.maximum(x @ directions, 0)).max()
    assert largest_gains(z, x, hc.relu, starts=32).gain.max() == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_decay": 0.0}, "hidden_decay: 0.0 is not positive"),
        ({"tolerance": -1.0}, "tolerance: -1.0 is not positive"),
        ({"loss": "hinge"}, "loss: expected 'gaussian' or 'bernoulli', got 'hinge'"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        hc.global_minimum(X, Y, hc.relu, **options)


def test_targets_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="does not fit"):
        hc.global_minimum(X, Y[:5], hc.relu)


@pytest.mark.parametrize("n", [2, 3])
def test_the_ends_of_a_continuum_are_found(n):
    functions, chosen = hc.walsh_functions(n)
    degree = np.array([len(each) for each in chosen])
    higher = functions[:, degree > 1] @ functions[:, degree > 1].T / len(functions)
    found = hc.global_minimum(np.eye(2**n), hc.factorial_latents(n), hc.relu, starts=64)
    theory = hc.factorial_minimum(np.eye(2**n), hc.factorial_latents(n), hc.relu)
    extent = hc.kernel_range(found, higher)
    # Some minima have no products of latents, others as much as conjunctions of two.
    assert extent.lowest < 0.2 * theory.eigenvalue
    assert extent.highest > 0.95 * theory.eigenvalue * (n / 2)


def test_less_than_one_unit_is_not_attainable():
    softplus = hc.Activation("softplus", jax.nn.softplus)
    assert not hc.global_minimum(np.eye(4), hc.factorial_latents(2), softplus, starts=32).attainable
    assert hc.global_minimum(np.eye(4), hc.factorial_latents(2), hc.relu, starts=32).attainable


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="inputs, targets: expected finite numbers"):
        hc.global_minimum(np.full((2, 2), np.nan), np.ones((2, 1)), hc.relu)
