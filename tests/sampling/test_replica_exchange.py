"""Replica exchange of networks: evidence against quadrature, the run it leaves, what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from exact_evidence import linear_log_normalizer
from statistics_of_chains import assert_estimate, assert_mean

import hiddencodes as hc

CHAINS = 8


@pytest.fixture(scope="module")
def exchanged(linear_posterior, from_lazy):
    reduced = hc.integrate_readout(hc.whiten_inputs(linear_posterior))
    return hc.replica_exchange(
        reduced, tempered=from_lazy, chains=CHAINS, draws=600, warmup=100, verbose=False
    )


@pytest.mark.slow
def test_evidence_of_a_linear_network(linear_posterior, exchanged):
    exact = linear_log_normalizer(linear_posterior)
    lazy = linear_log_normalizer(linear_posterior, scale=10**0.5)
    constant = -0.5 * 4 * np.log(2.0 * np.pi * linear_posterior.temperature)
    assert_estimate(exchanged.log_evidence, exchanged.log_evidence_error, CHAINS, exact + constant, 0.1)
    ratio, error = exchanged.log_evidence_ratio, exchanged.log_evidence_ratio_error
    assert_estimate(ratio, error, CHAINS, exact - lazy, 0.1)


@pytest.mark.slow
def test_the_run_is_that_of_the_posterior(linear_posterior, exchanged):
    posterior = linear_posterior
    law = hc.deep_linear_exact(
        posterior.task.input_kernel(),
        posterior.task.y_train,
        1,
        10,
        0.3,
        n_temperature=posterior.n_temperature,
    )
    draws = exchanged.run["posterior"]
    assert_mean(draws["readout_overlap"].values[0, ..., 0, 0], law.readout_overlap)
    assert_mean(draws["residual_multiplier"].values[0], law.multiplier)
    assert hc.convergence(exchanged.run, rhat_max=1.1).ok
    assert hc.drift(exchanged.run).rows


@pytest.mark.slow
def test_ladder(from_lazy, exchanged):
    ladder = exchanged.ladder
    np.testing.assert_allclose(ladder["power"], from_lazy.path["power"])
    np.testing.assert_allclose(ladder["output_scale"], from_lazy.path["output_scale"])
    assert ladder["log_normalizer"][0] == 0.0
    # Where weights have half of the effective sample size, swaps are neither rare nor free.
    assert np.all((ladder["swap_acceptance"][1:] > 0.2) & (ladder["swap_acceptance"][1:] < 1.0))
    assert np.all(exchanged.arrivals > 0)
    assert exchanged.run["exchange"].sizes["rung"] == from_lazy.path.sizes["point"]


def test_refusals_name_the_value(linear_posterior, from_lazy):
    reduced = hc.integrate_readout(hc.whiten_inputs(linear_posterior))
    other = hc.integrate_readout(
        hc.whiten_inputs(replace(linear_posterior, temperature=0.5, n_temperature=None))
    )
    for posterior, options, text in (
        (reduced, {"chains": 1}, "chains: .* got 1"),
        (reduced, {"draws": 0}, "draws: .* got 0"),
        (reduced, {"thin": 0}, "thin: .* got 0"),
        (reduced, {"tempered": from_lazy, "chains": 13}, "12 populations, fewer than chains=13"),
        (linear_posterior, {"tempered": from_lazy}, "tempered: it has 40 coordinates, the posterior has 70"),
        (other, {"tempered": from_lazy}, "tempered: it ends at temperature 0.01, not at 0.5"),
        (reduced, {"sampler": "numpyro_nuts"}, "sampler: numpyro_nuts"),
    ):
        with pytest.raises(ValueError, match=text):
            hc.replica_exchange(posterior, verbose=False, **options)
    with pytest.raises(MemoryError):
        hc.replica_exchange(reduced, tempered=from_lazy, memory_limit=1000, verbose=False)
