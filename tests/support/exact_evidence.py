"""Evidences by quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special, stats
from scipy.integrate import quad

import hiddencodes as hc
from hiddencodes.sampling.problem import problem


def linear_log_normalizer(posterior: hc.Posterior, power: float = 1.0, scale: float = 1.0) -> float:
    """log E_prior exp(-λ loss/T) of a linear network with one hidden layer, one output and outputs scaled by γ.

    Given its readout a the outputs are Gaussian with covariance γ² w r K₀, r = |a|²/σ² ~ χ²_N: one integral is left.
    """
    mlp, task = posterior.mlp, posterior.task
    eigenvalues, vectors = np.linalg.eigh(task.input_kernel())
    y = vectors.T @ task.y_train[:, 0]
    w = scale**2 * float(hc.readout_weight(mlp, posterior.data().prior_std["readout"]["kernel"]))
    temperature = posterior.temperature / power

    def log_integrand(x: float) -> float:
        variance = 1.0 + eigenvalues * w * np.exp(x) / temperature
        log_l = -0.5 * np.sum(np.log(variance)) - 0.5 * np.sum(y**2 / variance) / temperature
        return log_l + stats.chi2.logpdf(np.exp(x), mlp.width) + x

    grid = np.linspace(-12.0, 12.0, 4001)
    values = np.array([log_integrand(x) for x in grid])
    top, peak = values.max(), grid[values.argmax()]
    inside = grid[values > top - 60.0]
    integral = quad(
        lambda x: np.exp(log_integrand(x) - top),
        inside[0],
        inside[-1],
        points=[peak],
        limit=200,
        epsabs=1e-12,
    )[0]
    return float(top + np.log(integral))


def log_evidence_by_quadrature(posterior: hc.Posterior | hc.Reduced, nodes: int) -> float:
    """log p(D) of a tiny network by a product Gauss-Hermite rule over its whitened coordinates."""
    setting = problem([posterior], None)
    with jax.enable_x64(True):
        data = jax.tree.map(lambda leaf: leaf[0], setting.data(np.float64))
        x, w = np.polynomial.hermite_e.hermegauss(nodes)
        d = setting.target.dimension
        q, log_w = (np.stack([a.ravel() for a in np.meshgrid(*[v] * d)], axis=1) for v in (x, np.log(w)))
        beta = jnp.asarray(1.0 / setting.originals[0].temperature)
        log_l = jax.jit(jax.vmap(lambda q: setting.target.log_likelihood(q, data, beta)))(jnp.asarray(q))
        constant = float(setting.likelihood.log_normalizer(data.y_train.size, 1.0 / beta))
    return (
        float(special.logsumexp(np.asarray(log_l) + log_w.sum(axis=1)))
        - 0.5 * d * np.log(2 * np.pi)
        + constant
    )
