"""The public call: what it returns, what it refuses, and what must not change its numbers."""

import json

import jax
import numpy as np
import pytest
import xarray as xr

import hiddencodes as hc
from hiddencodes.sampling import warm_up
from hiddencodes.sampling.plan import Host, Plan, Setup
from hiddencodes.sampling.problem import stack_data
from hiddencodes.sampling.run_chains import run_chains
from hiddencodes.sampling.target import NetworkTarget


def test_a_run_has_the_promised_groups_and_axes(small_run, small_posterior):
    sizes = {"seed": 2, "chain": 3, "draw": 40}
    for group in ("posterior", "units", "sample_stats"):
        for variable in small_run[group].data_vars.values():
            assert variable.dims[:3] == ("seed", "chain", "draw")
            assert {d: variable.sizes[d] for d in sizes} == sizes
    assert set(small_run["posterior"].data_vars) == {
        "kernel_blocks", "kernel_diagonal", "train_loss", "residual_multiplier", "test_predictions", "log_density",
        "readout_overlap",
    }  # fmt: skip
    assert set(small_run["units"].data_vars) == {"class_means", "readout"}
    assert list(small_run["posterior"]["class"].values) == list(small_posterior.task.class_names)
    np.testing.assert_array_equal(small_run["observed_data"]["y_train"][0], small_posterior.task.y_train)
    assert small_run.attrs["n_temperature"] == 0.05
    assert "3 independent prior draws per seed" in small_run.attrs["initialization"]
    assert json.loads(small_run.attrs["model"])["activation"] == "sigmoidal"


def test_observables_of_a_draw_are_consistent(small_run):
    loss = small_run["posterior"]["train_loss"]
    multiplier = small_run["posterior"]["residual_multiplier"]
    residual = multiplier * small_run.attrs["n_temperature"]
    np.testing.assert_allclose(loss, 0.5 * (residual**2).sum(("pattern", "output")), rtol=1e-12)
    last = small_run["final"]["activations"]
    means = small_run["units"]["class_means"].isel(draw=-1)
    labels = small_run["constant_data"]["labels_train"].values[0]
    expected = np.stack([last.values[..., labels == c].mean(-1) for c in range(3)], axis=-2)
    np.testing.assert_allclose(means, expected, rtol=1e-5)


def test_lanes_share_the_number_of_steps(small_run):
    steps = small_run["sample_stats"]["n_steps"]
    assert (steps == steps.isel(seed=0, chain=0)).all()
    assert len(np.unique(steps)) > 3, "the trajectory length is not jittered"


def test_acceptance_is_near_its_target(small_run):
    """Within 5 standard errors of the mean over draws, widened by the warm-up's own error in the step size.

    d(acceptance)/d(log step) is about -1 at acceptance 0.8; the settling stage averages its log step over 5 iterations
    whose acceptances scatter by about 0.25/sqrt(3 chains), times a gain of at most 0.5.
    """
    acceptance = small_run["sample_stats"]["acceptance_rate"]
    of_seed = acceptance.mean(("chain", "draw"))
    error = float(acceptance.std()) / np.sqrt(3 * 40)
    tuning = 0.5 * 0.25 / np.sqrt(3)
    assert np.all(np.abs(of_seed - 0.8) < 5 * np.hypot(error, tuning))


def test_the_same_key_gives_the_same_numbers_and_another_key_others(
    small_posterior, small_settings, small_run
):
    again = hc.sample(small_posterior, **small_settings)
    xr.testing.assert_identical(again["posterior"].to_dataset(), small_run["posterior"].to_dataset())
    other = hc.sample(small_posterior, **small_settings, key=jax.random.key(1))
    assert np.all(other["posterior"]["train_loss"] != small_run["posterior"]["train_loss"])


