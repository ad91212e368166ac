"""Tempered populations of networks: evidence against quadrature, the run they leave, what is refused."""

import numpy as np
import pytest
from exact_evidence import linear_log_normalizer, log_evidence_by_quadrature
from statistics_of_chains import assert_estimate

import hiddencodes as hc
from hiddencodes.sampling.evidence import weighted_mean
from hiddencodes.sampling.observables import train_loss
from hiddencodes.sampling.path import Schedule

POPULATIONS = 12
OPTIONS = {"populations": POPULATIONS, "verbose": False}


@pytest.mark.slow
def test_linear_network_from_lazy_to_mean_field(linear_posterior, from_lazy):
    exact = linear_log_normalizer(linear_posterior)
    lazy = linear_log_normalizer(linear_posterior, scale=10**0.5)
    constant = -0.5 * 4 * np.log(2.0 * np.pi * linear_posterior.temperature)
    assert_estimate(from_lazy.log_evidence, from_lazy.log_evidence_error, POPULATIONS, exact + constant, 0.2)
    assert exact - lazy < -2.0
    ratio, error = from_lazy.log_evidence_ratio, from_lazy.log_evidence_ratio_error
    assert_estimate(ratio, error, POPULATIONS, exact - lazy, 0.2)


def test_slopes_of_the_log_normalizer_at_the_end_of_the_path(linear_posterior, from_lazy):
    step, end = 1e-4, from_lazy.path.isel(point=-1)
    by = {
        "d_power": lambda h: linear_log_normalizer(linear_posterior, power=1.0 + h),
        "d_log_output_scale": lambda h: linear_log_normalizer(linear_posterior, scale=np.exp(h)),
    }
    for name, function in by.items():
        exact = (function(step) - function(-step)) / (2.0 * step)
        assert_estimate(float(end[name]), float(end[f"{name}_error"]), POPULATIONS, exact, 0.5)


def test_path_from_the_prior_to_the_posterior(linear_posterior, from_lazy):
    path = from_lazy.path
    np.testing.assert_allclose(path["output_scale"][0], 10**0.5)
    assert (path["power"][0], path["power"][-1], path["output_scale"][-1]) == (0.0, 1.0, 1.0)
    np.testing.assert_allclose(path["inverse_temperature"][-1], 1.0 / linear_posterior.temperature)
    assert np.all(np.diff(path["power"]) >= 0.0)
    assert np.all(np.diff(path["output_scale"]) <= 0.0)
    assert path["log_normalizer"][0] == 0.0
    assert np.all((path["acceptance"][1:] > 0.3) & (path["acceptance"][1:] <= 1.0))


def test_the_run_is_read_as_any_other(linear_posterior, from_lazy):
    run = from_lazy.run
    assert dict(run["posterior"]["train_loss"].sizes) == {"seed": 1, "chain": POPULATIONS, "draw": 200}
    assert run.attrs["draws"] == "particles"
    assert f"agreement of {POPULATIONS} independent starts ({POPULATIONS} independent populations of 200" in (
        hc.convergence(run, rhat_max=2.0, ess_min=1.0).verdict
    )
    law = hc.deep_linear_exact(
        linear_posterior.task.input_kernel(),
        linear_posterior.task.y_train,
        1,
        10,
        0.3,
        n_temperature=linear_posterior.n_temperature,
    )
    overlap = run["posterior"]["readout_overlap"].values[0, ..., 0, 0].mean(1)
    mean, error = weighted_mean(overlap, from_lazy.population_log_evidence)
    assert_estimate(float(mean), float(error), POPULATIONS, float(law.readout_overlap), 0.1)
    with pytest.raises(ValueError, match="particles of a population"):
        hc.drift(run)
    assert run["tempering"].sizes["point"] == from_lazy.path.sizes["point"]


