"""What the sections of task geometry compare, on numbers whose answer is known."""

import numpy as np
import pytest
import xarray as xr

import hiddencodes as hc
from hiddencodes.benchmarks.papers.task_geometry import REPRODUCTION
from hiddencodes.benchmarks.papers.task_geometry.comparisons import (
    agrees_with_row,
    paired_gap,
    row_of,
)
from hiddencodes.benchmarks.papers.task_geometry.mechanism import (
    _closed_forms,
    _exclusive_or,
    _flow_with_trace,
)
from hiddencodes.benchmarks.papers.task_geometry.networks import initial_weights, networks, unstructured_tasks


def measured(values: np.ndarray, **more: np.ndarray) -> xr.Dataset:
    dims = ("seed", "chain", "draw")
    found = xr.Dataset({"target_alignment": (dims, values), **{name: (dims, v) for name, v in more.items()}})
    return found.assign(alignment=(("seed",), np.full(len(values), 0.3)))


def test_the_error_of_a_row_is_between_tasks_or_between_networks():
    values = np.array([[0.1, 0.3], [0.5, 0.7], [0.9, 1.1]])[..., None]
    one, three = row_of(measured(values), [0]), row_of(measured(values), [0, 1, 2])
    assert one.mean["target_alignment"] == pytest.approx(0.2)
    assert one.error["target_alignment"] == pytest.approx(0.1)
    assert three.mean["target_alignment"] == pytest.approx(0.6)
    assert three.error["target_alignment"] == pytest.approx(0.4 / np.sqrt(3))


def test_a_paired_gap_forgets_what_tasks_have_in_common():
    task = np.random.default_rng(0).standard_normal(5)
    values = np.concatenate([task + 0.2, task])[:, None, None]
    gap, error = paired_gap(measured(values), range(5), range(5, 10), "target_alignment")
    assert gap == pytest.approx(0.2)
    assert error == pytest.approx(0.0, abs=1e-12)


def test_a_row_that_is_off_fails():
    found = row_of(measured(np.array([[[0.5], [0.52]]])), [0])
    verdicts = [
        agrees_with_row("row", "A row.", {"target_alignment": expected}, found, z=3.0).verdict
        for expected in (0.55, 0.65)
    ]
    assert verdicts == ["holds", "fails"]


@pytest.mark.parametrize("kind", ["normal", "uniform", "uniform, balanced readout"])
def test_initial_weights_have_the_published_sizes(kind):
    tasks = unstructured_tasks(1, 0.6)
    assert abs(tasks[0].alignment - 0.6) < 0.006
    posteriors = networks(tasks, [hc.tanh, hc.relu], 150, bias=True, n_train=50)
    weights = initial_weights(posteriors, 3, kind, 0)
    variance = 1.0 if kind == "normal" else 1 / 3
    kernel, readout = weights["hidden_1"]["kernel"], weights["readout"]["kernel"]
    assert kernel.shape == (2, 3, 200, 150)
    assert weights["hidden_1"]["bias"].shape == (2, 3, 150)
    n = kernel.size
    assert abs(200 * kernel.var() / variance - 1) < 5 * np.sqrt(2 / n)
    if kind.endswith("readout"):
        np.testing.assert_allclose(np.abs(readout), 1 / np.sqrt(150))
        assert readout.sum() == pytest.approx(0, abs=1e-9)


def test_the_flow_is_followed_to_the_measured_size():
    labels = np.array([1.0, 1, -1, -1])
    kernel = hc.decoupled_flow(hc.relu, labels, initial_std=0.1, growth=0.7, nodes=400)
    found = _flow_with_trace(hc.relu, labels, 0.1, float(np.trace(kernel)))
    np.testing.assert_allclose(found, kernel, rtol=1e-3)


def test_the_theory_of_the_mechanism_holds_without_any_network():
    claims = _closed_forms()
    assert len(claims) == 8
    assert all(claim.verdict == "holds" for claim in claims)
    assert _exclusive_or().verdict == "holds"


def test_sections():
    assert list(REPRODUCTION.headlines) == [
        "unstructured", "mechanism", "separability", "alignment-family", "nonlinearities", "posterior-geometry"
    ]  # fmt: skip
