"""How well the hidden layers of a draw separate the training classes."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from hiddencodes.sampling.observables import Context, Observable


def separation_of(
    features: Float[Array, "pattern unit"], averages: Float[Array, "pattern class"]
) -> Float[Array, ""]:
    """``ln Tr S_w - ln Tr S_b`` of features; ``averages`` has 1/n_k for a pattern of class k.

    Infinite and NaN as `hiddencodes.feature_separation` is, of which this is the compiled form in the precision of the features.
    """
    shares = jnp.sum(averages > 0, axis=0).astype(averages.dtype) / averages.shape[0]
    h = features - features[:1]
    # What rounding of means leaves in place of zero.
    smallest = 16.0 * h.shape[0] * float(jnp.finfo(h.dtype).eps) ** 2
    floor = smallest * jnp.max(jnp.sum(jnp.square(h), axis=1))
    h = h - jnp.mean(h, axis=0)[None, :]
    means = averages.T @ h
    residual = h - (averages > 0).astype(h.dtype) @ means
    within = jnp.mean(jnp.sum(jnp.square(residual), axis=1))
    between = jnp.vdot(shares, jnp.sum(jnp.square(means), axis=1))
    within, between = (jnp.where(v <= floor, 0.0, v) for v in (within, between))
    return jnp.log(within) - jnp.log(between)


def _separation(c: Context) -> Float[Array, " layer"]:
    averages = jnp.asarray(c.data.class_average)
    return jnp.stack([separation_of(h, averages) for h in c.activations.postactivations])


def _input_separation(c: Context) -> Float[Array, ""]:
    return separation_of(c.inputs, jnp.asarray(c.data.class_average))


separation = Observable("separation", ("layer",), _separation)
"""``D_l = ln Tr S_w - ln Tr S_b`` of every hidden layer on the training patterns, see `hiddencodes.data_separation`."""

input_separation = Observable("input_separation", (), _input_separation)
"""The same of what the first layer reads, which batch normalization scales input by input, with gains that are trained.

Both make a load curve, ``hc.load_curve(run["posterior"]["separation"], inputs=run["posterior"]["input_separation"])``.
"""
