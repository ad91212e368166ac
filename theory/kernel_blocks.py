"""Kernels between patterns, averaged over the patterns of classes."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class KernelBlocks(NamedTuple):
    """Class averages of a kernel, with any leading axes of the kernel (layers, draws).

    Attributes:
        blocks: Mean of K(μ, ν) over μ in class c and ν in class d, μ = ν left out, (..., class, class); NaN within a class
            of one pattern.
        diagonal: Mean of K(μ, μ) over μ in class c, (..., class).
    """

    blocks: Float[np.ndarray, "*lead class class"]
    diagonal: Float[np.ndarray, "*lead class"]


def kernel_class_blocks(
    kernel: Float[np.ndarray, "*lead pattern pattern"], labels: Int[np.ndarray, " pattern"]
) -> KernelBlocks:
    """Class-block means of a kernel as runs store them in `kernel_blocks` and `kernel_diagonal`.

    Args:
        kernel: K(μ, ν), (..., pattern, pattern).
        labels: Class of every pattern, 0 to the number of classes less one, (pattern,).

    Returns:
        Blocks and diagonal.

    Raises:
        ValueError: if there are no patterns, a label is negative or a class has no pattern.

    Example:
        >>> kernel = np.array([[3.0, 1.0, 0.5], [1.0, 5.0, 0.3], [0.5, 0.3, 2.0]])
        >>> blocks, diagonal = kernel_class_blocks(kernel, np.array([0, 0, 1]))
        >>> print(blocks, diagonal)
        [[1.  0.4]
         [0.4 nan]] [4. 2.]
    """
    if labels.size == 0 or np.min(labels) < 0:
        raise ValueError(f"labels must be non-negative, one per pattern, got {labels}")
    counts = np.bincount(labels)
    if np.min(counts) == 0:
        raise ValueError(f"labels must have a pattern of every class, got the class counts {counts}")
    average = (labels[:, None] == np.arange(len(counts))) / counts
    diagonal = np.diagonal(kernel, axis1=-2, axis2=-1) @ average
    blocks = average.T @ kernel @ average
    within = np.arange(len(counts))
    # A class of one pattern has no pair; NaN says so (rounding over zero would be infinite).
    others = np.where(counts > 1, counts - 1.0, np.nan)
    blocks[..., within, within] = (blocks[..., within, within] * counts - diagonal) / others
    return KernelBlocks(blocks, diagonal)
