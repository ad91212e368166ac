import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiddencodes.tasks import Task, class_targets, from_arrays
from hiddencodes.tasks.arguments import split_by_fractions

VALID = {
    "x_train": np.arange(8.0).reshape(4, 2),
    "y_train": np.eye(4)[:, :3],
    "labels_train": np.array([0, 1, 2, 2]),
    "x_test": np.ones((2, 2)),
    "y_test": np.zeros((2, 3)),
    "labels_test": np.array([0, 2]),
    "class_names": ("a", "b", "c"),
    "provenance": json.dumps({"generator": "by hand"}),
}


def with_entry(array, index, value):
    changed = np.array(array, dtype=float)
    changed[index] = value
    return changed


def construct_without_type_checker(fields):
    """`Task(**fields)` as a user meets it: the suite's run-time type checker would refuse some fields first."""
    task = object.__new__(Task)
    for name, value in fields.items():
        object.__setattr__(task, name, value)
    task.__post_init__()
    return task


def test_shapes_counts_and_kernel():
    task = Task(**VALID)
    assert (task.n_train, task.n_test, task.n_inputs, task.n_outputs, task.n_classes) == (4, 2, 2, 3, 3)
    np.testing.assert_array_equal(task.class_counts, [1, 1, 2])
    np.testing.assert_array_equal(task.class_fractions, [0.25, 0.25, 0.5])
    x = VALID["x_train"]
    expected = [[(x[i, 0] * x[j, 0] + x[i, 1] * x[j, 1]) / 2 for j in range(4)] for i in range(4)]
    np.testing.assert_array_equal(task.input_kernel(), expected)


def test_arrays_are_read_only_copies():
    mine = np.arange(8.0).reshape(4, 2)
    task = Task(**{**VALID, "x_train": mine})
    mine[0, 0] = 99.0
    assert task.x_train[0, 0] == 0.0
    for name in ("x_train", "y_train", "labels_train", "x_test", "y_test", "labels_test"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(task, name)[0] = 0
    with pytest.raises(AttributeError):
        task.provenance = "{}"


def test_dtypes_are_converted():
    task = construct_without_type_checker(
        {**VALID, "x_train": np.ones((4, 2), np.uint8), "labels_train": np.array([0, 1, 2, 0], np.uint8)}
    )
    assert task.x_train.dtype == np.float64
    assert task.labels_train.dtype == np.int64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"x_train": with_entry(VALID["x_train"], (2, 1), np.nan)},
            r"x_train: 1 non-finite entry, first at \[2, 1\] \(nan\)",
        ),
        ({"x_train": np.full((4, 2), np.inf)}, r"x_train: 8 non-finite entries, first at \[0, 0\] \(inf\)"),
        (
            {"x_test": with_entry(VALID["x_test"], (1, 0), -np.inf)},
            r"x_test: 1 non-finite entry, first at \[1, 0\] \(-inf\)",
        ),
        (
            {"y_train": with_entry(VALID["y_train"], (3, 2), np.nan)},
            r"y_train: 1 non-finite entry, first at \[3, 2\]",
        ),
        ({"y_test": with_entry(VALID["y_test"], (0, 0), np.nan)}, r"y_test: 1 non-finite"),
        ({"x_train": np.array([["a", "b"]] * 4)}, r"x_train: entries must be real numbers, the dtype is <U1"),
        (
            {"x_train": np.ones((4, 2), complex)},
            r"x_train: entries must be real numbers, the dtype is complex128",
        ),
        ({"x_train": np.ones(4)}, r"x_train: expected 2 axes, the shape is \(4,\)"),
        (
            {"labels_train": np.array([0.0, 1.0, 2.0, 2.0])},
            r"labels_train: labels must be integers, the dtype is float64",
        ),
        (
            {"labels_test": np.array([True, False])},
            r"labels_test: labels must be integers, the dtype is bool",
        ),
        ({"labels_train": np.zeros((4, 1), int)}, r"labels_train: expected 1 axis, the shape is \(4, 1\)"),
        ({"labels_train": np.array([0, 1, 2, 3])}, r"labels_train: label 3 at \[3\] is not in 0\.\.2"),
        ({"labels_test": np.array([0, -1])}, r"labels_test: label -1 at \[1\] is not in 0\.\.2"),
        ({"labels_train": np.array([0, 1, 2])}, r"labels_train: 3 labels for 4 patterns"),
        ({"labels_test": np.array([0])}, r"labels_test: 1 labels for 2 patterns"),
        ({"y_train": np.zeros((5, 3))}, r"y_train: 5 rows for 4 rows of x_train"),
        ({"y_test": np.zeros((1, 3))}, r"y_test: 1 rows for 2 rows of x_test"),
        ({"x_test": np.zeros((2, 5))}, r"x_test: 5 inputs, x_train has 2"),
        ({"y_test": np.zeros((2, 1))}, r"y_test: 1 outputs, y_train has 3"),
        (
            {"labels_train": np.array([0, 0, 2, 2])},
            r"labels_train: class 'b' \(label 1\) has no training pattern",
        ),
        ({"class_names": ("a", "b", "a")}, r"class_names: 'a' occurs 2 times"),
        ({"provenance": "by hand"}, r"provenance: 'by hand' is not JSON"),
        ({"x_train": np.zeros((4, 0)), "x_test": np.zeros((2, 0))}, r"x_train: empty, the shape is \(4, 0\)"),
        ({"y_train": np.zeros((4, 0)), "y_test": np.zeros((2, 0))}, r"y_train: empty, the shape is \(4, 0\)"),
    ],
)
def test_bad_input_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        construct_without_type_checker({**VALID, **changes})


