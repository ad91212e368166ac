"""Pair rotation: two units turn into each other, so that two of one code become one that carries it for both.

One hidden layer without biases, a positively homogeneous activation, the Gaussian likelihood, any inputs. The prior of two
units' weights does not change when the pair is turned,

    z_i' = cos δ z_i + sin δ z_j,    z_j' = -sin δ z_i + cos δ z_j,

and where both units stay on the same linear piece, neither does what they give to the kernel together, φ_i φ_iᵀ + φ_j φ_jᵀ.
The turns of a pair form a circle. On it, an angle ψ is measured from the pair's principal axes, z_i = cos ψ u + sin ψ v and
z_j = -sin ψ u + cos ψ v with u·v = 0, |u| ≥ |v|, and u oriented so that Σ u|u| > 0: at ψ = 0 unit i, at ψ = -π/2 unit j has
everything that the two have in common. Axes and orientation are the same all around the circle, and so is what depends on
them: a density g(ψ) that is large where the pair is merged.

A pair is drawn with a probability that depends on the state, P(i, j, c) = h_ic h_jc / Z over ordered pairs and classes c,
where h_ic grows with the activation of unit i in class c: mostly units that are strongly active in one class. Then angles
ψ_1 ... ψ_K are drawn from g, and of them and the present angle one is chosen with probability proportional to

    exp(log-likelihood(ψ_k)) P(i, j, c | ψ_k) / g(ψ_k),

the readout integrated out of the likelihood. This is a Gibbs step of the joint law of state and pair with K independent
proposals (H. Tjelmeland, Using all Metropolis-Hastings proposals to estimate mean values, NTNU 2004; R. M. Neal,
arXiv 1101.0387), hence exact.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from hiddencodes.models.activations import Activation
from hiddencodes.sampling.resolvent import change, resolvent, updated

# The least weight of a unit among the h, whose largest is 1. A pair that has merged is an active unit and a quiet one, and is
# drawn that much less often than two active ones.
_QUIET = 0.02
# Shares of the proposed angles: anywhere, between the two merged states, at one of them.
_ANYWHERE, _BETWEEN, _MERGED = 0.25, 0.5, 0.25
# How far, in standard deviations of the prior, an outlier's |z|² is above its prior mean.
_OUTLIER = 6.0


class PairInfo(NamedTuple):
    """Counts by the number of outliers in the pair before and after, (3, 3) each: of all angles proposed, of those taken."""

    proposed: Int[Array, "code code"]
    accepted: Int[Array, "code code"]


class Circle(NamedTuple):
    """The turns of a pair.

    Attributes:
        angle: ψ of the pair as it is.
        width: Scale of the proposals at the merged states.
    """

    angle: Float[Array, ""]
    width: Float[Array, ""]


def circle(pair: Float[Array, "2 pattern"], variance: Float[Array, ""]) -> Circle:
    """Where on its circle a pair is.

    A unit that has handed over its code keeps, along u, what the prior gives it: of order √variance, an angle of
    √variance / |u|.

    Args:
        pair: Pre-activations z_i and z_j.
        variance: Prior variance of a pre-activation.
    """
    squares = jnp.sum(pair**2, axis=1)
    difference, product = squares[0] - squares[1], 2.0 * jnp.vdot(pair[0], pair[1])
    theta = 0.5 * jnp.arctan2(product, difference)
    u = jnp.cos(theta) * pair[0] + jnp.sin(theta) * pair[1]
    reversed_ = jnp.sum(u * jnp.abs(u)) < 0.0
    largest = 0.5 * (squares[0] + squares[1] + jnp.hypot(difference, product))
    return Circle(jnp.where(reversed_, math.pi - theta, -theta), jnp.sqrt(variance / (variance + largest)))


def _log_g(psi: Float[Array, "*angle"], width: Float[Array, ""]) -> Float[Array, "*angle"]:
    """Log-density of the proposed angles, periodic: uniform, uniform over (-π/2, 0), wrapped Cauchy at 0 and at -π/2."""
    rho = jnp.exp(-width)
    gap = -jnp.expm1(-width)

    def peak(distance: Array) -> Array:
        # 1 + ρ² - 2ρ cos x = (1 - ρ)² + 4ρ sin²(x/2), which keeps its digits where the peak is narrow.
        return gap * (1.0 + rho) / (gap**2 + 4.0 * rho * jnp.sin(0.5 * distance) ** 2)

    between = (jnp.sin(psi) < 0.0) & (jnp.cos(psi) > 0.0)
    peaks = 0.5 * (peak(psi) + peak(psi + 0.5 * math.pi))
    relative = _ANYWHERE + jnp.where(between, 4.0 * _BETWEEN, 0.0) + _MERGED * peaks
    return jnp.log(relative / (2.0 * math.pi))


def _angles(uniforms: Float[Array, "3 angle"], width: Float[Array, ""]) -> Float[Array, " angle"]:
    """Draws from `_log_g`, of three uniform numbers each."""
    kind, side, place = uniforms
    rho = jnp.exp(-width)
    spread = 2.0 * jnp.arctan(-jnp.expm1(-width) / (1.0 + rho) * jnp.tan(math.pi * (place - 0.5)))
    merged = spread - jnp.where(side < 0.5, 0.5 * math.pi, 0.0)
    between = -0.5 * math.pi * place
    anywhere = 2.0 * math.pi * place
    return jnp.where(kind < _ANYWHERE, anywhere, jnp.where(kind < _ANYWHERE + _BETWEEN, between, merged))


def _draw(weights: Float[Array, " item"], uniform: Float[Array, ""]) -> Int[Array, ""]:
    """An item, drawn with probability in proportion to its weight."""
    sums = jnp.cumsum(weights)
    return jnp.sum(sums[:-1] <= uniform * sums[-1], dtype=jnp.int32)


def _draw_pair(
    h: Float[Array, "unit class"], uniforms: Float[Array, "2"]
) -> tuple[Int[Array, "2"], Int[Array, ""]]:
    """An ordered pair and a class: (i, c) with the weight of all pairs that it is in, then j."""
    drawn = _draw((h * (jnp.sum(h, axis=0)[None, :] - h)).ravel(), uniforms[0])
    i, c = drawn // h.shape[1], drawn % h.shape[1]
    others = jnp.arange(len(h) - 1, dtype=i.dtype)
    others = others + (others >= i).astype(i.dtype)
    return jnp.stack([i, others[_draw(h[others, c], uniforms[1])]]), c


def _activity(
    phi: Float[Array, "*unit pattern"], class_average: Float[Array, "pattern class"], variance: Array
) -> Float[Array, "*unit class"]:
    """h: by how much a unit's mean squared activation in a class exceeds the prior variance, between `_QUIET` and 1."""
    return jnp.clip((phi**2 @ class_average) / variance - 1.0, _QUIET, 1.0)


