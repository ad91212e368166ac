"""Conditions whose input kernel has exactly the alignment with the targets that is asked for."""

import json
import math
from typing import Any, cast

import numpy as np
from jaxtyping import Float64
from scipy.optimize import brentq  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from hiddencodes.tasks.arguments import finite_number, integer_at_least
from hiddencodes.tasks.conditions import ConditionTask, walsh_functions
from hiddencodes.tasks.orthogonal import orthonormal_rows


def isotropic_alignment(n_conditions: int, n_targets: int) -> float:
    """Alignment of k independent balanced targets with d conditions at equal distances, ``sqrt(k / (d - 1))``.

    >>> f"{isotropic_alignment(8, 1):.4f}"
    '0.3780'
    """
    return math.sqrt(n_targets / (n_conditions - 1))


def aligned_conditions(
    n_conditions: int,
    n_targets: int,
    alignment: float,
    *,
    scale: float = 0.0,
    n_inputs: int = 100,
    noise: float = 1.0,
    seed: int = 0,
) -> ConditionTask:
    """Binary latents as targets, and inputs whose kernel is aligned with them to a given degree (arXiv 2401.13558).

    The targets are the first k of b latents of d = 2^b conditions. The centred input kernel K_x has trace d and

        c = <K_x, Y Y^T> / (|K_x| |Y Y^T|)

    exactly. At ``scale`` 0 its spectrum is flat within the targets and flat beside them: d a / k on each of the k, and
    d (1 - a) / (d - 1 - k) on each other dimension, with ``a / (1 - a) = c sqrt(k / (d - 1 - k)) / sqrt(1 - c^2)``. Above 0 a
    random spectrum, Dirichlet with parameter 1/scale in a random basis, is moved straight towards ``Y Y^T`` or towards a random
    kernel without any of it, until the alignment is c.

    Args:
        n_conditions: d, a power of two, at least 4.
        n_targets: k, at most log2 d.
        alignment: c, from 0, targets that are linearly inseparable, to 1; `isotropic_alignment` is no structure at all.
        scale: How random the spectrum is.
        n_inputs: Number of inputs N0, at least d - 1.
        noise: Standard deviation of every input's noise; means have squared norms of N0 on average.
        seed: Seed of spectrum, basis and embedding.

    Raises:
        ValueError: If an argument is out of range.

    >>> f"{aligned_conditions(8, 3, 0.25, scale=0.5).alignment:.10f}"
    '0.2500000000'
    """
    d, k = integer_at_least("n_conditions", n_conditions, 4), integer_at_least("n_targets", n_targets, 1)
    bits = d.bit_length() - 1
    if d != 1 << bits:
        raise ValueError(f"n_conditions: expected a power of two, got {d}")
    if k > bits:
        raise ValueError(f"n_targets: {d} conditions have {bits} independent latents, got {k}")
    c = finite_number("alignment", alignment, 0, 1)
    randomness, width = finite_number("scale", scale, 0), integer_at_least("n_inputs", n_inputs, 1)
    if width < d - 1:
        raise ValueError(f"n_inputs: expected at least {d - 1} for {d} conditions, got {n_inputs}")
    rng = np.random.default_rng(integer_at_least("seed", seed, 0))
    functions = walsh_functions(bits)[0] / math.sqrt(d)
    targets = functions[:, 1 : k + 1] * math.sqrt(d)
    if randomness == 0:
        odds = math.inf if c == 1 else c * math.sqrt(k / (d - 1 - k)) / math.sqrt(1 - c**2)
        within = 1.0 if c == 1 else odds / (1 + odds)
        spectrum = np.concatenate(
            [np.full(k, d * within / k), np.full(d - 1 - k, d * (1 - within) / (d - 1 - k))]
        )
        factor = functions[:, 1:] * np.sqrt(spectrum)
    else:
        kernel = _random_kernel(rng, functions, targets, c, randomness)
        values, vectors = np.linalg.eigh(kernel)
        # The constant is in the kernel's null space: its eigenvalue is rounding.
        factor = vectors[:, 1:] * np.sqrt(np.clip(values[1:], 0.0, None))
    means = math.sqrt(n_inputs) * factor @ orthonormal_rows(rng, d - 1, n_inputs)
    about = {
        "generator": "aligned_conditions", "n_conditions": d, "n_targets": k, "alignment": c, "scale": randomness,
        "n_inputs": int(n_inputs), "noise": float(noise), "seed": int(seed),
    }  # fmt: skip
    return ConditionTask(
        means, targets, noise, f"{d} conditions, {k} targets, alignment {c:.3g}", json.dumps(about)
    )


def _random_kernel(
    rng: np.random.Generator, functions: np.ndarray, targets: np.ndarray, alignment: float, scale: float
) -> Float64[np.ndarray, "condition condition_2"]:
    """A centred positive semidefinite kernel of trace d with that alignment."""
    d, k = targets.shape

    def dirichlet(basis: np.ndarray) -> np.ndarray:
        turned = basis @ np.linalg.qr(rng.standard_normal((basis.shape[1], basis.shape[1])))[0]
        weights = rng.dirichlet(np.full(basis.shape[1], 1.0 / scale))
        return d * (turned * weights) @ turned.T

    wanted = targets @ targets.T
    norm = np.linalg.norm(wanted)
    source = dirichlet(functions[:, 1:])

    def aligned(kernel: np.ndarray) -> float:
        return float(np.sum(kernel * wanted) / (np.linalg.norm(kernel) * norm))

    end = dirichlet(functions[:, k + 1 :]) if aligned(source) >= alignment else wanted / k
    if (aligned(source) - alignment) * (aligned(end) - alignment) >= 0:
        return end  # to rounding, alignment 0 or 1

    def mixed(share: float) -> np.ndarray:
        return (1 - share) * source + share * end

    def excess(share: float) -> float:
        return aligned(mixed(share)) - alignment

    return mixed(float(cast("Any", brentq)(excess, 0.0, 1.0, xtol=1e-15, rtol=1e-14)))
