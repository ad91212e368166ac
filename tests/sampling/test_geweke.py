"""The joint law of weights and data, sampled in two ways that share no code but the network (Geweke 2004).

*Marginal-conditional*: weights from the prior, data from the likelihood at these weights; every draw is independent.
*Successive-conditional*: one transition of a kernel that leaves p(weights | data) as it is, then new data at these weights,
again and again. If the kernel is right, both have the same law of every function of weights and data. Chains start from the
joint law, so none of their draws has to be left out, and chains are independent, so the means of chains give the error.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from statistics_of_chains import Z

import hiddencodes as hc
from hiddencodes.models.reductions import Reduced
from hiddencodes.sampling import unit_density
from hiddencodes.sampling.problem import stack_data
from hiddencodes.sampling.reduced_target import reduced_target
from hiddencodes.sampling.target import Density, NetworkTarget

CHAINS, STEPS, INDEPENDENT = 256, 100, 100_000
# Outputs then vary more than the noise: the posterior is far from the prior, and chains still forget their data in a few steps.
PRIOR = hc.GaussianPrior(readout_variance=3.0)
# What a test may change, by arguments of one compiled program: leave out one of two kernels; break the temperature and the step
# of a local kernel, its Metropolis test, the table that a refresh draws from.
SOUND = {"moves": True, "sweeps": True, "heat": 1.0, "stretch": 1.0, "accept_all": False, "other": 0}
SAMPLERS = {
    "hmc": (hc.hmc(), 0.25, 6),
    "nuts": (hc.nuts(max_doublings=4), 0.25, 1),
    "mala": (hc.mala(), 0.04, 1),
    "adjusted_mclmc": (hc.adjusted_mclmc(), 1.0, 6),
}


def functions(c: hc.Context) -> jax.Array:
    """Functions of weights and data that do not depend on the order of the units.

    Each is squashed to (-1, 1), and its square comes with it, so that means over chains are Gaussian far into the tails.
    """
    phi, z, f = c.activations.postactivations[0], c.activations.preactivations[0], c.activations.output
    y, a = jnp.asarray(c.data.y_train), c.params["readout"]["kernel"]
    upper = lambda m: m[jnp.triu_indices(len(m))]
    kernel = phi @ phi.T / c.mlp.width
    scalars = [
        jnp.mean(z**2),
        jnp.sum(jnp.all(phi > 0.5, axis=0)),
        c.loss,
        jnp.vdot(y, f),
        jnp.vdot(y, kernel @ y),
    ]
    first = jnp.concatenate(
        [upper(kernel), upper(a.T @ a / c.mlp.width), f.ravel(), y.ravel(), jnp.stack([jnp.asarray(s, f.dtype) for s in scalars])]
    )  # fmt: skip
    squashed = first / (1.0 + jnp.abs(first))
    return jnp.concatenate([squashed, squashed**2])


FUNCTIONS = (hc.Observable("functions", ("function",), functions),)
OUTPUTS = (hc.Observable("outputs", ("pattern", "output"), lambda c: c.activations.output),)


@dataclass(frozen=True)
class Case:
    """A small network."""

    activation: hc.Activation
    width: int
    n_train: int
    single_output: bool
    orthogonal: bool = True

    def posterior(self) -> hc.Posterior:
        shape = {"fractions": (0.5, 0.5), "single_output": self.single_output}
        if self.orthogonal:
            task = hc.orthogonal_classes(self.n_train, **shape)
        else:
            task = hc.gaussian_clusters(n_train=self.n_train, n_inputs=3, **shape)
        mlp = hc.MLP(task.n_inputs, task.n_outputs, self.width, 1, self.activation, hc.mean_field)
        return hc.Posterior(mlp, task, PRIOR, n_temperature=0.5)


SIGMOIDAL = Case(hc.sigmoidal, width=5, n_train=4, single_output=False)
RELU = Case(hc.relu, width=4, n_train=5, single_output=True)


def reduced(case: Case, integrated: bool) -> Reduced:
    white = hc.whiten_inputs(case.posterior())
    return hc.integrate_readout(white) if integrated else white


def target_and_data(posterior: hc.Posterior | Reduced):
    if isinstance(posterior, Reduced):
        target, network = reduced_target([posterior], FUNCTIONS), posterior.posterior
    else:
        target, network = NetworkTarget(posterior.mlp, posterior.likelihood, FUNCTIONS), posterior
    return target, jax.tree.map(lambda a: a[0], stack_data([network], np.float64))


def outputs(target, key, q, data):
    """The network's outputs; with the readout integrated out they are those of a readout of the prior."""
    if not getattr(target, "readout_integrated", False):
        return replace(target, observables=OUTPUTS).observe(q, data, key)["outputs"]
    mlp, std = target.mlp, data.prior_std["readout"]["kernel"]
    a = std * jax.random.normal(key, (mlp.width, mlp.n_outputs))
    return (
        mlp.parameterization.layer(1, 1).multiplier(mlp.width, mlp.n_outputs) * target.hidden(q, data)[0] @ a
    )


