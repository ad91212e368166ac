"""The single-unit theory against its own equations, a separate derivation, and the closed form of linear units."""

from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest

import hiddencodes as hc


def targets(y_minus: float, n_classes: int = 3) -> np.ndarray:
    return np.where(np.eye(n_classes) > 0, 1.0, y_minus)


ODD = np.array([[1.0, -0.3], [-0.8, 0.4]])
SETTINGS = {
    "sigmoidal": (hc.sigmoidal, (30, 15, 15), targets(0.5), 1 / 60, 0.004, 1.0),
    "zero-temperature": (hc.sigmoidal, (20, 12, 8), targets(-0.5), 1 / 40, 0.0, 0.5),
    "tanh": (hc.tanh, (12, 20), ODD, 2 / 32, 0.1, 2.0),
    "one-output": (hc.hard_tanh, (16, 16), np.array([[1.0], [-1.0]]), 1 / 32, 0.02, 1.0),
    "clipped": (hc.clipped_relu(1.0), (25, 25), targets(0.0, 2), 1 / 50, 0.01, 1.0),
    "relu": (hc.relu, (50, 25, 25), targets(-0.5), 1 / 100, 0.002, 1.0),
}


@cache
def solved(name: str) -> hc.SingleUnitSaddle:
    activation, counts, y, variance, n_temperature, kappa = SETTINGS[name]
    return hc.single_unit_saddle(
        activation, counts, y, readout_variance=variance, n_temperature=n_temperature, input_variance=kappa
    )


@pytest.mark.parametrize("name", SETTINGS)
def test_the_multiplier_is_that_of_regression_with_the_learned_kernel(name):
    """t = (σ_a² K + N T)⁻¹ Y with K the kernel of the solution: Gaussian conditioning, which the solver does not use."""
    _, counts, y, variance, n_temperature, _ = SETTINGS[name]
    saddle = solved(name)
    labels = np.repeat(np.arange(len(counts)), counts)
    kernel = saddle.kernel_blocks[np.ix_(labels, labels)]
    kernel[np.diag_indices(len(labels))] = saddle.kernel_diagonal[labels]
    t = np.linalg.solve(variance * kernel + n_temperature * np.eye(len(labels)), y[labels])
    # Of a rectified unit's bulk, what lies beyond 80 % of the barrier is left out: exp(-0.8 P ΔE), with P ΔE = 35.
    np.testing.assert_allclose(t, saddle.multiplier[labels], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["sigmoidal", "tanh", "one-output", "clipped"])
def test_fractions_sum_to_one_and_branches_make_up_the_moments(name):
    saddle = solved(name)
    fractions = np.array([b.fraction for b in saddle.branches])
    assert fractions.sum() == pytest.approx(1.0, abs=1e-9)
    assert sum(saddle.code_shares().values()) == pytest.approx(1.0, abs=1e-9)
    second = sum(
        b.fraction * (b.readout_covariance + np.outer(b.readout, b.readout)) for b in saddle.branches
    )
    np.testing.assert_allclose(second, saddle.readout_overlap, rtol=1e-9)


def test_finite_p_table():
    """From a separate derivation and program, to three digits."""
    saddle = solved("sigmoidal")
    found = {b.code: b.fraction for b in saddle.branches}
    for code, fraction in {"011": 0.316, "101": 0.307, "110": 0.307, "111": 0.071}.items():
        assert found[code] == pytest.approx(fraction, abs=1e-3)
    np.testing.assert_allclose(saddle.multiplier[0], [4.801, -0.676, -0.676], atol=1e-3)
    np.testing.assert_allclose(saddle.multiplier[1], [-1.771, 8.016, -1.022], atol=1e-3)


@pytest.mark.parametrize("temperature", [0.0, 0.3])
def test_linear_units_are_the_linear_network(temperature):
    y = np.array([[1.0, 0.2], [-0.5, 0.7]])
    counts = (12, 8)
    labels = np.repeat([0, 1], counts)
    unit = hc.single_unit_saddle(
        hc.linear, counts, y, readout_variance=0.1, n_temperature=temperature, input_variance=1.5
    )
    network = hc.linear_saddle(1.5 * np.eye(20), y[labels], 1, 0.1, n_temperature=temperature)
    blocks, diagonal = hc.kernel_class_blocks(network.kernels[0], labels)
    np.testing.assert_allclose(unit.kernel_blocks, blocks, rtol=1e-7)
    np.testing.assert_allclose(unit.kernel_diagonal, diagonal, rtol=1e-7)
    np.testing.assert_allclose(unit.readout_overlap, network.readout_overlap, rtol=1e-7)
    np.testing.assert_allclose(unit.multiplier[labels], network.multiplier, rtol=1e-7)


def test_the_limit_of_many_patterns_is_approached_as_one_over_p():
    limit = hc.single_unit_limit(hc.sigmoidal, (0.5, 0.25, 0.25), targets(0.0))
    errors = [
        np.abs(
            hc.single_unit_saddle(hc.sigmoidal, (2 * p, p, p), targets(0.0)).multiplier - limit.multiplier
        ).max()
        for p in (25, 100, 400)
    ]
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.2)
    assert errors[1] / errors[2] == pytest.approx(4.0, rel=0.2)


