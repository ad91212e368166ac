"""Trained ensembles: against optax by hand, closed forms of noisy objectives, resume, and one program for a whole grid."""

import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compilations import compilations
from interrupted import assert_same
from small_training import QUIET, TASK, TRAIN_PREDICTIONS, posterior, random_start, weights_of

import hiddencodes as hc
from hiddencodes.sampling.training import objective
from hiddencodes.sampling.training_setup import weight_decay
from hiddencodes.sampling.training_target import Knobs, Recipe, TrainingData, TrainingTarget

KNOBS = Knobs(0, 0.1, {"hidden_1": {"kernel": 0.0}, "readout": {"kernel": 0.0}}, 0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("optimizer", "make"),
    [
        pytest.param("sgd", lambda: optax.sgd(0.3), marks=pytest.mark.slow),
        (hc.Optimizer("sgd", (("momentum", 0.9),)), lambda: optax.sgd(0.3, momentum=0.9)),
        ("adam", lambda: optax.adam(0.3)),
    ],
    ids=["sgd", "momentum", "adam"],
)
def test_full_batches_are_optax_by_hand(optimizer, make):
    p = posterior(bias=True)
    start = random_start(p)
    run = hc.train(
        p, networks=1, epochs=6, snapshots=3, optimizer=optimizer, learning_rate=0.3, weight_decay={"hidden_1": 0.2},
        trained=("hidden_1",), start=start, **QUIET,
    )  # fmt: skip
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf[0, 0]), start)
    y, x = jnp.asarray(TASK.y_train), jnp.asarray(TASK.x_train)

    def loss(layer):
        f = jnp.tanh(x @ layer["kernel"] + layer["bias"][None, :]) @ params["readout"]["kernel"]
        decay = sum(jnp.sum(leaf**2) for leaf in layer.values())
        return jnp.mean(jnp.log(1 + jnp.exp(-y * f))) + 0.1 * decay

    layer, transformation = params["hidden_1"], make()
    memory, losses = transformation.init(layer), []
    for _ in range(6):
        gradient = jax.grad(loss)(layer)
        with jax.numpy_dtype_promotion("standard"):
            changes, memory = transformation.update(gradient, memory, layer)
        layer = optax.apply_updates(layer, changes)
        f = jnp.tanh(x @ layer["kernel"] + layer["bias"][None, :]) @ params["readout"]["kernel"]
        losses.append(jnp.sum(jnp.log(1 + jnp.exp(-y * f))))
    found = weights_of(run)
    for leaf in ("kernel", "bias"):
        np.testing.assert_allclose(found["hidden_1"][leaf], layer[leaf], rtol=1e-10)
    np.testing.assert_array_equal(found["readout"]["kernel"], params["readout"]["kernel"])
    np.testing.assert_allclose(run["posterior"]["train_loss"].values[0, 0], losses[1::2], rtol=1e-10)


def moved(p, **options):
    """By how much weights change in one epoch of infinitesimal steps."""
    start = random_start(p)
    run = hc.train(p, networks=1, epochs=1, snapshots=1, start=start, learning_rate=1e-7, **options, **QUIET)
    return jax.tree.map(lambda after, before: after - before[0, 0], weights_of(run), start)


def test_an_epoch_of_minibatches_sees_every_pattern_once():
    # Four batches of ten are four full-batch steps, if every pattern counts once.
    p = posterior()
    whole, batches = moved(p), moved(p, batch_size=10)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(4 * a, b, rtol=1e-4, atol=1e-11), whole, batches)


@pytest.mark.parametrize("loss", ["sum", pytest.param("mean", marks=pytest.mark.slow)])
def test_the_last_batch_of_an_epoch_is_smaller_and_counts_by_its_patterns(loss):
    # Where all patterns are alike, so are all batches: six of them, of seven patterns and one of five.
    one = hc.ConditionTask(np.ones((2, 12)), np.array([[1.0], [-1.0]]), 0.0).sample(40)
    same = hc.Task(
        one.x_train,
        np.ones((40, 1)),
        one.labels_train,
        one.x_test,
        one.y_test,
        one.labels_test,
        one.class_names,
        "{}",
    )
    p = posterior(task=same)
    whole, batches = moved(p, loss=loss), moved(p, loss=loss, batch_size=7)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(6 * a, b, rtol=1e-4, atol=1e-11), whole, batches)


