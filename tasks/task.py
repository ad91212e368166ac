"""A task: the training and test patterns of a classification or regression problem, as plain arrays."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import ArrayLike

from hiddencodes.tasks.arguments import Number, finite_array, finite_number, integer_at_least, integer_labels


@dataclass(frozen=True, eq=False)
class Task:
    """Inputs, targets and class labels of a training set and a test set.

    The arrays are copied, converted (float64, labels int64) and made read-only. The targets are free: nothing
    ties `y_train` to `labels_train`, so regression targets and several latent labels fit as well; the labels
    say how the diagnostics group patterns.

    Attributes:
        x_train: Training inputs, shape (P, N0).
        y_train: Training targets, shape (P, m).
        labels_train: Class of each training pattern, shape (P,), in 0..C-1; every class occurs.
        x_test: Test inputs, shape (Q, N0); Q may be 0.
        y_test: Test targets, shape (Q, m).
        labels_test: Class of each test pattern, shape (Q,).
        class_names: The C class names, distinct.
        provenance: One JSON string: the generator's name and arguments.

    Raises:
        ValueError: Naming the argument and the offending value, on non-finite entries, labels that are not
            integers or out of range, mismatched shapes, a class without a training pattern, duplicate class
            names, or a provenance that is not JSON.

    >>> task = Task(np.eye(2), np.array([[1.0], [-1.0]]), np.array([0, 1]), np.zeros((0, 2)),
    ...             np.zeros((0, 1)), np.zeros(0, int), ("left", "right"), '{"generator": "by hand"}')
    >>> task.n_train, task.n_inputs, task.n_outputs, task.n_classes
    (2, 2, 1, 2)
    >>> task.input_kernel()
    array([[0.5, 0. ],
           [0. , 0.5]])
    """

    x_train: Float64[np.ndarray, "pattern input"]
    y_train: Float64[np.ndarray, "pattern output"]
    labels_train: Int64[np.ndarray, " pattern"]
    x_test: Float64[np.ndarray, "test_pattern input"]
    y_test: Float64[np.ndarray, "test_pattern output"]
    labels_test: Int64[np.ndarray, " test_pattern"]
    class_names: tuple[str, ...]
    provenance: str

    def __post_init__(self) -> None:
        """Convert, check and freeze the arrays."""
        names = tuple(self.class_names)
        duplicate = next((name for name in names if names.count(name) > 1), None)
        if duplicate is not None:
            raise ValueError(f"class_names: {duplicate!r} occurs {names.count(duplicate)} times")
        object.__setattr__(self, "class_names", names)
        for split in ("train", "test"):
            x = finite_array(f"x_{split}", getattr(self, f"x_{split}"), 2)
            y = finite_array(f"y_{split}", getattr(self, f"y_{split}"), 2)
            if len(y) != len(x):
                raise ValueError(f"y_{split}: {len(y)} rows for {len(x)} rows of x_{split}")
            labels = integer_labels(f"labels_{split}", getattr(self, f"labels_{split}"), len(x))
            check_label_range(f"labels_{split}", labels, len(names))
            for name, array in ((f"x_{split}", x), (f"y_{split}", y), (f"labels_{split}", labels)):
                array.setflags(write=False)
                object.__setattr__(self, name, array)
        for name, array in (("x_train", self.x_train), ("y_train", self.y_train)):
            if 0 in array.shape:
                raise ValueError(f"{name}: empty, the shape is {array.shape}")
        for test, train, axis in (("x_test", "x_train", "inputs"), ("y_test", "y_train", "outputs")):
            found, expected = getattr(self, test).shape[1], getattr(self, train).shape[1]
            if found != expected:
                raise ValueError(f"{test}: {found} {axis}, {train} has {expected}")
        for label, count in enumerate(self.class_counts):
            if count == 0:
                raise ValueError(
                    f"labels_train: class {names[label]!r} (label {label}) has no training pattern"
                )
        try:
            json.loads(self.provenance)
        except json.JSONDecodeError as error:
            raise ValueError(f"provenance: {self.provenance!r} is not JSON ({error})") from error

    @property
    def n_train(self) -> int:
        """P, the number of training patterns."""
        return self.x_train.shape[0]

    @property
    def n_test(self) -> int:
        """Q, the number of test patterns."""
        return self.x_test.shape[0]

    @property
    def n_inputs(self) -> int:
        """N0, the number of inputs."""
        return self.x_train.shape[1]

    @property
    def n_outputs(self) -> int:
        """The number of outputs m."""
        return self.y_train.shape[1]

    @property
    def n_classes(self) -> int:
        """C, the number of classes."""
        return len(self.class_names)

    @property
    def class_counts(self) -> Int64[np.ndarray, " class"]:
        """Training patterns per class, shape (C,)."""
        return np.bincount(self.labels_train, minlength=self.n_classes).astype(np.int64)

    @property
    def class_fractions(self) -> Float64[np.ndarray, " class"]:
        """Class fractions of the training set, shape (C,), sum 1."""
        return self.class_counts / self.n_train

    def input_kernel(self) -> Float64[np.ndarray, "pattern pattern"]:
        """K0 = X X^T / N0 over the training patterns, shape (P, P)."""
        return self.x_train @ self.x_train.T / self.n_inputs


def kernel_scale(x_train: np.ndarray) -> float:
    """The factor s for which the mean diagonal of (s X)(s X)^T / N0, shape of X (P, N0), is 1.

    Raises:
        ValueError: If all inputs are zero.

    >>> kernel_scale(np.array([[2.0, 0.0], [0.0, 2.0]]))
    0.7071067811865475
    """
    mean_diagonal = float(np.mean(x_train**2))
    if not mean_diagonal > 0:
        raise ValueError("scale: all training inputs are zero, the mean diagonal of K0 cannot be scaled to 1")
    return 1.0 / math.sqrt(mean_diagonal)


def check_label_range(name: str, labels: Int64[np.ndarray, " pattern"], n_classes: int) -> None:
    """Refuse labels outside 0..n_classes-1.

    Raises:
        ValueError: Naming the first label that is out of range.
    """
    outside = np.flatnonzero((labels < 0) | (labels >= n_classes))
    if len(outside):
        first = outside[0]
        raise ValueError(f"{name}: label {labels[first]} at [{first}] is not in 0..{n_classes - 1}")


def class_targets(
    labels: ArrayLike,
    n_classes: int,
    y_plus: Number = 1.0,
    y_minus: Number = 0.0,
    *,
    single_output: bool = False,
) -> Float64[np.ndarray, "pattern output"]:
    """Targets with one output per class: `y_plus` for a pattern's own class, `y_minus` for the others.

    Args:
        labels: Class of each pattern, shape (P,), in 0..n_classes-1.
        n_classes: Number of classes C.
        y_plus: Target of a pattern's own class.
        y_minus: Target of every other class.
        single_output: With two classes, one output: `y_plus` for class 0 and `y_minus` for class 1.

    Returns:
        Targets, shape (P, C), or (P, 1) with `single_output`.

    Raises:
        ValueError: If the labels are not integers in range, a target is not finite, or `single_output` is
            asked for with other than two classes.

    >>> class_targets([0, 2, 1], 3, y_minus=-0.5)
    array([[ 1. , -0.5, -0.5],
           [-0.5, -0.5,  1. ],
           [-0.5,  1. , -0.5]])
    >>> class_targets([0, 1, 1], 2, 1, -1, single_output=True)
    array([[ 1.],
           [-1.],
           [-1.]])
    """
    integer_at_least("n_classes", n_classes, 1)
    classes = integer_labels("labels", labels)
    check_label_range("labels", classes, n_classes)
    plus, minus = finite_number("y_plus", y_plus), finite_number("y_minus", y_minus)
    if single_output and n_classes != 2:
        raise ValueError(f"single_output: needs 2 classes, there are {n_classes}")
    own_class = classes[:, None] == np.arange(1 if single_output else n_classes)
    return np.where(own_class, plus, minus)


def from_arrays(
    x_train: ArrayLike,
    labels_train: ArrayLike,
    x_test: ArrayLike | None = None,
    labels_test: ArrayLike | None = None,
    *,
    y_plus: Number = 1.0,
    y_minus: Number = 0.0,
    class_names: Sequence[str] | None = None,
    single_output: bool = False,
    provenance: str | None = None,
) -> Task:
    """Build a classification task from your own inputs and labels.

    Args:
        x_train: Training inputs, shape (P, N0).
        labels_train: Training labels, shape (P,), integers 0..C-1; every class must occur.
        x_test: Test inputs, shape (Q, N0); `None` for no test set.
        labels_test: Test labels, shape (Q,); given if and only if `x_test` is.
        y_plus: Target of a pattern's own class.
        y_minus: Target of every other class.
        class_names: The C names; `None` for "0", "1", ... up to the largest training label.
        single_output: With two classes, one output: `y_plus` for class 0 and `y_minus` for class 1.
        provenance: JSON string that says how the arrays were made; `None` for this function's arguments with
            SHA-256 digests in place of the arrays.

    Returns:
        The task; patterns keep their order.

    Raises:
        ValueError: As `Task` and `class_targets`, and if only one of `x_test` and `labels_test` is given.

    >>> task = from_arrays([[1.0, 0.0], [0.0, 2.0]], [0, 1], class_names=("cat", "dog"))
    >>> task.y_train, task.n_test
    (array([[1., 0.],
           [0., 1.]]), 0)
    """
    if (x_test is None) != (labels_test is None):
        given, absent = ("x_test", "labels_test") if labels_test is None else ("labels_test", "x_test")
        raise ValueError(f"{absent}: None, but {given} is given")
    inputs = finite_array("x_train", x_train, 2)
    labels = integer_labels("labels_train", labels_train, len(inputs))
    test_inputs = np.zeros((0, inputs.shape[1])) if x_test is None else finite_array("x_test", x_test, 2)
    test_labels = (
        np.zeros(0, np.int64)
        if labels_test is None
        else integer_labels("labels_test", labels_test, len(test_inputs))
    )
    if class_names is None:
        names = tuple(str(c) for c in range(1 + int(labels.max(initial=0))))
    else:
        names = tuple(class_names)
    check_label_range("labels_train", labels, len(names))
    check_label_range("labels_test", test_labels, len(names))

    def targets(classes: Int64[np.ndarray, " pattern"]) -> Float64[np.ndarray, "pattern output"]:
        return class_targets(classes, len(names), y_plus, y_minus, single_output=single_output)

    if provenance is None:
        provenance = json.dumps(
            {
                "generator": "from_arrays",
                "x_train_sha256": digest(inputs),
                "labels_train_sha256": digest(labels),
                "x_test_sha256": digest(test_inputs),
                "labels_test_sha256": digest(test_labels),
                "y_plus": float(y_plus),
                "y_minus": float(y_minus),
                "class_names": names,
                "single_output": single_output,
            }
        )
    return Task(
        inputs, targets(labels), labels, test_inputs, targets(test_labels), test_labels, names, provenance
    )


def digest(array: np.ndarray) -> str:
    """SHA-256 of an array's bytes in C order, as hexadecimal text."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
