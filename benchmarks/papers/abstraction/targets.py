"""Targets of 0 and 1 against +1 and -1, and inputs that make either abstract."""

import numpy as np

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Claim, Section, Settings
from hiddencodes.benchmarks.papers.abstraction import figures
from hiddencodes.benchmarks.papers.abstraction.certificates import RATE
from hiddencodes.benchmarks.papers.abstraction.networks import (
    DECAY,
    Ensembles,
    Group,
    parallelism,
    sectors,
    train,
)

# Kernels go with the square root of what is left of the gap.
TOLERANCE = 1e-6


def targets(settings: Settings) -> Section:
    """The sign of the targets decides too: 0 and 1 break the symmetry that leaves one-hot inputs open."""
    latents = settings.choose(full=(2, 3), quick=(2,))
    runs: dict[str, object] = {}
    panels: dict[str, figures.Spectrum] = {}
    claims: list[Claim] = []
    for n in latents:
        y = hc.factorial_latents(n)
        functions, chosen = hc.walsh_functions(n)
        degree = np.array([len(each) for each in chosen])
        higher = functions[:, degree > 1] @ functions[:, degree > 1].T / len(y)
        solved = {
            name: hc.global_minimum(
                np.eye(len(y)), values, hc.relu, hidden_decay=DECAY, readout_decay=DECAY, tolerance=TOLERANCE
            )
            for name, values in (("+1 and -1", y), ("0 and 1", (1 + y) / 2))
        }
        for name, found in solved.items():
            extent = hc.kernel_range(found, higher)
            spectrum = sectors(extent.kernels, n)
            panels[f"{name}, n={n}"] = figures.Spectrum(
                spectrum / spectrum[:, 1:2], sectors(found.kernel, n)[None] / sectors(found.kernel, n)[1]
            )
            runs[f"{name}, n={n}"] = {
                "objective": found.objective, "gap": found.gap, "rounds": found.rounds, "kinds of units": len(found.kinds),
                "products of latents, least and most": [extent.lowest, extent.highest],
            }  # fmt: skip
        trained = _trained(settings, n)
        runs[f"0 and 1, n={n}, networks"] = trained.description
        claims += [*_claims(n, solved, higher), *_trained_claims(n, solved["0 and 1"], trained)]
    return Section(
        title="Targets of 0 and 1",
        question="Does it matter how binary latents are written as targets?",
        claims=tuple(claims),
        figures={"targets": figures.spectra(panels)},
        captions={
            "targets": "Hidden kernels at global minima for one-hot inputs, by degree of the products of latents: the two that differ most in products (bars), "
            "and the one that the solver returned (dots)."
        },
        settings={"runs": runs},
        notes=("There is no closed form for targets of 0 and 1; the convex program is solved, its minima are explored by linear programs, and networks are trained.",),
    )  # fmt: skip


def _trained(settings: Settings, n: int) -> Ensembles:
    group = Group([hc.latent_conditions(n, np.eye(2**n))], [hc.relu], levels=(0.0, 1.0))
    networks, epochs = settings.choose(full=5, quick=3), settings.choose(full=60_000, quick=10_000)
    return train(settings, f"0 and 1, {n} latents", group, networks, epochs, learning_rate=RATE)


def _trained_claims(n: int, solved: hc.GlobalMinimum, trained: Ensembles) -> list[Claim]:
    objective, score = trained.objective[0], parallelism(trained.kernels[0, :, -1], n)
    solution = float(hc.abstraction(solved.kernel, hc.factorial_latents(n)).parallelism.mean())
    return [
        Claim.agrees(
            f"trained-{n}", f"{n} latents, 0 and 1: trained networks reach the objective of the convex program", solved.objective, float(objective.mean()), 0.0,
            grade="derived", extra=1e-3 * solved.objective, extra_reason="a thousandth, relative",
        ),
        Claim.below(f"trained-certificate-{n}", f"{n} latents, 0 and 1: no network of any width can be lower by more than a thousandth (worst network)", 1e-3, float(trained.gap.max()), 0.0, grade="derived"),
        Claim.agrees(f"trained-abstract-{n}", f"{n} latents, 0 and 1: they are as nearly abstract as the solved minimum: parallelism score", solution, float(score.mean()), 0.0, grade="new", extra=0.02, extra_reason="minima differ by nearly as much"),
    ]  # fmt: skip


def _claims(n: int, solved: dict[str, hc.GlobalMinimum], higher: np.ndarray) -> list[Claim]:
    signs, bits = solved["+1 and -1"], solved["0 and 1"]
    open_range, fixed = (hc.kernel_range(each, higher) for each in (signs, bits))
    latents = sectors(signs.kernel, n)[1]
    spectrum = sectors(bits.kernel, n)
    score = hc.abstraction(bits.kernel, hc.factorial_latents(n)).parallelism
    return [
        Claim.above(
            f"open-{n}", f"{n} latents, +1 and -1: minima differ in their products of latents (most minus least, over the kernel on a latent)",
            0.5, (open_range.highest - open_range.lowest) / latents, 0.0, grade="derived",
        ),
        Claim.below(
            f"fixed-{n}", f"{n} latents, 0 and 1: all minima have nearly none (most, over the kernel on a latent)",
            0.03, fixed.highest / spectrum[1], 0.0, grade="measured",
        ),
        Claim.above(f"abstract-{n}", f"{n} latents, 0 and 1: the minimum is nearly abstract, parallelism score above 0.97", 0.97, float(score.min()), 0.0, grade="measured"),
        Claim.below(
            f"not-quite-{n}", f"{n} latents, 0 and 1: but not perfectly, whatever the minimum: parallelism score below 0.9995, and products left in every one", 0.9995,
            float(score.max()), 0.0, grade="new", evidence=f"least products over the kernel on a latent {fixed.lowest / spectrum[1]:.4f}",
        ),
        Claim.agrees(
            f"units-{n}", f"{n} latents, 0 and 1: the kernel on the constant over that on a latent is n, units respond as the targets do",
            float(n), float(spectrum[0] / spectrum[1]), 0.0, grade="measured", extra=0.02 * n, extra_reason="0.02 n, what the convex program's tolerance leaves",
        ),
        Claim.below(f"solved-{n}", f"{n} latents: both programs are solved, gap below 0.0001", 1e-4, float(max(signs.gap, bits.gap)), 0.0, grade="derived"),
    ]  # fmt: skip
