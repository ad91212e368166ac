"""Generalization: bias and variance of the test error, lazy against non-lazy."""

import numpy as np
import xarray as xr

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Claim, Section, Settings, describe_run, drawing
from hiddencodes.benchmarks.papers.coding_schemes.measurements import (
    SAMPLER,
    Measured,
    at_infinite_width,
    chains_of,
    frozen,
    kernel_blocks,
    mean_of,
    remembers,
)

N_TEMPERATURE = 0.01
TEMPERATURE = 0.01
NEXT_ORDER = (
    "what a term of order 1/N^2 may make: the square of the relative correction at the narrower width"
)
ACTIVATIONS = (hc.linear, hc.sigmoidal, hc.relu)


def generalization(settings: Settings) -> Section:
    """Bias and variance of the test error, lazy against non-lazy."""
    n_train = settings.choose(full=40, quick=20)
    # With off-targets of +1/2 the composition of sigmoidal units is unique, so that there is one answer to compare with.
    task = hc.gaussian_clusters(n_train, n_inputs=60, noise=1.0, y_minus=0.5, n_test=40, seed=3)
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
        # Terms of higher order in P/N are larger in a lazy network.
        lazy_narrow, _ = sampled(2 * narrow, hc.ntk)
        lazy, _ = sampled(2 * wide, hc.ntk)
        theory = hc.lazy_prediction(task, activation, 1, temperature=TEMPERATURE)
        splits = {
            n: hc.bias_variance(run).best for n, run in (("narrow", small), ("wide", rich), ("lazy", lazy))
        }
        claims.append(_rao_blackwell(name, rich))
        claims += _lazy(name, lazy_narrow, lazy, theory, 2 * narrow, 2 * wide)
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
            Claim.above(
                f"{name}-variance-width",
                f"{name}, non-lazy: variance of the output at given hidden weights, N = {narrow} over N = {wide}: 1/N would be 2, and it "
                "falls faster than as the root of 1/N",
                float(np.sqrt(2.0)),
                ratio,
                float(ratio * relative),
                grade="derived",
            )
        )
        gain = splits["lazy"].variance.value - splits["wide"].variance.value
        change = splits["lazy"].bias_squared.value - splits["wide"].bias_squared.value
        errors = [splits[n].variance.error for n in ("lazy", "wide")] + [
            splits[n].bias_squared.error for n in ("lazy", "wide")
        ]
        claims.append(
            Claim.above(
                f"{name}-through-variance",
                f"{name}: what the non-lazy network gains through its variance, less what its mean gains or loses",
                0.0,
                gain - abs(change),
                float(np.linalg.norm(errors)),
                grade="secondary",
                evidence=f"variance smaller by {gain:.4g}, squared bias by {change:.4g}; total error {splits['wide'].total.value:.4g} "
                f"against {splits['lazy'].total.value:.4g}",
            )
        )
        if activation is hc.linear:
            claims.append(_same_mean(small, rich, theory, posterior, narrow))
        if activation is hc.sigmoidal:
            claims += _learned_kernel(small, rich, posterior, narrow)
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


def _lazy(
    name: str, narrow: xr.DataTree, wide: xr.DataTree, theory: hc.LazyPrediction, width: int, wider: int
) -> list[Claim]:
    means: list[Measured] = []
    variances: list[Measured] = []
    for run in (narrow, wide):
        # The readout is integrated out: Var f = E Var[f | W] + Var E[f | W].
        given = chains_of(run, "posterior/conditional_test_predictions")
        mean = mean_of(given)
        inner = chains_of(run, "posterior/conditional_test_variance").mean(axis=2)
        means.append(mean)
        variances.append(mean_of(inner + np.square(given - mean.mean).mean(axis=(2, 3))))
    mean = at_infinite_width(means[0], means[1], width, wider)
    variance = at_infinite_width(variances[0], variances[1], width, wider)
    how = f"at infinite width, from N = {width} and {wider}"
    return [
        Claim.agrees(
            f"{name}-lazy-mean",
            f"{name}, lazy: mean outputs at test patterns are those of the Gaussian process, {how}",
            theory.mean_test.ravel(),
            mean.mean.ravel(),
            mean.error.ravel(),
            grade="derived",
            extra=_next_order(means[0], mean),
            extra_reason=NEXT_ORDER,
        ),
        Claim.agrees(
            f"{name}-lazy-variance",
            f"{name}, lazy: mean variance of the outputs is that of the Gaussian process, {how}",
            float(theory.variance_test.mean()),
            float(variance.mean),
            float(variance.error),
            grade="derived",
            extra=_next_order(variances[0], variance),
            extra_reason=NEXT_ORDER,
        ),
    ]


