"""Exact reductions: they change no function on the training set and no law of what they leave out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

import hiddencodes as hc

SCALINGS = [hc.mean_field, hc.ntk, hc.standard, hc.mup]


def posterior_of(
    scaling=hc.mean_field, *, depth=1, bias=False, n_train=7, n_inputs=20, seed=0, likelihood="gaussian"
):
    task = hc.gaussian_clusters(
        n_train, n_inputs=n_inputs, n_test=5, fractions=(0.5, 0.5), noise=1.0, seed=seed
    )
    mlp = hc.MLP(n_inputs, 2, 6, depth, hc.relu, scaling, bias=bias)
    prior = hc.GaussianPrior(0.5, hidden_variance=1.7)
    return hc.Posterior(mlp, task, prior, likelihood, temperature=0.3)


def hidden(mlp, params, x):
    empty = {"kernel": jnp.zeros((mlp.width, mlp.n_outputs))}
    return mlp.apply({"readout": empty, **params}, jnp.asarray(x)).postactivations


@pytest.mark.parametrize("scaling", SCALINGS, ids=lambda p: p.name)
@pytest.mark.parametrize(("depth", "bias"), [(1, False), (2, True)])
@pytest.mark.parametrize("reduce", [hc.project_inputs, hc.whiten_inputs, hc.integrate_readout])
def test_training_activations_survive_both_ways(scaling, depth, bias, reduce):
    posterior = posterior_of(scaling, depth=depth, bias=bias)
    reduced = reduce(posterior)
    params = posterior.sample_prior(jax.random.key(1))
    small = reduced.to_reduced(params)
    assert sum(leaf.size for leaf in jax.tree.leaves(small)) == reduced.dimension
    back = reduced.from_reduced(jax.random.key(2), small)
    before, after = (hidden(posterior.mlp, p, posterior.task.x_train) for p in (params, back))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)
    again = reduced.to_reduced(back)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-12), small, again)
    # The reduced network computes the same from the reduced weights.
    shown = {**small, "hidden_1": {**small["hidden_1"]}}
    beyond = reduced.posterior.mlp.n_inputs - reduced.n_along
    shown["hidden_1"]["kernel"] = jnp.concatenate([small["hidden_1"]["kernel"], jnp.ones((beyond, 6))])
    projected = hidden(reduced.posterior.mlp, shown, reduced.posterior.task.x_train)
    np.testing.assert_allclose(before[-1], projected[-1], rtol=0, atol=1e-12)
    if reduce is not hc.integrate_readout:
        assert beyond == 5  # what five test patterns add
        different = (
            hidden(posterior.mlp, back, posterior.task.x_test)[0]
            - hidden(posterior.mlp, params, posterior.task.x_test)[0]
        )
        assert np.max(np.abs(different)) > 0.1


@given(seed=st.integers(0, 100), n_train=st.integers(2, 12), n_inputs=st.integers(1, 15))
@settings(max_examples=15, deadline=None)
def test_inner_products_of_inputs_are_those_of_the_prior_kernel(seed, n_train, n_inputs):
    posterior = posterior_of(n_train=n_train, n_inputs=n_inputs, seed=seed)
    for reduced in (hc.project_inputs(posterior), hc.whiten_inputs(posterior)):
        old, new = posterior.task, reduced.posterior.task
        x, projected = (np.concatenate([t.x_train, t.x_test]) for t in (old, new))
        np.testing.assert_allclose(projected @ projected.T / new.n_inputs, x @ x.T / old.n_inputs, atol=1e-10)
        assert not np.any(new.x_train[:, reduced.n_along :])
        assert reduced.n_along == min(n_train, n_inputs)
        np.testing.assert_allclose(reduced.basis.T @ reduced.basis, np.eye(new.n_inputs), atol=1e-12)


def test_repeated_patterns_have_fewer_coordinates():
    task = hc.gaussian_clusters(6, n_inputs=20, n_test=3, fractions=(0.5, 0.5))
    x = task.x_train.copy()
    x[1], x[2] = x[0], -2.0 * x[0]
    repeated = hc.Task(
        x,
        task.y_train,
        task.labels_train,
        x[:2] + x[3:5],
        task.y_test[:2],
        task.labels_test[:2],
        task.class_names,
        task.provenance,
    )
    mlp = hc.MLP(20, 2, 4, 1, hc.relu, hc.mean_field)
    for reduce in (hc.project_inputs, hc.whiten_inputs):
        reduced = reduce(hc.Posterior(mlp, repeated, temperature=1.0))
        assert (reduced.n_along, reduced.posterior.mlp.n_inputs) == (4, 4)
        assert reduced.description == "4 projected inputs"


def test_white_coordinates_are_the_root_of_the_input_kernel():
    reduced = hc.whiten_inputs(posterior_of())
    x = reduced.posterior.task.x_train[:, : reduced.n_along]
    np.testing.assert_allclose(x, x.T, atol=1e-12)
    assert np.all(np.linalg.eigvalsh(x) > 0.0)
    np.testing.assert_allclose(
        x @ x / reduced.posterior.mlp.n_inputs, reduced.original.task.input_kernel(), atol=1e-12
    )


def test_reductions_compose_in_any_order():
    posterior = posterior_of()
    one = hc.integrate_readout(hc.whiten_inputs(hc.project_inputs(posterior)))
    other = hc.whiten_inputs(hc.project_inputs(hc.integrate_readout(posterior)))
    assert one.dimension == other.dimension == 7 * 6
    assert other.description == "7 projected inputs, readout integrated out"
    params = posterior.sample_prior(jax.random.key(0))
    np.testing.assert_allclose(
        *(r.to_reduced(params)["hidden_1"]["kernel"] for r in (one, other)), atol=1e-12
    )


@pytest.mark.parametrize("reduce", [hc.project_inputs, hc.integrate_readout])
def test_what_is_left_out_has_the_law_that_it_had(reduce):
    """A prior draw, reduced and restored: again a prior draw, or a draw from the readout's posterior."""
    posterior = posterior_of(n_train=4, n_inputs=6)
    reduced = reduce(posterior)
    keys = jax.random.split(jax.random.key(3), 4000)
    fixed = reduced.to_reduced(posterior.sample_prior(jax.random.key(4)))
    restored = jax.vmap(lambda key: reduced.from_reduced(key, fixed))(keys)
    if reduce is hc.project_inputs:
        values = np.asarray(restored["hidden_1"]["kernel"])[:, :, 0]
        basis = reduced.basis[:, : reduced.n_along]
        std = float(posterior.data().prior_std["hidden_1"]["kernel"])
        mean = basis @ basis.T @ values[0]
        covariance = std**2 * (np.eye(6) - basis @ basis.T)
    else:
        values = np.asarray(restored["readout"]["kernel"])[:, :, 1]
        phi = np.asarray(hidden(posterior.mlp, fixed, posterior.task.x_train)[-1]) / posterior.mlp.width
        std = float(posterior.data().prior_std["readout"]["kernel"])
        covariance = np.linalg.inv(phi.T @ phi / 0.3 + np.eye(6) / std**2)
        mean = covariance @ phi.T @ posterior.task.y_train[:, 1] / 0.3
    # Gaussian draws: five standard errors of means, and of variances and covariances.
    spread = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(
        values.mean(0), mean, rtol=0, atol=float(5 * spread.max() / np.sqrt(4000)) + 1e-12
    )
    found = np.cov(values.T)
    bound = 5 * np.sqrt((covariance**2 + np.outer(spread, spread) ** 2) / 4000) + 1e-12
    assert np.all(np.abs(found - covariance) < bound)


