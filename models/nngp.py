"""The infinite-width prior of a network: kernels, means and class averages of its activations, layer by layer.

Under the Gaussian prior the units of an infinitely wide layer are independent Gaussian processes. With K_0 the input
kernel, K^z_1 = σ_w² K_0 + σ_b², K_l(μ, ν) = E φ(z_μ)φ(z_ν) over z ~ N(0, K^z_l), and K^z_{l+1} = σ_w² K_l + σ_b²
(arXiv 1711.00165). Everything here runs once per run, on the host, in numpy's double precision.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from hiddencodes.models.activations import Activation, erf, sigmoidal
from hiddencodes.models.gaussian_integrals import (
    PiecewiseLinear,
    piecewise_linear_form,
    piecewise_linear_kernel,
    piecewise_linear_mean,
    smooth_kernel,
    smooth_mean,
)

# What single-precision rounding of an input kernel can add to |c|; a larger excess is a mistake in the input.
_CAUCHY_SCHWARZ_SLACK = 1e-6


class NNGPKernels(NamedTuple):
    """Gaussian-process kernels of every layer; row l - 1 is layer l.

    Attributes:
        preactivation: E z_μ z_ν, (layer, pattern, pattern).
        postactivation: E φ(z_μ)φ(z_ν), (layer, pattern, pattern); not centered.
        mean: E φ(z_μ), (layer, pattern).
    """

    preactivation: Float[np.ndarray, "layer pattern pattern"]
    postactivation: Float[np.ndarray, "layer pattern pattern"]
    mean: Float[np.ndarray, "layer pattern"]


class ClassMeanPrior(NamedTuple):
    """Prior law of a unit's class-mean activation m_c = P_c⁻¹ Σ_{μ in c} φ(z_μ), over the units of a layer.

    Attributes:
        mean: E m_c, (layer, class).
        covariance: Cov(m_c, m_c'), (layer, class, class); the terms with μ = ν are part of it.
        variance: Var φ(z_μ) averaged over the patterns of the class, (layer, class).
    """

    mean: Float[np.ndarray, "layer class"]
    covariance: Float[np.ndarray, "layer class class"]
    variance: Float[np.ndarray, "layer class"]


def _variance(name: str, value: float | Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    array = np.asarray(value, dtype=np.float64)
    if not np.all(np.isfinite(array)) or np.any(array < 0.0):
        raise ValueError(f"{name} must be finite and non-negative, got a smallest entry of {np.min(array)}")
    return np.atleast_1d(array)  # numpy turns 0-d arrays into scalars halfway through a formula


def _homogeneous_kernel(
    form: PiecewiseLinear, scale: Float[np.ndarray, "..."], correlation: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "..."]:
    # φ(z) = β z + γ max(z, 0), and E u max(v, 0) = c/2.
    bend = sum(form.bends)
    # (1 - ρ)(1 + ρ), not 1 - ρ²: the square would lose half the digits of a correlation near ±1.
    sine = np.sqrt((1.0 - correlation) * (1.0 + correlation))
    rectified = (sine + np.arccos(-correlation) * correlation) / (2.0 * math.pi)
    return scale * ((form.slope + bend) * form.slope * correlation + bend**2 * rectified)


def activation_mean(activation: Activation, q: float | Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """E φ(u) for u ~ N(0, q), elementwise.

    Args:
        activation: φ.
        q: Variances, any shape.

    Returns:
        The means, in the shape of `q`: closed forms except for smooth activations other than the sigmoidal and erf
        (trapezoidal rule, error at rounding level).

    Raises:
        ValueError: if a variance is negative or not finite.

    Example:
        >>> from hiddencodes.models.activations import relu, sigmoidal
        >>> print(activation_mean(sigmoidal, np.array([0.5, 2.0])), activation_mean(relu, 2 * np.pi))
        [0.5 0.5] 1.0
    """
    variance = _variance("q", q)
    if activation.piecewise_linear:
        mean = piecewise_linear_mean(piecewise_linear_form(activation), variance)
    elif activation in (sigmoidal, erf):
        mean = np.full(variance.shape, 0.5 if activation == sigmoidal else 0.0)
    else:
        mean = smooth_mean(activation, variance)
    return mean.reshape(np.shape(q))


def activation_kernel(
    activation: Activation,
    q1: float | Float[np.ndarray, "..."],
    q2: float | Float[np.ndarray, "..."],
    c: float | Float[np.ndarray, "..."],
) -> Float[np.ndarray, "..."]:
    """E φ(u)φ(v) for (u, v) ~ N(0, [[q1, c], [c, q2]]), elementwise with broadcasting.

    Closed forms, with Q = √(q1 q2) and cos θ = c/Q:

        linear:         c
        relu:           Q [sin θ + (π - θ) cos θ] / 2π                                (arXiv 1711.00165)
        leaky relu:     s c + (1 - s)² relu, s the slope for z < 0
        erf:            (2/π) arcsin(2c / √((1 + 2 q1)(1 + 2 q2)))
        sigmoidal:      1/4 + (1/2π) arcsin((π/2) c / √((1 + π q1/2)(1 + π q2/2)))

    Other piecewise linear functions and smooth functions are integrated numerically, to better than 1e-9 of
    max(1, √(q1 q2)) (`hiddencodes.models.gaussian_integrals`).

    Args:
        activation: φ.
        q1: Variance of u.
        q2: Variance of v.
        c: Covariance. An excess over √(q1 q2) at the level of single-precision rounding is taken as equality.

    Returns:
        The kernel, in the broadcast shape, double precision.

    Raises:
        ValueError: if a variance is negative or not finite, or |c| exceeds √(q1 q2).

    Example:
        >>> from hiddencodes.models.activations import relu, sigmoidal
        >>> print(round(float(activation_kernel(sigmoidal, 1.0, 1.0, 1.0)), 6))
        0.354619
        >>> print(activation_kernel(relu, 1.0, 4.0, np.array([-2.0, 2.0])))
        [0. 1.]
    """
    first, second = _variance("q1", q1), _variance("q2", q2)
    covariance = np.atleast_1d(np.asarray(c, dtype=np.float64))
    scale = np.sqrt(first) * np.sqrt(second)
    excess = np.abs(covariance) - scale - _CAUCHY_SCHWARZ_SLACK * 0.5 * (first + second)
    if not np.all(excess <= 0.0):
        raise ValueError(f"c must be finite with |c| <= sqrt(q1 q2); it exceeds that by {np.max(excess)}")
    correlation = np.divide(covariance, scale, out=np.zeros(excess.shape), where=scale > 0.0)
    correlation = np.clip(correlation, -1.0, 1.0)

    if activation.piecewise_linear and activation.positively_homogeneous:
        kernel = _homogeneous_kernel(piecewise_linear_form(activation), scale, correlation)
    elif activation.piecewise_linear:
        kernel = piecewise_linear_kernel(piecewise_linear_form(activation), first, second, correlation)
    elif activation == sigmoidal:
        argument = _arcsine_argument(first, second, correlation * scale, 0.5 * math.pi)
        kernel = 0.25 + np.arcsin(argument) / (2.0 * math.pi)
    elif activation == erf:
        kernel = 2.0 / math.pi * np.arcsin(_arcsine_argument(first, second, correlation * scale, 2.0))
    else:
        kernel = smooth_kernel(activation, first, second, correlation)
    return kernel.reshape(np.broadcast_shapes(np.shape(q1), np.shape(q2), np.shape(c)))


def _arcsine_argument(
    q1: Float[np.ndarray, "..."],
    q2: Float[np.ndarray, "..."],
    covariance: Float[np.ndarray, "..."],
    gain: float,
) -> Float[np.ndarray, "..."]:
    argument = gain * covariance / (np.sqrt(1.0 + gain * q1) * np.sqrt(1.0 + gain * q2))
    # Below one in exact arithmetic; rounding reaches past it only for variances of order 1e16.
    return np.clip(argument, -1.0, 1.0)


def nngp_kernels(
    activation: Activation,
    k_input: Float[np.ndarray, "pattern pattern"],
    depth: int,
    *,
    weight_variance: float = 1.0,
    bias_variance: float = 0.0,
) -> NNGPKernels:
    """Kernels and means of every hidden layer under the prior, at infinite width.

    Args:
        activation: φ.
        k_input: K_0 = X Xᵀ/N_0, (pattern, pattern). For a test set pass the joint kernel of [train; test].
        depth: L, the number of hidden layers.
        weight_variance: σ_w², of a weight after its multiplier √(1/fan-in) is taken out.
        bias_variance: σ_b².

    Returns:
        Kernels and means of layers 1 to L.

    Raises:
        ValueError: if `k_input` is not symmetric with a non-negative diagonal, `depth` is below one, or a variance
            is negative.

    Example:
        >>> from hiddencodes.models.activations import relu
        >>> kernels = nngp_kernels(relu, np.eye(2), 2, weight_variance=2.0)
        >>> print(np.round(kernels.postactivation[1], 4))
        [[1.     0.4937]
         [0.4937 1.    ]]
    """
    kernel = np.asarray(k_input, dtype=np.float64)
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or not np.allclose(kernel, kernel.T):
        raise ValueError(f"k_input must be a symmetric matrix, got shape {kernel.shape}")
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    for name, value in (("weight_variance", weight_variance), ("bias_variance", bias_variance)):
        if not (math.isfinite(value) and value >= 0.0):
            raise ValueError(f"{name} must be finite and non-negative, got {value}")

    before: list[np.ndarray] = []
    after: list[np.ndarray] = []
    mean: list[np.ndarray] = []
    for _ in range(depth):
        before.append(weight_variance * kernel + bias_variance)
        q = np.diagonal(before[-1])
        kernel = activation_kernel(activation, q[:, None], q[None, :], before[-1])
        kernel = 0.5 * (kernel + kernel.T)
        after.append(kernel)
        mean.append(activation_mean(activation, q))
    return NNGPKernels(np.stack(before), np.stack(after), np.stack(mean))


def class_mean_prior(
    kernels: NNGPKernels, labels: Int[np.ndarray, " pattern"], n_classes: int
) -> ClassMeanPrior:
    """Prior mean and covariance over units of the class-mean activations, and the variance of single activations.

    Args:
        kernels: Kernels of the patterns that `labels` label.
        labels: Class of every pattern, 0 to n_classes - 1.
        n_classes: C.

    Returns:
        Per layer: mean (C), covariance (C, C) and variance (C).

    Raises:
        ValueError: if the labels are not one per pattern, are out of range, or leave a class empty.

    Example:
        >>> from hiddencodes.models.activations import linear
        >>> prior = class_mean_prior(nngp_kernels(linear, np.eye(4), 1), np.array([0, 0, 0, 1]), 2)
        >>> print(np.round(np.diagonal(prior.covariance[0]), 4), prior.variance[0])
        [0.3333 1.    ] [1. 1.]
    """
    if labels.shape != kernels.mean.shape[1:]:
        raise ValueError(f"labels must have shape {kernels.mean.shape[1:]}, got {labels.shape}")
    if np.any(labels < 0) or np.any(labels >= n_classes):
        raise ValueError(f"labels must lie in 0..{n_classes - 1}, got {np.min(labels)}..{np.max(labels)}")
    counts = np.bincount(labels, minlength=n_classes)
    if np.any(counts == 0):
        raise ValueError(
            f"labels leave class {int(np.argmin(counts))} of n_classes={n_classes} without a pattern"
        )
    average = np.zeros((n_classes, labels.size))
    average[labels, np.arange(labels.size)] = 1.0 / counts[labels]

    centered = kernels.postactivation - kernels.mean[:, :, None] * kernels.mean[:, None, :]
    variance = np.diagonal(centered, axis1=1, axis2=2)
    return ClassMeanPrior(
        mean=kernels.mean @ average.T,
        covariance=average @ centered @ average.T,
        variance=variance @ average.T,
    )
