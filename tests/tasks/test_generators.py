"""Orthogonal classes and Gaussian clusters."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiddencodes.tasks import gaussian_clusters, orthogonal_classes


@given(
    n_train=st.integers(4, 60),
    extra=st.integers(0, 20),
    kappa=st.floats(0.01, 100.0),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=30, deadline=None)
def test_orthogonal_kernel_is_kappa_times_identity(n_train, extra, kappa, seed):
    task = orthogonal_classes(n_train, kappa=kappa, n_inputs=n_train + extra, seed=seed)
    assert np.abs(task.input_kernel() / kappa - np.eye(n_train)).max() < 1e-12
    assert task.n_inputs == n_train + extra
    assert task.class_counts.sum() == n_train
    assert np.all(np.abs(task.class_counts - n_train * np.array([0.5, 0.25, 0.25])) < 1)
    assert np.all(np.diff(task.labels_train) >= 0)


@given(overlap=st.floats(0.0, 1.0), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_orthogonal_test_patterns_overlap_one_training_pattern_of_their_class(overlap, seed):
    kappa, n_train, n_test = 2.0, 12, 16
    task = orthogonal_classes(n_train, kappa=kappa, n_test=n_test, test_overlap=overlap, seed=seed)
    assert task.n_inputs == n_train + n_test
    with_training = task.x_test @ task.x_train.T / (task.n_inputs * kappa)
    largest = np.argmax(with_training, axis=1)
    expected = np.zeros_like(with_training)
    expected[np.arange(n_test), largest] = overlap
    assert np.abs(with_training - expected).max() < 1e-12
    if overlap > 1e-6:
        np.testing.assert_array_equal(task.labels_train[largest], task.labels_test)
        # 8, 4, 4 test patterns for 6, 3, 3 training patterns: all are used before one is used twice.
        assert np.bincount(largest, minlength=n_train).min() == 1
        assert np.bincount(largest, minlength=n_train).max() == 2
    norms = np.sum(task.x_test**2, axis=1) / (task.n_inputs * kappa)
    assert np.abs(norms - 1.0).max() < 1e-12


def test_orthogonal_single_output_and_targets():
    task = orthogonal_classes(6, (0.5, 0.5), y_minus=-1, n_test=2, single_output=True, class_names=("a", "b"))
    np.testing.assert_array_equal(task.y_train[:, 0], [1, 1, 1, -1, -1, -1])
    np.testing.assert_array_equal(task.y_test[:, 0], [1, -1])
    assert task.class_names == ("a", "b")


@pytest.mark.parametrize("generator", [orthogonal_classes, gaussian_clusters])
def test_seeds_reproduce_and_differ(generator):
    first, again, other = (generator(12, n_test=4, n_inputs=20, seed=seed) for seed in (3, 3, 4))
    for name in ("x_train", "x_test", "y_train", "labels_train"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert first.provenance == again.provenance
    assert np.abs(first.x_train - other.x_train).max() > 0.1
    assert first.provenance != other.provenance


@pytest.mark.parametrize("generator", [orthogonal_classes, gaussian_clusters])
def test_provenance_rebuilds_the_task(generator):
    task = generator(12, (0.25, 0.75), n_test=4, n_inputs=20, seed=5, y_minus=-0.5)
    arguments = json.loads(task.provenance)
    assert arguments.pop("generator") == generator.__name__
    arguments.pop("centers", None)
    rebuilt = generator(**arguments)
    np.testing.assert_array_equal(task.x_train, rebuilt.x_train)
    np.testing.assert_array_equal(task.x_test, rebuilt.x_test)
    np.testing.assert_array_equal(task.y_train, rebuilt.y_train)
    assert task.provenance == rebuilt.provenance


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_train": 10, "n_inputs": 9}, r"n_inputs: 9 is smaller than n_train \+ n_test = 10"),
        (
            {"n_train": 10, "n_test": 4, "n_inputs": 13},
            r"n_inputs: 13 is smaller than n_train \+ n_test = 14",
        ),
        ({"n_train": 0}, "n_train: 0 is not an integer of at least 1"),
        ({"n_train": -2}, "n_train: -2 is not an integer of at least 1"),
        ({"n_train": 2}, "n_train: 2 patterns leave class 2"),
        ({"n_train": 8, "n_test": -1}, "n_test: -1 is not an integer of at least 0"),
        ({"n_train": 8, "kappa": 0.0}, "kappa: 0.0 is not positive"),
        ({"n_train": 8, "kappa": float("nan")}, "kappa: nan is not finite"),
        ({"n_train": 8, "test_overlap": 1.1}, r"test_overlap: 1\.1 is not in \[0, 1\]"),
        ({"n_train": 8, "test_overlap": -0.1}, r"test_overlap: -0\.1 is not in \[0, 1\]"),
        ({"n_train": 8, "seed": -1}, "seed: -1 is not an integer of at least 0"),
        ({"n_train": 8, "fractions": (0.5, 0.6)}, r"fractions: \(0\.5, 0\.6\) sum to 1\.1"),
        ({"n_train": 8, "class_names": ("a",)}, "class_names: 1 names for 3 fractions"),
        ({"n_train": 8, "y_plus": float("inf")}, "y_plus: inf is not finite"),
        ({"n_train": 8, "single_output": True}, "single_output: needs 2 classes, there are 3"),
    ],
)
def test_orthogonal_refuses_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        orthogonal_classes(**arguments)


def test_clusters_moments():
    """Residuals about given centers are N(0, noise^2), independent of each other."""
    noise, n_inputs, n_train = 0.5, 40, 400
    centers = np.linspace(-3, 3, 2 * n_inputs).reshape(2, n_inputs)
    task = gaussian_clusters(
        n_train, (0.5, 0.5), n_inputs=n_inputs, noise=noise, centers=centers, scale=False
    )
    xi = (task.x_train - centers[task.labels_train]) / noise
    n = xi.size
    # z = 5: the mean of n standard normals has variance 1/n, their mean square has variance 2/n.
    assert abs(xi.mean()) < 5 * np.sqrt(1 / n)
    assert abs((xi**2).mean() - 1) < 5 * np.sqrt(2 / n)
    # Products of different patterns' entries have mean 0 and variance 1.
    assert abs((xi[::2] * xi[1::2]).mean()) < 5 * np.sqrt(2 / n)


@given(n_train=st.integers(4, 40), noise=st.floats(0.0, 3.0), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_clusters_scale_the_kernel_and_the_test_set_alike(n_train, noise, seed):
    raw, scaled = (
        gaussian_clusters(n_train, n_inputs=7, noise=noise, n_test=5, seed=seed, scale=scale)
        for scale in (False, True)
    )
    assert abs(np.trace(scaled.input_kernel()) / n_train - 1) < 1e-12
    factor = 1 / np.sqrt(np.trace(raw.input_kernel()) / n_train)
    np.testing.assert_allclose(scaled.x_train, factor * raw.x_train, rtol=1e-12)
    np.testing.assert_allclose(scaled.x_test, factor * raw.x_test, rtol=1e-12)


def test_clusters_without_noise_repeat_the_centers():
    centers = [[1.0, 2.0], [3.0, -1.0]]
    task = gaussian_clusters(4, (0.5, 0.5), n_inputs=2, noise=0, centers=centers, scale=False, n_test=2)
    np.testing.assert_array_equal(task.x_train, np.repeat(centers, 2, axis=0))
    np.testing.assert_array_equal(task.x_test, centers)


def test_clusters_training_set_does_not_depend_on_the_test_set():
    without, with_test = (gaussian_clusters(8, n_test=n_test, seed=2) for n_test in (0, 20))
    np.testing.assert_array_equal(without.x_train, with_test.x_train)
    assert not np.isin(with_test.x_test, with_test.x_train).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_train": 8, "noise": -1.0}, r"noise: -1\.0 is not in \[0, inf\]"),
        ({"n_train": 8, "noise": float("nan")}, "noise: nan is not finite"),
        ({"n_train": 8, "n_inputs": 0}, "n_inputs: 0 is not an integer of at least 1"),
        (
            {"n_train": 8, "n_inputs": 2, "centers": np.zeros((2, 2))},
            r"centers: the shape is \(2, 2\), expected \(3, 2\)",
        ),
        (
            {"n_train": 8, "n_inputs": 1, "centers": [[1], [np.nan], [0]]},
            r"centers: 1 non-finite entry, first at \[1, 0\]",
        ),
        (
            {"n_train": 8, "n_inputs": 2, "centers": np.zeros((3, 2)), "noise": 0},
            "scale: all training inputs are zero",
        ),
        ({"n_train": 2}, "n_train: 2 patterns leave class 2"),
        ({"n_train": 8, "n_test": -3}, "n_test: -3 is not an integer of at least 0"),
        ({"n_train": 8, "class_names": ("a", "b")}, "class_names: 2 names for 3 fractions"),
        ({"n_train": 8, "class_names": ("a", "b", "b")}, "class_names: 'b' occurs 2 times"),
    ],
)
def test_clusters_refuse_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        gaussian_clusters(**arguments)
