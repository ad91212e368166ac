"""Which layers separate classes in the posterior, plain and lazy, at rising temperature: this project's own experiment."""

from typing import Any, NamedTuple

import numpy as np

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Claim, Section, Settings, describe_run, drawing
from hiddencodes.benchmarks.papers.spring_block import figures
from hiddencodes.drawing import array

DEPTH, DIGITS, N_TRAIN, SIZE, PLAIN_WIDTH = 3, (0, 1, 2), 30, 10, 64


class Found(NamedTuple):
    """D of a posterior's hidden layers (layer): means over draws and standard errors between chains."""

    mean: np.ndarray
    error: np.ndarray


def posterior(settings: Settings) -> Section:
    """Load curves of the posterior of plain and lazy networks beside infinite width."""
    task = hc.mnist(DIGITS, n_train=N_TRAIN, size=SIZE)
    x = np.asarray(task.x_train, float)
    theory = hc.prior_load_curve(hc.relu, x @ x.T / x.shape[1], task.labels_train, DEPTH)
    # Extrapolated from few draws the lazy posterior would agree with anything: the small version has the plain one only.
    temperatures: tuple[float, ...] = settings.choose(full=(0.1, 1.0, 10.0), quick=())
    plain_temperatures = settings.choose(full=(0.01, 0.1, 0.3, 1.0, 10.0), quick=(0.1,))
    widths = (64, 128, 256)
    runs: dict[str, object] = {}
    bad: dict[str, str] = {}

    def sampled(label: str, p: hc.Posterior) -> Found:
        options = settings.choose(
            full={"chains": 8, "draws": 400, "warmup": 400, "thin": 2}, quick={"chains": 4, "draws": 200, "warmup": 200}
        )  # fmt: skip
        wanted = [
            o for o in hc.default_observables(hc.gaussian, 0) if o.name in ("train_loss", "log_density")
        ]
        run = settings.sample(label, hc.integrate_readout(hc.project_inputs(p)), observables=(hc.separation, *wanted), **options)  # fmt: skip
        runs[label] = describe_run(run)
        report = hc.convergence(
            run,
            ess_min=settings.choose(full=400, quick=50),
            rhat_max=settings.choose(full=1.01, quick=1.1),
        )
        if not report.ok:
            bad[label] = report.verdict
        by_chain = array(run, "posterior/separation")[0].mean(1)
        return Found(by_chain.mean(0), by_chain.std(0, ddof=1) / np.sqrt(len(by_chain)))

    lazy: dict[float, Found] = {}
    plain: dict[float, Found] = {}
    by_width: dict[float, list[Found]] = {}
    for t in temperatures:
        by_width[t] = [
            sampled(f"lazy, N = {n}, T = {t:g}", _network(task, n, hc.ntk, temperature=t)) for n in widths
        ]
        lazy[t] = _extrapolated(by_width[t])
    for t in plain_temperatures:
        plain[t] = sampled(f"plain, N T = {t:g}", _network(task, PLAIN_WIDTH, hc.mean_field, n_temperature=t))
    panels = {
        heading: [
            figures.predicted("infinite width, prior", theory.separation),
            *(
                figures.measured(
                    f"{'T' if found is lazy else 'N T'} = {t:g}",
                    np.concatenate([theory.separation[:1], each.mean]),
                    np.concatenate([[0.0], each.error]),
                )
                for t, each in found.items()
            ),
        ]
        for heading, found in (("lazy, extrapolated in 1/N", lazy), ("plain", plain))
        if found
    }
    return Section(
        title="The posterior",
        question="Which layers separate the classes in the posterior, and does temperature act like the noise of training?",
        claims=tuple(_claims(theory, lazy, by_width, plain, bad, quick=settings.quick)),
        figures={"posterior": drawing.curve_panels(panels, x_label="layer", y_label="D", share_y=False)},
        captions={
            "posterior": f"Separation D of {N_TRAIN} digits in {DEPTH} hidden layers of ReLU units without batch normalization. Lines: infinite width under the prior; points: posterior means."
        },
        settings={"runs": runs, "area": {f"N T = {t:g}": round(float(_curve(theory, each).area), 3) for t, each in plain.items()}},
        notes=("A new result of this project: the paper is about noise of training, not about the posterior.",),
    )  # fmt: skip


