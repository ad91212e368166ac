import math

import numpy as np
import pytest

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
from hiddencodes.models.gaussian_integrals import evaluate
from hiddencodes.models.nngp import NNGPKernels, activation_mean, class_mean_prior, nngp_kernels

EVERY = (
    linear,
    relu,
    leaky_relu(0.3),
    hard_tanh,
    shifted_relu(0.5),
    clipped_relu(1.5),
    sigmoidal,
    erf,
    tanh,
)
# The docstrings promise an error of a kernel below 1e-9 of max(1, √(q1 q2)).
PROMISE = 1e-9


@pytest.mark.parametrize("each", EVERY, ids=str)
def test_kernels_against_a_random_layer(each: Activation) -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((3, 5))
    kernels = nngp_kernels(each, x @ x.T / 5, 1, weight_variance=1.3, bias_variance=0.2)
    width = 200_000
    z = math.sqrt(1.3 / 5) * x @ rng.standard_normal((5, width)) + math.sqrt(0.2) * rng.standard_normal(width)
    phi = evaluate(each, z)
    products = phi[:, None] * phi[None, :]
    # Units are independent: five standard errors, the standard deviation taken from the same layer.
    for sample, expected in ((products, kernels.postactivation[0]), (phi, kernels.mean[0])):
        error = np.std(sample, axis=-1) / math.sqrt(width)
        assert np.all(np.abs(np.mean(sample, axis=-1) - expected) <= 5.0 * error)


@pytest.mark.parametrize("each", [relu, tanh, clipped_relu(1.5)], ids=str)
def test_layers_are_symmetric_positive_semidefinite_and_recursive(each: Activation) -> None:
    x = np.random.default_rng(5).standard_normal((12, 7))
    x[4] = x[3]
    x[5] = -x[3]
    k_input = x @ x.T / 7
    kernels = nngp_kernels(each, k_input, 3, weight_variance=2.0, bias_variance=0.1)
    assert kernels.preactivation.shape == kernels.postactivation.shape == (3, 12, 12)
    np.testing.assert_allclose(kernels.preactivation[0], 2.0 * k_input + 0.1)
    np.testing.assert_allclose(kernels.preactivation[1:], 2.0 * kernels.postactivation[:-1] + 0.1)
    for layer, kernel in enumerate(kernels.postactivation):
        assert np.array_equal(kernel, kernel.T)
        # Entries are off by less than the promise, which moves eigenvalues by less than 12 of it.
        assert np.min(np.linalg.eigvalsh(kernel)) > -12.0 * PROMISE
        assert kernel[3, 4] == pytest.approx(kernel[3, 3], abs=PROMISE)
        np.testing.assert_allclose(
            kernels.mean[layer], activation_mean(each, np.diagonal(kernels.preactivation[layer]))
        )


def test_relu_layers_of_weight_variance_two_keep_the_second_moment() -> None:
    # E relu(z)² = q/2, and q is twice the second moment of the layer below.
    kernels = nngp_kernels(relu, np.diag([0.5, 3.0]), 4, weight_variance=2.0)
    np.testing.assert_allclose(np.diagonal(kernels.postactivation, axis1=1, axis2=2), [[0.5, 3.0]] * 4)


def test_class_means() -> None:
    labels = np.array([0, 1, 1, 0, 2, 1])
    x = np.random.default_rng(8).standard_normal((6, 4))
    kernels = nngp_kernels(sigmoidal, x @ x.T / 4, 2)
    prior = class_mean_prior(kernels, labels, 3)
    for layer in range(2):
        kernel, mean = kernels.postactivation[layer], kernels.mean[layer]
        for c in range(3):
            members = np.flatnonzero(labels == c)
            assert prior.mean[layer, c] == pytest.approx(np.mean(mean[members]))
            spread = [kernel[mu, mu] - mean[mu] ** 2 for mu in members]
            assert prior.variance[layer, c] == pytest.approx(np.mean(spread))
            for d in range(3):
                others = np.flatnonzero(labels == d)
                pairs = [kernel[mu, nu] - mean[mu] * mean[nu] for mu in members for nu in others]
                assert prior.covariance[layer, c, d] == pytest.approx(np.mean(pairs))


def test_class_means_of_a_random_layer() -> None:
    rng = np.random.default_rng(9)
    labels = np.repeat([0, 1], [6, 3])
    prior = class_mean_prior(nngp_kernels(relu, np.eye(9), 1), labels, 2)
    width = 100_000
    phi = np.maximum(rng.standard_normal((9, width)), 0.0)
    means = np.stack([phi[:6].mean(0), phi[6:].mean(0)])
    centered = means - prior.mean[0][:, None]
    products = centered[:, None] * centered[None, :]
    # Units are independent: five standard errors.
    for sample, expected in ((means, prior.mean[0]), (products, prior.covariance[0])):
        error = np.std(sample, axis=-1) / math.sqrt(width)
        assert np.all(np.abs(np.mean(sample, axis=-1) - expected) <= 5.0 * error)
    assert prior.variance[0] == pytest.approx(0.5 - 0.5 / math.pi)


def test_refuses_layers() -> None:
    with pytest.raises(ValueError, match="symmetric"):
        nngp_kernels(relu, np.array([[1.0, 0.5], [0.0, 1.0]]), 1)
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        nngp_kernels(relu, np.eye(2), 0)
    with pytest.raises(ValueError, match=r"weight_variance must be finite and non-negative, got -1\.0"):
        nngp_kernels(relu, np.eye(2), 1, weight_variance=-1.0)


@pytest.fixture(scope="module")
def kernels() -> NNGPKernels:
    return nngp_kernels(linear, np.eye(3), 1)


@pytest.mark.parametrize(
    ("labels", "n_classes", "message"),
    [
        ([0, 1], 2, "labels must have shape"),
        ([0, 1, 2], 2, "0..1, got 0..2"),
        ([0, 0, 2], 3, "leave class 1"),
    ],
)
def test_refuses_labels(kernels: NNGPKernels, labels: list[int], n_classes: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        class_mean_prior(kernels, np.array(labels), n_classes)
