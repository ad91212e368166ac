"""Separation of classes: the definition by hand, what changes nothing, shapes of load curves, and infinite width."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hiddencodes as hc
from hiddencodes.sampling.separation import separation_of

MEASURES = ("trace", "pseudo-inverse")


def example(seed=0, n=30, units=9, classes=3):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    return rng.normal(size=(n, units)) + 2.0 * rng.normal(size=(classes, units))[labels], labels


def definition(x, labels, measure):
    within, between = np.zeros((2, x.shape[1], x.shape[1]))
    for label in np.unique(labels):
        own = x[labels == label]
        within += (own - own.mean(0)).T @ (own - own.mean(0)) / len(x)
        between += len(own) / len(x) * np.outer(own.mean(0) - x.mean(0), own.mean(0) - x.mean(0))
    if measure == "trace":
        return np.log(np.trace(within) / np.trace(between))
    return np.log(np.trace(within @ np.linalg.pinv(between, rcond=1e-10)))


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(("units", "classes"), [(9, 3), (2, 5), (40, 2)])
def test_features_and_kernels_give_the_definition(measure, units, classes):
    x, labels = example(units=units, classes=classes)
    expected = definition(x, labels, measure)
    np.testing.assert_allclose(hc.feature_separation(x, labels, measure), expected, rtol=1e-11)
    np.testing.assert_allclose(hc.data_separation(x @ x.T, labels, measure), expected, rtol=1e-11)


def test_leading_axes_are_kept_and_labels_may_be_any_integers():
    x, labels = example()
    both = np.stack([x, 2 * x[::-1]])
    found = hc.feature_separation(both, 7 * labels - 3)
    np.testing.assert_allclose(found, [definition(a, labels, "trace") for a in (x, 2 * x[::-1])], rtol=1e-12)
    np.testing.assert_allclose(hc.data_separation(both @ both.swapaxes(1, 2), labels), found, rtol=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(MEASURES), st.floats(0.01, 100.0), st.floats(-50.0, 50.0))
def test_rotations_shifts_scales_and_orders_change_nothing(seed, measure, scale, shift):
    x, labels = example(seed)
    rng = np.random.default_rng(seed + 1)
    rotation, _ = np.linalg.qr(rng.normal(size=(9, 9)))
    order = rng.permutation(len(x))
    moved = (scale * x @ rotation + shift * scale * rng.normal(size=9))[order][:, rng.permutation(9)]
    np.testing.assert_allclose(
        hc.feature_separation(moved, labels[order], measure),
        hc.feature_separation(x, labels, measure),
        rtol=1e-8,
        atol=1e-8,
    )


@pytest.mark.parametrize("measure", MEASURES)
def test_perfect_separation_none_and_nothing(measure):
    x, labels = np.array([[0.0], [0.0], [1.0], [1.0]]), np.array([0, 0, 1, 1])
    assert hc.feature_separation(x, labels, measure) == -np.inf
    assert hc.feature_separation(x, labels[[0, 2, 1, 3]], measure) == np.inf
    assert np.isnan(hc.feature_separation(np.ones((4, 2)), labels, measure))
    # One network that is not finite does not take the others with it.
    three = np.stack([x, np.full_like(x, np.nan), np.array([[0.0], [1.0], [4.0], [5.0]])])
    found = hc.feature_separation(three, labels, measure)
    assert found[0] == -np.inf
    assert np.isnan(found[1])
    assert np.isfinite(found[2])


def test_single_precision_kernels_give_the_pseudo_inverse():
    rng = np.random.default_rng(0)
    labels = np.arange(50) % 5
    x = 3 * rng.normal(size=(5, 2))[labels] + rng.normal(size=(50, 2))  # means of rank 2, not 4
    exact = hc.feature_separation(x, labels, "pseudo-inverse")
    single = hc.data_separation((x @ x.T).astype(np.float32), labels, "pseudo-inverse")
    np.testing.assert_allclose(single, exact, atol=1e-3)


@pytest.mark.parametrize("shift", [3.0, 30.0])
def test_single_precision_keeps_weak_directions_beside_a_large_common_mean(shift):
    rng = np.random.default_rng(1)
    labels = np.arange(400) % 10
    means = rng.normal(size=(10, 100)) * np.geomspace(1, 0.1, 10)[:, None]
    x = rng.normal(size=(400, 100)) + means[labels] + shift
    exact = hc.feature_separation(x, labels, "pseudo-inverse")
    single = hc.data_separation((x @ x.T).astype(np.float32), labels, "pseudo-inverse")
    np.testing.assert_allclose(single, exact, atol=1e-3)


# Numbers that are not exact in binary: what should be nothing is a rounding error.
DEGENERATE = {
    "all the same": (np.full((21, 4), 0.1), np.nan),
    "same class means": (
        example(1)[0][:9][np.array([range(9), [3, 1, 2, 0, 5, 8, 7, 6, 4]]).ravel()],
        np.inf,
    ),
    "no spread in classes": (example(2)[0][:3][np.arange(21) % 3] + 0.3, -np.inf),
}


@pytest.mark.parametrize("kind", DEGENERATE)
@pytest.mark.parametrize("measure", MEASURES)
def test_nothing_is_nothing_after_rounding(kind, measure):
    x, expected = DEGENERATE[kind]
    labels = np.arange(len(x)) // 9 if len(x) == 18 else np.arange(len(x)) % 3
    for found in (hc.feature_separation(x, labels, measure), hc.data_separation(x @ x.T, labels, measure)):
        np.testing.assert_equal(float(found), expected)
    members = (labels[:, None] == np.unique(labels)).astype(np.float32)
    averages = jnp.asarray(members / members.sum(0))
    if measure == "trace":
        np.testing.assert_equal(float(separation_of(jnp.asarray(x, jnp.float32), averages)), expected)


def test_a_curve_with_perfect_layers_has_no_shape():
    curve = hc.load_curve([1.0, -np.inf, -np.inf])
    assert np.isnan(curve.area)
    assert curve.loads[0] == np.inf


def test_layers_may_separate_before_anything_is_learned():
    corners = np.array([[1.0, 1], [-1, -1], [1, -1], [-1, 1]])
    x = corners + 0.05 * np.random.default_rng(0).normal(size=(4, 2))
    curve = hc.prior_load_curve(hc.relu, x @ x.T / 2, [0, 0, 1, 1], 3)
    assert curve.loads[0] > 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x, y: hc.data_separation(x[:9], y[:9]),
            "kernel: expected inner products, which are symmetric",
        ),
        (
            lambda x, y: hc.data_separation(1j * (x @ x.T), y),
            "kernel: expected real numbers, got the type complex128",
        ),
        (
            lambda x, y: hc.data_separation(np.zeros((0, 0)), []),
            r"labels: expected at least two classes, got \[\]",
        ),
        (
            lambda x, y: hc.feature_separation(x, np.where(y > 0, np.nan, y)),
            "labels: expected integers, got nan",
        ),
        (
            lambda x, y: hc.load_curve(x, inputs=np.ones(3)),
            r"inputs: expected one number for each curve, \(30,\), got the shape \(3,\)",
        ),
        (lambda x, y: hc.data_separation(x, y), r"kernel: expected .* got the shape \(30, 9\)"),
        (lambda x, y: hc.feature_separation(x, y[:-1]), "labels: expected one for each of 30 patterns"),
        (lambda x, y: hc.feature_separation(x, 0 * y), r"labels: expected at least two classes, got \[0\]"),
        (lambda x, y: hc.load_curve([1.0]), "separation: expected at least the inputs and one layer"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(*example())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=3, max_size=9))
def test_statistics_of_a_load_curve_are_those_of_its_loads(values):
    curve = hc.load_curve(values)
    np.testing.assert_allclose(curve.loads.sum(), curve.total_drop, atol=1e-12)
    np.testing.assert_allclose(-np.sum(np.diff(curve.loads)), curve.curvature, atol=1e-12)
    assert np.isnan(curve.area) if np.ptp(values) == 0 else abs(curve.area) < 1.0


@pytest.mark.parametrize("layers", [3, 7])
def test_the_area_of_a_parabola_is_known(layers):
    loads = 1.0 + 0.05 * np.arange(layers)
    d = 3.0 - np.concatenate([[0.0], np.cumsum(loads)])
    expected = 0.05 * layers * (layers - 1) / (12 * loads.sum())
    np.testing.assert_allclose(hc.load_curve(d).area, expected, rtol=1e-12)
    np.testing.assert_allclose(hc.load_curve(d[1:], inputs=d[0]).area, expected, rtol=1e-12)


def test_draws_of_the_prior_have_the_curve_of_infinite_width():
    task = hc.mnist((0, 1, 2), n_train=30, size=8)
    x = task.x_train.astype(np.float32)
    theory = hc.prior_load_curve(hc.relu, task.x_train @ task.x_train.T / task.n_inputs, task.labels_train, 2)
    found = []
    for width in (100, 200):
        mlp = hc.MLP(task.n_inputs, 3, width, 2, hc.relu, hc.ntk)
        layers = jax.jit(
            jax.vmap(lambda k, m=mlp: jnp.stack(m.apply(m.init(k), jnp.asarray(x)).postactivations))
        )
        values = hc.feature_separation(
            np.asarray(layers(jax.random.split(jax.random.key(width), 300))), task.labels_train
        )
        found.append((values.mean(0), values.var(0, ddof=1) / 300))
    # What is of order 1/N cancels.
    mean, error = 2 * found[1][0] - found[0][0], np.sqrt(4 * found[1][1] + found[0][1])
    assert np.all(np.abs(mean - theory.separation[1:]) < 4 * error)
    assert np.all(theory.loads < 0)
    assert error.max() < 0.02


def test_the_observable_is_the_measure():
    task = hc.mnist((0, 1, 2), counts=[3, 4, 5], size=6)
    mlp = hc.MLP(task.n_inputs, 3, 8, 2, hc.tanh, hc.mean_field)
    posterior = hc.Posterior(mlp, task, n_temperature=0.1)
    run = hc.sample(
        posterior,
        chains=2,
        draws=1,
        warmup=5,
        observables=[hc.separation],
        verbose=False,
        precision="float64",
    )
    weights = jax.tree.map(lambda a: jnp.asarray(a[0, 1]), hc.final_weights(run))
    layers = mlp.apply(weights, jnp.asarray(task.x_train)).postactivations
    expected = [hc.feature_separation(np.asarray(h), task.labels_train) for h in layers]
    np.testing.assert_allclose(run["posterior"]["separation"].values[0, 1, -1], expected, rtol=1e-5)
