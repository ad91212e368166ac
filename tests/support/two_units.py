"""Two units, two patterns, one output: few enough numbers to integrate over."""

import jax.numpy as jnp
import numpy as np

import hiddencodes as hc

N, P, Y = 2, 2, np.array([[1.2], [-0.4]])
WEIGHT, SCALE = 0.6, 1.3
# Gauss-Legendre nodes and weights between the places where something jumps or has a kink: 0 (a rectified unit), 1/2 (the count).
PIECES = [(-5.5, 0.0, 11), (0.0, 0.5, 4), (0.5, 5.5, 12)]


def functions(x, phi):
    """Functions of the units that are not changed by exchanging them, last axes (unit, pattern)."""
    kernel = np.swapaxes(phi, -1, -2) @ phi / N
    squares = np.sum(x**2, axis=-2)
    active = np.sum(np.all(x > 0.5, axis=-1), axis=-1)
    return np.stack(
        [kernel[..., 0, 0], kernel[..., 0, 1], kernel[..., 1, 1], squares[..., 0], squares[..., 1], active,
         np.prod(x, axis=(-1, -2)), np.sum(x[..., 0] * x[..., 1], axis=-1)], axis=-1,
    )  # fmt: skip


def by_quadrature(activation: hc.Activation, temperature: float, correlation: float = 0.0) -> np.ndarray:
    """Posterior means of `functions`, by integrating over all pre-activations.

    A priori, the two patterns of a unit have unit variance and this correlation.
    """
    rules = [(np.polynomial.legendre.leggauss(n), a, b) for a, b, n in PIECES]
    nodes = np.concatenate([0.5 * (a + b) + 0.5 * (b - a) * x for (x, _), a, b in rules])
    weights = np.concatenate([0.5 * (b - a) * w for (_, w), a, b in rules])
    x = np.stack(np.meshgrid(*[nodes] * (N * P), indexing="ij"), axis=-1).reshape(-1, N, P)
    volume = np.prod(np.stack(np.meshgrid(*[weights] * (N * P), indexing="ij"), axis=-1), axis=-1).ravel()
    phi = np.asarray(activation(jnp.asarray(SCALE * x)))
    gram = WEIGHT * np.swapaxes(phi, 1, 2) @ phi + temperature * np.eye(P)
    solved = np.linalg.solve(gram, np.broadcast_to(Y, (len(x), P, 1)))[..., 0]
    precision = np.linalg.inv(np.array([[1.0, correlation], [correlation, 1.0]]))
    log = (
        -0.5 * np.linalg.slogdet(gram)[1]
        - 0.5 * solved @ Y[:, 0]
        - 0.5 * np.einsum("nip,pq,niq->n", x, precision, x)
    )
    weight = volume * np.exp(log - log.max())
    return weight @ functions(x, phi) / weight.sum()