def test_outliers_sit_on_flat_rays_and_carry_the_classes():
    limit = hc.single_unit_limit(hc.relu, (0.5, 0.25, 0.25), targets(-0.5))
    by_code = {outlier.code: outlier for outlier in limit.outliers}
    assert sorted(by_code) == ["001", "010", "100"]
    p, t = np.array([0.5, 0.25, 0.25]), limit.multiplier
    for outlier in limit.outliers:
        cost = 0.5 * outlier.readout @ outlier.readout + 0.5 * p @ outlier.preactivations**2
        gain = p @ (t @ outlier.readout * outlier.activations)
        assert gain == pytest.approx(cost, rel=1e-5)
    bulk = limit.branches[0]
    total = np.outer(bulk.class_means, bulk.readout)
    total += sum(np.outer(o.activations, o.readout) for o in limit.outliers)
    np.testing.assert_allclose(total, targets(-0.5), atol=1e-6)
    np.testing.assert_allclose(by_code["100"].readout, [0.736, -0.368, -0.368], atol=1e-3)


def test_an_even_readout_energy_leaves_the_shares_to_the_entropy():
    limit = hc.single_unit_limit(hc.tanh, (0.5, 0.25, 0.25), targets(0.0))
    assert not limit.unique
    np.testing.assert_allclose([b.fraction for b in limit.branches], 1 / 8, atol=1e-6)
    assert hc.single_unit_limit(hc.sigmoidal, (0.5, 0.25, 0.25), targets(0.5)).unique


@pytest.mark.parametrize("name", ["sigmoidal", "tanh", "clipped", "relu"])
def test_densities_have_the_moments_of_the_solution(name):
    saddle = solved(name)
    bulk = saddle.readout_overlap - sum(np.outer(o.readout, o.readout) for o in saddle.outliers)
    a = np.linspace(-8.0, 8.0, 8001)
    density = saddle.readout_density(a, 0)
    step = a[1] - a[0]
    # Interpolation errors are below 1e-4 of the peak.
    assert density.sum() * step == pytest.approx(1.0, abs=1e-3)
    assert (density * a**2).sum() * step == pytest.approx(bulk[0, 0], rel=1e-2)
    z = np.linspace(-15.0, 15.0, 6001)
    # Tilts are gathered on a grid of 0.02: an error of at most 0.02²/8 times a second derivative of order one.
    density = saddle.preactivation_density(z, 1) * (z[1] - z[0])
    phi = np.asarray(SETTINGS[name][0](jnp.asarray(z)))
    outside = sum(o.activations[1] ** 2 for o in saddle.outliers)
    assert density.sum() == pytest.approx(1.0, abs=1e-4)
    assert density @ phi**2 == pytest.approx(saddle.kernel_diagonal[1] - outside, rel=1e-4)
    edges = np.linspace(-3.0, 12.0, 31)
    assert saddle.activation_probability(edges, 1).sum() == pytest.approx(1.0, abs=1e-4)


def test_the_training_loss_of_a_linear_network_falls_to_its_bias():
    """For one output the finite network has an exact law, whose loss the formula meets up to order 1/N²."""
    n_temperature, counts, y = 0.5, (6, 6), np.array([[1.0], [-1.0]])
    labels = np.repeat([0, 1], counts)
    saddle = hc.single_unit_saddle(hc.linear, counts, y, n_temperature=n_temperature)
    rng = np.random.default_rng(0)
    for width in (200, 800):
        drawn = hc.sample_linear_posterior(
            np.eye(12), y[labels], width, 1 / 12, 2000, rng, temperature=n_temperature / width
        )
        f = np.einsum("si,spi->sp", drawn.readout, drawn.preactivations) / width
        loss = 0.5 * np.sum((y[labels, 0] - f) ** 2, axis=1)
        error = loss.std() / np.sqrt(len(loss))
        # Five standard errors, and the next order: the fluctuation term over the width.
        fluctuation = saddle.train_loss(width) - saddle.train_loss(10**9)
        assert abs(loss.mean() - saddle.train_loss(width)) < 5 * error + fluctuation * len(labels) / width


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_counts": (5, 0)}, "class_counts"),
        ({"class_counts": (5, 5, 5)}, "class_targets: 2 rows"),
        ({"class_targets": np.zeros((2, 2))}, "class_targets"),
        ({"readout_variance": -1.0}, "readout_variance: .* got -1.0"),
        ({"n_temperature": -0.1}, "n_temperature: .* got -0.1"),
        ({"input_variance": 0.0}, "input_variance: .* got 0.0"),
    ],
)
def test_bad_arguments_are_refused_by_name(change, message):
    arguments = {"class_counts": (5, 5), "class_targets": np.eye(2)} | change
    with pytest.raises(ValueError, match=message):
        hc.single_unit_saddle(hc.sigmoidal, **arguments)


def test_the_limit_refuses_a_scale_that_is_not_positive():
    with pytest.raises(ValueError, match="readout_scale"):
        hc.single_unit_limit(hc.sigmoidal, (0.5, 0.5), np.eye(2), readout_scale=-1.0)
