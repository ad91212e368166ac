"""Annealed refresh: a unit is carried to another readout in small steps, and its pre-activations follow.

Like the cavity refresh (`hiddencodes.sampling.cavity_refresh`, whose notation this file uses), but for any inputs: where
patterns are correlated, no product of one-dimensional densities is close to the law of a unit's pre-activations. With x the
unit's white incoming weights, z = X x, and the readouts of all units integrated out,

    log π(α, x | rest) = -|x|²/2 - |α|²/2 + α·u(z) - |α|² s(z)/2,   u = √w Yᵀ A φ(z),   s = w φ(z)ᵀ A φ(z),

a path α_0, ..., α_S leads straight from a draw α_0 of the readout given x to a proposal α_S from the mixture R over the codes known so
far. Between its points x makes a Hamiltonian step (with its Metropolis test) that leaves π(x | α_s) invariant. The end is taken with probability
min(1, r),

    log r = Σ_s [log π(α_{s+1}, x_s) - log π(α_s, x_s)] + log R(α_0) - log R(α_S):

the weight of annealed importance sampling (Neal 2001; Neal 1996 for such transitions), exact because the same path backwards
has the reverse probability.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PRNGKeyArray

from hiddencodes.models.activations import Activation
from hiddencodes.sampling.code_proposals import Codes, RefreshInfo, mixture, propose


class PathSettings(NamedTuple):
    """How units are carried along.

    Attributes:
        points: S, steps of the readout.
        steps: Leapfrog steps of x between two of them.
    """

    points: int
    steps: int


def refresh_along_paths(
    key: PRNGKeyArray,
    x: Float[Array, "unit coordinate"],
    inputs: Float[Array, "pattern coordinate"],
    y: Float[Array, "pattern output"],
    weight: Float[Array, ""],
    temperature: Float[Array, ""],
    codes: Codes,
    step_size: Float[Array, ""],
    activation: Activation,
    settings: PathSettings,
) -> tuple[Float[Array, "unit coordinate"], RefreshInfo]:
    """One sweep over all units, in order.

    Args:
        key: Random key.
        x: White incoming weights; their law with the readout integrated out stays as it is.
        inputs: X, such that the pre-activations are ``x @ inputs.T``.
        y: Targets.
        weight: w, see `hiddencodes.models.readout_regression.readout_weight`.
        temperature: T.
        codes: The proposal.
        step_size: Of the leapfrog steps.
        activation: φ.
        settings: The path.

    Returns:
        The new weights and the counts.
    """
    dtype = x.dtype
    n_units, (n_patterns, n_outputs) = len(x), y.shape
    n_codes = len(codes.log_weight)
    proposal_key, alpha_key, test_key, path_key = jax.random.split(key, 4)
    proposals = propose(proposal_key, codes, n_units)
    terms_of = mixture(codes)
    alpha_noise = jax.random.normal(alpha_key, (n_units, n_outputs), dtype)
    log_uniforms = jnp.log(jax.random.uniform(test_key, (n_units,), dtype))
    path_keys = jax.random.split(path_key, n_units)

    phi = activation(x @ inputs.T)
    identity = jnp.eye(n_patterns, dtype=dtype)
    factor = jnp.linalg.cholesky(weight * (phi.T @ phi) + temperature * identity)
    # A of all units and A √w Y, side by side.
    wide = cho_solve((factor, True), jnp.concatenate([identity, jnp.sqrt(weight) * y], axis=1))

    def body(i: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
        x, wide, proposed, accepted = carry
        old = x[i]
        phi_old = activation(inputs @ old)
        # The unit taken out, see the cavity refresh.
        v = phi_old @ wide
        overlap = weight * jnp.dot(phi_old, v[:n_patterns])
        cavity = wide + (weight / (1.0 - overlap)) * v[:n_patterns, None] * v[None, :]
        stiffness = overlap / (1.0 - overlap)
        drive = v[n_patterns:] / (1.0 - overlap)
        precision = 1.0 + stiffness
        start = drive / precision + alpha_noise[i] / jnp.sqrt(precision)

        new, work = _carried(
            path_keys[i],
            old,
            (start, proposals.alpha[i]),
            inputs,
            cavity,
            weight,
            step_size,
            activation,
            settings,
        )
        terms = jnp.stack([terms_of(start), proposals.terms[i]])
        gain = work + logsumexp(terms[0]) - logsumexp(terms[1])
        accept = log_uniforms[i] < gain
        phi_new = activation(inputs @ new)
        seen = phi_new @ cavity
        into = weight / (1.0 + weight * jnp.dot(phi_new, seen[:n_patterns])) * seen[:n_patterns]
        wide = jnp.where(accept, cavity - into[:, None] * seen[None, :], wide)
        rows = jnp.arange(n_codes)
        code = jnp.argmax(terms, axis=1)
        pair = (rows == code[0])[:, None] & (rows == code[1])[None, :]
        return (
            x.at[i].set(jnp.where(accept, new, old)),
            wide,
            proposed + pair.astype(jnp.int32),
            accepted + (pair & accept).astype(jnp.int32),
        )

    none = jnp.zeros((n_codes, n_codes), jnp.int32)
    x, _, proposed, accepted = jax.lax.fori_loop(0, n_units, body, (x, wide, none, none))
    return x, RefreshInfo(proposed, accepted)


def _carried(
    key: PRNGKeyArray,
    x: Float[Array, " coordinate"],
    ends: tuple[Float[Array, " output"], Float[Array, " output"]],
    inputs: Float[Array, "pattern coordinate"],
    cavity: Float[Array, "pattern both"],
    weight: Float[Array, ""],
    step_size: Float[Array, ""],
    activation: Activation,
    settings: PathSettings,
) -> tuple[Float[Array, " coordinate"], Float[Array, ""]]:
    """The end of the path in x and the sum of what its steps in the readout gained."""
    n_patterns = len(inputs)
    inverse, field = cavity[:, :n_patterns], cavity[:, n_patterns:]

    def log_law(x: Float[Array, " coordinate"], alpha: Float[Array, " output"]) -> Float[Array, ""]:
        phi = activation(inputs @ x)
        size = jnp.dot(alpha, alpha)
        quadratic = jnp.dot(x, x) + size + weight * size * jnp.dot(phi, inverse @ phi)
        return jnp.dot(phi, field @ alpha) - 0.5 * quadratic

    def readout(s: Array) -> Float[Array, " output"]:
        share = s.astype(x.dtype) / settings.points
        return ends[0] + share * (ends[1] - ends[0])

    def raised(s: Array, x: Array) -> Array:
        return log_law(x, readout(s + 1)) - log_law(x, readout(s))

    def step(s: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        x, work = carry
        work = work + raised(s, x)
        moved, _ = hamiltonian_step(
            jax.random.fold_in(key, s), x, lambda x: log_law(x, readout(s + 1)), step_size, settings.steps
        )
        return moved, work

    last = settings.points - 1
    zero = jnp.zeros((), x.dtype)
    x, work = jax.lax.fori_loop(0, last, step, (x, zero))
    return x, work + raised(jnp.asarray(last), x)


def hamiltonian_step(
    key: PRNGKeyArray,
    x: Float[Array, " coordinate"],
    log_law: Callable[[Array], Array],
    step_size: Float[Array, ""],
    steps: int,
) -> tuple[Float[Array, " coordinate"], Float[Array, ""]]:
    """A transition of Hamiltonian Monte Carlo with unit masses, and the probability of its acceptance."""
    momentum_key, test_key = jax.random.split(key)
    momentum = jax.random.normal(momentum_key, x.shape, x.dtype)
    gradient = jax.grad(log_law)

    def leapfrog(_: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        x, p, force = carry
        p = p + 0.5 * step_size * force
        x = x + step_size * p
        force = gradient(x)
        return x, p + 0.5 * step_size * force, force

    end, p, _ = jax.lax.fori_loop(0, steps, leapfrog, (x, momentum, gradient(x)))
    energy = 0.5 * (jnp.dot(momentum, momentum) - jnp.dot(p, p))
    chance = jnp.exp(jnp.minimum(log_law(end) - log_law(x) + energy, 0.0))
    accept = jax.random.uniform(test_key, (), x.dtype) < chance
    return jnp.where(accept, end, x), chance
