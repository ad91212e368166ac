"""What the Monte Carlo saddle points check and share: symmetry of the task, roots of kernels, errors, codes."""

import math

import numpy as np
from jaxtyping import Float, Int

from hiddencodes.theory.population_result import UnitCode

_MOST_CLASSES_WITH_CODES = 12


def check_labels(labels: Int[np.ndarray, " label"] | None, n_train: int) -> None:
    """Refuse labels that do not number the class of every pattern without a gap.

    Raises:
        ValueError: as said.
    """
    if labels is not None and (len(labels) != n_train or np.min(np.bincount(labels)) == 0):
        raise ValueError(
            f"labels must number the class of every pattern, {n_train} of them, without a gap, got {labels}"
        )


def exchangeable_groups(
    k_input: Float[np.ndarray, "pattern pattern"], y: Float[np.ndarray, "pattern output"]
) -> Int[np.ndarray, " pattern"]:
    """Number the sets of patterns that may be exchanged without changing K_0 and Y.

    Example:
        >>> exchangeable_groups(np.eye(4), np.array([[1.0], [0.0], [1.0], [1.0]]))
        array([0, 1, 0, 0])
    """
    tolerance = 1e-9 * float(np.max(np.abs(k_input)))
    groups, members = np.full(len(k_input), -1), list[int]()
    for pattern in range(len(k_input)):
        for group, other in enumerate(members):
            difference = np.abs(k_input[pattern] - k_input[other])
            # Exchanging two patterns leaves the entry between them and swaps those on the diagonal.
            difference[[pattern, other]] = abs(k_input[pattern, pattern] - k_input[other, other])
            if np.array_equal(y[pattern], y[other]) and np.max(difference) <= tolerance:
                groups[pattern] = group
                break
        else:
            groups[pattern] = len(members)
            members.append(pattern)
    return groups


def input_root(k_input: Float[np.ndarray, "pattern pattern"]) -> Float[np.ndarray, "pattern coordinate"]:
    """R with R Rᵀ = K_0, as many columns as its rank."""
    if k_input.shape[0] != k_input.shape[1] or not np.allclose(k_input, k_input.T):
        raise ValueError(f"k_input must be a symmetric matrix, got the shape {k_input.shape}")
    eigenvalues, vectors = np.linalg.eigh(k_input)
    smallest = 1e-12 * np.max(np.abs(eigenvalues))
    if not np.min(eigenvalues) >= -100 * smallest:
        raise ValueError(f"k_input must be positive semidefinite, got the eigenvalue {np.min(eigenvalues)}")
    kept = eigenvalues > smallest
    if not np.any(kept):
        raise ValueError(f"k_input must not be zero, got {k_input}")
    return np.multiply(vectors[:, kept], np.sqrt(eigenvalues[kept]))


def check_population(
    units: int, replicates: int, sweeps: int, readout_variance: float, n_temperature: float, unknowns: int
) -> None:
    """Refuse sizes and variances that are out of range.

    Raises:
        ValueError: as said.
    """
    for name, value, least in (("replicates", replicates, 2), ("sweeps", sweeps, 8)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    if units < 2 * unknowns:
        raise ValueError(
            f"units must be at least twice the number of unknowns, 2 x {unknowns}, got {units}: a smaller population "
            f"fits its own noise"
        )
    if not (math.isfinite(readout_variance) and readout_variance > 0.0):
        raise ValueError(f"readout_variance must be finite and positive, got {readout_variance}")
    if not (math.isfinite(n_temperature) and n_temperature >= 0.0):
        raise ValueError(f"n_temperature must be finite and non-negative, got {n_temperature}")


def averaging_weights(
    labels: Int[np.ndarray, " pattern"] | None, threshold: float | None, n_train: int
) -> Float[np.ndarray, "pattern class"]:
    """(pattern, class) weights of class means; no columns if codes are not to be counted."""
    if labels is None or threshold is None or np.max(labels) >= _MOST_CLASSES_WITH_CODES:
        return np.zeros((n_train, 0))
    n_classes = int(np.max(labels)) + 1
    member = labels[:, None] == np.arange(n_classes)
    counts: np.ndarray = np.bincount(labels)
    return member / counts


def replicate_estimate(values: Float[np.ndarray, "replicate ..."]) -> tuple[np.ndarray, np.ndarray]:
    """Mean over replicates, and its standard error.

    Example:
        >>> mean, error = replicate_estimate(np.array([[1.0], [3.0]]))
        >>> print(mean, error)
        [2.] [1.]
    """
    return np.mean(values, axis=0), np.std(values, axis=0, ddof=1) / math.sqrt(len(values))


def counted_codes(weights: Float[np.ndarray, "replicate code"], n_classes: int) -> tuple[UnitCode, ...]:
    """Codes that occur, the most frequent first."""
    if n_classes == 0:
        return ()
    fraction, error = replicate_estimate(weights)
    order = [code for code in np.argsort(-fraction) if fraction[code] > 0.0]
    return tuple(
        UnitCode(format(code, f"0{n_classes}b"), float(fraction[code]), float(error[code])) for code in order
    )


def kernels_from_sums(
    second: Float[np.ndarray, "replicate group group"],
    squares: Float[np.ndarray, "replicate group"],
    groups: Int[np.ndarray, " pattern"],
) -> Float[np.ndarray, "replicate pattern pattern"]:
    """Kernels from group sums: pairs within a group share one entry, and so do its diagonal entries."""
    sizes = np.bincount(groups).astype(np.float64)
    blocks, diagonal = second / np.outer(sizes, sizes), squares / sizes
    within = np.arange(len(sizes))
    pairs = np.where(sizes > 1, sizes - 1.0, 1.0)
    blocks[:, within, within] = (blocks[:, within, within] * sizes - diagonal) / pairs
    kernels = blocks[:, groups[:, None], groups[None, :]]
    patterns = np.arange(len(groups))
    kernels[:, patterns, patterns] = diagonal[:, groups]
    return kernels
