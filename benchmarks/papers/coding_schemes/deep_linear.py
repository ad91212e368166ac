"""Three linear hidden layers: kernels layer by layer, and the predictor."""

import itertools

import numpy as np
import xarray as xr

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Claim, Section, Settings, describe_run, drawing
from hiddencodes.benchmarks.papers.coding_schemes.measurements import (
    SAMPLER,
    UPPER,
    Measured,
    chains_of,
    final_kernel,
    kernel_blocks,
    kernel_contrast,
    mean_of,
)
from hiddencodes.theory.kernel_blocks import kernel_class_blocks

N_TEMPERATURE = 0.004
DEPTH = 3


def contrast_grows(name: str, statement: str, contrast: list[Measured]) -> Claim:
    """The kernel's class contrast is larger in every layer than in the one below."""
    steps = [upper.mean - lower.mean for lower, upper in itertools.pairwise(contrast)]
    errors = [np.hypot(upper.error, lower.error) for lower, upper in itertools.pairwise(contrast)]
    return Claim.above(
        name,
        statement,
        0.0,
        np.array(steps),
        np.array(errors),
        grade="poster",
        entries=[f"layer {i + 1} to {i + 2}" for i in range(len(steps))],
        evidence=", ".join(f"layer {i + 1}: {float(value.mean):.3f}" for i, value in enumerate(contrast)),
    )


def deep_linear(settings: Settings) -> Section:
    """L = 3, linear: the kernel's class structure grows with the layer."""
    n_train = settings.choose(full=40, quick=20)
    width = settings.choose(full=60, quick=40)
    options = settings.choose(
        full={"chains": 8, "draws": 600, "warmup": 1200, "thin": 2},
        quick={"chains": 4, "draws": 200, "warmup": 400},
    )
    claims: list[Claim] = []
    rows: dict[str, object] = {}
    # One output, y = ±1: the finite network has an exact law, so that nothing but sampling error is allowed.
    task = hc.orthogonal_classes(
        n_train,
        (0.5, 0.5),
        y_minus=-1.0,
        single_output=True,
        n_inputs=n_train + 10,
        n_test=10,
        test_overlap=0.5,
    )
    mlp = hc.MLP(task.n_inputs, 1, width, DEPTH, hc.linear, hc.mean_field)
    posterior = hc.Posterior(mlp, task, n_temperature=N_TEMPERATURE)
    run = settings.sample("one-output", posterior, sampler=SAMPLER, precision="float32", **options)
    rows["one output"] = describe_run(run)
    law = hc.deep_linear_exact(
        task.input_kernel(),
        task.y_train,
        DEPTH,
        width,
        posterior.readout_variance,
        n_temperature=N_TEMPERATURE,
    )
    for layer in range(DEPTH):
        blocks = kernel_class_blocks(law.kernels[layer], task.labels_train).blocks
        found = kernel_blocks(run, layer)
        claims.append(
            Claim.agrees(
                f"exact-layer-{layer + 1}",
                f"Two classes, one output, N = {width}, P = {n_train}: class blocks of the kernel of layer {layer + 1} against the "
                "exact law of the finite network",
                blocks[UPPER[2]],
                found.mean[UPPER[2]],
                found.error[UPPER[2]],
                grade="derived",
                entries=["11", "12", "22"],
            )
        )
    overlap = mean_of(chains_of(run, "posterior/readout_overlap")[:, :, 0, 0])
    claims.append(
        Claim.agrees(
            "exact-overlap",
            "The same network: readout overlap U = |a|^2/N against its exact law",
            law.readout_overlap,
            float(overlap.mean),
            float(overlap.error),
            grade="derived",
        )
    )
    claims += _predictor(run, posterior)

    task3 = hc.orthogonal_classes(n_train, y_minus=-0.5, n_inputs=n_train)
    mlp3 = hc.MLP(task3.n_inputs, 3, width, DEPTH, hc.linear, hc.mean_field)
    posterior3 = hc.Posterior(mlp3, task3, n_temperature=N_TEMPERATURE)
    run3 = settings.sample("three-classes", posterior3, sampler=SAMPLER, precision="float32", **options)
    rows["three classes"] = describe_run(run3)
    exact = hc.linear_monte_carlo(
        task3.input_kernel(),
        task3.y_train,
        DEPTH,
        width,
        posterior3.readout_variance,
        n_temperature=N_TEMPERATURE,
        labels=task3.labels_train,
        steps=settings.choose(full=1000, quick=300),
    )
    finite = hc.linear_saddle(
        task3.input_kernel(),
        task3.y_train,
        DEPTH,
        posterior3.readout_variance,
        n_temperature=N_TEMPERATURE,
        width=width,
    )
    kernels: list[drawing.KernelRow] = []
    order = np.argsort(task3.labels_train, kind="stable")
    contrast: list[Measured] = []
    for layer in range(DEPTH):
        expected = exact.kernel_blocks
        found = kernel_blocks(run3, layer)
        claims.append(
            Claim.agrees(
                f"blocks-layer-{layer + 1}",
                f"Three classes, N = {width}, P = {n_train}: class blocks of the kernel of layer {layer + 1} against the law of the "
                "finite network (integrals over its m x m overlaps, by Monte Carlo)",
                expected.mean[layer][UPPER[3]],
                found.mean[UPPER[3]],
                np.hypot(found.error, expected.error[layer])[UPPER[3]],
                grade="derived",
                entries=["11", "12", "13", "22", "23", "33"],
            )
        )
        contrast.append(kernel_contrast(run3, layer))
        kernels.append(
            drawing.KernelRow(
                f"layer {layer + 1}",
                finite.kernels[layer][np.ix_(order, order)],
                final_kernel(run3, layer)[np.ix_(order, order)],
            )
        )
    claims.append(
        contrast_grows(
            "contrast-grows", "Three classes: the class contrast of the kernel grows with the layer", contrast
        )
    )
    claims.append(
        Claim.statement_true(
            "scheme",
            "Three classes: the coding scheme of the feature layer is analog",
            hc.coding_scheme(run3).scheme == "analog",
            hc.coding_scheme(run3).sentence,
            grade="text",
        )
    )
    return Section(
        title="Three linear layers",
        question="Does the class structure of the kernel grow with the layer as predicted, and is the mean predictor that of the "
        "lazy network with a variance of order 1/N?",
        claims=tuple(claims),
        figures={"kernels": drawing.kernel_pair(kernels, task3.class_counts.tolist(), task3.class_names)},
        captions={
            "kernels": "Kernels of the three layers: theory with terms of order P/N (left), last draw of the chains (right)."
        },
        settings={"patterns": n_train, "n_temperature": N_TEMPERATURE, "runs": rows},
        unknown=("Width and number of draws of the published three-layer kernels.",),
    )


