"""Certificates of equilibrium: passed by chains that forgot their start, refused otherwise, never claimed without."""

import numpy as np
import pytest
import xarray as xr

import hiddencodes as hc

PATTERNS = np.array([0, 0, 1, 1, 2, 2])
CODES = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], float)
UNITS = 200


def layer(rng, shares):
    """Class means of units with random codes of these shares, (unit, class)."""
    return 0.1 + 0.8 * CODES[rng.choice(3, UNITS, p=shares)]


def made(
    *,
    end=((0.2, 0.3, 0.5), (0.2, 0.3, 0.5)),
    start=((0.6, 0.3, 0.1), (0.0, 0.5, 0.5)),
    shift=0.0,
    draws=300,
    chains=4,
    certificate="compositions",
    rng_seed=0,
):
    """A run of two superchains whose draws are independent, with shares `end` after starting from `start`."""
    rng = np.random.default_rng(rng_seed)
    superchain = np.repeat([0, 1], chains // 2)
    means = np.stack([[layer(rng, end[g]) for _ in range(draws)] for g in superchain])[None]
    first = np.stack([layer(rng, start[g]) for g in superchain])[:, :, PATTERNS][None, :, None]
    loss = rng.standard_normal((1, chains, draws)) + shift * superchain[None, :, None]
    kernel = rng.standard_normal((1, chains, draws, 1, 3))
    leading = ("seed", "chain", "draw")
    tree = xr.DataTree.from_dict(
        {
            "/posterior": xr.Dataset(
                {"train_loss": (leading, loss), "kernel_diagonal": ((*leading, "layer", "class"), kernel)}
            ),
            "/units": xr.Dataset({"class_means": ((*leading, "unit", "class", "layer"), means[..., None])}),
            "/initial": xr.Dataset(
                {"activations": (("seed", "chain", "layer", "unit", "pattern"), first.astype(np.float32))}
            ),
            "/constant_data": xr.Dataset(
                {"superchain": ("chain", superchain), "labels_train": (("seed", "pattern"), PATTERNS[None])}
            ),
        }
    )
    tree.attrs = {
        "certificate": certificate,
        "initialization": "two starts",
        "model": '{"activation": "sigmoidal"}',
    }
    return tree


def test_chains_that_forgot_their_start_are_equilibrated():
    report = hc.equilibrium(made())
    assert report.ok, report.reasons
    assert report.entries == 1 + 3 + 3
    assert report.verdict.startswith("equilibrated: chains from different compositions agree on 7 entries")
    rows = {row.code: row for row in report.shares}
    assert set(rows) == {"100", "010", "001"}
    assert rows["100"].start == pytest.approx((0.6, 0.0), abs=0.1)
    # Independent units: the standard error is known.
    expected = np.sqrt(0.2 * 0.8 / (UNITS * 2 * 300))
    assert rows["100"].error == pytest.approx((expected, expected), rel=0.25)
    assert rows["100"].mean == pytest.approx((0.2, 0.2), abs=5 * expected)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"end": ((0.2, 0.3, 0.5), (0.23, 0.27, 0.5))}, "code share"),
        ({"shift": 0.4}, "train_loss"),
        ({"draws": 30}, "effective draws < 100"),
        ({"draws": 3}, "3 draws per chain"),
    ],
)
def test_what_is_refused(change, reason):
    report = hc.equilibrium(made(**change))
    assert not report.ok
    assert reason in " ".join(report.reasons)
    assert report.verdict.startswith("NOT equilibrated: ")


def test_compositions_must_start_further_apart_than_can_be_resolved():
    report = hc.equilibrium(made(), sharpness=0.002)
    assert not report.ok
    assert "apart in the share of 100" in report.reasons[0]


def test_frozen_chains_with_one_composition_certify_nothing():
    run = made(start=((0.2, 0.3, 0.5), (0.2, 0.3, 0.5)))
    means = run["units"]["class_means"].isel(chain=[0] * 4, draw=[0] * 300)
    run["units"] = xr.DataTree(xr.Dataset({"class_means": means}))
    one = run["initial"]["activations"].isel(chain=[0] * 4)
    run["initial"] = xr.DataTree(xr.Dataset({"activations": one}))
    report = hc.equilibrium(run)
    assert not report.ok
    assert "starts 0 apart" in " ".join(report.reasons)


def test_without_class_means_nothing_is_certified():
    run = made()
    del run["units"]
    report = hc.equilibrium(run)
    assert not report.ok
    assert "shares of codes were not compared" in report.verdict


def test_a_code_that_only_the_starts_had_is_in_the_table():
    gone = ((0.0, 0.4, 0.6), (0.0, 0.4, 0.6))
    report = hc.equilibrium(made(end=gone))
    assert report.ok, report.reasons
    assert next(row for row in report.shares if row.code == "100").mean == (0.0, 0.0)


def test_frozen_chains_are_refused():
    run = made()
    frozen = run["units"]["class_means"].isel(draw=[0] * 300)
    run["units"] = xr.DataTree(xr.Dataset({"class_means": frozen}))
    report = hc.equilibrium(run)
    assert not report.ok
    assert "code share" in " ".join(report.reasons)


def test_without_different_starts_nothing_is_called_equilibrated():
    for certificate in ("none", "something else"):
        report = hc.equilibrium(made(certificate=certificate))
        assert not report.ok
        assert report.verdict == "no certificate of equilibrium: all chains have the same kind of start"
        assert report.to_dict()["worst"] is None


def test_an_unhealthy_chain_refuses():
    run = made()
    loss = run["posterior"]["train_loss"].values
    loss[0, 1, 7] = np.nan
    report = hc.equilibrium(run)
    assert not report.ok
    assert "chain 1" in report.reasons[0]


def test_false_alarms_are_as_rare_as_promised():
    # Of 60 runs in equilibrium, one in a hundred may be refused for a deviation: more than 5 have probability 2e-5.
    refused = sum(
        any(
            "standard errors in" in reason
            for reason in hc.equilibrium(made(rng_seed=seed, draws=120)).reasons
        )
        for seed in range(60)
    )
    assert refused <= 5


@pytest.mark.parametrize("limit", [{"rhat_max": 0.9}, {"ess_min": 0}, {"sharpness": -1.0}])
def test_limits_are_checked(limit):
    ((name, value),) = limit.items()
    with pytest.raises(ValueError, match=f"{name}: {value}"):
        hc.equilibrium(made(draws=4), **limit)