def _network(task: hc.Task, width: int, scaling: hc.Parameterization, **temperature: Any) -> hc.Posterior:
    return hc.Posterior(
        hc.MLP(task.n_inputs, len(DIGITS), width, DEPTH, hc.relu, scaling), task, **temperature
    )


def _curve(theory: hc.LoadCurve, found: Found) -> hc.LoadCurve:
    return hc.load_curve(found.mean, inputs=theory.separation[0])


def _extrapolated(found: list[Found]) -> Found:
    """Infinite width from N, 2 N and 4 N: what is of order 1/N and 1/N^2 cancels."""
    weights = np.array([1.0, -6.0, 8.0]) / 3.0
    mean = sum(w * f.mean for w, f in zip(weights, found, strict=True))
    error = np.sqrt(sum((w * f.error) ** 2 for w, f in zip(weights, found, strict=True)))
    return Found(np.asarray(mean), np.asarray(error))


def _claims(
    theory: hc.LoadCurve,
    lazy: dict[float, Found],
    by_width: dict[float, list[Found]],
    plain: dict[float, Found],
    bad: dict[str, str],
    *,
    quick: bool,
) -> list[Claim]:
    cold = min(plain)
    baseline = theory.separation[1:]
    claims = [
        Claim.statement_true(
            "converged", "The chains agree on the separation of every layer", not bad,
            "; ".join(f"{name}: {verdict}" for name, verdict in bad.items()) or "all runs", grade="new",
        ),
    ]  # fmt: skip
    for t, found in lazy.items():
        _, middle, wide = by_width[t]
        # What the extrapolation leaves is of the next order, at most as large as the order before it changed the result.
        left = np.abs(found.mean - (2.0 * wide.mean - middle.mean))
        name = f"{t:g}".replace(".", "-")
        claims += [
            Claim.agrees(
                f"lazy-{name}", f"Lazy networks at T = {t:g}, extrapolated to infinite width, separate as the prior does", baseline, found.mean, found.error, grade="derived",
                extra=left, extra_reason="what the term of order 1/N^2 changed",
            ),
        ]  # fmt: skip
    if not quick:
        coldest = min(lazy)
        _, middle, wide = by_width[coldest]
        ratio = abs(wide.mean[-1] - baseline[-1]) / abs(middle.mean[-1] - baseline[-1])
        scatter = np.hypot(wide.error[-1], ratio * middle.error[-1]) / abs(middle.mean[-1] - baseline[-1])
        claims.append(
            Claim.below("lazy-width", f"At T = {coldest:g} they come nearer to it with the width: distance in the last layer over that at half the width", 0.75, float(ratio), float(scatter), grade="derived")
        )  # fmt: skip
    drop = {t: _curve(theory, found).total_drop for t, found in plain.items()}
    # Curves that rise have another shape altogether.
    separating = [t for t in sorted(drop) if drop[t] > 0.0]
    areas = [float(_curve(theory, plain[t]).area) for t in separating]
    claims.append(
        Claim.below("plain-learns", f"Plain networks at N T = {cold:g} separate: D of the last layer, less that of the prior", 0.0, float(plain[cold].mean[-1] - baseline[-1]), float(plain[cold].error[-1]), grade="new")
    )  # fmt: skip
    if quick:
        return claims
    return [
        *claims,
        Claim.statement_true("plain-hot", "and less so the hotter they are", bool(np.all(np.diff([drop[t] for t in sorted(drop)]) < 0.0)), f"total drops {', '.join(f'{drop[t]:.2f}' for t in sorted(drop))}", grade="new"),
        Claim.statement_true(
            "plain-shape", "Temperature acts like the noise of training: the hotter, the less concave, as long as the layers separate classes at all",
            bool(len(areas) > 1 and np.all(np.diff(areas) < 0.0)), f"areas {', '.join(f'{area:+.3f} at {t:g}' for t, area in zip(separating, areas, strict=True))}", grade="new",
        ),
    ]  # fmt: skip
