"""The posterior whose mode is the regularized minimum, sampled at rising temperature: this project's own experiment."""

from typing import NamedTuple

import numpy as np

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Claim, Section, Settings, describe_run, drawing
from hiddencodes.benchmarks.papers.abstraction.networks import DECAY, parallelism, sectors
from hiddencodes.drawing import array
from hiddencodes.rules import slug

WIDTH, LATENTS = 20, 2


class Cold(NamedTuple):
    """A posterior's kernels at one temperature: means over draws, and standard errors between chains."""

    parallelism: tuple[float, float]
    latents: tuple[float, float]
    higher: tuple[float, float]


def temperature(settings: Settings) -> Section:
    """Weight decay as a Gaussian prior: is the posterior abstract where the minimum is, and up to which temperature?"""
    temperatures = settings.choose(full=(1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1), quick=(1e-4, 1e-2, 1e-1))
    tasks = {"abstract minimum": hc.latent_conditions(LATENTS, "biased"), "no abstract minimum": hc.latent_conditions(LATENTS, "centred")}  # fmt: skip
    runs: dict[str, object] = {}
    reports: dict[str, hc.ConvergenceReport] = {}
    found: dict[str, list[Cold]] = {}
    for label, task in tasks.items():
        for t in temperatures:
            name = f"{label}, T = {t:g}"
            run = settings.sample(
                name, _posterior(task, t), observables=(hc.condition_kernel, *_scalars()),
                **settings.choose(
                    full={"chains": 8, "draws": 1000, "warmup": 1000, "thin": 4},
                    quick={"chains": 4, "draws": 250, "warmup": 400, "thin": 2},
                ),
            )  # fmt: skip
            runs[name] = describe_run(run)
            reports[name] = hc.convergence(
                run,
                ess_min=settings.choose(full=400, quick=50),
                rhat_max=settings.choose(full=1.01, quick=1.1),
            )
            found.setdefault(label, []).append(
                _measured(array(run, "posterior/condition_kernel")[0, :, :, -1])
            )
    theory = {
        label: hc.factorial_minimum(task.means @ task.means.T, task.targets, hc.relu)
        for label, task in tasks.items()
    }
    panels = {
        what: [
            drawing.CurveRow.measured(
                label,
                np.log10(temperatures),
                np.array([getattr(each, field)[0] for each in found[label]]),
                np.array([getattr(each, field)[1] for each in found[label]]),
            )
            for label in tasks
        ]
        for what, field in (
            ("parallelism score", "parallelism"),
            ("kernel on the latents", "latents"),
            ("kernel on their product", "higher"),
        )
    }
    return Section(
        title="The posterior, from the minimum to the prior",
        question="Is the posterior abstract where the minimum is, and at which temperature is abstraction lost?",
        claims=tuple(_claims(temperatures, found, theory, reports)),
        figures={
            "temperature": drawing.curve_panels(
                panels, x_label="log10 of the temperature T", y_label="", share_y=False
            )
        },
        captions={
            "temperature": f"Networks of {WIDTH} ReLU units on two latents; prior variances T/{DECAY:g}, so that the mode of the posterior is the minimum with "
            f"decay {DECAY:g} at every temperature. Means and standard errors over chains."
        },
        settings={"runs": runs},
        notes=(
            "A new result of this project: the paper is about minima.",
            "The prior narrows with the temperature, which keeps the mode; at fixed prior a colder posterior has less decay.",
        ),
    )


def _posterior(task: hc.ConditionTask, temperature: float) -> hc.Reduced:
    mlp = hc.MLP(task.means.shape[1], LATENTS, WIDTH, 1, hc.relu, hc.standard)
    prior = hc.GaussianPrior(
        readout_variance=temperature * WIDTH / DECAY, hidden_variance=temperature * mlp.n_inputs / DECAY
    )
    posterior = hc.Posterior(mlp, task.noise_free(), prior=prior, temperature=temperature)
    return hc.integrate_readout(hc.project_inputs(posterior))


def _scalars() -> tuple[hc.Observable, ...]:
    return tuple(
        o
        for o in hc.default_observables(hc.gaussian, 0)
        if o.name in ("train_loss", "log_density", "readout_overlap")
    )


def _measured(kernels: np.ndarray) -> Cold:
    """From kernels (chain, draw, condition, condition_2), means over units."""
    spectrum = sectors(kernels * WIDTH, LATENTS)

    def mean(values: np.ndarray) -> tuple[float, float]:
        by_chain = values.mean(1)
        return float(by_chain.mean()), float(by_chain.std(ddof=1) / np.sqrt(len(by_chain)))

    return Cold(mean(parallelism(kernels, LATENTS)), mean(spectrum[..., 1]), mean(spectrum[..., 2]))


def _claims(
    temperatures: tuple[float, ...],
    found: dict[str, list[Cold]],
    theory: dict[str, hc.FactorialMinimum],
    reports: dict[str, hc.ConvergenceReport],
) -> list[Claim]:
    bad = {name: report.verdict for name, report in reports.items() if not report.ok}
    claims = [
        Claim.statement_true(
            "converged", "The chains agree, on every entry of the hidden kernel too", not bad,
            "; ".join(f"{name}: {verdict}" for name, verdict in bad.items()) or f"all {len(reports)} runs", grade="new",
        )
    ]  # fmt: skip
    abstract, other = found["abstract minimum"], found["no abstract minimum"]
    claims += [
        Claim.above("cold", f"At T = {temperatures[0]:g} the posterior is abstract where the minimum is: parallelism score above 0.9", 0.9, *abstract[0].parallelism, grade="new"),
        Claim.below("cold-pairs", "and not where it is not: below 0.1", 0.1, *other[0].parallelism, grade="new"),
        Claim.below("hot", f"At T = {temperatures[-1]:g} abstraction is lost: below half of that", 0.5 * abstract[0].parallelism[0], *abstract[-1].parallelism, grade="new"),
    ]  # fmt: skip
    for label, cold in found.items():
        # What is left of the temperature, to first order, is as large as its change between the two lowest.
        change = abs(cold[1].latents[0] - cold[0].latents[0])
        claims.append(
            Claim.agrees(
                f"minimum-{slug(label)}", f"{label}: the kernel on the latents at T = {temperatures[0]:g} is the minimum's",
                theory[label].eigenvalue, *cold[0].latents, grade="derived", extra=change,
                extra_reason="the change up to the next temperature",
            )
        )  # fmt: skip
    return claims
