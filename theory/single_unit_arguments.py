"""What both single-unit solvers check and share: arguments, codes, the first multiplier."""

import math

import numpy as np
from jaxtyping import Bool, Float

from hiddencodes.models.activations import Activation
from hiddencodes.models.gaussian_integrals import evaluate
from hiddencodes.theory.single_unit_population import Problem
from hiddencodes.theory.tilted_moments import asymptotic_slopes


def checked_problem(
    activation: Activation,
    weights: Float[np.ndarray, "..."],
    class_targets: Float[np.ndarray, "..."],
    scaled_variance: float,
    input_variance: float,
    n_temperature: float,
    *,
    weights_name: str,
) -> Problem:
    """The problem with class fractions p_c = weights / Σ weights.

    Raises:
        ValueError: if shapes do not fit, or a number is not finite or out of range.
    """
    if not isinstance(activation, Activation):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"activation: expected an Activation, such as hiddencodes.relu, got {activation!r}")
    class_targets = np.asarray(class_targets, dtype=np.float64)
    if weights.ndim != 1 or not len(weights):
        raise ValueError(f"{weights_name}: expected one number per class, got the shape {weights.shape}")
    if class_targets.ndim != 2 or not class_targets.shape[1]:
        raise ValueError(f"class_targets: expected (class, output), got the shape {class_targets.shape}")
    if not np.all(np.isfinite(weights)) or np.any(weights <= 0):
        raise ValueError(f"{weights_name}: must be positive, got {weights}")
    if len(weights) != len(class_targets):
        raise ValueError(
            f"class_targets: {len(class_targets)} rows, {weights_name} has {len(weights)} entries"
        )
    if not np.all(np.isfinite(class_targets)) or not np.any(class_targets):
        raise ValueError(f"class_targets: must be finite and not all zero, got {class_targets}")
    for name, value in (("readout_variance", scaled_variance), ("input_variance", input_variance)):
        if not (math.isfinite(value) and value > 0.0):
            raise ValueError(f"{name}: must be finite and positive, got {value}")
    if not (math.isfinite(n_temperature) and n_temperature >= 0.0):
        raise ValueError(f"n_temperature: must be finite and not negative, got {n_temperature}")
    fractions = np.asarray(weights, dtype=np.float64) / float(np.sum(weights))
    return Problem(activation, fractions, class_targets, scaled_variance, input_variance, n_temperature)


def code_threshold(activation: Activation) -> float | None:
    """Mean activation above which a class belongs to a unit's code: midway between the ends of φ, None if it has none.

    Example:
        >>> from hiddencodes.models.activations import relu, sigmoidal, tanh
        >>> code_threshold(sigmoidal), code_threshold(tanh), code_threshold(relu)
        (0.5, 0.0, None)
    """
    if asymptotic_slopes(activation) != (0.0, 0.0):
        return None
    ends = evaluate(activation, np.array([-1e8, 1e8]))
    return float(0.5 * (ends[0] + ends[1]))


def code_text(bits: Bool[np.ndarray, " cls"]) -> str:
    """A code as text, one digit per class.

    Example:
        >>> code_text(np.array([True, False]))
        '10'
    """
    return "".join("1" if bit else "0" for bit in bits)
