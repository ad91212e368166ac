"""The readout integrated out: what a network predicts on average, and how uncertainly, given its hidden weights alone.

With hidden weights W held fixed, the output ``f(x) = c sum_i a_i phi_i(x)`` is a linear regression on the activations of the
last hidden layer. For a Gaussian likelihood of variance T and readout weights of prior variance v the conditional law of f
is Gaussian. With G = w Phi Phi^T, w = c^2 v, between training patterns and g(x) = w Phi phi(x),

    E[f(x) | W]   = g(x)^T (G + T I)^-1 Y
    Var[f(x) | W] = w |phi(x)|^2 - g(x)^T (G + T I)^-1 g(x),      the same for every output.

Averages of f over a posterior equal averages of E[f | W] with less Monte-Carlo noise (Rao and Blackwell), and the variance of
f is the average of Var[f | W] plus the variance of E[f | W].
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from hiddencodes.models.mlp import MLP


class ReadoutPrediction(NamedTuple):
    """Law of the outputs at test patterns given the hidden weights.

    Attributes:
        mean: E[f | W] (test_pattern, output).
        variance: Var[f | W] (test_pattern,), the same for every output.
    """

    mean: Float[Array, "test_pattern output"]
    variance: Float[Array, " test_pattern"]


def readout_weight(mlp: MLP, readout_std: Float[ArrayLike, ""] | float) -> Float[Array, ""]:
    """The prior variance ``w = c^2 v`` of one unit's contribution to an output, per square of its activation.

    c is the parameterization's multiplier of the readout and v the prior variance of a readout weight: sigma_a^2 / N^2 in the
    mean-field scaling, sigma_a^2 / N in the NTK and the standard one. ``w Phi Phi^T`` is the prior covariance of the outputs.

    Args:
        mlp: The network.
        readout_std: Prior standard deviation of a readout weight, as in `PosteriorData.prior_std`.

    Example:
        >>> from hiddencodes.models import mean_field, relu
        >>> f"{readout_weight(MLP(4, 2, 10, 1, relu, mean_field), 2.0):.6f}"
        '0.040000'
    """
    scaling = mlp.parameterization.layer(mlp.depth, mlp.depth)
    return (scaling.multiplier(mlp.width, mlp.n_outputs) * jnp.asarray(readout_std)) ** 2


def readout_regression(
    phi_train: Float[Array, "pattern unit"],
    phi_test: Float[Array, "test_pattern unit"],
    y: Float[Array, "pattern output"],
    weight: Float[ArrayLike, ""] | float,
    temperature: Float[ArrayLike, ""] | float,
) -> ReadoutPrediction:
    """E[f | W] and Var[f | W] at test patterns from the activations of the last hidden layer.

    In the mean-field scaling, with ``K = Phi Phi^T / N``, this is ``k^T (K + (N T / sigma_a^2) I)^-1 Y``. The smaller of the
    two equivalent systems, P x P or N x N, is factorized (Cholesky), and the variance is computed as a sum of squares, so that
    rounding cannot make it negative. Where ``T / w`` is below the rounding error of the matrix it is added to, that
    error takes its place: the result is then that of a slightly higher temperature.

    Args:
        phi_train: Activations of the last hidden layer on the training patterns.
        phi_test: The same on the test patterns.
        y: Targets.
        weight: w, see `readout_weight`.
        temperature: T > 0.

    Returns:
        `ReadoutPrediction` in the dtype of the activations.

    Example:
        >>> one = jnp.ones((1, 1))
        >>> mean, variance = readout_regression(one, 2.0 * one, 3.0 * one, weight=1.0, temperature=0.5)
        >>> f"{mean.item():.6f} {variance.item():.6f}"  # 2 * 3 / (1 + 0.5), 4 - 2 * 2 / (1 + 0.5)
        '4.000000 1.333333'
    """
    dtype = phi_train.dtype
    w, targets = jnp.asarray(weight, dtype), y.astype(dtype)
    ridge = jnp.asarray(temperature, dtype) / w
    n_train, width = phi_train.shape
    wide = n_train <= width
    gram = phi_train @ phi_train.T if wide else phi_train.T @ phi_train
    ridge = jnp.maximum(ridge, jnp.finfo(dtype).eps * jnp.trace(gram))
    factor = jnp.linalg.cholesky(gram + ridge * jnp.eye(len(gram), dtype=dtype))
    if wide:
        # f(x) - alpha^T (y at the training patterns) has this variance for every alpha, and the least for the right one:
        # an error of alpha changes it in second order only.
        alpha = cho_solve((factor, True), phi_train @ phi_test.T)
        rest = phi_test - alpha.T @ phi_train
        variance = w * (jnp.sum(rest**2, axis=1) + ridge * jnp.sum(alpha**2, axis=0))
        return ReadoutPrediction(alpha.T @ targets, variance)
    half = solve_triangular(factor, phi_test.T, lower=True)
    mean = half.T @ solve_triangular(factor, phi_train.T @ targets, lower=True)
    return ReadoutPrediction(mean, w * ridge * jnp.sum(half**2, axis=0))


def readout_evidence(
    phi: Float[Array, "pattern unit"],
    y: Float[Array, "pattern output"],
    weight: Float[ArrayLike, ""] | float,
    temperature: Float[ArrayLike, ""] | float,
) -> Float[Array, ""]:
    """``log E_a exp(-|y - f|^2/2T)`` over the prior of the readout weights, at given activations of the last hidden layer.

    With C = w Phi Phi^T / T + I,

        -(m/2) log det C - (1/2T) tr Y^T C^-1 Y,

    the logarithm of the Gaussian likelihood with the readout integrated out, but for ``-(P m / 2) log(2 pi T)``. The smaller
    of P x P and N x N is factorized; the second term is the minimum of ``|Y - Phi b|^2/T + |b|^2/w``, a sum of squares.

    Args:
        phi: Activations of the last hidden layer on the training patterns.
        y: Targets.
        weight: w, see `readout_weight`.
        temperature: T > 0.

    Returns:
        A scalar in the dtype of the activations.

    Example:
        >>> one = jnp.ones((1, 1))
        >>> f"{readout_evidence(one, 3.0 * one, weight=1.0, temperature=0.5).item():.6f}"  # -log(3)/2 - 9/(2 x 1.5)
        '-3.549306'
    """
    dtype = phi.dtype
    w, t, targets = jnp.asarray(weight, dtype), jnp.asarray(temperature, dtype), y.astype(dtype)
    n_train, width = phi.shape
    if n_train <= width:
        factor = jnp.linalg.cholesky((w / t) * (phi @ phi.T) + jnp.eye(n_train, dtype=dtype))
        quadratic = jnp.sum(solve_triangular(factor, targets, lower=True) ** 2) / t
    else:
        factor = jnp.linalg.cholesky((w / t) * (phi.T @ phi) + jnp.eye(width, dtype=dtype))
        readout = (w / t) * cho_solve((factor, True), phi.T @ targets)
        quadratic = jnp.sum((targets - phi @ readout) ** 2) / t + jnp.sum(readout**2) / w
    log_determinant = 2.0 * jnp.sum(jnp.log(jnp.diagonal(factor)))
    return -0.5 * (targets.shape[1] * log_determinant + quadratic)


def draw_readout(
    key: PRNGKeyArray,
    phi: Float[Array, "pattern unit"],
    y: Float[Array, "pattern output"],
    weight: Float[ArrayLike, ""] | float,
    temperature: Float[ArrayLike, ""] | float,
) -> Float[Array, "unit output"]:
    """An exact draw of the readout weights given the hidden layers, in units of their prior standard deviation.

    A prior draw alpha and noise e ~ N(0, T) are corrected by the regression of what they leave of the targets:
    ``alpha + g Phi^T (g^2 Phi Phi^T + T)^-1 (Y - g Phi alpha - e)``, g^2 = w.

    Args:
        key: Random key.
        phi: Activations of the last hidden layer on the training patterns.
        y: Targets.
        weight: w, see `readout_weight`.
        temperature: T > 0.

    Returns:
        Readout weights over their prior standard deviation; the outputs are ``g Phi alpha``.

    Example:
        >>> phi = jnp.ones((1, 1))
        >>> draw = jax.vmap(lambda key: draw_readout(key, phi, 2.0 * phi, weight=1.0, temperature=1.0))
        >>> mean = draw(jax.random.split(jax.random.key(0), 4000)).mean().item()
        >>> abs(mean - 1.0) < 5 * (0.5 / 4000) ** 0.5  # posterior mean 1, variance 1/2
        True
    """
    dtype = phi.dtype
    g, t = jnp.sqrt(jnp.asarray(weight, dtype)), jnp.asarray(temperature, dtype)
    features, targets = g * phi, y.astype(dtype)
    n_train, width = phi.shape
    prior_key, noise_key = jax.random.split(key)
    prior = jax.random.normal(prior_key, (width, targets.shape[1]), dtype)
    noise = jnp.sqrt(t) * jax.random.normal(noise_key, targets.shape, dtype)
    rest = targets - features @ prior - noise
    if n_train <= width:
        factor = jnp.linalg.cholesky(features @ features.T + t * jnp.eye(n_train, dtype=dtype))
        return prior + features.T @ cho_solve((factor, True), rest)
    factor = jnp.linalg.cholesky(features.T @ features + t * jnp.eye(width, dtype=dtype))
    return prior + cho_solve((factor, True), features.T @ rest)
