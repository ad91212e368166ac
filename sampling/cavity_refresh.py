"""Cavity refresh: a unit forgets its code and takes a new one that fits what all others do.

One hidden layer, orthogonal inputs, Gaussian likelihood. With φ_i the activations of unit i on the training patterns, the
readout integrated out, w the prior variance of a unit's contribution to an output per square of its activation, and
A⁻¹ = w Σ_{j≠i} φ_j φ_jᵀ + T I, the exact law of a unit given all others' pre-activations is, α = a_i/σ_a,

    log π(α, x | rest) = -|x|²/2 - |α|²/2 + α·u(x) - |α|² s(x)/2,   u = √w Yᵀ A φ(x),   s = w φ(x)ᵀ A φ(x).

A unit's α is drawn from its law given x. The proposal is a new α' from a mixture over the codes known so far, and given
α' a new x' from a product of tabulated densities in the field of the other units,

    p_μ(x) ∝ exp(-x²/2 + h_μ φ - D_μ (φ - m_μ)²/2),   h = √w A Y α' - w|α'|² A m,   D = w|α'|² diag A,

with m the mean activations of the code that α' belongs to: of A only the off-diagonal quadratic part around m is left out.
The Metropolis test is exact, so that codes, their means and their spreads may come from earlier samples and be anything.
"""

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PRNGKeyArray

from hiddencodes.models.activations import Activation
from hiddencodes.sampling import unit_density
from hiddencodes.sampling.code_proposals import Codes, RefreshInfo, mixture, propose


def refresh(
    key: PRNGKeyArray,
    x: Float[Array, "unit pattern"],
    y: Float[Array, "pattern output"],
    scale: Float[Array, ""],
    weight: Float[Array, ""],
    temperature: Float[Array, ""],
    codes: Codes,
    activation: Activation,
) -> tuple[Float[Array, "unit pattern"], RefreshInfo]:
    """One sweep over all units, in order.

    Args:
        key: Random key.
        x: White pre-activations, z = scale x; their law with the readout integrated out stays as it is.
        y: Targets.
        scale: Prior standard deviation √κ of a pre-activation.
        weight: w, see `hiddencodes.models.readout_regression.readout_weight`.
        temperature: T.
        codes: The proposal.
        activation: φ.

    Returns:
        The new pre-activations and the counts.
    """
    dtype = x.dtype
    (n_units, n_patterns), n_outputs = x.shape, y.shape[1]
    n_codes = len(codes.log_weight)
    phi_nodes = activation(scale * unit_density.nodes(dtype))
    uniform_key, alpha_key, proposal_key, test_key = jax.random.split(key, 4)
    uniforms = jax.random.uniform(uniform_key, x.shape, dtype)
    alpha_noise = jax.random.normal(alpha_key, (n_units, n_outputs), dtype)
    proposals = propose(proposal_key, codes, n_units)
    log_uniforms = jnp.log(jax.random.uniform(test_key, (n_units,), dtype))
    terms_of = mixture(codes)

    # [A⁻¹]⁻¹ of all units and its products with what fields are made of, side by side: one row vector times it gives both.
    known = jnp.concatenate([jnp.sqrt(weight) * y, codes.activation.T], axis=1)
    phi = activation(scale * x)
    gram = weight * (phi.T @ phi) + temperature * jnp.eye(n_patterns, dtype=dtype)
    both = jnp.concatenate([jnp.eye(n_patterns, dtype=dtype), known], axis=1)
    wide = cho_solve((jnp.linalg.cholesky(gram), True), both)

    def body(i: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
        x, wide, proposed, accepted = carry
        old = x[i]
        phi_old = activation(scale * old)
        # The unit taken out: A = A_all + (w/d) v vᵀ with v = A_all φ, d = 1 - w φ·v; then A φ = v/d.
        v = phi_old @ wide
        overlap = weight * jnp.dot(phi_old, v[:n_patterns])
        out = (weight / (1.0 - overlap)) * v[:n_patterns]
        products = wide[:, n_patterns:] + out[:, None] * v[None, n_patterns:]  # A √w Y, A m of every code
        diagonal = jnp.diagonal(wide) + out * v[:n_patterns]
        drive_old = v[n_patterns : n_patterns + n_outputs] / (1.0 - overlap)
        stiffness_old = overlap / (1.0 - overlap)

        precision = 1.0 + stiffness_old
        alpha_old = drive_old / precision + alpha_noise[i] / jnp.sqrt(precision)
        # Everything that concerns the old and the new unit alike, side by side.
        alpha = jnp.stack([alpha_old, proposals.alpha[i]])
        terms = jnp.stack([terms_of(alpha_old), proposals.terms[i]])
        code = jnp.argmax(terms, axis=1)
        size = weight * jnp.sum(alpha**2, axis=1)[:, None]
        quadratic = size * diagonal[None, :]
        linear = alpha @ products[:, :n_outputs].T - size * products.T[n_outputs + code]
        linear = linear + quadratic * codes.activation[code]
        heights = jax.vmap(unit_density.polygons, in_axes=(0, 0, None))(linear, quadratic, phi_nodes)
        new = unit_density.draw(heights[1], uniforms[i])
        log_densities = jax.vmap(unit_density.log_density)(heights, jnp.stack([old, new]))

        phi_new = activation(scale * new)
        seen = phi_new @ wide + jnp.dot(phi_new, out) * v
        drive = jnp.stack([drive_old, seen[n_patterns : n_patterns + n_outputs]])
        stiffness = jnp.stack([stiffness_old, weight * jnp.dot(phi_new, seen[:n_patterns])])
        prior = jnp.sum(jnp.stack([old, new]) ** 2, axis=1)
        log_law = jnp.sum(alpha * drive, axis=1) - 0.5 * (
            prior + jnp.sum(alpha**2, axis=1) * (1.0 + stiffness)
        )
        gains = log_law - log_densities - logsumexp(terms, axis=1)
        accept = log_uniforms[i] < gains[1] - gains[0]
        # The old unit out of A⁻¹ and the new one in, or nothing.
        into = jnp.where(accept, weight / (1.0 + stiffness[1]), 0.0) * seen[:n_patterns]
        out = jnp.where(accept, out, 0.0)
        wide = wide + out[:, None] * v[None, :] - into[:, None] * seen[None, :]
        rows = jnp.arange(n_codes)
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
