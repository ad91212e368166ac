"""A correlated Gaussian in the engine's form: a standard Gaussian prior times exp(-loss)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class GaussianTarget:
    """Precision 1 + A and mean b: -log p = |q|^2/2 + (q - c)^T A (q - c)/2 with data (A, c) and temperature one."""

    dimension: int

    def groups(self):
        return np.arange(self.dimension)

    def log_likelihood(self, q, data, inverse_temperature):
        a, c = data
        return -0.5 * inverse_temperature * jnp.vdot(q - c, a @ (q - c))

    def observe(self, q, data, key):
        one = jnp.ones((), q.dtype)
        energy_gradient = jax.grad(lambda x: 0.5 * jnp.vdot(x, x) - self.log_likelihood(x, data, one))(q)
        return {"q": q, "squares": jnp.outer(q, q), "virial": q * energy_gradient}


def gaussian_data(seeds: int, dimension: int):
    """Per seed another matrix and center; returns (A, c), means and covariances."""
    rng = np.random.default_rng(3)
    roots = rng.standard_normal((seeds, dimension, dimension))
    a = roots @ roots.transpose(0, 2, 1)
    c = rng.standard_normal((seeds, dimension))
    covariance = np.linalg.inv(np.eye(dimension) + a)
    mean = np.einsum("sij,sjk,sk->si", covariance, a, c)
    return (a, c), mean, covariance