def test_segments_change_no_number(small_posterior, small_settings, small_run, monkeypatch):
    monkeypatch.setattr(warm_up, "_WARMUP_CAPACITY", 17)
    again = hc.sample(small_posterior, **small_settings, segment=13)
    xr.testing.assert_allclose(
        again["posterior"].to_dataset(), small_run["posterior"].to_dataset(), rtol=1e-9, atol=1e-12
    )


def test_a_run_on_disk_equals_the_run_in_memory(small_posterior, small_settings, small_run, tmp_path):
    path = tmp_path / "run.zarr"
    on_disk = hc.sample(small_posterior, **small_settings, out=path)
    for group in small_run.children:
        xr.testing.assert_equal(on_disk[group].to_dataset().load(), small_run[group].to_dataset())
    again = hc.open_run(path)
    assert again.attrs["complete"] == 1
    assert again["posterior"].sizes["draw"] == 40
    with pytest.raises(FileExistsError, match="out: "):
        hc.sample(small_posterior, **small_settings, out=path)


def test_thinning_runs_more_transitions_per_draw(small_posterior, small_settings, small_run):
    thinned = hc.sample(small_posterior, **(small_settings | {"thin": 3}))
    # Programs are shared (thin is an argument) and iterations are counted through: every third draw is the same draw.
    kept = small_run["posterior"]["train_loss"].isel(draw=slice(2, None, 3))
    np.testing.assert_allclose(thinned["posterior"]["train_loss"][..., :13], kept, rtol=1e-6)
    assert "energy" not in thinned["sample_stats"]


@pytest.mark.slow
def test_superchains_start_at_one_point(small_posterior, small_settings):
    settings = small_settings | {"chains": 4, "draws": 1, "warmup": 0}
    run = hc.sample(small_posterior, **settings, superchains=2)
    assert run["constant_data"]["superchain"].values.tolist() == [0, 0, 1, 1]
    assert "2 independent prior draws" in run.attrs["initialization"]
    with pytest.raises(ValueError, match="superchains: expected a divisor of chains=4, got 3"):
        hc.sample(small_posterior, **settings, superchains=3)


@pytest.mark.slow
def test_single_precision_runs_in_single_precision(small_posterior, small_settings):
    run = hc.sample(small_posterior, **small_settings, precision="float32")
    assert run["posterior"]["train_loss"].dtype == np.float32
    assert np.isfinite(run["posterior"]["log_density"]).all()


def test_progress_is_reported_between_segments(small_posterior, small_settings):
    events: list[hc.Progress] = []
    hc.sample(small_posterior, **small_settings, progress=events.append)
    assert [e.phase for e in events][:3] == ["compile", "compile", "warmup"]
    sampling = [e for e in events if e.phase == "sampling"]
    assert [e.done for e in sampling] == list(range(2, 41, 2))
    assert sampling[-1].seconds_left == 0.0
    assert all(0.0 <= e.acceptance <= 1.0 for e in sampling)


