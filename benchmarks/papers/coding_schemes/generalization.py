"""Generalization: bias and variance of the test error, lazy against non-lazy."""

import numpy as np
import xarray as xr

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Claim, Section, Settings, describe_run, drawing
from hiddencodes.benchmarks.papers.coding_schemes.measurements import SAMPLER, Measured, chains_of, mean_of

N_TEMPERATURE = 0.01
TEMPERATURE = 0.01
ACTIVATIONS = (hc.linear, hc.sigmoidal, hc.relu)


def generalization(settings: Settings) -> Section:
    """Bias and variance of the test error, lazy against non-lazy."""
    n_train = settings.choose(full=40, quick=20)
    task = hc.gaussian_clusters(n_train, n_inputs=60, noise=1.0, y_minus=-0.5, n_test=40, seed=3)
    narrow, wide = settings.choose(full=(50, 100), quick=(25, 50))
    options = settings.choose(
        full={"chains": 8, "draws": 500, "warmup": 1000, "thin": 2},
        quick={"chains": 4, "draws": 150, "warmup": 400},
    )
    observables = (
        *hc.default_observables(hc.gaussian, task.n_test),
        hc.conditional_test_predictions,
        hc.conditional_test_variance,
    )
    claims: list[Claim] = []
    rows: dict[str, object] = {}
    curves: dict[str, list[drawing.CurveRow]] = {}
    for activation in settings.choose(full=ACTIVATIONS, quick=ACTIVATIONS[:1]):
        name = activation.name

        def sampled(
            width: int, kind: hc.Parameterization, activation: hc.Activation = activation
        ) -> tuple[xr.DataTree, hc.Posterior]:
            mlp = hc.MLP(task.n_inputs, task.n_outputs, width, 1, activation, kind)
            temperature = TEMPERATURE if kind is hc.ntk else N_TEMPERATURE / width
            posterior = hc.Posterior(mlp, task, temperature=temperature)
            label = f"{activation.name}-{'lazy' if kind is hc.ntk else 'rich'}-{width}"
            run = settings.sample(
                label, posterior, sampler=SAMPLER, precision="float32", observables=observables, **options
            )
            rows[label] = describe_run(run)
            return run, posterior

        small, _ = sampled(narrow, hc.mean_field)
        rich, posterior = sampled(wide, hc.mean_field)
        lazy, _ = sampled(wide, hc.ntk)
        theory = hc.lazy_prediction(task, activation, 1, temperature=TEMPERATURE)
        splits = {
            n: hc.bias_variance(run).best for n, run in (("narrow", small), ("wide", rich), ("lazy", lazy))
        }
        claims.append(_rao_blackwell(name, rich))
        claims += _lazy(name, lazy, theory, task, wide)
        claims.append(
            Claim.below(
                f"{name}-variance",
                f"{name}: the variance of the non-lazy predictor, of order 1/N, is below a fifth of the lazy one's",
                0.2 * splits["lazy"].variance.value,
                splits["wide"].variance.value,
                splits["wide"].variance.error,
                grade="secondary",
                evidence=f"lazy {splits['lazy'].variance.value:.4g}",
            )
        )
        ratio = splits["narrow"].readout.value / splits["wide"].readout.value
        relative = np.hypot(
            splits["narrow"].readout.error / splits["narrow"].readout.value,
            splits["wide"].readout.error / splits["wide"].readout.value,
        )
        claims.append(
            Claim.agrees(
                f"{name}-variance-width",
                f"{name}, non-lazy: variance of the output at given hidden weights, N = {narrow} over N = {wide}, "
                "as 1/N",
                wide / narrow,
                ratio,
                float(ratio * relative),
                grade="derived",
                extra=wide / narrow * (1.0 / narrow + n_train / task.n_inputs / narrow),
                extra_reason="relative corrections of order 1/N",
            )
        )
        gain = splits["lazy"].variance.value - splits["wide"].variance.value
        change = splits["lazy"].bias_squared.value - splits["wide"].bias_squared.value
        claims.append(
            Claim.statement_true(
                f"{name}-through-variance",
                f"{name}: what the non-lazy network gains over the lazy one it gains through its variance, more than through its mean",
                gain > abs(change),
                f"variance smaller by {gain:.4g}, squared bias by {change:.4g}; total error {splits['wide'].total.value:.4g} "
                f"against {splits['lazy'].total.value:.4g}",
                grade="secondary",
            )
        )
        if activation is hc.linear:
            claims.append(_same_mean(rich, theory, posterior))
        for part in ("bias_squared", "within", "between", "readout"):
            values = [getattr(splits[key], part) for key in ("lazy", "wide")]
            curves.setdefault(part.replace("_", " "), []).append(
                drawing.CurveRow(
                    name,
                    np.array([1.0, 2.0]),
                    np.array([v.value for v in values]),
                    np.array([v.error for v in values]),
                )
            )
    return Section(
        title="Generalization: bias and variance",
        question="Does the non-lazy network generalize better, and through its mean or through its variance?",
        claims=tuple(claims),
        figures={
            "errors": drawing.curve_panels(
                curves,
                x_label="1: lazy, 2: non-lazy",
                y_label="part of the test error",
                log_x=False,
                log_y=False,
            )
        },
        captions={
            "errors": "Squared bias; variance of the mean output given hidden weights, within and between chains; and variance at "
            "given hidden weights (readout)."
        },
        settings={
            "task": "three Gaussian clusters, noise 1",
            "patterns": n_train,
            "test patterns": task.n_test,
            "n_temperature": f"{N_TEMPERATURE} (non-lazy); temperature {TEMPERATURE} (lazy)",
            "runs": rows,
        },
        unknown=("Tasks, sizes and test errors of the published comparison of lazy and non-lazy networks.",),
    )


