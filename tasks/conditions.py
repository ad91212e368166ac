"""Tasks whose patterns are noisy copies of a few conditions, so that layers have a geometry to look at."""

import json
import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from hiddencodes.tasks.arguments import finite_array, finite_number, integer_at_least
from hiddencodes.tasks.task import Task


@dataclass(frozen=True, eq=False)
class ConditionTask:
    """Gaussian clusters, called conditions, and binary targets that depend on the condition only.

    A pattern of condition c is ``means[c] + noise * xi`` with standard normal xi. What a layer does to the task is read from its
    condition kernel, the inner products of its responses to the noise-free means.

    Attributes:
        means: Noise-free inputs of the d conditions, shape (d, N0).
        targets: Targets, +1 or -1, shape (d, k).
        noise: Standard deviation of every input's noise.
        name: What reports call the task.
        provenance: One JSON string: the generator and its arguments.

    Raises:
        ValueError: If a target is neither +1 nor -1, is the same for all conditions, or the shapes do not fit.

    >>> task = ConditionTask(np.eye(4), np.array([[1.0], [-1.0], [-1.0], [1.0]]), 0.1)
    >>> task.n_conditions, task.n_targets, round(task.alignment, 3)
    (4, 1, 0.577)
    """

    means: Float64[np.ndarray, "condition input"]
    targets: Float64[np.ndarray, "condition target"]
    noise: float
    name: str = "conditions"
    provenance: str = '{"generator": "by hand"}'

    def __post_init__(self) -> None:
        """Convert, check and freeze the arrays."""
        for name in ("means", "targets"):
            array = finite_array(name, getattr(self, name), 2)
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        object.__setattr__(self, "noise", finite_number("noise", self.noise, 0))
        if len(self.means) != len(self.targets):
            raise ValueError(f"targets: {len(self.targets)} rows for {len(self.means)} conditions")
        if len(self.means) < 2 or 0 in self.means.shape or 0 in self.targets.shape:
            raise ValueError(f"means: expected at least two conditions, got the shape {self.means.shape}")
        wrong = self.targets[np.abs(self.targets) != 1]
        if len(wrong):
            raise ValueError(f"targets: expected +1 and -1, got {wrong[0]!r}")
        same = np.flatnonzero(np.ptp(self.targets, axis=0) == 0)
        if len(same):
            raise ValueError(f"targets: target {same[0]} is {self.targets[0, same[0]]:g} for all conditions")

    @property
    def n_conditions(self) -> int:
        """Number of conditions d."""
        return len(self.means)

    @property
    def n_targets(self) -> int:
        """Number of targets k."""
        return self.targets.shape[1]

    def input_kernel(self) -> Float64[np.ndarray, "condition condition_2"]:
        """Inner products of the means over the number of inputs, shape (d, d)."""
        return self.means @ self.means.T / self.means.shape[1]

    def target_kernel(self) -> Float64[np.ndarray, "condition condition_2"]:
        """Inner products of the targets, ``Y Y^T``, shape (d, d)."""
        return self.targets @ self.targets.T

    @property
    def alignment(self) -> float:
        """Centred alignment of the input kernel with the target kernel, between 0 and 1."""
        a, b = (_centred(kernel) for kernel in (self.input_kernel(), self.target_kernel()))
        return float(np.sum(a * b) / (np.linalg.norm(a) * np.linalg.norm(b)))

    def sample(self, n_train: int, *, seed: int = 0) -> Task:
        """A training set of noisy patterns of random conditions; the test patterns are the noise-free means.

        Args:
            n_train: Number of training patterns, of which every condition gets at least one.
            seed: Seed of conditions and noise.

        >>> ConditionTask(np.eye(4), np.array([[1.0], [-1.0], [-1.0], [1.0]]), 0.1).sample(100).x_test.shape
        (4, 4)
        """
        if integer_at_least("n_train", n_train, 1) < self.n_conditions:
            raise ValueError(f"n_train: {n_train} patterns for {self.n_conditions} conditions")
        rng = np.random.default_rng(integer_at_least("seed", seed, 0))
        every = np.arange(self.n_conditions)
        drawn = rng.integers(self.n_conditions, size=n_train - self.n_conditions)
        conditions = rng.permutation(np.concatenate([every, drawn]))
        x = self.means[conditions] + self.noise * rng.standard_normal((n_train, self.means.shape[1]))
        about = {**json.loads(self.provenance), "n_train": int(n_train), "sample_seed": int(seed)}
        names = tuple(f"c{c}" for c in every)
        return Task(
            x, self.targets[conditions], conditions, self.means, self.targets, every, names, json.dumps(about)
        )

    def noise_free(self) -> Task:
        """The means themselves as training and test patterns."""
        every = np.arange(self.n_conditions)
        names = tuple(f"c{c}" for c in every)
        return Task(self.means, self.targets, every, self.means, self.targets, every, names, self.provenance)