def test_a_chain_that_is_not_finite_is_reported_and_teaches_nothing(small_posterior):
    """A target whose loss is NaN for one seed's data: its chains stay where they are and are flagged."""
    with jax.enable_x64(True):
        target = NetworkTarget(small_posterior.mlp, small_posterior.likelihood, ())
        data = stack_data([small_posterior, small_posterior], np.dtype("float64"))
        data = data._replace(y_train=data.y_train.at[1, 0, 0].set(np.nan))
        plan = Plan(np.arange(2), 2, 20, 5, 1, np.arange(2), 5, segment=5)
        segments = []
        temperature = np.full(2, small_posterior.temperature)
        dtype = np.dtype("float64")
        setup = Setup(target, data, temperature, hc.hmc(), plan, jax.random.key(0), dtype)
        finished = run_chains(setup, Host(segments.append))
    assert segments[0].stats["finite"][0].all()
    assert not segments[0].stats["finite"][1].any()
    status, since = segments[0].status
    assert status.tolist() == [[0, 0], [1, 1]]
    assert since.tolist() == [[-1, -1], [0, 0]]
    assert np.isfinite(finished.tuning.step_size).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chains": 0}, "chains: expected an integer of at least 1, got 0"),
        ({"draws": 0}, "draws: expected an integer of at least 1, got 0"),
        ({"warmup": -1}, "warmup: expected an integer of at least 0, got -1"),
        ({"thin": 0}, "thin: expected an integer of at least 1, got 0"),
        ({"seeds": []}, r"seeds: expected .*, got \[\]"),
        ({"seeds": [1, 1]}, r"seeds: expected .* distinct .*, got \[1, 1\]"),
        ({"seeds": [-1]}, r"seeds: expected .*, got \[-1\]"),
        ({"key": 2**70}, "key: expected an integer of at most 64 bits"),
        ({"memory_limit": 0}, "memory_limit: expected an integer of at least 1, got 0"),
        ({"out": ""}, "out: expected a path, got ''"),
        ({"seeds": [1, 2**32 + 1]}, r"seeds: expected .* 2\^32 - 1, got \[1, 4294967297\]"),
        ({"observables": []}, r"observables: expected at least one and distinct names, got \[\]"),
        (
            {"observables": [hc.Observable("f", ("pattern",), lambda c: c.activations.output)]},
            r"observables: 'f' names the axes \('pattern',\) but has the shape \(8, 3\)",
        ),
        ({"sampler": "gibbs"}, "sampler: 'gibbs' is unknown; expected one of .*'hmc'"),
    ],
)
def test_impossible_settings_are_refused(small_posterior, small_settings, change, message):
    with pytest.raises(ValueError, match=message):
        hc.sample(small_posterior, **(small_settings | change))


def test_posteriors_that_do_not_fit_together_are_refused(small_posterior, small_settings):
    with pytest.raises(ValueError, match=r"posterior: expected one or one per seed \(2\), got 1"):
        hc.sample([small_posterior], **small_settings)
    mlp = hc.MLP(12, 3, 7, 1, hc.sigmoidal, hc.mean_field)
    other = hc.Posterior(mlp, small_posterior.task, n_temperature=0.05)
    with pytest.raises(ValueError, match="posterior: number 1 differs from the first"):
        hc.sample([small_posterior, other], **small_settings)
    hotter = hc.Posterior(small_posterior.mlp, small_posterior.task, n_temperature=0.06)
    with pytest.raises(ValueError, match="temperature or shapes"):
        hc.sample([small_posterior, hotter], **small_settings)


def test_inputs_without_a_prior_kernel_are_refused_with_advice():
    task = hc.from_arrays(1e4 * np.eye(4), np.array([0, 0, 1, 1]))
    mlp = hc.MLP(4, 2, 6, 1, hc.tanh, hc.mean_field)
    with pytest.raises(ValueError, match=r"posterior: .* scale the task's inputs"):
        hc.sample(hc.Posterior(mlp, task, n_temperature=0.1), chains=2, draws=2, warmup=2, verbose=False)


def test_the_budget_counts_the_weights_that_numpyro_stores(small_posterior, small_settings):
    needed = {}
    for sampler in ("nuts", "numpyro_nuts"):
        settings = small_settings | {"sampler": sampler, "draws": 10**7}
        with pytest.raises(MemoryError, match="needs about") as error:
            hc.sample(small_posterior, **settings, memory_limit=10**9)
        needed[sampler] = float(str(error.value).split("needs about ")[1].split(" ")[0])
    weights = 2 * 3 * 10**7 * small_posterior.mlp.n_parameters * 8 / 1e9
    np.testing.assert_allclose(needed["numpyro_nuts"] - needed["nuts"], weights, rtol=1e-3)


def test_a_run_that_does_not_fit_is_refused_before_compiling(small_posterior, small_settings, capsys):
    settings = small_settings | {"verbose": True}
    with pytest.raises(MemoryError, match=r"the run needs about .* GB and may use .* GB"):
        hc.sample(small_posterior, **settings, memory_limit=1000)
    assert capsys.readouterr().err.startswith("memory: ")
