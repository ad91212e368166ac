"""Batch normalization: by hand, what it forgets, and the plain network that it is at the end."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_training import QUIET, TASK, TRAIN_PREDICTIONS, posterior, random_start, weights_of

import hiddencodes as hc


@pytest.fixture(scope="module")
def normalized_run():
    """Batch normalization with dropout, on inputs that are far from normalized."""
    x = 3.0 + 2.0 * TASK.x_train
    task = hc.Task(
        x,
        TASK.y_train,
        TASK.labels_train,
        x[:5],
        TASK.y_train[:5],
        TASK.labels_train[:5],
        TASK.class_names,
        "{}",
    )
    p = posterior(hc.relu, task=task, bias=True, depth=2)
    observables = [*hc.training_observables(5), TRAIN_PREDICTIONS]
    options = {
        "networks": 2,
        "epochs": 30,
        "snapshots": 3,
        "batch_size": 10,
        "batch_norm": True,
        "observables": observables,
    }
    return p, hc.train(p, **options, **QUIET)


def test_a_normalized_network_is_a_plain_one_at_the_end(normalized_run):
    p, run = normalized_run
    for chain in range(2):
        weights = weights_of(run, chain=chain)
        activations = p.mlp.apply(weights, jnp.asarray(p.task.x_train))
        found = run["posterior"]["train_predictions"].values[0, chain, -1]
        np.testing.assert_allclose(activations.output, found, rtol=1e-9)


@pytest.mark.slow
def test_normalization_begins_with_standard_preactivations(normalized_run):
    p, _ = normalized_run
    start = random_start(p)
    start = {
        k: {n: np.zeros_like(v) if n == "bias" else v for n, v in layer.items()} for k, layer in start.items()
    }
    run = hc.train(
        p, networks=1, epochs=1, snapshots=1, learning_rate=0.0, batch_norm=True, start=start, **QUIET
    )
    z = p.mlp.apply(weights_of(run), jnp.asarray(p.task.x_train)).preactivations
    for layer in z:
        np.testing.assert_allclose(layer.mean(0), 0, atol=1e-9)
        np.testing.assert_allclose(layer.var(0), 1, atol=1e-3)
    # The scale and the offset of the inputs are forgotten.
    moved = hc.Task(
        7.0 * p.task.x_train - 2.0, p.task.y_train, p.task.labels_train, p.task.x_test, p.task.y_test, p.task.labels_test,
        p.task.class_names, "{}",
    )  # fmt: skip
    other = hc.train(
        hc.Posterior(p.mlp, moved, likelihood="bernoulli", temperature=1.0), networks=1, epochs=3, snapshots=1,
        batch_norm=True, start=start, **QUIET,
    )  # fmt: skip
    same = hc.train(p, networks=1, epochs=3, snapshots=1, batch_norm=True, start=start, **QUIET)
    np.testing.assert_allclose(other["posterior"]["train_loss"], same["posterior"]["train_loss"], rtol=1e-4)


@pytest.mark.slow
def test_normalized_full_batches_are_optax_by_hand(normalized_run):
    p, _ = normalized_run
    start = random_start(p)
    run = hc.train(
        p,
        networks=1,
        epochs=4,
        snapshots=1,
        learning_rate=0.3,
        batch_norm=True,
        start=start,
        weight_decay=0.01,
        **QUIET,
    )
    w = jax.tree.map(lambda leaf: jnp.asarray(leaf[0, 0]), start)
    gains = {"hidden_1": jnp.ones(7), "hidden_2": jnp.ones(7), "input": (jnp.ones(12), jnp.zeros(12))}
    y = jnp.asarray(p.task.y_train)
    standard = lambda z: (z - z.mean(0, keepdims=True)) / jnp.sqrt(z.var(0, keepdims=True) + 1e-5)

    def loss(w, gains):
        h = standard(jnp.asarray(p.task.x_train)) * gains["input"][0][None, :] + gains["input"][1][None, :]
        for name in ("hidden_1", "hidden_2"):
            h = jax.nn.relu(gains[name][None, :] * standard(h @ w[name]["kernel"]) + w[name]["bias"][None, :])
        decay = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(w))
        return jnp.mean(jnp.log(1 + jnp.exp(-y * (h @ w["readout"]["kernel"])))) + 0.005 * decay

    for _ in range(4):
        steps = jax.grad(loss, argnums=(0, 1))(w, gains)
        w, gains = jax.tree.map(lambda a, g: a - 0.3 * g, (w, gains), steps)
    decay = 0.005 * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(w))
    found = run["posterior"]["train_loss"].values[0, 0, -1] / 40
    np.testing.assert_allclose(found, loss(w, gains) - decay, rtol=1e-8)


def test_normalization_needs_biases():
    with pytest.raises(ValueError, match="batch_norm: networks need bias=True"):
        hc.train(posterior(), batch_norm=True, **QUIET)


def by_hand(p, start, steps, rate):
    """Steps of gradient descent on full batches, and the network as averages of its moments along training make it."""
    w = jax.tree.map(lambda leaf: jnp.asarray(leaf[0, 0]), start)
    gains = {"hidden_1": jnp.ones(7), "hidden_2": jnp.ones(7), "input": (jnp.ones(12), jnp.zeros(12))}
    x, y = jnp.asarray(p.task.x_train), jnp.asarray(p.task.y_train)

    def forward(w, gains, moments):
        used, h = [], x
        for i, name in enumerate((None, "hidden_1", "hidden_2")):
            z = h if name is None else h @ w[name]["kernel"]
            used.append((z.mean(0), z.var(0)))
            mean, variance = used[-1] if moments is None else moments[i]
            h = (z - mean[None, :]) / jnp.sqrt(variance[None, :] + 1e-5)
            if name is None:
                h = h * gains["input"][0][None, :] + gains["input"][1][None, :]
            else:
                h = jax.nn.relu(gains[name][None, :] * h + w[name]["bias"][None, :])
        return h @ w["readout"]["kernel"], used

    def loss(w, gains):
        f, used = forward(w, gains, None)
        return jnp.mean(jnp.log(1 + jnp.exp(-y * f))), used

    running = [(jnp.zeros(n), jnp.ones(n)) for n in (12, 7, 7)]
    losses = []
    for _ in range(steps):
        (value, used), steps_down = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(w, gains)
        losses.append(float(value))
        running = [
            (0.9 * m + 0.1 * mean, 0.9 * v + 0.1 * variance * 40 / 39)
            for (m, v), (mean, variance) in zip(running, used, strict=True)
        ]
        w, gains = jax.tree.map(lambda a, g: a - rate * g, (w, gains), steps_down)
    return forward(w, gains, running)[0], losses


def test_running_averages_are_those_of_deep_learning_libraries(normalized_run):
    p, _ = normalized_run
    start = random_start(p)
    run = hc.train(
        p, networks=1, epochs=6, snapshots=2, learning_rate=0.3, batch_norm="running", start=start,
        observables=[TRAIN_PREDICTIONS], **QUIET,
    )  # fmt: skip
    expected, losses = by_hand(p, start, 6, 0.3)
    np.testing.assert_allclose(
        run["posterior"]["train_predictions"].values[0, 0, -1], expected, rtol=1e-8, atol=1e-10
    )
    # The same network stops after the step whose loss is the first below a limit.
    limit = 0.5 * (losses[2] + losses[3])
    stopped = hc.train(
        p, networks=1, epochs=6, snapshots=2, learning_rate=0.3, batch_norm="running", start=start,
        observables=[TRAIN_PREDICTIONS], stop_below=limit, **QUIET,
    )  # fmt: skip
    assert stopped["sample_stats"]["n_steps"].values[0, 0].tolist() == [3, 1]
    np.testing.assert_allclose(
        stopped["posterior"]["train_predictions"].values[0, 0, -1],
        by_hand(p, start, 4, 0.3)[0],
        rtol=1e-8,
        atol=1e-10,
    )


def test_with_batches_the_mean_over_an_epoch_decides_when_to_stop():
    # Weights that do not move: the mean over any epoch is that over all patterns, and single batches are on both sides of it.
    p = posterior(bias=True)
    options = {
        "networks": 2, "epochs": 3, "snapshots": 3, "learning_rate": 0.0, "batch_size": 10, "start": random_start(p, networks=2), **QUIET,
    }  # fmt: skip
    run = hc.train(p, **options)
    least = float(run["posterior"]["train_loss"].values[0, 0, 0]) / 40
    steps = [
        hc.train(p, stop_below=limit, **options)["sample_stats"]["n_steps"].values[0, 0].tolist()
        for limit in (least * (1 - 1e-6), least * (1 + 1e-6))
    ]
    assert steps == [[4, 4, 4], [4, 0, 0]]


def test_averages_without_normalization_are_refused():
    with pytest.raises(ValueError, match="batch_norm: expected False, True or 'running', got 'sometimes'"):
        hc.train(posterior(bias=True), batch_norm="sometimes", **QUIET)
    with pytest.raises(ValueError, match="stop_below: expected finite numbers of at least 0"):
        hc.train(posterior(), stop_below=-1.0, **QUIET)


def test_the_last_batch_is_normalized_over_its_own_patterns():
    chosen = np.append(np.unique(TASK.labels_train, return_index=True)[1], 1)
    task = hc.Task(
        TASK.x_train[chosen], TASK.y_train[chosen], TASK.labels_train[chosen], TASK.x_test, TASK.y_test, TASK.labels_test, TASK.class_names, "{}"
    )  # fmt: skip
    p = posterior(hc.relu, task=task, bias=True)
    found = hc.train(
        p, networks=1, epochs=1, snapshots=1, batch_size=3, learning_rate=0.0, batch_norm="running", start=random_start(p),
        observables=[hc.Observable("kernel", ("hidden_1_from", "hidden_1_to"), lambda c: c.params["hidden_1"]["kernel"], invariant=False)], **QUIET,
    )["units"]["kernel"].values[0, 0, -1]  # fmt: skip
    kernel = random_start(p)["hidden_1"]["kernel"][0, 0]
    x, close = task.x_train, []
    for order in itertools.permutations(range(5)):
        running = [np.zeros(12), np.ones(12), np.zeros(7), np.ones(7)]
        for batch in (list(order[:3]), list(order[3:])):
            n = len(batch)
            z = (x[batch] - x[batch].mean(0)) / np.sqrt(x[batch].var(0) + 1e-5) @ kernel
            new = (x[batch].mean(0), x[batch].var(0) * n / (n - 1), z.mean(0), z.var(0) * n / (n - 1))
            running = [0.9 * old + 0.1 * value for old, value in zip(running, new, strict=True)]
        plain = kernel / np.sqrt(running[3] + 1e-5)[None, :] / np.sqrt(running[1] + 1e-5)[:, None]
        close.append(np.abs(plain - found).max() / np.abs(found).max())
    assert min(close) < 1e-10


def test_batches_of_one_are_refused():
    with pytest.raises(ValueError, match="batch_size: a batch of one pattern has no variance"):
        hc.train(posterior(bias=True), batch_norm=True, batch_size=13, **QUIET)


def test_what_the_first_layer_reads_is_an_observable():
    p = posterior(hc.relu, bias=True)
    options = {
        "networks": 1,
        "epochs": 1,
        "snapshots": 1,
        "learning_rate": 0.0,
        "observables": [hc.input_separation],
        **QUIET,
    }
    x, labels = TASK.x_train, TASK.labels_train
    plain, normal = (
        hc.train(p, **more, **options)["posterior"]["input_separation"].values[0, 0, -1]
        for more in ({}, {"batch_norm": True})
    )
    np.testing.assert_allclose(plain, hc.feature_separation(x, labels), rtol=1e-6)
    scaled = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    np.testing.assert_allclose(normal, hc.feature_separation(scaled, labels), rtol=1e-6)
    # Gains of inputs are trained: they bring out what tells classes apart.
    options |= {"learning_rate": 0.5, "epochs": 30, "batch_norm": True}
    assert hc.train(p, **options)["posterior"]["input_separation"].values[0, 0, -1] < normal - 0.01