def rotate_pairs(
    key: PRNGKeyArray,
    x: Float[Array, "unit coordinate"],
    z: Float[Array, "unit pattern"],
    y: Float[Array, "pattern output"],
    class_average: Float[Array, "pattern class"],
    kernel: tuple[Float[Array, ""], Float[Array, ""]],
    weight: Float[Array, ""],
    temperature: Float[Array, ""],
    activation: Activation,
    pairs: int,
    candidates: int,
) -> tuple[Float[Array, "unit coordinate"], Float[Array, "unit pattern"], PairInfo]:
    """Turn pairs of units, one after the other.

    Args:
        key: Random key.
        x: Weights of the units, in any linear coordinates: all units have the same Gaussian prior.
        z: Their pre-activations, linear in x.
        y: Targets.
        class_average: As in `hiddencodes.models.posterior.PosteriorData`.
        kernel: tr K0 and tr K0², with K0 the prior covariance of a unit's pre-activations.
        weight: w, see `hiddencodes.models.readout_regression.readout_weight`.
        temperature: T.
        activation: φ, positively homogeneous.
        pairs: Number of pairs.
        candidates: K, number of angles proposed for a pair.

    Returns:
        The weights and pre-activations after the turns, and counts.
    """
    n_units, n_patterns = z.shape
    ratio, variance = weight / temperature, kernel[0] / n_patterns
    limit = kernel[0] + _OUTLIER * jnp.sqrt(2.0 * kernel[1])
    units = jnp.arange(n_units, dtype=jnp.int32)
    # All random numbers at once: every call of a generator takes longer to compile than the rest of the move.
    uniforms = jax.random.uniform(key, (pairs, 3 + 4 * candidates), z.dtype)

    def body(k: Array, carry: tuple[Any, ...]) -> tuple[Any, ...]:
        x, z, h, state, proposed, accepted = carry
        of_pair, of_angles, of_choice = jnp.split(uniforms[k], [2, 2 + 3 * candidates])
        pair, c = _draw_pair(h, of_pair)
        is_rest = ((units != pair[0]) & (units != pair[1]))[:, None]
        rest = jnp.where(is_rest, h, jnp.zeros_like(h))
        total, squares = jnp.sum(rest, axis=0), jnp.sum(rest**2, axis=0)

        old = z[pair]
        around = circle(old, variance)
        psi = jnp.concatenate([around.angle[None], _angles(of_angles.reshape(3, -1), around.width)])
        turn = psi - around.angle
        cos, sin = jnp.cos(turn), jnp.sin(turn)
        rotation = jnp.stack([jnp.stack([cos, sin], -1), jnp.stack([-sin, cos], -1)], -2)
        new = jnp.einsum("kab,bp->kap", rotation, old)
        phi = activation(new)
        inverse_phi = phi @ state.inverse
        drives = phi @ state.solved
        back = jnp.swapaxes(rotation, 1, 2)
        compare = lambda phi_new, a_new, y_new, back: change(
            phi[0], phi_new, inverse_phi[0], a_new, (drives[0], y_new), back, (ratio, temperature)
        )
        made = jax.vmap(compare)(phi, inverse_phi, drives, back)
        active = _activity(phi, class_average, variance)
        product = active[:, 0] * active[:, 1]
        all_pairs = jnp.sum(
            (total**2 - squares)[None, :] + 2.0 * total[None, :] * jnp.sum(active, axis=1) + 2.0 * product,
            axis=1,
        )
        log_weight = made.log_likelihood + jnp.log(product[:, c] / all_pairs) - _log_g(psi, around.width)
        # What is not finite (an overflow in single precision) is not taken.
        log_weight = jnp.where(jnp.isfinite(log_weight), log_weight, -jnp.inf).at[0].set(log_weight[0])
        chosen = jnp.argmax(log_weight - jnp.log(-jnp.log(of_choice)))
        taken = chosen > 0

        state = updated(state, jax.tree.map(lambda leaf: leaf[chosen], made), ratio, taken)
        outliers = jnp.sum(new**2, axis=2) > limit
        kind = outliers[:, 0].astype(jnp.int32) + outliers[:, 1].astype(jnp.int32)
        return (
            x.at[pair].set(jnp.where(taken, rotation[chosen] @ x[pair], x[pair])),
            z.at[pair].set(jnp.where(taken, new[chosen], old)),
            h.at[pair].set(jnp.where(taken, active[chosen], h[pair])),
            state,
            proposed.at[kind[0], kind[1:]].add(1),
            accepted.at[kind[0], kind[chosen]].add(taken.astype(jnp.int32)),
        )

    none = jnp.zeros((3, 3), jnp.int32)
    phi = activation(z)
    start = (x, z, _activity(phi, class_average, variance), resolvent(phi, y, ratio), none, none)
    x, z, _, _, proposed, accepted = jax.lax.fori_loop(0, pairs, body, start)
    return x, z, PairInfo(proposed, accepted)
