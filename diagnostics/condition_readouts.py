"""What linear readouts can do with a layer: generalize to conditions they have not seen, and tell any conditions apart.

The readout is ridge regression on the noise-free responses to training conditions,

    min over w, b of  sum_c (y_c - w.z_c - b)^2 + n_train s^2 |w|^2,

which is least squares on responses with isotropic noise of standard deviation s in every direction, averaged over the noise.
Everything about it is a function of the condition kernel, its accuracy on noisy responses too: ``Phi(y (w.z + b) / (s |w|))``.
"""

# JAX's signatures are partly untyped.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from itertools import combinations, product
from math import comb

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from numpy.typing import ArrayLike

# Noise in units of the root mean squared distance of conditions from their mean, in every direction.
_NOISE = 0.1
_MOST_SPLITS, _MOST_DICHOTOMIES = 64, 256


def cross_condition_generalization(
    kernel: ArrayLike,
    dichotomy: ArrayLike,
    *,
    pairing: ArrayLike | None = None,
    held_out: int | None = None,
    noise: float = _NOISE,
    most_splits: int = _MOST_SPLITS,
    seed: int = 0,
) -> Float[np.ndarray, "*batch"]:
    """Accuracy of a readout of a dichotomy on conditions that it was not trained on (CCGP; Bernardi et al., Cell 183, 2020).

    Of four conditions it is trained on one pair and tested on the other. A pair that differs in another variable too teaches that
    one as well, and the mean over all splits is then below 1 for a perfectly abstract code; with ``pairing`` pairs stay together.

    Args:
        kernel: Condition kernel (..., condition, condition).
        dichotomy: +1 and -1 for every condition.
        pairing: For every condition its partner on the other side (`natural_pairing`): both are held out, or neither.
        held_out: Conditions of each side that are held out together; None for half of the smaller side.
        noise: Standard deviation of the noise in every direction, in units of the root mean squared distance of conditions from
            their mean.
        most_splits: If there are more ways to hold conditions out, that many random ones are taken.
        seed: Seed of random ways.

    Returns:
        Mean accuracy over splits and held-out conditions, 1/2 for chance.

    Raises:
        ValueError: If a side would be left without conditions.

    >>> latents = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    >>> pairing = [2, 3, 0, 1]  # of conditions that differ in the first latent only
    >>> round(float(cross_condition_generalization(latents @ latents.T, latents[:, 0], pairing=pairing)), 3)
    1.0
    >>> round(float(cross_condition_generalization(np.eye(4), latents[:, 0])), 3)
    0.5
    """
    y = np.asarray(dichotomy, float).ravel()
    plus, minus = np.flatnonzero(y > 0), np.flatnonzero(y < 0)
    n = min(len(plus), len(minus)) // 2 if held_out is None else held_out
    if not 0 < n < min(len(plus), len(minus)):
        raise ValueError(f"held_out: sides of {len(plus)} and {len(minus)} conditions cannot spare {n} each")
    partner = None if pairing is None else np.asarray(pairing)
    if partner is not None and not np.array_equal(np.sort(partner[plus]), minus):
        raise ValueError(f"pairing: it does not pair the two sides of the dichotomy, got {partner!r}")
    ways = comb(len(plus), n) * (comb(len(minus), n) if partner is None else 1)
    rng = np.random.default_rng(seed)
    if ways <= most_splits:
        first = list(combinations(plus, n))
        second = list(combinations(minus, n))
        chosen = (
            [(*a, *b) for a, b in product(first, second)]
            if partner is None
            else [(*a, *partner[list(a)]) for a in first]
        )
    else:
        halves = [rng.choice(plus, n, replace=False) for _ in range(most_splits)]
        chosen = [
            (*a, *(rng.choice(minus, n, replace=False) if partner is None else partner[a])) for a in halves
        ]
    tested = np.zeros((len(chosen), len(y)), bool)
    tested[np.arange(len(chosen))[:, None], np.asarray(chosen)] = True
    return _accuracy(kernel, np.broadcast_to(y, tested.shape), ~tested, tested, noise)


def shattering_dimension(
    kernel: ArrayLike, *, noise: float = _NOISE, most_dichotomies: int = _MOST_DICHOTOMIES, seed: int = 0
) -> Float[np.ndarray, "*batch"]:
    """Mean accuracy of readouts over the balanced dichotomies of the conditions (Rigotti et al., 2013; Bernardi et al., 2020).

    Args:
        kernel: Condition kernel over an even number of conditions.
        noise: As in `cross_condition_generalization`; readouts are trained and tested with it.
        most_dichotomies: If there are more, that many random ones are taken.
        seed: Seed of random dichotomies.

    >>> round(float(shattering_dimension(np.eye(4))), 3)
    1.0
    """
    n = np.asarray(kernel).shape[-1]
    if n % 2:
        raise ValueError(f"kernel: balanced dichotomies need an even number of conditions, got {n}")
    y = balanced_dichotomies(n, most=most_dichotomies, seed=seed)
    everybody = np.ones(y.shape, bool)
    return _accuracy(kernel, y, everybody, everybody, noise)


