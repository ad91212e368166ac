"""A certificate of global optimality for tasks of no particular structure."""

import numpy as np

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Claim, Section, Settings, drawing
from hiddencodes.benchmarks.papers.abstraction.networks import DECAY, Group, train

SIZE, WIDTH = 6, 100
# The gap goes with the square root of what is left of the excess. With larger rates some networks keep a kink away from its pattern however
# long they are trained: 0.005 leaves gaps up to 0.012.
RATE = 0.002
NO_STRUCTURE = "random inputs and targets"


def certificates(settings: Settings) -> Section:
    """Is a trained network at the global minimum? Random tasks of six patterns."""
    problems, networks = settings.choose(full=8, quick=3), settings.choose(full=5, quick=3)
    steps = settings.choose(full=(30, 100, 300, 1_000, 3_000, 60_000), quick=(30, 300, 60_000))
    rng = np.random.default_rng(settings.random_key("problems"))
    tasks = [_task(rng) for _ in range(problems)]
    group = Group(tasks, [hc.relu] * problems, WIDTH)
    runs: dict[str, object] = {}
    gaps: list[np.ndarray] = []
    objectives: list[np.ndarray] = []
    for epochs in steps:
        found = train(settings, f"{epochs} steps", group, networks, epochs, learning_rate=RATE)
        runs[f"{epochs} steps"] = found.description
        gaps.append(found.gap)
        objectives.append(found.objective)
    solved = [
        hc.global_minimum(t.means, t.targets, hc.relu, hidden_decay=DECAY, readout_decay=DECAY) for t in tasks
    ]
    least = np.array([s.objective for s in solved])
    last, first = gaps[-1], gaps[0]
    claims = [
        Claim.below("trained", f"Trained to the end, {problems} random tasks: certified gap below 0.001 (worst network)", 1e-3, float(last.max()), 0.0, grade="derived"),
        Claim.above("early", f"Stopped after {steps[0]} steps the gap is clearly positive, above 0.05 (best network)", 0.05, float(first.min()), 0.0, grade="derived"),
        Claim.below("solver", "The convex program closes its own gap: below 0.0001 (worst task)", 1e-4, float(max(s.gap for s in solved)), 0.0, grade="derived"),
        Claim.agrees(
            "same", "Networks reach the objective of the convex program, which knows no units, from all starts (over it)",
            np.ones(problems), (objectives[-1] / least[:, None]).mean(1), (objectives[-1] / least[:, None]).std(1, ddof=1) / np.sqrt(networks),
            grade="derived", extra=1e-3, extra_reason="0.001, what the last steps of training leave", entries=[f"task {i}" for i in range(problems)],
        ),
        Claim.above(
            "bound", "No network, however long it was trained, is below the bound by more than the 0.00003 to which a search knows the best unit (least objective over the bound)",
            1.0 - 3e-5, float(min((o / np.array([s.bound for s in solved])[:, None]).min() for o in objectives)), 0.0, grade="derived",
        ),
    ]  # fmt: skip
    x = np.log10(steps)
    certified = np.array([g.max() for g in gaps])
    true = np.array([((o - least[:, None]) / o).max() for o in objectives])
    lines = [
        drawing.CurveRow.measured(label, x, np.log10(np.maximum(values, 1e-6)))
        for label, values in (("certified gap", certified), ("true excess", true))
    ]
    figure = drawing.curve_panels(
        {"Distance from the minimum": lines},
        x_label="log10 of steps",
        y_label="log10 of the share of the objective",
    )
    return Section(
        title="Certificates for any task",
        question="Can a user know whether a trained network is at its global minimum?",
        claims=tuple(claims),
        figures={"gaps": figure},
        captions={
            "gaps": f"{SIZE} random patterns in {SIZE} dimensions, {SIZE} random outputs of +1 and -1: largest gap of all networks, by steps of training."
        },
        settings={"runs": runs},
        notes=("The dual program is derived here. A search for the best new unit is not exhaustive: its restarts are compared.",),
    )  # fmt: skip


def _task(rng: np.random.Generator) -> hc.ConditionTask:
    while True:
        targets = rng.choice([-1.0, 1.0], (SIZE, SIZE))
        if np.all(np.ptp(targets, axis=0) > 0):
            return hc.ConditionTask(rng.standard_normal((SIZE, SIZE)), targets, 0.0, NO_STRUCTURE)
