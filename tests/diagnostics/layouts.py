"""Training sets of the population tests: classes, targets, input kernels and the prior moments they imply."""

from typing import NamedTuple

import numpy as np

from hiddencodes.tasks import mnist


class Layout(NamedTuple):
    """Classes of the training set and their targets, one-hot with `off` in the place of zero."""

    n_patterns: int
    fractions: tuple[float, ...]
    off: float

    @property
    def counts(self) -> np.ndarray:
        return np.round(np.array(self.fractions) * self.n_patterns).astype(int)

    @property
    def labels(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.fractions)), self.counts)

    @property
    def targets(self) -> np.ndarray:
        """Rows are classes, columns outputs."""
        n = len(self.fractions)
        return np.where(np.eye(n) > 0, 1.0, self.off)

    @property
    def averaging(self) -> np.ndarray:
        """(pattern, class): a unit's activations times this are its class means."""
        return np.eye(len(self.fractions))[self.labels] / self.counts


class Prior(NamedTuple):
    mean: np.ndarray
    covariance: np.ndarray
    variance: np.ndarray
    fractions: np.ndarray


def orthogonal_kernel(layout: Layout) -> np.ndarray:
    return np.eye(layout.n_patterns)


def correlated_kernel(layout: Layout, seed: int = 0) -> np.ndarray:
    """Unit-diagonal kernel like that of real digits: a mean image, class images and a power-law spectrum."""
    rng = np.random.default_rng(seed)
    n_inputs = 2 * layout.n_patterns
    spectrum = np.arange(1, n_inputs + 1) ** -0.75
    x = rng.standard_normal((layout.n_patterns, n_inputs)) * spectrum
    x += 0.5 * (rng.standard_normal((len(layout.fractions), n_inputs)) * spectrum)[layout.labels]
    x += 0.7 * rng.standard_normal(n_inputs) * spectrum
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x @ x.T + 1e-6 * np.eye(layout.n_patterns)


def digits_kernel(layout: Layout) -> np.ndarray:
    """Kernel of real handwritten digits, one digit per class, with white pixel noise of a tenth of their variance.

    Neither centered (K0 would annihilate constant targets) nor free of noise (K0 would be singular at P = 500): the
    zero-temperature law of the analog scheme needs an invertible K0.
    """
    digits = tuple(range(len(layout.fractions)))
    kernel = mnist(digits, layout.n_patterns, layout.fractions, center=False).input_kernel()
    return kernel + 0.1 * np.eye(layout.n_patterns)


KERNELS = {"orthogonal": orthogonal_kernel, "correlated": correlated_kernel, "digits": digits_kernel}


def prior_moments(name: str, kernel: np.ndarray, layout: Layout) -> Prior:
    """Closed-form moments of the class means under z ~ N(0, kernel)."""
    q = np.diag(kernel)
    if name == "linear":
        mean, second = np.zeros_like(q), kernel
    elif name == "sigmoidal":
        norm = np.sqrt(1 + np.pi * q / 2)
        mean = np.full_like(q, 0.5)
        second = 0.25 + np.arcsin(np.pi / 2 * kernel / np.outer(norm, norm)) / (2 * np.pi)
    else:
        scale = np.sqrt(np.outer(q, q))
        angle = np.arccos(np.clip(kernel / scale, -1, 1))
        mean = np.sqrt(q / (2 * np.pi))
        second = scale / (2 * np.pi) * (np.sin(angle) + (np.pi - angle) * np.cos(angle))
    covariance = second - np.outer(mean, mean)
    b = layout.averaging
    return Prior(mean @ b, b.T @ covariance @ b, np.diag(covariance) @ b, layout.counts / layout.n_patterns)
