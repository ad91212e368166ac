"""Tasks of latent variables: Gram matrices, and half-spaces of continuous latents."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import hiddencodes as hc


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ("one-hot", [1.0, 1.0, 1.0, 1.0]),
        ("whitened", [1.0, 1.0, 1.0, 1.0]),
        ("centred", [0.0, 1.0, 1.0, 1.0]),
        ("biased", [9.0, 1.0, 1.0, 1.0]),
    ],
)
def test_spectra_of_inputs(inputs, expected):
    task = hc.latent_conditions(3, inputs)
    found = hc.input_spectrum(task.means @ task.means.T, task.targets)
    np.testing.assert_allclose(found.degrees, expected, atol=1e-12)


def test_a_random_expansion_becomes_its_limit():
    limit = hc.latent_conditions(3, "expansion")
    gram = limit.means @ limit.means.T
    n = 200_000
    finite = hc.latent_conditions(3, "expansion", n_inputs=n).means
    # Products of two ReLU units have a standard deviation of order one.
    np.testing.assert_allclose(finite @ finite.T, gram, atol=5 * 2.0 / np.sqrt(n))
    k = hc.input_spectrum(gram, limit.targets).degrees
    assert k[0] > k[1] > k[2]


@example(degrees=[1.0, 0.0, 0.0, 0.0])
@given(degrees=st.lists(st.floats(0.0, 5.0), min_size=2, max_size=5).filter(lambda k: max(k) > 0.01))
def test_a_gram_matrix_is_what_inputs_have(degrees):
    kernel = hc.factorial_kernel(degrees)
    n = len(degrees) - 1
    task = hc.latent_conditions(n, kernel)
    np.testing.assert_allclose(task.means @ task.means.T, kernel, atol=1e-7)
    np.testing.assert_allclose(hc.input_spectrum(kernel, task.targets).degrees, degrees, atol=1e-9)


def test_repeats_are_patterns_of_the_same_latents():
    task = hc.latent_conditions(2, repeats=3)
    np.testing.assert_array_equal(task.targets, np.repeat(hc.factorial_latents(2), 3, axis=0))
    assert hc.input_spectrum(task.means @ task.means.T, task.targets).within == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((2, "binary"), "inputs: 'binary' is unknown"),
        ((2, np.eye(3)), "expected a Gram matrix of 4 patterns, got 3"),
        ((2, np.diag([1.0, 1, 1, -1])), "not positive semidefinite, an eigenvalue is -1"),
        ((2, np.arange(16.0).reshape(4, 4)), "not symmetric"),
        ((2, np.zeros((4, 4))), "it is zero"),
    ],
)
def test_inputs_that_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        hc.latent_conditions(*arguments)


def test_half_spaces_of_continuous_latents():
    found = hc.continuous_latents(2000, 40, n_test=100, seed=1)
    y = np.where(found.z_train @ found.normals.T + found.offsets > 0, 1.0, -1.0)
    np.testing.assert_array_equal(found.task.y_train, y)
    np.testing.assert_allclose(np.linalg.norm(found.normals, axis=1), 1.0)
    assert found.task.x_train.std(0) == pytest.approx(np.sqrt(1 + 0.01**2), rel=1e-2)
    # Variance 0.4 of 40 offsets: chi squared with 40 degrees of freedom.
    assert abs(np.mean(found.offsets**2) / 0.4 - 1) < 5 * np.sqrt(2 / 40)
    again = hc.continuous_latents(2000, 40, n_test=100, seed=1)
    np.testing.assert_array_equal(again.task.x_test, found.task.x_test)


def test_latents_can_be_read_out_of_the_inputs():
    found = hc.continuous_latents(3000, 1, n_test=500)
    x = np.column_stack([found.task.x_train, np.ones(3000)])
    readout = np.linalg.lstsq(x, found.z_train, rcond=None)[0]
    rest = found.z_test - np.column_stack([found.task.x_test, np.ones(500)]) @ readout
    assert rest.var() < 0.2


def test_a_target_that_is_always_the_same_is_refused():
    with pytest.raises(ValueError, match="is the same for all 2 training patterns"):
        hc.continuous_latents(2, 50)
