"""Moves between codes inside whole runs: the same posterior, other codes, the same numbers again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from statistics_of_chains import assert_means_agree

import hiddencodes as hc
from hiddencodes.sampling.reduced_target import reduced_target
from hiddencodes.sampling.target import NetworkTarget
from hiddencodes.sampling.weights import to_positions

NAMES = ("kernel_blocks", "readout_overlap", "train_loss", "test_predictions")


@pytest.fixture(scope="module")
def moved_run(small_posterior, small_settings):
    return hc.sample(small_posterior, moves=[hc.cavity_refresh()], moves_every=2, **small_settings)


def test_counts_of_a_run(moved_run, small_settings):
    moves = moved_run["moves"]
    chains, seeds, draws = (small_settings[name] for name in ("chains", "seeds", "draws"))
    assert moves["proposed"].dims == ("move", "seed", "chain", "code", "code_2")
    # A sweep after every second draw, six units each.
    assert np.all(moves["proposed"].sum(["code", "code_2"]) == 6 * (draws // 2))
    assert moves["proposed"].shape[1:3] == (seeds, chains)
    assert np.all(moves["accepted"] <= moves["proposed"])
    assert moves["accepted"].sum() > 0
    for names in moves["codes"].values.reshape(-1, moves.sizes["code"]):
        used = [name for name in names if name]
        assert used[-1] == "rest"
        assert all(set(name) <= {"0", "1"} for name in used[:-1])


def test_a_run_with_moves_is_repeated_and_stored(moved_run, small_posterior, small_settings, tmp_path):
    again = hc.sample(
        small_posterior, moves=(hc.cavity_refresh(),), moves_every=2, out=tmp_path / "run", **small_settings
    )
    for group in ("posterior", "moves"):
        for name, values in moved_run[group].data_vars.items():
            np.testing.assert_array_equal(values.values, again[group][name].values)


@pytest.mark.parametrize("reduce", [None, hc.whiten_inputs], ids=["weights", "white"])
def test_chains_start_where_they_are_told(small_posterior, small_settings, reduce):
    lanes = (2, 3)
    weights = jax.vmap(jax.vmap(small_posterior.sample_prior))(jax.random.split(jax.random.key(3), lanes))
    x = jnp.asarray(small_posterior.task.x_train)
    expected = jax.vmap(jax.vmap(lambda w: small_posterior.mlp.apply(w, x).postactivations[0]))(weights)
    posterior = small_posterior if reduce is None else reduce(small_posterior)
    with jax.enable_x64(True):
        target = NetworkTarget(small_posterior.mlp, small_posterior.likelihood, ())
        if reduce is not None:
            target = reduced_target([posterior], ())
        network = small_posterior if reduce is None else posterior.posterior
        q = to_positions(weights, [posterior, posterior], 3)
        found = jax.vmap(jax.vmap(lambda q: target.hidden(q, network.data())[0]))(jnp.asarray(q))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    run = hc.sample(posterior, start=weights, **small_settings)
    assert run.attrs["initialization"] == "given weights, at the target temperature"


def by_codes(run):
    """Draws of the invariants and of the share of units that have each pair of classes on, (chain, draw, ...) each."""
    posterior = run["posterior"]
    found = {name: posterior[name].values[0] for name in NAMES}
    on = run["units"]["class_means"].values[0][:, :, 0] > 0.5  # (chain, draw, class, unit)
    two, none = on[:, :, 0] & on[:, :, 1], ~np.any(on, axis=2)
    return found | {"on": on.mean(axis=-1), "two": two.mean(axis=-1), "none": none.mean(axis=-1)}


def compare(n_temperature, scale):
    task = hc.orthogonal_classes(n_train=8, n_test=4, y_minus=0.5)
    mlp = hc.MLP(task.n_inputs, task.n_outputs, 6, 1, hc.sigmoidal, hc.mean_field)
    posterior = hc.Posterior(mlp, task, n_temperature=n_temperature)
    options = {"chains": 16, "warmup": 500, "verbose": False}
    plain = by_codes(hc.sample(hc.whiten_inputs(posterior), draws=1000 * scale, thin=4, key=1, **options))
    for reduce in (hc.whiten_inputs, lambda p: hc.integrate_readout(hc.whiten_inputs(p))):
        run = hc.sample(
            reduce(posterior),
            moves=[hc.cavity_refresh()],
            moves_every=1,
            draws=1000 * scale,
            key=2,
            **options,
        )
        assert run["moves"]["accepted"].sum() > 0.02 * run["moves"]["proposed"].sum()
        moved = by_codes(run)
        for name, values in plain.items():
            assert_means_agree(moved[name], values)


@pytest.mark.slow
@pytest.mark.parametrize(("n_temperature", "scale"), [(0.4, 1), (0.1, 6), (0.05, 6)])
def test_runs_with_moves_agree_with_plain_ones(n_temperature, scale):
    compare(n_temperature, scale)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"moves": [hc.cavity_refresh()], "moves_every": 0}, "moves_every: expected an integer of at least 1, got 0"),
        ({"moves": [hc.cavity_refresh()], "sampler": "numpyro_nuts"}, "numpyro_nuts samples all weights"),
        ({"start": {"hidden_1": {"kernel": np.zeros((2, 3, 1, 6))}}}, "start: expected arrays of the shapes"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(small_posterior, small_settings, change, message):
    with pytest.raises(ValueError, match=message):
        hc.sample(small_posterior, **(small_settings | change))


@pytest.mark.parametrize(
    ("task", "mlp", "likelihood", "message"),
    [
        ("clusters", {}, "gaussian", "orthogonal"),
        ("orthogonal", {"depth": 2}, "gaussian", "one hidden layer"),
        ("orthogonal", {"bias": True}, "gaussian", "one hidden layer"),
        ("orthogonal", {}, "categorical", "Gaussian likelihood"),
    ],
)
def test_posteriors_that_the_move_is_not_made_for(small_settings, task, mlp, likelihood, message):
    tasks = {
        "clusters": lambda: hc.gaussian_clusters(n_train=9, n_inputs=12),
        "orthogonal": lambda: hc.orthogonal_classes(n_train=8, n_test=4),
    }
    made = tasks[task]()
    settings = {"width": 6, "depth": 1, "bias": False} | mlp
    network = hc.MLP(
        made.n_inputs, made.n_outputs, activation=hc.sigmoidal, parameterization=hc.mean_field, **settings
    )
    posterior = hc.Posterior(network, made, likelihood=likelihood, n_temperature=0.1)
    with pytest.raises(ValueError, match=message):
        hc.sample(posterior, moves=[hc.cavity_refresh()], **small_settings)
