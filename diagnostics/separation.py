"""How well layers separate classes, and which layers do the work: load curves (arXiv 2407.19353, 2210.17020).

With class means m_k, the global mean m and n_k of n patterns in class k, a layer's features x have

    S_w = (1/n) sum_k sum_{i in k} (x_i - m_k)(x_i - m_k)^T,    S_b = (1/n) sum_k n_k (m_k - m)(m_k - m)^T.

How badly they are separated is ``D = ln Tr S_w - ln Tr S_b`` (``"trace"``), or ``ln Tr(S_w S_b^+)`` (``"pseudo-inverse"``). Both follow from the
inner products of features alone, so that they exist at infinite width; rotations, shifts and scales change neither.
"""

from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from hiddencodes.models import Activation, nngp_kernels

SeparationMeasure = Literal["trace", "pseudo-inverse"]


def data_separation(
    kernel: ArrayLike, labels: ArrayLike, measure: SeparationMeasure = "trace"
) -> Float[np.ndarray, "*batch"]:
    """D of features with given inner products; small where classes are well separated.

    Args:
        kernel: ``x_i . x_j``, up to a factor, with any leading axes.
        labels: Class of every pattern, integers.
        measure: ``"trace"`` as of arXiv 2407.19353, or ``"pseudo-inverse"`` as of arXiv 2210.17020 (whose D is the exponential of
            this one). S_b has rank K - 1 at most; what is below 1e-10 of its largest eigenvalue counts as zero.

    A kernel's entries are rounded to the precision of its type: spreads and eigenvalues that this may hide, below eps times the largest entry, count as zero in both measures. So center
    features before taking inner products in single precision if their common mean is large.

    Returns:
        D, natural logarithms. Infinite where all class means agree, minus infinite where classes have no spread, NaN where all patterns
        agree or a number is not finite.

    Raises:
        ValueError: If shapes do not fit, there is one class only, or the measure is unknown.

    Example:
        >>> x = np.array([[0.0], [2.0], [10.0], [12.0]])  # S_w = 1, S_b = 25
        >>> print(round(float(np.exp(data_separation(x @ x.T, [0, 0, 1, 1]))), 4))
        0.04
    """
    given = _real("kernel", kernel)
    if given.ndim < 2 or given.shape[-1] != given.shape[-2]:
        raise ValueError(f"kernel: expected (..., pattern, pattern), got the shape {given.shape}")
    members, means = _classes(labels, given.shape[-1], measure)
    rounding = float(np.finfo(given.dtype if given.dtype.kind == "f" else float).eps)
    k = given.astype(float)
    largest = np.abs(k).max((-2, -1), keepdims=True)
    if np.any(np.abs(k - np.swapaxes(k, -1, -2)) > 100.0 * len(members) * rounding * largest):
        raise ValueError("kernel: expected inner products, which are symmetric, got an array that is not")
    # Averages move by no more than the entries they are made of: this is what rounding of those, and of the sums below, leaves in place of zero at most.
    floor = (2.0 * rounding + 8.0 * float(np.finfo(float).eps)) * largest[..., 0, 0]
    # A shift of the features changes nothing, but without it small classes drown in a large common mean. The first one makes equal features exactly zero.
    k = k - k[..., :1, :] - k[..., :, :1] + k[..., :1, :1]
    k = k - k.mean(-1, keepdims=True) - k.mean(-2, keepdims=True) + k.mean((-2, -1), keepdims=True)
    shares = members.mean(0)
    if measure == "trace":
        between = np.einsum("k,ki,...ij,kj->...", shares, means, k, means, optimize=True)
        within = np.einsum("...ii->...", k) / k.shape[-1] - between
        return _log_ratio(within, between, floor)
    scaled = np.sqrt(shares)[:, None] * means
    residual = (np.eye(k.shape[-1]) - members @ means) / np.sqrt(k.shape[-1])
    total = np.einsum("...ii->...", k)
    return _pseudo_inverse(
        scaled @ k @ scaled.T,
        scaled @ k @ residual.T,
        total / k.shape[-1],
        len(shares) - 1,
        floor,
    )


