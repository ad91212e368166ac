import numpy as np
import pytest

from hiddencodes.theory.kernel_blocks import kernel_class_blocks


def test_means_over_pairs_one_by_one() -> None:
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((2, 3, 8, 8))
    labels = np.array([2, 0, 1, 0, 2, 2, 0, 1])
    blocks, diagonal = kernel_class_blocks(kernel, labels)
    assert blocks.shape == (2, 3, 3, 3)
    for c in range(3):
        members = np.flatnonzero(labels == c)
        np.testing.assert_allclose(diagonal[..., c], np.mean(kernel[..., members, members], axis=-1))
        for d in range(3):
            pairs = [(m, n) for m in members for n in np.flatnonzero(labels == d) if m != n]
            mean = np.mean([kernel[..., m, n] for m, n in pairs], axis=0)
            np.testing.assert_allclose(blocks[..., c, d], mean, rtol=1e-12, atol=1e-12)


def test_refuses_labels() -> None:
    with pytest.raises(
        ValueError, match=r"labels must have a pattern of every class, got the class counts \[1 0 1\]"
    ):
        kernel_class_blocks(np.eye(2), np.array([0, 2]))
    with pytest.raises(ValueError, match="labels must be non-negative"):
        kernel_class_blocks(np.eye(2), np.array([0, -1]))