@pytest.mark.slow
def test_minibatches_of_a_summed_loss_have_the_minimum_of_all():
    p = posterior(hc.relu, task=hc.xor_conditions(1.0, 12).sample(64))
    options = {
        "networks": 2,
        "epochs": 600,
        "snapshots": 1,
        "loss": "sum",
        "weight_decay": "prior",
        "learning_rate": 2e-3,
    }
    runs = [
        hc.train(p, batch_size=size, schedule="cosine", **{**options, **more}, **QUIET)
        for size, more in ((None, {"epochs": 4800}), (8, {}))
    ]
    whole, batches = (run["posterior"]["train_loss"].values.mean() for run in runs)
    assert whole < 0.5 * 64 * np.log(2)
    assert batches == pytest.approx(whole, rel=0.05)


def test_accuracy_counts_signs():
    task = hc.ConditionTask(np.eye(12)[:8], np.array([[1.0]] + [[-1.0]] * 7), 0.3).sample(40)
    run = hc.train(
        posterior(task=task),
        networks=2,
        epochs=5,
        snapshots=1,
        observables=[hc.train_accuracy, TRAIN_PREDICTIONS],
        **QUIET,
    )
    right = np.sign(run["posterior"]["train_predictions"].values[0, :, 0]) == task.y_train
    np.testing.assert_allclose(run["posterior"]["train_accuracy"].values[0, :, 0], right.mean((1, 2)))


def test_cosine_ends_where_it_says():
    p = posterior()
    options = {
        "networks": 1,
        "epochs": 4,
        "snapshots": 4,
        "start": random_start(p),
        "schedule": "cosine",
    } | QUIET
    run = hc.train(p, learning_rate=0.5, **options)
    layer = jax.tree.map(lambda leaf: jnp.asarray(leaf[0, 0]), random_start(p))
    gradient = jax.grad(lambda w: -p.log_density(w) / 40 - 0.5 * sum(
        jnp.sum((leaf / s) ** 2) for leaf, s in zip(jax.tree.leaves(w), jax.tree.leaves(p.data().prior_std), strict=True)
    ) / 40)  # fmt: skip
    for step in range(4):
        rate = 0.25 * (1 + np.cos(np.pi * step / 4))
        layer = jax.tree.map(lambda w, g, rate=rate: w - rate * g, layer, gradient(layer))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), weights_of(run), layer)


@pytest.mark.parametrize("average", [True, False])
def test_decay_by_the_prior_is_the_posterior(average):
    p = posterior(hc.relu, likelihood="gaussian", temperature=0.3, depth=2, bias=True)
    count = 40 if average else 1
    recipe = Recipe(hc.Optimizer("sgd"), 1, None, average, ("hidden_1", "hidden_2", "readout"), ())
    target = TrainingTarget((p.mlp,), p.likelihood, (), recipe)
    decay = jax.tree.map(lambda each: each[0], weight_decay("prior", [p], count))
    data = TrainingData(p.data(), KNOBS._replace(weight_decay=decay))
    w = p.sample_prior(jax.random.key(1))
    by_hand = jax.grad(lambda w: -0.3 / count * p.log_density(w))(w)
    found = jax.grad(lambda w: objective(target, jax.random.key(0), w, {}, data, None, None)[0])(w)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), found, by_hand)