def _next_order(narrow: Measured, limit: Measured) -> float:
    size = float(np.sqrt(np.mean(limit.mean**2)))
    return float(np.mean((narrow.mean - limit.mean) ** 2)) / size


def _learned_kernel(
    narrow: xr.DataTree, wide: xr.DataTree, posterior: hc.Posterior, width: int
) -> list[Claim]:
    """Kernel and test outputs against the theory for inputs that are not orthogonal, solved by Monte Carlo."""
    task, wider = posterior.task, posterior.mlp.width
    theory = hc.single_unit_monte_carlo(
        posterior.mlp.activation,
        task.input_kernel(),
        task.y_train,
        readout_variance=posterior.readout_variance,
        n_temperature=N_TEMPERATURE,
        labels=task.labels_train,
        precision="float32",
    )
    assert theory.kernel_blocks is not None
    assert theory.kernel_blocks_error is not None
    k_cross = task.x_train @ task.x_test.T / task.n_inputs
    k_test = np.sum(task.x_test**2, axis=1) / task.n_inputs
    predicted = theory.predict(k_cross, k_test, wider)
    blocks = at_infinite_width(kernel_blocks(narrow), kernel_blocks(wide), width, wider)
    f = {
        n: chains_of(run, "posterior/conditional_test_predictions")
        for n, run in ((width, narrow), (wider, wide))
    }
    mean = at_infinite_width(mean_of(f[width]), mean_of(f[wider]), width, wider)
    upper = np.triu_indices(3)
    how = f"at infinite width, from N = {width} and {wider}"
    claims = [
        Claim.statement_true(
            "theory-converged",
            "sigmoidal: the theory for general inputs, solved by Monte Carlo over populations of units, converges",
            theory.converged,
            f"largest violation of the constraint {float(np.max(np.abs(theory.residual))):.2g}",
            grade="derived",
        ),
        Claim.agrees(
            "learned-kernel",
            f"sigmoidal, non-lazy: class blocks of the kernel, {how}",
            theory.kernel_blocks[upper],
            blocks.mean[upper],
            np.hypot(blocks.error, theory.kernel_blocks_error)[upper],
            grade="derived",
            entries=["11", "12", "13", "22", "23", "33"],
        ),
        Claim.agrees(
            "learned-predictor",
            f"sigmoidal, non-lazy: mean outputs at test patterns through the learned kernel, {how}",
            predicted.mean.ravel(),
            mean.mean.ravel(),
            np.hypot(mean.error, predicted.mean_error).ravel(),
            grade="derived",
        ),
    ]
    memory = remembers(hc.symmetry_breaking(wide).pooled[0])
    # Which codes the units carry enters the kernel and the predictor.
    return [claims[0], *(frozen(claim, memory) for claim in claims[1:])] if memory else claims


def _same_mean(
    narrow: xr.DataTree, wide: xr.DataTree, theory: hc.LazyPrediction, posterior: hc.Posterior, width: int
) -> Claim:
    task, wider = posterior.task, posterior.mlp.width
    k_cross = task.x_train @ task.x_test.T / task.n_inputs
    k_test = np.sum(task.x_test**2, axis=1) / task.n_inputs
    # At a width this large nothing is left of the terms of order 1/N.
    limit = hc.linear_prediction(
        task.input_kernel(),
        k_cross,
        k_test,
        task.y_train,
        1,
        10**9,
        posterior.readout_variance,
        n_temperature=N_TEMPERATURE,
    )
    small, large = (
        mean_of(chains_of(run, "posterior/conditional_test_predictions")) for run in (narrow, wide)
    )
    found = at_infinite_width(small, large, width, wider)
    return Claim.agrees(
        "linear-mean",
        "linear, non-lazy: mean outputs at test patterns are those of a Gaussian process with the inputs' kernel rescaled, whose T = 0 "
        f"limit is the lazy one; at infinite width, from N = {width} and {wider}",
        limit.mean.ravel(),
        found.mean.ravel(),
        found.error.ravel(),
        grade="text",
        evidence=f"largest difference to the lazy mean {float(np.max(np.abs(limit.mean - theory.mean_test))):.3g}",
    )
