"""The collapsed likelihood of a layer, carried along while two of its units change at a time.

With the readout integrated out, Gaussian likelihood,

    log L = -(m/2) log det C - (1/2T) tr Yᵀ C⁻¹ Y,    C = (w/T) Φ Φᵀ + 1,

as in `hiddencodes.models.readout_regression.readout_evidence`. New activations of two units change C by rank four, hence log L
by a determinant of order four and C⁻¹ by products of vectors: P² operations instead of P³. The resolvent is computed
anew for every sweep. In single precision, after 60 pairs of the network of ``benchmarks/speed/do_surplus_outliers_merge.py``
(T = 1e-5, and at T = 1e-6), some 40 of them taken, C⁻¹ was off by less than 2e-6, with largest entries of 0.15 to 0.6, and
changes of log L above -20 by no more than 0.002.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Bool, Float


class Resolvent(NamedTuple):
    """What the likelihood is made of.

    Attributes:
        inverse: C⁻¹ (pattern, pattern).
        solved: C⁻¹ Y (pattern, output).
    """

    inverse: Float[Array, "pattern pattern"]
    solved: Float[Array, "pattern output"]


class Change(NamedTuple):
    """Two activation patterns replaced by two others: C' - C = (w/2T) (d sᵀ + s dᵀ), with the patterns in columns.

    d is the difference and s the sum of the new pair, turned back, and the old one. Where the units stay on their linear piece
    d is zero: no large terms cancel, which is what single precision needs.

    Attributes:
        d: C⁻¹ d, rows (2, pattern).
        s: C⁻¹ s, rows (2, pattern).
        system: M of `_solve`: 1 + (w/2T) sᵀC⁻¹d, (w/2T) sᵀC⁻¹s, (w/2T) dᵀC⁻¹d.
        drive: dᵀC⁻¹Y and sᵀC⁻¹Y, (2, output) each.
        log_likelihood: By how much the logarithm of the likelihood changes.
    """

    d: Float[Array, "2 pattern"]
    s: Float[Array, "2 pattern"]
    system: tuple[Float[Array, "2 2"], Float[Array, "2 2"], Float[Array, "2 2"]]
    drive: tuple[Float[Array, "2 output"], Float[Array, "2 output"]]
    log_likelihood: Float[Array, ""]


def resolvent(
    phi: Float[Array, "unit pattern"], y: Float[Array, "pattern output"], ratio: Float[Array, ""]
) -> Resolvent:
    """The resolvent from scratch.

    Args:
        phi: Activations.
        y: Targets.
        ratio: w/T.
    """
    identity = jnp.eye(phi.shape[1], dtype=phi.dtype)
    factor = jnp.linalg.cholesky(ratio * (phi.T @ phi) + identity)
    return Resolvent(cho_solve((factor, True), identity), cho_solve((factor, True), y))


def _inverse(m: Float[Array, "2 2"]) -> tuple[Float[Array, "2 2"], Float[Array, ""]]:
    """Inverse and determinant of a 2 x 2 matrix: batches of a library's decompositions take longer than the rest of the move."""
    determinant = m[0, 0] * m[1, 1] - m[0, 1] * m[1, 0]
    adjugate = jnp.stack([jnp.stack([m[1, 1], -m[0, 1]]), jnp.stack([-m[1, 0], m[0, 0]])])
    return adjugate / determinant, determinant


def _solve(
    system: tuple[Array, Array, Array], top: Float[Array, "2 right"], bottom: Float[Array, "2 right"]
) -> tuple[Float[Array, "2 right"], Float[Array, "2 right"], Float[Array, ""]]:
    """Solve [[E, F], [G, Eᵀ]] (x, x') = (top, bottom); also the logarithm of the determinant.

    The symmetric part of E is positive definite, since C' is and w φᵀC⁻¹φ/T < 1: E can be eliminated first.
    """
    e, f, g = system
    inverse, determinant = _inverse(e)
    schur, rest = _inverse(e.T - g @ inverse @ f)
    lower = schur @ (bottom - g @ (inverse @ top))
    return inverse @ (top - f @ lower), lower, jnp.log(determinant) + jnp.log(rest)


def change(
    old: Float[Array, "2 pattern"],
    new: Float[Array, "2 pattern"],
    inverse_old: Float[Array, "2 pattern"],
    inverse_new: Float[Array, "2 pattern"],
    y_products: tuple[Float[Array, "2 output"], Float[Array, "2 output"]],
    back: Float[Array, "2 2"],
    scale: tuple[Float[Array, ""], Float[Array, ""]],
) -> Change:
    """What a pair of new activation patterns does to C⁻¹ and to the likelihood.

    Args:
        old: φ_i and φ_j.
        new: Their successors.
        inverse_old: C⁻¹ times the old ones.
        inverse_new: C⁻¹ times the new ones.
        y_products: The old ones and the new ones times C⁻¹Y.
        back: The rotation that turns the new pair back.
        scale: w/T and T.
    """
    ratio, temperature = scale
    turned, inverse_turned, drive_turned = back @ new, back @ inverse_new, back @ y_products[1]
    d, s = inverse_turned - inverse_old, inverse_turned + inverse_old
    drive_d, drive_s = drive_turned - y_products[0], drive_turned + y_products[0]
    half = 0.5 * ratio
    identity = jnp.eye(2, dtype=old.dtype)
    system = (
        identity + half * ((turned + old) @ d.T),
        half * ((turned + old) @ s.T),
        half * ((turned - old) @ d.T),
    )
    x_d, x_s, log_determinant = _solve(system, drive_s, drive_d)
    quadratic = half * (jnp.sum(drive_d * x_d) + jnp.sum(drive_s * x_s))
    gain = 0.5 * (quadratic / temperature - drive_d.shape[1] * log_determinant)
    return Change(d, s, system, (drive_d, drive_s), gain)


def updated(state: Resolvent, made: Change, ratio: Float[Array, ""], taken: Bool[Array, ""]) -> Resolvent:
    """The resolvent after a change, or as it was if the change is not taken: a rank-four update of C⁻¹."""
    top = jnp.concatenate([made.s, made.drive[1]], axis=1)
    bottom = jnp.concatenate([made.d, made.drive[0]], axis=1)
    x_d, x_s, _ = _solve(made.system, top, bottom)
    correction = 0.5 * ratio * (made.d.T @ x_d + made.s.T @ x_s)
    correction = jnp.where(taken, correction, jnp.zeros_like(correction))
    n = state.inverse.shape[0]
    return Resolvent(state.inverse - correction[:, :n], state.solved - correction[:, n:])