def noisy(key, outputs, data):
    return outputs + jnp.sqrt(data.temperature) * jax.random.normal(key, outputs.shape)


@cache
def independent(case: Case) -> np.ndarray:
    """`functions` of independent draws of the joint law, of all weights, (draw, function)."""
    posterior = case.posterior()
    target, data = target_and_data(posterior)

    def draw(key):
        weights_key, noise_key = jax.random.split(key)
        q = jax.random.normal(weights_key, (target.dimension,))
        y = noisy(noise_key, outputs(target, key, q, data), data)
        return target.observe(q, data._replace(y_train=y), key)["functions"]

    keys = jax.random.split(jax.random.key(99), INDEPENDENT)
    return np.asarray(jax.jit(lambda keys: jax.lax.map(draw, keys, batch_size=1000))(keys))


def local(sampler: hc.Sampler, step_size: float, most: int) -> Callable:
    """A transition with a random number of integration steps."""

    def transition(target, key, q, data, how):
        density = Density(target, data, jnp.ones_like(q), 1.0 / (how["heat"] * data.temperature))
        steps_key, key = jax.random.split(key)
        n_steps = jax.random.randint(steps_key, (), 1, most + 1, jnp.int32)
        size = jnp.asarray(step_size) * how["stretch"]
        state = sampler.init(q, density)
        state, info = sampler.step(key, state, density, size, n_steps, sampler.max_steps)
        return jnp.where(how["accept_all"], info.proposal, state.position)

    return transition


def refreshed(posterior: Reduced) -> Callable:
    """A sweep of the cavity refresh with what it learns from draws of the prior."""
    move = hc.cavity_refresh()
    target, _ = target_and_data(posterior)
    q = jax.random.normal(jax.random.key(5), (1, 64, target.dimension))
    learned = move.learn(target, q, stack_data([posterior.posterior], np.float64), jax.random.key(6))
    parameters = jax.tree.map(lambda a: a[0], learned.parameters)
    draw = unit_density.draw

    def transition(target, key, q, data, how):
        def from_another_table(densities, uniform):
            others = {
                name: jnp.roll(leaf, how["other"], axis=-1)
                for name, leaf in densities._asdict().items()
                if name != "phi"
            }
            return draw(densities._replace(**others), uniform)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(unit_density, "draw", from_another_table)
            return move.sweep(target, key, q, data, parameters, 1.0 / data.temperature)[0]

    return transition


def composed(posterior: Reduced) -> Callable:
    """HMC, then a sweep; either may be left out, so that one program is all three kernels."""
    parts = {"moves": local(*SAMPLERS["hmc"]), "sweeps": refreshed(posterior)}

    def transition(target, key, q, data, how):
        for (name, part), stream in zip(parts.items(), jax.random.split(key), strict=True):
            q = jnp.where(how[name], part(target, stream, q, data, how), q)
        return q

    return transition


