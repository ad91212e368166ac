"""Condition tasks: their geometry is what was asked for."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hiddencodes as hc


@given(
    bits=st.integers(2, 5),
    targets=st.integers(1, 5),
    share=st.floats(0, 1),
    scale=st.sampled_from([0.0, 0.1, 0.5, 2.0]),
    seed=st.integers(0, 2**31),
)
def test_alignment_is_the_one_that_was_asked_for(bits, targets, share, scale, seed):
    d, k = 2**bits, min(targets, bits)
    # At d = 4 and two targets there is one dimension beside them.
    task = hc.aligned_conditions(d, k, share, scale=scale, n_inputs=40, seed=seed)
    assert task.alignment == pytest.approx(share, abs=1e-10)
    kernel = task.input_kernel()
    np.testing.assert_allclose(np.trace(kernel), d)
    np.testing.assert_allclose(kernel.sum(0), 0, atol=1e-9)
    assert task.targets.shape == (d, k)
    np.testing.assert_array_equal(task.targets.T @ task.targets, d * np.eye(k))


@pytest.mark.parametrize(("d", "k"), [(8, 1), (8, 3), (16, 4), (32, 1)])
def test_without_structure_conditions_are_at_equal_distances(d, k):
    kernel = hc.aligned_conditions(d, k, hc.isotropic_alignment(d, k)).input_kernel()
    expected = d / (d - 1) * (np.eye(d) - 1 / d)
    np.testing.assert_allclose(kernel, expected, atol=1e-12)


@pytest.mark.parametrize("separability", [0.0, 0.25, 0.5, 1.0, 2.0])
def test_separability_sets_the_alignment(separability):
    task = hc.xor_conditions(separability)
    assert task.alignment == pytest.approx(separability**2 / math.sqrt(2 + separability**4), abs=1e-12)
    np.testing.assert_allclose(np.sum(task.means**2, 1), 40 * (2 + separability**2))


def _symmetries():
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            yield list(order), np.array(signs)


def test_the_six_kinds_are_all_balanced_dichotomies_of_the_cube():
    latents = hc.factorial_latents(3)
    found: dict[str, set[tuple[float, ...]]] = {}
    for name in hc.LOGIC:
        y = hc.logic_conditions(name).targets[:, 0]
        value = {tuple(row): v for row, v in zip(latents, y, strict=True)}
        orbit = set()
        for order, signs in _symmetries():
            moved = np.array([value[tuple(row)] for row in latents[:, order] * signs])
            orbit.add(tuple(moved * moved[0]))
        found[name] = orbit
    assert {name: len(orbit) for name, orbit in found.items()} == {
        "face": 3, "corner": 4, "snake": 12, "net": 12, "xor2": 3, "xor3": 1
    }  # fmt: skip
    assert len(set.union(*found.values())) == math.comb(8, 4) // 2


def test_a_sample_has_the_means_the_targets_and_the_noise_that_it_should():
    task = hc.unstructured_conditions(seed=3)
    sampled = task.sample(4000, seed=1)
    np.testing.assert_allclose(task.means.mean(0), 0, atol=1e-12)
    np.testing.assert_array_equal(sampled.y_train, task.targets[sampled.labels_train])
    residual = sampled.x_train - task.means[sampled.labels_train]
    n = residual.size
    assert abs(residual.mean()) < 5 / math.sqrt(n)
    assert abs(residual.var() - 1) < 5 * math.sqrt(2 / n)
    counts = sampled.class_counts
    assert np.all(np.abs(counts - 1000) < 5 * math.sqrt(4000 * 3 / 16))
    assert task.sample(4000, seed=2).x_train[0, 0] != sampled.x_train[0, 0]
    np.testing.assert_array_equal(sampled.x_test, task.means)


def test_what_was_made_is_said():
    other = hc.unstructured_conditions(targets=np.array([[1.0], [1.0], [-1.0], [-1.0]]))
    assert other.provenance != hc.unstructured_conditions().provenance


def test_walsh_functions_are_orthogonal():
    functions, chosen = hc.walsh_functions(4)
    np.testing.assert_array_equal(functions.T @ functions, 16 * np.eye(16))
    assert [len(t) for t in chosen] == sorted(len(t) for t in chosen)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hc.aligned_conditions(6, 1, 0.1), "n_conditions: expected a power of two, got 6"),
        (
            lambda: hc.aligned_conditions(8, 4, 0.1),
            "n_targets: 8 conditions have 3 independent latents, got 4",
        ),
        (lambda: hc.aligned_conditions(8, 1, 1.5), r"alignment: 1.5 is not in \[0, 1\]"),
        (lambda: hc.aligned_conditions(8, 1, 0.5, n_inputs=5), "n_inputs: expected at least 7"),
        (lambda: hc.xor_conditions(-1.0), "separability: -1.0"),
        (lambda: hc.xor_conditions(0.5, 100), "n_inputs: expected a multiple of 3, got 100"),
        (lambda: hc.logic_conditions("edge"), "dichotomy: 'edge' is unknown"),
        (
            lambda: hc.ConditionTask(np.eye(2), np.array([[1.0], [0.5]]), 0.1),
            r"targets: expected \+1 and -1, got .*0.5",
        ),
        (
            lambda: hc.ConditionTask(np.eye(2), np.array([[1.0], [1.0]]), 0.1),
            "targets: target 0 is 1 for all conditions",
        ),
        (lambda: hc.unstructured_conditions().sample(3), "n_train: 3 patterns for 4 conditions"),
    ],
)
def test_arguments_that_make_no_task_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
