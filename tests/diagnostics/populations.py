"""Units drawn independently from the single-unit posteriors of the four coding schemes (arXiv 2406.16689).

Every sampler returns class-mean activations (draw, unit, class) of one hidden layer in the limit of infinite width.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from layouts import Layout
from scipy.interpolate import CubicSpline
from scipy.special import erf, log_ndtr, logsumexp, ndtr, ndtri


def sigmoidal(z):
    return 0.5 * (1 + erf(np.sqrt(np.pi) * z / 2))


def relu(z):
    return np.maximum(z, 0.0)


PHI = {"linear": lambda z: z, "sigmoidal": sigmoidal, "relu": relu}


def lazy(name: str, kernel: np.ndarray, layout: Layout, width: int, draws: int, rng) -> np.ndarray:
    root = np.linalg.cholesky(kernel)
    z = rng.standard_normal((draws * width, layout.n_patterns)) @ root.T
    return (PHI[name](z) @ layout.averaging).reshape(draws, width, -1)


def analog_readouts(kernel: np.ndarray, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and eigenvectors of U."""
    y = layout.targets[layout.labels]
    variance = 1 / layout.n_patterns
    values, vectors = np.linalg.eigh(y.T @ np.linalg.solve(kernel, y))
    return variance / 2 * (1 + np.sqrt(1 + 4 * np.maximum(values, 0) / variance)), vectors


def analog_feature_learning(kernel: np.ndarray, layout: Layout) -> float:
    """lambda of the analog scheme: the kernel changes by Y U^-1 Y^T, v is the mean diagonal of K0."""
    u, vectors = analog_readouts(kernel, layout)
    change = (layout.targets @ vectors / u) @ vectors.T @ layout.targets.T
    p = layout.counts / layout.n_patterns
    return float(np.sqrt(p @ change**2 @ p) / np.diag(kernel).mean())


def analog(kernel: np.ndarray, layout: Layout, width: int, draws: int, rng) -> np.ndarray:
    """a ~ N(0, U), z | a ~ N(Y U^-1 a, K0), U = (v/2) [1 + (1 + 4 Y^T K0^-1 Y / v)^(1/2)], v = 1/P."""
    y = layout.targets[layout.labels]
    u, vectors = analog_readouts(kernel, layout)
    a = rng.standard_normal((draws * width, len(u))) * np.sqrt(u) @ vectors.T
    mean = (a @ vectors / u) @ vectors.T @ y.T
    z = mean + rng.standard_normal(mean.shape) @ np.linalg.cholesky(kernel).T
    return (z @ layout.averaging).reshape(draws, width, -1)


# --- sigmoidal units, orthogonal inputs: P(a) ~ exp(-P E(a)), E = |a|^2/2 - sum_c p_c log g(t_c . a) -------------


