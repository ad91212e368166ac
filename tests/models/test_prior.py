import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import hiddencodes as hc
from hiddencodes.models.prior import log_prior, sample_prior

LAZY, NON_LAZY = (hc.standard, hc.ntk), (hc.mean_field, hc.mup)
HOMOGENEOUS = (hc.linear, hc.relu, hc.leaky_relu(0.1), hc.shifted_relu(0.0))
OTHERS = (
    hc.sigmoidal,
    hc.erf,
    hc.tanh,
    hc.hard_tanh,
    hc.clipped_relu(1.0),
    hc.shifted_relu(0.5),
)
P = 50


def network(p=hc.mean_field, depth=2, activation=hc.tanh, width=40, bias=True) -> hc.MLP:
    return hc.MLP(30, 4, width, depth, activation, p, bias)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_readout_rules(depth, scale):
    mlp = network(depth=depth)
    expected = {"1/P": 1.0 / P, "P^(-1/L)": P ** (-1.0 / depth), 0.3: 0.3}
    for rule, value in expected.items():
        found = hc.GaussianPrior(rule, readout_scale=scale).resolve_readout_variance(mlp, P)
        assert found == pytest.approx(scale**2 * value, rel=1e-15)


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("activation", HOMOGENEOUS + OTHERS, ids=str)
@pytest.mark.parametrize("p", LAZY + NON_LAZY, ids=lambda p: p.name)
def test_automatic_rule(p, activation, depth):
    rule = P ** (-1.0 / depth) if activation in HOMOGENEOUS else 1.0 / P
    expected = 1.0 if p in LAZY else rule
    found = hc.GaussianPrior(readout_scale=3.0).resolve_readout_variance(network(p, depth, activation), P)
    assert found == pytest.approx(9.0 * expected, rel=1e-15)


@pytest.mark.parametrize("rule", ["P^-1", "", "AUTO"])
def test_unknown_rule(rule):
    with pytest.raises(ValueError, match=re.escape(f"readout_variance: '{rule}' is unknown")):
        hc.GaussianPrior(rule)


@pytest.mark.parametrize("name", ["readout_variance", "readout_scale", "hidden_variance", "bias_variance"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_variances_are_positive_and_finite(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected a positive finite number, got {value}"):
        hc.GaussianPrior(**{name: value})


PRIOR = hc.GaussianPrior(readout_variance=0.25, readout_scale=2.0, hidden_variance=3.0, bias_variance=0.5)


def variances_by_hand(mlp: hc.MLP) -> dict[str, dict[str, float]]:
    # readout_scale^2 * readout_variance = 1; only the standard parameterization has variances other than one of its own.
    divide = mlp.parameterization is hc.standard
    expected = {}
    for layer in range(mlp.depth):
        fan_in = mlp.width if layer else mlp.n_inputs
        expected[f"hidden_{layer + 1}"] = {"kernel": 3.0 / fan_in if divide else 3.0}
        if mlp.bias:
            expected[f"hidden_{layer + 1}"]["bias"] = 0.5
    expected["readout"] = {"kernel": 1.0 / mlp.width if divide else 1.0}
    return expected


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("p", LAZY + NON_LAZY, ids=lambda p: p.name)
def test_standard_deviations(p, bias):
    mlp = network(p, bias=bias)
    found = PRIOR.standard_deviations(mlp, P)
    expected = jax.tree.map(math.sqrt, variances_by_hand(mlp))
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    np.testing.assert_allclose(jax.tree.leaves(found), jax.tree.leaves(expected), rtol=1e-15)


@pytest.mark.parametrize("p", [hc.standard, hc.mean_field], ids=lambda p: p.name)
def test_log_prior_is_a_sum_of_normal_log_densities(p):
    mlp = network(p)
    params = mlp.init(jax.random.key(1))
    variances = variances_by_hand(mlp)
    expected = sum(
        stats.norm.logpdf(np.asarray(leaf), scale=math.sqrt(variance)).sum()
        for leaf, variance in zip(jax.tree.leaves(params), jax.tree.leaves(variances), strict=True)
    )
    found = log_prior(params, PRIOR.standard_deviations(mlp, P))
    assert found == pytest.approx(expected, rel=1e-12)


def test_log_prior_in_single_precision():
    mlp = network()
    std = PRIOR.standard_deviations(mlp, P)
    params = mlp.init(jax.random.key(1))
    single = log_prior(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params), std)
    assert single.dtype == jnp.float32
    # Squares and sums in blocks: some tens of roundings of 6e-8.
    assert float(single) == pytest.approx(float(log_prior(params, std)), rel=5e-6)


def test_log_prior_wants_one_standard_deviation_per_leaf():
    mlp = network()
    with pytest.raises(ValueError, match="bias"):
        log_prior(mlp.init(jax.random.key(0)), PRIOR.standard_deviations(network(bias=False), P))


@pytest.mark.parametrize("p", [hc.standard, hc.mup], ids=lambda p: p.name)
def test_draws_have_the_prior_variance(p):
    mlp = network(p, width=60)
    params = sample_prior(mlp, PRIOR.standard_deviations(mlp, P), jax.random.key(4))
    level = stats.norm.sf(5.0)  # one-sided, z = 5

    def check(leaf, variance):
        whitened = np.ravel(leaf) / math.sqrt(variance)
        n = whitened.size
        assert stats.chi2.ppf(level, n) < np.sum(whitened**2) < stats.chi2.isf(level, n)
        assert abs(whitened.mean()) < 5.0 / math.sqrt(n)

    jax.tree.map(check, params, variances_by_hand(mlp))


def test_draws_of_different_leaves_and_keys_differ():
    mlp = network(hc.ntk)
    std = PRIOR.standard_deviations(mlp, P)
    first, again, other = (sample_prior(mlp, std, jax.random.key(key)) for key in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    whitened = [
        np.concatenate(
            [np.ravel(leaf) / s for leaf, s in zip(jax.tree.leaves(w), jax.tree.leaves(std), strict=True)]
        )
        for w in (first, other)
    ]
    values = np.concatenate(whitened)
    # Continuous draws repeat only if a stream of random numbers is used twice.
    assert np.unique(np.abs(values)).size == values.size
