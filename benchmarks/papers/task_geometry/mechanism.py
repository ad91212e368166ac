"""Why: gradients of single units, the decoupled flow of preactivations, and the lazy control."""

# Weights are trees of arrays whose types nobody knows.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from typing import Any, NamedTuple, cast

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import brentq  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Claim, Section, Settings
from hiddencodes.benchmarks.papers.section import describe_training
from hiddencodes.benchmarks.papers.task_geometry import figures
from hiddencodes.benchmarks.papers.task_geometry.networks import initial_weights
from hiddencodes.drawing import array

ACTIVATIONS = (hc.tanh, hc.relu)
NAMES = ("target_alignment", "input_alignment", "parallelism")
RICH_STD, LAZY_STD = 0.01, 1.5
# Closed forms to three digits, by number of conditions: target alignment, input alignment, parallelism.
PRINTED = {
    4: {"relu": (0.905, 0.870, 0.50), "tanh": (1.000, 0.577, 1.00)},
    8: {"relu": (0.898, 0.747, 0.50), "tanh": (1.000, 0.378, 1.00)},
}


class Trained(NamedTuple):
    """Networks on orthonormal conditions, and the theory of infinitely many units with the same mean squared response."""

    mean: np.ndarray
    error: np.ndarray
    theory: np.ndarray


def mechanism(settings: Settings) -> Section:
    """Gradient flow by conditions: ReLU units specialize on some of their class, tanh units inherit the targets."""
    claims = _closed_forms()
    runs: dict[str, object] = {}
    for d in settings.choose(full=(4, 8), quick=(4,)):
        rich = _trained(settings, d, RICH_STD, runs)
        lazy = _trained(settings, d, LAZY_STD, runs)
        claims += _rich(d, rich)
        gap = {
            name: abs(float(found["tanh"].mean[1] - found["relu"].mean[1]))
            for name, found in (("rich", rich), ("lazy", lazy))
        }
        claims += [
            Claim.below(
                f"lazy-gap-d{d}",
                f"{d} conditions: with initial preactivations of {LAZY_STD:g} the gap of input alignments is below a tenth of the rich one",
                0.1 * gap["rich"],
                gap["lazy"],
                float(np.hypot(lazy["tanh"].error[1], lazy["relu"].error[1])),
                grade="measured",
            ),
            Claim.above(
                f"lazy-inputs-d{d}",
                f"{d} conditions: and both layers keep the geometry of the inputs, alignment above 0.97",
                0.97,
                np.asarray([lazy[str(a)].mean[1] for a in ACTIVATIONS]),
                np.asarray([lazy[str(a)].error[1] for a in ACTIVATIONS]),
                grade="measured",
                entries=[str(a) for a in ACTIVATIONS],
            ),
        ]  # fmt: skip
    unit_claims, figure = _units(settings, runs)
    return Section(
        title="The mechanism: a unit's gradient, condition by condition",
        question="Why do ReLU layers keep what tanh layers lose?",
        claims=(*claims, *unit_claims, _exclusive_or()),
        figures={"gradient-field": figure},
        captions={
            "gradient-field": "Expected initial gradient of a unit with positive readout weight (arrows) and input weights of trained units along "
            "training (lines, ending in dots), in the plane of the axis between the classes and of one within the preferred class; squares "
            "at the rim are the conditions."
        },
        settings={"runs": runs},
        notes=(
            "The decoupling and its closed forms are derived here from the published description of the mechanism.",
        ),
    )


