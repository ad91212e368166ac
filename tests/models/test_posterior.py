import contextlib
import math

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from jax.flatten_util import ravel_pytree
from numpyro.infer.util import log_density as numpyro_log_density
from scipy import special, stats

import hiddencodes as hc
from hiddencodes.models.likelihood import likelihood
from hiddencodes.models.mlp import weight_shapes
from hiddencodes.models.posterior import log_density
from hiddencodes.models.prior import sample_prior

P = 9
TASK = hc.orthogonal_classes(P, n_inputs=12, n_test=3, y_minus=-0.5)
PRIOR = hc.GaussianPrior(readout_variance=0.7, hidden_variance=1.3, bias_variance=0.2)


def network(depth=2, p=hc.mean_field, bias=True, activation=hc.tanh) -> hc.MLP:
    return hc.MLP(TASK.n_inputs, TASK.n_outputs, 5, depth, activation, p, bias)


def posterior(mlp=None, kind="gaussian", temperature=0.05) -> hc.Posterior:
    return hc.Posterior(mlp or network(), TASK, PRIOR, kind, temperature=temperature)


@contextlib.contextmanager
def lenient_promotion():
    """What NumPyro and BlackJAX need inside."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def random_weights(mlp: hc.MLP, *batch: int, dtype=jnp.float64):
    """Standard normal weights, which a network's own `init` would take longer to compile than to draw."""
    rng = np.random.default_rng(7)
    draw = lambda shape: jnp.asarray(rng.standard_normal((*batch, *shape.shape)), dtype)
    return jax.tree.map(draw, weight_shapes(mlp))


def output_by_hand(mlp: hc.MLP, params) -> np.ndarray:
    """tanh networks in the mean-field scaling."""
    phi = TASK.x_train
    for layer in range(1, mlp.depth + 1):
        weights = params[f"hidden_{layer}"]
        phi = np.tanh(phi @ weights["kernel"] / math.sqrt(phi.shape[1]) + weights.get("bias", 0.0))
    return phi @ params["readout"]["kernel"] / mlp.width


def log_prior_by_hand(params) -> float:
    std = {"kernel": math.sqrt(1.3), "bias": math.sqrt(0.2)}
    total = stats.norm.logpdf(params["readout"]["kernel"], scale=math.sqrt(0.7)).sum()
    for layer in params:
        if layer != "readout":
            total += sum(stats.norm.logpdf(w, scale=std[leaf]).sum() for leaf, w in params[layer].items())
    return total


@pytest.mark.parametrize("temperature", [0.01, 1.0, 3.0])
def test_gaussian_likelihood(temperature):
    rng = np.random.default_rng(0)
    f, y, labels = rng.standard_normal((P, 3)), rng.standard_normal((P, 3)), jnp.zeros(P, int)
    loss = hc.gaussian.loss(jnp.asarray(f), jnp.asarray(y), labels)
    found = -loss / temperature + hc.gaussian.log_normalizer(y.size, jnp.asarray(temperature))
    expected = stats.norm.logpdf(y, f, math.sqrt(temperature)).sum()
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_categorical_likelihood():
    rng = np.random.default_rng(0)
    f, labels = 10.0 * rng.standard_normal((P, 4)), rng.integers(0, 4, P)
    loss = hc.categorical.loss(jnp.asarray(f), jnp.zeros((P, 4)), jnp.asarray(labels))
    expected = sum(special.logsumexp(row) - row[label] for row, label in zip(f, labels, strict=True))
    assert float(loss) == pytest.approx(expected, rel=1e-12)
    # At T = 1 the probabilities of the classes add up to one.
    pattern = jnp.asarray(f[:1])
    losses = [hc.categorical.loss(pattern, jnp.zeros((1, 4)), jnp.array([label])) for label in range(4)]
    assert sum(math.exp(-float(loss)) for loss in losses) == pytest.approx(1.0, rel=1e-12)
    assert float(hc.categorical.log_normalizer(P, jnp.asarray(0.3))) == 0.0


def test_likelihood_lookup_and_equality():
    assert likelihood("gaussian") == hc.gaussian
    assert likelihood("categorical") == hc.categorical
    with pytest.raises(ValueError, match="likelihood: 'poisson' is unknown"):
        likelihood("poisson")
    # Another loss under an old name must not be given the old name's compiled programs.
    assert hc.Likelihood("gaussian", hc.categorical.loss) != hc.gaussian


@pytest.mark.parametrize("given", [{}, {"temperature": 0.1, "n_temperature": 0.5}])
def test_exactly_one_temperature(given):
    with pytest.raises(ValueError, match="temperature, n_temperature: expected exactly one of the two"):
        hc.Posterior(network(), TASK, **given)


