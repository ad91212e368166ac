"""Closed forms of global minima against trained and certified networks."""

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Claim, Section, Settings
from hiddencodes.benchmarks.papers.abstraction import figures
from hiddencodes.benchmarks.papers.abstraction.networks import Ensembles, Group, parallelism, sectors, train
from hiddencodes.rules import slug

RELATIVE = 1e-3
WHY = "0.001 of the value, what the last steps of training leave; for tanh also the mean squared response, by which units of finite width saturate"


class Case(NamedTuple):
    """A row of the table.

    Attributes:
        label: Its name.
        latents: Number of latents.
        inputs: Kind of inputs of `hiddencodes.latent_conditions`, or eigenvalues of their Gram matrix by degree.
        activation: Of the units.
        free_bias: Whether they have biases that do not decay.
        width: How many units.
        repeats: Patterns per combination.
        loss: The loss.
    """

    label: str
    latents: int
    inputs: str | tuple[float, ...] = "one-hot"
    activation: hc.Activation = hc.relu
    free_bias: bool = False
    width: int = 60
    repeats: int = 1
    loss: str = "gaussian"

    def task(self) -> hc.ConditionTask:
        """Its patterns."""
        if isinstance(self.inputs, str):
            return hc.latent_conditions(self.latents, self.inputs, repeats=self.repeats)
        return hc.latent_conditions(self.latents, hc.factorial_kernel(self.inputs))

    def predicted(self, task: hc.ConditionTask) -> hc.FactorialMinimum:
        """What theory says of it."""
        gram = task.means @ task.means.T
        return hc.factorial_minimum(
            gram, task.targets, self.activation, loss=self.loss, free_bias=self.free_bias
        )


CASES = (
    Case("one-hot, n=2", 2),
    Case("centred, n=2", 2, "centred"),
    Case("spectrum 0.7 1 0.5", 2, (0.7, 1.0, 0.5)),
    Case("leaky ReLU, n=2", 2, activation=hc.leaky_relu(0.3)),
    Case("bias that decays, n=2", 2, "biased"),
    Case("free bias, n=2", 2, free_bias=True),
    Case("one-hot, n=3", 3),
    Case("centred, n=3", 3, "centred"),
    Case("bias that decays, n=3", 3, "biased"),
    Case("free bias, n=3", 3, free_bias=True),
    Case("tanh, n=2", 2, activation=hc.tanh, width=400),
    Case("log loss, bias, n=2", 2, "biased", loss="bernoulli"),
    Case("three repeats, bias", 2, "biased", repeats=3),
    Case("expansion, n=4", 4, "expansion"),
)
QUICK = (0, 1, 2, 4, 5, 10, 11)


class Found(NamedTuple):
    """A case with what theory says and what networks do."""

    case: Case
    theory: hc.FactorialMinimum
    trained: Ensembles
    sectors: np.ndarray
    parallelism: np.ndarray


def minima(settings: Settings) -> Section:
    """Objective, outputs and hidden kernel of global minima, case by case."""
    cases = settings.choose(full=CASES, quick=tuple(CASES[i] for i in QUICK))
    networks, epochs = settings.choose(full=5, quick=3), settings.choose(full=20_000, quick=6_000)
    runs: dict[str, object] = {}
    found: list[Found] = []
    for case in cases:
        task = case.task()
        group = Group([task], [case.activation], case.width, free_bias=case.free_bias, loss=case.loss)
        trained = train(settings, case.label, group, networks, epochs)
        runs[case.label] = trained.description
        kernels = _by_combination(trained.kernels[0, :, -1], case)
        scores = parallelism(kernels, case.latents)
        found.append(Found(case, case.predicted(task), trained, sectors(kernels, case.latents), scores))
    claims = [claim for each in found for claim in _claims(each)]
    return Section(
        title="Global minima, case by case",
        question="Do trained networks reach the objective, the outputs and the hidden kernel that theory derives, and is that kernel abstract?",
        claims=tuple(claims),
        figures={"spectra": _spectra(found)},
        captions={
            "spectra": "Hidden kernels by degree of the products of latents, over the latents' own: theory (bars; two where global minima differ) and "
            "trained networks (dots). A code is abstract if nothing is left from degree two on."
        },
        settings={"runs": runs},
        notes=(
            "The closed forms are derived here; that abstract codes are global minima is the paper's claim, its hypotheses are known from the abstract only.",
            "Where minima form a family, theory fixes outputs and the kernel on the latents, not the rest of the kernel: nothing is claimed of that.",
        ),
    )


