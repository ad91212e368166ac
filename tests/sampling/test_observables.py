from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

import hiddencodes as hc
from hiddencodes.models.mlp import weight_shapes
from hiddencodes.models.posterior import train_loss
from hiddencodes.sampling.observables import train_predictions

N, T = 7, 0.05
# Three classes of three, two and one patterns, not in order.
LABELS, TEST_LABELS = [1, 0, 0, 2, 1, 0], [2, 0, 1, 1]
RNG = np.random.default_rng(0)
TASK = hc.from_arrays(RNG.standard_normal((6, 5)), LABELS, RNG.standard_normal((4, 5)), TEST_LABELS)


def posterior(depth=2, activation=hc.tanh, kind="gaussian", bias=True) -> hc.Posterior:
    mlp = hc.MLP(TASK.n_inputs, TASK.n_outputs, N, depth, activation, hc.mean_field, bias)
    return hc.Posterior(mlp, TASK, hc.GaussianPrior(0.6), kind, temperature=T)


def random_weights(mlp: hc.MLP, seed: int):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda shape: jnp.asarray(rng.standard_normal(shape.shape)), weight_shapes(mlp))


@partial(jax.jit, static_argnames=("mlp", "likelihood"))
def evaluate(params, data, mlp: hc.MLP, likelihood: hc.Likelihood):
    """Every default observable, and the predictions on the training set."""
    loss, activations = train_loss(mlp, likelihood, params, data)
    context = hc.Context(mlp, likelihood, params, data, activations, loss, data.x_train)
    observables = (*hc.default_observables(likelihood, TASK.n_test), train_predictions)
    return {observable.name: observable.function(context) for observable in observables}


def observe(target: hc.Posterior, params) -> dict[str, np.ndarray]:
    found = evaluate(params, target.data(), target.mlp, target.likelihood)
    return {name: np.asarray(value) for name, value in found.items()}


@pytest.mark.parametrize("kind", ["gaussian", "categorical"])
@pytest.mark.parametrize("n_test", [0, 4])
def test_what_is_recorded_by_default(kind, n_test):
    chosen = hc.default_observables({"gaussian": hc.gaussian, "categorical": hc.categorical}[kind], n_test)
    names = ["kernel_blocks", "kernel_diagonal", "train_loss", "log_density", "readout_overlap"]
    names += ["residual_multiplier"] if kind == "gaussian" else []
    names += ["test_predictions"] if n_test else []
    assert [o.name for o in chosen if o.invariant] == names
    assert [o.name for o in chosen if not o.invariant] == ["class_means", "readout"]


