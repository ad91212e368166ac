"""A chain that leaves the finite numbers: it is named, and nobody else notices."""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from gaussian_target import GaussianTarget, gaussian_data
from interrupted import POSTERIOR, Crash, assert_same, crash_at, sample

import hiddencodes as hc
from hiddencodes.sampling import checkpoint
from hiddencodes.sampling.checkpoint import Position
from hiddencodes.sampling.health import Status
from hiddencodes.sampling.plan import Host, Plan, Setup
from hiddencodes.sampling.problem import problem
from hiddencodes.sampling.run_chains import run_chains

CHAINS = {"chains": 4}


def _poison(run: Path, position: Position, *chains: int) -> None:
    """The position of chains in a checkpoint, the first array of lanes, is no number."""
    saved = checkpoint.read(run, position)
    saved.arrays[0][:, list(chains)] = np.nan
    checkpoint.write(run, saved)


@pytest.fixture(scope="module")
def whole() -> xr.DataTree:
    return sample(None, **CHAINS)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that ended after twelve draws."""
    with pytest.raises(Crash):
        sample(tmp_path / "run", **CHAINS, progress=crash_at("sampling", 12))
    return tmp_path / "run"


def _chains(run: xr.DataTree, *chains: int) -> xr.DataTree:
    groups = ("posterior", "units", "every_3", "sample_stats", "final", "weights")
    return xr.DataTree.from_dict({g: run[g].to_dataset().isel(chain=list(chains)) for g in groups})


def test_a_chain_that_is_lost_is_named_and_the_others_do_not_notice(run, whole):
    _poison(run, Position(1, 12), 2)
    found = sample(run, **CHAINS)
    assert found.attrs["complete"] == 1
    assert found["health"]["status"].values.tolist() == [[Status.OK, Status.OK, Status.NON_FINITE, Status.OK]]
    assert found["health"]["since"].values.tolist() == [[-1, -1, 12, -1]]
    assert found["health"]["status"].attrs["flag_meanings"].split()[1] == "non_finite"
    assert not found["sample_stats"]["finite"][0, 2, 12:].any()
    assert found["sample_stats"]["finite"][0, 2, :12].all()
    assert_same(_chains(found, 0, 1, 3), _chains(whole, 0, 1, 3))
    assert any("seed 0 chain 2" in text and "from draw 12" in text for text in hc.convergence(found).excluded)


def test_a_run_that_loses_too_many_chains_ends_and_says_which(run, whole):
    _poison(run, Position(1, 12), 0, 1, 3)
    with pytest.raises(hc.ChainsLostError) as raised:
        sample(run, **CHAINS)
    assert str(raised.value) == (
        "3 of 4 chains are lost, more than lost_share=0.5 allows: "
        "seed 0 chain 0 (left the finite numbers from draw 12), "
        "seed 0 chain 1 (left the finite numbers from draw 12), "
        "seed 0 chain 3 (left the finite numbers from draw 12). "
        "draw 16 of 22 is the last and has been saved"
    )
    saved = hc.open_run(run)
    assert saved["posterior"].sizes["draw"] == 16
    assert saved["health"]["since"].values.tolist() == [[12, 12, -1, 12]]
    # Whoever wants the rest all the same has only to say so.
    rest = sample(run, **CHAINS, lost_share=1.0)
    assert_same(_chains(rest, 2), _chains(whole, 2))


def test_a_chain_that_is_lost_in_warm_up_teaches_nothing(tmp_path):
    with pytest.raises(Crash):
        sample(tmp_path / "run", **CHAINS, progress=crash_at("warmup", 16))
    _poison(tmp_path / "run", Position(0, 16), 1)
    run = sample(tmp_path / "run", **CHAINS)
    assert run["health"]["status"].values.tolist() == [[Status.OK, Status.NON_FINITE, Status.OK, Status.OK]]
    assert run["health"]["since"].values.tolist() == [[-1, 0, -1, -1]]
    assert np.isfinite(run["tuning"]["step_size"]).all()
    assert np.isfinite(run["posterior"]["train_loss"].sel(chain=[0, 2, 3])).all()
    assert "seed 0 chain 1" in str(hc.convergence(run).excluded)


def test_moves_learn_nothing_from_a_lost_chain():
    setting = problem([hc.whiten_inputs(POSTERIOR)], None)
    data = setting.data(np.dtype("float64"))
    q = np.random.default_rng(4).standard_normal((1, 3, setting.target.dimension))
    q[:, 2] = np.nan
    learned, of_two = (
        hc.cavity_refresh().learn(setting.target, jnp.asarray(each), data, jax.random.key(0))
        for each in (q, q[:, :2])
    )
    assert learned.names == of_two.names
    for one, two in zip(learned.parameters, of_two.parameters, strict=True):
        np.testing.assert_array_equal(one, two)


@dataclass(frozen=True)
class Cliff(GaussianTarget):
    """A Gaussian without a density far away."""

    def log_likelihood(self, q, data, inverse_temperature):
        inside = super().log_likelihood(q, data, inverse_temperature)
        return jnp.where(jnp.vdot(q, q) < 1e6, inside, jnp.nan)


@pytest.mark.slow
def test_pooled_adaptation_with_a_lost_chain_is_that_of_the_others():
    a, c = gaussian_data(1, 5)[0]
    start = np.random.default_rng(2).standard_normal((1, 3, 5))
    start[:, 2] = 1e4

    def tuned(chains: int):
        plan = Plan(np.arange(1), chains, 80, 10, 1, np.arange(chains), 10, 10)
        # MALA, whose trajectories have no length to learn from the mean over all chains at the beginning.
        setup = Setup(
            Cliff(5), (jnp.asarray(a), jnp.asarray(c)), np.ones(1), hc.mala(), plan, jax.random.key(1),
            np.dtype("float64"), start=start[:, :chains],
        )  # fmt: skip
        segments = []
        return run_chains(setup, Host(segments.append)), segments[0]

    two, segment_of_two = tuned(2)
    three, segment_of_three = tuned(3)
    status, since = segment_of_three.status
    assert status.tolist() == [[Status.OK, Status.OK, Status.NON_FINITE]]
    assert since.tolist() == [[-1, -1, 0]]
    np.testing.assert_array_equal(three.tuning.step_size, two.tuning.step_size)
    np.testing.assert_array_equal(three.tuning.scale, two.tuning.scale)
    np.testing.assert_array_equal(segment_of_three.observed["q"][:, :2], segment_of_two.observed["q"])
