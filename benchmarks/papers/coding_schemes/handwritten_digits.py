"""Handwritten digits: the same codes on real inputs, with settings declared here."""

import numpy as np
import xarray as xr

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Claim, Section, Settings, describe_run, drawing
from hiddencodes.benchmarks.papers.coding_schemes.measurements import (
    SAMPLER,
    final_activations,
    final_kernel,
    kernel_blocks,
    remembers,
)

N_TEMPERATURE = 0.01
SCHEMES = {"linear": "analog", "sigmoidal": "redundant", "relu": "sparse"}


def handwritten_digits(settings: Settings) -> Section:
    """MNIST digits: codes, kernels and test error."""
    n_train, width = settings.choose(full=(60, 100), quick=(30, 50))
    task = hc.mnist(digits=(0, 1, 2), n_train=n_train, n_test=60, size=8, y_minus=0.0)
    order = np.argsort(task.labels_train, kind="stable")
    counts = task.class_counts.tolist()
    options = settings.choose(
        full={"chains": 4, "draws": 1000, "warmup": 1500, "thin": 2},
        quick={"chains": 4, "draws": 150, "warmup": 300},
    )
    claims: list[Claim] = []
    rows: dict[str, object] = {}
    panels: list[drawing.ActivationRow] = []
    kernels: list[drawing.KernelRow] = []
    runs: dict[str, xr.DataTree] = {}
    for activation in settings.choose(full=(hc.linear, hc.sigmoidal, hc.relu), quick=(hc.sigmoidal,)):
        name = activation.name
        mlp = hc.MLP(task.n_inputs, 3, width, 1, activation, hc.mean_field)
        run = settings.sample(
            name,
            hc.Posterior(mlp, task, n_temperature=N_TEMPERATURE),
            sampler=SAMPLER,
            precision="float32",
            **options,
        )
        runs[name], rows[name] = run, describe_run(run)
        report = hc.coding_scheme(run)
        claims.append(
            Claim.statement_true(
                f"{name}-scheme", f"{name}: the coding scheme is {SCHEMES[name]}", report.scheme == SCHEMES[name], report.sentence,
                grade="secondary",
            )
        )  # fmt: skip
        learned = kernel_blocks(run)
        prior = _prior_blocks(run, task)
        contrast = float(np.mean(np.diag(learned.mean)) - np.mean(learned.mean[np.triu_indices(3, 1)]))
        before = float(np.mean(np.diag(prior)) - np.mean(prior[np.triu_indices(3, 1)]))
        claims.append(
            Claim.above(
                f"{name}-contrast",
                f"{name}: the kernel's class contrast after learning is above twice that of the inputs' own",
                2.0 * before,
                contrast,
                float(np.sqrt(np.sum(learned.error**2)) / 3.0),
                grade="secondary",
            )
        )
        phi = drawing.sort_units(final_activations(run)[0][:, order], counts, name)
        panels.append(drawing.ActivationRow(name, None, phi))
        kernels.append(drawing.KernelRow(name, None, final_kernel(run)[np.ix_(order, order)]))
    table = hc.code_table(runs["sigmoidal"]).pooled
    symmetry = hc.symmetry_breaking(runs["sigmoidal"]).pooled[-1]
    largest = next(iter(table))
    claims.append(
        Claim.frozen(
            "sigmoidal-shares",
            "sigmoidal: shares of the codes",
            remembers(symmetry) or "no prediction for these inputs is at hand",
            grade="secondary",
            measured=table[largest].fraction,
            error=table[largest].error,
        )
    )
    return Section(
        title="Handwritten digits",
        question="Do the same codes appear on real inputs?",
        claims=tuple(claims),
        figures={
            "activations": drawing.activation_panels(panels, counts, task.class_names),
            "kernels": drawing.kernel_pair(kernels, counts, task.class_names),
        },
        captions={
            "activations": "Activations at the last draw of one chain, units sorted.",
            "kernels": "Kernel of the hidden layer at the last draw, averaged over the chains.",
        },
        settings={
            "digits": "0, 1, 2",
            "patterns": n_train,
            "pixels": "8 x 8",
            "targets": "one-hot",
            "n_temperature": N_TEMPERATURE,
            "runs": rows,
        },
        unknown=(
            "Classes, numbers of patterns, width, depth, temperature and preprocessing of the published MNIST and CIFAR-10 experiments; those here are our own choice.",
        ),
    )


def _prior_blocks(run: xr.DataTree, task: hc.Task) -> np.ndarray:
    kernel = np.asarray(run["constant_data"]["prior_kernel"].values, dtype=np.float64)[0, -1]
    return hc.kernel_class_blocks(kernel, task.labels_train).blocks
