"""The law of data separation (arXiv 2210.17020): equal loads in every layer, with and without batch normalization."""

import numpy as np
import xarray as xr

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Claim, Section, Settings, drawing
from hiddencodes.benchmarks.papers.section import describe_training
from hiddencodes.benchmarks.papers.spring_block import figures
from hiddencodes.benchmarks.papers.spring_block.networks import (
    WIDTH,
    digits,
    mlp,
    separations,
    standard_error,
    weights_of,
)
from hiddencodes.drawing import array

LAW, HE, PLAIN, LINEAR = "batch normalization", "none, weights of He", "none, weights of PyTorch", "linear"
CASES = {LAW: (0.0, True), HE: (0.0, False), PLAIN: (0.0, False), LINEAR: (1.0, True)}
# PyTorch's uniform weights and biases have these variances times 1/fan-in; without normalization signals have to survive the layers.
_VARIANCE, _HE = 1.0 / 3.0, 2.0


def law(settings: Settings) -> Section:
    """The law of data separation, with and without batch normalization."""
    depth = 6
    networks, epochs = settings.choose(full=8, quick=4), settings.choose(full=300, quick=30)
    data = digits(1000).task
    runs: dict[str, object] = {}
    curves: dict[str, np.ndarray] = {}
    learned: dict[str, float] = {}
    for label, (slope, norm) in CASES.items():
        if settings.quick and label == HE:
            continue  # 30 epochs do not tell
        # PyTorch's biases are as large as its weights.
        prior = hc.GaussianPrior(
            readout_variance=_VARIANCE, hidden_variance=_HE if label == HE else _VARIANCE, bias_variance=_VARIANCE / WIDTH if label == PLAIN else 1e-6
        )  # fmt: skip
        posterior = hc.Posterior(
            mlp(slope, depth=depth), data, prior=prior, likelihood="categorical", temperature=1.0
        )
        run = settings.train(
            label, posterior, networks=networks, epochs=epochs, snapshots=1, batch_size=128, optimizer="adam", learning_rate=1e-3, schedule="cosine",
            weight_decay=5e-4, batch_norm="running" if norm else False, observables=(hc.separation, hc.train_accuracy),
        )  # fmt: skip
        learned[label] = float(array(run, "posterior/train_accuracy")[0, :, -1].min())
        runs[label] = {**describe_training(run), "least accuracy": learned[label]}
        curves[label] = _pseudo_inverse(posterior, run, norm)
    panels = {label: _beside_straight(each) for label, each in curves.items()}
    return Section(
        title="The law of data separation",
        question="Do all layers separate classes by the same factor?",
        claims=tuple(_claims(curves, learned, quick=settings.quick)),
        figures={"law": drawing.curve_panels(panels, x_label="layer", y_label="ln Tr(S_w S_b+)")},
        captions={
            "law": f"The measure of He and Su by layer, in networks of {depth} hidden layers trained on 1000 digits; means and standard errors over {networks} networks."
        },
        settings={"runs": runs},
        notes=(
            "D of the inputs is that of standardized ones, with normalization, and of the digits themselves, without; gains of inputs, which are trained, are not in it.",
            "Learning rates fall along a cosine here, by tenths in the authors' script; every network has Adam at 0.001, and six hidden layers.",
            "Nine layers without normalization and with PyTorch's weights learned nothing here.",
            "The authors report that the law fails without batch normalization, for PyTorch's weights. With He's, which keep the size of signals, it fails as well.",
        ),
    )


def _beside_straight(curves: np.ndarray) -> list[drawing.CurveRow]:
    mean = np.asarray(curves.mean(0), float)
    line = np.linspace(float(mean[0]), float(mean[-1]), len(mean))
    return [figures.measured("networks", mean, standard_error(curves.T)), figures.predicted("straight", line)]


def _claims(curves: dict[str, np.ndarray], learned: dict[str, float], *, quick: bool) -> list[Claim]:
    straight = {label: np.array([_pearson(c) for c in each]) for label, each in curves.items()}
    error = {label: float(standard_error(r)) for label, r in straight.items()}
    loads = {label: hc.load_curve(each).loads for label, each in curves.items()}

    def worse(label: str) -> tuple[float, float]:
        """By how much a case is less straight than with normalization, and the error of that."""
        return float(straight[label].mean() - straight[LAW].mean()), float(np.hypot(error[label], error[LAW]))

    smallest = {label: int(np.argmin(each.mean(0))) for label, each in loads.items()}
    of_smallest = {
        label: (float(each.mean(0)[smallest[label]]), float(standard_error(each[:, smallest[label]])))
        for label, each in loads.items()
    }
    claims = [
        Claim.above("learned", "Networks of which the law is asked have learned their digits: least accuracy of a network, with normalization or He's weights", 0.95, min(learned[label] for label in (LAW, HE) if label in learned), grade="new", evidence="; ".join(f"{label}: {value:.3f}" for label, value in learned.items())),
        Claim.below("law", "With batch normalization every layer separates by nearly the same factor: Pearson's correlation of ln D and layer", -0.95, float(straight[LAW].mean()), error[LAW], grade="text", evidence=f"factor {float(np.exp(-loads[LAW].mean())):.2f} per layer"),
        Claim.above("law-fails", "Without it, with PyTorch's weights, the law fails: the correlation is larger by more than 0.1", 0.1, *worse(PLAIN), grade="text"),
        Claim.below("law-linear-stops", "In linear networks some layers separate no further: smallest load", 0.05, *of_smallest[LINEAR], grade="text"),
    ]  # fmt: skip
    if quick:
        return claims
    drops = {label: each.sum(-1) for label, each in loads.items()}
    share = float(drops[HE].mean() / drops[LAW].mean())
    ratio = (
        share,
        float(np.hypot(standard_error(drops[HE]), share * standard_error(drops[LAW])) / drops[LAW].mean()),
    )
    return [
        *claims,
        Claim.above("law-every-layer", "With normalization every layer lowers D: smallest load", 0.0, *of_smallest[LAW], grade="text"),
        Claim.below("law-he", "It fails with weights of He's size, too, though networks learn all digits: ln D falls by less than half as much as with normalization", 0.5, *ratio, grade="new"),
        Claim.above("law-linear", "It fails for linear networks: the correlation is larger by more than 0.1", 0.1, *worse(LINEAR), grade="text"),
    ]  # fmt: skip


def _pseudo_inverse(posterior: hc.Posterior, run: xr.DataTree, norm: bool) -> np.ndarray:
    """ln D of He and Su (network, position)."""
    x, labels = np.asarray(posterior.task.x_train, float), posterior.task.labels_train
    inputs = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) if norm else x
    first = hc.feature_separation(inputs, labels, "pseudo-inverse")
    layers = separations(posterior.mlp, weights_of(run, 0), x, labels, "pseudo-inverse")
    return np.concatenate([np.full((len(layers), 1), first), layers], axis=1)


def _pearson(curve: np.ndarray) -> float:
    return float(np.corrcoef(np.arange(len(curve)), curve)[0, 1])