def simulator(posterior: hc.Posterior | Reduced, transition: Callable) -> Callable:
    """The successive-conditional simulator: ``(seed, what is changed) -> functions (chain, draw, function)``.

    Functions are evaluated between the transition and the drawing of new data, where an error of the kernel is largest.
    """
    target, data = target_and_data(posterior)

    def chain(key, how):
        def step(q, key):
            outputs_key, noise_key, kernel_key, observe_key = jax.random.split(key, 4)
            now = data._replace(y_train=noisy(noise_key, outputs(target, outputs_key, q, data), data))
            q = transition(target, kernel_key, q, now, how)
            return q, target.observe(q, now, observe_key)["functions"]

        start_key, key = jax.random.split(key)
        q = jax.random.normal(start_key, (target.dimension,))
        return jax.lax.scan(step, q, jax.random.split(key, STEPS))[1]

    # Most of a test's time is compilation, which the compiler's second level of optimization would make a third longer.
    options = {"xla_backend_optimization_level": 1}
    chains = jax.jit(jax.vmap(chain, in_axes=(0, None)), compiler_options=options)

    def run(seed: int = 0, **changes) -> np.ndarray:
        how = jax.tree.map(jnp.asarray, SOUND | changes)
        return np.asarray(chains(jax.random.split(jax.random.key(seed), CHAINS), how))

    return run


def deviations(found: np.ndarray, case: Case) -> np.ndarray:
    """Differences between the two simulators in standard errors: those of independent chains and of independent draws."""
    means, truth = found.mean(axis=1), independent(case)
    error = np.hypot(means.std(0, ddof=1) / np.sqrt(len(means)), truth.std(0, ddof=1) / np.sqrt(len(truth)))
    return (means.mean(0) - truth.mean(0)) / error


def worst(found: np.ndarray, case: Case) -> float:
    return float(np.max(np.abs(deviations(found, case))))


@pytest.fixture(scope="module")
def composition() -> Callable:
    posterior = reduced(SIGMOIDAL, integrated=False)
    return simulator(posterior, composed(posterior))


MOVES, SWEEPS = {"sweeps": False}, {"moves": False}


@pytest.mark.parametrize(
    "kernels",
    [pytest.param(MOVES, marks=pytest.mark.slow), SWEEPS, {}],
    ids=["hmc", "refresh", "composition"],
)
def test_kernels_keep_the_joint_law(composition, kernels):
    found = composition(**kernels)
    assert np.ptp(found[:, :, 0], axis=1).min() > 0.0
    assert worst(found, SIGMOIDAL) < Z


@pytest.mark.parametrize(
    "broken",
    [
        MOVES | {"heat": 1.1},
        MOVES | {"accept_all": True, "stretch": 2.0},
        SWEEPS | {"other": 1},
        {"other": 1},
    ],
    ids=["temperature", "no test", "another table", "another table in a composition"],
)
def test_broken_kernels_do_not(composition, broken):
    """A temperature 10 % off; no Metropolis test; units drawn from the tables of other patterns than the test evaluates."""
    assert worst(composition(**broken), SIGMOIDAL) > 1.5 * Z


@pytest.mark.parametrize("name", ["mala"])  # the others are slow to compile, see below
def test_local_kernels_keep_the_joint_law(name):
    run = simulator(SIGMOIDAL.posterior(), local(*SAMPLERS[name]))
    assert worst(run(), SIGMOIDAL) < Z


@pytest.mark.slow
@pytest.mark.parametrize("case", [SIGMOIDAL, RELU], ids=lambda case: case.activation.name)
@pytest.mark.parametrize("coordinates", ["weights", "white", "integrated"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_local_kernels_in_all_coordinates(name, coordinates, case):
    posterior = case.posterior() if coordinates == "weights" else reduced(case, coordinates == "integrated")
    assert worst(simulator(posterior, local(*SAMPLERS[name]))(), case) < Z


@pytest.mark.slow
@pytest.mark.parametrize("case", [SIGMOIDAL, RELU], ids=lambda case: case.activation.name)
@pytest.mark.parametrize("integrated", [False, True], ids=["white", "integrated"])
def test_refresh_in_all_coordinates(integrated, case):
    posterior = reduced(case, integrated)
    run = simulator(posterior, composed(posterior))
    assert worst(run(**SWEEPS), case) < Z
    assert worst(run(), case) < Z
    assert worst(run(other=1), case) > 1.5 * Z
