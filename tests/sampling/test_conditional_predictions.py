"""The predictor with the readout integrated out, along sampled chains."""

import jax
import numpy as np
import pytest
from statistics_of_chains import assert_mean, mean_and_error

import hiddencodes as hc
from hiddencodes.sampling.observables import conditional_test_predictions, conditional_test_variance

CONDITIONAL = (conditional_test_predictions, conditional_test_variance)


@pytest.fixture(scope="module")
def run():
    task = hc.orthogonal_classes(n_train=6, n_test=3, fractions=(0.5, 0.5), y_minus=-0.5)
    mlp = hc.MLP(task.n_inputs, 2, 5, 1, hc.sigmoidal, hc.mean_field)
    posterior = hc.Posterior(mlp, task, n_temperature=0.3)
    observables = (*hc.default_observables(posterior.likelihood, task.n_test), *CONDITIONAL)
    return hc.sample(posterior, chains=8, draws=1000, warmup=400, observables=observables, verbose=False)


def arrays(run):
    names = ("test_predictions", "conditional_test_predictions", "conditional_test_variance")
    return tuple(run["posterior"][name].values[0] for name in names)


def test_sizes(run):
    assert (
        run["posterior"]["conditional_test_predictions"].sizes == run["posterior"]["test_predictions"].sizes
    )
    assert run["posterior"]["conditional_test_variance"].dims == ("seed", "chain", "draw", "test_pattern")


def test_its_mean_is_the_mean_prediction(run):
    f, g, _ = arrays(run)
    assert_mean(f - g, 0.0)
    # What the readout adds to g is independent of the hidden weights, so of every function of them.
    assert_mean(g * (f - g), 0.0)
    # The comparison means something: the mean prediction is far from zero, and conditioning takes noise away.
    mean, error, _ = mean_and_error(f)
    assert (np.abs(mean) > 20 * error).any()
    assert (g.std((0, 1)) < f.std((0, 1))).all()


def test_law_of_total_variance(run):
    f, g, v = arrays(run)
    assert_mean((f - g) ** 2 - v[..., None], 0.0)
    total = v.mean((0, 1))[:, None] + g.var((0, 1))
    error = mean_and_error((f - f.mean((0, 1))) ** 2)[1]
    # f and g come from the same draws; the error of the variance of f alone is the larger part of the difference's.
    assert (np.abs(total - f.var((0, 1))) < 5 * np.sqrt(2) * error).all()


def test_it_needs_a_gaussian_likelihood():
    task = hc.gaussian_clusters(n_train=6, n_inputs=3, n_test=2)
    posterior = hc.Posterior(
        hc.MLP(3, 3, 4, 1, hc.tanh, hc.ntk), task, likelihood="categorical", temperature=1.0
    )
    with pytest.raises(ValueError, match="Gaussian likelihood, got 'categorical'"):
        hc.sample(posterior, chains=2, draws=2, warmup=2, observables=CONDITIONAL, verbose=False)


def test_units_may_be_permuted_and_precision_is_that_of_the_weights():
    task = hc.gaussian_clusters(n_train=6, n_inputs=3, n_test=2)
    posterior = hc.Posterior(hc.MLP(3, 3, 8, 1, hc.relu, hc.mean_field), task, n_temperature=0.1)

    def observe(params):
        data = posterior.data()
        loss, activations = hc.models.posterior.train_loss(posterior.mlp, posterior.likelihood, params, data)
        context = hc.Context(
            posterior.mlp, posterior.likelihood, params, data, activations, loss, data.x_train
        )
        return [observable.function(context) for observable in CONDITIONAL]

    params = posterior.sample_prior(jax.random.key(0))
    order = np.random.default_rng(0).permutation(8)
    shuffled = {
        "hidden_1": {"kernel": params["hidden_1"]["kernel"][:, order]},
        "readout": {"kernel": params["readout"]["kernel"][order]},
    }
    before, after = observe(params), observe(shuffled)
    for one, other in zip(before, after, strict=True):
        # Sums in another order.
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-13)
    with jax.enable_x64(False):
        single = observe(jax.tree.map(lambda w: jax.numpy.asarray(np.asarray(w), np.float32), params))
    assert {value.dtype for value in single} == {np.dtype(np.float32)}
    np.testing.assert_allclose(single[0], before[0], rtol=0, atol=1e-4)
