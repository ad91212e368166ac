"""Classification tasks from labeled images."""

import json
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, Shaped, UInt8
from numpy.typing import ArrayLike
from PIL import Image

from hiddencodes.tasks.arguments import Number, integer_at_least, integer_labels, split_by_fractions
from hiddencodes.tasks.task import Task, digest, from_arrays, kernel_scale


class ImageSet(NamedTuple):
    """Labeled images as they are stored, before any choice of classes or scaling.

    Attributes:
        images: Pixels 0..255, shape (n, height, width) or (n, height, width, 3).
        labels: Class of each image, shape (n,), an index into `class_names`.
        class_names: The names of the classes.
        source: Where the images come from, with checksums.
    """

    images: UInt8[np.ndarray, "image height width *channel"]
    labels: Int64[np.ndarray, " image"]
    class_names: tuple[str, ...]
    source: str


def image_task(
    images: Shaped[np.ndarray, "..."],
    labels: ArrayLike,
    *,
    classes: Sequence[int],
    counts: Sequence[int] | None = None,
    n_train: int | None = None,
    fractions: Sequence[Number] | None = None,
    n_test: int | Sequence[int] = 0,
    size: int | None = None,
    center: bool = True,
    scale: bool = True,
    y_plus: Number = 1.0,
    y_minus: Number = 0.0,
    seed: int = 0,
    class_names: Sequence[str] | None = None,
    single_output: bool = False,
    source: str | None = None,
) -> Task:
    """Draw disjoint training and test sets from labeled images.

    In this order: uint8 pixels are mapped to [0, 1] (other dtypes are taken as they are); patterns are drawn
    without replacement; images are resized to `size` x `size` by Pillow's bilinear filter, whose support grows
    with the reduction (antialiasing), each color channel by itself; images are flattened (row, column,
    channel); `center` subtracts the mean training image; `scale` multiplies all inputs by one number such that
    the mean diagonal of K0 = X X^T / N0 over the training set is 1. Test inputs get the training set's mean
    image and factor.

    Args:
        images: Shape (n, height, width) or (n, height, width, channel), finite real numbers.
        labels: Shape (n,), integers.
        classes: The labels to use, distinct; the task's class c is `classes[c]`.
        counts: Training patterns of each class. Give either this or `n_train`.
        n_train: Number of training patterns P, split over the classes by `fractions`.
        fractions: Class fractions for `n_train`: positive, sum 1, rounded to counts by largest remainder;
            `None` for equal ones.
        n_test: Number of test patterns Q, split in the proportions of the training set, or a count per class.
        size: Side length in pixels to resize to; `None` keeps the images as they are.
        center: Whether to subtract the mean training image.
        scale: Whether to scale the mean diagonal of the training kernel to 1.
        y_plus: Target of a pattern's own class.
        y_minus: Target of every other class.
        seed: Seed of the draw. The training set does not depend on `n_test`.
        class_names: One name per entry of `classes`; `None` for the labels as text.
        single_output: With two classes, one output: `y_plus` for class 0 and `y_minus` for class 1.
        source: Where the images come from, for the provenance; `None` for a digest of the arrays.

    Returns:
        The task, patterns sorted by class.

    Raises:
        ValueError: Naming the argument and the offending value; among others for non-finite pixels, labels that
            are not integers, unknown or duplicate classes, and more patterns asked for than there are.

    >>> pixels = np.arange(6 * 4).reshape(6, 2, 2) ** 2 % 11.0
    >>> task = image_task(pixels, [7, 7, 7, 9, 9, 9], classes=(9, 7), n_train=4, n_test=2)
    >>> task.class_names, task.class_counts, task.n_inputs
    (('9', '7'), array([2, 2]), 4)
    >>> round(float(np.trace(task.input_kernel())) / 4, 12)
    1.0
    """
    check_images(images)
    known = integer_labels("labels", labels, len(images))
    chosen = distinct_integers("classes", classes)
    for label in chosen:
        if not np.any(known == label):
            raise ValueError(f"classes: {label} does not occur in labels ({np.unique(known).tolist()})")
    side = None if size is None else integer_at_least("size", size, 1)
    train_counts = training_counts(len(chosen), counts, n_train, fractions)
    test_counts = counts_of_test(n_test, train_counts)
    names = tuple(str(label) for label in chosen) if class_names is None else tuple(class_names)
    if len(names) != len(chosen):
        raise ValueError(f"class_names: {len(names)} names for {len(chosen)} classes")

    rng = np.random.default_rng(integer_at_least("seed", seed, 0))
    train, test = draw_split(rng, known, chosen, train_counts, test_counts)
    x_train, x_test = flat_pixels(images[train], side), flat_pixels(images[test], side)
    if center:
        mean_image = x_train.mean(axis=0)
        x_train, x_test = x_train - mean_image, x_test - mean_image
    if scale:
        factor = kernel_scale(x_train)
        x_train, x_test = factor * x_train, factor * x_test
    return from_arrays(
        x_train,
        np.repeat(np.arange(len(chosen)), train_counts),
        x_test,
        np.repeat(np.arange(len(chosen)), test_counts),
        y_plus=y_plus,
        y_minus=y_minus,
        class_names=names,
        single_output=single_output,
        provenance=json.dumps(
            {
                "generator": "image_task",
                "source": f"arrays sha256:{digest(images)} {digest(known)}" if source is None else source,
                "classes": chosen,
                "counts": train_counts,
                "n_test": test_counts,
                "size": side,
                "center": center,
                "scale": scale,
                "y_plus": float(y_plus),
                "y_minus": float(y_minus),
                "seed": int(seed),
                "class_names": names,
                "single_output": single_output,
            }
        ),
    )


