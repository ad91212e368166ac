import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from one_step import descend, first_step, learning_rates

import hiddencodes as hc

EVERY = (hc.standard, hc.ntk, hc.mean_field, hc.mup)
KINDS = ("input", "hidden", "readout")
sizes = st.integers(1, 5000)

# Three steps through three layers of width 16 are a few thousand roundings (2e-16 each) of numbers of order one.
ROUNDING = 1e-12


@settings(max_examples=50, deadline=None)
@given(p=st.floats(-2.0, 2.0), q=st.floats(-2.0, 2.0), fan_in=sizes, fan_out=sizes)
def test_power_law(p, q, fan_in, fan_out):
    expected = math.exp(p * math.log(fan_in) + q * math.log(fan_out))
    # The exponent, at most 34, is known to 2e-16 of itself.
    assert hc.PowerLaw(p, q)(fan_in, fan_out) == pytest.approx(expected, rel=1e-13)


def test_lookup_by_name():
    assert [hc.parameterization(p.name) for p in EVERY] == list(EVERY)
    with pytest.raises(ValueError, match="parameterization: 'lazy' is unknown"):
        hc.parameterization("lazy")


@pytest.mark.parametrize("p", EVERY, ids=lambda p: p.name)
def test_layer_kinds(p):
    assert [p.layer(i, 1) for i in range(2)] == [p.input, p.readout]
    assert [p.layer(i, 3) for i in range(4)] == [p.input, p.hidden, p.hidden, p.readout]
    for index in (-1, 4):
        with pytest.raises(ValueError, match=f"index: .* got {index}"):
            p.layer(index, 3)


@settings(max_examples=20, deadline=None)
@given(fan_in=sizes, fan_out=sizes)
def test_multipliers_and_variances(fan_in, fan_out):
    expected = {
        "standard": dict.fromkeys(KINDS, (1.0, 1.0 / fan_in)),
        "ntk": dict.fromkeys(KINDS, (fan_in ** (-0.5), 1.0)),
        "mean_field": dict.fromkeys(KINDS, (fan_in ** (-0.5), 1.0)) | {"readout": (1.0 / fan_in, 1.0)},
    }
    expected["mup"] = expected["mean_field"]
    for p in EVERY:
        for kind in KINDS:
            layer = getattr(p, kind)
            found = layer.multiplier(fan_in, fan_out), layer.variance(fan_in, fan_out)
            assert found == pytest.approx(expected[p.name][kind], rel=1e-15)


# The columns of table 3 of arXiv 2203.03466 (multiplier one, so that its weights are the effective weights c w): variance,
# learning rate of gradient descent, learning rate of Adam. Table 8 differs in the readout only, which has a multiplier.
TABLE_3 = {
    "input": (hc.PowerLaw(-1.0), hc.PowerLaw(0.0, 1.0), hc.PowerLaw()),
    "hidden": (hc.PowerLaw(-1.0), hc.PowerLaw(), hc.PowerLaw(-1.0)),
    "readout": (hc.PowerLaw(-2.0), hc.PowerLaw(-1.0), hc.PowerLaw(-1.0)),
}
TABLE_8_READOUT = (hc.PowerLaw(-1.0), hc.PowerLaw(), hc.PowerLaw(1.0), hc.PowerLaw())


@settings(max_examples=20, deadline=None)
@given(fan_in=sizes, fan_out=sizes)
def test_mup_is_the_published_table_up_to_the_symmetry_of_multipliers_and_rates(fan_in, fan_out):
    for kind in KINDS:
        layer = getattr(hc.mup, kind)
        c, variance, sgd, adam = (
            law(fan_in, fan_out) for law in (layer.multiplier, layer.variance, layer.sgd, layer.adam)
        )
        effective = c**2 * variance, c**2 * sgd, c * adam
        assert effective == pytest.approx([law(fan_in, fan_out) for law in TABLE_3[kind]], rel=1e-14)
    readout = hc.mup.readout
    assert (readout.multiplier, readout.variance, readout.sgd, readout.adam) == TABLE_8_READOUT
    # Biases share the column of the input weights.
    assert (hc.mup.bias.sgd, hc.mup.bias.adam) == TABLE_3["input"][1:]


