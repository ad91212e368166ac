"""The status of chains, from the draws at which they were not finite, did not move or diverged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import hiddencodes as hc
from hiddencodes.diagnostics.run_access import chain_health
from hiddencodes.sampling import health
from hiddencodes.sampling.health import Status


def after(finite: list[bool], moved: list[bool], diverging: list[bool]) -> tuple[int, int]:
    """Status and its beginning of a chain with this history."""
    state = health.fresh(1, 1)
    for draw, flags in enumerate(zip(finite, moved, diverging, strict=True)):
        arrays = (jnp.full((1, 1), flag) for flag in flags)
        state = health.after_draw(state, jnp.asarray(draw, jnp.int32), *arrays)
    found, since = health.status(state, len(finite))
    return int(found[0, 0]), int(since[0, 0])


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.booleans()] * 3), min_size=1, max_size=12))
def test_short_histories_are_judged_by_finiteness_alone(history):
    finite, moved, diverging = (list(flags) for flags in zip(*history, strict=True))
    expected = (Status.OK, -1) if all(finite) else (Status.NON_FINITE, finite.index(False))
    assert after(finite, moved, diverging) == expected


def test_a_chain_that_stands_still_is_stuck_until_it_moves():
    n = health.STILL_DRAWS
    well, bad = [True] * (n + 5), [False] * (n + 5)
    moved = [True] * 5 + [False] * n
    assert after(well, moved, bad) == (Status.STUCK, 5)
    assert after(well[:-1], moved[:-1], bad[:-1]) == (Status.OK, -1)
    assert after([*well, True], [*moved, True], [*bad, False]) == (Status.OK, -1)


def test_a_chain_that_diverges_more_often_than_not_is_diverging():
    n = 6 * health.DIVERGENT_EXCESS
    half = [i % 2 == 0 for i in range(n)]
    often = [i % 3 != 0 for i in range(n)]
    assert after([True] * n, [True] * n, half) == (Status.OK, -1)
    found, since = after([True] * n, [True] * n, often)
    assert found == Status.DIVERGING
    assert since <= 3


def test_too_many_lost_chains_are_named():
    found = np.array([[0, 1, 2], [0, 0, 3]], np.int8)
    since = np.array([[-1, 4, 7], [-1, -1, 0]], np.int32)
    health.check(found, since, np.array([5, 6]), 0.5, "all is saved")
    with pytest.raises(hc.ChainsLostError) as error:
        health.check(found, since, np.array([5, 6]), 0.49, "all is saved")
    text = str(error.value)
    assert text.startswith("3 of 6 chains are lost, more than lost_share=0.49 allows: ")
    assert "seed 5 chain 1 (left the finite numbers from draw 4)" in text
    assert "seed 5 chain 2 (stuck from draw 7), seed 6 chain 2 (diverging from draw 0). all is saved" in text


def run_of(status: list[int], since: list[int], draws: int) -> xr.DataTree:
    loss = np.random.default_rng(0).standard_normal((1, len(status), draws))
    flags = {"flag_values": [0, 1, 2, 3], "flag_meanings": "ok non_finite stuck diverging"}
    groups = {
        "/posterior": xr.Dataset({"train_loss": (("seed", "chain", "draw"), loss)}),
        "/health": xr.Dataset(
            {"status": (("seed", "chain"), [status], flags), "since": (("seed", "chain"), [since])}
        ),
    }
    return xr.DataTree.from_dict(groups)


def test_chains_that_end_lost_are_left_out_and_named():
    run = run_of([0, 2, 3, 0, 0], [-1, 850, 900, -1, -1], draws=1000)
    found = chain_health(run)
    assert found.healthy.tolist() == [[True, False, False, True, True]]
    assert found.excluded == (
        "seed 0 chain 1 (stuck from draw 850)",
        "seed 0 chain 2 (diverging from draw 900)",
    )
    report = hc.convergence(run)
    assert not report.ok
    assert any("seed 0 chain 1 (stuck from draw 850)" in reason for reason in report.reasons)


def test_a_short_rest_at_the_end_is_not_a_lost_chain():
    assert chain_health(run_of([0, 2], [-1, 901], draws=1000)).healthy.all()
    assert chain_health(run_of([0, 2], [-1, 79], draws=100)).excluded == (
        "seed 0 chain 1 (stuck from draw 79)",
    )


def test_a_run_ends_when_its_chains_are_lost(small_posterior):
    """Steps far too long for any to be accepted: every chain is stuck, which is no posterior."""
    start = hc.sample(small_posterior, chains=2, draws=1, warmup=30, verbose=False)
    stuck = hc.Sampler(**{**vars(hc.mala()), "initial_step_size": lambda dimension: 1e3})
    settings = {"sampler": stuck, "chains": 2, "warmup": 0, "draws": 80, "verbose": False}
    with pytest.raises(hc.ChainsLostError, match=r"2 of 2 chains are lost, .*stuck from draw 0"):
        hc.sample(small_posterior, start=hc.final_weights(start), **settings)
    run = hc.sample(small_posterior, start=hc.final_weights(start), lost_share=1.0, **settings)
    assert run["health"]["status"].values.tolist() == [[Status.STUCK] * 2]
    assert run["health"]["since"].values.tolist() == [[0, 0]]
    assert run["sample_stats"]["finite"].all()
    assert not hc.convergence(run).ok


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lost_share": 1.5}, "lost_share: expected a number from 0 to 1, got 1.5"),
        ({"segment": 0}, "segment: expected an integer of at least 1, got 0"),
        ({"resume": True}, "resume: there is nothing to resume without out="),
    ],
)
def test_impossible_settings_are_refused(small_posterior, change, message):
    with pytest.raises(ValueError, match=message):
        hc.sample(small_posterior, verbose=False, **change)


def _far_start(posterior, far: list[int], chains: int = 4):
    """Prior draws; some chains so far out that densities overflow."""
    drawn = jax.vmap(posterior.sample_prior)(jax.random.split(jax.random.key(0), chains))
    factor = np.where(np.isin(np.arange(chains), far), 1e180, 1.0)
    return {
        name: {
            k: np.asarray(v, float)[None] * factor.reshape(1, -1, *[1] * (v.ndim - 1))
            for k, v in layer.items()
        }
        for name, layer in drawn.items()
    }


@pytest.mark.slow
def test_a_chain_that_overflows_teaches_the_others_nothing(small_posterior):
    options = {"chains": 4, "draws": 20, "warmup": 60, "verbose": False}
    run = hc.sample(small_posterior, start=_far_start(small_posterior, [1]), **options)
    np.testing.assert_array_equal(run["health"]["status"] > 0, [[False, True, False, False]])
    assert np.isfinite(run.attrs["trajectory_length"])
    assert run["sample_stats"]["n_steps"].values[0, [0, 2, 3]].min() >= 1


def test_going_on_does_not_forgive_lost_chains(small_posterior, tmp_path):
    options = {
        "chains": 4,
        "warmup": 40,
        "segment": 20,
        "out": tmp_path / "run",
        "resume": True,
        "verbose": False,
    }
    start = _far_start(small_posterior, [1, 2, 3])
    for draws in (20, 20, 40):  # begun, whole, extended
        with pytest.raises(hc.ChainsLostError, match="3 of 4 chains are lost"):
            hc.sample(small_posterior, start=start, draws=draws, **options)
