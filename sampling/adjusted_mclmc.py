"""Metropolis-adjusted microcanonical Langevin Monte Carlo."""

from typing import Any

import blackjax
import jax
import jax.numpy as jnp
from blackjax.mcmc import adjusted_mclmc as blackjax_adjusted_mclmc
from jaxtyping import Array, PRNGKeyArray

from hiddencodes.sampling.sampler import LogDensity, Sampler, StepInfo

# BlackJAX annotates the arrays of its states and reports as float and bool.
_kernel: Any = blackjax_adjusted_mclmc.build_kernel()


def _initial_step_size(dimension: int) -> float:
    # Arc length: the velocity is a unit vector, so a step moves every coordinate by eps / sqrt(D).
    return float(dimension) ** 0.25


def arc_length(dimension: int) -> float:
    """The radius of the shell on which a standard Gaussian lives, D^(1/2): one radian of it is that long."""
    return float(dimension) ** 0.5


def step(
    key: PRNGKeyArray, state: Any, log_density: LogDensity, step_size: Array, n_steps: Array, max_steps: int
) -> tuple[Any, StepInfo]:
    """One draw: ``n_steps`` isokinetic McLachlan steps (two gradients each) and a Metropolis test."""
    del max_steps
    # BlackJAX multiplies the integer number of steps by the step size, which strict promotion forbids.
    with jax.numpy_dtype_promotion("standard"):
        new_state, info = _kernel(key, state, log_density, step_size, integration_steps_params=(n_steps,))
    return new_state, StepInfo(
        acceptance_rate=info.acceptance_rate,
        diverging=info.is_divergent,
        energy=jnp.full_like(state.logdensity, jnp.nan),
        n_steps=2 * n_steps,
        proposal=info.proposal.position,
        velocity=info.proposal.momentum,
    )


def adjusted_mclmc(*, target_acceptance: float = 0.9, max_steps: int = 256) -> Sampler:
    """Microcanonical (isokinetic) dynamics with full velocity refreshment and a Metropolis test (arXiv 2503.01707).

    The trajectory length is tuned by ChEES and jittered as for HMC, and shared by all lanes.

    Args:
        target_acceptance: Acceptance that the step size of a seed is tuned to.
        max_steps: Most integrator steps per draw.

    Example:
        >>> adjusted_mclmc().tunes_length
        True
    """
    return Sampler(
        name="adjusted_mclmc",
        target_acceptance=target_acceptance,
        max_steps=max_steps,
        tunes_length=True,
        has_energy=False,
        initial_step_size=_initial_step_size,
        length_unit=arc_length,
        init=blackjax.adjusted_mclmc.init,
        step=step,
    )
