"""Networks that are trained to give out latent variables, with weight decay, and what is measured of them."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Settings
from hiddencodes.benchmarks.papers.section import describe_training
from hiddencodes.drawing import array

DECAY = 0.1
"""Rate of the decay of all weights; losses are sums over patterns and outputs."""


class Group(NamedTuple):
    """Ensembles of equal sizes, one per task, trained in one program.

    Attributes:
        tasks: What they are trained on.
        activations: Of each.
        width: Hidden units.
        depth: Hidden layers.
        free_bias: Whether hidden units have biases that do not decay.
        loss: ``"gaussian"`` or ``"bernoulli"``.
        levels: How targets of -1 and +1 are written for the networks.
    """

    tasks: Sequence[hc.ConditionTask]
    activations: Sequence[hc.Activation]
    width: int = 60
    depth: int = 1
    free_bias: bool = False
    loss: str = "gaussian"
    levels: tuple[float, float] = (-1.0, 1.0)

    def targets(self, task: hc.ConditionTask) -> Float[np.ndarray, "condition target"]:
        """What networks are asked for."""
        low, high = self.levels
        return np.where(task.targets > 0.0, high, low)

    def patterns(self, task: hc.ConditionTask) -> hc.Task:
        """What they are trained on: every condition once, without noise."""
        targets = self.targets(task)
        clean = task.noise_free()
        about = json.dumps({"of": json.loads(clean.provenance), "levels": self.levels})
        return replace(clean, y_train=targets, y_test=targets, provenance=about)


class Ensembles(NamedTuple):
    """Trained ensembles.

    Attributes:
        objective: Loss and decay (task, network).
        bound: Lower bound on the objective of any network; NaN for more than one hidden layer.
        amplitude: q, the outputs' mean product with the targets (task, network).
        kernels: Sums over units of products of responses (task, network, layer, condition, condition_2).
        largest_gain: See `hiddencodes.OptimalityCertificate`.
        description: How they were trained.
    """

    objective: np.ndarray
    bound: np.ndarray
    amplitude: np.ndarray
    kernels: np.ndarray
    largest_gain: np.ndarray
    description: dict[str, object]

    @property
    def gap(self) -> np.ndarray:
        """Objective minus bound, over the objective."""
        return (self.objective - self.bound) / self.objective


def train(
    settings: Settings, label: str, group: Group, networks: int, epochs: int, learning_rate: float = 0.02
) -> Ensembles:
    """Adam on all patterns, with a learning rate that falls to zero.

    Args:
        settings: The section's.
        label: Name of the run.
        group: What is trained.
        networks: Networks per task.
        epochs: Steps.
        learning_rate: The first one.
    """
    posteriors = [
        hc.Posterior(
            hc.MLP(
                t.means.shape[1], t.n_targets, group.width, group.depth, a, hc.standard, bias=group.free_bias
            ),
            group.patterns(t),
            likelihood=group.loss,
            temperature=1.0,
        )
        for t, a in zip(group.tasks, group.activations, strict=True)
    ]
    layers = [layer.name for layer in posteriors[0].mlp.layers()]
    decay: dict[str, Any] = {name: {"kernel": DECAY} for name in layers}
    if group.free_bias:
        for name in layers[:-1]:
            decay[name]["bias"] = 0.0
    run = settings.train(
        label,
        posteriors,
        networks=networks,
        epochs=epochs,
        snapshots=1,
        optimizer="adam",
        learning_rate=learning_rate,
        schedule="cosine",
        loss="sum",
        weight_decay=decay,
        precision="float64",
    )
    weights: Any = hc.final_weights(run)
    # The observable is a mean over units.
    kernels = array(run, "posterior/condition_kernel")[:, :, -1] * group.width
    found: list[tuple[np.ndarray, ...]] = []
    for i, (posterior, task) in enumerate(zip(posteriors, group.tasks, strict=True)):
        own = {name: {kind: np.asarray(v)[i] for kind, v in layer.items()} for name, layer in weights.items()}
        found.append(_measured(posterior.mlp, own, task, group, starts=settings.choose(full=256, quick=96)))
    objective, bound, amplitude, gain = (np.stack(values) for values in zip(*found, strict=True))
    return Ensembles(objective, bound, amplitude, kernels, gain, describe_training(run))


def _measured(
    mlp: hc.MLP, weights: dict[str, Any], task: hc.ConditionTask, group: Group, starts: int
) -> tuple[np.ndarray, ...]:
    outputs = hc.network_outputs(mlp, weights, task.means)
    targets = group.targets(task)
    amplitude = np.mean(outputs * targets, axis=(-2, -1))
    if group.depth == 1:
        found = hc.optimality_certificate(
            mlp,
            weights,
            task.means,
            targets,
            loss=group.loss,
            hidden_decay=DECAY,
            readout_decay=DECAY,
            bias_decay=0.0 if group.free_bias else None,
            starts=starts,
        )
        return found.objective, found.bound, amplitude, found.largest_gain
    loss = 0.5 * np.sum((targets - outputs) ** 2, axis=(-2, -1))
    size = sum(np.sum(np.asarray(layer["kernel"]) ** 2, axis=(-2, -1)) for layer in weights.values())
    nothing = np.full(loss.shape, np.nan)
    return np.asarray(loss + DECAY / 2 * size), nothing, amplitude, nothing


def sectors(kernels: np.ndarray, n_latents: int) -> np.ndarray:
    """Mean eigenvalue of kernels (..., condition, condition_2) on the products of each degree (..., degree)."""
    functions, chosen = hc.walsh_functions(n_latents)
    spectrum = hc.walsh_spectrum(kernels, functions)
    degree = np.array([len(each) for each in chosen])
    return np.stack([spectrum[..., degree == d].mean(-1) for d in range(n_latents + 1)], axis=-1)


def parallelism(kernels: np.ndarray, n_latents: int) -> np.ndarray:
    """Mean parallelism score of the latents (...)."""
    return hc.abstraction(kernels, hc.factorial_latents(n_latents)).parallelism.mean(-1)
