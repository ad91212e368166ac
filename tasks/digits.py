"""The 10,000 handwritten digits that ship with the package, and tasks made of them."""

import functools
import hashlib
import importlib.resources
import io
from collections.abc import Sequence

import numpy as np

from hiddencodes.tasks.arguments import Number
from hiddencodes.tasks.images import ImageSet, distinct_integers, image_task
from hiddencodes.tasks.task import Task

MNIST10K_SHA256 = "0217e13bd0668deb198aa7d305edbf0331eb89f8a6e7dd226e03d1aa3a9bd4ef"


def mnist(
    digits: Sequence[int] = (0, 1, 2),
    n_train: int | None = None,
    fractions: Sequence[Number] | None = None,
    *,
    counts: Sequence[int] | None = None,
    n_test: int | Sequence[int] = 0,
    size: int | None = None,
    center: bool = True,
    scale: bool = True,
    y_plus: Number = 1.0,
    y_minus: Number = 0.0,
    seed: int = 0,
    class_names: Sequence[str] | None = None,
    single_output: bool = False,
) -> Task:
    """Classify handwritten digits, drawn from the 10,000 MNIST digits that ship with the package.

    This is `image_task` on `load_images("mnist10k")`; the shipped digits are a sample of MNIST and not its
    standard test set. No network is needed.

    Args:
        digits: The digits to tell apart, distinct, in 0..9; the task's class c is `digits[c]`.
        n_train: Number of training patterns P; `None` for 100, unless `counts` is given.
        fractions: Class fractions, rounded to counts by largest remainder; `None` for equal ones.
        counts: Training patterns of each class, instead of `n_train` and `fractions`.
        n_test: Number of test patterns Q, split in the proportions of the training set, or a count per class.
        size: Side length in pixels to resize to (antialiased); `None` for 28.
        center: Whether to subtract the mean training image.
        scale: Whether to scale the mean diagonal of K0 = X X^T / N0 over the training set to 1.
        y_plus: Target of a pattern's own class.
        y_minus: Target of every other class.
        seed: Seed of the draw.
        class_names: One name per digit; `None` for the digits as text.
        single_output: With two digits, one output: `y_plus` for the first and `y_minus` for the second.

    Returns:
        The task, patterns sorted by class.

    Raises:
        ValueError: Naming the argument and the offending value.

    >>> task = mnist((3, 8), n_train=20, n_test=10, size=10, y_minus=-1)
    >>> task.x_train.shape, task.class_names, task.class_counts
    ((20, 100), ('3', '8'), array([10, 10]))
    """
    for digit in distinct_integers("digits", digits):
        if not 0 <= digit <= 9:
            raise ValueError(f"digits: {digit} is not in 0..9")
    data = load_mnist10k()
    return image_task(
        data.images,
        data.labels,
        classes=digits,
        counts=counts,
        n_train=100 if n_train is None and counts is None else n_train,
        fractions=fractions,
        n_test=n_test,
        size=size,
        center=center,
        scale=scale,
        y_plus=y_plus,
        y_minus=y_minus,
        seed=seed,
        class_names=class_names,
        single_output=single_output,
        source=data.source,
    )


@functools.cache
def load_mnist10k() -> ImageSet:
    """Read the shipped digits, once per process.

    Returns:
        10,000 images of 28 x 28 pixels, sorted by label; read-only arrays.

    Raises:
        ValueError: If the installed file is not the one that was shipped.

    >>> load_mnist10k().images.shape
    (10000, 28, 28)
    """
    file = importlib.resources.files("hiddencodes.tasks") / "data" / "mnist10k.npz"
    content = file.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != MNIST10K_SHA256:
        raise ValueError(f"{file}: the SHA-256 is {found}, the file that was shipped has {MNIST10K_SHA256}")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"].astype(np.int64)
    images.setflags(write=False)
    labels.setflags(write=False)
    return ImageSet(
        images, labels, tuple(str(digit) for digit in range(10)), f"mnist10k sha256:{MNIST10K_SHA256}"
    )
