"""Three classes, one layer of rectified units: a silent bulk, and one outlier code per class with weights of order √N."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Claim, Section, Settings, describe_run, drawing
from hiddencodes.benchmarks.papers.coding_schemes.measurements import (
    SAMPLER,
    Measured,
    at_infinite_width,
    chains_of,
    class_multiplier,
    final_activations,
    final_kernel,
    kernel_blocks,
    mean_of,
    saddle_of,
)


def relu_outliers(settings: Settings) -> Section:
    """Three classes, L = 1, ReLU: sparse codes as outliers of the readout weights."""
    n_train, n_temperature = settings.choose(full=(100, 0.002), quick=(60, 0.01))
    task = hc.orthogonal_classes(n_train, y_minus=-0.5, n_inputs=n_train)
    widths = settings.choose(full=(50, 100, 200, 400, 800), quick=(50, 100))
    draws = settings.choose(
        full={50: 1500, 100: 1500, 200: 1000, 400: 400, 800: 200}, quick={50: 200, 100: 200}
    )
    warmup = settings.choose(
        full={50: 2000, 100: 2000, 200: 2000, 400: 1200, 800: 800}, quick={50: 400, 100: 400}
    )
    runs: dict[int, xr.DataTree] = {}
    posteriors: dict[int, hc.Posterior] = {}
    for width in widths:
        mlp = hc.MLP(task.n_inputs, task.n_outputs, width, 1, hc.relu, hc.mean_field)
        posteriors[width] = hc.Posterior(mlp, task, n_temperature=n_temperature)
        runs[width] = settings.sample(
            f"relu-{width}",
            posteriors[width],
            sampler=SAMPLER,
            precision="float32",
            chains=4,
            draws=draws[width],
            warmup=warmup[width],
        )
    saddle = saddle_of(posteriors[widths[-1]])
    bulk = saddle.branches[0]
    codes = [outlier.code for outlier in saddle.outliers]
    # Wider networks keep more than one outlier per code for longer than they are run, which changes what is of order 1/N.
    narrow, wide = 50, 100
    how = f"at infinite width, from N = {narrow} and {wide}"
    multiplier = at_infinite_width(class_multiplier(runs[narrow]), class_multiplier(runs[wide]), narrow, wide)
    blocks = at_infinite_width(kernel_blocks(runs[narrow]), kernel_blocks(runs[wide]), narrow, wide)
    amplitudes = {n: amplitude(run, codes) for n, run in runs.items()}
    bulks = {n: bulk_means(run) for n, run in runs.items()}
    readout = at_infinite_width(bulks[narrow][0], bulks[wide][0], narrow, wide)
    activity = at_infinite_width(bulks[narrow][1], bulks[wide][1], narrow, wide)
    counts = {n: outlier_counts(run, codes) for n, run in runs.items()}
    upper = np.triu_indices(3)
    claims = [
        Claim.agrees(
            "multiplier",
            f"Multiplier of every class and output, {how}",
            saddle.multiplier,
            multiplier.mean,
            multiplier.error,
            grade="derived",
            entries=[f"class {c + 1}, output {r + 1}" for c in range(3) for r in range(3)],
        ),
        Claim.agrees(
            "kernel",
            f"Class blocks of the kernel, bulk and outliers together, {how}",
            saddle.kernel_blocks[upper],
            blocks.mean[upper],
            blocks.error[upper],
            grade="derived",
            entries=["11", "12", "13", "22", "23", "33"],
        ),
        Claim.agrees(
            "bulk-readout",
            f"Mean readout weights of the bulk, {how}",
            bulk.readout,
            readout.mean,
            readout.error,
            grade="derived",
            entries=["output 1", "output 2", "output 3"],
        ),
        Claim.agrees(
            "bulk-activity",
            f"Class-mean activation of the bulk, {how}",
            bulk.class_means,
            activity.mean,
            activity.error,
            grade="derived",
            entries=["class 1", "class 2", "class 3"],
        ),
        Claim.statement_true(
            "outlier-codes",
            "The outlier codes are one per class, at every width",
            all(set(codes) == {code for code, n in count.items() if n > 0.0} for count in counts.values()),
            "; ".join(
                f"N = {n}: "
                + ", ".join(f"{code} on {number:.1f}" for code, number in count.items() if number > 0.0)
                for n, count in counts.items()
            )
            + " units per chain",
            grade="poster",
        ),
    ]
    claims += _numbers(counts, len(codes))
    stayed = {n: stay(run, codes) for n, run in runs.items()}
    claims.append(
        Claim.statement_true(
            "no-drift",
            f"Units do not drift: at N = {narrow} and {wide}, every outlier of the last draw has had its code since the first",
            all(stayed[n] == 1.0 for n in (narrow, wide)),
            "; ".join(f"N = {n}: {share:.3f} of them" for n, share in stayed.items()),
            grade="poster",
        )
    )
    for k, outlier in enumerate(saddle.outliers):
        c = outlier.code.index("1")
        size = np.array([amplitudes[n].mean[k] for n in widths])
        error = np.array([amplitudes[n].error[k] for n in widths])
        if len(widths) > 2:
            slope, slope_error = exponent(np.array(widths, float), size, error)
            claims.append(
                Claim.agrees(
                    f"amplitude-exponent-{outlier.code}",
                    f"Amplitude of code {outlier.code}, root of the summed squares of all units that share it: exponent x of "
                    f"c N^x (1 + d/N), N = {widths[0]} to {widths[-1]}",
                    0.5,
                    slope,
                    slope_error,
                    grade="poster",
                    evidence="the theory fixes the sum; how many units share it is judged by itself",
                )
            )
        at = at_infinite_width(
            Measured(
                amplitudes[narrow].mean[k : k + 1] / np.sqrt(narrow),
                amplitudes[narrow].error[k : k + 1] / np.sqrt(narrow),
            ),
            Measured(
                amplitudes[wide].mean[k : k + 1] / np.sqrt(wide),
                amplitudes[wide].error[k : k + 1] / np.sqrt(wide),
            ),
            narrow,
            wide,
        )
        claims.append(
            Claim.agrees(
                f"amplitude-{outlier.code}",
                f"Amplitude of code {outlier.code} over the root of N, {how}",
                float(np.linalg.norm(outlier.readout)),
                float(at.mean[0]),
                float(at.error[0]),
                grade="derived",
                evidence=f"active in class {c + 1}; shared by {counts[wide][outlier.code]:.1f} units per chain",
            )
        )
    return Section(
        title="Three classes, one layer of rectified units",
        question="Do few units carry the classes, with weights that grow as the root of the width?",
        claims=tuple(claims),
        figures=_figures(runs, saddle, task, codes, amplitudes, wide),
        captions={
            "amplitudes": "Readout amplitude per outlier code (root of the sum of squares over its units): theory (line), chains.",
            "readouts": "Readout weights of class 1: theory of the bulk (line) and outliers (marks), all units (bars, log scale).",
            "kernel": "Kernel of the hidden layer: theory at infinite width (left), last draw of the chains (right).",
            "activations": "The most active units and the bulk at the last draw of one chain.",
        },
        settings={
            "patterns": n_train,
            "classes": "1/2, 1/4, 1/4",
            "targets": "1 and -1/2",
            "n_temperature": n_temperature,
            "runs": {f"N = {n}": describe_run(run) for n, run in runs.items()},
        },
        notes=(
            "Units of one code share its amplitude at no cost in leading order, so that the root of their summed squares is compared, not a single unit.",
        ),
    )


def outliers(run: xr.DataTree) -> np.ndarray:
    """Units whose readout is far outside the bulk: |a| beyond five median lengths, (chain, draw, unit)."""
    size = np.linalg.norm(chains_of(run, "units/readout"), axis=2)
    return size > 5.0 * np.median(size, axis=-1, keepdims=True)


def _by_code(run: xr.DataTree, codes: list[str]) -> np.ndarray:
    """Outliers of each code, (chain, draw, code, unit): a unit belongs to the class in which it is most active."""
    means = chains_of(run, "units/class_means")[:, :, -1]
    strongest = np.argmax(means, axis=2)
    far = outliers(run)
    return np.stack([far & (strongest == code.index("1")) for code in codes], axis=2)


def amplitude(run: xr.DataTree, codes: list[str]) -> Measured:
    """Root of the summed squares of the readouts of every code, (code,)."""
    square = np.sum(chains_of(run, "units/readout") ** 2, axis=2)
    return mean_of(np.sqrt(np.einsum("sdku,sdu->sdk", _by_code(run, codes), square)))


def outlier_counts(run: xr.DataTree, codes: list[str]) -> dict[str, float]:
    """Outliers per chain and code at the last draw."""
    counts = _by_code(run, codes)[:, -1].sum(axis=-1).mean(axis=0)
    return dict(zip(codes, counts.tolist(), strict=True))


def stay(run: xr.DataTree, codes: list[str]) -> float:
    """Share of the outliers of the last draw that had the same code at the first."""
    carries = _by_code(run, codes)
    return float(np.sum(carries[:, 0] & carries[:, -1]) / np.sum(carries[:, -1]))


def bulk_means(run: xr.DataTree) -> tuple[Measured, Measured]:
    """Mean readout (output,) and class means (class,) of the units that are not outliers."""
    bulk = ~outliers(run)
    count = bulk.sum(axis=-1)[..., None]
    readout = np.einsum("sdu,sdru->sdr", bulk, chains_of(run, "units/readout")) / count
    means = np.einsum("sdu,sdcu->sdc", bulk, chains_of(run, "units/class_means")[:, :, -1]) / count
    return mean_of(readout), mean_of(means)


def exponent(widths: np.ndarray, size: np.ndarray, error: np.ndarray) -> tuple[float, float]:
    """Exponent x of size = c N^x (1 + d/N), by weighted least squares of the logarithm, and its standard error."""
    design = np.stack([np.ones_like(widths), np.log(widths), 1.0 / widths], axis=1)
    weight = size / np.maximum(error, 1e-12)
    covariance = np.linalg.inv((design * weight[:, None]).T @ (design * weight[:, None]))
    solution = covariance @ (design * (weight**2)[:, None]).T @ np.log(size)
    return float(solution[1]), float(np.sqrt(covariance[1, 1]))


def _numbers(counts: dict[int, dict[str, float]], n_codes: int) -> list[Claim]:
    """One unit per code: compared where the chains have it, frozen where annealing left more."""
    claims: list[Claim] = []
    for n, count in counts.items():
        number = sum(count.values())
        name, statement = f"outlier-number-{n}", f"N = {n}: one outlier per code"
        if number == n_codes:
            claims.append(
                Claim.statement_true(
                    name, statement, True, f"{number:g} per chain", grade="derived", expected=str(n_codes)
                )
            )
        else:
            claims.append(
                Claim.frozen(
                    name,
                    statement,
                    f"{number:.1f} per chain after annealing: units that share a code coalesce only over thousands of draws, ever "
                    "more slowly the wider the network",
                    grade="derived",
                    expected=float(n_codes),
                    measured=number,
                )
            )
    return claims


def _figures(
    runs: dict[int, xr.DataTree],
    saddle: hc.SingleUnitSaddle,
    task: hc.Task,
    codes: list[str],
    amplitudes: dict[int, Measured],
    wide: int,
) -> dict[str, Figure]:
    class_sizes = task.class_counts.tolist()
    n = np.array(list(runs), float)
    curves = [
        drawing.CurveRow(
            f"code {code}",
            n,
            np.array([amplitudes[int(k)].mean[i] for k in n]),
            np.array([amplitudes[int(k)].error[i] for k in n]),
            n,
            np.sqrt(n) * float(np.linalg.norm(saddle.outliers[i].readout)),
        )
        for i, code in enumerate(codes)
    ]
    values = chains_of(runs[wide], "units/readout")[:, :, 0].ravel()
    x = np.linspace(-1.0, 1.5, 400)
    marks = tuple((float(np.sqrt(wide) * o.readout[0]), o.code) for o in saddle.outliers)
    theory = drawing.expand_blocks(saddle.kernel_blocks, saddle.kernel_diagonal, class_sizes)
    last = runs[wide]
    return {
        "amplitudes": drawing.curves(curves, x_label="width N", y_label="amplitude"),
        "readouts": drawing.readout_panels(
            [drawing.ReadoutRow(f"N = {wide}", x, saddle.readout_density(x), values, marks)], log=True
        ),
        "kernel": drawing.kernel_pair(
            [drawing.KernelRow("ReLU", theory, final_kernel(last))], class_sizes, task.class_names
        ),
        "activations": drawing.activation_panels(
            [
                drawing.ActivationRow(
                    "ReLU", None, drawing.sort_units(final_activations(last)[0], class_sizes, "relu")
                )
            ],
            class_sizes,
            task.class_names,
        ),
    }