@pytest.mark.parametrize("name", ["temperature", "n_temperature"])
@pytest.mark.parametrize("value", [0.0, -0.1, math.inf, math.nan])
def test_temperatures_are_positive_and_finite(name, value):
    with pytest.raises(ValueError, match=f"^{name}: expected a positive finite number, got {value}"):
        hc.Posterior(network(), TASK, **{name: value})


def test_the_two_temperatures_are_the_same_one():
    a, b = hc.Posterior(network(), TASK, temperature=0.1), hc.Posterior(network(), TASK, n_temperature=0.5)
    for each in (a, b):
        assert (each.temperature, each.n_temperature) == pytest.approx((0.1, 0.5), rel=1e-15)


@pytest.mark.parametrize("name", ["n_inputs", "n_outputs"])
def test_network_and_task_must_fit(name):
    sizes = {"n_inputs": TASK.n_inputs, "n_outputs": TASK.n_outputs} | {name: 7}
    mlp = hc.MLP(**sizes, width=5, depth=1, activation=hc.tanh, parameterization=hc.ntk)
    with pytest.raises(ValueError, match=f"mlp: it has 7 {name[2:]} but the task has {getattr(TASK, name)}"):
        hc.Posterior(mlp, TASK, temperature=0.1)


def test_errors_of_the_likelihood():
    with pytest.raises(ValueError, match="likelihood: 'poisson' is unknown"):
        posterior(kind="poisson")
    task = hc.orthogonal_classes(4, (0.5, 0.5), single_output=True)
    mlp = hc.MLP(task.n_inputs, 1, 5, 1, hc.tanh, hc.ntk)
    with pytest.raises(ValueError, match=r"likelihood: categorical .* got 1 outputs for 2 classes"):
        hc.Posterior(mlp, task, likelihood="categorical", temperature=1.0)


@pytest.mark.parametrize("p", [hc.standard, hc.mean_field], ids=lambda p: p.name)
def test_readout_variance_is_that_of_the_prior(p):
    found = hc.Posterior(network(p=p), TASK, temperature=0.1).readout_variance
    assert found == pytest.approx(1.0 if p is hc.standard else 1.0 / P, rel=1e-15)


def test_data():
    data = posterior().data()
    np.testing.assert_array_equal(data.x_train, TASK.x_train)
    np.testing.assert_array_equal(data.x_test, TASK.x_test)
    expected = np.zeros((P, TASK.n_classes))
    for pattern, label in enumerate(TASK.labels_train):
        expected[pattern, label] = 1.0 / np.sum(TASK.labels_train == label)
    np.testing.assert_array_equal(data.class_average, expected)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(data))


@pytest.mark.parametrize("temperature", [0.05, 1.0])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("kind", ["gaussian", "categorical"])
def test_log_density_is_prior_plus_likelihood(kind, depth, bias, temperature):
    mlp = network(depth, bias=bias)
    target = posterior(mlp, kind, temperature)
    params = random_weights(mlp)
    weights = jax.tree.map(np.asarray, params)
    f = output_by_hand(mlp, weights)
    if kind == "gaussian":
        score = stats.norm.logpdf(TASK.y_train, f, math.sqrt(temperature)).sum()
    else:
        score = special.log_softmax(f, axis=1)[np.arange(P), TASK.labels_train].sum() / temperature
    expected = log_prior_by_hand(weights) + score
    assert float(target.log_density(params)) == pytest.approx(expected, rel=1e-12)
    assert float(log_density(mlp, likelihood(kind), params, target.data())) == pytest.approx(
        expected, rel=1e-12
    )


def test_draws_from_the_prior():
    target = posterior(network(depth=1))
    found = jax.jit(target.sample_prior)(jax.random.key(1))
    expected = sample_prior(target.mlp, PRIOR.standard_deviations(target.mlp, P), jax.random.key(1))
    # Another order of the roundings.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-14), found, expected)
    with jax.enable_x64(False):
        assert {w.dtype for w in jax.tree.leaves(target.sample_prior(jax.random.key(1)))} == {
            np.dtype(np.float32)
        }


