"""Sampled posteriors against exact results, and against an independent sampler."""

import numpy as np
import pytest
import xarray as xr
from statistics_of_chains import assert_mean, assert_means_agree, mean_and_error

import hiddencodes as hc


def _of_seed(variable: xr.DataArray, seed: int = 0) -> np.ndarray:
    return variable.isel(seed=seed).values


def test_linear_network_has_the_generalized_inverse_gaussian_overlap():
    """E[|a|^2/N] of a linear network with one hidden layer and one output, exact at any N, P and T (arXiv 2406.16689)."""
    task = hc.orthogonal_classes(n_train=10, fractions=(0.5, 0.5), y_minus=-1.0, single_output=True)
    mlp = hc.MLP(task.n_inputs, 1, 20, 1, hc.linear, hc.mean_field)
    posterior = hc.Posterior(mlp, task, prior=hc.GaussianPrior("1/P"), n_temperature=0.02)
    law = hc.readout_overlap_exact(
        task.input_kernel(),
        task.y_train,
        mlp.width,
        posterior.readout_variance,
        temperature=posterior.temperature,
    )
    run = hc.sample(posterior, chains=8, draws=700, warmup=400, verbose=False)
    overlap = _of_seed(run["posterior"]["readout_overlap"])[..., 0, 0]
    assert_mean(overlap, law.mean, z=4.0, min_ess=400)
    assert_mean((overlap - law.mean) ** 2, law.variance)
    # The posterior moves the overlap far from its prior value sigma_a^2, so the comparison means something.
    assert abs(law.mean - posterior.readout_variance) > 20 * mean_and_error(overlap)[1]


@pytest.mark.parametrize(
    "sampler", ["hmc", *(pytest.param(name, marks=pytest.mark.slow) for name in ("nuts", "adjusted_mclmc"))]
)
def test_virial_identity_of_a_network_posterior_per_block(sampler):
    """E[theta dU/dtheta] = number of parameters, for every weight matrix of a two-layer network with biases."""
    import jax
    import jax.numpy as jnp

    from hiddencodes.models.posterior import log_density

    def virial(c: hc.Context):
        gradient = jax.grad(lambda params: -log_density(c.mlp, c.likelihood, params, c.data))(c.params)
        blocks = jax.tree.map(lambda w, g: jnp.sum(w * g), c.params, gradient)
        return jnp.stack(jax.tree.leaves(blocks))

    task = hc.gaussian_clusters(n_train=8, n_inputs=3)
    mlp = hc.MLP(3, 3, 4, 2, hc.tanh, hc.ntk, bias=True)
    posterior = hc.Posterior(mlp, task, temperature=0.2)
    observable = hc.Observable("virial", ("block",), virial)
    run = hc.sample(
        posterior, sampler=sampler, chains=8, draws=800, warmup=400, observables=[observable], verbose=False
    )
    sizes = [4, 12, 4, 16, 12]
    assert_mean(_of_seed(run["posterior"]["virial"]), sizes)


@pytest.fixture(scope="module")
def reference_posterior() -> hc.Posterior:
    task = hc.orthogonal_classes(n_train=6, n_test=3, fractions=(0.5, 0.5), y_minus=-0.5)
    mlp = hc.MLP(task.n_inputs, 2, 5, 1, hc.sigmoidal, hc.mean_field)
    return hc.Posterior(mlp, task, n_temperature=0.3)


@pytest.fixture(scope="module")
def numpyro_run(reference_posterior):
    return hc.sample(
        reference_posterior, sampler="numpyro_nuts", chains=4, draws=1500, warmup=500, verbose=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["hmc", "nuts", "adjusted_mclmc", "mala"])
def test_every_sampler_agrees_with_numpyro_on_all_invariants(reference_posterior, numpyro_run, sampler):
    """NumPyro's NUTS has its own log-density, warm-up and kernel; all invariant observables must agree."""
    thin = 20 if sampler == "mala" else 1
    run = hc.sample(
        reference_posterior, sampler=sampler, chains=8, draws=1000, warmup=500, thin=thin, verbose=False
    )
    for name, ours in run["posterior"].data_vars.items():
        assert_means_agree(_of_seed(ours), _of_seed(numpyro_run["posterior"][name]))


def test_annealing_and_tuning_leave_the_prior_alone():
    """With a loss that is worth nothing (T -> inf) the posterior is the prior: kernels equal the NNGP's."""
    task = hc.orthogonal_classes(n_train=8, y_minus=0.5)
    mlp = hc.MLP(task.n_inputs, 3, 10, 2, hc.relu, hc.ntk)
    run = hc.sample(hc.Posterior(mlp, task, temperature=1e9), chains=8, draws=600, warmup=200, verbose=False)
    kernel = run["constant_data"]["prior_kernel"].values[0, 0]
    labels = task.labels_train
    blocks = np.empty((3, 3))
    for c in range(3):
        for d in range(3):
            pairs = (labels[:, None] == c) & (labels[None, :] == d) & ~np.eye(8, dtype=bool)
            blocks[c, d] = kernel[pairs].mean()
    # First layer only: below the top layer the finite-width kernel differs from the NNGP's at order 1/N.
    assert_mean(_of_seed(run["posterior"]["kernel_blocks"])[..., 0, :, :], blocks)


@pytest.mark.slow
@pytest.mark.parametrize("activation", [hc.erf, hc.relu], ids=str)
def test_lazy_predictions_approach_the_gaussian_process(activation):
    """The NTK-parameterized posterior mean tends to NNGP regression, with a bias of order 1/N.

    Per test prediction the sampled means at several widths are fitted by ``bias/N + curvature/N^2`` around the Gaussian
    process (weighted by their Monte-Carlo errors); the residual chi^2 and an intercept left free must be compatible with
    noise, and the bias itself must be seen at the smallest width.
    """
    task = hc.gaussian_clusters(
        n_train=10, n_inputs=4, n_test=5, noise=0.7, fractions=(0.5, 0.5), single_output=True
    )
    temperature, widths = 0.1, np.array([12, 24, 48, 192])
    exact = hc.lazy_prediction(task, activation, 1, temperature=temperature)
    means, errors = [], []
    for width in widths:
        mlp = hc.MLP(4, 1, int(width), 1, activation, hc.ntk)
        run = hc.sample(
            hc.Posterior(mlp, task, temperature=temperature), chains=16, draws=4000, warmup=400, verbose=False
        )
        mean, error, ess = mean_and_error(_of_seed(run["posterior"]["test_predictions"])[..., 0])
        assert ess.min() > 1000
        means.append(mean - exact.mean_test[:, 0])
        errors.append(error)
    deviation, error = np.array(means), np.array(errors)
    design = np.stack([np.ones(4), 1.0 / widths, 1.0 / widths**2], axis=1)
    for k in range(deviation.shape[1]):
        weighted = design / error[:, k, None]
        covariance = np.linalg.inv(weighted.T @ weighted)
        intercept = (covariance @ weighted.T @ (deviation[:, k] / error[:, k]))[0]
        assert abs(intercept) < 5.0 * np.sqrt(covariance[0, 0])
    rms = np.sqrt((deviation**2).mean(1))
    # A standard error of each root mean square, from the Monte-Carlo errors of its terms.
    rms_error = np.sqrt(((deviation * error) ** 2).sum(1)) / (deviation.shape[1] * rms)
    assert rms[0] > 5 * rms_error[0], "no finite-width bias to see at the smallest width"
    assert rms[-1] + 5 * rms_error[-1] < rms[0] - 5 * rms_error[0]