@pytest.mark.parametrize("kind", ["label_noise", "input_noise", "dropout"])
def test_the_mean_of_a_noisy_objective_is_its_closed_form(kind):
    p = posterior(hc.linear, likelihood="gaussian")
    recipe = Recipe(hc.Optimizer("sgd"), 1, None, True, ("hidden_1", "readout"), (), noisy=(kind,))
    target = TrainingTarget((p.mlp,), p.likelihood, (), recipe)
    data = TrainingData(p.data(), KNOBS._replace(**{kind: 0.3}))
    w = p.sample_prior(jax.random.key(1))
    keys = jax.random.split(jax.random.key(2), 4000)
    values = jax.lax.map(lambda k: objective(target, k, w, {}, data, None, None)[0], keys)
    x, y = TASK.x_train, TASK.y_train
    h = x @ w["hidden_1"]["kernel"]
    a = np.asarray(w["readout"]["kernel"])
    f = h @ a
    clean = 0.5 * np.mean(np.sum((y - f) ** 2, 1))
    if kind == "label_noise":
        expected = 0.7 * clean + 0.3 * 0.5 * np.mean((y[:, 0][None, :] - f[:, 0][:, None]) ** 2)
    elif kind == "input_noise":
        expected = clean + 0.5 * (0.3 * x.std()) ** 2 * np.sum((w["hidden_1"]["kernel"] @ a) ** 2)
    else:
        expected = clean + 0.5 * 0.3 / 0.7 * np.mean(np.sum((np.asarray(h) * a[:, 0]) ** 2, 1))
    error = np.std(values) / np.sqrt(len(values))
    assert error > 0
    assert abs(np.mean(values) - expected) < 5 * error


@pytest.mark.slow
def test_rates_of_the_parameterization_make_standard_and_ntk_the_same_functions():
    ntk, standard = posterior(parameterization=hc.ntk), posterior()
    start = random_start(ntk)
    scaled = {
        "hidden_1": {"kernel": start["hidden_1"]["kernel"] / np.sqrt(12)},
        "readout": {"kernel": start["readout"]["kernel"] / np.sqrt(7)},
    }
    options = {"networks": 1, "epochs": 10, "snapshots": 5, "layer_rates_of": "parameterization", **QUIET}
    one, two = hc.train(ntk, start=start, **options), hc.train(standard, start=scaled, **options)
    np.testing.assert_allclose(
        one["posterior"]["condition_kernel"], two["posterior"]["condition_kernel"], rtol=1e-9
    )
    assert (
        np.max(np.abs(one["posterior"]["train_loss"].values[..., -1] - one["initial"]["train_loss"].values))
        > 1e-3
    )


@pytest.fixture(scope="module")
def grid():
    """Two activations and two tasks in one program."""
    tasks = [hc.xor_conditions(s, 12).sample(40) for s in (0.5, 1.0)]
    return [posterior(activation, task) for activation in (hc.tanh, hc.relu) for task in tasks]


OPTIONS = {"networks": 2, "epochs": 8, "snapshots": 4, "batch_size": 8, **QUIET}


@pytest.mark.slow
def test_a_grid_is_its_points(grid):
    together = hc.train(grid, learning_rate=[0.1, 0.2, 0.3, 0.4], **OPTIONS)
    assert together["constant_data"]["activation"].values.tolist() == ["tanh", "tanh", "relu", "relu"]
    start = random_start(grid[0], 4, 2)
    together = hc.train(
        grid, learning_rate=[0.1, 0.2, 0.3, 0.4], start=start, **{**OPTIONS, "batch_size": None}
    )
    for i, p in enumerate(grid):
        own = jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], start)
        alone = hc.train(p, learning_rate=0.1 * (i + 1), start=own, **{**OPTIONS, "batch_size": None})
        np.testing.assert_allclose(
            together["posterior"]["condition_kernel"].values[i],
            alone["posterior"]["condition_kernel"].values[0],
            rtol=1e-9,
        )


@pytest.mark.slow
def test_vmap_is_the_loop(grid):
    runs = [hc.train(grid, batching=batching, **OPTIONS) for batching in ("loop", "vmap")]
    np.testing.assert_allclose(
        runs[0]["posterior"]["condition_kernel"], runs[1]["posterior"]["condition_kernel"], rtol=1e-9
    )


def test_other_data_rates_and_keys_compile_nothing(grid):
    hc.train(grid, **OPTIONS)
    task = hc.xor_conditions(0.7, 12, seed=4)
    others = [posterior(p.mlp.activation, task.sample(40, seed=i)) for i, p in enumerate(grid)]
    with compilations() as compiled:
        hc.train(others, learning_rate=0.01, key=3, **OPTIONS)
    assert not compiled


