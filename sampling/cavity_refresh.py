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

A changes by two terms of rank one with every unit. They are kept as rows for a block of units before they are added to the matrix:
a product with it then reads the matrix, which is what takes time where there are many patterns, and does not write it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PRNGKeyArray

from hiddencodes.models.activations import Activation
from hiddencodes.sampling import unit_density
from hiddencodes.sampling.code_proposals import Codes, RefreshInfo, mixture, propose

# Most units between two updates of the matrix.
_BLOCK = 32


class _Unit(NamedTuple):
    """A unit and the random numbers that are its own.

    Attributes:
        x: White pre-activations.
        noise: For its readout given x, standard normal.
        alpha: The proposed readout.
        terms: Logarithms of the terms of its density.
        uniform: For the proposed pre-activations.
        log_uniform: For the test.
    """

    x: Float[Array, "*unit pattern"]
    noise: Float[Array, "*unit output"]
    alpha: Float[Array, "*unit output"]
    terms: Float[Array, "*unit code"]
    uniform: Float[Array, "*unit pattern"]
    log_uniform: Float[Array, "*unit"]


class _Field(NamedTuple):
    """What the units make of each other: A = matrix + Σ_k sign_k row_k row_kᵀ.

    Attributes:
        rows: Vectors since the matrix was last updated.
        signs: Their weights; zero for those to come.
        known: A times √w Y and the mean activations of the codes, side by side.
        diagonal: diag A.
    """

    rows: Float[Array, "row pattern"]
    signs: Float[Array, " row"]
    known: Float[Array, "pattern known"]
    diagonal: Float[Array, " pattern"]

    def times(self, phi: Float[Array, " pattern"], by_matrix: Float[Array, " pattern"]) -> Array:
        """A φ, where the product of φ with the matrix is there."""
        return by_matrix + (self.signs * (self.rows @ phi)) @ self.rows


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
    proposals = propose(proposal_key, codes, n_units)
    units = _Unit(
        x,
        jax.random.normal(alpha_key, (n_units, n_outputs), dtype),
        proposals.alpha,
        proposals.terms,
        jax.random.uniform(uniform_key, x.shape, dtype),
        jnp.log(jax.random.uniform(test_key, (n_units,), dtype)),
    )
    terms_of = mixture(codes)

    phi = activation(scale * x)
    identity = jnp.eye(n_patterns, dtype=dtype)
    factor = (jnp.linalg.cholesky(weight * (phi.T @ phi) + temperature * identity), True)
    matrix = cho_solve(factor, identity)
    known = cho_solve(factor, jnp.concatenate([jnp.sqrt(weight) * y, codes.activation.T], axis=1))

    def visit(
        matrix: Array, field: _Field, numbered: tuple[Array, _Unit, Array]
    ) -> tuple[_Field, tuple[Array, ...]]:
        """A unit: its number in the block, itself, and its activations times the matrix."""
        number, unit, by_matrix = numbered
        phi_old = activation(scale * unit.x)
        # The unit taken out: A_out = A + e v vᵀ with v = A φ, e = w/d, d = 1 - w φ·v; then A_out φ = v/d.
        v = field.times(phi_old, by_matrix)
        overlap = weight * jnp.dot(phi_old, v)
        out = weight / (1.0 - overlap)
        v_known = phi_old @ field.known
        known = field.known + (out * v)[:, None] * v_known[None, :]
        diagonal = field.diagonal + out * v**2
        drive_old = v_known[:n_outputs] / (1.0 - overlap)
        stiffness_old = overlap / (1.0 - overlap)

        precision = 1.0 + stiffness_old
        alpha_old = drive_old / precision + unit.noise / jnp.sqrt(precision)
        # Everything that concerns the old and the new unit alike, side by side.
        alpha = jnp.stack([alpha_old, unit.alpha])
        terms = jnp.stack([terms_of(alpha_old), unit.terms])
        code = jnp.argmax(terms, axis=1)
        size = weight * jnp.sum(alpha**2, axis=1)[:, None]
        quadratic = size * diagonal[None, :]
        linear = alpha @ known[:, :n_outputs].T - size * known.T[n_outputs + code]
        linear = linear + quadratic * codes.activation[code]
        densities = [unit_density.polygons(linear[k], quadratic[k], phi_nodes) for k in range(2)]
        both = jnp.stack([unit.x, unit_density.draw(densities[1], unit.uniform)])
        log_densities = jnp.stack(
            [jnp.sum(unit_density.log_density(densities[k], both[k])) for k in range(2)]
        )

        phi_new = activation(scale * both[1])
        seen = field.times(phi_new, phi_new @ matrix) + (out * jnp.dot(phi_new, v)) * v
        seen_known = phi_new @ known
        drive = jnp.stack([drive_old, seen_known[:n_outputs]])
        stiffness = jnp.stack([stiffness_old, weight * jnp.dot(phi_new, seen)])
        log_law = jnp.sum(alpha * drive, axis=1) - 0.5 * (
            jnp.sum(both**2, axis=1) + jnp.sum(alpha**2, axis=1) * (1.0 + stiffness)
        )
        gains = log_law - log_densities - logsumexp(terms, axis=1)
        # Beyond doubt only where the density of what is proposed is known.
        accept = (unit.log_uniform < gains[1] - gains[0]) & jnp.isfinite(log_densities[1])
        # The old unit out of A and the new one in, or nothing.
        into = weight / (1.0 + stiffness[1])
        signs = jnp.where(accept, jnp.stack([out, -into]), 0.0)
        field = _Field(
            jax.lax.dynamic_update_slice_in_dim(field.rows, jnp.stack([v, seen]), 2 * number, axis=0),
            jax.lax.dynamic_update_slice_in_dim(field.signs, signs, 2 * number, axis=0),
            jnp.where(accept, known - (into * seen)[:, None] * seen_known[None, :], field.known),
            jnp.where(accept, diagonal - into * seen**2, field.diagonal),
        )
        return field, (jnp.where(accept, both[1], both[0]), code, accept)

    def block(carry: tuple[Array, ...], units: _Unit) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """As many units as there are, one after the other; then the matrix is brought up to date."""
        matrix, known, diagonal = carry
        n = len(units.x)
        rows = jnp.zeros((2 * n, n_patterns), dtype)
        by_matrix = activation(scale * units.x) @ matrix
        field, visited = jax.lax.scan(
            lambda field, numbered: visit(matrix, field, numbered),
            _Field(rows, rows[:, 0], known, diagonal),
            (jnp.arange(n), units, by_matrix),
        )
        matrix = matrix + field.rows.T @ (field.signs[:, None] * field.rows)
        return (matrix, field.known, field.diagonal), visited

    n_blocks = -(-n_units // _BLOCK)
    size = -(-n_units // n_blocks)
    missing = n_blocks * size - n_units

    def in_blocks(leaf: Array, filling: float) -> Array:
        padded = jnp.pad(leaf, [(0, missing)] + [(0, 0)] * (leaf.ndim - 1), constant_values=filling)
        return padded.reshape(n_blocks, size, *leaf.shape[1:])

    # Units that only fill the last block are never accepted.
    fillings = (0.0, 0.0, 0.0, 0.0, 0.0, np.inf)
    blocks = _Unit(*map(in_blocks, units, fillings))
    _, visited = jax.lax.scan(block, (matrix, known, jnp.diagonal(matrix)), blocks)
    x, code, accept = (leaf.reshape(-1, *leaf.shape[2:])[:n_units] for leaf in visited)
    proposed = jnp.zeros((n_codes, n_codes), jnp.int32).at[code[:, 0], code[:, 1]].add(1)
    accepted = (
        jnp.zeros((n_codes, n_codes), jnp.int32).at[code[:, 0], code[:, 1]].add(accept.astype(jnp.int32))
    )
    return x, RefreshInfo(proposed, accepted)