def _rao_blackwell(name: str, run: xr.DataTree) -> Claim:
    f = chains_of(run, "posterior/test_predictions")
    given = chains_of(run, "posterior/conditional_test_predictions")
    paired = mean_of(f - given)
    return Claim.agrees(
        f"{name}-rao-blackwell",
        f"{name}, non-lazy: sampled outputs and their means given the hidden weights agree (readout integrated out, exact at any N)",
        np.zeros_like(paired.mean).ravel(),
        paired.mean.ravel(),
        paired.error.ravel(),
        grade="derived",
    )


def _lazy(name: str, run: xr.DataTree, theory: hc.LazyPrediction, task: hc.Task, width: int) -> list[Claim]:
    f = chains_of(run, "posterior/test_predictions")
    mean = mean_of(f)
    spread = mean_of(((f - mean.mean) ** 2).mean(axis=(2, 3)))
    size = float(np.sqrt(np.mean(theory.mean_test**2)))
    deviation = _root_mean_square(mean, theory.mean_test)
    return [
        Claim.below(
            f"{name}-lazy-mean",
            f"{name}, lazy: the mean output is that of the Gaussian process up to order 1/N (relative root mean square below 10/N)",
            10.0 / width,
            float(deviation.mean) / size,
            grade="derived",
        ),
        Claim.agrees(
            f"{name}-lazy-variance",
            f"{name}, lazy: the variance of the output is that of the Gaussian process",
            float(theory.variance_test.mean()),
            float(spread.mean),
            float(spread.error),
            grade="derived",
            extra=float(theory.variance_test.mean()) * 5.0 / width,
            extra_reason="relative corrections of order 1/N at N = 100, at most five of them",
        ),
    ]


def _root_mean_square(found: Measured, expected: np.ndarray) -> Measured:
    """Root mean square deviation, with the sampling noise of the mean taken out."""
    square = np.mean((found.mean - expected) ** 2) - np.mean(found.error**2)
    root = np.sqrt(max(float(square), 0.0))
    return Measured(np.asarray(root), np.asarray(np.sqrt(np.mean(found.error**2))))


def _same_mean(run: xr.DataTree, theory: hc.LazyPrediction, posterior: hc.Posterior) -> Claim:
    task, width = posterior.task, posterior.mlp.width
    k_cross = task.x_train @ task.x_test.T / task.n_inputs
    k_test = np.sum(task.x_test**2, axis=1) / task.n_inputs
    exact = hc.linear_prediction(
        task.input_kernel(),
        k_cross,
        k_test,
        task.y_train,
        1,
        width,
        posterior.readout_variance,
        n_temperature=N_TEMPERATURE,
    )
    found = mean_of(chains_of(run, "posterior/test_predictions"))
    return Claim.agrees(
        "linear-mean",
        "linear, non-lazy: mean output at test patterns against the rescaled Gaussian process, whose T = 0 limit is the lazy one",
        exact.mean.ravel(),
        found.mean.ravel(),
        found.error.ravel(),
        grade="text",
        extra=float(np.max(np.abs(exact.mean))) / width,
        extra_reason="relative corrections 1/N",
        evidence=f"largest difference to the lazy mean {float(np.max(np.abs(exact.mean - theory.mean_test))):.3g}",
    )
