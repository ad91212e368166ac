"""Jittered Hamiltonian Monte Carlo, the default sampler."""

from typing import Any

import blackjax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from hiddencodes.sampling import leapfrog
from hiddencodes.sampling.sampler import LogDensity, Sampler, StepInfo

# BlackJAX annotates the arrays of its states and reports as float and bool.
_kernel: Any = blackjax.hmc.build_kernel(leapfrog.hand_over, build_proposal=leapfrog.proposal)


def quarter_power_step(dimension: int) -> float:
    """The step size at which leapfrog's acceptance stays O(1) on a Gaussian of that dimension, D^(-1/4)."""
    return float(dimension) ** -0.25


def unit_length(dimension: int) -> float:
    """Hamiltonian time turns a standard Gaussian at unit angular velocity, whatever its dimension."""
    del dimension
    return 1.0


def initial_energy(state: Any, momentum: Array) -> Array:
    """Total energy at the start of a trajectory, with the unit metric."""
    return -state.logdensity + 0.5 * jnp.vdot(momentum, momentum)


def step(
    key: PRNGKeyArray, state: Any, log_density: LogDensity, step_size: Array, n_steps: Array, max_steps: int
) -> tuple[Any, StepInfo]:
    """One draw: ``n_steps`` leapfrog steps and a Metropolis test."""
    del max_steps
    unit_metric = jnp.ones_like(state.position)
    new_state, info = _kernel(key, state, log_density, step_size, unit_metric, n_steps)
    return new_state, StepInfo(
        acceptance_rate=info.acceptance_rate,
        diverging=info.is_divergent,
        energy=initial_energy(state, info.momentum),
        n_steps=n_steps,
        proposal=info.proposal.position,
        # BlackJAX flips the momentum of the end point to make the proposal an involution.
        velocity=-info.proposal.momentum,
    )


def hmc(*, target_acceptance: float = 0.8, max_steps: int = 256) -> Sampler:
    """Hamiltonian Monte Carlo whose trajectory length is tuned by ChEES and jittered over (0, L].

    Every lane (chain x seed) takes the same number of leapfrog steps in a draw, so that a batch of chains stays in lock
    step and no gradient is wasted. ChEES: Hoffman, Radul and
    Sountsov, AISTATS 2021 (PMLR 130).

    Args:
        target_acceptance: Acceptance that the step size of a seed is tuned to, pooled over its chains.
        max_steps: Most leapfrog steps per draw.

    Example:
        >>> hmc(target_acceptance=0.9).name
        'hmc'
    """
    return Sampler(
        name="hmc",
        target_acceptance=target_acceptance,
        max_steps=max_steps,
        tunes_length=True,
        has_energy=True,
        initial_step_size=quarter_power_step,
        length_unit=unit_length,
        init=blackjax.hmc.init,
        step=step,
    )
