"""Simulation-based calibration of whole runs (arXiv 1804.06788): ranks of teachers among posterior draws are uniform.

A teacher drawn from the prior labels a task; given the task its weights are one more draw of the posterior. Among L draws of
a run, the rank of any function of its weights is then uniform on 0, ..., L. All data sets are seeds of one run, so that one
compiled program samples all of them, warm-up and adaptation included.
"""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from statistics_of_chains import Z

import hiddencodes as hc
from hiddencodes.sampling import observables as known
from hiddencodes.sampling.problem import stack_data
from hiddencodes.sampling.target import NetworkTarget, observe

RECORDED = (
    known.kernel_diagonal,
    known.kernel_blocks,
    known.readout_overlap,
    known.train_loss,
    known.log_density,
    known.test_predictions,
    hc.Observable(
        "mean_activation",
        ("class",),
        lambda c: jnp.mean(jnp.asarray(c.data.class_average).T @ c.activations.postactivations[0], axis=1),
    ),
    hc.Observable(
        "units_on", (), lambda c: jnp.sum(jnp.all(c.activations.postactivations[0] > 0.5, axis=0)).astype(jnp.float64)
    ),
)  # fmt: skip
# Thirty-two draws of a data set: with so many chains few draws of each are needed, and they may be far apart.
SETTINGS = {"chains": 8, "draws": 4, "thin": 15, "warmup": 200, "observables": RECORDED, "verbose": False}
# Draws of a chain whose neighbours are correlated by less than this count as independent: they add at most
# (1/6) (2 x 1/4) / 32 to the variance of a rank, 1/12, which moves its distribution function by less than 0.02; the critical
# distance of 64 ranks is 0.37.
CORRELATED = 0.25


class Taught(NamedTuple):
    """Data sets, and functions of their teachers' weights, (data set,) each."""

    posteriors: list[hc.Posterior]
    functions: dict[str, np.ndarray]


def entries(values: dict[str, np.ndarray], leading: int) -> dict[str, np.ndarray]:
    """One entry per quantity, without the lower triangles of symmetric matrices."""
    found = {}
    for name, array in values.items():
        for index in np.ndindex(array.shape[leading:]):
            if name not in ("kernel_blocks", "readout_overlap") or index[-2] <= index[-1]:
                found[f"{name}{list(index)}"] = array[..., *index]
    return found


def taught(n_sets: int, activation: hc.Activation = hc.sigmoidal, key: int = 0) -> Taught:
    """Data sets on the same inputs, by teachers whose outputs vary more than the noise."""
    task = hc.orthogonal_classes(6, fractions=(0.5, 0.5), n_test=2)
    mlp = hc.MLP(task.n_inputs, task.n_outputs, 6, 1, activation, hc.mean_field)
    posterior = hc.Posterior(mlp, task, hc.GaussianPrior(readout_variance=5.0), n_temperature=0.3)
    pairs = [hc.teacher_task(posterior, each) for each in jax.random.split(jax.random.key(key), n_sets)]
    posteriors = [pair.posterior for pair in pairs]
    target = NetworkTarget(mlp, posteriors[0].likelihood, RECORDED)
    weights = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(pair.weights for pair in pairs))
    of_one = jax.jit(jax.vmap(lambda weights, data: observe(target, weights, data)))
    values = of_one(weights, stack_data(posteriors, np.float64))
    return Taught(posteriors, entries({name: np.asarray(value) for name, value in values.items()}, 1))


def ranks(tasks: Taught, posteriors, **options) -> dict[str, np.ndarray]:
    """Ranks of the teachers over L + 1, uniform on (0, 1): ties are broken, and steps filled, at random."""
    run = hc.sample(posteriors, seeds=len(posteriors), **(SETTINGS | options))
    drawn = entries({o.name: run["posterior"][o.name].values for o in RECORDED}, 3)
    rng = np.random.default_rng(11)
    found = {}
    for name, teacher in tasks.functions.items():
        centered = drawn[name] - drawn[name].mean(axis=(1, 2), keepdims=True)
        correlation = np.mean(centered[:, :, 1:] * centered[:, :, :-1]) / np.mean(centered**2)
        assert correlation < CORRELATED, f"{name}: successive draws are correlated by {correlation:.2f}"
        draws = drawn[name].reshape(len(teacher), -1)
        below, equal = (np.sum(test(draws, teacher[:, None]), axis=1) for test in (np.less, np.equal))
        found[name] = (below + rng.random(len(teacher)) * (equal + 1)) / (draws.shape[1] + 1)
    return found


def p_values(found: dict[str, np.ndarray]) -> dict[str, float]:
    """Kolmogorov and Smirnov's exact test of uniformity, quantity by quantity."""
    return {name: float(stats.kstest(u, "uniform", method="exact").pvalue) for name, u in found.items()}


def level(n: int) -> float:
    """The level of one of n comparisons (Bonferroni) that together err as rarely as one beyond Z standard errors."""
    return 2.0 * float(stats.norm.sf(Z)) / n


def assert_uniform(found: dict[str, np.ndarray]) -> None:
    p = p_values(found)
    worst = min(p, key=lambda name: p[name])
    assert p[worst] > level(len(p)), f"{worst}: p = {p[worst]:.1e}"


def heated(tasks: Taught, heat: float) -> list[hc.Posterior]:
    """The posteriors at a wrong temperature."""
    return [replace(p, temperature=heat * p.temperature, n_temperature=None) for p in tasks.posteriors]


@pytest.fixture(scope="module")
def tasks() -> Taught:
    return taught(64)


@pytest.mark.slow
def test_teachers_rank_like_draws(tasks):
    assert_uniform(ranks(tasks, tasks.posteriors))


@pytest.mark.parametrize("heat", [0.5, 2.0])
def test_at_another_temperature_they_do_not(tasks, heat):
    p = p_values(ranks(tasks, heated(tasks, heat)))
    assert p["train_loss[]"] < level(len(p))


@pytest.fixture(scope="module")
def many_tasks() -> Taught:
    return taught(200, key=1)


@pytest.mark.slow
@pytest.mark.parametrize("moves", [[], [hc.cavity_refresh()]], ids=["hmc", "hmc and refresh"])
def test_teachers_rank_like_draws_of_a_run_with_moves(many_tasks, moves):
    white = [hc.whiten_inputs(p) for p in many_tasks.posteriors]
    assert_uniform(ranks(many_tasks, white, moves=moves, moves_every=2))


@pytest.mark.slow
@pytest.mark.parametrize("activation", [hc.sigmoidal, hc.relu], ids=lambda a: a.name)
def test_teachers_rank_like_draws_of_a_collapsed_run_with_moves(activation):
    tasks = taught(200, activation, key=2)
    collapsed = [hc.integrate_readout(hc.whiten_inputs(p)) for p in tasks.posteriors]
    assert_uniform(ranks(tasks, collapsed, moves=[hc.cavity_refresh()], moves_every=2))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampler", "thin"), [("hmc", 15), ("nuts", 15), ("adjusted_mclmc", 15), ("mala", 300)]
)
def test_teachers_rank_like_draws_of_every_sampler(many_tasks, sampler, thin):
    assert_uniform(ranks(many_tasks, many_tasks.posteriors, sampler=sampler, thin=thin))