def effective(p: hc.Parameterization, table) -> hc.Parameterization:
    """The parameterization with multipliers one whose columns are `table`."""
    layers = {
        kind: hc.LayerScaling(hc.PowerLaw(), variance, sgd, adam)
        for kind, (variance, sgd, adam) in table.items()
    }
    return hc.Parameterization(f"effective_{p.name}", **layers, bias=p.bias)


def absorb_multipliers(mlp: hc.MLP, params):
    """The effective weights c w; biases have multiplier one."""
    absorbed = {}
    for shape in mlp.layers():
        c = mlp.parameterization.layer(shape.index, mlp.depth).multiplier(shape.fan_in, shape.fan_out)
        absorbed[shape.name] = params[shape.name] | {"kernel": c * params[shape.name]["kernel"]}
    return absorbed


def mlp_with(p: hc.Parameterization, depth: int = 2, activation=hc.tanh, bias: bool = True) -> hc.MLP:
    return hc.MLP(5, 2, 16, depth, activation, p, bias)


def functions_during_training(mlp: hc.MLP, params, optimizer: str, n_steps: int = 3) -> np.ndarray:
    """The outputs at the start and after each step of gradient descent or of Adam with epsilon = 0."""
    rng = np.random.default_rng(1)
    x, y = jnp.asarray(rng.standard_normal((4, 5))), jnp.asarray(rng.standard_normal((4, 2)))
    loss = jax.jit(jax.grad(lambda w: 0.5 * jnp.sum((y - mlp.apply(w, x).output) ** 2)))
    transform = optax.scale_by_adam(eps=0.0) if optimizer == "adam" else optax.identity()
    state = transform.init(params)
    outputs = [mlp.apply(params, x).output]
    for _ in range(n_steps):
        with jax.numpy_dtype_promotion("standard"):  # Adam raises a float to an integer power
            directions, state = transform.update(loss(params), state)
        params = descend(params, directions, learning_rates(mlp, optimizer), 0.05)
        outputs.append(mlp.apply(params, x).output)
    return np.stack(outputs)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("depth", [1, 3])
def test_standard_trains_through_the_same_functions_as_ntk(optimizer, depth):
    lazy, standard = mlp_with(hc.ntk, depth), mlp_with(hc.standard, depth)
    params = lazy.init(jax.random.key(depth))
    expected = functions_during_training(lazy, params, optimizer)
    found = functions_during_training(standard, absorb_multipliers(lazy, params), optimizer)
    assert np.abs(np.diff(expected, axis=0)).max(axis=(1, 2)).min() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("depth", [1, 3])
def test_mup_trains_through_the_same_functions_as_the_published_table(optimizer, depth):
    ours, published = mlp_with(hc.mup, depth), mlp_with(effective(hc.mup, TABLE_3), depth)
    params = ours.init(jax.random.key(depth))
    expected = functions_during_training(published, absorb_multipliers(ours, params), optimizer)
    found = functions_during_training(ours, params, optimizer)
    assert np.abs(np.diff(expected, axis=0)).max(axis=(1, 2)).min() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING)


def test_adams_first_step_is_the_sign_of_the_gradient():
    mlp = mlp_with(hc.mup)
    params = mlp.init(jax.random.key(0))
    gradient = mlp.init(jax.random.key(1))
    transform = optax.scale_by_adam(eps=0.0)
    with jax.numpy_dtype_promotion("standard"):
        directions, _ = transform.update(gradient, transform.init(params))
    expected = descend(params, directions, learning_rates(mlp, "adam"), 0.1)
    found = first_step(mlp, params, gradient, "adam", 0.1)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=ROUNDING), found, expected)


def test_standard_draws_are_ntk_draws_with_the_multiplier_absorbed():
    x = jax.random.normal(jax.random.key(5), (4, 5))
    lazy, standard = mlp_with(hc.ntk), mlp_with(hc.standard)
    drawn, params = standard.init(jax.random.key(2)), lazy.init(jax.random.key(2))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=ROUNDING), drawn, absorb_multipliers(lazy, params)
    )
    np.testing.assert_allclose(
        standard.apply(drawn, x).output, lazy.apply(params, x).output, rtol=0, atol=ROUNDING
    )


