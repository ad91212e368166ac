import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiddencodes.models.activations import (
    Activation,
    activation,
    clipped_relu,
    erf,
    hard_tanh,
    leaky_relu,
    linear,
    relu,
    shifted_relu,
    sigmoidal,
    tanh,
)

EVERY = (
    linear,
    sigmoidal,
    erf,
    tanh,
    relu,
    hard_tanh,
    leaky_relu(0.2),
    shifted_relu(0.3),
    clipped_relu(2.0),
)


def by_hand(each: Activation, z: float) -> float:
    parameters = dict(each.parameters)
    return {
        "linear": lambda: z,
        "sigmoidal": lambda: 0.5 * math.erfc(-0.5 * math.sqrt(math.pi) * z),
        "erf": lambda: math.erf(z),
        "tanh": lambda: math.tanh(z),
        "relu": lambda: max(z, 0.0),
        "hard_tanh": lambda: min(max(z, -1.0), 1.0),
        "leaky_relu": lambda: z if z > 0 else parameters["slope"] * z,
        "shifted_relu": lambda: max(z - parameters["shift"], 0.0),
        "clipped_relu": lambda: min(max(z, 0.0), parameters["ceiling"]),
    }[each.name]()


@pytest.mark.parametrize("each", EVERY, ids=str)
def test_values(each: Activation) -> None:
    z = np.linspace(-4.0, 4.0, 41)
    expected = np.array([by_hand(each, float(point)) for point in z])
    # A few units in the last place of numbers up to 4.
    np.testing.assert_allclose(each(jnp.asarray(z)), expected, rtol=0, atol=8 * np.finfo(float).eps)


@pytest.mark.parametrize("each", EVERY, ids=str)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_keeps_the_floating_point_type_and_is_differentiable(each: Activation, dtype: type) -> None:
    z = jnp.linspace(-3.0, 3.0, 7, dtype=dtype)
    value, slope = jax.jvp(each, (z,), (jnp.ones_like(z),))
    assert value.dtype == slope.dtype == dtype
    assert bool(jnp.all(jnp.isfinite(slope)))


@pytest.mark.parametrize("each", EVERY, ids=str)
def test_what_it_says_about_its_shape(each: Activation) -> None:
    z = np.linspace(-3.0, 3.0, 61) + 0.0123
    values = np.asarray(each(jnp.asarray(z)))
    doubled = np.asarray(each(jnp.asarray(2.0 * z)))
    assert np.allclose(doubled, 2.0 * values, rtol=0, atol=1e-14) == each.positively_homogeneous

    curvature = values[2:] - 2.0 * values[1:-1] + values[:-2]
    kinked = np.zeros(curvature.shape, dtype=bool)
    for kink in each.kinks:
        kinked |= (z[:-2] < kink) & (kink < z[2:])
    assert np.all(np.abs(curvature[kinked]) > 1e-6)
    assert np.allclose(curvature[~kinked], 0.0, rtol=0, atol=1e-14) == each.piecewise_linear


def test_equal_activations_share_a_compiled_program() -> None:
    traces = []

    @jax.jit
    def once(z: jax.Array) -> jax.Array:
        traces.append(z)
        return z

    def run(each: Activation, z: jax.Array) -> jax.Array:
        traces.append(each)
        return each(z)

    program = jax.jit(run, static_argnums=0)
    z = once(jnp.ones(3))
    traces.clear()
    program(leaky_relu(0.25), z)
    program(activation("leaky_relu", slope=0.25), z)
    assert len(traces) == 1
    program(leaky_relu(0.5), z)
    assert len(traces) == 2


@given(st.floats(-5.0, 5.0), st.floats(-5.0, 5.0))
@settings(max_examples=50, deadline=None)
def test_equality_follows_name_and_parameters(first: float, second: float) -> None:
    assert (leaky_relu(first) == leaky_relu(second)) == (first == second)
    assert hash(leaky_relu(first)) == hash(leaky_relu(first))
    assert leaky_relu(first) != shifted_relu(first)


def test_an_impostor_is_not_equal() -> None:
    assert Activation("relu", jnp.tanh) != relu


@pytest.mark.parametrize("each", EVERY, ids=str)
def test_name_and_parameters_give_it_back(each: Activation) -> None:
    assert activation(each.name, **dict(each.parameters)) == each


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("softmax", {}, "unknown activation 'softmax'; known: .*clipped_relu.*tanh"),
        ("relu", {"slope": 0.1}, "'relu' takes no parameters"),
        ("leaky_relu", {"shift": 0.1}, "takes only 'slope'"),
        ("shifted_relu", {}, "needs 'shift'"),
        ("shifted_relu", {"shift": math.nan}, "shift must be finite, got nan"),
        ("leaky_relu", {"slope": math.inf}, "slope must be finite, got inf"),
        ("clipped_relu", {"ceiling": math.inf}, "ceiling must be finite, got inf"),
        ("clipped_relu", {"ceiling": 0.0}, "ceiling must be positive, got 0.0"),
    ],
)
def test_refuses(name: str, parameters: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        activation(name, **parameters)


def test_refuses_kinks_out_of_order() -> None:
    with pytest.raises(ValueError, match="kinks"):
        Activation("bent", jnp.tanh, kinks=(1.0, 0.0))