@pytest.mark.parametrize("kind", ["gaussian", "categorical"])
def test_gradient_against_finite_differences(kind):
    target = posterior(network(3), kind)
    params = random_weights(target.mlp)
    flat, unravel = ravel_pytree(params)
    density = jax.jit(lambda q: target.log_density(unravel(q)))
    directions = np.random.default_rng(3).standard_normal((5, flat.size)) / math.sqrt(flat.size)
    gradient = np.asarray(jax.grad(density)(flat))

    def difference(v, h: float) -> float:
        f = [float(density(flat + k * h * v)) for k in (-2, -1, 1, 2)]
        return (f[0] - 8.0 * f[1] + 8.0 * f[2] - f[3]) / (12.0 * h)

    h = 0.01
    for v in directions:
        coarse, fine = difference(v, 2 * h), difference(v, h)
        # The error h^4 f'''''/30 of the fine difference is 1/15 of the change from the coarse one; f is known to some
        # roundings of its largest terms.
        rounding = 1.5 / h * 100 * np.finfo(float).eps * abs(float(density(flat)))
        assert abs(fine - gradient @ v) < abs(fine - coarse) / 15 * 2 + rounding
        assert abs(fine - coarse) < 1e-4 * abs(gradient @ v)


def test_jit_and_vmap():
    target = posterior()
    stack = random_weights(target.mlp, 4)
    found = jax.jit(jax.vmap(target.log_density))(stack)
    expected = [target.log_density(jax.tree.map(lambda leaf, i=i: leaf[i], stack)) for i in range(4)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("kind", ["gaussian", "categorical"])
def test_single_precision(kind):
    target = posterior(kind=kind, temperature=1.0)
    found = target.log_density(random_weights(target.mlp, dtype=jnp.float32))
    assert found.dtype == jnp.float32
    # Some tens of roundings of 6e-8.
    assert float(found) == pytest.approx(float(target.log_density(random_weights(target.mlp))), rel=5e-6)
    with jax.enable_x64(False):
        params = random_weights(target.mlp, dtype=jnp.float32)
        leaves = jax.tree.leaves(jax.value_and_grad(target.log_density)(params))
        assert {leaf.dtype for leaf in leaves} == {np.dtype(np.float32)}


def test_blackjax_samples_the_log_density_as_it_is():
    target = posterior(temperature=1.0)
    size = target.mlp.n_parameters
    kernel = blackjax.hmc(target.log_density, 1e-3, jnp.ones(size), num_integration_steps=5)
    with lenient_promotion():
        state = kernel.init(random_weights(target.mlp))
        step = jax.jit(kernel.step)
        for key in jax.random.split(jax.random.key(1), 3):
            state, info = step(key, state)
            # Leapfrog steps this short conserve the energy: errors are of order step^2 times the curvature.
            assert float(info.acceptance_rate) > 0.99
    assert float(state.logdensity) == pytest.approx(float(target.log_density(state.position)), rel=1e-12)


NUMPYRO_CASES = [
    (1, hc.mean_field, True),
    (1, hc.standard, False),
    (2, hc.ntk, True),
    (2, hc.standard, True),
    (3, hc.mup, False),
    (3, hc.mean_field, True),
]


@pytest.mark.parametrize("kind", ["gaussian", "categorical"])
@pytest.mark.parametrize(("depth", "p", "bias"), NUMPYRO_CASES)
def test_numpyro_model_has_the_same_log_density(depth, p, bias, kind):
    target = posterior(network(depth, p, bias), kind)
    params = random_weights(target.mlp)
    sites = {f"{layer}.{leaf}": w for layer, leaves in params.items() for leaf, w in leaves.items()}
    with lenient_promotion():
        found, _ = numpyro_log_density(target.to_numpyro(), (), {}, sites)
    assert float(found) == pytest.approx(float(target.log_density(params)), rel=1e-12)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", ["gaussian", "categorical"])
def test_numpyro_sites(kind, bias):
    target = posterior(network(bias=bias), kind)
    with lenient_promotion():
        seeded = numpyro.handlers.seed(target.to_numpyro(), 0)
        trace = numpyro.handlers.trace(seeded).get_trace()
    shapes = {name: site["value"].shape for name, site in trace.items() if not site["is_observed"]}
    expected = {"hidden_1.kernel": (12, 5), "hidden_2.kernel": (5, 5), "readout.kernel": (5, 3)}
    if bias:
        expected |= {"hidden_1.bias": (5,), "hidden_2.bias": (5,)}
    assert shapes == expected
    observed = [name for name, site in trace.items() if site["is_observed"]]
    assert observed == [{"gaussian": "targets", "categorical": "log_likelihood"}[kind]]
    if kind == "gaussian":
        np.testing.assert_array_equal(trace["targets"]["value"], TASK.y_train)
    # The sites make up the weights of the network.
    params = {}
    for name in shapes:
        layer, leaf = name.split(".")
        params.setdefault(layer, {})[leaf] = trace[name]["value"]
    assert jax.tree.structure(params) == jax.tree.structure(weight_shapes(target.mlp))
