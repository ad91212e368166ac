"""Sampling in reduced coordinates: the same posterior, against exact laws and between coordinates."""

import numpy as np
import pytest
from statistics_of_chains import assert_mean, assert_means_agree, mean_and_error

import hiddencodes as hc

KINDS = {
    "projected": hc.project_inputs,
    "integrated": hc.integrate_readout,
    "both": lambda p: hc.integrate_readout(hc.project_inputs(p)),
}


def draws(run):
    return {name: variable.values[0] for name, variable in run["posterior"].data_vars.items()}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow) if kind != "both" else kind for kind in KINDS]
)
def test_linear_network_against_its_exact_law(kind):
    task = hc.gaussian_clusters(n_train=6, n_inputs=20, n_test=3, fractions=(0.5, 0.5), single_output=True)
    mlp = hc.MLP(task.n_inputs, 1, 10, 1, hc.linear, hc.mean_field)
    posterior = hc.Posterior(mlp, task, prior=hc.GaussianPrior(0.3), n_temperature=0.05)
    reduced = KINDS[kind](posterior)
    run = hc.sample(reduced, chains=8, draws=1000, warmup=400, verbose=False)
    kernel, k_cross = task.input_kernel(), task.x_train @ task.x_test.T / task.n_inputs
    k_test = np.sum(task.x_test**2, axis=1) / task.n_inputs
    law = hc.deep_linear_exact(kernel, task.y_train, 1, 10, 0.3, n_temperature=0.05)
    prediction = hc.deep_linear_prediction(
        kernel, k_cross, k_test, task.y_train, 1, 10, 0.3, n_temperature=0.05
    )
    found = draws(run)
    assert_mean(found["readout_overlap"][..., 0, 0], law.readout_overlap)
    assert_mean(found["residual_multiplier"], law.multiplier)
    # Test inputs lie outside the span of the training inputs: their own weights are drawn when a draw is recorded.
    assert_mean(found["test_predictions"], prediction.mean)
    assert_mean((found["test_predictions"] - prediction.mean) ** 2, prediction.variance)
    inside = hc.deep_linear_prediction(
        kernel,
        k_cross,
        np.einsum("pt,pq,qt->t", k_cross, np.linalg.inv(kernel), k_cross),
        task.y_train, 1, 10, 0.3, n_temperature=0.05,
    )  # fmt: skip
    error = mean_and_error((found["test_predictions"] - prediction.mean) ** 2)[1]
    assert np.all(prediction.variance - inside.variance > 20.0 * error)
    assert run.attrs["coordinates"] == reduced.description
    assert run["constant_data"].sizes["input"] == 20


@pytest.fixture(scope="module")
def sigmoidal():
    task = hc.orthogonal_classes(n_train=6, n_inputs=9, n_test=3, fractions=(0.5, 0.5), y_minus=-0.5)
    return hc.Posterior(hc.MLP(9, 2, 5, 1, hc.sigmoidal, hc.mean_field), task, n_temperature=0.3)


@pytest.mark.slow
def test_all_coordinates_agree_on_all_invariants(sigmoidal):
    options = {"chains": 8, "draws": 1000, "warmup": 400, "verbose": False}
    reference = draws(hc.sample(sigmoidal, key=1, **options))
    for reduced in (hc.whiten_inputs(sigmoidal), hc.integrate_readout(hc.whiten_inputs(sigmoidal))):
        found = draws(hc.sample(reduced, key=2, **options))
        for name, values in reference.items():
            if name == "log_density":  # of other weights
                continue
            assert_means_agree(values, found[name])


@pytest.mark.slow
def test_seeds_may_have_data_of_their_own(sigmoidal):
    posteriors = [
        hc.Posterior(
            sigmoidal.mlp,
            hc.orthogonal_classes(6, n_inputs=9, n_test=3, fractions=(0.5, 0.5), seed=s),
            n_temperature=0.3,
        )
        for s in range(2)
    ]
    reduced = [hc.whiten_inputs(p) for p in posteriors]
    # Without warm-up seeds have nothing in common.
    options = {"chains": 2, "draws": 10, "warmup": 0, "verbose": False}
    both = hc.sample(reduced, seeds=2, **options)
    alone = hc.sample(reduced[1:], seeds=[1], **options)
    np.testing.assert_allclose(
        both["posterior"]["readout_overlap"].values[1],
        alone["posterior"]["readout_overlap"].values[0],
        rtol=1e-9,
    )
    with pytest.raises(ValueError, match="some are reduced and some are not"):
        hc.sample([reduced[0], posteriors[1]], seeds=2, **options)
    with pytest.raises(ValueError, match="number 1 differs from the first"):
        hc.sample([reduced[0], hc.integrate_readout(reduced[1])], seeds=2, **options)
    with pytest.raises(ValueError, match="numpyro_nuts samples all weights"):
        hc.sample(reduced[0], sampler="numpyro_nuts", **options)


@pytest.mark.slow
def test_single_precision_and_depth(sigmoidal):
    mlp = hc.MLP(9, 2, 5, 2, hc.sigmoidal, hc.mean_field, bias=True)
    deep = hc.Posterior(mlp, sigmoidal.task, n_temperature=0.3)
    run = hc.sample(
        hc.integrate_readout(hc.project_inputs(deep)),
        chains=2,
        draws=10,
        warmup=20,
        precision="float32",
        verbose=False,
    )
    assert run["posterior"]["kernel_blocks"].dtype == np.float32
    assert run["final"]["activations"].shape == (1, 2, 2, 5, 6)
    assert bool(run["sample_stats"]["finite"].all())
