"""Classes of mutually orthogonal input patterns."""

import json
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

from hiddencodes.tasks.arguments import (
    Number,
    finite_number,
    integer_at_least,
    positive_number,
    split_by_fractions,
)
from hiddencodes.tasks.task import Task, from_arrays


def orthogonal_classes(
    n_train: int,
    fractions: Sequence[Number] = (1 / 2, 1 / 4, 1 / 4),
    *,
    y_plus: Number = 1.0,
    y_minus: Number = 0.0,
    kappa: Number = 1.0,
    n_inputs: int | None = None,
    n_test: int = 0,
    test_overlap: Number = 0.5,
    seed: int = 0,
    class_names: Sequence[str] | None = None,
    single_output: bool = False,
) -> Task:
    """Random classification of orthogonal inputs, K0 = kappa I.

    The training inputs are `X = sqrt(kappa N0) U` with orthonormal rows U, so that

        K0 = X X^T / N0 = kappa I,

    and nothing but the labels tells the classes apart. This is the toy task on which van Meegen and Sompolinsky
    (arXiv:2406.16689) show the coding schemes, with three classes of fractions (1/2, 1/4, 1/4).

    A test pattern of class c is `o x + sqrt(1 - o^2) r` with o = `test_overlap`, x a training pattern of class c
    and r a fresh direction orthogonal to all training patterns and to the other test patterns' r, of the same
    norm. Its kernel is kappa with itself, `o kappa` with x, and 0 with every other training pattern.

    Args:
        n_train: Number of training patterns P.
        fractions: Fraction of the training patterns in each class: positive, sum 1, rounded to counts by
            largest remainder.
        y_plus: Target of a pattern's own class.
        y_minus: Target of every other class.
        kappa: Diagonal of the input kernel.
        n_inputs: Number of inputs N0, at least P + Q; `None` for P + Q.
        n_test: Number of test patterns Q, split over the classes by the same fractions.
        test_overlap: Overlap o of a test pattern with its training pattern, in [0, 1]. The training patterns are
            drawn without replacement as long as the class has unused ones.
        seed: Seed of the random rotation and of the choice of training patterns.
        class_names: One name per fraction; `None` for "0", "1", ...
        single_output: With two classes, one output: `y_plus` for class 0 and `y_minus` for class 1.

    Returns:
        The task, patterns sorted by class.

    Raises:
        ValueError: Naming the argument and the offending value; among others if a class would get no training
            pattern or `n_inputs < n_train + n_test`.

    >>> task = orthogonal_classes(8, y_minus=-0.5)
    >>> task.class_counts, task.x_train.shape
    (array([4, 2, 2]), (8, 8))
    >>> bool(np.abs(task.input_kernel() - np.eye(8)).max() < 1e-12)
    True
    """
    train_counts = split_by_fractions("n_train", n_train, fractions)
    test_counts = split_by_fractions("n_test", n_test, fractions, allow_empty=True)
    norm_per_input = positive_number("kappa", kappa)
    overlap = finite_number("test_overlap", test_overlap, 0, 1)
    n_patterns = n_train + n_test
    width = n_patterns if n_inputs is None else integer_at_least("n_inputs", n_inputs, 1)
    if width < n_patterns:
        raise ValueError(
            f"n_inputs: {width} is smaller than n_train + n_test = {n_patterns}, "
            "the number of orthogonal directions needed"
        )
    rng = np.random.default_rng(integer_at_least("seed", seed, 0))
    names = tuple(str(c) for c in range(len(train_counts))) if class_names is None else tuple(class_names)
    if len(names) != len(train_counts):
        raise ValueError(f"class_names: {len(names)} names for {len(train_counts)} fractions")

    directions = math.sqrt(norm_per_input * width) * orthonormal_rows(rng, n_patterns, width)
    x_train, fresh = directions[:n_train], directions[n_train:]
    labels_train = np.repeat(np.arange(len(names)), train_counts)
    labels_test = np.repeat(np.arange(len(names)), test_counts)
    parents = draw_parents(rng, train_counts, test_counts)
    return from_arrays(
        x_train,
        labels_train,
        overlap * x_train[parents] + math.sqrt(1.0 - overlap**2) * fresh,
        labels_test,
        y_plus=y_plus,
        y_minus=y_minus,
        class_names=names,
        single_output=single_output,
        provenance=json.dumps(
            {
                "generator": "orthogonal_classes",
                "n_train": int(n_train),
                "fractions": [float(fraction) for fraction in fractions],
                "y_plus": float(y_plus),
                "y_minus": float(y_minus),
                "kappa": norm_per_input,
                "n_inputs": width,
                "n_test": int(n_test),
                "test_overlap": overlap,
                "seed": int(seed),
                "class_names": names,
                "single_output": single_output,
            }
        ),
    )


def orthonormal_rows(
    rng: np.random.Generator, n_rows: int, n_columns: int
) -> Float64[np.ndarray, "row column"]:
    """Uniformly distributed orthonormal rows (Haar measure), shape (n_rows, n_columns)."""
    q, r = np.linalg.qr(rng.standard_normal((n_columns, n_rows)))
    # Householder QR leaves the signs of r's diagonal to the algorithm; fixing them makes q Haar distributed.
    return (q * np.sign(np.diagonal(r))).T


def draw_parents(
    rng: np.random.Generator, train_counts: Sequence[int], test_counts: Sequence[int]
) -> Int64[np.ndarray, " test_pattern"]:
    """For every test pattern the index of a training pattern of its class, repeated only when all are used."""
    parents: list[np.ndarray] = []
    start = 0
    for n_train, n_test in zip(train_counts, test_counts, strict=True):
        parents.append(start + np.resize(rng.permutation(n_train), n_test))
        start += n_train
    return np.concatenate(parents).astype(np.int64)