def balanced_dichotomies(
    n: int, *, most: int = _MOST_DICHOTOMIES, seed: int = 0
) -> Float[np.ndarray, "dichotomy condition"]:
    """Ways to divide n conditions into halves, up to exchange of the halves: all, or random ones if there are more than ``most``.

    >>> len(balanced_dichotomies(8))
    35
    """
    if comb(n, n // 2) // 2 <= most:
        halves = [(0, *rest) for rest in combinations(range(1, n), n // 2 - 1)]
    else:
        rng = np.random.default_rng(seed)
        halves = [(0, *(1 + rng.choice(n - 1, n // 2 - 1, replace=False))) for _ in range(most)]
    y = -np.ones((len(halves), n))
    y[np.arange(len(halves))[:, None], np.asarray(halves)] = 1.0
    return y


def shuffled_responses(responses: ArrayLike, *, seed: int = 0) -> Float[np.ndarray, "*batch condition unit"]:
    """Responses with the identities of units permuted in every condition by itself: the null of cross-condition generalization.

    Conditions can be told apart as before, and no direction means anything in two of them.

    Args:
        responses: (..., condition, unit).
        seed: Seed of the permutations.

    >>> shuffled_responses([[1.0, 2.0], [3.0, 4.0]]).sum(-1)
    array([3., 7.])
    """
    values = np.asarray(responses, float)
    order = np.argsort(np.random.default_rng(seed).random(values.shape), axis=-1)
    return np.take_along_axis(values, order, axis=-1)


def _accuracy(
    kernel: ArrayLike,
    y: np.ndarray,
    trained: Bool[np.ndarray, "split condition"],
    tested: np.ndarray,
    noise: float,
) -> np.ndarray:
    """Mean accuracy over splits."""
    if not noise > 0:
        raise ValueError(f"noise: expected a positive number, got {noise!r}")
    k = np.asarray(kernel, float)
    flat = k.reshape(-1, *k.shape[-2:])
    with jax.enable_x64(True):
        found = _accuracies(
            jnp.asarray(flat),
            jnp.asarray(y),
            jnp.asarray(trained),
            jnp.asarray(tested),
            jnp.asarray(float(noise)),
        )
    return np.asarray(found).reshape(k.shape[:-2])


@jax.jit
def _accuracies(kernels: Array, y: Array, trained: Array, tested: Array, noise: Array) -> Array:
    def of_kernel(k: Array) -> Array:
        n = k.shape[0]
        spread = jnp.trace(k) / n - jnp.mean(k)
        s2 = noise**2 * spread

        def of_split(y: Array, trained: Array, tested: Array) -> Array:
            decision, norm2 = ridge_readout(k, y, trained, s2)
            right = jax.scipy.special.ndtr(y * decision / jnp.sqrt(s2 * norm2))
            # A readout that reads nothing decides by chance.
            right = jnp.where(s2 * norm2 > 0, right, 0.5)
            return jnp.sum(jnp.where(tested, right, 0.0)) / jnp.sum(tested.astype(k.dtype))

        return jnp.mean(jax.vmap(of_split)(y, trained, tested))

    return jax.lax.map(of_kernel, kernels)


def ridge_readout(
    kernel: Float[Array, "condition condition"],
    y: Float[Array, " condition"],
    trained: Bool[Array, " condition"],
    noise_variance: Float[Array, ""],
) -> tuple[Float[Array, " condition"], Float[Array, ""]]:
    """The ridge readout of a dichotomy: its value at every condition, and its squared norm.

    Args:
        kernel: Condition kernel.
        y: Targets.
        trained: Conditions that it is trained on.
        noise_variance: s^2.
    """
    weight = trained.astype(kernel.dtype)
    count = jnp.sum(weight)
    mean_y = jnp.vdot(weight, y) / count
    # Inner products of deviations from the mean response to the training conditions.
    rows = kernel @ weight / count
    k = kernel - rows[:, None] - rows[None, :] + jnp.vdot(weight, rows) / count
    inside = k * weight[:, None] * weight[None, :]
    ridge = count * noise_variance
    # Where a condition is not trained on the matrix is the identity's, and its coefficient is zero.
    coefficients = jnp.linalg.solve(
        inside + ridge * jnp.eye(k.shape[0], dtype=k.dtype), weight * (y - mean_y)
    )
    return k @ coefficients + mean_y, jnp.vdot(coefficients, inside @ coefficients)
