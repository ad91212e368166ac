"""Three hidden layers: kernels of the linear network layer by layer, codes of sigmoidal and rectified feature layers."""

import numpy as np
import xarray as xr

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Claim, Section, Settings, describe_run, drawing
from hiddencodes.benchmarks.papers.coding_schemes.measurements import (
    SAMPLER,
    UPPER,
    chains_of,
    final_activations,
    final_kernel,
    kernel_blocks,
    mean_of,
)
from hiddencodes.theory.kernel_blocks import kernel_class_blocks

N_TEMPERATURE = 0.004
DEPTH = 3


def deep_linear(settings: Settings) -> Section:
    """L = 3, linear: the kernel's class structure grows with the layer."""
    n_train = settings.choose(full=40, quick=20)
    width = settings.choose(full=60, quick=40)
    options = settings.choose(
        full={"chains": 8, "draws": 600, "warmup": 1200, "thin": 2},
        quick={"chains": 4, "draws": 300, "warmup": 500},
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
    contrast: list[float] = []
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
        contrast.append(float(found.mean[0, 0] - found.mean[0, 1]))
        kernels.append(
            drawing.KernelRow(
                f"layer {layer + 1}",
                finite.kernels[layer][np.ix_(order, order)],
                final_kernel(run3, layer)[np.ix_(order, order)],
            )
        )
    claims.append(
        Claim.statement_true(
            "contrast-grows",
            "Three classes: the class contrast K_11 - K_12 grows with the layer",
            contrast[0] < contrast[1] < contrast[2],
            ", ".join(f"layer {i + 1}: {value:.3f}" for i, value in enumerate(contrast)),
            grade="poster",
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
            extra=theory.variance[:, 0] * DEPTH / width,
            extra_reason="relative corrections L/N to the leading order",
        ),
        Claim.agrees(
            "variance-factor",
            f"That variance over the lazy one (readout variance 1), N = {width}",
            factor,
            float(np.mean(spread.mean / lazy.variance)),
            float(np.sqrt(np.mean((spread.error / lazy.variance) ** 2))),
            grade="derived",
            extra=factor * DEPTH / width,
            extra_reason="relative corrections L/N to the leading order",
        ),
    ]


def deep_codes(settings: Settings) -> Section:
    """L = 3, sigmoidal and ReLU: codes of the feature layer."""
    n_train, width = settings.choose(full=(60, 100), quick=(24, 40))
    options = settings.choose(
        full={"chains": 4, "draws": 200, "warmup": 1500, "thin": 4},
        quick={"chains": 2, "draws": 100, "warmup": 400},
    )
    task = hc.orthogonal_classes(n_train, y_minus=-0.5, n_inputs=n_train)
    counts = task.class_counts.tolist()
    claims: list[Claim] = []
    rows: dict[str, object] = {}
    panels: list[drawing.ActivationRow] = []
    kernels: list[drawing.KernelRow] = []
    six = ["100", "010", "001", "011", "101", "110"]
    for activation in (hc.sigmoidal, hc.relu):
        mlp = hc.MLP(task.n_inputs, 3, width, DEPTH, activation, hc.mean_field)
        run = settings.sample(
            activation.name,
            hc.Posterior(mlp, task, n_temperature=N_TEMPERATURE),
            sampler=SAMPLER,
            precision="float32",
            **options,
        )
        rows[activation.name] = describe_run(run)
        table = hc.code_table(run).pooled
        symmetry = hc.symmetry_breaking(run).pooled[-1]
        shares = ", ".join(
            f"{code} {row.fraction:.3f}" for code, row in table.items() if row.fraction > 0.005
        )
        if activation is hc.sigmoidal:
            covered = sum(table[code].fraction for code in six if code in table)
            why = (
                f"codes change {symmetry.changes_per_run:.2g} times per unit over the run: which codes there are, and on how many "
                f"units, was decided by the annealing; sampled: {shares}"
            )
            if symmetry.frozen:
                claims.append(
                    Claim.frozen(
                        "sigmoidal-six-codes",
                        "Sigmoidal: the feature layer has all six codes of one and two classes",
                        why,
                        grade="poster-meas",
                        expected=1.0,
                        measured=covered,
                    )
                )
            else:
                claims.append(
                    Claim.statement_true(
                        "sigmoidal-six-codes",
                        "Sigmoidal: the feature layer has all six codes of one and two classes, and at most 5 % of other units",
                        all(code in table and table[code].fraction > 0.02 for code in six) and covered > 0.95,
                        shares,
                        grade="poster-meas",
                    )
                )
            claims.append(
                Claim.frozen(
                    "sigmoidal-shares",
                    "Sigmoidal: code 100 is about twice as frequent as the others (54 of 200 units on the poster)",
                    why,
                    grade="poster-meas",
                    expected=54 / 200,
                    measured=table["100"].fraction if "100" in table else 0.0,
                    error=table["100"].error if "100" in table else None,
                )
            )
        else:
            active = sorted(
                code for code, row in table.items() if "1" in code and row.fraction >= 0.5 / width
            )
            claims.append(
                Claim.statement_true(
                    "relu-three-codes",
                    "ReLU: the outliers of the feature layer have the codes 100, 010, 001",
                    active == ["001", "010", "100"],
                    shares,
                    grade="poster",
                )
            )
            claims.append(
                Claim.frozen(
                    "relu-three-outliers",
                    "ReLU: one outlier per code, three in all",
                    "outliers of one code coalesce slowly: their number is that of the annealing",
                    grade="poster",
                    expected=3.0,
                    measured=float(sum(row.fraction for code, row in table.items() if "1" in code) * width),
                )
            )
        for layer in range(DEPTH):
            phi = drawing.sort_units(final_activations(run, layer)[0], counts, activation.name)
            panels.append(drawing.ActivationRow(f"{activation.name}, layer {layer + 1}", None, phi))
        kernels.append(drawing.KernelRow(f"{activation.name}, layer {DEPTH}", None, final_kernel(run)))
        within = [
            float(np.mean(np.diag(b.mean)) - b.mean[0, 1])
            for b in (kernel_blocks(run, i) for i in range(DEPTH))
        ]
        claims.append(
            Claim.statement_true(
                f"{activation.name}-depth",
                f"{activation.name}: class structure of the kernel (within minus between classes) grows with the layer",
                within[0] < within[1] < within[2],
                ", ".join(f"layer {i + 1}: {value:.3f}" for i, value in enumerate(within)),
                grade="poster",
            )
        )
    return Section(
        title="Three nonlinear layers",
        question="Which codes does the feature layer of a deep network use?",
        claims=tuple(claims),
        figures={
            "activations": drawing.activation_panels(panels, counts, task.class_names),
            "kernels": drawing.kernel_pair(kernels, counts, task.class_names),
        },
        captions={
            "activations": "Activations of the three layers at the last draw of one chain, units sorted."
        },
        settings={"patterns": n_train, "targets": "1 and -1/2", "n_temperature": N_TEMPERATURE, "runs": rows},
        notes=(
            "No prediction of the theory is laid beside these layers: its equations for nonlinear networks of several layers are not solved here.",
        ),
    )
