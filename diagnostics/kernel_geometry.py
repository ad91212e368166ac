"""The geometry of a layer's responses to conditions, from their inner products alone.

A condition kernel is ``K_cd = z_c . z_d`` over the noise-free conditions of a task (any factor, such as 1/N, drops out of everything
here). All functions take leading axes: chains, draws, layers.
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

Kernel = Float[np.ndarray, "*batch condition condition"]


def centred(kernel: ArrayLike) -> Kernel:
    """The kernel of deviations from the mean response, ``C K C`` with ``C = 1 - 11^T/P``.

    >>> centred([[1.0, 0.0], [0.0, 1.0]])
    array([[ 0.5, -0.5],
           [-0.5,  0.5]])
    """
    k = np.asarray(kernel, float)
    if k.ndim < 2 or k.shape[-1] != k.shape[-2]:
        raise ValueError(f"kernel: expected (..., condition, condition), got the shape {k.shape}")
    return k - k.mean(-1, keepdims=True) - k.mean(-2, keepdims=True) + k.mean((-2, -1), keepdims=True)


def kernel_alignment(
    first: ArrayLike, second: ArrayLike, *, centre: bool = True, debiased: bool = False
) -> Float[np.ndarray, "*batch"]:
    """Centred kernel alignment, ``<CKC, CLC> / (|CKC| |CLC|)`` (CKA; Cortes, Mohri and Rostamizadeh, JMLR 13, 2012).

    Codes without negative responses have a large constant part, on which all agree; uncentred alignments say little about them.

    Args:
        first, second: Kernels over the same conditions, leading axes broadcast.
        centre: Whether to centre.
        debiased: With the unbiased estimator of HSIC instead (Song et al., JMLR 13, 2012), for kernels of random patterns from a
            larger set: its mean does not grow when there are few of them. Needs 4 conditions, and ``centre``.

    Returns:
        Alignments; between 0 and 1 for positive semidefinite kernels, unless debiased. NaN where a kernel is constant.

    >>> y = np.array([[1.0, 1.0, -1.0, -1.0]])
    >>> round(float(kernel_alignment(np.eye(4), y.T @ y)), 4)  # 1/sqrt(3)
    0.5774
    """
    if debiased:
        if not centre:
            raise ValueError("debiased: the unbiased estimator centres, got centre=False")
        inner = _unbiased_product
        k, l = np.asarray(first, float), np.asarray(second, float)
    else:
        inner = _product
        k, l = ((centred(x) if centre else np.asarray(x, float)) for x in (first, second))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(inner(k, l) / np.sqrt(inner(k, k) * inner(l, l)))


def _product(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.asarray(np.sum(first * second, axis=(-2, -1)))


def _unbiased_product(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    n = first.shape[-1]
    if n < 4:
        raise ValueError(f"debiased: needs at least 4 conditions, got {n}")
    off = 1.0 - np.eye(n)
    k, l = first * off, second * off
    rows = np.einsum("...i,...i->...", k.sum(-1), l.sum(-1))
    sums = k.sum((-2, -1)) * l.sum((-2, -1))
    total = np.sum(k * l, axis=(-2, -1)) + sums / ((n - 1) * (n - 2)) - 2 * rows / (n - 2)
    return np.asarray(total / (n * (n - 3)))


def largest_target_alignment(
    input_alignment: ArrayLike | float, input_target: ArrayLike | float
) -> Float[np.ndarray, "*batch"]:
    """How aligned with the targets a layer can be that is aligned with the inputs to a given degree.

    Centred kernels are directions: angles between three of them obey the triangle inequality,
    ``b <= a c + sqrt(1 - a^2) sqrt(1 - c^2)``, the arc that bounds the plane of input and target alignment.

    Args:
        input_alignment: a, alignment of layer and inputs.
        input_target: c, alignment of inputs and targets.

    >>> float(largest_target_alignment(1.0, 0.3)), float(largest_target_alignment(0.3, 0.3))
    (0.3, 1.0)
    """
    a, c = np.asarray(input_alignment, float), np.asarray(input_target, float)
    root = np.sqrt(np.clip(1 - a**2, 0, None) * np.clip(1 - c**2, 0, None))
    return np.asarray(a * c + root)


def kernel_dimension(kernel: ArrayLike) -> Float[np.ndarray, "*batch"]:
    """Participation ratio of the centred kernel's eigenvalues, ``(tr CK)^2 / tr (CK)^2``: how many dimensions responses use.

    >>> float(kernel_dimension(np.eye(4)))
    3.0
    """
    k = centred(kernel)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.trace(k, axis1=-2, axis2=-1) ** 2 / np.sum(k**2, axis=(-2, -1)))


def class_clustering(kernel: ArrayLike, labels: ArrayLike) -> Float[np.ndarray, "*batch"]:
    """Variance within two balanced or unbalanced classes over the total variance of the responses: 0 when classes have collapsed.

    For balanced labels y of +1 and -1 it is ``1 - (y^T K y / P) / tr CK``.

    Args:
        kernel: Condition kernel.
        labels: Class of every condition, any two or more different values.

    >>> y = np.array([1.0, 1.0, -1.0, -1.0])
    >>> [round(abs(float(class_clustering(k, y))), 4) for k in (np.outer(y, y), np.eye(4))]
    [0.0, 0.6667]
    """
    k = centred(kernel)
    found, number = np.unique(np.asarray(labels).ravel(), return_inverse=True)
    if len(number) != k.shape[-1] or len(found) < 2:
        raise ValueError(
            f"labels: expected {k.shape[-1]} of at least two classes, got {np.asarray(labels)!r}"
        )
    averages = (number[:, None] == np.arange(len(found))) / np.sqrt(np.bincount(number))
    between = np.einsum("ck,...cd,dk->...", averages, k, averages)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(1.0 - between / np.trace(k, axis1=-2, axis2=-1))


def walsh_spectrum(kernel: ArrayLike, functions: ArrayLike) -> Float[np.ndarray, "*batch function"]:
    """How much of a layer's responses lies along each product of latents, ``chi_T^T K chi_T / P``.

    Without content of degree two and more a code is perfectly abstract: every latent is coded alike whatever the others are.

    Args:
        kernel: Kernel over all combinations of latents.
        functions: The products (condition, function), such as `hiddencodes.tasks.walsh_functions` returns.

    >>> latents = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    >>> functions = np.column_stack([np.ones(4), latents, latents.prod(1)])
    >>> walsh_spectrum(latents @ latents.T, functions)
    array([0., 4., 4., 0.])
    """
    k, chi = np.asarray(kernel, float), np.asarray(functions, float)
    return np.asarray(np.einsum("cT,...cd,dT->...T", chi, k, chi) / chi.shape[0])
