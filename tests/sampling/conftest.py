"""Runs that several tests look at, made once."""

import numpy as np
import pytest

import hiddencodes as hc


@pytest.fixture(scope="session")
def small_posterior() -> hc.Posterior:
    task = hc.orthogonal_classes(n_train=8, n_test=4, y_minus=0.5)
    mlp = hc.MLP(task.n_inputs, task.n_outputs, 6, 1, hc.sigmoidal, hc.mean_field)
    return hc.Posterior(mlp, task, n_temperature=0.05)


@pytest.fixture(scope="session")
def small_settings() -> dict[str, object]:
    """Settings whose programs the tests of `sample` share."""
    return {"chains": 3, "seeds": 2, "draws": 40, "warmup": 50, "verbose": False}


@pytest.fixture(scope="session")
def small_run(small_posterior, small_settings):
    return hc.sample(small_posterior, **small_settings)


@pytest.fixture(scope="session")
def linear_posterior():
    task = hc.gaussian_clusters(n_train=4, n_inputs=6, n_test=2, fractions=(0.5, 0.5), single_output=True)
    mlp = hc.MLP(task.n_inputs, 1, 10, 1, hc.linear, hc.mean_field)
    return hc.Posterior(mlp, task, prior=hc.GaussianPrior(0.3), n_temperature=0.1)


@pytest.fixture(scope="session")
def from_lazy(linear_posterior):
    reduced = hc.integrate_readout(hc.whiten_inputs(linear_posterior))
    return hc.tempered_smc(reduced, particles=200, output_scale="lazy", populations=12, verbose=False)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240601)
