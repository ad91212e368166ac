"""The posterior of the same networks, sampled: this project's own experiment, not the paper's."""

from functools import partial
from typing import Any, cast

import numpy as np
import xarray as xr

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Claim, Section, Settings, describe_run
from hiddencodes.benchmarks.papers.task_geometry import figures

ACTIVATIONS = (hc.tanh, hc.relu)
WIDTH, CONDITIONS, INPUTS = 100, 8, 40
NAMES = ("input_alignment", "target_alignment", "parallelism", "dimension")
COLD, LAZY_TEMPERATURE = 0.03, 0.01
INSEPARABLE = "c = 0.000"


def posterior_geometry(settings: Settings) -> Section:
    """Does the posterior over weights choose geometries as training does?"""
    hot_to_cold = settings.choose(full=(3.0, 1.0, 0.3, 0.1, COLD), quick=(1.0, COLD))
    # The last share, 1, is the coldest of the temperatures.
    shares = settings.choose(full=(0.0, 0.25, 0.5, 0.75), quick=())
    runs: dict[str, object] = {}
    sampled: dict[tuple[str, str], xr.Dataset] = {}
    reports: dict[str, hc.ConvergenceReport] = {}
    largest = hc.isotropic_alignment(CONDITIONS, 1)
    for activation in ACTIVATIONS:
        # Posteriors of one call share their temperature and, with the inputs projected, the rank of their inputs.
        plans = {
            ("temperature", f"N T = {t:g}"): (hc.mean_field, 1.0, {"n_temperature": t}) for t in hot_to_cold
        }
        plans |= {
            ("alignment", f"c = {share * largest:.3f}"): (hc.mean_field, share, {"n_temperature": COLD})
            for share in shares
        }
        plans["lazy", f"T = {LAZY_TEMPERATURE:g}"] = (hc.ntk, 1.0, {"temperature": LAZY_TEMPERATURE})
        parts: dict[str, list[xr.Dataset]] = {}
        for (question, label), plan in plans.items():
            name = f"{question}, {label}, {activation}"
            run = settings.sample(
                name, _posterior(activation, *plan, largest), observables=(hc.condition_kernel, *_scalars()),
                **settings.choose(
                    full={"chains": 8, "draws": 600, "warmup": 800, "thin": 4},
                    quick={"chains": 4, "draws": 250, "warmup": 300, "thin": 2},
                ),
            )  # fmt: skip
            runs[name] = describe_run(run)
            parts.setdefault(question, []).append(hc.geometry(run, measures=NAMES).drop_vars("seed"))
            reports[name] = hc.convergence(
                run,
                ess_min=settings.choose(full=400, quick=50),
                rhat_max=settings.choose(full=1.01, quick=1.1),
            )
        parts["alignment"] = [*parts.get("alignment", []), parts["temperature"][-1]]
        sampled |= {(question, str(activation)): xr.concat(each, "seed") for question, each in parts.items()}
    claims = [*_converged(reports), *_gaps(sampled)]
    if not all(report.ok for name, report in reports.items() if INSEPARABLE not in name):
        # What chains have not settled is neither a pass nor a failure.
        why = "not all chains agree, see the first claim"
        claims[1:] = [
            Claim.frozen(
                c.name, c.statement, why, grade="new", expected=c.expected, measured=c.measured, error=c.error
            )
            for c in claims[1:]
        ]
    if shares:
        claims.append(_inseparable(sampled, all(r.ok for name, r in reports.items() if INSEPARABLE in name)))

    def lines(question: str, x: np.ndarray) -> dict[str, list[figures.Line]]:
        return {
            name.replace("_", " "): [_line(str(a), x, sampled[question, str(a)][name]) for a in ACTIVATIONS]
            for name in NAMES
        }

    drawn = {
        "by-temperature": figures.line_panels(
            lines("temperature", np.log10(hot_to_cold)), x_label="log10 of N T"
        )
    }
    captions = {
        "by-temperature": "Geometry of layers sampled from the posterior of eight unstructured conditions, by temperature; means and standard errors "
        "over chains."
    }
    if shares:
        aligned = lines("alignment", np.asarray([*shares, 1.0]) * largest)
        drawn["by-alignment"] = figures.line_panels(aligned, x_label="alignment of inputs and target")
        captions["by-alignment"] = (
            f"The same at N T = {COLD}, by alignment of inputs and target; the last point is no structure at all."
        )
    return Section(
        title="The posterior of the same networks",
        question="Does the posterior over weights make the choice that training makes?",
        claims=tuple(claims),
        figures=drawn,
        captions=captions,
        settings={"runs": runs},
        notes=("A new result of this project: the paper trains networks and samples none.",),
    )


def _scalars() -> tuple[hc.Observable, ...]:
    return tuple(
        o
        for o in hc.default_observables(hc.gaussian, 0)
        if o.name in ("train_loss", "log_density", "readout_overlap")
    )


