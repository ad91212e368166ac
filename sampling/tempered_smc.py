"""Tempered sequential Monte Carlo: draws of the posterior and its evidence, from particles that begin in the prior."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float, PRNGKeyArray

from hiddencodes.models import Posterior, Reduced
from hiddencodes.sampling import annealing, arguments, evidence, memory, tempered_run
from hiddencodes.sampling.annealing import Annealed
from hiddencodes.sampling.observables import Observable
from hiddencodes.sampling.path import Path, Schedule, coordinates, no_schedule
from hiddencodes.sampling.plan import Plan
from hiddencodes.sampling.problem import Precision, Problem, numerics, problem
from hiddencodes.sampling.sampler import Sampler
from hiddencodes.sampling.target import Target
from hiddencodes.tasks.arguments import Number


@dataclass(frozen=True, eq=False)
class TemperedSMC:
    """What `tempered_smc` returns.

    Points are those of the path, from the prior (point 0) to the posterior. With Z_m the estimate of population m, averages
    over populations weigh them by Z_m, and errors are delta-method errors from the spread between populations.

    Attributes:
        log_evidence: log p(D), in nats: the log of the mean of Z_m; with all constants of a Gaussian likelihood.
        log_evidence_error: Its standard error, sd(Z_m) / (√M mean(Z_m)). Where the Z_m differ by factors, a few
            populations decide, and the error is known no better than they are many: see `effective_populations`.
        population_log_evidence: log Z_m, (population,).
        log_evidence_ratio: log p(D) minus the log evidence at the output scale where the second leg began; 0 without one.
        log_evidence_ratio_error: Its standard error.
        path: One row per point: ``power`` λ, ``inverse_temperature`` λ/T, ``output_scale`` γ, ``log_normalizer`` and its
            error (log E_prior of the likelihood without the constant of the Gaussian one), ``population_log_normalizer``;
            for every point but the prior the derivatives ``d_power`` and ``d_log_output_scale`` of the log normalizer with
            errors, ``ess``, ``acceptance``, ``step_size``, ``gradients`` per transition and ``divergences``. Also the
            group ``tempering`` of the run.
        schedule: Points and tuning, to be used again.
        positions: Where the particles are, in coordinates whitened by the prior.
        run: The draws, as `hiddencodes.sampling.sample` returns them: chains are populations, draws are particles.
    """

    log_evidence: float
    log_evidence_error: float
    population_log_evidence: Float[np.ndarray, " population"]
    log_evidence_ratio: float
    log_evidence_ratio_error: float
    path: xr.Dataset = field(repr=False)
    schedule: Schedule = field(repr=False)
    positions: Float[np.ndarray, "population particle dimension"] = field(repr=False)
    run: xr.DataTree = field(repr=False)

    @property
    def population_weights(self) -> Float[np.ndarray, " population"]:
        """Z_m over their sum: the weights with which averages over all populations are taken."""
        return evidence.weights(self.population_log_evidence)

    @property
    def effective_populations(self) -> float:
        """How many populations the averages rest on, 1 / Σ_m (weight of m)²."""
        return float(1.0 / np.sum(self.population_weights**2))


class _Sizes(NamedTuple):
    populations: int
    particles: int
    mcmc_steps: int
    max_points: int


def tempered_smc(
    posterior: Posterior | Reduced,
    *,
    particles: int = 512,
    populations: int = 8,
    mcmc_steps: int = 10,
    target_ess: Number = 0.5,
    output_scale: Number | Literal["lazy"] = 1.0,
    sampler: str | Sampler = "hmc",
    schedule: TemperedSMC | Schedule | None = None,
    max_points: int = 1000,
    observables: Sequence[Observable] | None = None,
    precision: Precision = "float64",
    key: int | PRNGKeyArray = 0,
    memory_limit: int | None = None,
    verbose: bool = True,
) -> TemperedSMC:
    """Temper particles from the prior to the posterior; several independent populations in one compiled program.

    The density at a point of the path is ``prior x likelihood(T/λ)``, λ from 0 to 1: the posterior at a higher temperature,
    which for all weights is the likelihood to the power λ. From point to point particles are weighted, resampled
    within their population and moved by ``mcmc_steps`` transitions of the kernel; HMC's trajectories turn a coordinate by an
    angle jittered over (0, π]. The next λ is where the effective sample size of the weights is ``target_ess`` of the
    particles; the step size follows the acceptance, the metric the variance of the particles. All of this is pooled over
    populations, which are independent otherwise (`hiddencodes.sampling.annealing`). BlackJAX resamples, solves for the
    effective sample size and integrates.

    Particles settle in modes in proportion to what these weigh at the point where the modes part, and resampling corrects
    the shares from there on: unlike chains, they need not cross barriers. A mode that no particle finds is not noticed.

    With ``output_scale`` γ₀ other than 1 the path has two legs: at outputs γ₀ f from the prior to the posterior, then
    with γ from γ₀ to 1 at the posterior's temperature. ``"lazy"`` is the γ₀ that makes the readout multiplier 1/√N:
    ``log_evidence_ratio`` is then log Z of the posterior minus log Z of the lazy network of the same σ_a², and
    ``d_log_output_scale`` shows where along the way they part. A first-order transition between them shows as
    populations that disagree.

    Args:
        posterior: The posterior, reduced or not (`hiddencodes.models.reductions`).
        particles: Particles per population.
        populations: Number M of populations, at least 2.
        mcmc_steps: Transitions per particle and point.
        target_ess: Effective sample size that weights may fall to, as a share; in (0, 1).
        output_scale: γ₀, or ``"lazy"``.
        sampler: ``"hmc"`` (default), ``"mala"``, another local kernel, or what the functions of these names return.
        schedule: An earlier result for a posterior of the same shapes, or its schedule: its points and tuning are used,
            and the mean of Z_m is then exactly unbiased. None chooses them on the way, with a bias of order 1/(particles x
            populations).
        max_points: Most points of the path.
        observables: What is stored of a draw; see `default_observables`.
        precision: ``"float64"`` or ``"float32"``.
        key: Random key, or the integer to make one from.
        memory_limit: Bytes the run may use; None for all that is free.
        verbose: Print the memory budget to the standard error stream before compiling.

    Returns:
        `TemperedSMC`. Its run says ``draws: "particles"``: draws of a population are exchangeable but for common
        ancestors, which stand side by side, so that autocorrelations along ``draw`` are those of families. R-hat between
        populations, and effective sample sizes, mean what they mean for chains.

    Raises:
        ValueError: If an argument is out of range or ``max_points`` do not reach the end of the path.
        FloatingPointError: If particles left the finite numbers.
        MemoryError: If the run would not fit, before anything is compiled.

    Example:
        >>> from hiddencodes.models import MLP, mean_field, sigmoidal
        >>> from hiddencodes.tasks import orthogonal_classes
        >>> task = orthogonal_classes(n_train=4)
        >>> mlp = MLP(task.n_inputs, task.n_outputs, 5, 1, sigmoidal, mean_field)
        >>> posterior = Posterior(mlp, task, n_temperature=1.0)
        >>> result = tempered_smc(posterior, particles=50, populations=4, verbose=False)
        >>> result.log_evidence_error < 1.0, result.run["posterior"].sizes["draw"]
        (True, 50)
    """
    sizes = _Sizes(
        arguments.count("populations", populations, 2),
        arguments.count("particles", particles, 2),
        arguments.count("mcmc_steps", mcmc_steps, 1),
        arguments.count("max_points", max_points, 1),
    )
    if not 0.0 < target_ess < 1.0:
        raise ValueError(f"target_ess: expected a number in (0, 1), got {target_ess!r}")
    kernel = arguments.sampler(sampler)
    if not isinstance(kernel, Sampler):
        raise ValueError("sampler: numpyro_nuts runs chains of its own; expected a kernel, such as 'hmc'")
    if precision not in ("float64", "float32"):
        raise ValueError(f"precision: expected 'float64' or 'float32', got {precision!r}")
    setting = problem(arguments.posteriors(posterior, 1), observables)
    scale = starting_scale(setting, output_scale)
    random_key = arguments.random_key(key)
    with numerics(precision):
        dtype = np.dtype(precision)
        data = setting.data(dtype)
        arguments.check_dims(setting.target, data, dtype)
        _budget(setting, data, kernel, sizes, dtype, memory_limit, verbose)
        rows, n_given = _rows(schedule, setting.target, sizes.max_points, dtype)
        path = path_of(setting, data, scale, dtype)
        keys, observing = population_keys(random_key, sizes.populations)
        begin = time.perf_counter()
        done = annealing.anneal(
            kernel, setting.target, sizes.particles, sizes.mcmc_steps, keys, path,
            jnp.asarray(target_ess, dtype), rows, jnp.asarray(n_given, jnp.int32),
        )  # fmt: skip
        jax.block_until_ready(done.q)
        seconds = time.perf_counter() - begin
        _check_end(done, path, sizes)
        table = tempered_run.table(done, path)
        constant = normalizer(setting, path)
        run = tempered_run.run(setting, kernel, done, data, observing, dtype, seconds, precision, random_key)
    z = table["population_log_normalizer"].values
    corner = int(np.flatnonzero(table["power"].values >= 1.0)[0])
    total, ratio = evidence.log_mean(z[-1] + constant), evidence.log_ratio(z[-1], z[corner])
    n = int(done.n_done)
    result = TemperedSMC(
        float(total.value), float(total.error), z[-1] + constant, float(ratio.value), float(ratio.error), table,
        Schedule(*(np.asarray(leaf)[:n] for leaf in done.schedule)),
        np.asarray(done.q), run,
    )  # fmt: skip
    run["tempering"] = xr.DataTree(table)
    run.attrs |= {
        "log_evidence": result.log_evidence,
        "log_evidence_error": result.log_evidence_error,
        "population_log_evidence": json.dumps(result.population_log_evidence.tolist()),
    }
    return result


def starting_scale(setting: Problem, output_scale: Number | str) -> float:
    """γ₀ as a number.

    Raises:
        ValueError: If it is neither a positive number nor ``"lazy"``, or the network is lazy already.
    """
    mlp = setting.originals[0].mlp
    if isinstance(output_scale, str):
        if output_scale != "lazy":
            raise ValueError(f"output_scale: expected a positive number or 'lazy', got {output_scale!r}")
        readout = mlp.parameterization.layer(mlp.depth, mlp.depth)
        multiplier = readout.multiplier(mlp.width, mlp.n_outputs)
        lazy = mlp.width**-0.5 / (multiplier * readout.variance(mlp.width, mlp.n_outputs) ** 0.5)
        if np.isclose(lazy, 1.0):
            raise ValueError(
                f"output_scale: 'lazy' is where a network of width {mlp.width} in the parameterization "
                f"{mlp.parameterization.name!r} is already"
            )
        return float(lazy)
    if not 0.0 < output_scale < float("inf"):
        raise ValueError(f"output_scale: expected a positive number or 'lazy', got {output_scale!r}")
    return float(output_scale)


def path_of(setting: Problem, data: Any, scale: float, dtype: Any) -> Path:
    """The path to a posterior, by way of an output scale."""
    number = lambda value: jnp.asarray(value, dtype)
    temperature = setting.originals[0].temperature
    assert temperature is not None
    one_seed = jax.tree.map(lambda leaf: leaf[0], data)
    end = 1.0 if scale == 1.0 else 2.0
    return Path(one_seed, number(1.0 / temperature), number(np.log(scale)), number(end))


def normalizer(setting: Problem, path: Path) -> float:
    """The constant of the likelihood, -(P m/2) log(2 pi T) of a Gaussian one."""
    return float(
        setting.likelihood.log_normalizer(np.size(path.data.y_train), 1.0 / path.inverse_temperature)
    )


def population_keys(key: PRNGKeyArray, populations: int) -> tuple[Any, Any]:
    """Two streams for every population: its walk, and what is drawn when draws are recorded."""
    fold = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
    streams = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
    walk, observing = (fold(stream, jnp.arange(populations, dtype=jnp.uint32)) for stream in streams)
    return walk, observing


def _budget(
    setting: Problem, data: Any, kernel: Sampler, sizes: _Sizes, dtype: Any, limit: int | None, verbose: bool
) -> None:
    # Every particle is a lane of its own.
    lanes = sizes.populations * sizes.particles
    plan = Plan(np.arange(1), lanes, 0, 1, 1, np.arange(lanes), capacity=1)
    budget = memory.memory_budget(setting.target, data, kernel, plan, dtype, streamed=False)
    if verbose:
        print(budget, file=sys.stderr)
    memory.check(budget, limit)


def _rows(
    schedule: TemperedSMC | Schedule | None, target: Target, capacity: int, dtype: Any
) -> tuple[Schedule, int]:
    empty = no_schedule(capacity, target, dtype)
    if schedule is None:
        return empty, 0
    given = schedule.schedule if isinstance(schedule, TemperedSMC) else schedule
    n = len(given.position)
    if np.shape(given.scale) != (n, empty.scale.shape[1]):
        raise ValueError(
            f"schedule: expected the metric of {empty.scale.shape[1]} groups of coordinates, got an array of shape "
            f"{np.shape(given.scale)}"
        )
    if n > capacity:
        raise ValueError(f"schedule: its {n} points are more than max_points={capacity}")
    padded = [
        np.concatenate([np.asarray(leaf, dtype), np.asarray(rest)[n:]])
        for leaf, rest in zip(given, empty, strict=True)
    ]
    return Schedule(*padded), n


def _check_end(done: Annealed, path: Path, sizes: _Sizes) -> None:
    n = int(done.n_done)
    finite = np.isfinite(np.asarray(done.steps.log_weight)[:n]) & np.isfinite(np.asarray(done.position))
    if not np.all(finite):
        step, population = np.argwhere(~finite)[0]
        raise FloatingPointError(
            f"weights are not finite at point {step + 1} of the path, in population {population} first"
        )
    if done.position < path.end:
        at = coordinates(path, done.position)
        raise ValueError(
            f"{'schedule' if n < sizes.max_points else 'max_points'}: {n} points led to the power {float(at.power):.3g} "
            f"of the likelihood and the output scale {float(np.exp(at.log_scale)):.3g}, not to the end of the path"
        )
