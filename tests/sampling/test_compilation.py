"""Speed that no value test sees: a second run must compile nothing."""

import dataclasses

import chex
import jax
import numpy as np
import pytest
from compilations import compilations

import hiddencodes as hc
from hiddencodes.sampling import engine


def test_the_listener_sees_compilations():
    with compilations() as seen:
        jax.jit(lambda x: x * 3.25)(1.5)
    assert seen


@pytest.mark.parametrize(
    "sampler",
    ["hmc", *(pytest.param(name, marks=pytest.mark.slow) for name in ("nuts", "mala", "adjusted_mclmc"))],
)
def test_other_seeds_data_and_temperature_compile_nothing(
    small_posterior, small_settings, sampler, monkeypatch
):
    # One trace of each program is all that two runs may cost.
    chex.clear_trace_counter()
    for name in ("warmup_segment", "sampling_segment"):
        function = chex.assert_max_traces(getattr(engine, "_" + name), n=1)
        static = ("how", "sampler", "target", *(("capacity",) if name == "sampling_segment" else ()))
        monkeypatch.setattr(engine, name, jax.jit(function, static_argnames=static))

    settings = small_settings | {"sampler": sampler}
    hc.sample(small_posterior, **settings)
    other_task = hc.orthogonal_classes(n_train=8, n_test=4, y_minus=-0.5, seed=7)
    # An equal network made anew, other data, another temperature, other seeds, another key, another prior scale.
    mlp = dataclasses.replace(small_posterior.mlp)
    prior = hc.GaussianPrior(readout_scale=1.5)
    other = hc.Posterior(mlp, other_task, prior=prior, n_temperature=0.2)
    with compilations() as seen:
        run = hc.sample(other, **(settings | {"seeds": [5, 9], "key": 3}))
    assert seen == []
    assert np.isfinite(run["posterior"]["log_density"]).all()


def test_more_draws_in_the_same_segments_compile_nothing(small_posterior, small_settings):
    hc.sample(small_posterior, **small_settings)
    with compilations() as seen:
        # 39 draws and 40 draws both take segments of two; warm-up and thinning are arguments.
        hc.sample(small_posterior, **(small_settings | {"draws": 39, "warmup": 70, "thin": 2}))
    assert seen == []
