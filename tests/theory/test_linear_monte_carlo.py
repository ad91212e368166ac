import math

import numpy as np
import pytest

from hiddencodes.theory.kernel_blocks import kernel_class_blocks
from hiddencodes.theory.linear_exact import deep_linear_exact
from hiddencodes.theory.linear_monte_carlo import Estimate, linear_monte_carlo


def assert_agrees(estimate: Estimate, expected: np.ndarray | float, error: np.ndarray | float = 0.0) -> None:
    # The error comes from 32 groups of chains: five of it; 1e-12 is the rounding of what no draw changes.
    bound = 5.0 * np.hypot(estimate.error, error) + 1e-12
    assert np.all(np.abs(estimate.mean - expected) < bound)


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("n_temperature", [0.0, 0.3])
@pytest.mark.parametrize("width", [8, 60])
def test_one_output_against_the_exact_law(depth: int, n_temperature: float, width: int) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((12, 16)), rng.standard_normal((12, 1))
    k_input = x @ x.T / 16
    law = deep_linear_exact(k_input, y, depth, width, 0.3, n_temperature=n_temperature)
    found = linear_monte_carlo(k_input, y, depth, width, 0.3, n_temperature=n_temperature, steps=600)
    assert_agrees(found.readout_overlap, law.readout_overlap)
    assert_agrees(found.output_overlap, law.output_overlap)
    assert_agrees(found.kernels, law.kernels)
    assert_agrees(found.multiplier, law.multiplier)
    # The errors are small enough to say something.
    assert np.max(found.readout_overlap.error) < 0.01 * law.readout_overlap


def test_two_outputs_against_weighted_prior_networks() -> None:
    """Whole networks drawn from the prior and weighted by the likelihood: no formula is shared with the code."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3, 5))
    y = np.array([[1.0, -0.5], [-0.4, 0.8], [0.3, 0.6]])
    width, variance, n_temperature, draws = 5, 0.8, 1.5, 200_000
    z = np.einsum("pi,din->dpn", x, rng.standard_normal((draws, 5, width))) / math.sqrt(5)
    layers = [z, np.einsum("dpn,dnk->dpk", z, rng.standard_normal((draws, width, width))) / math.sqrt(width)]
    kernels = np.stack([np.einsum("dpn,dqn->dpq", layer, layer) / width for layer in layers], axis=1)
    a = math.sqrt(variance) * rng.standard_normal((draws, width, 2))
    residual = y - layers[-1] @ a / width
    log_weight = -0.5 * width / n_temperature * np.sum(residual**2, axis=(1, 2))
    weight = np.exp(log_weight - np.max(log_weight))
    weight /= np.sum(weight)
    assert 1.0 / np.sum(weight**2) > 2000

    k_input = x @ x.T / 5
    found = linear_monte_carlo(k_input, y, 2, width, variance, n_temperature=n_temperature)
    overlap = a.transpose(0, 2, 1) @ a / width
    for sample, estimate in (
        (overlap, found.readout_overlap),
        (kernels, found.kernels),
        (residual / n_temperature, found.multiplier),
    ):
        mean = np.tensordot(weight, sample, axes=1)
        error = np.sqrt(np.tensordot(weight**2, np.square(sample - mean), axes=1))
        assert_agrees(estimate, mean, error)
    # The data move the overlap, so that agreement says something.
    assert np.max(np.abs(found.readout_overlap.mean - variance * np.eye(2))) > 0.04


def test_class_blocks_are_those_of_the_kernels() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1])
    y = np.where(labels[:, None] == np.arange(2), 1.0, -0.5)
    found = linear_monte_carlo(np.eye(6), y, 2, 20, 0.5, labels=labels, steps=100)
    blocks, diagonal = kernel_class_blocks(found.kernels.mean, labels)
    np.testing.assert_allclose(found.kernel_blocks.mean, blocks, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.kernel_diagonal.mean, diagonal, rtol=0, atol=1e-12)
    again = linear_monte_carlo(np.eye(6), y, 2, 20, 0.5, labels=labels, steps=100)
    np.testing.assert_array_equal(again.kernels.mean, found.kernels.mean)
    # Two classes of equal size are alike.
    difference = blocks[:, 0, 0] - blocks[:, 1, 1]
    assert np.all(np.abs(difference) < 5.0 * np.sqrt(2.0) * np.max(found.kernel_blocks.error, axis=(1, 2)))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"width": 3}, "width must be at least the number of outputs plus 2, 4, got 3"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"depth": 0}, "depth must be at least 1, got 0"),
    ],
)
def test_refuses_arguments(changed: dict[str, int], message: str) -> None:
    accepted = {"depth": 1, "width": 10}
    with pytest.raises(ValueError, match=message):
        linear_monte_carlo(np.eye(2), np.ones((2, 2)), readout_variance=1.0, **{**accepted, **changed})  # pyright: ignore
