"""How well the hidden layers of a draw separate the training classes."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from hiddencodes.sampling.observables import Context, Observable


def separation_of(
    features: Float[Array, "pattern unit"], averages: Float[Array, "pattern class"]
) -> Float[Array, ""]:
    """``ln Tr S_w - ln Tr S_b`` of features; ``averages`` has 1/n_k for a pattern of class k."""
    shares = jnp.sum(averages > 0, axis=0).astype(averages.dtype) / averages.shape[0]
    h = features - jnp.mean(features, axis=0)[None, :]
    means = averages.T @ h
    residual = h - (averages > 0).astype(h.dtype) @ means
    within = jnp.mean(jnp.sum(jnp.square(residual), axis=1))
    between = jnp.vdot(shares, jnp.sum(jnp.square(means), axis=1))
    return jnp.log(within) - jnp.log(between)


def _separation(c: Context) -> Float[Array, " layer"]:
    averages = jnp.asarray(c.data.class_average)
    return jnp.stack([separation_of(h, averages) for h in c.activations.postactivations])


separation = Observable("separation", ("layer",), _separation)
"""``D_l = ln Tr S_w - ln Tr S_b`` of every hidden layer on the training patterns, see `hiddencodes.data_separation`.

With D of the inputs it is a load curve: ``hc.load_curve(run["posterior"]["separation"], inputs=hc.feature_separation(x, labels))``. Networks with batch
normalization see other inputs than the task has: runs of `hiddencodes.train` have D of what the first layer reads in ``run["constant_data"]["input_separation"]`` (seed).
"""