@pytest.mark.parametrize(("n_train", "width"), [(5, 9), (9, 5)])
def test_evidence_of_the_readout_is_the_gaussian_integral(n_train, width):
    rng = np.random.default_rng(0)
    phi, y = rng.standard_normal((n_train, width)), rng.standard_normal((n_train, 2))
    weight, temperature = 0.3, 0.02
    covariance = weight * phi @ phi.T + temperature * np.eye(n_train)
    expected = sum(multivariate_normal.logpdf(column, np.zeros(n_train), covariance) for column in y.T)
    expected += n_train * np.log(2 * np.pi * temperature)
    found = hc.readout_evidence(jnp.asarray(phi), jnp.asarray(y), weight, temperature)
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_refusals():
    with pytest.raises(
        ValueError, match="only a Gaussian one lets the readout be integrated out, got 'categorical'"
    ):
        hc.integrate_readout(posterior_of(likelihood="categorical"))
    task = posterior_of().task
    zero = hc.Task(
        0.0 * task.x_train,
        task.y_train,
        task.labels_train,
        task.x_test,
        task.y_test,
        task.labels_test,
        task.class_names,
        task.provenance,
    )
    with pytest.raises(ValueError, match="all training inputs are zero"):
        hc.project_inputs(hc.Posterior(posterior_of().mlp, zero, temperature=1.0))
