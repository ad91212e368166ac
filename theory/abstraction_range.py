"""Are global minima abstract? For inputs of any kind, symmetric in the latents or not."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from hiddencodes.tasks import walsh_functions
from hiddencodes.theory.global_minimum import GlobalMinimum, kernel_range


class AbstractionRange(NamedTuple):
    """The two global minima with the least and with the most part in products of latents.

    Attributes:
        abstract: Whether all global minima are abstract (True), none is (False), or some are (None).
        products: Share of products of latents in the variance of the responses (two,); 0 for a code that is perfectly abstract, NaN for a
            silent layer.
        kernels: Their kernels (two, pattern, pattern), which `hiddencodes.abstraction` takes.

    >>> from hiddencodes.models import relu
    >>> from hiddencodes.tasks import factorial_latents
    >>> from hiddencodes.theory import global_minimum
    >>> latents = factorial_latents(2)
    >>> found = abstraction_range(global_minimum(np.eye(4), latents, relu, starts=32), latents)
    >>> found.abstract is None, bool(found.products[1] > 0.3)
    (True, True)
    """

    abstract: bool | None
    products: Float[np.ndarray, " two"]
    kernels: Float[np.ndarray, "two pattern pattern"]


def abstraction_range(
    minimum: GlobalMinimum, latents: ArrayLike, *, margin: float = 0.01, starts: int = 256
) -> AbstractionRange:
    """Predict, before any training, whether the global minima of a task are abstract.

    `hiddencodes.factorial_minimum` knows it in closed form for inputs with the symmetry of the latents and targets that are the latents. This
    is for all others, such as random expansions or targets of 0 and 1: a minimum is abstract if its responses have no part in products of latents, and
    `hiddencodes.kernel_range` finds the minima with the least and with the most of it.

    Args:
        minimum: Of the task, whose patterns are those of ``latents``.
        latents: +1 and -1 (pattern, latent), all combinations equally often, of at least two latents. Responses are averaged over repeats.
        margin: Share of products in the variance that still counts as abstract. Ranges are found to some 0.003.
        starts: As in `hiddencodes.kernel_range`.

    Raises:
        ValueError: If latents are not all combinations equally often, do not fit the minimum, or the margin is not between 0 and 1.

    Example:
        >>> from hiddencodes.models import relu
        >>> from hiddencodes.tasks import factorial_latents
        >>> from hiddencodes.theory import global_minimum
        >>> latents = factorial_latents(2)
        >>> inputs = np.column_stack([np.eye(4), np.ones(4)])  # one-hot, with a bias
        >>> abstraction_range(global_minimum(inputs, latents, relu, starts=32), latents).abstract
        True
    """
    if not 0.0 <= margin <= 1.0:
        raise ValueError(f"margin: expected a number between 0 and 1, got {margin!r}")
    y = np.asarray(latents, float)
    if y.ndim != 2 or y.shape[1] < 2 or len(y) != len(minimum.outputs) or np.any(np.abs(y) != 1.0):
        raise ValueError(
            f"latents: expected +1 and -1 of at least two latents for {len(minimum.outputs)} patterns, got the shape {y.shape}"
        )
    chosen = walsh_functions(y.shape[1])[1]
    chi = np.stack([np.prod(y[:, list(each)], axis=1) for each in chosen], axis=1) / np.sqrt(len(y))
    if np.abs(chi.T @ chi - np.eye(len(chosen))).max() > 1e-9:
        raise ValueError("latents: expected all combinations, each of them equally often")
    degree = np.array([len(each) for each in chosen])
    found = kernel_range(minimum, chi[:, degree > 1] @ chi[:, degree > 1].T, starts=starts)
    content = np.einsum("pf,kpq,qf->kf", chi, found.kernels, chi)
    with np.errstate(invalid="ignore"):
        products = np.clip(content[:, degree > 1].sum(1) / content[:, degree > 0].sum(1), 0.0, None)
    abstract = None
    if products[1] <= margin:
        abstract = True
    elif products[0] > margin:
        abstract = False
    return AbstractionRange(abstract, products, found.kernels)