@cache
def _tilted_moments():
    """Splines of log g, its first and its second derivative, g(h) = E exp(h phi(z)), z ~ N(0, 1)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(160)
    phi = sigmoidal(nodes)
    h = np.linspace(-60, 60, 4801)
    terms = np.log(weights / weights.sum()) + h[:, None] * phi
    log_g = logsumexp(terms, axis=1)
    p = np.exp(terms - log_g[:, None])
    first = p @ phi
    second = p @ phi**2 - first**2
    return CubicSpline(h, log_g), CubicSpline(h, first), CubicSpline(h, second)


def _log_weight(a, t, layout):
    return -layout.n_patterns * (a**2).sum(1) / 2 + _tilted_moments()[0](a @ t.T) @ layout.counts


def branch_grid(layout: Layout, t: np.ndarray) -> np.ndarray:
    """Grid points that carry the weight of P(a): a coarse scan, then its heavy cells refined to 0.5/sqrt(P)."""
    n_out = layout.targets.shape[1]
    coarse = 0.3
    reach = 4.05 if layout.off > -0.75 else 5.4
    axis = np.arange(-reach, reach + coarse / 2, coarse)
    a = np.stack(np.meshgrid(*[axis] * n_out, indexing="ij"), -1).reshape(-1, n_out)
    lw = _log_weight(a, t, layout)
    a = a[lw > lw.max() - 0.1 * layout.n_patterns - 20]
    parts = int(np.ceil(coarse * np.sqrt(layout.n_patterns) / 0.5))
    offsets = (np.arange(parts) + 0.5) / parts * coarse - coarse / 2
    fine = np.stack(np.meshgrid(*[offsets] * n_out, indexing="ij"), -1).reshape(-1, n_out)
    a = (a[:, None] + fine).reshape(-1, n_out)
    lw = _log_weight(a, t, layout)
    return a[lw > lw.max() - 30]


def solve_sigmoidal(layout: Layout, t: np.ndarray, a: np.ndarray, n_temperature=0.0, steps=60):
    """Newton ascent of the concave dual t.y - log Z - NT |t|^2/2; t has rows of classes, columns of outputs."""
    _, mean, variance = _tilted_moments()
    counts, y = layout.counts, layout.targets
    n_class, n_out = y.shape

    def objective(t):
        lw = _log_weight(a, t, layout)
        return (
            (counts[:, None] * t * y).sum()
            - logsumexp(lw)
            - n_temperature / 2 * (counts[:, None] * t**2).sum()
        )

    value = objective(t)
    for _ in range(steps):
        lw = _log_weight(a, t, layout)
        keep = lw > lw.max() - 40
        b = a[keep]
        w = np.exp(lw[keep] - lw.max())
        w /= w.sum()
        h = b @ t.T
        statistic = (counts * mean(h))[:, :, None] * b[:, None, :]
        statistic = statistic.reshape(len(b), -1)
        expected = w @ statistic
        gradient = (
            counts[:, None] * y - expected.reshape(n_class, n_out) - n_temperature * counts[:, None] * t
        )
        centered = statistic - expected
        hessian = (centered * w[:, None]).T @ centered
        curvature = np.einsum("g,gc,gr,gs->crs", w, counts * variance(h), b, b)
        for c in range(n_class):
            block = slice(c * n_out, (c + 1) * n_out)
            hessian[block, block] += curvature[c] + n_temperature * counts[c] * np.eye(n_out)
        hessian += 1e-9 * np.trace(hessian) * np.eye(len(hessian))
        direction = np.linalg.solve(hessian, gradient.ravel()).reshape(n_class, n_out)
        slope = (direction * gradient).sum()
        if np.abs(gradient / counts[:, None]).max() < 1e-7:
            break
        step = 1.0
        while step > 1e-8 and (new := objective(t + step * direction)) < value + 1e-4 * step * slope - 1e-10:
            step /= 2
        t, value = t + step * direction, new
    return t, np.abs(gradient / counts[:, None]).max()


# Dual solutions t (rows: classes; columns: outputs) at zero temperature, found by `solve_sigmoidal`; a test solves again.
# The entries are (diagonal, off-diagonal) for two classes, and by symmetry of classes 2 and 3
# (t11, t12, t21, t22, t23) for fractions 1/2, 1/4, 1/4.
SIGMOIDAL_DUAL: dict[tuple[int, int, float], tuple[float, ...]] = {
    (2, 50, -1.0): (4.6256, -4.6256),
    (2, 50, -0.5): (4.7814, -2.8175),
    (2, 50, 0.0): (4.9144, -1.5579),
    (2, 50, 0.5): (4.718, -1.4373),
    (2, 100, -1.0): (4.6252, -4.6252),
    (2, 100, -0.5): (4.7806, -2.8161),
    (2, 100, 0.0): (4.917, -1.536),
    (2, 100, 0.5): (4.6999, -1.4326),
    (2, 500, -1.0): (4.6249, -4.6249),
    (2, 500, -0.5): (4.7801, -2.8151),
    (2, 500, 0.0): (4.9165, -1.5251),
    (2, 500, 0.5): (4.6851, -1.4293),
    (3, 60, -1.0): (8.0076, -4.7877, -9.4835, 15.7517, -9.337),
    (3, 60, -0.5): (6.6129, -3.3064, -6.6124, 13.1149, -6.5025),
    (3, 60, 0.0): (5.5586, -1.8972, -3.7944, 10.4278, -3.4761),
    (3, 60, 0.5): (4.8455, -0.6857, -1.7652, 8.2115, -1.0734),
    (3, 100, -1.0): (8.0143, -4.7924, -9.4816, 15.7455, -9.3266),
    (3, 100, -0.5): (6.6122, -3.3061, -6.6119, 13.1142, -6.5023),
    (3, 100, 0.0): (5.5687, -1.9, -3.7999, 10.4097, -3.4687),
    (3, 100, 0.5): (4.8344, -0.677, -1.7469, 8.1939, -1.0577),
    (3, 500, -1.0): (8.0231, -4.7985, -9.4793, 15.7375, -9.313),
    (3, 500, -0.5): (6.6113, -3.3056, -6.6112, 13.1133, -6.5021),
    (3, 500, 0.0): (5.5834, -1.904, -3.808, 10.3854, -3.4585),
    (3, 500, 0.5): (4.8205, -0.666, -1.7234, 8.1735, -1.0388),
}


def sigmoidal_dual(layout: Layout) -> np.ndarray:
    values = SIGMOIDAL_DUAL[(len(layout.fractions), layout.n_patterns, layout.off)]
    if len(values) == 2:
        d, o = values
        return np.array([[d, o], [o, d]])
    t11, t12, t21, t22, t23 = values
    return np.array([[t11, t12, t12], [t21, t22, t23], [t21, t23, t22]])


@cache
def _inverse_cdf(spacing: float = 0.02, limit: float = 16.0):
    """Quantiles (h, u) of phi(z) under p(z) ~ N(z; 0, 1) exp(h phi(z))."""
    h = np.arange(-limit, limit + spacing / 2, spacing)
    z = np.linspace(-8, 8, 1601)
    cdf = np.cumsum(np.exp(-(z**2) / 2 + h[:, None] * (sigmoidal(z) - 0.5)), axis=1)
    cdf /= cdf[:, -1:]
    u = (np.arange(1000) + 0.5) / 1000
    return np.stack([np.interp(u, row, sigmoidal(z)) for row in cdf])


def redundant(layout: Layout, width: int, draws: int, rng) -> np.ndarray:
    """Readouts from the grid weights of P(a), then every pattern's activation from its tilted prior."""
    t = sigmoidal_dual(layout)
    a = branch_grid(layout, t)
    lw = _log_weight(a, t, layout)
    p = np.exp(lw - logsumexp(lw))
    table = _inverse_cdf()
    means = np.empty((draws, width, len(layout.fractions)))
    for d in range(draws):
        h = a[rng.choice(len(a), size=width, p=p / p.sum())] @ t.T
        row = np.clip(np.round((h + 16) / 0.02).astype(int), 0, len(table) - 1)
        u = rng.integers(table.shape[1], size=(width, layout.n_patterns))
        means[d] = table[row[:, layout.labels], u] @ layout.averaging
    return means