def feature_separation(
    features: ArrayLike, labels: ArrayLike, measure: SeparationMeasure = "trace"
) -> Float[np.ndarray, "*batch"]:
    """D of features themselves: `data_separation` of ``x x^T`` for more patterns than a kernel could hold.

    Args:
        features: (..., pattern, unit).
        labels: Class of every pattern, integers.
        measure: As in `data_separation`.

    Raises:
        ValueError: As `data_separation` does.

    Example:
        >>> x = np.array([[0.0], [2.0], [10.0], [12.0]])
        >>> print(round(float(np.exp(feature_separation(x, [0, 0, 1, 1]))), 4))
        0.04
    """
    x = _real("features", features).astype(float)
    if x.ndim < 2:
        raise ValueError(f"features: expected (..., pattern, unit), got the shape {x.shape}")
    members, means = _classes(labels, x.shape[-2], measure)
    # Features that are all the same are exactly zero after this, which they would not be without their rounded mean.
    x = x - x[..., :1, :]
    # Means of n numbers are rounded by some sqrt(n) eps: what that leaves in place of zero.
    floor = 16.0 * len(members) * float(np.finfo(float).eps) ** 2 * np.sum(x**2, axis=-1).max(-1)
    x = x - x.mean(-2, keepdims=True)
    centre = means @ x
    residual = x - members @ centre
    shares = members.mean(0)
    if measure == "trace":
        within = np.mean(np.sum(residual**2, axis=-1), axis=-1)
        return _log_ratio(within, np.sum(shares * np.sum(centre**2, axis=-1), axis=-1), floor)
    centre = np.sqrt(shares)[:, None] * centre
    turn = np.swapaxes(centre, -1, -2)
    cross = (residual @ turn).swapaxes(-1, -2) / np.sqrt(x.shape[-2])
    total = np.mean(np.sum(x**2, axis=-1), axis=-1)
    return _pseudo_inverse(centre @ turn, cross, total, len(shares) - 1, floor)


def _classes(labels: ArrayLike, n: int, measure: str) -> tuple[np.ndarray, np.ndarray]:
    """Membership (pattern, class) and the class means as an operator (class, pattern)."""
    if measure not in get_args(SeparationMeasure):
        raise ValueError(f"measure: expected 'trace' or 'pseudo-inverse', got {measure!r}")
    found = np.asarray(labels)
    if found.shape != (n,):
        raise ValueError(f"labels: expected one for each of {n} patterns, got the shape {found.shape}")
    if found.dtype.kind == "f" and not np.all(found == np.floor(found)):
        raise ValueError(f"labels: expected integers, got {found[found != np.floor(found)][0]:g}")
    names, index = np.unique(found, return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"labels: expected at least two classes, got {names.tolist()}")
    members = (index[:, None] == np.arange(len(names))).astype(float)
    return members, members.T / members.sum(0)[:, None]


def _real(name: str, values: ArrayLike) -> np.ndarray:
    found = np.asarray(values)
    if found.dtype.kind not in "fiub":
        raise ValueError(f"{name}: expected real numbers, got the type {found.dtype}")
    return found


def _log_ratio(within: ArrayLike, between: ArrayLike, floor: ArrayLike) -> np.ndarray:
    # Nothing over nothing is not a number.
    with np.errstate(divide="ignore", invalid="ignore"):
        w, b = (np.log(np.where(np.asarray(v) <= floor, 0.0, v)) for v in (within, between))
        return np.asarray(w - b)


def _pseudo_inverse(
    between: np.ndarray, cross: np.ndarray, total: ArrayLike, rank: int, floor: ArrayLike
) -> np.ndarray:
    """``ln Tr[(C G C^T)^{+2} (C G R^T)(C G R^T)^T]`` with ``S_b ~ C G C^T`` and ``S_w ~ R G R^T``, eigenvalues up to ``floor`` left out.

    ``total`` is the mean spread of all patterns: without any there is nothing to measure, and without any in ``cross`` classes have none.
    """
    total, floor = np.asarray(total), np.asarray(floor)
    finite = np.isfinite(between).all((-2, -1)) & np.isfinite(cross).all((-2, -1))
    values, vectors = np.linalg.eigh(np.where(finite[..., None, None], between, 0.0))
    kept = values > np.maximum(1e-10 * values[..., -1:], floor[..., None])
    kept[..., :-rank] = False
    squares = np.sum((np.swapaxes(vectors, -1, -2) @ cross) ** 2, axis=-1)
    # A class's spread w along a direction with means of spread b has b w as its square here.
    squares = np.where(squares <= floor[..., None] * np.maximum(values, 0.0), 0.0, squares)
    spread = np.sum(np.where(kept, squares / np.where(kept, values, 1.0) ** 2, 0.0), -1)
    with np.errstate(divide="ignore"):
        found = np.where(kept.any(-1), np.log(spread), np.inf)
    return np.where(finite & (total > floor), found, np.nan)


