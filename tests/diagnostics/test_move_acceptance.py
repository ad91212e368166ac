"""Counts of moves: summed over chains, by code, seed by seed."""

import numpy as np
import pytest
import xarray as xr

import hiddencodes as hc


@pytest.fixture
def run() -> xr.DataTree:
    rng = np.random.default_rng(0)
    dims = ("move", "seed", "chain", "code", "code_2")
    proposed = rng.integers(1, 20, (2, 2, 3, 3, 3))
    proposed[:, :, :, 2] = proposed[:, :, :, :, 2] = 0
    accepted = rng.integers(0, proposed + 1)
    names = np.array([[["011", "rest", ""], ["101", "011", ""]]] * 2)
    counts = xr.Dataset(
        {"proposed": (dims, proposed), "accepted": (dims, accepted), "codes": (dims[:2] + dims[3:4], names)},
        {"move": ["a", "b"], "seed": [3, 7]},
    )
    return xr.DataTree.from_dict({"/moves": counts})


def test_rows_are_the_counts_of_the_run(run):
    rows = hc.move_acceptance(run)
    assert [(row.move, row.seed) for row in rows] == [("a", 3), ("a", 7), ("b", 3), ("b", 7)]
    assert [row.codes for row in rows[:2]] == [("011", "rest"), ("101", "011")]
    assert sum(row.proposed.sum() for row in rows) == run["moves"]["proposed"].sum()
    counts = run["moves"].isel(move=1, seed=1).sum("chain")
    np.testing.assert_array_equal(rows[3].accepted, counts["accepted"].values[:2, :2])
    off = counts["accepted"].values[[0, 1], [1, 0]].sum() / counts["proposed"].values[[0, 1], [1, 0]].sum()
    assert rows[3].rate(same=False) == off
    assert rows[3].to_dict()["other_code"] == off


def test_no_moves_no_rows():
    assert hc.move_acceptance(xr.DataTree.from_dict({"/posterior": xr.Dataset()})) == ()


def test_a_single_code_has_no_other(run):
    one = xr.DataTree.from_dict({"/moves": run["moves"].isel(code=slice(1), code_2=slice(1)).to_dataset()})
    assert np.isnan(hc.move_acceptance(one)[0].rate(same=False))
