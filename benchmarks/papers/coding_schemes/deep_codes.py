"""Three hidden layers of sigmoidal or rectified units: codes of the feature layer."""

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Claim, Section, Settings, describe_run, drawing
from hiddencodes.benchmarks.papers.coding_schemes.deep_linear import contrast_grows
from hiddencodes.benchmarks.papers.coding_schemes.measurements import (
    SAMPLER,
    final_activations,
    final_kernel,
    kernel_contrast,
)

N_TEMPERATURE = 0.004
DEPTH = 3


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
    for activation in settings.choose(full=(hc.sigmoidal, hc.relu), quick=(hc.relu,)):
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
                        expected=6.0,
                        measured=float(sum(code in table and table[code].fraction > 0.02 for code in six)),
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
        claims.append(
            contrast_grows(
                f"{activation.name}-depth",
                f"{activation.name}: the class contrast of the kernel grows with the layer",
                [kernel_contrast(run, layer) for layer in range(DEPTH)],
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
            "activations": "Activations of the three layers at the last draw of one chain, units sorted.",
            "kernels": "Kernels of the three layers at the last draw, averaged over the chains.",
        },
        settings={"patterns": n_train, "targets": "1 and -1/2", "n_temperature": N_TEMPERATURE, "runs": rows},
        notes=(
            "No prediction of the theory is laid beside these layers: the solver of its equations for nonlinear networks of several layers does not converge at this size.",
        ),
    )