def _posterior(
    activation: hc.Activation,
    scaling: hc.Parameterization,
    share: float,
    temperature: dict[str, float],
    largest: float,
) -> hc.Reduced:
    """All weights on the noise-free conditions; what can be integrated exactly is."""
    task = hc.aligned_conditions(CONDITIONS, 1, share * largest, n_inputs=INPUTS, noise=0.0).noise_free()
    mlp = hc.MLP(INPUTS, 1, WIDTH, 1, activation, scaling)
    return hc.integrate_readout(hc.project_inputs(hc.Posterior(mlp, task, **cast("Any", temperature))))


def _mean(values: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over chains and draws, and the standard error from the chains."""
    found, error = hc.mean_and_error(values.mean("draw"))
    return found.values, error.values


def _line(label: str, x: np.ndarray, values: xr.DataArray) -> figures.Line:
    mean, error = _mean(values)
    return figures.Line(label, np.asarray(x), mean, error)


def _gaps(sampled: dict[tuple[str, str], xr.Dataset]) -> list[Claim]:
    gap = partial(_gap, sampled)
    cold = -1
    lazy_gap, rich_gap = gap("lazy", "input_alignment", 0), gap("temperature", "input_alignment", cold)
    lazy = [_mean(sampled["lazy", str(a)]["input_alignment"]) for a in ACTIVATIONS]
    words = f"Posterior at N T = {COLD}, {CONDITIONS} unstructured conditions:"
    claims = [
        Claim.above("target", f"{words} tanh layers are more aligned with the target than ReLU layers", 0.0, *gap("temperature", "target_alignment", cold), grade="new"),
        Claim.below("input", f"{words} and less with the inputs", 0.0, *gap("temperature", "input_alignment", cold), grade="new"),
        Claim.above("parallelism", f"{words} and code the target more in parallel", 0.0, *gap("temperature", "parallelism", cold), grade="new"),
        Claim.above(
            "lazy",
            "Under the lazy scaling both stay with the inputs: alignment above 0.93",
            0.93,
            np.asarray([float(mean[0]) for mean, _ in lazy]),
            np.asarray([float(error[0]) for _, error in lazy]),
            grade="new",
            entries=[str(a) for a in ACTIVATIONS],
        ),
        Claim.below(
            "lazy-gap",
            "and the gap of input alignments is below a tenth of the rich one",
            0.1 * (abs(rich_gap[0]) - 4 * rich_gap[1]),
            abs(lazy_gap[0]),
            lazy_gap[1],
            grade="new",
        ),
    ]  # fmt: skip
    tanh = _mean(sampled["temperature", "tanh"]["target_alignment"])
    claims.append(
        Claim.above(
            "temperature",
            "Tanh layers become the target as the temperature falls: alignment is larger at the lowest than at the highest temperature",
            0.0,
            float(tanh[0][-1] - tanh[0][0]),
            float(np.hypot(tanh[1][-1], tanh[1][0])),
            grade="new",
        )
    )
    return claims


def _gap(sampled: dict[tuple[str, str], xr.Dataset], label: str, name: str, at: int) -> tuple[float, float]:
    """Tanh minus ReLU."""
    (tanh, tanh_error), (relu, relu_error) = (_mean(sampled[label, str(a)][name]) for a in ACTIVATIONS)
    return float(tanh[at] - relu[at]), float(np.hypot(tanh_error[at], relu_error[at]))


def _converged(reports: dict[str, hc.ConvergenceReport]) -> list[Claim]:
    separable = {name: report for name, report in reports.items() if INSEPARABLE not in name}
    bad = {name: report.verdict for name, report in separable.items() if not report.ok}
    return [
        Claim.statement_true(
            "converged",
            "Where the target is linearly separable the chains agree, on every entry of the layer's kernel too",
            not bad,
            "; ".join(f"{name}: {verdict}" for name, verdict in bad.items()) or f"all {len(separable)} runs",
            grade="new",
        )
    ]


def _inseparable(sampled: dict[tuple[str, str], xr.Dataset], converged: bool) -> Claim:
    statement = "Where the target is linearly inseparable the advantage of tanh layers is below half of the unstructured one"
    gap, gap_error = _gap(sampled, "alignment", "target_alignment", -1)
    bound = 0.5 * (gap - 4 * gap_error)
    measured, error = _gap(sampled, "alignment", "target_alignment", 0)
    if not converged:
        why = "the chains do not agree on single entries of the kernel: conditions share units in several ways, and chains keep theirs"
        return Claim.frozen(
            "inseparable",
            statement,
            why,
            grade="new",
            expected=f"< {bound:.3f}",
            measured=measured,
            error=error,
        )
    return Claim.below("inseparable", statement, bound, measured, error, grade="new")