def test_points_of_another_run(linear_posterior, from_lazy):
    reduced = hc.integrate_readout(hc.whiten_inputs(linear_posterior))
    again = hc.tempered_smc(reduced, particles=200, output_scale="lazy", schedule=from_lazy, key=1, **OPTIONS)
    np.testing.assert_array_equal(again.schedule.position, from_lazy.schedule.position)
    np.testing.assert_allclose(again.schedule.step_size, from_lazy.schedule.step_size, rtol=1e-12)
    assert again.log_evidence != from_lazy.log_evidence
    difference = again.log_evidence - from_lazy.log_evidence
    error = np.hypot(again.log_evidence_error, from_lazy.log_evidence_error)
    assert_estimate(difference, float(error), POPULATIONS, 0.0, 0.3)
    np.testing.assert_allclose(np.sum(again.population_weights), 1.0)
    assert 1.0 <= again.effective_populations <= POPULATIONS


TINY = {
    "sigmoidal, all weights": ("gaussian", lambda p: p),
    "sigmoidal, readout integrated": ("gaussian", lambda p: hc.integrate_readout(hc.whiten_inputs(p))),
    "categorical": ("categorical", lambda p: p),
}


@pytest.mark.parametrize(
    "kind", [k if k == "sigmoidal, all weights" else pytest.param(k, marks=pytest.mark.slow) for k in TINY]
)
def test_tiny_networks_against_quadrature(kind):
    likelihood, reduce = TINY[kind]
    x = np.array([[1.5, 0.3], [-0.4, 1.2]])
    n_outputs = 1 if likelihood == "gaussian" else 2
    task = hc.from_arrays(x, np.array([0, 1]), single_output=n_outputs == 1)
    mlp = hc.MLP(2, n_outputs, 1, 1, hc.sigmoidal, hc.mean_field)
    posterior = hc.Posterior(
        mlp,
        task,
        prior=hc.GaussianPrior(4.0),
        likelihood=likelihood,
        temperature=0.3 if n_outputs == 1 else 1.0,
    )
    exact = log_evidence_by_quadrature(posterior, 100 if n_outputs == 1 else 24)
    coarse = log_evidence_by_quadrature(posterior, 80 if n_outputs == 1 else 20)
    assert abs(exact - coarse) < 1e-3
    found = hc.tempered_smc(
        reduce(posterior), particles=200, mcmc_steps=5, observables=[train_loss], **OPTIONS
    )
    assert_estimate(found.log_evidence, found.log_evidence_error, POPULATIONS, exact, 0.1)


def test_refusals_name_the_value(linear_posterior):
    for options, text in (
        ({"particles": 1}, "particles: .* got 1"),
        ({"populations": 1}, "populations: .* got 1"),
        ({"mcmc_steps": 0}, "mcmc_steps: .* got 0"),
        ({"target_ess": 1.0}, "target_ess: .* got 1.0"),
        ({"output_scale": 0.0}, "output_scale: .* got 0.0"),
        ({"output_scale": -1.0}, "output_scale: .* got -1.0"),
        ({"sampler": "numpyro_nuts"}, "sampler: numpyro_nuts"),
        ({"sampler": "gibbs"}, "sampler: 'gibbs'"),
    ):
        with pytest.raises(ValueError, match=text):
            hc.tempered_smc(linear_posterior, verbose=False, **options)
    lazy = hc.Posterior(hc.MLP(6, 1, 10, 1, hc.linear, hc.standard), linear_posterior.task, n_temperature=0.1)
    with pytest.raises(ValueError, match="'lazy' is where a network of width 10"):
        hc.tempered_smc(lazy, output_scale="lazy", verbose=False)
    with pytest.raises(MemoryError):
        hc.tempered_smc(linear_posterior, memory_limit=1000, verbose=False)


def test_points_that_do_not_reach_the_end(linear_posterior, from_lazy):
    reduced = hc.integrate_readout(hc.whiten_inputs(linear_posterior))
    early = Schedule(*(leaf[:2] for leaf in from_lazy.schedule))
    with pytest.raises(ValueError, match="schedule: 2 points led to the power"):
        hc.tempered_smc(reduced, particles=200, output_scale="lazy", schedule=early, **OPTIONS)
    with pytest.raises(
        ValueError, match=f"its {len(from_lazy.schedule.position)} points are more than max_points=3"
    ):
        hc.tempered_smc(reduced, schedule=from_lazy, max_points=3, **OPTIONS)
    with pytest.raises(ValueError, match="schedule: expected the metric of 7 groups"):
        hc.tempered_smc(linear_posterior, schedule=from_lazy, **OPTIONS)
