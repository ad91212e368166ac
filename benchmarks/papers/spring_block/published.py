"""Published phase diagrams, cell by cell, as read from the vector figure in the authors' repository (DaDaCheng/DNN_Spring).

Rows are slopes of the leaky ReLU, columns go from most to least noise. Accuracies (%) are gray levels between the printed ends of the color bar,
areas are those of the drawn curves, which are scaled cell by cell.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

SLOPES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


class Panel(NamedTuple):
    """A panel of the phase diagram.

    Attributes:
        noise: The columns.
        accuracy: On test digits (slope, noise), in percent.
        area: Of load curves (slope, noise).
        curves: Whole curves that were read, scaled to between 0 and 1, by row and noise.
    """

    noise: tuple[float, ...]
    accuracy: Float[np.ndarray, "slope noise"]
    area: Float[np.ndarray, "slope noise"]
    curves: dict[tuple[int, float], Float[np.ndarray, " position"]]


def _panel(
    noise: tuple[float, ...],
    *rows: tuple[float, ...],
    curves: dict[tuple[int, float], tuple[float, ...]] | None = None,
) -> Panel:
    cells = np.array(rows).reshape(len(SLOPES), len(noise), 2)
    whole = {cell: np.array(curve) for cell, curve in (curves or {}).items()}
    return Panel(noise, cells[..., 0], cells[..., 1], whole)


LEARNING_RATE = _panel(
    (0.2, 0.1, 0.05, 0.01, 0.005, 0.001, 0.0005, 0.0001),
    (88.6, -0.04, 90.1, -0.01, 91.1, -0.05, 92.7, 0.04, 93.0, 0.09, 92.0, 0.14, 91.3, 0.15, 88.6, 0.15),
    (90.0, -0.15, 90.5, -0.12, 91.4, -0.11, 92.9, -0.01, 93.3, 0.05, 93.1, 0.10, 92.7, 0.10, 91.1, 0.09),
    (89.7, -0.18, 90.6, -0.18, 91.4, -0.16, 92.7, -0.06, 93.3, 0.01, 93.3, 0.07, 93.1, 0.08, 91.6, 0.06),
    (87.2, -0.25, 89.5, -0.21, 90.6, -0.18, 92.4, -0.12, 93.1, -0.03, 93.3, 0.05, 93.2, 0.07, 91.4, 0.04),
    (82.1, -0.31, 84.3, -0.28, 85.4, -0.27, 90.4, -0.21, 92.1, -0.10, 93.0, 0.03, 92.8, 0.04, 89.8, 0.03),
    (83.7, -0.36, 85.7, -0.35, 85.7, -0.35, 86.1, -0.35, 86.4, -0.30, 88.3, -0.13, 88.8, -0.07, 88.4, 0.02),
    curves={(0, 0.0001): (0.989, 1.0, 0.937, 0.845, 0.696, 0.485, 0.234, 0.0)},
)
"""Full-batch Adam for 200 epochs at different learning rates."""

DROPOUT = _panel(
    (0.28, 0.24, 0.2, 0.16, 0.12, 0.08, 0.04, 0.0),
    (90.9, -0.13, 91.9, -0.10, 92.6, -0.07, 93.0, -0.04, 93.1, 0.00, 93.3, 0.04, 93.1, 0.08, 92.0, 0.13),
    (91.8, -0.14, 92.3, -0.12, 92.8, -0.09, 93.1, -0.06, 93.4, -0.03, 93.5, 0.01, 93.5, 0.05, 93.1, 0.09),
    (91.3, -0.17, 91.8, -0.15, 92.2, -0.13, 92.7, -0.10, 93.1, -0.07, 93.3, -0.03, 93.5, 0.02, 93.4, 0.06),
    (90.4, -0.21, 90.8, -0.19, 91.1, -0.18, 91.5, -0.16, 92.0, -0.13, 92.5, -0.08, 93.0, -0.03, 93.3, 0.03),
    (89.6, -0.25, 89.9, -0.24, 90.1, -0.22, 90.2, -0.21, 90.4, -0.19, 90.5, -0.17, 90.9, -0.12, 92.5, -0.02),
    (89.2, -0.27, 89.5, -0.26, 89.6, -0.25, 89.7, -0.23, 89.6, -0.22, 89.6, -0.19, 89.4, -0.16, 89.1, -0.12),
    curves={
        (0, 0.0): (1.0, 0.961, 0.880, 0.786, 0.661, 0.497, 0.275, 0.0),
        (0, 0.12): (1.0, 0.893, 0.731, 0.573, 0.420, 0.282, 0.128, 0.0),
        (0, 0.28): (1.0, 0.756, 0.495, 0.326, 0.221, 0.133, 0.052, 0.0),
        (5, 0.0): (1.0, 0.833, 0.563, 0.339, 0.174, 0.081, 0.026, 0.0),
        (5, 0.28): (1.0, 0.479, 0.150, 0.070, 0.052, 0.048, 0.036, 0.0),
    },
)
"""Full-batch Adam at 0.001 for 100 epochs with dropout."""

DATA_NOISE = _panel(
    (0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0),
    (83.4, -0.12, 86.1, -0.10, 89.3, -0.06, 90.7, -0.03, 91.4, 0.01, 91.5, 0.03, 91.4, 0.06, 88.3, 0.18),
    (86.7, -0.10, 89.2, -0.08, 90.8, -0.05, 91.7, -0.03, 92.1, 0.00, 92.1, 0.02, 91.9, 0.03, 90.7, 0.11),
    (87.2, -0.12, 89.5, -0.10, 90.8, -0.07, 91.6, -0.04, 92.0, -0.02, 92.1, 0.00, 92.0, 0.01, 91.3, 0.08),
    (85.8, -0.15, 88.2, -0.13, 89.5, -0.11, 90.4, -0.08, 91.2, -0.06, 91.5, -0.05, 91.5, -0.03, 91.2, 0.05),
    (84.0, -0.18, 85.9, -0.17, 87.1, -0.16, 88.0, -0.15, 88.9, -0.14, 89.1, -0.13, 89.6, -0.12, 90.0, 0.00),
    (83.4, -0.18, 84.2, -0.17, 85.3, -0.17, 86.3, -0.16, 87.1, -0.16, 87.6, -0.16, 87.7, -0.17, 85.7, -0.13),
)
"""Noise on labels and inputs. Its last column should be that of `DROPOUT` and is not: fewer training digits were used than the script says."""

BATCH_SIZES = (10, 20, 40, 80, 160, 320, 640, 1280)
"""The columns of the fourth panel, whose numbers are not known here."""
