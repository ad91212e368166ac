"""Tasks whose targets are latent variables: all combinations of binary ones, or half-spaces of continuous ones."""

import itertools
import json
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from hiddencodes.tasks.arguments import finite_array, finite_number, integer_at_least
from hiddencodes.tasks.conditions import ConditionTask, factorial_latents, walsh_functions
from hiddencodes.tasks.task import Task


class LatentTask(NamedTuple):
    """A task and what is behind it.

    Attributes:
        task: Inputs and targets.
        z_train: Latents of the training patterns (pattern, latent).
        z_test: Latents of the test patterns (test_pattern, latent).
        normals: Unit vectors of the half-spaces (target, latent).
        offsets: Their offsets (target,).

    >>> continuous_latents(100, 2, n_test=0).normals.shape
    (2, 5)
    """

    task: Task
    z_train: Float64[np.ndarray, "pattern latent"]
    z_test: Float64[np.ndarray, "test_pattern latent"]
    normals: Float64[np.ndarray, "target latent"]
    offsets: Float64[np.ndarray, " target"]


LATENT_INPUTS = ("one-hot", "whitened", "centred", "biased", "expansion")
"""Kinds of inputs of `latent_conditions`."""


def inputs_of_kernel(input_kernel: ArrayLike) -> Float64[np.ndarray, "pattern feature"]:
    """Inputs with a given Gram matrix, as many as it has positive eigenvalues.

    Args:
        input_kernel: Inner products of the inputs (pattern, pattern).

    Raises:
        ValueError: If it is not symmetric and positive semidefinite, or zero.

    >>> inputs_of_kernel([[1.0, 1.0], [1.0, 1.0]]).shape
    (2, 1)
    """
    kernel = finite_array("input_kernel", input_kernel, 2)
    if kernel.shape[0] != kernel.shape[1]:
        raise ValueError(f"input_kernel: expected a square matrix, got the shape {kernel.shape}")
    if not np.allclose(kernel, kernel.T, rtol=0, atol=1e-8 * np.abs(kernel).max(initial=1e-300)):
        raise ValueError("input_kernel: it is not symmetric")
    values, vectors = np.linalg.eigh((kernel + kernel.T) / 2)
    small = 1e-9 * np.abs(values).max(initial=0.0)
    if values.min(initial=0.0) < -10 * small:
        raise ValueError(
            f"input_kernel: it is not positive semidefinite, an eigenvalue is {values.min():.3g}"
        )
    kept = values > small
    if not kept.any():
        raise ValueError("input_kernel: it is zero")
    return vectors[:, kept] * np.sqrt(values[kept])


def factorial_kernel(degrees: ArrayLike | Sequence[float]) -> Float64[np.ndarray, "pattern pattern"]:
    """The Gram matrix of inputs that is invariant under flips and permutations of n latents, by its eigenvalues.

    Args:
        degrees: k_0, ..., k_n: eigenvalue on the constant, on the latents, on products of two latents, ..., none negative.

    Raises:
        ValueError: If there are fewer than two, or one is negative.

    >>> factorial_kernel([1.0, 1.0, 1.0]).round(12) + 0.0
    array([[1., 0., 0., 0.],
           [0., 1., 0., 0.],
           [0., 0., 1., 0.],
           [0., 0., 0., 1.]])
    """
    k = finite_array("degrees", np.asarray(degrees), 1)
    if len(k) < 2 or k.min() < 0:
        raise ValueError(f"degrees: expected two or more eigenvalues, none negative, got {k}")
    functions, chosen = walsh_functions(len(k) - 1)
    chi = functions / math.sqrt(len(functions))
    return (chi * k[[len(each) for each in chosen]]) @ chi.T


def latent_conditions(
    n_latents: int = 2,
    inputs: str | ArrayLike = "one-hot",
    *,
    repeats: int = 1,
    n_inputs: int | None = None,
    seed: int = 0,
) -> ConditionTask:
    """All combinations of binary latents as targets, and inputs that may or may not know of them.

    * ``"one-hot"``: an input of its own for every pattern, Gram matrix 1;
    * ``"whitened"``: the same, rotated at random;
    * ``"centred"``: one-hot minus its mean;
    * ``"biased"``: one-hot and an input that is always 1, which is a bias whose weight decays as all others do;
    * ``"expansion"``: ``n_inputs`` ReLU units with random weights on the latents, over sqrt(n_inputs); of infinitely many for None: inputs whose
      Gram matrix is the arc-cosine kernel of arXiv 1112.3712;
    * a matrix: inputs with this Gram matrix (pattern, pattern).

    Args:
        n_latents: Number n of latents.
        inputs: Kind of inputs, or their Gram matrix.
        repeats: Patterns per combination of latents; one after another in a Gram matrix.
        n_inputs: Size of a random expansion; larger than 1.
        seed: Seed of rotations and expansions.

    Raises:
        ValueError: If an argument is out of range, or a Gram matrix is not positive semidefinite or has another shape.

    >>> latent_conditions(2).means.shape, latent_conditions(2, "biased", repeats=3).means.shape
    ((4, 4), (12, 13))
    """
    latents = np.repeat(factorial_latents(n_latents), integer_at_least("repeats", repeats, 1), axis=0)
    p = len(latents)
    rng = np.random.default_rng(integer_at_least("seed", seed, 0))
    size = None if n_inputs is None else integer_at_least("n_inputs", n_inputs, 2)
    if size is not None and inputs != "expansion":
        raise ValueError(f"n_inputs: only a random expansion has a size of its own, got {n_inputs!r}")
    about: dict[str, object] = {"n_latents": int(n_latents), "repeats": int(repeats), "seed": int(seed)}
    if not isinstance(inputs, str):
        means = inputs_of_kernel(inputs)
        about["input_kernel"] = np.asarray(inputs, float).tolist()
    elif inputs == "one-hot":
        means = np.eye(p)
    elif inputs == "whitened":
        means = np.linalg.qr(rng.standard_normal((p, p)))[0]
    elif inputs == "centred":
        means = np.eye(p) - 1.0 / p
    elif inputs == "biased":
        means = np.column_stack([np.eye(p), np.ones(p)])
    elif inputs == "expansion" and size is None:
        means = inputs_of_kernel(_arc_cosine(latents))
    elif inputs == "expansion" and size is not None:
        weights = rng.standard_normal((n_latents, size)) / math.sqrt(n_latents)
        means = np.maximum(latents @ weights, 0.0) * math.sqrt(2.0 / size)
    else:
        raise ValueError(
            f"inputs: {inputs!r} is unknown; expected one of {list(LATENT_INPUTS)} or a Gram matrix"
        )
    kind = inputs if isinstance(inputs, str) else "Gram matrix"
    about = {"generator": "latent_conditions", "inputs": kind, "n_inputs": means.shape[1], **about}
    if len(means) != p:
        raise ValueError(f"inputs: expected a Gram matrix of {p} patterns, got {len(means)}")
    return ConditionTask(means, latents, 0.0, f"{n_latents} latents, inputs {kind}", json.dumps(about))