def test_from_arrays_builds_targets_and_default_names():
    task = from_arrays([[1, 2], [3, 4], [5, 6]], [1, 0, 1], [[0, 0]], [1], y_plus=2, y_minus=-1)
    np.testing.assert_array_equal(task.y_train, [[-1, 2], [2, -1], [-1, 2]])
    np.testing.assert_array_equal(task.y_test, [[-1, 2]])
    assert task.class_names == ("0", "1")
    assert json.loads(task.provenance)["generator"] == "from_arrays"


def test_from_arrays_provenance_tells_data_apart():
    first, same, other = (from_arrays([[x]], [0]).provenance for x in (1.0, 1.0, 2.0))
    assert first == same
    assert first != other


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1.0]], [0], [[1.0]], None), "labels_test: None, but x_test is given"),
        (([[1.0]], [0], None, [0]), "x_test: None, but labels_test is given"),
        (([[1.0]], [0, 1]), "labels_train: 2 labels for 1 patterns"),
        (([[1.0]], [1]), r"labels_train: class '0' \(label 0\) has no training pattern"),
        (([[1.0]], [-1]), r"labels_train: label -1 at \[0\]"),
        (([[1.0]], [0], [[1.0]], [4]), r"labels_test: label 4 at \[0\] is not in 0\.\.0"),
        (([[np.nan]], [0]), "x_train: 1 non-finite entry"),
        ((np.zeros((0, 3)), np.zeros(0, int)), r"x_train: empty, the shape is \(0, 3\)"),
    ],
)
def test_from_arrays_refuses_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        from_arrays(*arguments)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([0, 1, 2], 3), {"single_output": True}, "single_output: needs 2 classes, there are 3"),
        (([0, 1], 2, float("nan")), {}, "y_plus: nan is not finite"),
        (([0, 1], 2, 1.0, float("inf")), {}, "y_minus: inf is not finite"),
        (([0, 5], 2), {}, r"labels: label 5 at \[1\]"),
        (([0.5, 1.0], 2), {}, "labels: labels must be integers"),
        (([0], 0), {}, "n_classes: 0 is not an integer of at least 1"),
    ],
)
def test_class_targets_refuses_bad_input(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        class_targets(*arguments, **options)


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=20),
    y_plus=st.floats(-5, 5),
    y_minus=st.floats(-5, 5),
)
@settings(max_examples=30, deadline=None)
def test_class_targets_entry_by_entry(labels, y_plus, y_minus):
    targets = class_targets(labels, 5, y_plus, y_minus)
    assert targets.shape == (len(labels), 5)
    for row, label in zip(targets, labels, strict=True):
        assert list(row) == [y_plus if c == label else y_minus for c in range(5)]


@st.composite
def fractions_and_total(draw):
    weights = draw(st.lists(st.integers(1, 30), min_size=1, max_size=6))
    return [w / sum(weights) for w in weights], draw(st.integers(0, 400))


@given(case=fractions_and_total())
@settings(max_examples=100, deadline=None)
def test_counts_sum_to_the_total_and_are_within_one_of_the_quota(case):
    fractions, total = case
    counts = split_by_fractions("n_train", total, fractions, allow_empty=True)
    assert sum(counts) == total
    # Largest-remainder rounding obeys the quota rule; 1e-9 covers the rounding of fraction * total.
    assert all(abs(count - f * total) < 1 + 1e-9 for count, f in zip(counts, fractions, strict=True))
    # A larger fraction never gets fewer patterns.
    ordered = [count for _, count in sorted(zip(fractions, counts, strict=True))]
    assert ordered == sorted(ordered)


@pytest.mark.parametrize(
    ("total", "fractions", "expected"),
    [
        (200, (1 / 2, 1 / 4, 1 / 4), (100, 50, 50)),
        (10, (1 / 2, 1 / 4, 1 / 4), (5, 3, 2)),
        (100, (1 / 3, 1 / 3, 1 / 3), (34, 33, 33)),
        (100, (0.29, 0.71), (29, 71)),
        (15, (0.3, 0.1, 0.6), (5, 1, 9)),
        (7, (1.0,), (7,)),
    ],
)
def test_counts_in_known_cases(total, fractions, expected):
    assert split_by_fractions("n_train", total, fractions) == expected


@pytest.mark.parametrize(
    ("total", "fractions", "message"),
    [
        (3, (0.9, 0.05, 0.05), r"n_train: 3 patterns leave class 1 \(fraction 0\.05\) empty|class 2"),
        (10, (0.5, 0.4), r"fractions: \(0\.5, 0\.4\) sum to 0\.9, not to 1"),
        (10, (1.5, -0.5), "fractions: -0.5 is not positive"),
        (10, (1.0, 0.0), r"fractions: 0\.0 is not positive"),
        (10, (0.5, float("nan")), "fractions: nan is not finite"),
        (10, (), "fractions: empty"),
        (0, (1.0,), "n_train: 0 is not an integer of at least 1"),
        (-4, (1.0,), "n_train: -4 is not an integer of at least 1"),
    ],
)
def test_bad_fractions_are_refused(total, fractions, message):
    with pytest.raises(ValueError, match=message):
        split_by_fractions("n_train", total, fractions)