def _closed_forms() -> list[Claim]:
    claims: list[Claim] = []
    for d, rows in PRINTED.items():
        labels = np.where(np.arange(d) < d // 2, 1.0, -1.0)
        for activation, law in ((hc.relu, hc.rich_relu), (hc.tanh, hc.rich_saturating)):
            growth = 4.0 if activation is hc.relu else 60.0
            kernel = hc.decoupled_flow(activation, labels, initial_std=1e-4, growth=growth, steps=20_000)
            flow = _measures(kernel, labels)
            claims += [
                Claim.agrees(
                    f"closed-form-{activation}-d{d}",
                    f"{activation}, {d} conditions: closed forms of the rich limit",
                    np.asarray(rows[str(activation)]),
                    np.asarray(law(d)),
                    grade="derived",
                    extra=5e-4,
                    extra_reason="half of the last printed digit",
                    entries=NAMES,
                ),
                Claim.agrees(
                    f"flow-{activation}-d{d}",
                    f"{activation}, {d} conditions: the integrated flow from preactivations of 0.0001 ends there",
                    np.asarray(law(d)),
                    flow,
                    grade="checked",
                    extra=1e-3,
                    extra_reason="0.001, of the order of what initial preactivations and unsaturated units leave",
                    entries=NAMES,
                ),
            ]
    return claims


def _measures(kernel: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.asarray(
        [
            float(hc.kernel_alignment(kernel, np.outer(labels, labels))),
            float(hc.kernel_alignment(kernel, np.eye(len(labels)))),
            float(hc.parallelism_score(kernel, labels)),
        ]
    )


def _orthonormal(d: int) -> hc.ConditionTask:
    labels = np.where(np.arange(d) < d // 2, 1.0, -1.0)
    return hc.ConditionTask(np.eye(d), labels[:, None], 0.0, f"{d} orthonormal conditions")


def _trained(settings: Settings, d: int, std: float, runs: dict[str, object]) -> dict[str, Trained]:
    """Wide networks from preactivations of that size, trained until their units have grown by about one."""
    width, each = settings.choose(full=4000, quick=2000), settings.choose(full=10, quick=4)
    task = _orthonormal(d)
    posteriors = [
        hc.Posterior(
            hc.MLP(d, 1, width, 1, a, hc.standard), task.noise_free(), likelihood="bernoulli", temperature=1.0
        )
        for a in ACTIVATIONS
    ]
    label = f"{'rich' if std < 1 else 'lazy'}-{d}"
    start = initial_weights(posteriors, each, "uniform, balanced readout", settings.random_key(label))
    rng = np.random.default_rng(settings.random_key(label))
    start["hidden_1"]["kernel"] = std * rng.standard_normal((len(posteriors), each, d, width))
    run = settings.train(
        label,
        posteriors,
        networks=each,
        epochs=2000,
        snapshots=1,
        learning_rate=1.0,
        trained=("hidden_1",),
        start=start,
    )
    runs[label] = describe_training(run)
    kernels = array(run, "posterior/condition_kernel")[:, :, -1, -1]
    found: dict[str, Trained] = {}
    for a, activation in enumerate(ACTIVATIONS):
        labels = task.targets[:, 0]
        each_network = np.stack([_measures(kernel, labels) for kernel in kernels[a]])
        theory = _flow_with_trace(
            activation, labels, std, float(np.mean(np.trace(kernels[a], axis1=1, axis2=2)))
        )
        error = each_network.std(0, ddof=1) / np.sqrt(each)
        found[str(activation)] = Trained(each_network.mean(0), error, _measures(theory, labels))
    return found


def _flow_with_trace(activation: hc.Activation, labels: np.ndarray, std: float, trace: float) -> np.ndarray:
    """The theory at the time at which its mean squared response is the measured one: the loss slows all conditions down alike."""

    def flow(growth: float) -> np.ndarray:
        return hc.decoupled_flow(activation, labels, initial_std=std, growth=growth, nodes=400)

    def excess(growth: float) -> float:
        return float(np.trace(flow(growth))) - trace

    top = 0.01
    while excess(top) < 0 and top < 200:
        top *= 2
    return flow(float(cast("Any", brentq)(excess, 0.0, top, rtol=1e-4)))


def _rich(d: int, rich: dict[str, Trained]) -> list[Claim]:
    return [
        Claim.agrees(
            f"trained-{name}-d{d}",
            f"{name}, {d} conditions: trained networks from preactivations of {RICH_STD:g} against the flow of infinitely many units with the same "
            "mean squared response",
            found.theory,
            found.mean,
            found.error,
            grade="derived",
            entries=NAMES,
            extra=0.01,
            extra_reason="0.01, since conditions' losses differ between networks of finite width",
        )
        for name, found in rich.items()
    ]


def _units(settings: Settings, runs: dict[str, object]) -> tuple[list[Claim], Figure]:
    """What single units become on four orthonormal conditions."""
    task = _orthonormal(4)
    width = 2000
    posteriors = [
        hc.Posterior(
            hc.MLP(4, 1, width, 1, a, hc.standard), task.noise_free(), likelihood="bernoulli", temperature=1.0
        )
        for a in ACTIVATIONS
    ]
    start = initial_weights(posteriors, 1, "uniform, balanced readout", 0)
    rng = np.random.default_rng(settings.random_key("units"))
    start["hidden_1"]["kernel"] = 0.02 * rng.standard_normal(start["hidden_1"]["kernel"].shape)
    run = settings.train(
        "units", posteriors, networks=1, epochs=2000, snapshots=20, learning_rate=1.0, trained=("hidden_1",), start=start,
        observables=[*hc.training_observables(4), *hc.weight_observables(posteriors[0].mlp)],
    )  # fmt: skip
    runs["units"] = describe_training(run)
    kernel = array(run, "units/hidden_1_kernel")[:, 0]
    first: np.ndarray = start["hidden_1"]["kernel"][:, 0][:, None]
    weights: np.ndarray = np.concatenate([first, kernel], axis=1)
    positive: np.ndarray = start["readout"]["kernel"][0, 0, :, 0] > 0
    plane = np.asarray([[1.0, 1, -1, -1], [1, -1, 0, 0]]) / np.asarray([[2.0], [np.sqrt(2)]])
    panels = [
        figures.FieldPanel(
            str(a), a, np.moveaxis(plane @ weights[i][:, :, positive][:, :, :30], -1, 0).transpose(0, 1, 2)
        )
        for i, a in enumerate(ACTIVATIONS)
    ]
    reach = 1.1 * float(max(np.abs(panel.trajectories).max() for panel in panels))
    figure = figures.gradient_fields(
        panels, plane, task, reach=reach, axis_names=("between the classes", "within the preferred class")
    )
    # Preferred conditions to which a ReLU unit responds at the end: those to which it responded at first.
    last: np.ndarray = weights[1, -1][:, positive]
    responds: np.ndarray = np.sum(last[:2] > 0, axis=0)
    n = len(responds)
    expected = np.asarray([0.25, 0.5, 0.25])
    shares = np.asarray([np.mean(responds == k) for k in range(3)])
    cosine: np.ndarray = (
        plane[0] @ weights[0, -1][:, positive] / np.linalg.norm(weights[0, -1][:, positive], axis=0)
    )
    began: np.ndarray = first[1, 0][:, positive][:2]
    growth = last[:2][began > 0] / began[began > 0]
    claims = [
        Claim.statement_true(
            "relu-specializes",
            "ReLU units respond at the end to those of their preferred conditions that they responded to at first, and to these several times more",
            bool(np.array_equal(last[:2] > 0, began > 0) and np.median(growth) > 5),
            f"{np.mean((last[:2] > 0) == (began > 0)):.1%} of {began.size} pairs of unit and condition; responses grew {np.median(growth):.0f}-fold (median)",
            grade="derived",
        ),
        Claim.agrees(
            "relu-shares",
            "so that none, one or both of two conditions have 1/4, 1/2 and 1/4 of the units",
            expected,
            shares,
            np.sqrt(expected * (1 - expected) / n),
            grade="derived",
            entries=["none", "one", "both"],
        ),
        Claim.above(
            "tanh-inherits",
            "Input weights of tanh units end on the axis between the classes: mean cosine above 0.95",
            0.95,
            float(cosine.mean()),
            float(cosine.std(ddof=1) / np.sqrt(n)),
            grade="text",
        ),
    ]
    return claims, figure


def _exclusive_or() -> Claim:
    """The plain exclusive-or gives tanh units no gradient to begin with."""
    task = hc.xor_conditions(0.0, 12)
    weights = np.random.default_rng(0).standard_normal((200, 12))
    size = {
        a.name: np.linalg.norm(hc.expected_gradient(weights, task.means, task.targets, a), axis=1)
        for a in ACTIVATIONS
    }
    return Claim.statement_true(
        "exclusive-or",
        "On the plain exclusive-or the expected initial gradient of tanh units without biases is exactly zero, that of ReLU units is not",
        bool(size["tanh"].max() < 1e-12 and np.median(size["relu"]) > 0.1),
        f"largest of tanh {size['tanh'].max():.1e}, median of ReLU {np.median(size['relu']):.2f}",
        grade="derived",
    )