def test_variance_of_the_output_at_initialization():
    # For linear units E f(x)^2 = |x|^2 / N0 at every depth and width, times 1/N in the mean-field scaling.
    networks, n_draws = [mlp_with(p, activation=hc.linear, bias=False) for p in EVERY], 4000
    x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 5)))
    # One program for all: they share the random numbers, which take long to compile.
    draw = jax.vmap(lambda key: jnp.stack([mlp.apply(mlp.init(key), x).output[0, 0] for mlp in networks]))
    squared = np.asarray(jax.jit(draw)(jax.random.split(jax.random.key(7), n_draws))) ** 2
    expected = float(jnp.sum(x**2)) / 5 * np.array([1.0, 1.0, 1.0 / 16, 1.0 / 16])
    # z = 5 standard errors of the mean of f^2 over independent draws.
    assert np.all(np.abs(squared.mean(0) - expected) < 5 * squared.std(0, ddof=1) / math.sqrt(n_draws))


def test_mean_field_and_mup_are_the_same_network_with_rates_that_differ_by_a_constant():
    kernel = lambda layer: (layer.multiplier, layer.variance)
    for kind in KINDS:
        assert kernel(getattr(hc.mean_field, kind)) == kernel(getattr(hc.mup, kind))
    x = jax.random.normal(jax.random.key(5), (4, 5))
    params = mlp_with(hc.mup).init(jax.random.key(2))
    np.testing.assert_array_equal(
        mlp_with(hc.mup).apply(params, x).output, mlp_with(hc.mean_field).apply(params, x).output
    )
    for optimizer in ("sgd", "adam"):
        for width in (10, 1000):
            a, b = (
                learning_rates(hc.MLP(5, 2, width, 2, hc.tanh, p, bias=True), optimizer)
                for p in (hc.mup, hc.mean_field)
            )
            ratio = jax.tree.map(lambda a, b: a / b, a, b)
            # The table of mup counts the inputs, of which there are 5, where mean field does not.
            assert ratio["hidden_1"] == pytest.approx({"kernel": 5.0, "bias": 1.0}, rel=1e-14)
            assert ratio["hidden_2"] == pytest.approx({"kernel": 1.0, "bias": 1.0}, rel=1e-14)
            assert ratio["readout"] == pytest.approx({"kernel": 1.0}, rel=1e-14)


def width_exponents(p: hc.Parameterization, optimizer: str) -> dict[str, float]:
    """How the change of activations and of the output in a first step scales with width, counting powers of N.

    Sums over N terms of random sign count N^(1/2), sums over N terms that a step has aligned count N. The derivative of
    the loss by an output is of order one.
    """
    in_width = {"input": (0, 1), "hidden": (1, 1), "readout": (1, 0)}

    def power(law: hc.PowerLaw, kind: str) -> float:
        return law.fan_in * in_width[kind][0] + law.fan_out * in_width[kind][1]

    multiplier = {kind: power(getattr(p, kind).multiplier, kind) for kind in KINDS}
    spread = {kind: 0.5 * power(getattr(p, kind).variance, kind) for kind in KINDS}
    # dL/dz of the last hidden layer is one readout weight; the layer below it sums N of them with random weights.
    upper = multiplier["readout"] + spread["readout"]
    lower = multiplier["hidden"] + spread["hidden"] + 0.5 + upper
    delta = {"input": lower, "hidden": upper, "readout": 0.0}

    def move(kind: str) -> float:
        # Change of c sum_j w_ij phi_j: gradient descent moves w by c delta_i phi_j, Adam by its sign.
        step = power(getattr(getattr(p, kind), optimizer), kind)
        step += multiplier[kind] + delta[kind] if optimizer == "sgd" else 0.0
        return multiplier[kind] + step + in_width[kind][0]

    def move_bias(kind: str) -> float:
        return power(getattr(p.bias, optimizer), kind) + (delta[kind] if optimizer == "sgd" else 0.0)

    features = max(move("input"), move("hidden"))
    through_features = multiplier["readout"] + spread["readout"] + 1.0 + features
    return {
        "input": move("input"),
        "hidden": move("hidden"),
        "bias_1": move_bias("input"),
        "bias_2": move_bias("hidden"),
        "output through readout": move("readout"),
        "output through features": through_features,
    }


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("p", EVERY, ids=lambda p: p.name)
def test_powers_of_the_width_by_counting(p, optimizer):
    lazy = p in (hc.standard, hc.ntk)
    expected = dict.fromkeys(("input", "hidden", "bias_1", "bias_2"), -0.5 if lazy else 0.0)
    expected |= {"output through readout": 0.0, "output through features": 0.0}
    assert width_exponents(p, optimizer) == expected
