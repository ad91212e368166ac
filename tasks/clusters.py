"""Gaussian clusters, one per class."""

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from hiddencodes.tasks.arguments import (
    Number,
    finite_array,
    finite_number,
    integer_at_least,
    split_by_fractions,
)
from hiddencodes.tasks.task import Task, digest, from_arrays, kernel_scale


def gaussian_clusters(
    n_train: int,
    fractions: Sequence[Number] = (1 / 2, 1 / 4, 1 / 4),
    *,
    n_inputs: int = 50,
    noise: Number = 1.0,
    centers: ArrayLike | None = None,
    scale: bool = True,
    y_plus: Number = 1.0,
    y_minus: Number = 0.0,
    n_test: int = 0,
    seed: int = 0,
    class_names: Sequence[str] | None = None,
    single_output: bool = False,
) -> Task:
    """Patterns scattered about one center per class: `x = center_c + noise xi`, xi ~ N(0, I).

    With random centers (entries N(0, 1)) and `scale=False` the expected input kernel is `1 + noise^2` on the
    diagonal, 1 for two patterns of one class and 0 for two classes, up to O(1/sqrt(N0)); `scale=True` divides
    all inputs, training and test, by one number such that the mean diagonal of K0 = X X^T / N0 over the
    training set is 1.

    Args:
        n_train: Number of training patterns P.
        fractions: Fraction of the training patterns in each class: positive, sum 1, rounded to counts by
            largest remainder.
        n_inputs: Number of inputs N0.
        noise: Standard deviation of the scatter, per input; 0 repeats the center.
        centers: Class centers, shape (C, N0); `None` draws entries from N(0, 1).
        scale: Whether to scale the mean diagonal of the training kernel to 1.
        y_plus: Target of a pattern's own class.
        y_minus: Target of every other class.
        n_test: Number of test patterns Q, fresh draws split over the classes by the same fractions.
        seed: Seed of the centers and of the scatter. The centers and the training set do not depend on Q.
        class_names: One name per fraction; `None` for "0", "1", ...
        single_output: With two classes, one output: `y_plus` for class 0 and `y_minus` for class 1.

    Returns:
        The task, patterns sorted by class.

    Raises:
        ValueError: Naming the argument and the offending value.

    >>> task = gaussian_clusters(8, n_inputs=5, n_test=4)
    >>> task.class_counts, task.x_test.shape
    (array([4, 2, 2]), (4, 5))
    >>> round(float(np.trace(task.input_kernel())) / 8, 12)
    1.0
    """
    train_counts = split_by_fractions("n_train", n_train, fractions)
    test_counts = split_by_fractions("n_test", n_test, fractions, allow_empty=True)
    width = integer_at_least("n_inputs", n_inputs, 1)
    scatter = finite_number("noise", noise, 0)
    rng = np.random.default_rng(integer_at_least("seed", seed, 0))
    n_classes = len(train_counts)
    names = tuple(str(c) for c in range(n_classes)) if class_names is None else tuple(class_names)
    if len(names) != n_classes:
        raise ValueError(f"class_names: {len(names)} names for {n_classes} fractions")
    if centers is None:
        means = rng.standard_normal((n_classes, width))
    else:
        means = finite_array("centers", centers, 2)
        if means.shape != (n_classes, width):
            raise ValueError(f"centers: the shape is {means.shape}, expected ({n_classes}, {width})")

    labels_train = np.repeat(np.arange(n_classes), train_counts)
    labels_test = np.repeat(np.arange(n_classes), test_counts)
    x_train = means[labels_train] + scatter * rng.standard_normal((n_train, width))
    x_test = means[labels_test] + scatter * rng.standard_normal((n_test, width))
    if scale:
        factor = kernel_scale(x_train)
        x_train, x_test = factor * x_train, factor * x_test
    return from_arrays(
        x_train,
        labels_train,
        x_test,
        labels_test,
        y_plus=y_plus,
        y_minus=y_minus,
        class_names=names,
        single_output=single_output,
        provenance=json.dumps(
            {
                "generator": "gaussian_clusters",
                "n_train": int(n_train),
                "fractions": [float(fraction) for fraction in fractions],
                "n_inputs": width,
                "noise": scatter,
                "centers": "drawn" if centers is None else f"sha256:{digest(means)}",
                "scale": scale,
                "y_plus": float(y_plus),
                "y_minus": float(y_minus),
                "n_test": int(n_test),
                "seed": int(seed),
                "class_names": names,
                "single_output": single_output,
            }
        ),
    )
