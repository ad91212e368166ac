"""Training without decay and minima with decay answer different questions: the contradiction with task geometry, resolved."""

from typing import Any

import numpy as np

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Claim, Section, Settings, drawing
from hiddencodes.benchmarks.papers.abstraction.networks import DECAY
from hiddencodes.benchmarks.papers.section import describe_training
from hiddencodes.drawing import array

WIDTH, SMALL, SNAPSHOTS = 200, 0.01, 50
TARGET = np.array([1.0, 1.0, -1.0, -1.0])


def dynamics(settings: Settings) -> Section:
    """One target on four orthonormal conditions: ReLU layers that gradient flow makes, and what decay makes of them."""
    networks, epochs = settings.choose(full=10, quick=4), settings.choose(full=20_000, quick=10_000)
    task = hc.ConditionTask(np.eye(4), TARGET[:, None], 0.0, "four orthonormal conditions")
    mlp = hc.MLP(4, 1, WIDTH, 1, hc.relu, hc.standard)
    posterior = hc.Posterior(mlp, task.noise_free(), temperature=1.0)
    rng = np.random.default_rng(settings.random_key("start"))
    signs = np.where(np.arange(WIDTH) % 2, 1.0, -1.0)[:, None] / np.sqrt(WIDTH)
    start: dict[str, Any] = {
        "hidden_1": {"kernel": SMALL * rng.standard_normal((1, networks, 4, WIDTH))},
        "readout": {"kernel": np.broadcast_to(signs, (1, networks, WIDTH, 1)).copy()},
    }
    common: dict[str, Any] = {"networks": networks, "snapshots": SNAPSHOTS, "optimizer": "sgd", "loss": "sum", "precision": "float64"}  # fmt: skip
    # The setting of task geometry: the readout stays, nothing decays.
    free = settings.train(
        "no decay", posterior, epochs=2000, learning_rate=0.05, trained=("hidden_1",), start=start, **common
    )
    own = {
        name: {k: np.asarray(v) for k, v in layer.items()} for name, layer in hc.final_weights(free).items()
    }
    decayed = settings.train(
        "then decay", posterior, epochs=epochs, learning_rate=0.02, weight_decay=DECAY, start=own, **common
    )
    ends = {
        name: {k: np.asarray(v)[0] for k, v in layer.items()}
        for name, layer in hc.final_weights(decayed).items()
    }
    certificate = hc.optimality_certificate(
        mlp, ends, task.means, task.targets, hidden_decay=DECAY, readout_decay=DECAY, starts=96
    )
    target, inputs = (
        np.concatenate([_alignment(run, kernel) for run in (free, decayed)], axis=1)
        for kernel in (np.outer(TARGET, TARGET), np.eye(4))
    )
    rich = hc.rich_relu(4)
    at_rich = np.stack([target[:, SNAPSHOTS - 1], inputs[:, SNAPSHOTS - 1]])
    time = np.arange(1, 2 * SNAPSHOTS + 1)
    curves = {
        "alignment": [
            drawing.CurveRow.predicted("with the target", time, target.mean(0)),
            drawing.CurveRow.predicted("with the inputs", time, inputs.mean(0)),
        ]
    }
    return Section(
        title="Why training and minima differ",
        question="ReLU layers keep the inputs' geometry when they are trained, but minima are collapsed onto the target: how can both be?",
        claims=(
            Claim.agrees(
                "rich", "Readouts fixed and nothing decays: training ends at the rich limit of gradient flow, which keeps the inputs",
                np.array([rich.target_alignment, rich.input_alignment]), at_rich.mean(1), at_rich.std(1, ddof=1) / np.sqrt(networks),
                grade="derived", extra=0.015, extra_reason="0.015, for initial weights that are not infinitely small and finite width", entries=["target", "inputs"],
            ),
            Claim.above(
                "collapsed", "Decay and a trained readout from there on: the same networks collapse onto the target, alignment above 0.999",
                0.999, float(target[:, -1].min()), 0.0, grade="derived",
            ),
            Claim.below("certified", "which is the global minimum: certified gap below 0.001 (worst network)", 1e-3, float(certificate.gap.max()), 0.0, grade="derived"),
            Claim.agrees(
                "inputs", "there the inputs' geometry is gone, as far as target and inputs allow: alignment 1/sqrt(3) with the inputs",
                1 / np.sqrt(3), float(inputs[:, -1].mean()), float(inputs[:, -1].std(ddof=1) / np.sqrt(networks)), grade="derived", extra=1e-3,
                extra_reason="0.001, what the last steps of training leave",
            ),
        ),
        figures={"training": drawing.curve_panels(curves, x_label="snapshot, with decay from 51 on", y_label="alignment")},
        captions={"training": "Alignments of the hidden layer along gradient descent, first without decay and with a fixed readout, then with both; means over networks."},
        settings={"runs": {"no decay": describe_training(free), "then decay": describe_training(decayed)}},
        notes=(
            ("Task geometry describes where gradient flow goes, abstraction where the decayed objective is least: both are right about the same networks, "
            "at different times."),
        ),
    )  # fmt: skip


def _alignment(run: Any, kernel: np.ndarray) -> np.ndarray:
    return hc.kernel_alignment(array(run, "posterior/condition_kernel")[0, :, :, -1], kernel)