def continuous_latents(
    n_train: int,
    n_partitions: int,
    *,
    n_test: int = 1000,
    n_latents: int = 5,
    n_inputs: int = 500,
    hidden: tuple[int, ...] = (100, 200),
    noise: float = 0.01,
    offset_variance: float = 0.4,
    seed: int = 0,
) -> LatentTask:
    """Normal latents behind a random nonlinear map, and random half-spaces of them as targets (Johnston and Fusi, Nat. Commun. 14:1040, 2023).

    Latents z are standard normal; inputs are the outputs of a random network of ReLU layers, centred and scaled to variance one,
    with noise; target k is the sign of ``n_k . z + b_k`` with a random unit vector n_k and a normal offset b_k. Their map is trained
    to be of high dimension; this one is random, which needs no training and has the same sizes.

    Args:
        n_train: Number of training patterns.
        n_partitions: Number of targets.
        n_test: Number of test patterns.
        n_latents: Number of latents.
        n_inputs: Number of inputs.
        hidden: Sizes of the layers in between.
        noise: Standard deviation of the noise on the inputs.
        offset_variance: Variance of the offsets.
        seed: Seed of everything.

    Raises:
        ValueError: If an argument is out of range, or a target is the same for all training patterns.

    >>> found = continuous_latents(200, 3, n_test=10)
    >>> found.task.x_train.shape, found.task.y_train.shape, found.z_train.shape
    ((200, 500), (200, 3), (200, 5))
    """
    n_train = integer_at_least("n_train", n_train, 2)
    n_test = integer_at_least("n_test", n_test, 0)
    n_partitions = integer_at_least("n_partitions", n_partitions, 1)
    sizes = [integer_at_least("n_latents", n_latents, 1), *hidden, integer_at_least("n_inputs", n_inputs, 1)]
    rng = np.random.default_rng(integer_at_least("seed", seed, 0))
    z = rng.standard_normal((n_train + n_test, n_latents))
    x = z
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        if layer:
            x = np.maximum(x, 0.0)
        x = x @ rng.standard_normal((fan_in, fan_out)) * math.sqrt((2.0 if layer else 1.0) / fan_in)
    x = (x - x[:n_train].mean(0)) / x[:n_train].std(0)
    x = x + finite_number("noise", noise, 0) * rng.standard_normal(x.shape)
    normals = rng.standard_normal((n_partitions, n_latents))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    offsets = math.sqrt(finite_number("offset_variance", offset_variance, 0)) * rng.standard_normal(
        n_partitions
    )
    y = np.where(z @ normals.T + offsets > 0, 1.0, -1.0)
    same = np.flatnonzero(np.ptp(y[:n_train], axis=0) == 0)
    if len(same):
        raise ValueError(f"n_train: target {same[0]} is the same for all {n_train} training patterns")
    about = {
        "generator": "continuous_latents", "n_train": n_train, "n_partitions": n_partitions, "n_test": n_test, "n_latents": n_latents,
        "n_inputs": n_inputs, "hidden": list(hidden), "noise": noise, "offset_variance": offset_variance, "seed": seed,
    }  # fmt: skip
    labels = (y[:, 0] > 0).astype(int)
    task = Task(
        x[:n_train], y[:n_train], labels[:n_train], x[n_train:], y[n_train:], labels[n_train:], ("-", "+"), json.dumps(about)
    )  # fmt: skip
    return LatentTask(task, z[:n_train], z[n_train:], normals, offsets)


def _arc_cosine(latents: Float64[np.ndarray, "pattern latent"]) -> Float64[np.ndarray, "pattern pattern"]:
    """Inner products of infinitely many random ReLU units, ``(1/pi)(sin t + (pi - t) cos t)`` at the angle t."""
    t = np.arccos(np.clip(latents @ latents.T / latents.shape[1], -1.0, 1.0))
    return (np.sin(t) + (math.pi - t) * np.cos(t)) / math.pi
