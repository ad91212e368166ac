"""Two Gaussian modes of unequal weight, in the engine's form: a standard Gaussian prior times a mixture."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from scipy import special


@dataclass(frozen=True)
class BimodalTarget:
    """Likelihood w₁ exp(-|q - m|²/2s²) + w₂ exp(-|q + m|²/2s²), m = distance (1, 0, ..., 0); data (w₁, w₂)."""

    dimension: int = 3
    distance: float = 2.0
    width: float = 0.2

    def groups(self):
        return np.arange(self.dimension)

    def centers(self):
        first = np.zeros(self.dimension)
        first[0] = self.distance
        return np.stack([first, -first])

    def log_likelihood(self, q, data, inverse_temperature):
        distance = jnp.sum((q[None, :] - jnp.asarray(self.centers())) ** 2, axis=1)
        return inverse_temperature * logsumexp(jnp.log(data) - 0.5 * distance / self.width**2)

    def observe(self, q, data, key):
        return {"q": q}

    def exact(self, data):
        """log Z and the share of the first mode: the prior is symmetric, so that the modes weigh as the data say."""
        total = self.width**2 + 1.0
        log_mode = 0.5 * self.dimension * np.log(self.width**2 / total) - 0.5 * self.distance**2 / total
        return special.logsumexp(np.log(data) + log_mode), data[0] / np.sum(data)
