import dataclasses
import itertools

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hiddencodes as hc
from hiddencodes.models.mlp import weight_shapes

EVERY = (hc.standard, hc.ntk, hc.mean_field, hc.mup)
N0, N, P = 4, 6, 3


def network(p=hc.mean_field, depth=2, bias=True, n_outputs=3, activation=hc.tanh) -> hc.MLP:
    return hc.MLP(N0, n_outputs, N, depth, activation, p, bias)


def random_weights(mlp: hc.MLP, dtype=np.float64):
    """Weights of order one that owe nothing to the network's own initialization."""
    rng = np.random.default_rng(11)
    sizes = [mlp.n_inputs] + [mlp.width] * mlp.depth
    params = {}
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes), start=1):
        params[f"hidden_{layer}"] = {"kernel": rng.standard_normal((fan_in, fan_out)).astype(dtype)}
        if mlp.bias:
            params[f"hidden_{layer}"]["bias"] = rng.standard_normal(fan_out).astype(dtype)
    params["readout"] = {"kernel": rng.standard_normal((mlp.width, mlp.n_outputs)).astype(dtype)}
    return params


def inputs(dtype=np.float64) -> np.ndarray:
    return np.random.default_rng(12).standard_normal((P, N0)).astype(dtype)


def as_jax(params):
    return jax.tree.map(jnp.asarray, params)


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("p", EVERY, ids=lambda p: p.name)
def test_forward_pass_by_hand(p, depth, bias, n_outputs):
    mlp = network(p, depth, bias, n_outputs)
    params, x = random_weights(mlp), inputs()
    found = mlp.apply(as_jax(params), jnp.asarray(x))

    hidden = (lambda n: 1.0) if p is hc.standard else (lambda n: 1.0 / np.sqrt(n))
    readout = {"standard": 1.0, "ntk": 1.0 / np.sqrt(N), "mean_field": 1.0 / N, "mup": 1.0 / N}[p.name]
    phi, fan_in = x, N0
    assert len(found.preactivations) == len(found.postactivations) == depth
    # Sums of up to six terms of order one through four layers: some tens of roundings.
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-14)
    for layer in range(depth):
        weights = params[f"hidden_{layer + 1}"]
        z = hidden(fan_in) * phi @ weights["kernel"] + (weights["bias"] if bias else 0.0)
        phi, fan_in = np.tanh(z), N
        close(found.preactivations[layer], z)
        close(found.postactivations[layer], phi)
    assert found.output.shape == (P, n_outputs)
    close(found.output, readout * phi @ params["readout"]["kernel"])