def _by_combination(kernels: np.ndarray, case: Case) -> np.ndarray:
    """Kernels over combinations of latents, averaged over the repeats; with P K_c / P_c they keep eigenvalues on latents."""
    if case.repeats == 1:
        return kernels
    n = 2**case.latents
    split = kernels.reshape(*kernels.shape[:-2], n, case.repeats, n, case.repeats)
    return split.mean((-3, -1)) * case.repeats


def _claims(found: Found) -> list[Claim]:
    case, theory, trained = found.case, found.theory, found.trained
    name, words = slug(case.label).replace(".", "-"), f"{case.label} ({theory.case}):"
    n = len(trained.amplitude[0])
    # Units outside the linear range: slopes are lower by the order of the mean squared response, trace of the kernel over N P.
    saturation = case.latents * theory.eigenvalue / (case.width * 2**case.latents)
    relative = RELATIVE + (saturation if theory.case == "odd" else 0.0)

    def agrees(what: str, statement: str, expected: np.ndarray, values: np.ndarray) -> Claim:
        error = values.std(0, ddof=1) / np.sqrt(n)
        return Claim.agrees(
            f"{name}-{what}",
            f"{words} {statement}",
            expected,
            values.mean(0),
            error,
            grade="derived",
            extra=relative * float(np.abs(expected).max()),
            extra_reason=WHY,
        )

    objective, q = trained.objective[0], trained.amplitude[0]
    claims = [
        agrees("objective", "least objective", np.asarray(theory.objective), objective),
        agrees("amplitude", "amplitude of the outputs", np.asarray(theory.amplitude), q),
        agrees(
            "eigenvalue",
            "the hidden kernel on the latents",
            np.asarray(theory.eigenvalue),
            found.sectors[:, 1],
        ),
        Claim.below(
            f"{name}-certificate",
            f"{words} no network of any width can be lower by more than a thousandth (worst network)",
            1e-3,
            float(trained.gap[0].max()),
            0.0,
            grade="derived",
        ),
    ]
    if theory.abstract:
        claims.append(
            Claim.above(
                f"{name}-abstract",
                f"{words} abstract: parallelism score of every network above 0.999",
                0.999,
                float(found.parallelism.min()),
                0.0,
                grade="text",
            )
        )
    if theory.abstract is not None:
        known = np.isfinite(theory.kernels[0])
        claims.append(
            agrees("kernel", "the hidden kernel by degree", theory.kernels[0][known], found.sectors[:, known])
        )
        claims.append(
            agrees("parallelism", "parallelism score", np.asarray(theory.parallelism[0]), found.parallelism)
        )
    else:
        claims.append(_family(found, name, words))
    return claims


def _family(found: Found, name: str, words: str) -> Claim:
    """Networks of equal objective whose kernels differ: along which direction, and how far."""
    direction = found.theory.kernels[1] - found.theory.kernels[0]
    along = (found.sectors - found.theory.kernels[0]) @ direction / (direction @ direction)
    objective = found.trained.objective[0]
    return Claim.statement_true(
        f"{name}-family",
        f"{words} minima form a family, between an abstract kernel (0) and one of conjunctions (1); networks of the same objective lie within",
        bool(
            along.min() > -0.05
            and along.max() < 1.05
            and float(objective.max() - objective.min()) < RELATIVE * float(objective.mean())
        ),
        f"positions {', '.join(f'{v:.2f}' for v in np.sort(along))}; parallelism {found.parallelism.min():.2f} to {found.parallelism.max():.2f}, allowed "
        f"{found.theory.parallelism.min():.2f} to {found.theory.parallelism.max():.2f}; objectives differ by {(objective.max() - objective.min()) / objective.mean():.0e}",
        grade="derived",
    )


def _spectra(found: list[Found]) -> Figure:
    return figures.spectra(
        {
            each.case.label: figures.Spectrum(
                each.theory.kernels / each.theory.eigenvalue, each.sectors / each.sectors[:, 1:2]
            )
            for each in found
        }
    )