def test_training_that_was_stopped_goes_on_as_if_it_had_not(grid, tmp_path):
    whole = hc.train(grid, **OPTIONS)

    class Stop(Exception):
        pass

    def stop(event):
        if event.phase == "sampling" and event.done == 2:
            raise Stop

    with pytest.raises(Stop):
        hc.train(grid, out=tmp_path / "run", progress=stop, segment=1, **OPTIONS)

    # Whoever is asked to stop when all is done does not go on with the next run.
    def ask(event):
        if event.phase == "sampling" and event.done == OPTIONS["snapshots"] - 1:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt, match="stopped when all"):
        hc.train(grid, out=tmp_path / "run", resume=True, progress=ask, segment=1, **OPTIONS)
    resumed = hc.train(grid, out=tmp_path / "run", resume=True, segment=1, **OPTIONS)
    assert_same(resumed, whole)
    # More snapshots of the same length go on with the same networks.
    longer = hc.train(
        grid, out=tmp_path / "run", resume=True, segment=1, **{**OPTIONS, "epochs": 12, "snapshots": 6}
    )
    assert_same(longer, hc.train(grid, **{**OPTIONS, "epochs": 12, "snapshots": 6}))
    with pytest.raises(ValueError, match=r"sampler\.batch_size: 8 -> 10"):
        hc.train(grid, out=tmp_path / "run", resume=True, segment=1, **{**OPTIONS, "batch_size": 10})


def test_a_network_that_leaves_the_finite_numbers_is_named():
    with pytest.warns(UserWarning, match="2 networks left the finite numbers"):
        run = hc.train(
            posterior(hc.relu, likelihood="gaussian"),
            networks=2,
            epochs=200,
            snapshots=2,
            learning_rate=1e6,
            **QUIET,
        )
    assert np.all(run["health"]["status"] == 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 10, "snapshots": 3}, "snapshots: expected a divisor of epochs=10, got 3"),
        ({"batch_size": 41}, "batch_size: expected at most the 40 training patterns, got 41"),
        ({"trained": ("output",)}, r"trained: expected some of \['hidden_1', 'readout'\]"),
        ({"weight_decay": {"output": 0.1}}, "weight_decay: there is no layer 'output'"),
        ({"weight_decay": "none"}, "weight_decay: expected numbers or 'prior', got 'none'"),
        ({"learning_rate": [0.1, 0.2]}, r"learning_rate: expected a number or one for each of 1 posteriors"),
        ({"dropout": 1.0}, "dropout: expected less than 1"),
        ({"label_noise": -0.1}, "label_noise: expected finite numbers of at least 0"),
        ({"schedule": "linear"}, "schedule: .*'linear'"),
        ({"weight_decay": {"hidden_1": {"bias": 0.1}}}, "weight_decay: hidden_1 has no 'bias'"),
        ({"weight_decay": -1.0}, "weight_decay: expected finite numbers of at least 0, got -1.0"),
        ({"weight_decay": [0.1, 0.2]}, "weight_decay: expected a number or one for each of 1 posteriors"),
        ({"optimizer": "descend"}, "optimizer: expected one of .* got 'descend'"),
        ({"optimizer": "scale"}, "optimizer: expected one of .* got 'scale'"),
    ],
)
def test_arguments_that_make_no_training_are_refused(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        hc.train(posterior(), **({"networks": 1, "epochs": 2, "snapshots": 1} | options | QUIET))


def test_settings_that_an_optimizer_does_not_have_are_refused():
    with pytest.raises(ValueError, match=r"optimizer: sgd with .*speed"):
        hc.Optimizer("sgd", (("speed", 1.0),))


def test_posteriors_of_other_sizes_are_refused():
    with pytest.raises(ValueError, match="posterior: number 1 differs from the first"):
        hc.train([posterior(), posterior(width=8)], **OPTIONS)


def test_convergence_is_not_asked_of_training(grid):
    with pytest.raises(ValueError, match="training"):
        hc.convergence(hc.train(grid[0], **OPTIONS))


def test_more_memory_than_there_is_is_refused_before_anything_is_compiled():
    with pytest.raises(MemoryError, match=r"the run needs about .* Fewer chains, networks"):
        hc.train(posterior(), networks=2, epochs=1, snapshots=1, memory_limit=1000, **QUIET)
