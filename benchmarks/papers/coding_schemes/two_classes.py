"""Two equal classes, lazy and non-lazy, three nonlinearities: kernels and activations of one hidden layer."""

import numpy as np
import xarray as xr

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Claim, Section, Settings, describe_run, drawing
from hiddencodes.benchmarks.papers.coding_schemes.measurements import (
    SAMPLER,
    UPPER,
    Measured,
    at_infinite_width,
    branch_means,
    final_activations,
    final_kernel,
    kernel_blocks,
    remembers,
    saddle_of,
)

ACTIVATIONS = (hc.linear, hc.sigmoidal, hc.relu)
SCHEMES = {"linear": "analog", "sigmoidal": "redundant", "relu": "sparse"}
N_TEMPERATURE = 0.004


def two_classes(settings: Settings) -> Section:
    """Two equal classes: lazy and non-lazy kernels and activations."""
    n_train = settings.choose(full=50, quick=40)
    task = hc.orthogonal_classes(n_train, (0.5, 0.5), n_inputs=n_train)
    narrow, wide = settings.choose(full=(50, 100), quick=(25, 50))
    options = settings.choose(
        full={"chains": 8, "draws": 750, "warmup": 1200, "thin": 2},
        quick={"chains": 4, "draws": 150, "warmup": 300},
    )
    claims: list[Claim] = []
    kernels: list[drawing.KernelRow] = []
    panels: list[drawing.ActivationRow] = []
    rows: dict[str, object] = {}
    for activation in settings.choose(full=ACTIVATIONS, quick=ACTIVATIONS[1:2]):
        name = activation.name

        def sampled(
            width: int, kind: hc.Parameterization, activation: hc.Activation = activation
        ) -> tuple[xr.DataTree, hc.Posterior]:
            mlp = hc.MLP(task.n_inputs, task.n_outputs, width, 1, activation, kind)
            posterior = hc.Posterior(
                mlp, task, n_temperature=N_TEMPERATURE * (width if kind is hc.ntk else 1)
            )
            label = f"{activation.name}-{'lazy' if kind is hc.ntk else 'rich'}-{width}"
            run = settings.sample(label, posterior, sampler=SAMPLER, precision="float32", **options)
            rows[label] = describe_run(run)
            return run, posterior

        small, _ = sampled(narrow, hc.mean_field)
        large, posterior = sampled(wide, hc.mean_field)
        lazy, _ = sampled(wide, hc.ntk)
        saddle = saddle_of(posterior)
        upper = UPPER[2]
        found = at_infinite_width(kernel_blocks(small), kernel_blocks(large), narrow, wide)
        claims.append(
            Claim.agrees(
                f"{name}-kernel",
                f"{name}, non-lazy: class blocks of the kernel at infinite width (from N = {narrow} and {wide})",
                saddle.kernel_blocks[upper],
                found.mean[upper],
                found.error[upper],
                grade="derived",
                entries=["11", "12", "22"],
            )
        )
        rich, quiet = _contrast(kernel_blocks(large)), _contrast(kernel_blocks(lazy))
        claims.append(
            Claim.below(
                f"{name}-lazy-kernel",
                f"{name}, lazy: the kernel's class contrast is below a tenth of the non-lazy one (it is of order 1/N)",
                0.1 * float(rich.mean - 4.0 * rich.error),
                float(quiet.mean),
                float(quiet.error),
                grade="poster",
            )
        )
        for label, run, scheme in ((name, large, SCHEMES[name]), (f"{name}-lazy", lazy, "lazy")):
            report = hc.coding_scheme(run)
            claims.append(
                Claim.statement_true(
                    f"{label}-scheme",
                    f"{name}, {'lazy' if scheme == 'lazy' else 'non-lazy'}: the coding scheme is {scheme}",
                    report.scheme == scheme,
                    report.sentence,
                    grade="text",
                )
            )
        claims += _codes(name, small, large, saddle)
        # The diagonal is far above the blocks; it is left out of the theory's picture as it is of the color scale.
        theory = drawing.expand_blocks(
            saddle.kernel_blocks, saddle.kernel_diagonal, task.class_counts.tolist()
        )
        kernels.append(drawing.KernelRow(f"{name}, non-lazy", theory, final_kernel(large)))
        prior = np.asarray(lazy["constant_data"]["prior_kernel"].values)[0, -1]
        kernels.append(drawing.KernelRow(f"{name}, lazy", prior, final_kernel(lazy)))
        for label, run in ((f"{name}, non-lazy", large), (f"{name}, lazy", lazy)):
            phi = drawing.sort_units(final_activations(run)[0], task.class_counts.tolist(), name)
            panels.append(drawing.ActivationRow(label, None, phi))
    return Section(
        title="Two classes, lazy and non-lazy",
        question="Do features follow the classes, and do the three nonlinearities use three different codes?",
        claims=tuple(claims),
        figures={
            "kernels": drawing.kernel_pair(kernels, task.class_counts.tolist(), task.class_names),
            "activations": drawing.activation_panels(panels, task.class_counts.tolist(), task.class_names),
        },
        captions={
            "kernels": "Kernel of the hidden layer: theory at infinite width (left), last draw of the chains (right).",
            "activations": "Activations at the last draw of one chain, units sorted.",
        },
        settings={
            "patterns": n_train,
            "targets": "one-hot",
            "n_temperature": f"{N_TEMPERATURE} (non-lazy); temperature {N_TEMPERATURE} (lazy)",
            "runs": rows,
        },
        unknown=("Numbers of patterns, inputs and units, targets and temperature of the two-class figure.",),
    )


def _contrast(blocks: Measured) -> Measured:
    """Mean within-class block minus the between-class one."""
    value = 0.5 * (blocks.mean[0, 0] + blocks.mean[1, 1]) - blocks.mean[0, 1]
    error = np.sqrt(0.25 * (blocks.error[0, 0] ** 2 + blocks.error[1, 1] ** 2) + blocks.error[0, 1] ** 2)
    return Measured(np.asarray(value), np.asarray(error))


def _codes(name: str, small: xr.DataTree, run: xr.DataTree, saddle: hc.SingleUnitSaddle) -> list[Claim]:
    if name == "linear":
        return []
    if name == "relu":
        found = sorted(outlier.code for outlier in saddle.outliers)
        table = hc.code_table(run).pooled
        seen = sorted(code for code, row in table.items() if "1" in code and row.fraction > 0.0)
        return [
            Claim.statement_true(
                "relu-outliers",
                "relu, non-lazy: the outlier codes are those of the theory, one per class",
                seen == found,
                f"theory {found}, sampled {seen}",
                grade="poster",
            )
        ]
    shares = saddle.code_shares()
    codes = [code for code in shares if shares[code] > 1e-3]
    widths = [small["units"].sizes["unit"], run["units"].sizes["unit"]]
    measured = at_infinite_width(branch_means(small, codes)[0], branch_means(run, codes)[0], *widths)
    expected = np.array([shares[code] for code in codes])
    statement = "sigmoidal, non-lazy: half of the units carry each class, and few both; at infinite width"
    memory = remembers(hc.symmetry_breaking(run).pooled[0])
    if memory:
        return [
            Claim.frozen(
                "sigmoidal-shares",
                statement,
                memory,
                grade="derived",
                expected=float(expected[0]),
                measured=float(measured.mean[0]),
                error=float(measured.error[0]),
            )
        ]
    return [
        Claim.agrees(
            "sigmoidal-shares",
            statement,
            expected,
            measured.mean,
            measured.error,
            grade="derived",
            entries=codes,
        )
    ]