# --- ReLU units: a bulk at a_0 and one unit of amplitude sqrt(N) per code ----------------------------------------


class SparseSolution(NamedTuple):
    """t (class, output), bulk readout (output,), outlier readouts over sqrt(N) (code, output)."""

    t: np.ndarray
    bulk: np.ndarray
    outliers: np.ndarray


# Three classes 1/2, 1/4, 1/4 with off-targets -1/2; two equal classes, one output, targets 1 and -1: there
# t = (2^1/2, -2^1/2) sits on the marginality bound p t^2 = 1, the bulk is the prior, and abar = +-2^-1/4.
SPARSE = {
    3: SparseSolution(
        np.array([[1.1547, -0.5773, -0.5774], [-0.8694, 1.6318, -0.7625], [-0.8693, -0.7626, 1.6318]]),
        np.array([0.1288, -0.0644, -0.0644]),
        np.array([[0.736, -0.368, -0.368], [-0.344, 0.646, -0.302], [-0.344, -0.302, 0.646]]),
    ),
    2: SparseSolution(
        np.sqrt(2) * np.array([[1.0], [-1.0]]), np.zeros(1), 2**-0.25 * np.array([[1.0], [-1.0]])
    ),
}


def tilted_relu(h: np.ndarray, rng) -> np.ndarray:
    """relu(z) for p(z) ~ N(z; 0, 1) exp(h relu(z)): 0 with odds 1/2 : exp(h^2/2) Phi(h), else N(h, 1) above 0."""
    off = 1 / (1 + np.exp(np.minimum(np.log(2) + h**2 / 2 + log_ndtr(h), 700)))
    tail = rng.random(h.shape) * ndtr(h)
    active = h - ndtri(np.maximum(tail, 1e-300))
    return np.where(rng.random(h.shape) < off, 0.0, np.maximum(active, 0.0))


def sparse(layout: Layout, width: int, draws: int, rng, split: int = 1) -> np.ndarray:
    """`split` units share the squared amplitude of every code (1 in equilibrium, more in young chains)."""
    solution = SPARSE[len(layout.fractions)]
    t = solution.t
    h0 = t @ solution.bulk
    u = np.exp(h0**2 / 2) * ndtr(h0)
    density = np.exp(-(h0**2) / 2) / np.sqrt(2 * np.pi)
    g = 0.5 + u
    mean = u * (h0 + density / ndtr(h0)) / g
    variance = u * (1 + h0**2 + h0 * density / ndtr(h0)) / g - mean**2
    curvature = np.eye(t.shape[1]) - np.einsum("c,cr,cs->rs", np.array(layout.fractions) * variance, t, t)
    root = np.linalg.cholesky(np.linalg.inv(layout.n_patterns * curvature))
    outliers = np.repeat(solution.outliers * np.sqrt(width / split), split, axis=0)
    means = np.empty((draws, width, len(layout.fractions)))
    for d in range(draws):
        a = solution.bulk + rng.standard_normal((width, t.shape[1])) @ root.T
        a[: len(outliers)] = outliers
        h = (a @ t.T)[:, layout.labels]
        means[d] = tilted_relu(h, rng) @ layout.averaging
    return means
