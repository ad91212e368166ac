"""The no-U-turn sampler, kept as a reference."""

from typing import Any

import blackjax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from hiddencodes.sampling.hmc import initial_energy, quarter_power_step, unit_length
from hiddencodes.sampling.sampler import LogDensity, Sampler, StepInfo

# BlackJAX annotates the arrays of its states and reports as float and bool.
_kernel: Any = blackjax.nuts.build_kernel()


def step(
    key: PRNGKeyArray, state: Any, log_density: LogDensity, step_size: Array, n_steps: Array, max_steps: int
) -> tuple[Any, StepInfo]:
    """One draw: a trajectory doubled until it turns, at most ``max_steps`` long; ``n_steps`` is not used."""
    del n_steps
    unit_metric = jnp.ones_like(state.position)
    doublings = max_steps.bit_length() - 1
    new_state, info = _kernel(key, state, log_density, step_size, unit_metric, doublings)
    return new_state, StepInfo(
        acceptance_rate=info.acceptance_rate,
        diverging=info.is_divergent,
        energy=initial_energy(state, info.momentum),
        n_steps=info.num_integration_steps,
        proposal=new_state.position,
        velocity=jnp.zeros_like(new_state.position),
    )


def nuts(*, target_acceptance: float = 0.8, max_doublings: int = 8) -> Sampler:
    """The no-U-turn sampler (arXiv 1111.4246) with a step size pooled over the chains of a seed.

    Under `jax.vmap` every lane waits for the longest trajectory; the run's ``sample_stats/n_steps`` shows what that costs.

    Args:
        target_acceptance: Acceptance that the step size of a seed is tuned to.
        max_doublings: Most doublings of a trajectory; memory grows with it.

    Example:
        >>> nuts(max_doublings=6).max_steps
        64
    """
    return Sampler(
        name="nuts",
        target_acceptance=target_acceptance,
        max_steps=2**max_doublings,
        tunes_length=False,
        has_energy=True,
        initial_step_size=quarter_power_step,
        length_unit=unit_length,
        init=blackjax.nuts.init,
        step=step,
    )