def check_images(images: Shaped[np.ndarray, "..."]) -> None:
    """Refuse anything but finite real images of shape (n, height, width) or (n, height, width, channel).

    Raises:
        ValueError: Naming the shape, the dtype or the first non-finite pixel.
    """
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise ValueError(
            f"images: the shape is {images.shape}, expected (n, height, width) or (n, height, width, channel)"
        )
    if images.dtype.kind not in "iuf":
        raise ValueError(f"images: pixels must be real numbers, the dtype is {images.dtype}")
    if images.dtype.kind == "f":
        bad = np.argwhere(~np.isfinite(images))
        if len(bad):
            first = [int(index) for index in bad[0]]
            value = images[tuple(first)]
            raise ValueError(f"images: {len(bad)} non-finite pixels, first at {first} ({value})")


def distinct_integers(name: str, values: Sequence[int]) -> tuple[int, ...]:
    """Return `values` as ints.

    Raises:
        ValueError: If there are none, one is not an integer, or one occurs twice.

    >>> distinct_integers("classes", (3, 1, 3))
    Traceback (most recent call last):
        ...
    ValueError: classes: 3 occurs more than once in (3, 1, 3)
    """
    integers = tuple(int(value) for value in integer_labels(name, list(values)))
    if not integers:
        raise ValueError(f"{name}: empty, at least one class is needed")
    for value in integers:
        if integers.count(value) > 1:
            raise ValueError(f"{name}: {value} occurs more than once in {integers}")
    return integers


def training_counts(
    n_classes: int,
    counts: Sequence[int] | None,
    n_train: int | None,
    fractions: Sequence[Number] | None,
) -> tuple[int, ...]:
    """Training patterns per class, from either `counts` or `n_train` and `fractions`.

    Raises:
        ValueError: If both or neither are given, or they do not fit the number of classes.
    """
    if (counts is None) == (n_train is None):
        raise ValueError(f"counts, n_train: give exactly one of them, not {counts} and {n_train}")
    if counts is not None:
        if fractions is not None:
            raise ValueError(f"fractions: {tuple(fractions)} given together with counts {tuple(counts)}")
        if len(counts) != n_classes:
            raise ValueError(f"counts: {len(counts)} counts for {n_classes} classes")
        return tuple(integer_at_least("counts", count, 1) for count in counts)
    shares = [1.0 / n_classes] * n_classes if fractions is None else fractions
    if len(shares) != n_classes:
        raise ValueError(f"fractions: {len(shares)} fractions for {n_classes} classes")
    return split_by_fractions("n_train", integer_at_least("n_train", n_train, 1), shares)


def counts_of_test(n_test: int | Sequence[int], train_counts: Sequence[int]) -> tuple[int, ...]:
    """Test patterns per class: as given, or a total split in the proportions of the training set.

    Raises:
        ValueError: If a count is negative or there is not one per class.
    """
    if isinstance(n_test, Sequence):
        if len(n_test) != len(train_counts):
            raise ValueError(f"n_test: {len(n_test)} counts for {len(train_counts)} classes")
        return tuple(integer_at_least("n_test", count, 0) for count in n_test)
    shares = [count / sum(train_counts) for count in train_counts]
    return split_by_fractions("n_test", n_test, shares, allow_empty=True)


def draw_split(
    rng: np.random.Generator,
    labels: Int64[np.ndarray, " image"],
    classes: Sequence[int],
    train_counts: Sequence[int],
    test_counts: Sequence[int],
) -> tuple[Int64[np.ndarray, " pattern"], Int64[np.ndarray, " test_pattern"]]:
    """Draw disjoint training and test indices, sorted by class.

    Raises:
        ValueError: If a class has too few images.
    """
    train: list[np.ndarray] = []
    test: list[np.ndarray] = []
    for label, n_train, n_test in zip(classes, train_counts, test_counts, strict=True):
        members = rng.permutation(np.flatnonzero(labels == label))
        if n_train + n_test > len(members):
            argument = "n_train" if n_train > len(members) else "n_train + n_test"
            raise ValueError(
                f"{argument}: class {label} has {len(members)} images, "
                f"{n_train} training and {n_test} test patterns are asked for"
            )
        train.append(members[:n_train])
        test.append(members[n_train : n_train + n_test])
    return np.concatenate(train).astype(np.int64), np.concatenate(test).astype(np.int64)


def flat_pixels(images: Shaped[np.ndarray, "..."], size: int | None) -> Float64[np.ndarray, "pattern input"]:
    """Resize images to `size` x `size` if asked, and flatten each; uint8 pixels become [0, 1]."""
    scale = 255.0 if images.dtype == np.uint8 else 1.0
    if size is None:
        return images.astype(np.float64).reshape(len(images), math.prod(images.shape[1:])) / scale
    channels = images.shape[3] if images.ndim == 4 else 1
    flat = np.empty((len(images), size, size, channels))
    for index, picture in enumerate(images.reshape(*images.shape[:3], channels)):
        for channel in range(channels):
            # Pillow's mode "F" keeps real pixels real; in mode "L" it would round to integers.
            plane = Image.fromarray(np.ascontiguousarray(picture[:, :, channel], dtype=np.float32))
            flat[index, :, :, channel] = np.asarray(plane.resize((size, size), Image.Resampling.BILINEAR))
    return flat.reshape(len(images), size * size * channels) / scale
