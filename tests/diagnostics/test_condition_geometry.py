"""Geometry from condition kernels: closed forms, invariances, scikit-learn and decodanda on the same data."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from decodanda import Decodanda
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, ortho_group
from sklearn.linear_model import Ridge, RidgeClassifier

import hiddencodes as hc
from hiddencodes.diagnostics.condition_readouts import ridge_readout


def responses(seed: int, conditions: int = 8, units: int = 11) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((conditions, units))


HALF = np.array([1.0, 1, 1, 1, -1, -1, -1, -1])
MEASURES = {
    "dimension": hc.kernel_dimension,
    "clustering": lambda k: hc.class_clustering(k, HALF),
    "parallelism": lambda k: hc.parallelism_score(k, HALF),
    "generalization": lambda k: hc.cross_condition_generalization(k, HALF, most_splits=8),
    "shattering": hc.shattering_dimension,
    "alignment": lambda k: hc.kernel_alignment(k, np.outer(HALF, HALF)),
    "debiased alignment": lambda k: hc.kernel_alignment(k, np.outer(HALF, HALF), debiased=True),
}


@pytest.mark.parametrize("name", MEASURES)
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31), scale=st.floats(0.1, 10))
def test_rotation_scale_and_shift_of_responses_change_nothing(name, seed, scale):
    z = responses(seed)
    moved = scale * z @ ortho_group.rvs(11, random_state=seed) + responses(seed + 1, 1)
    measure = MEASURES[name]
    assert float(measure(moved @ moved.T)) == pytest.approx(float(measure(z @ z.T)), abs=1e-7)


@pytest.mark.parametrize("name", MEASURES)
def test_leading_axes_are_kept(name):
    z = responses(0, 24).reshape(3, 1, 8, 11)
    kernel = z @ np.swapaxes(z, -1, -2)
    found = MEASURES[name](kernel)
    assert found.shape == (3, 1)
    np.testing.assert_allclose(found[2, 0], MEASURES[name](kernel[2, 0]))


def test_alignment_of_a_code_with_itself_is_one():
    k = responses(0) @ responses(0).T
    for debiased in (False, True):
        np.testing.assert_allclose(hc.kernel_alignment(k, 3 * k, debiased=debiased), 1.0)


def test_the_debiased_alignment_of_unrelated_responses_averages_to_zero():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 4000, 10, 40))
    k, l = (v @ np.swapaxes(v, -1, -2) for v in (x, y))
    found = hc.kernel_alignment(k, l, debiased=True)
    error = found.std() / math.sqrt(len(found))
    assert abs(found.mean()) < 4 * error
    assert hc.kernel_alignment(k, l).mean() > 0.5  # the biased one is far above


@given(seed=st.integers(0, 2**31))
def test_no_layer_leaves_the_feasible_arc(seed):
    z, x, y = (responses(seed + i, units=1 + seed % 9) for i in range(3))
    kernels = [v @ v.T for v in (z, x, y)]
    a = hc.kernel_alignment(kernels[0], kernels[1])
    b = hc.kernel_alignment(kernels[0], kernels[2])
    c = hc.kernel_alignment(kernels[1], kernels[2])
    assert b <= hc.largest_target_alignment(a, c) + 1e-12


@pytest.mark.parametrize("n", [2, 3, 4])
def test_walsh_sectors_say_what_scores_measure(n):
    latents = hc.factorial_latents(n)
    functions, chosen = hc.walsh_functions(n)
    rng = np.random.default_rng(n)
    weight = np.array([0.0 if not t else rng.uniform(0.1, 2) / len(t) for t in chosen])
    # Equal weights within a degree: the kernel is invariant under permutations of the latents.
    weight = np.array([weight[[len(u) for u in chosen].index(len(t))] for t in chosen])
    kernel = (functions * weight) @ functions.T / 2**n
    np.testing.assert_allclose(hc.walsh_spectrum(kernel, functions), weight, atol=1e-12)
    share = weight[1] / sum(w for w, t in zip(weight, chosen, strict=True) if 0 in t)
    m = 2 ** (n - 1)
    expected = (m * share - 1) / (m - 1)
    found = hc.parallelism_score(kernel, latents[:, 0], hc.natural_pairing(latents, 0))
    assert float(found) == pytest.approx(expected)
    if n < 4:
        assert hc.parallelism_score(kernel, latents[:, 0]) >= found - 1e-12
    aligned = hc.kernel_alignment(kernel, latents @ latents.T)
    assert float(aligned) == pytest.approx(n * weight[1] / (math.sqrt(n) * np.linalg.norm(weight[1:])))


def test_the_natural_pairing_of_many_conditions_is_found():
    latents = hc.factorial_latents(4)
    kernel = latents @ latents.T
    for which in range(4):
        assert float(hc.parallelism_score(kernel, latents[:, which])) == pytest.approx(1.0)


@pytest.mark.parametrize("trained", [np.ones(8, bool), np.array([1, 1, 0, 1, 1, 0, 1, 1], bool)])
def test_the_ridge_readout_is_that_of_scikit_learn(trained):
    z, noise = responses(3), 0.37
    decision, norm2 = ridge_readout(
        jnp.asarray(z @ z.T), jnp.asarray(HALF), jnp.asarray(trained), jnp.asarray(noise)
    )
    model = Ridge(alpha=trained.sum() * noise).fit(z[trained], HALF[trained])
    np.testing.assert_allclose(decision, model.predict(z), rtol=1e-8)
    np.testing.assert_allclose(norm2, np.sum(model.coef_**2), rtol=1e-8)


def test_shattering_is_the_accuracy_of_scikit_learn_on_noisy_responses():
    z, noise = responses(5, 6, 9), 0.6
    spread = np.mean(np.sum((z - z.mean(0)) ** 2, 1))
    sigma = noise * math.sqrt(spread)
    rng, repeats, accuracies = np.random.default_rng(0), 4000, []
    for y in hc.balanced_dichotomies(6):
        model = Ridge(alpha=6 * sigma**2).fit(z, y)
        noisy = z[:, None] + sigma * rng.standard_normal((6, repeats, 9))
        accuracies.append(
            np.mean(np.sign(model.predict(noisy.reshape(-1, 9)).reshape(6, repeats)) == y[:, None])
        )
    error = 0.5 / math.sqrt(6 * repeats * len(accuracies))
    assert float(hc.shattering_dimension(z @ z.T, noise=noise)) == pytest.approx(
        np.mean(accuracies), abs=5 * error
    )


def test_generalization_is_that_of_decodanda_on_the_same_data():
    # Two latents, coded with an interaction; many noisy trials of every condition, decoded by the same kind of readout.
    latents = hc.factorial_latents(2)
    rng = np.random.default_rng(1)
    axes = ortho_group.rvs(10, random_state=2)[:3]
    z = 2 * latents @ axes[:2] + 1.2 * np.prod(latents, 1)[:, None] * axes[2]
    trials = 400
    noise = 0.35
    spread = np.mean(np.sum((z - z.mean(0)) ** 2, 1))
    sigma = noise * math.sqrt(spread)
    data = np.concatenate([c + sigma * rng.standard_normal((trials, 10)) for c in z])
    labels = np.repeat(latents, trials, axis=0)
    session = {
        "raster": data, "first": labels[:, 0], "second": labels[:, 1], "trial": np.arange(len(data)),
    }  # fmt: skip
    conditions = {"first": [1.0, -1.0], "second": [1.0, -1.0]}
    # Trials have the noise that the ridge of noise-free conditions stands for.
    decoder = Decodanda(session, conditions, classifier=RidgeClassifier(alpha=1e-6))
    theirs = np.mean(decoder.CCGP_dichotomy("first", resamplings=10, ndata=trials))
    pairing = hc.natural_pairing(latents, 0)
    ours = float(hc.cross_condition_generalization(z @ z.T, latents[:, 0], pairing=pairing, noise=noise))
    error = math.sqrt(ours * (1 - ours) / (4 * trials))
    assert ours < 0.99
    assert theirs == pytest.approx(ours, abs=5 * error)


def test_of_shuffled_responses_nothing_generalizes():
    latents = hc.factorial_latents(3)
    z = latents @ responses(0, 3, 200)
    kernel = z @ z.T
    pairing = hc.natural_pairing(latents, 0)
    assert hc.cross_condition_generalization(kernel, latents[:, 0], pairing=pairing) > 0.99
    null = [hc.shuffled_responses(z, seed=i) for i in range(40)]
    kernels = np.stack([v @ v.T for v in null])
    np.testing.assert_allclose(np.diagonal(kernels[0]), np.diagonal(kernel))
    found = hc.cross_condition_generalization(kernels, latents[:, 0], pairing=pairing)
    assert abs(found.mean() - 0.5) < 4 * found.std() / math.sqrt(len(found))
    assert hc.shattering_dimension(kernels).min() > 0.99


def test_two_conditions_are_told_apart_as_well_as_their_distance_allows():
    # One dichotomy; the readout's direction is exact, its accuracy that of a Gaussian.
    z = np.array([[1.0, 0.0], [-1.0, 0.0]])
    assert float(hc.shattering_dimension(z @ z.T, noise=0.8)) == pytest.approx(norm.cdf(1 / 0.8))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hc.centred(np.ones((2, 3))), r"kernel: expected .* got the shape \(2, 3\)"),
        (
            lambda: hc.parallelism_score(np.eye(4), [1, 1, 1, -1]),
            "dichotomy: expected .1 and -1 equally often",
        ),
        (lambda: hc.parallelism_score(np.eye(4), [1, 1, -1, -1], [1, 0, 3, 2]), "pairing: it does not pair"),
        (lambda: hc.natural_pairing([[1, 1], [1, -1], [-1, 1]], 0), "latents: condition 1 has 0 partners"),
        (
            lambda: hc.cross_condition_generalization(np.eye(2), [1, -1]),
            "held_out: sides of 1 and 1 conditions",
        ),
        (lambda: hc.shattering_dimension(np.eye(3)), "even number of conditions, got 3"),
        (lambda: hc.shattering_dimension(np.eye(4), noise=0.0), "noise: expected a positive number, got 0.0"),
        (lambda: hc.kernel_alignment(np.eye(3), np.eye(3), debiased=True), "debiased: needs at least 4"),
        (lambda: hc.class_clustering(np.eye(4), [1, 1, 1, 1]), "labels: expected 4 of at least two classes"),
    ],
)
def test_what_has_no_geometry_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_measures_without_meaning_are_not_numbers():
    task = hc.ConditionTask(np.eye(5), np.array([[1.0], [-1], [-1], [-1], [-1]]), 0.1)
    p = hc.Posterior(
        hc.MLP(5, 1, 6, 1, hc.relu, hc.ntk), task.sample(10), likelihood="bernoulli", temperature=1.0
    )
    found = hc.geometry(hc.train(p, networks=2, epochs=1, snapshots=1, verbose=False))
    missing = {name for name in hc.GEOMETRY_MEASURES if np.all(np.isnan(found[name]))}
    assert missing == {"parallelism", "generalization", "shattering"}
    assert np.all(found["clustering"] > 0)


@pytest.mark.parametrize("how", ["trained", pytest.param("sampled", marks=pytest.mark.slow)])
def test_the_geometry_of_a_run_is_that_of_its_kernels(how):
    tasks = [hc.aligned_conditions(8, 2, c, n_inputs=10, noise=0.1) for c in (0.1, 0.3)]
    mlp = hc.MLP(10, 2, 12, 2, hc.tanh, hc.ntk)
    posteriors = [
        hc.Posterior(mlp, task.sample(24), likelihood="bernoulli", temperature=1.0) for task in tasks
    ]
    if how == "trained":
        run = hc.train(posteriors, networks=3, epochs=4, snapshots=2, verbose=False)
    else:
        run = hc.sample(
            posteriors, seeds=2, chains=3, draws=2, warmup=5, observables=[hc.condition_kernel], verbose=False
        )
    found = hc.geometry(run)
    np.testing.assert_allclose(found["alignment"], [0.1, 0.3], atol=1e-6)
    assert all(found[name].dims == ("seed", "chain", "draw") for name in hc.GEOMETRY_MEASURES)
    kernel = run["posterior"]["condition_kernel"].values[1, 2, 1, -1]
    y = tasks[1].targets
    assert found["target_alignment"].values[1, 2, 1] == pytest.approx(
        float(hc.kernel_alignment(kernel, y @ y.T))
    )
    assert found["input_alignment"].values[1, 2, 1] == pytest.approx(
        float(hc.kernel_alignment(kernel, tasks[1].input_kernel()))
    )
    expected = np.mean([hc.parallelism_score(kernel, y[:, i]) for i in range(2)])
    assert found["parallelism"].values[1, 2, 1] == pytest.approx(expected)
    first = hc.geometry(run, layer=0, measures=["dimension"])
    assert set(first.data_vars) == {"dimension", "alignment"}
    assert not np.allclose(first["dimension"], found["dimension"])
    with pytest.raises(ValueError, match="measures: 'size' is unknown"):
        hc.geometry(run, measures=["size"])