def by_hand(target: hc.Posterior, params) -> dict[str, np.ndarray]:
    """Sums over patterns, pairs and units, one term at a time; tanh networks in the mean-field scaling."""
    mlp = target.mlp
    weights = jax.tree.map(np.asarray, params)

    def forward(x):
        phi, layers = x, []
        for layer in range(1, mlp.depth + 1):
            w = weights[f"hidden_{layer}"]
            phi = np.tanh(phi @ w["kernel"] / np.sqrt(phi.shape[1]) + w.get("bias", 0.0))
            layers.append(phi)
        return layers, phi @ weights["readout"]["kernel"] / N

    layers, f = forward(TASK.x_train)
    labels, n_classes = TASK.labels_train, TASK.n_classes
    blocks = np.full((mlp.depth, n_classes, n_classes), np.nan)
    diagonal = np.zeros((mlp.depth, n_classes))
    means = np.zeros((mlp.depth, n_classes, N))
    for layer, phi in enumerate(layers):
        for c in range(n_classes):
            members = [mu for mu in range(TASK.n_train) if labels[mu] == c]
            diagonal[layer, c] = np.mean([sum(phi[mu, i] ** 2 for i in range(N)) / N for mu in members])
            means[layer, c] = [np.mean([phi[mu, i] for mu in members]) for i in range(N)]
            for d in range(n_classes):
                pairs = [
                    (mu, nu) for mu in members for nu in range(TASK.n_train) if labels[nu] == d and mu != nu
                ]
                if pairs:
                    blocks[layer, c, d] = np.mean([phi[mu] @ phi[nu] / N for mu, nu in pairs])
    if target.likelihood == hc.gaussian:
        loss = 0.5 * np.sum((TASK.y_train - f) ** 2)
        score = stats.norm.logpdf(TASK.y_train, f, np.sqrt(T)).sum()
    else:
        loss = -special.log_softmax(f, axis=1)[np.arange(TASK.n_train), labels].sum()
        score = -loss / T
    log_prior = sum(
        stats.norm.logpdf(w, scale=np.sqrt(0.6) if layer == "readout" else 1.0).sum()
        for layer, leaves in weights.items()
        for w in leaves.values()
    )
    a = weights["readout"]["kernel"]
    expected = {
        "kernel_blocks": blocks,
        "kernel_diagonal": diagonal,
        "train_loss": loss,
        "log_density": log_prior + score,
        "readout_overlap": np.array([[np.sum(a[:, r] * a[:, s]) / N for s in range(3)] for r in range(3)]),
        "class_means": means,
        "readout": a.T,
        "test_predictions": forward(TASK.x_test)[1],
        "train_predictions": f,
    }
    if target.likelihood == hc.gaussian:
        expected["residual_multiplier"] = (TASK.y_train - f) / (N * T)
    return expected


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("kind", ["gaussian", "categorical"])
def test_against_sums_by_hand(kind, depth, bias):
    target = posterior(depth, kind=kind, bias=bias)
    params = random_weights(target.mlp, seed=depth)
    found, expected = observe(target, params), by_hand(target, params)
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].shape == np.shape(value)
        # Some tens of roundings. The class of one pattern has no pairs: NaN in both.
        np.testing.assert_allclose(found[name], value, rtol=1e-12, atol=1e-14, err_msg=name)
    lonely = TASK.labels_train[3]
    assert np.array_equal(np.argwhere(np.isnan(found["kernel_blocks"][0])), [[lonely, lonely]])


@pytest.mark.parametrize("seed", range(20))
def test_a_class_of_one_pattern_has_no_block_of_its_own(seed):
    # What is left of the pair sum after its diagonal is taken out is a rounding error of either sign.
    target = posterior()
    blocks = observe(target, random_weights(target.mlp, seed))["kernel_blocks"]
    assert np.isnan(blocks[:, 2, 2]).all()
    assert np.isfinite(np.delete(blocks.reshape(2, 9), 8, axis=1)).all()


def test_dimensions_match_the_arrays():
    sizes = {
        "layer": 2,
        "class": 3,
        "class_2": 3,
        "pattern": 6,
        "test_pattern": 4,
        "output": 3,
        "output_2": 3,
        "unit": N,
    }
    target = posterior()
    found = observe(target, random_weights(target.mlp, 0))
    for observable in (*hc.default_observables(hc.gaussian, TASK.n_test), train_predictions):
        assert found[observable.name].shape == tuple(sizes[dim] for dim in observable.dims)


permutations = st.permutations(range(N))


def permuted(params, first, second):
    """The units of the two hidden layers in another order, with all their weights."""
    one, two, readout = params["hidden_1"], params["hidden_2"], params["readout"]
    return {
        "hidden_1": {"kernel": one["kernel"][:, first], "bias": one["bias"][first]},
        "hidden_2": {"kernel": two["kernel"][first][:, second], "bias": two["bias"][second]},
        "readout": {"kernel": readout["kernel"][second]},
    }


def assert_same(found, expected, name):
    # Sums in another order: some tens of roundings of the largest term, which is of order one or the largest entry.
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=1e-12 * max(1.0, np.nanmax(np.abs(expected))), err_msg=name
    )