def _predictor(run: xr.DataTree, posterior: hc.Posterior) -> list[Claim]:
    """Mean and variance of the outputs at test patterns, against theory and against the lazy network."""
    task, width = posterior.task, posterior.mlp.width
    scale = task.n_inputs
    k_train = task.input_kernel()
    k_cross = task.x_train @ task.x_test.T / scale
    k_test = np.sum(task.x_test**2, axis=1) / scale
    theory = hc.linear_prediction(
        k_train,
        k_cross,
        k_test,
        task.y_train,
        DEPTH,
        width,
        posterior.readout_variance,
        n_temperature=N_TEMPERATURE,
    )
    lazy = hc.gaussian_process_regression(k_train, k_cross, k_test, task.y_train, temperature=0.0)
    f = chains_of(run, "posterior/test_predictions")[..., 0]
    found = mean_of(f)
    spread = mean_of((f - found.mean) ** 2)
    residual = float(np.max(np.abs(theory.mean - lazy.mean)))
    factor = float(np.mean(theory.variance[:, 0] / lazy.variance))
    return [
        Claim.agrees(
            "mean-predictor",
            "Mean output at test patterns equals that of the lazy network at T = 0",
            lazy.mean[:, 0],
            found.mean,
            found.error,
            grade="text",
            extra=residual,
            extra_reason="what the theory says the finite temperature changes",
        ),
        Claim.agrees(
            "variance",
            "Variance of the output at test patterns",
            theory.variance[:, 0],
            spread.mean,
            spread.error,
            grade="derived",
        ),
        Claim.agrees(
            "variance-factor",
            f"That variance over the lazy one (readout variance 1), N = {width}",
            factor,
            float(np.mean(spread.mean / lazy.variance)),
            float(np.sqrt(np.mean((spread.error / lazy.variance) ** 2))),
            grade="derived",
        ),
    ]