@pytest.mark.parametrize("name", ["n_inputs", "n_outputs", "width", "depth"])
@pytest.mark.parametrize("value", [0, -3, True])
def test_sizes_are_positive_integers(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected a positive integer, got {value}"):
        dataclasses.replace(network(), **{name: value})


@pytest.mark.parametrize("bias", [False, True])
def test_names_shapes_and_number_of_weights(bias):
    mlp = network(bias=bias)
    shapes = {
        "hidden_1": {"kernel": (N0, N), "bias": (N,)},
        "hidden_2": {"kernel": (N, N), "bias": (N,)},
        "readout": {"kernel": (N, 3)},
    }
    if not bias:
        shapes = {layer: {"kernel": leaves["kernel"]} for layer, leaves in shapes.items()}
    params = mlp.init(jax.random.key(0))
    assert jax.tree.map(lambda leaf: leaf.shape, params) == shapes
    assert jax.tree.map(lambda leaf: leaf.shape, weight_shapes(mlp)) == shapes
    assert [(layer.name, layer.index, (layer.fan_in, layer.fan_out)) for layer in mlp.layers()] == [
        (name, index, leaves["kernel"]) for index, (name, leaves) in enumerate(shapes.items())
    ]
    assert mlp.n_parameters == sum(leaf.size for leaf in jax.tree.leaves(params))


def test_is_a_flax_module():
    mlp = network()
    x = jnp.asarray(inputs())
    assert isinstance(mlp.network, nn.Module)
    variables = mlp.network.init(jax.random.key(3), x)
    jax.tree.map(np.testing.assert_array_equal, variables["params"], mlp.init(jax.random.key(3)))
    found = jax.jit(mlp.network.apply)(variables, x)
    expected = jax.jit(mlp.apply)(variables["params"], x)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


class Doubled(nn.Module):
    inside: nn.Module

    @nn.compact
    def __call__(self, x):
        return 2.0 * self.inside(x).output


def test_works_inside_another_flax_module():
    mlp = network()
    x = jnp.asarray(inputs())
    outer = Doubled(mlp.network)
    variables = outer.init(jax.random.key(0), x)
    output = mlp.apply(variables["params"]["inside"], x).output
    np.testing.assert_array_equal(outer.apply(variables, x), 2.0 * output)


@pytest.mark.parametrize("x_dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_computes_in_the_floating_point_type_of_the_weights(dtype, x_dtype):
    mlp = network(activation=hc.sigmoidal)
    found = mlp.apply(as_jax(random_weights(mlp, dtype)), jnp.asarray(inputs(x_dtype)))
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype(dtype)}


def test_single_precision_agrees_with_double_precision():
    mlp = network()
    double, single = (
        mlp.apply(as_jax(random_weights(mlp, dtype)), jnp.asarray(inputs(dtype))).output
        for dtype in (np.float64, np.float32)
    )
    # Some tens of roundings (6e-8 each) of numbers of order one.
    np.testing.assert_allclose(single, double, rtol=0, atol=5e-6)


def test_weights_of_another_shape_are_refused():
    params = as_jax(random_weights(network()))
    with pytest.raises(flax.errors.ScopeParamShapeError):
        dataclasses.replace(network(), width=N + 1).apply(params, jnp.asarray(inputs()))


def test_equal_networks_share_compiled_programs():
    traces = []

    def output(params, x, mlp):
        traces.append(mlp)
        return mlp.apply(params, x).output

    compiled = jax.jit(output, static_argnames="mlp")
    weights, x = as_jax(random_weights(network())), jnp.asarray(inputs())
    for _ in range(2):  # a network made anew, of an activation made anew
        compiled(weights, x, network(activation=hc.leaky_relu(0.1)))
    assert len(traces) == 1
    for other in (network(activation=hc.leaky_relu(0.2)), network(hc.ntk), network(hc.mup)):
        compiled(weights, x, other)
    assert len(traces) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"n_inputs": 5},
        {"n_outputs": 1},
        {"width": 7},
        {"depth": 3},
        {"activation": hc.relu},
        {"parameterization": hc.mup},
        {"bias": False},
    ],
    ids=lambda change: next(iter(change)),
)
def test_equality_and_hash(change):
    assert network() == network()
    assert hash(network()) == hash(network())
    assert network().network == network().network
    assert dataclasses.replace(network(), **change) != network()


def test_jit_vmap_and_grad():
    mlp = network()
    x = jnp.asarray(inputs())
    stack = jax.tree.map(lambda w: jnp.stack([k * w for k in range(5)]), random_weights(mlp))
    batched = jax.jit(jax.vmap(mlp.apply, in_axes=(0, None)))(stack, x).output
    one_by_one = [mlp.apply(jax.tree.map(lambda leaf, i=i: leaf[i], stack), x).output for i in range(5)]
    np.testing.assert_allclose(batched, np.stack(one_by_one), rtol=0, atol=1e-14)

    # The output is linear in the readout: its derivative is the last hidden layer.
    params = as_jax(random_weights(mlp))
    gradient = jax.grad(lambda w: mlp.apply(w, x).output[0, 1])(params)
    expected = np.zeros((N, 3))
    expected[:, 1] = mlp.apply(params, x).postactivations[-1][0] / N
    np.testing.assert_allclose(gradient["readout"]["kernel"], expected, rtol=0, atol=1e-15)
