"""Warm-up: temperature, step size, trajectory length and metric, pooled over the chains of a seed.

Three stages share one compiled program; a schedule of plain arrays says what each iteration does.

1. *Anneal* (70 %): the temperature falls geometrically from 1 to the target.
2. *Measure* (10 %): the variance of every coordinate about its own time average gives the metric.
3. *Settle* (20 %): step sizes and trajectory length settle; their averages are used for sampling.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from hiddencodes.sampling.sampler import Sampler, StepInfo

ANNEAL_FROM = 1.0
_ANNEAL_SHARE, _MEASURE_SHARE = 0.7, 0.1
# Prior weight, in draws, with which a measured variance is drawn towards that of the prior (one).
_METRIC_PRIOR_DRAWS = 5.0
_LENGTH_OPTIMIZER = optax.adam(0.03, b1=0.0, b2=0.95)
_OUT_OF_PROPORTION = 1e6
_LARGEST_LENGTH_UPDATE = 0.35


class Schedule(NamedTuple):
    """What every warm-up iteration does; one entry each.

    Attributes:
        log_heat: log of (temperature / target temperature), per seed (iteration, seed).
        gain: Gain of the Robbins-Monro update of the log step size (iteration, seed).
        coarse: Whether step sizes may still be far off (iteration,).
        measure: Whether the iteration contributes to the metric (iteration,).
        set_metric: Whether the metric is replaced after the iteration (iteration,).
        average_weight: Weight of the iteration in the final averages (iteration,).
    """

    log_heat: Float[np.ndarray, "iteration seed"]
    gain: Float[np.ndarray, "iteration seed"]
    coarse: Bool[np.ndarray, " iteration"]
    measure: Bool[np.ndarray, " iteration"]
    set_metric: Bool[np.ndarray, " iteration"]
    average_weight: Float[np.ndarray, " iteration"]


def schedule(warmup: int, temperatures: Float[np.ndarray, " seed"]) -> Schedule:
    """The schedule of a warm-up of that many iterations to those target temperatures."""
    n_anneal = int(_ANNEAL_SHARE * warmup)
    n_measure = int(_MEASURE_SHARE * warmup)
    n_settle = warmup - n_anneal - n_measure
    total_heat = np.maximum(np.log(ANNEAL_FROM / temperatures), 0.0)
    fraction_left = np.maximum(1.0 - (np.arange(warmup) + 1) / max(n_anneal, 1), 0.0)
    # The stable step falls like the root of the temperature: by total_heat / (2 n_anneal) per iteration in the logarithm.
    # A constant gain g follows with a lag in acceptance of that drift over g; ten times the drift keeps the lag at 0.1.
    gain = np.clip(10.0 * total_heat / (2.0 * max(n_anneal, 1)), 0.1, 1.0)[None, :]
    settled = np.maximum(np.arange(warmup) - (warmup - n_settle), 0)
    measure = (np.arange(warmup) >= n_anneal) & (np.arange(warmup) < n_anneal + n_measure)
    set_metric = np.arange(warmup) == (n_anneal + n_measure - 1 if n_measure >= 2 else -1)
    average_weight = (np.arange(warmup) >= warmup - (n_settle + 1) // 2).astype(float)
    return Schedule(
        log_heat=fraction_left[:, None] * total_heat[None, :],
        gain=gain / (1.0 + settled[:, None] / 5.0) ** 0.6,
        coarse=average_weight == 0.0,
        measure=measure,
        set_metric=set_metric,
        average_weight=average_weight,
    )


class AdaptationState(NamedTuple):
    """What warm-up carries from one iteration to the next.

    Attributes:
        log_step_size: Per seed.
        log_length: log of the longest trajectory length, shared by all lanes.
        log_step_size_sum, log_length_sum, weight_sum: For the final averages.
        optimizer: State of the optimizer of ``log_length``.
        scale: Root of the metric, per seed and coordinate: positions are ``q = scale * u``.
        center: Running mean of q over chains and draws, per seed.
        n_measured, mean, squares: Welford accumulators of q per chain over the measuring stage.
    """

    log_step_size: Float[Array, " seed"]
    log_length: Float[Array, ""]
    log_step_size_sum: Float[Array, " seed"]
    log_length_sum: Float[Array, ""]
    weight_sum: Float[Array, ""]
    optimizer: optax.OptState
    scale: Float[Array, "seed dimension"]
    center: Float[Array, "seed dimension"]
    n_measured: Float[Array, ""]
    mean: Float[Array, "seed chain dimension"]
    squares: Float[Array, "seed chain dimension"]


class Tuning(NamedTuple):
    """What warm-up hands to sampling.

    Attributes:
        step_size: Per seed.
        length: Longest trajectory length, shared.
        scale: Root of the metric.
    """

    step_size: Float[Array, " seed"]
    length: Float[Array, ""]
    scale: Float[Array, "seed dimension"]


def init(sampler: Sampler, q: Float[Array, "seed chain dimension"]) -> AdaptationState:
    """The state before the first iteration."""
    seeds, _, dimension = q.shape
    dtype = q.dtype
    log_length = jnp.asarray(np.log(1.5 * sampler.length_unit(dimension)), dtype)
    zero = jnp.zeros((), dtype)
    return AdaptationState(
        log_step_size=jnp.full(seeds, np.log(sampler.initial_step_size(dimension)), dtype),
        log_length=log_length,
        log_step_size_sum=jnp.zeros(seeds, dtype),
        log_length_sum=zero,
        weight_sum=zero,
        optimizer=_LENGTH_OPTIMIZER.init(log_length),
        scale=jnp.ones((seeds, dimension), dtype),
        center=_center(q),
        n_measured=zero,
        mean=jnp.zeros_like(q),
        squares=jnp.zeros_like(q),
    )


def _center(q: Float[Array, "seed chain dimension"]) -> Float[Array, "seed dimension"]:
    """The mean of the chains, without those that start out of all proportion: their densities overflow, and so would the mean."""
    size = jnp.max(jnp.abs(q), axis=2)
    near = (size <= _OUT_OF_PROPORTION * jnp.median(size, axis=1, keepdims=True)).astype(q.dtype)
    sums = jnp.sum(jnp.where(near[:, :, None] > 0, q, 0.0), axis=1)
    return sums / jnp.maximum(jnp.sum(near, axis=1), 1.0)[:, None]


def n_steps(
    sampler: Sampler,
    log_step_size: Float[Array, " seed"],
    log_length: Float[Array, ""],
    jitter: Float[Array, ""],
) -> Int[Array, ""]:
    """The number of integration steps of a draw, one number for all lanes.

    ``ceil(jitter * length / step)`` with the geometric mean of the seeds' step sizes and jitter in (0, 1).
    """
    if not sampler.tunes_length:
        return jnp.ones((), jnp.int32)
    steps = jnp.ceil(jitter * jnp.exp(log_length - jnp.mean(log_step_size)))
    return jnp.clip(steps, 1, sampler.max_steps).astype(jnp.int32)


def halton(iteration: Int[Array, ""], dtype: jnp.dtype) -> Float[Array, ""]:
    """Element ``iteration`` + 1 of the base-2 Halton sequence in (0, 1): jitter that fills the interval evenly."""
    bits = jnp.arange(20, dtype=jnp.int32)
    digits = jnp.right_shift(iteration + 1, bits) & 1
    return jnp.sum(digits.astype(dtype) * jnp.exp2(-(bits + 1).astype(dtype)))


def _length_gradient(
    q: Float[Array, "seed chain dimension"],
    info: StepInfo,
    state: AdaptationState,
    weight: Float[Array, "seed chain"],
) -> Float[Array, ""]:
    """Gradient of the ChEES criterion E[(|u'-m|^2 - |u-m|^2)^2]/4 by the log length, averaged over all lanes.

    Up to factors that Adam normalizes. The center m is a running mean over draws and chains, so that a few chains suffice.
    """
    center = (state.center / state.scale)[:, None, :]
    start = q / state.scale[:, None, :] - center
    end = info.proposal - center
    change = jnp.sum(end**2, axis=-1) - jnp.sum(start**2, axis=-1)
    gradient = change * jnp.sum(end * info.velocity, axis=-1)
    gradient = jnp.where(weight > 0.0, gradient, 0.0)
    return jnp.sum(weight * gradient) / jnp.maximum(jnp.sum(weight), 1e-6)


def _pool(variance: Float[Array, "seed dimension"], groups: Int[np.ndarray, " dimension"]) -> Array:
    """Average over exchangeable coordinates."""
    n_groups = int(groups.max()) + 1
    sums = jax.vmap(lambda v: jax.ops.segment_sum(v, groups, n_groups))(variance)
    counts = np.bincount(groups, minlength=n_groups).astype(variance.dtype)
    return (sums / counts[None, :])[:, groups]


def update(
    sampler: Sampler,
    groups: Int[np.ndarray, " dimension"],
    state: AdaptationState,
    now: Schedule,
    jitter: Float[Array, ""],
    old_q: Float[Array, "seed chain dimension"],
    new_q: Float[Array, "seed chain dimension"],
    finite: Bool[Array, "seed chain"],
    info: StepInfo,
) -> AdaptationState:
    """One iteration's worth of learning. Chains that left the finite numbers teach nothing.

    Args:
        sampler: The sampler.
        groups: Exchangeable coordinates, see `Target.groups`.
        state: The state before.
        now: This iteration's row of the schedule.
        jitter: This iteration's jitter of the trajectory length.
        old_q: Positions before the transition.
        new_q: Positions after it.
        finite: Which chains are healthy.
        info: The transitions' reports (seed, chain).
    """
    dtype = state.scale.dtype
    healthy = finite.astype(dtype)
    n_healthy = jnp.maximum(jnp.sum(healthy, axis=1), 1.0)

    acceptance = jnp.where(finite, info.acceptance_rate.astype(dtype), 0.0)
    error = jnp.sum(acceptance, axis=1) / n_healthy - sampler.target_acceptance
    # A chain that falls behind the temperature rejects everything and drags the pooled step down until it moves again.
    # Far from the target both ends weigh alike, so that the step comes back as fast as it went.
    one_sided = jnp.where(
        error > 0.0, error / (1.0 - sampler.target_acceptance), error / sampler.target_acceptance
    )
    error = jnp.where(jnp.asarray(now.coarse), one_sided, error)
    error = jnp.where(jnp.any(finite, axis=1), error, 0.0)
    log_step_size = state.log_step_size + jnp.asarray(now.gain, dtype) * error

    log_length, optimizer = state.log_length, state.optimizer
    if sampler.tunes_length:
        weight = acceptance * (~info.diverging).astype(dtype)
        gradient = jitter * _length_gradient(old_q, info, state, weight)
        # Of a chain that overflows before it is known to be lost nothing is learned, by nobody.
        gradient = jnp.where(jnp.isfinite(gradient), gradient, 0.0)
        # optax descends, the criterion is to be climbed; Adam raises a float to an integer power.
        with jax.numpy_dtype_promotion("standard"):
            update_, optimizer = _LENGTH_OPTIMIZER.update(-gradient, state.optimizer)
        assert isinstance(update_, jax.Array)
        log_length = log_length + jnp.clip(update_, -_LARGEST_LENGTH_UPDATE, _LARGEST_LENGTH_UPDATE)
        shortest = jnp.mean(log_step_size)
        log_length = jnp.clip(log_length, shortest, shortest + np.log(sampler.max_steps))

    kept_q = jnp.where(finite[:, :, None], new_q, 0.0)
    mean_now = jnp.sum(kept_q, axis=1) / n_healthy[:, None]
    center = state.center + 0.05 * (mean_now - state.center)

    measuring = jnp.asarray(now.measure).astype(dtype)
    count = state.n_measured + measuring
    delta = kept_q - state.mean
    mean = state.mean + measuring * delta / jnp.maximum(count, 1.0)
    squares = state.squares + measuring * delta * (kept_q - mean)
    within = jnp.sum(squares * healthy[:, :, None], axis=1) / n_healthy[:, None]
    variance = (_pool(within, groups) + _METRIC_PRIOR_DRAWS) / (count - 1.0 + _METRIC_PRIOR_DRAWS)
    scale = jnp.where(jnp.asarray(now.set_metric), jnp.sqrt(jnp.maximum(variance, 1e-12)), state.scale)

    average_weight = jnp.asarray(now.average_weight, dtype)
    return AdaptationState(
        log_step_size=log_step_size,
        log_length=log_length,
        log_step_size_sum=state.log_step_size_sum + average_weight * log_step_size,
        log_length_sum=state.log_length_sum + average_weight * log_length,
        weight_sum=state.weight_sum + average_weight,
        optimizer=optimizer,
        scale=scale,
        center=center,
        n_measured=count,
        mean=mean,
        squares=squares,
    )


def finish(state: AdaptationState) -> Tuning:
    """The averages over the end of warm-up (the last values when there was no warm-up)."""
    weight = jnp.maximum(state.weight_sum, 1.0)
    averaged = state.weight_sum > 0.0
    log_step_size = jnp.where(averaged, state.log_step_size_sum / weight, state.log_step_size)
    log_length = jnp.where(averaged, state.log_length_sum / weight, state.log_length)
    return Tuning(step_size=jnp.exp(log_step_size), length=jnp.exp(log_length), scale=state.scale)