def factorial_latents(n_latents: int) -> Float64[np.ndarray, "condition latent"]:
    """All combinations of binary latent variables, +1 or -1, the first one slowest.

    >>> factorial_latents(2).astype(int).tolist()
    [[1, 1], [1, -1], [-1, 1], [-1, -1]]
    """
    bits = np.indices((2,) * integer_at_least("n_latents", n_latents, 1)).reshape(n_latents, -1).T
    return 1.0 - 2.0 * bits


def walsh_functions(
    n_latents: int,
) -> tuple[Float64[np.ndarray, "condition function"], tuple[tuple[int, ...], ...]]:
    """All products of latents over `factorial_latents`, by degree: the constant, single latents, pairs, ...

    Returns:
        Values, and which latents every function multiplies.

    >>> walsh_functions(2)[1]
    ((), (0,), (1,), (0, 1))
    """
    latents = factorial_latents(n_latents)
    chosen = tuple(t for degree in range(n_latents + 1) for t in combinations(range(n_latents), degree))
    return np.stack([np.prod(latents[:, list(t)], axis=1) for t in chosen], axis=1), chosen


def unstructured_conditions(
    n_conditions: int = 4,
    n_inputs: int = 200,
    *,
    targets: ArrayLike | None = None,
    noise: float = 1.0,
    seed: int = 0,
) -> ConditionTask:
    """Conditions at random Gaussian means, centred; their geometry knows nothing of the targets (arXiv 2401.13558, Fig. 1).

    Args:
        n_conditions: Number of conditions d.
        n_inputs: Number of inputs N0.
        targets: +1 and -1, shape (d, k); for None one target, the parity of the first two latents where d = 4 and half of the
            conditions otherwise.
        noise: Standard deviation of every input's noise; means have a norm of about sqrt(N0).
        seed: Seed of the means.

    >>> unstructured_conditions().targets.ravel()
    array([ 1., -1., -1.,  1.])
    """
    d = integer_at_least("n_conditions", n_conditions, 2)
    rng = np.random.default_rng(integer_at_least("seed", seed, 0))
    means = rng.standard_normal((d, integer_at_least("n_inputs", n_inputs, 1)))
    if targets is None:
        half = np.where(np.arange(d) < d // 2, 1.0, -1.0)
        targets = (np.prod(factorial_latents(2), axis=1) if d == 4 else half)[:, None]
    about = {
        "generator": "unstructured_conditions",
        "n_conditions": d,
        "n_inputs": int(n_inputs),
        "noise": float(noise),
        "seed": int(seed),
        "targets": np.asarray(targets, float).tolist(),
    }
    return ConditionTask(
        means - means.mean(0), np.asarray(targets, float), noise, "unstructured", json.dumps(about)
    )


def xor_conditions(
    separability: float, n_inputs: int = 120, *, noise: float = 0.1, seed: int = 0
) -> ConditionTask:
    """Four conditions with the exclusive-or of two latents as target, made linearly separable by degrees (arXiv 2401.13558, Fig. 3).

        mean = y_1 a_1 + y_2 a_2 + separability * y_1 y_2 a_3,

    with three orthogonal vectors of squared norm N0/3, so that the alignment of inputs and target is
    ``s^2 / sqrt(2 + s^4)`` at separability s: 0 is the plain exclusive-or, 1 has all conditions at equal distances.

    Args:
        separability: s, not negative.
        n_inputs: Number of inputs N0, a multiple of 3.
        noise: Standard deviation of every input's noise.
        seed: Seed of the vectors.

    >>> f"{xor_conditions(1.0).alignment:.4f}"  # 1/sqrt(3)
    '0.5774'
    """
    s = finite_number("separability", separability, 0)
    latents = factorial_latents(2)
    parity = np.prod(latents, axis=1)
    factors = np.column_stack([latents, s * parity])
    about = {
        "generator": "xor_conditions",
        "separability": s,
        "n_inputs": int(n_inputs),
        "noise": float(noise),
        "seed": int(seed),
    }
    means = factors @ _blocks(3, n_inputs, seed)
    return ConditionTask(means, parity[:, None], noise, f"xor, separability {s:g}", json.dumps(about))


LOGIC = ("face", "corner", "snake", "net", "xor2", "xor3")
"""The six kinds of balanced dichotomies of the corners of a cube, from linear to parity."""


def logic_conditions(
    dichotomy: str, n_inputs: int = 120, *, noise: float = 0.1, seed: int = 0
) -> ConditionTask:
    """The corners of a cube, ``mean = y_1 a_1 + y_2 a_2 + y_3 a_3``, and one of the six kinds of balanced dichotomies.

    Up to symmetries of the cube these are all 35: ``face`` y_1 (3 of them), ``corner`` the majority of three (4), ``snake``
    y_2 if y_1 = 1 and y_3 otherwise (12), ``net`` y_3, flipped where y_1 = y_2 = -1 (12), ``xor2`` y_1 y_2 (3), ``xor3``
    y_1 y_2 y_3 (1). Only faces and corners are linearly separable.

    Args:
        dichotomy: One of ``LOGIC``.
        n_inputs: Number of inputs N0, a multiple of 3.
        noise: Standard deviation of every input's noise.
        seed: Seed of the vectors.

    >>> f"{logic_conditions('face').alignment:.4f} {logic_conditions('xor3').alignment:.4f}"
    '0.5774 0.0000'
    """
    latents = factorial_latents(3)
    a, b, c = latents.T
    targets: dict[str, np.ndarray] = {
        "face": a,
        "corner": np.sign(a + b + c),
        "snake": np.where(a > 0, b, c),
        "net": np.where((a < 0) & (b < 0), -c, c),
        "xor2": a * b,
        "xor3": a * b * c,
    }
    if dichotomy not in targets:
        raise ValueError(f"dichotomy: {dichotomy!r} is unknown; expected one of {list(targets)}")
    about = {
        "generator": "logic_conditions",
        "dichotomy": dichotomy,
        "n_inputs": int(n_inputs),
        "noise": float(noise),
        "seed": int(seed),
    }
    means = latents @ _blocks(3, n_inputs, seed)
    return ConditionTask(means, targets[dichotomy][:, None], noise, dichotomy, json.dumps(about))


def _blocks(n: int, n_inputs: int, seed: int) -> Float64[np.ndarray, "vector input"]:
    """Orthogonal vectors of squared norm N0/n, each on its own block of inputs."""
    size, rest = divmod(integer_at_least("n_inputs", n_inputs, n), n)
    if rest:
        raise ValueError(f"n_inputs: expected a multiple of {n}, got {n_inputs}")
    rng = np.random.default_rng(integer_at_least("seed", seed, 0))
    vectors = np.zeros((n, n_inputs))
    for i, block in enumerate(np.abs(rng.standard_normal((n, size)))):
        vectors[i, i * size : (i + 1) * size] = block * math.sqrt(n_inputs / n) / np.linalg.norm(block)
    return vectors


def _centred(kernel: np.ndarray) -> np.ndarray:
    return kernel - kernel.mean(0) - kernel.mean(1)[:, None] + kernel.mean()
