"""Image tasks, and the digits that ship with the package."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiddencodes.tasks import image_task, load_images, mnist
from hiddencodes.tasks.digits import MNIST10K_SHA256, load_mnist10k
from hiddencodes.tasks.images import flat_pixels

LABELS = np.repeat([4, 7, 2], [10, 20, 30])
# Image i is constant i, so that a pattern tells which image it was.
NUMBERED = np.broadcast_to(np.arange(60.0)[:, None, None], (60, 2, 2)).copy()
AS_STORED = {"center": False, "scale": False}


def triangle_filter_matrix(n_in, n_out):
    """Rows of the antialiased linear resampling: a triangle of half-width n_in / n_out about each center."""
    step = n_in / n_out
    centers = (np.arange(n_out) + 0.5) * step
    distance = np.abs(np.arange(n_in) + 0.5 - centers[:, None]) / max(step, 1.0)
    weights = np.clip(1 - distance, 0, None)
    return weights / weights.sum(axis=1, keepdims=True)


@given(
    counts=st.tuples(*(st.integers(1, 5) for _ in range(3))),
    n_test=st.tuples(*(st.integers(0, 5) for _ in range(3))),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=30, deadline=None)
def test_draw_is_disjoint_without_replacement_and_sorted(counts, n_test, seed):
    task = image_task(
        NUMBERED, LABELS, classes=(7, 4, 2), counts=counts, n_test=n_test, seed=seed, **AS_STORED
    )
    train, test = task.x_train[:, 0].astype(int), task.x_test[:, 0].astype(int)
    drawn = np.concatenate([train, test])
    assert len(np.unique(drawn)) == len(drawn) == sum(counts) + sum(n_test)
    np.testing.assert_array_equal(task.class_counts, counts)
    np.testing.assert_array_equal(np.bincount(task.labels_test, minlength=3), n_test)
    np.testing.assert_array_equal(LABELS[train], np.repeat([7, 4, 2], counts))
    np.testing.assert_array_equal(LABELS[test], np.repeat([7, 4, 2], n_test))
    assert task.class_names == ("7", "4", "2")


def test_fractions_split_training_and_test_sets():
    task = image_task(
        NUMBERED, LABELS, classes=(2, 7, 4), n_train=16, fractions=(0.5, 0.25, 0.25), n_test=8, **AS_STORED
    )
    np.testing.assert_array_equal(task.class_counts, [8, 4, 4])
    np.testing.assert_array_equal(np.bincount(task.labels_test), [4, 2, 2])
    equal = image_task(NUMBERED, LABELS, classes=(2, 7, 4), n_train=7, **AS_STORED)
    np.testing.assert_array_equal(equal.class_counts, [3, 2, 2])
    assert equal.x_test.shape == (0, 4)


def test_all_images_can_be_used_and_not_one_more():
    task = image_task(NUMBERED, LABELS, classes=(4,), counts=(7,), n_test=3, **AS_STORED)
    assert sorted(np.concatenate([task.x_train[:, 0], task.x_test[:, 0]])) == list(range(10))
    with pytest.raises(
        ValueError, match=r"n_train \+ n_test: class 4 has 10 images, 7 training and 4 test patterns"
    ):
        image_task(NUMBERED, LABELS, classes=(4,), counts=(7,), n_test=4)


def test_seeds_reproduce_and_differ_and_training_set_does_not_depend_on_n_test():
    def draw(seed, n_test):
        return image_task(NUMBERED, LABELS, classes=(4, 2), n_train=10, n_test=n_test, seed=seed, **AS_STORED)

    np.testing.assert_array_equal(draw(1, 4).x_train, draw(1, 4).x_train)
    np.testing.assert_array_equal(draw(1, 4).x_test, draw(1, 4).x_test)
    np.testing.assert_array_equal(draw(1, 4).x_train, draw(1, 0).x_train)
    # Two draws of 5 of 10 and 5 of 30 coincide with probability below 1e-7.
    assert not np.array_equal(draw(1, 4).x_train, draw(2, 4).x_train)


@pytest.mark.parametrize("shape", [(40, 6, 5), (40, 6, 5, 3)])
def test_center_and_scale_use_the_training_set_only(shape):
    images = np.random.default_rng(0).normal(2.0, 1.0, shape)
    labels = np.arange(40) % 2
    raw = image_task(images, labels, classes=(0, 1), n_train=20, n_test=10, **AS_STORED)
    task = image_task(images, labels, classes=(0, 1), n_train=20, n_test=10)
    assert np.abs(task.x_train.mean(axis=0)).max() < 1e-14
    assert abs(np.trace(task.input_kernel()) / 20 - 1) < 1e-12
    mean = raw.x_train.mean(axis=0)
    factor = np.sqrt(task.n_inputs * 20 / np.sum((raw.x_train - mean) ** 2))
    np.testing.assert_allclose(task.x_test, factor * (raw.x_test - mean), rtol=0, atol=1e-12)


def test_uint8_pixels_become_zero_to_one_and_keep_their_order():
    images = np.arange(2 * 2 * 3 * 3, dtype=np.uint8).reshape(2, 2, 3, 3)
    task = image_task(images, [0, 1], classes=(0, 1), counts=(1, 1), **AS_STORED)
    np.testing.assert_array_equal(task.x_train, images.reshape(2, 18) / 255.0)


@pytest.mark.parametrize(
    ("height", "width", "size"), [(28, 28, 10), (32, 32, 7), (9, 12, 4), (5, 5, 8), (6, 6, 6)]
)
def test_resizing_is_the_antialiased_triangle_filter(height, width, size):
    image = np.random.default_rng(1).uniform(0, 255, (1, height, width))
    rows, columns = triangle_filter_matrix(height, size), triangle_filter_matrix(width, size)
    expected = rows @ image[0] @ columns.T
    found = flat_pixels(image, size).reshape(size, size)
    # Pillow stores mode "F" in single precision: input, the result of each of two passes; relative 2^-24 each.
    assert np.abs(found - expected).max() < 4 * 2**-24 * 255


def test_color_channels_are_resized_separately():
    image = np.random.default_rng(2).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    together = flat_pixels(image, 3).reshape(2, 3, 3, 3)
    for channel in range(3):
        alone = flat_pixels(np.ascontiguousarray(image[..., channel]), 3).reshape(2, 3, 3)
        np.testing.assert_array_equal(together[..., channel], alone)


def test_provenance_rebuilds_the_task():
    task = image_task(
        NUMBERED, LABELS, classes=(4, 2), n_train=10, n_test=6, seed=8, source="numbered", y_minus=-1
    )
    arguments = json.loads(task.provenance)
    assert arguments.pop("generator") == "image_task"
    rebuilt = image_task(NUMBERED, LABELS, **arguments)
    np.testing.assert_array_equal(task.x_train, rebuilt.x_train)
    np.testing.assert_array_equal(task.x_test, rebuilt.x_test)
    np.testing.assert_array_equal(task.y_train, rebuilt.y_train)
    assert task.provenance == rebuilt.provenance


def with_nan():
    images = NUMBERED.copy()
    images[5, 0, 1] = np.nan
    return images


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": with_nan()}, r"images: 1 non-finite pixels, first at \[5, 0, 1\] \(nan\)"),
        ({"images": NUMBERED[:, 0]}, r"images: the shape is \(60, 2\)"),
        ({"images": np.zeros((0, 2, 2)), "labels": np.zeros(0, int)}, r"images: the shape is \(0, 2, 2\)"),
        (
            {"images": NUMBERED.astype(complex)},
            "images: pixels must be real numbers, the dtype is complex128",
        ),
        ({"images": NUMBERED > 3}, "images: pixels must be real numbers, the dtype is bool"),
        ({"labels": LABELS[:-1]}, "labels: 59 labels for 60 patterns"),
        ({"labels": LABELS.astype(float)}, "labels: labels must be integers, the dtype is float64"),
        ({"classes": (4, 9)}, r"classes: 9 does not occur in labels \(\[2, 4, 7\]\)"),
        ({"classes": (4, 4)}, r"classes: 4 occurs more than once in \(4, 4\)"),
        ({"classes": ()}, "classes: "),
        (
            {"counts": (11, 1)},
            "n_train: class 4 has 10 images, 11 training and 0 test patterns are asked for",
        ),
        ({"counts": (-1, 3)}, "counts: -1 is not an integer of at least 1"),
        ({"counts": (0, 3)}, "counts: 0 is not an integer of at least 1"),
        ({"counts": (1, 2, 3)}, "counts: 3 counts for 2 classes"),
        ({"n_train": 4}, "counts, n_train: give exactly one"),
        ({"counts": None}, "counts, n_train: give exactly one"),
        ({"fractions": (0.5, 0.5)}, r"fractions: \(0\.5, 0\.5\) given together with counts \(3, 3\)"),
        ({"counts": None, "n_train": 6, "fractions": (1.0,)}, "fractions: 1 fractions for 2 classes"),
        ({"counts": None, "n_train": 6, "fractions": (0.5, 0.6)}, "fractions: .* sum to 1.1"),
        ({"counts": None, "n_train": 1}, "n_train: 1 patterns leave class 1"),
        ({"counts": None, "n_train": -6}, "n_train: -6 is not an integer of at least 1"),
        ({"counts": None, "n_train": 60}, "n_train: class 4 has 10 images, 30 training"),
        ({"n_test": -1}, "n_test: -1 is not an integer of at least 0"),
        ({"n_test": (2, -1)}, "n_test: -1 is not an integer of at least 0"),
        ({"n_test": (1, 1, 1)}, "n_test: 3 counts for 2 classes"),
        ({"size": 0}, "size: 0 is not an integer of at least 1"),
        ({"size": -3}, "size: -3 is not an integer of at least 1"),
        ({"seed": -1}, "seed: -1 is not an integer of at least 0"),
        ({"class_names": ("a",)}, "class_names: 1 names for 2 classes"),
        ({"class_names": ("a", "a")}, "class_names: 'a' occurs 2 times"),
        ({"y_plus": float("nan")}, "y_plus: nan is not finite"),
        ({"images": np.ones((60, 2, 2))}, "scale: all training inputs are zero"),
    ],
)
def test_bad_input_is_refused_by_name(changes, message):
    arguments = {"images": NUMBERED, "labels": LABELS, "classes": (4, 7), "counts": (3, 3), **changes}
    images, labels = arguments.pop("images"), arguments.pop("labels")
    with pytest.raises(ValueError, match=message):
        image_task(images, labels, **arguments)


def test_shipped_digits_are_what_their_readme_says():
    data = load_images("mnist10k")
    assert data.images.shape == (10000, 28, 28)
    assert data.images.dtype == np.uint8
    assert data.labels.dtype == np.int64
    np.testing.assert_array_equal(
        np.bincount(data.labels), [1001, 1127, 991, 1032, 980, 863, 1014, 1070, 944, 978]
    )
    assert np.all(np.diff(data.labels) >= 0)
    assert data.class_names == tuple("0123456789")
    assert not data.images.flags.writeable


def test_shipped_digits_are_read_once_and_verified(monkeypatch):
    assert load_mnist10k() is load_mnist10k()
    monkeypatch.setattr("hiddencodes.tasks.digits.MNIST10K_SHA256", hashlib.sha256(b"other").hexdigest())
    with pytest.raises(ValueError, match=f"mnist10k.npz: the SHA-256 is {MNIST10K_SHA256}"):
        load_mnist10k.__wrapped__()


def test_mnist_is_image_task_on_the_shipped_digits():
    options = {"n_test": 6, "size": 9, "seed": 4, "y_minus": -0.5}
    task = mnist((8, 3), n_train=12, **options)
    data = load_images("mnist10k")
    expected = image_task(data.images, data.labels, classes=(8, 3), n_train=12, source=data.source, **options)
    np.testing.assert_array_equal(task.x_train, expected.x_train)
    assert task.provenance == expected.provenance
    assert MNIST10K_SHA256 in task.provenance


def test_mnist_defaults():
    task = mnist()
    assert (task.n_train, task.n_test, task.n_inputs, task.n_outputs) == (100, 0, 784, 3)
    np.testing.assert_array_equal(task.class_counts, [34, 33, 33])
    assert abs(np.trace(task.input_kernel()) / 100 - 1) < 1e-12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"digits": (0, 10)}, r"digits: 10 is not in 0\.\.9"),
        ({"digits": (-1, 2)}, r"digits: -1 is not in 0\.\.9"),
        ({"digits": (3, 3)}, "digits: 3 occurs more than once"),
        ({"digits": ()}, "digits: "),
        ({"n_train": 9000}, "n_train: class 0 has 1001 images, 3000 training"),
        ({"n_train": 3, "counts": (1, 1, 1)}, "counts, n_train: give exactly one"),
    ],
)
def test_mnist_refuses_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        mnist(**arguments)
