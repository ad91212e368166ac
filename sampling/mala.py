"""The Metropolis-adjusted Langevin algorithm."""

from typing import Any

import blackjax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from hiddencodes.sampling.hmc import unit_length
from hiddencodes.sampling.sampler import LogDensity, Sampler, StepInfo

# BlackJAX annotates the arrays of its states and reports as float and bool.
_kernel: Any = blackjax.mala.build_kernel()


def _initial_step_size(dimension: int) -> float:
    return 0.5 * float(dimension) ** (-1.0 / 3.0)


def step(
    key: PRNGKeyArray, state: Any, log_density: LogDensity, step_size: Array, n_steps: Array, max_steps: int
) -> tuple[Any, StepInfo]:
    """One draw: one Langevin step and a Metropolis test; ``n_steps`` and ``max_steps`` are not used."""
    del max_steps
    new_state, info = _kernel(key, state, log_density, step_size)
    return new_state, StepInfo(
        acceptance_rate=info.acceptance_rate,
        # BlackJAX's MALA reports no divergences; a transition whose probability is exactly zero is one.
        diverging=info.acceptance_rate == 0.0,
        energy=jnp.full_like(new_state.logdensity, jnp.nan),
        n_steps=jnp.ones_like(n_steps),
        proposal=new_state.position,
        velocity=jnp.zeros_like(new_state.position),
    )


def mala(*, target_acceptance: float = 0.574) -> Sampler:
    """The Metropolis-adjusted Langevin algorithm, ``x' = x + eps grad + sqrt(2 eps) xi``.

    Args:
        target_acceptance: Acceptance that the step size of a seed is tuned to; 0.574 is optimal for many independent
            coordinates (doi 10.1111/1467-9868.00123).

    Example:
        >>> mala().target_acceptance
        0.574
    """
    return Sampler(
        name="mala",
        target_acceptance=target_acceptance,
        max_steps=1,
        tunes_length=False,
        has_energy=False,
        initial_step_size=_initial_step_size,
        length_unit=unit_length,
        init=blackjax.mala.init,
        step=step,
    )
