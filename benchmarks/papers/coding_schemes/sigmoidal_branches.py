"""Three classes, one sigmoidal hidden layer: multiplier, kernel, and the branches of the readout distribution."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Claim, Section, Settings, describe_run, drawing
from hiddencodes.benchmarks.papers.coding_schemes.measurements import (
    SAMPLER,
    UPPER,
    Measured,
    at_infinite_width,
    branch_means,
    chains_of,
    class_multiplier,
    final_activations,
    final_kernel,
    frozen,
    kernel_blocks,
    mean_of,
    remembers,
    saddle_of,
)
from hiddencodes.benchmarks.papers.coding_schemes.tables import targets
from hiddencodes.models.gaussian_integrals import evaluate

# From a separate derivation and program, unpublished: P = 60, y- = 1/2, N T = .004, to three digits.
CODE_SHARES = {"011": 0.316, "101": 0.307, "110": 0.307, "111": 0.071}
MULTIPLIER = (4.801, -0.676, -0.676, -1.771, 8.016, -1.022)
KERNEL = (0.553, 0.599, 0.395, 0.395)


def sigmoidal_branches(settings: Settings) -> Section:
    """Three classes, L = 1, sigmoidal: redundant codes as branches of the readout weights."""
    # Barriers between codes grow with P: few patterns let short chains forget the codes of warm-up.
    n_train, n_temperature = settings.choose(full=60, quick=24), 0.004
    task = hc.orthogonal_classes(n_train, y_minus=0.5, n_inputs=n_train)
    widths = (50, 100)
    options = settings.choose(
        full={"chains": 8, "draws": 3000, "warmup": 2000, "thin": 10},
        quick={"chains": 4, "draws": 400, "warmup": 800, "thin": 2},
    )
    posteriors: dict[int, hc.Posterior] = {}
    runs: dict[int, xr.DataTree] = {}
    for width in widths:
        mlp = hc.MLP(task.n_inputs, task.n_outputs, width, 1, hc.sigmoidal, hc.mean_field)
        posteriors[width] = hc.Posterior(mlp, task, n_temperature=n_temperature)
        runs[width] = settings.sample(
            f"sigmoidal-{width}", posteriors[width], sampler=SAMPLER, precision="float32", **options
        )
    narrow, wide = widths
    saddle = saddle_of(posteriors[wide])
    shares = {code: share for code, share in saddle.code_shares().items() if share > 5e-3}
    codes = list(shares)
    symmetry = hc.symmetry_breaking(runs[wide]).pooled[0]

    def limit(of: dict[int, Measured]) -> Measured:
        return at_infinite_width(of[narrow], of[wide], narrow, wide)

    how = f"at infinite width, from N = {narrow} and {wide}"
    claims = _against_table()
    memory = remembers(symmetry)
    found = limit({n: class_multiplier(run) for n, run in runs.items()})
    claims.append(
        Claim.agrees(
            "multiplier",
            f"Multiplier t = (y - f)/(N T) of every class and output, {how}",
            saddle.multiplier,
            found.mean,
            found.error,
            grade="derived",
            entries=[f"class {c + 1}, output {r + 1}" for c in range(3) for r in range(3)],
        )
    )
    found = limit({n: kernel_blocks(run) for n, run in runs.items()})
    claims.append(
        Claim.agrees(
            "kernel",
            f"Class blocks of the kernel, {how}",
            saddle.kernel_blocks[UPPER[3]],
            found.mean[UPPER[3]],
            found.error[UPPER[3]],
            grade="derived",
            entries=["11", "12", "13", "22", "23", "33"],
        )
    )
    found = limit(
        {n: mean_of(chains_of(run, "posterior/kernel_diagonal")[:, :, -1]) for n, run in runs.items()}
    )
    claims.append(
        Claim.agrees(
            "kernel-diagonal",
            f"Diagonal of the kernel in every class, {how}",
            saddle.kernel_diagonal,
            found.mean,
            found.error,
            grade="derived",
            entries=["1", "2", "3"],
        )
    )
    found = limit({n: mean_of(chains_of(run, "posterior/readout_overlap")) for n, run in runs.items()})
    claims.append(
        Claim.agrees(
            "readout-overlap",
            f"Readout overlap U, {how}",
            saddle.readout_overlap[UPPER[3]],
            found.mean[UPPER[3]],
            found.error[UPPER[3]],
            grade="derived",
        )
    )
    found = limit({n: mean_of(chains_of(run, "posterior/train_loss")) for n, run in runs.items()})
    claims.append(
        Claim.agrees(
            "loss",
            f"Training loss, whose limit is the bias alone, half the sum of (N T t)^2, {how}",
            0.5 * n_temperature**2 * float(saddle.class_counts @ np.sum(saddle.multiplier**2, axis=1)),
            float(found.mean),
            float(found.error),
            grade="derived",
        )
    )
    parts = {n: branch_means(run, codes) for n, run in runs.items()}
    share, center, spread = (limit({n: part[k] for n, part in parts.items()}) for k in range(3))
    by_code = {branch.code: branch for branch in saddle.observed_branches()}
    entries = [f"{code}, output {r + 1}" for code in codes for r in range(3)]
    claims.append(
        Claim.agrees(
            "fractions",
            f"Shares of the codes, {how}",
            np.array([shares[code] for code in codes]),
            share.mean,
            share.error,
            grade="derived",
            entries=codes,
            evidence=symmetry.sentence,
        )
    )
    claims.append(
        Claim.agrees(
            "branch-means",
            f"Mean readout weights of the units of every code, {how}",
            np.array([by_code[code].readout for code in codes]),
            center.mean,
            center.error,
            grade="derived",
            entries=entries,
        )
    )
    claims.append(
        Claim.agrees(
            "branch-widths",
            f"Standard deviation of the readout weights within every code, {how}",
            np.array([np.sqrt(np.diag(by_code[code].readout_covariance)) for code in codes]),
            spread.mean,
            spread.error,
            grade="derived",
            entries=entries,
        )
    )
    if memory:
        # Everything sampled depends on how many units carry each code.
        claims = [claim if claim.name.startswith("table-") else frozen(claim, memory) for claim in claims]
    return Section(
        title="Three classes, one sigmoidal layer",
        question="Are the readout weights of the units in few branches, one per code, as the theory of single units says?",
        claims=tuple(claims),
        figures=_figures(runs[wide], saddle, task, codes, share),
        captions={
            "readouts": "Distribution of the readout weights: theory (line), all units of all draws (bars).",
            "kernel": "Kernel of the hidden layer: theory at infinite width (left), last draw of the chains (right).",
            "codes": "Shares of the codes: theory, and samples extrapolated to infinite width.",
            "activations": "Activations at the last draw of one chain, units sorted by code; left: 100 units drawn from the theory.",
        },
        settings={
            "patterns": n_train,
            "classes": "1/2, 1/4, 1/4",
            "targets": "1 and 1/2",
            "n_temperature": n_temperature,
            "runs": {f"N = {n}": describe_run(run) for n, run in runs.items()},
        },
        unknown=("Sampler, number of draws and temperature of the published readout histogram.",),
    )


def _against_table() -> list[Claim]:
    saddle = hc.single_unit_saddle(hc.sigmoidal, (30, 15, 15), targets(0.5), n_temperature=0.004)
    fractions = {branch.code: branch.fraction for branch in saddle.branches}
    blocks = saddle.kernel_blocks
    pairs: list[tuple[str, str, np.ndarray, np.ndarray]] = [
        (
            "fractions",
            "shares of the codes",
            np.array(list(CODE_SHARES.values())),
            np.array([fractions[code] for code in CODE_SHARES]),
        ),
        ("multiplier", "multiplier", np.array(MULTIPLIER), saddle.multiplier[:2].ravel()),
        (
            "kernel",
            "class blocks 11, 22, 12, 23 of the kernel",
            np.array(KERNEL),
            np.array([blocks[0, 0], blocks[1, 1], blocks[0, 1], blocks[1, 2]]),
        ),
    ]
    return [
        Claim.agrees(
            f"table-{name}",
            f"Theory solved here against an independent solution: {what}",
            expected,
            found,
            grade="derived",
            extra=1e-3,
            extra_reason="one unit of the last digit printed",
        )
        for name, what, expected, found in pairs
    ]


def _figures(
    run: xr.DataTree, saddle: hc.SingleUnitSaddle, task: hc.Task, codes: list[str], share: Measured
) -> dict[str, Figure]:
    counts = task.class_counts.tolist()
    readout = chains_of(run, "units/readout")
    rows: list[drawing.ReadoutRow] = []
    for r in range(3):
        values = readout[:, :, r].ravel()
        x = np.linspace(float(values.min()) - 0.2, float(values.max()) + 0.2, 400)
        marks = tuple((float(b.readout[r]), b.code) for b in saddle.branches if b.code in codes)
        rows.append(
            drawing.ReadoutRow(f"readout of class {r + 1}", x, saddle.readout_density(x, r), values, marks)
        )
    theory = drawing.expand_blocks(saddle.kernel_blocks, saddle.kernel_diagonal, counts)
    shares = saddle.code_shares()
    return {
        "readouts": drawing.readout_panels(rows),
        "kernel": drawing.kernel_pair(
            [drawing.KernelRow("sigmoidal", theory, final_kernel(run))], counts, task.class_names
        ),
        "codes": drawing.code_bars(
            [
                drawing.CodeRow(
                    "sigmoidal", codes, np.array([shares[c] for c in codes]), share.mean, share.error
                )
            ]
        ),
        "activations": drawing.activation_panels(
            [
                drawing.ActivationRow(
                    "sigmoidal",
                    drawing.sort_units(sampled_units(saddle, task, 100), counts, "sigmoidal"),
                    drawing.sort_units(final_activations(run)[0], counts, "sigmoidal"),
                )
            ],
            counts,
            task.class_names,
        ),
    }


def sampled_units(saddle: hc.SingleUnitSaddle, task: hc.Task, n_units: int) -> np.ndarray:
    """Activations of units drawn from the single-unit density, patterns sorted by class, (unit, pattern)."""
    rng = np.random.default_rng(0)
    population = saddle.population
    picks = rng.choice(len(population.weights), n_units, p=population.weights)
    z = np.linspace(-7.0, 7.0, 1401) * np.sqrt(population.energy.input_variance)
    phi = evaluate(population.energy.activation, z)
    h = population.energy.tilts(population.readouts[picks])
    result = np.empty((n_units, task.n_train))
    for i in range(n_units):
        start = 0
        for c, count in enumerate(task.class_counts.tolist()):
            exponent = h[i, c] * phi - z**2 / (2.0 * population.energy.input_variance)
            p = np.exp(exponent - exponent.max())
            result[i, start : start + count] = phi[rng.choice(len(z), count, p=p / p.sum())]
            start += count
    return result
