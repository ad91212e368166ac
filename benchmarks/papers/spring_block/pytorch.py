"""Noisy cells of the phase diagram as PyTorch trains them, on the same digits: where networks of a cell differ so much that published means say little.

Measured with PyTorch 1.13 and the settings of the authors' script (its own initial weights, Adam and batch normalization, in evaluation mode), another
implementation of everything but the digits and the area.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hiddencodes.benchmarks.papers import Claim
from hiddencodes.benchmarks.papers.spring_block.comparison import Measured


class Cells(NamedTuple):
    """Some columns of a panel, all slopes.

    Attributes:
        networks: Per cell.
        noise: The columns.
        values: Area of the mean load curve, its standard error over networks, mean accuracy (%) and its standard error (slope, noise, 4).
    """

    networks: int
    noise: tuple[float, ...]
    values: Float[np.ndarray, "slope noise 4"]


LEARNING_RATE = Cells(10, (0.2, 0.1), np.array((
    ((-0.038, 0.024, 89.38, 0.26), (-0.024, 0.022, 90.57, 0.15),),
    ((-0.133, 0.015, 90.15, 0.20), (-0.138, 0.007, 90.77, 0.19),),
    ((-0.218, 0.013, 89.57, 0.27), (-0.178, 0.010, 90.71, 0.10),),
    ((-0.233, 0.010, 82.15, 3.60), (-0.212, 0.010, 89.52, 0.47),),
    ((-0.324, 0.005, 84.09, 1.05), (-0.296, 0.007, 81.65, 2.87),),
    ((-0.343, 0.009, 75.60, 2.21), (-0.340, 0.011, 82.45, 1.11),),
)))  # fmt: skip
"""Full-batch Adam for 200 epochs."""

BATCH_SIZE = Cells(5, (10.0,), np.array((
    ((-0.322, 0.027, 92.48, 0.15),),
    ((-0.167, 0.015, 92.20, 0.31),),
    ((-0.180, 0.012, 91.75, 0.26),),
    ((-0.217, 0.013, 90.73, 0.34),),
    ((-0.261, 0.003, 87.36, 0.46),),
    ((-0.255, 0.007, 84.48, 0.38),),
)))  # fmt: skip
"""Adam at 0.001 for 100 epochs of batches."""


def claims(cells: Cells, found: Measured) -> list[Claim]:
    """Whether areas and accuracies are those of PyTorch's networks, within the scatter of both."""
    columns = [found.noise.index(x) for x in cells.noise]
    area, area_error, accuracy, accuracy_error = np.moveaxis(cells.values[list(found.slopes)], -1, 0)
    own = [
        np.asarray(a)[:, columns]
        for a in (found.curves.area, found.area_error, found.accuracy, found.accuracy_error)
    ]
    at = ", ".join(f"{x:g}" for x in cells.noise)
    entries = [found.names[k * len(found.noise) + j] for k in range(len(found.slopes)) for j in columns]
    return [
        Claim.agrees("pytorch-area", f"Areas at {at} are those of {cells.networks} networks per cell that PyTorch trained on the same digits", area, own[0], np.hypot(own[1], area_error), grade="measured", entries=entries),
        Claim.agrees("pytorch-accuracy", "and so are accuracies (%)", accuracy, own[2], np.hypot(own[3], accuracy_error), grade="measured", entries=entries),
    ]  # fmt: skip
