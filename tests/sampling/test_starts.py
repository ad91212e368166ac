"""Starts: wrong compositions put together from the units of a run, teachers, and weights that go round."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hiddencodes as hc
from hiddencodes.sampling.starts import _apportioned, codes_of

SETTINGS = {"chains": 3, "seeds": 2, "draws": 1, "warmup": 60, "verbose": False}


@pytest.fixture(scope="module")
def posteriors():
    """One posterior per seed, with data of its own."""
    tasks = [hc.orthogonal_classes(n_train=8, n_test=4, seed=seed) for seed in (0, 1)]
    mlp = hc.MLP(tasks[0].n_inputs, tasks[0].n_outputs, 10, 1, hc.sigmoidal, hc.mean_field)
    return [hc.Posterior(mlp, task, n_temperature=0.02) for task in tasks]


@pytest.fixture(scope="module")
def run(posteriors):
    return hc.sample(posteriors, **SETTINGS)


def activations(posterior, weights):
    """Of all chains of a seed, (chain, unit, pattern)."""
    x = jnp.asarray(posterior.task.x_train)
    return np.asarray(jax.vmap(lambda w: posterior.mlp.apply(w, x).postactivations[0].T)(weights))


def of_seed(weights, s):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[s]), weights)


def assert_readouts_belong_to(posterior, weights):
    """Outputs are draws of their law given the hidden layer: Var[f | W] is below T at training patterns."""
    x, y = jnp.asarray(posterior.task.x_train), jnp.asarray(posterior.task.y_train)
    weight = hc.readout_weight(posterior.mlp, posterior.readout_variance**0.5)
    output = jax.vmap(lambda w: posterior.mlp.apply(w, x).output)(weights)
    for phi, found in zip(activations(posterior, weights), np.asarray(output), strict=True):
        layer = jnp.asarray(phi.T)
        expected = hc.readout_regression(layer, layer, y, weight, posterior.temperature).mean
        assert np.all(np.abs(found - np.asarray(expected)) < 6.0 * np.sqrt(posterior.temperature))


def test_a_run_keeps_its_last_weights(posteriors, run, tmp_path):
    weights = hc.final_weights(run)
    for s, posterior in enumerate(posteriors):
        found = activations(posterior, of_seed(weights, s))
        np.testing.assert_allclose(found, run["final"]["activations"].values[s, :, 0], atol=1e-6)
    stored = hc.sample(posteriors, out=tmp_path / "run", **SETTINGS)
    again = hc.final_weights(stored)
    jax.tree.map(np.testing.assert_array_equal, again, weights)


@pytest.mark.slow
def test_weights_that_were_not_sampled_are_drawn(posteriors):
    reduced = [hc.integrate_readout(hc.project_inputs(p)) for p in posteriors]
    run = hc.sample(reduced, **SETTINGS)
    weights = hc.final_weights(run)
    assert weights["readout"]["kernel"].shape == (2, 3, 10, posteriors[0].mlp.n_outputs)
    found = activations(posteriors[1], of_seed(weights, 1))
    np.testing.assert_allclose(found, run["final"]["activations"].values[1, :, 0], atol=1e-6)
    for s, posterior in enumerate(posteriors):
        assert_readouts_belong_to(posterior, of_seed(weights, s))


def test_compositions_are_what_was_asked_for(posteriors, run):
    names = codes_of(run)
    common = [str(np.unique(names[s], return_counts=True)[0][0]) for s in (0, 1)]
    assert names.shape == (2, 3, 10)
    both = set(names[0].ravel()) & set(names[1].ravel())
    code = min(both) if both else common[0]
    start = hc.composition_start(posteriors, run, [{code: 0.8}, {code: 0.1}], chains=4)
    assert start.superchain.tolist() == [0, 0, 1, 1]
    assert start.description == f"2 compositions: {code} = 0.8; {code} = 0.1"
    pools = run["final"]["activations"].values[:, :, 0]
    for s, posterior in enumerate(posteriors):
        made = activations(posterior, of_seed(start.weights, s))
        # Every unit is one of the same seed's, and the wanted share of them has the code.
        pool = pools[s].reshape(-1, made.shape[-1])
        which = np.argmin(np.abs(made[:, :, None] - pool).sum(-1), axis=-1)
        np.testing.assert_allclose(made, pool[which], atol=1e-6)
        share = np.mean(names[s].ravel()[which] == code, axis=1)
        np.testing.assert_allclose(share, [0.8, 0.8, 0.1, 0.1])
        assert_readouts_belong_to(posterior, of_seed(start.weights, s))


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, (4, 3, 3)),
        ({"a": 0.35, "b": 0.35, "c": 0.3}, (4, 3, 3)),
        ({"a": 0.25, "b": 0.0}, (2, 0)),
        ({"a": 1.0}, (10,)),
    ],
)
def test_units_are_apportioned(shares, expected):
    assert tuple(_apportioned(shares, 10).values()) == expected


@pytest.mark.parametrize(
    ("shares", "chains", "message"),
    [
        ([{"000": 0.5}], 4, "two compositions or more"),
        ([{"000": 0.5}, {"000": 0.1}], 4, "no unit of the run has the code '000'"),
        ([{"999": 0.5}, {"999": 0.1}], 4, "codes of 3 digits 0 and 1, got '999'"),
        ([{"1": 0.5}, {"1": 0.1}], 4, "codes of 3 digits 0 and 1, got '1'"),
        ([{"111": 0.5}, {"111": 0.5}], 4, "different compositions"),
        ([{"111": 0.5}, {}], 0, "chains: expected an integer of at least 1"),
        ([{"111": 1.5}, {}], 4, "numbers from 0 to 1 that add up to 1"),
        ([{"111": 0.5}, {}], 3, "a multiple of their number"),
    ],
)
def test_what_cannot_be_composed(posteriors, run, shares, chains, message):
    with pytest.raises(ValueError, match=message):
        hc.composition_start(posteriors, run, shares, chains=chains)


@pytest.mark.slow
def test_teachers_and_annealed_chains(posteriors):
    taught = [hc.teacher_task(p, jax.random.key(s)) for s, p in enumerate(posteriors)]
    run = hc.sample([t.posterior for t in taught], **SETTINGS)
    start = hc.teacher_start(taught, run, chains=4)
    weights = hc.final_weights(run)
    for s in (0, 1):
        kernel = start.weights["hidden_1"]["kernel"][s]
        np.testing.assert_allclose(kernel[:2], np.stack([taught[s].weights["hidden_1"]["kernel"]] * 2))
        np.testing.assert_array_equal(kernel[2:], weights["hidden_1"]["kernel"][s, :2])
    started = hc.sample([t.posterior for t in taught], start=start, **(SETTINGS | {"chains": 4, "draws": 8}))
    assert started.attrs["certificate"] == "teacher"
    assert started["constant_data"]["superchain"].values.tolist() == [0, 0, 1, 1]
    assert hc.equilibrium(started).verdict.startswith("NOT equilibrated: ")
    with pytest.raises(ValueError, match="made for other training targets"):
        hc.sample(posteriors, start=start, **(SETTINGS | {"chains": 4}))
    with pytest.raises(ValueError, match="annealed prior draws"):
        hc.teacher_start(taught, started, chains=4)
    with pytest.raises(ValueError, match="not what the teachers said"):
        hc.teacher_start(taught[::-1], run, chains=4)
    with pytest.raises(ValueError, match="an even number up to 6"):
        hc.teacher_start(taught, run, chains=8)
    with pytest.raises(ValueError, match=r"one teacher per seed of the run \(2\), got 1"):
        hc.teacher_start(taught[0], run, chains=4)
