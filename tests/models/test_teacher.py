"""Tasks labelled by a teacher: the law of the labels given the teacher, and what stays as it was.

That the teacher is a draw of the posterior is the premise of tests/sampling/test_calibration.py.
"""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from statistics_of_chains import Z

import hiddencodes as hc

TASK = hc.orthogonal_classes(8, n_test=4)
PRIOR = hc.GaussianPrior(readout_variance="1/P", readout_scale=2.0, hidden_variance=1.5)
# One test of a p-value errs as rarely as a comparison at Z standard errors.
LEVEL = 2.0 * stats.norm.sf(Z)


def posterior(likelihood: str | hc.Likelihood = "gaussian", **options) -> hc.Posterior:
    mlp = hc.MLP(TASK.n_inputs, TASK.n_outputs, 6, 1, hc.tanh, hc.ntk)
    return hc.Posterior(mlp, TASK, PRIOR, likelihood, **({"temperature": 0.2} | options))


def outputs(pair: hc.TeacherTask) -> np.ndarray:
    """Of the teacher, on training and test inputs."""
    task = pair.posterior.task
    return np.asarray(
        pair.posterior.mlp.apply(
            pair.weights, jnp.asarray(np.concatenate([task.x_train, task.x_test]))
        ).output
    )


def targets(pair: hc.TeacherTask) -> np.ndarray:
    return np.concatenate([pair.posterior.task.y_train, pair.posterior.task.y_test])


@pytest.fixture(scope="module")
def pairs() -> list[hc.TeacherTask]:
    return [hc.teacher_task(posterior(), key) for key in jax.random.split(jax.random.key(0), 40)]


def test_noise_is_gaussian_with_the_temperature_as_variance(pairs):
    noise = np.stack([targets(pair) - outputs(pair) for pair in pairs]) / 0.2**0.5
    assert stats.kstest(noise.ravel(), "norm").pvalue > LEVEL


def test_teachers_are_of_the_prior(pairs):
    std = PRIOR.standard_deviations(posterior().mlp, TASK.n_train)
    for layer, leaves in std.items():
        w = np.stack([np.asarray(pair.weights[layer]["kernel"]) for pair in pairs])
        assert stats.kstest(w.ravel() / leaves["kernel"], "norm").pvalue > LEVEL


def test_what_stays_as_it_was(pairs):
    before, after = posterior(), pairs[0].posterior
    assert after.readout_variance == before.readout_variance == 0.5
    assert (after.temperature, after.n_temperature) == (before.temperature, before.n_temperature)
    assert (after.mlp, after.prior, after.likelihood) == (before.mlp, before.prior, before.likelihood)
    for name in ("x_train", "x_test", "labels_train", "labels_test", "class_names"):
        np.testing.assert_array_equal(getattr(after.task, name), getattr(TASK, name))
    said = json.loads(after.task.provenance)
    assert said["generator"] == "teacher_task"
    assert said["inputs"] == json.loads(TASK.provenance)
    assert said["teacher"]["readout_variance"] == 0.5
    assert after.task.provenance != pairs[1].posterior.task.provenance


def test_keys_decide(pairs):
    again = hc.teacher_task(posterior(), jax.random.split(jax.random.key(0), 40)[0])
    np.testing.assert_array_equal(targets(again), targets(pairs[0]))
    assert not np.any(targets(again) == targets(pairs[1]))


def test_without_a_test_set():
    task = hc.orthogonal_classes(8, n_inputs=TASK.n_inputs)
    taught, _ = hc.teacher_task(replace(posterior(), task=task, n_temperature=None), jax.random.key(1))
    assert taught.task.y_test.shape == (0, 3)


def test_categorical_labels_have_the_probabilities_of_the_teacher():
    """Each pair is drawn until all classes occur, so only labels of test patterns have the law of the softmax alone."""
    given = posterior("categorical", temperature=1.0)
    scores, variances, of_chance = [], [], []
    for key in jax.random.split(jax.random.key(2), 200):
        pair = hc.teacher_task(given, key)
        task = pair.posterior.task
        assert set(task.labels_train) == {0, 1, 2}
        np.testing.assert_array_equal(task.y_test, np.eye(3)[task.labels_test])
        p = np.asarray(jax.nn.softmax(jnp.asarray(outputs(pair)[TASK.n_train :])))
        squares = np.sum(p**2, axis=1)
        scores.append(np.sum(task.y_test * p, axis=1) - squares)
        variances.append(np.sum(p**3, axis=1) - squares**2)
        of_chance.append(1.0 / 3.0 - squares)
    # p of a class drawn from p has the mean sum p^2; that of a class drawn at random would have the mean 1/3.
    error = np.sum(variances) ** 0.5
    assert abs(np.sum(scores)) < Z * error
    assert abs(np.sum(of_chance)) > 2.0 * Z * error


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: posterior("categorical", temperature=0.5), "temperature: .* got 0.5"),
        (lambda: posterior(hc.Likelihood("laplace", hc.gaussian.loss)), "got 'laplace'"),
    ],
)
def test_what_no_teacher_can_label(given, message):
    with pytest.raises(ValueError, match=message):
        hc.teacher_task(given(), jax.random.key(0))