class LoadCurve(NamedTuple):
    """Which layers separate the classes; leading axes are those of what it was made from.

    Attributes:
        separation: D_0 (inputs) to D_L.
        loads: ``d_l = D_{l-1} - D_l``, what layer l does.
        total_drop: ``D_0 - D_L``.
        area: Mean distance of the curve, scaled to between 0 and 1, above the straight line between its ends. In a curve that falls, positive (concave):
            deep layers do most; negative (convex): shallow layers do most. In one that rises, as before learning, it is the other way round. NaN for a curve without any change.
        curvature: ``d_1 - d_L``, positive where the first layers do most.
        spread: Population standard deviation of the loads.
    """

    separation: Float[np.ndarray, "*batch position"]
    loads: Float[np.ndarray, "*batch layer"]
    total_drop: Float[np.ndarray, "*batch"]
    area: Float[np.ndarray, "*batch"]
    curvature: Float[np.ndarray, "*batch"]
    spread: Float[np.ndarray, "*batch"]


def load_curve(separation: ArrayLike, inputs: ArrayLike | float | None = None) -> LoadCurve:
    """The load curve and the statistics of its shape (arXiv 2407.19353).

    A parabola whose loads grow by s from layer to layer has ``area = s L (L - 1) / (12 total_drop)``.

    Args:
        separation: D of every layer along the last axis, such as ``run["posterior"]["separation"]``.
        inputs: D of the inputs, put before the others; None if it is among them.

    Raises:
        ValueError: If there are fewer than two numbers.

    Example:
        >>> print(load_curve([1, 1, 1, 1, 1, 1, 1, 0]).area, load_curve([2.0, 1.0], inputs=3.0).loads)
        0.375 [1. 1.]
    """
    d = np.asarray(separation, float)
    if inputs is not None:
        try:
            first = np.broadcast_to(np.asarray(inputs, float), d.shape[:-1])
        except ValueError:
            raise ValueError(
                f"inputs: expected one number for each curve, {d.shape[:-1]}, got the shape {np.shape(inputs)}"
            ) from None
        d = np.concatenate([first[..., None], d], axis=-1)
    if d.ndim < 1 or d.shape[-1] < 2:
        raise ValueError(f"separation: expected at least the inputs and one layer, got the shape {d.shape}")
    low, high = d.min(-1, keepdims=True), d.max(-1, keepdims=True)
    # Layers may separate perfectly, or not at all: D is infinite there.
    with np.errstate(invalid="ignore", divide="ignore"):
        loads = -np.diff(d, axis=-1)
        scaled = (d - low) / (high - low)
        # The mean of a straight line is that of its ends.
        area = scaled.mean(-1) - 0.5 * (scaled[..., 0] + scaled[..., -1])
        numbers = (d[..., 0] - d[..., -1], area, loads[..., 0] - loads[..., -1], loads.std(axis=-1))
    return LoadCurve(d, loads, *(np.asarray(each) for each in numbers))


def prior_load_curve(
    activation: Activation,
    k_input: Float[np.ndarray, "pattern pattern"],
    labels: ArrayLike,
    depth: int,
    *,
    measure: SeparationMeasure = "trace",
    weight_variance: float = 1.0,
    bias_variance: float = 0.0,
) -> LoadCurve:
    """The load curve of infinitely wide networks under the prior, which is also that of their lazy posterior.

    Layers that have learned nothing mostly mix classes up, by the trace: learning has to work against these loads. It is not a law: classes that no linear function tells apart are separated
    by the first nonlinear layer, and the pseudo-inverse form may fall from layer to layer.

    Args:
        activation: phi.
        k_input: ``X X^T / N0``.
        labels: Class of every pattern.
        depth: Hidden layers.
        measure: As in `data_separation`.
        weight_variance: As in `hiddencodes.nngp_kernels`.
        bias_variance: As in `hiddencodes.nngp_kernels`.

    Example:
        >>> from hiddencodes.models import linear
        >>> x = np.random.default_rng(0).normal(size=(6, 3))
        >>> curve = prior_load_curve(linear, x @ x.T, [0, 0, 0, 1, 1, 1], depth=2)
        >>> bool(np.allclose(curve.loads, 0))
        True
    """
    kernels = nngp_kernels(
        activation, k_input, depth, weight_variance=weight_variance, bias_variance=bias_variance
    )
    layers = np.concatenate([np.asarray(k_input, float)[None], kernels.postactivation])
    return load_curve(data_separation(layers, labels, measure))
