"""The trained networks of arXiv 2401.13558: sizes, initial weights and optimizer as in the authors' public code."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

import hiddencodes as hc

N_TRAIN = 5000
"""Training patterns: conditions at random, fresh noise, one fixed set."""


def networks(
    tasks: Sequence[hc.ConditionTask],
    activations: Sequence[hc.Activation],
    width: int,
    *,
    bias: bool,
    n_train: int = N_TRAIN,
) -> list[hc.Posterior]:
    """One hidden layer, logistic loss, for every activation and every task, tasks fastest; tasks have samples of their own."""
    samples = [task.sample(n_train, seed=i) for i, task in enumerate(tasks)]
    first = samples[0]
    return [
        hc.Posterior(
            hc.MLP(first.n_inputs, first.n_outputs, width, 1, activation, hc.standard, bias=bias),
            sample,
            likelihood="bernoulli",
            temperature=1.0,
        )
        for activation in activations
        for sample in samples
    ]


def initial_weights(
    posteriors: Sequence[hc.Posterior],
    n_networks: int,
    kind: Literal["normal", "uniform", "uniform, balanced readout"],
    key: int,
) -> dict[str, dict[str, Any]]:
    """Weights of order 1/sqrt(fan-in), hidden biases as small as weights, and a readout that stays fixed.

    Args:
        posteriors: The networks.
        n_networks: How many of each.
        kind: Law of all weights, normal or uniform between -1 and 1 before scaling; or uniform with readout weights of two values,
            +1 and -1 equally often.
        key: Seed.
    """
    mlp, rng = posteriors[0].mlp, np.random.default_rng(key)
    lanes = (len(posteriors), n_networks)

    def draw(*shape: int) -> np.ndarray:
        return rng.uniform(-1, 1, shape) if kind.startswith("uniform") else rng.standard_normal(shape)

    hidden = {"kernel": draw(*lanes, mlp.n_inputs, mlp.width) / np.sqrt(mlp.n_inputs)}
    if mlp.bias:
        hidden["bias"] = draw(*lanes, mlp.width) / np.sqrt(mlp.n_inputs)
    readout = draw(*lanes, mlp.width, mlp.n_outputs)
    if kind.endswith("balanced readout"):
        signs = np.where(np.arange(mlp.width) % 2, 1.0, -1.0)
        readout = np.broadcast_to(signs[:, None], readout.shape)
    return {"hidden_1": hidden, "readout": {"kernel": readout / np.sqrt(mlp.width)}}


OPTIONS: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 0.1, "trained": ("hidden_1",)}
"""Stochastic gradient descent on the hidden layer only."""


def unstructured_tasks(n: int, alignment: float, tolerance: float = 0.006) -> list[hc.ConditionTask]:
    """Random clusters whose inputs happen to be aligned with the targets to a given degree; on average it is 0.577 +- 0.047.

    Args:
        n: How many.
        alignment: Of inputs and target.
        tolerance: How near.
    """
    found: list[hc.ConditionTask] = []
    seed = 0
    while len(found) < n:
        task = hc.unstructured_conditions(seed=seed)
        seed += 1
        if abs(task.alignment - alignment) < tolerance:
            found.append(task)
    return found