@pytest.mark.parametrize("kind", ["gaussian", "categorical"])
@pytest.mark.parametrize("activation", [hc.tanh, hc.relu], ids=str)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), first=permutations, second=permutations)
def test_permutations_of_hidden_units(activation, kind, seed, first, second):
    target = posterior(activation=activation, kind=kind)
    params = random_weights(target.mlp, seed)
    first, second = np.array(first), np.array(second)
    before, after = observe(target, params), observe(target, permuted(params, first, second))
    for observable in (*hc.default_observables(target.likelihood, TASK.n_test), train_predictions):
        if observable.invariant:
            assert_same(after[observable.name], before[observable.name], observable.name)
    expected = np.stack([before["class_means"][0][:, first], before["class_means"][1][:, second]])
    assert_same(after["class_means"], expected, "class_means")
    np.testing.assert_array_equal(after["readout"], before["readout"][:, second])


@pytest.mark.parametrize("activation", [hc.tanh, hc.linear], ids=str)
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    signs=st.lists(st.sampled_from([-1.0, 1.0]), min_size=2 * N, max_size=2 * N),
)
def test_signs_of_units_with_an_odd_activation(activation, seed, signs):
    target = posterior(activation=activation)
    params = random_weights(target.mlp, seed)
    first, second = np.array(signs[:N]), np.array(signs[N:])
    one, two, readout = params["hidden_1"], params["hidden_2"], params["readout"]
    flipped = {
        "hidden_1": {"kernel": one["kernel"] * first[None, :], "bias": one["bias"] * first},
        "hidden_2": {
            "kernel": first[:, None] * two["kernel"] * second[None, :],
            "bias": two["bias"] * second,
        },
        "readout": {"kernel": readout["kernel"] * second[:, None]},
    }
    before, after = observe(target, params), observe(target, flipped)
    for observable in (*hc.default_observables(target.likelihood, TASK.n_test), train_predictions):
        if observable.invariant:
            assert_same(after[observable.name], before[observable.name], observable.name)
    expected = before["class_means"] * np.stack([first, second])[:, None, :]
    assert_same(after["class_means"], expected, "class_means")
    np.testing.assert_array_equal(after["readout"], before["readout"] * second[None, :])


def test_observables_that_follow_units_are_not_called_invariant():
    # A permutation that moves every unit changes exactly the observables that are marked as following units.
    target = posterior()
    params = random_weights(target.mlp, 3)
    shift = np.roll(np.arange(N), 1)
    before, after = observe(target, params), observe(target, permuted(params, shift, shift))
    changed = {name for name in before if np.nanmax(np.abs(after[name] - before[name])) > 1e-3}
    assert changed == {o.name for o in hc.default_observables(hc.gaussian, TASK.n_test) if not o.invariant}


def test_single_precision():
    target = posterior()
    params = random_weights(target.mlp, 0)
    expected = observe(target, params)
    with jax.enable_x64(False):
        found = observe(target, jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float32), params))
    for name, value in found.items():
        assert value.dtype == np.float32
        # Some tens of roundings of 6e-8 of the largest entry; the log-density adds up terms of order loss / T.
        scale = np.nanmax(np.abs(expected[name])) + (
            expected["train_loss"] / T if name == "log_density" else 0.0
        )
        np.testing.assert_allclose(value, expected[name], rtol=0, atol=5e-6 * scale, err_msg=name)


@pytest.mark.parametrize(
    ("observable", "message"),
    [
        (hc.Observable("draw", (), lambda c: c.activations.output.sum()), "the name 'draw' is the run's own"),
        (hc.Observable("energy", (), lambda c: c.activations.output.sum()), "the name 'energy' is the run's own"),
        (hc.Observable("q", ("chain",), lambda c: c.activations.output[:, 0]), "'q' names the axis 'chain', which is the run's own"),
        (hc.Observable("q", ("unit",), lambda c: c.activations.output[:2, 0]), "the axis 'unit' of 'q' has 2 entries, the run's has"),
    ],
)  # fmt: skip
def test_names_and_lengths_that_are_the_runs_own(small_posterior, observable, message):
    with pytest.raises(ValueError, match=message):
        hc.sample(small_posterior, chains=2, draws=2, warmup=0, observables=[observable], verbose=False)
