"""The law of data separation (arXiv 2210.17020): equal loads in every layer, with and without batch normalization."""

import numpy as np
import xarray as xr

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Claim, Section, Settings
from hiddencodes.benchmarks.papers.section import describe_training
from hiddencodes.benchmarks.papers.spring_block import figures
from hiddencodes.benchmarks.papers.spring_block.networks import digits, mlp, separations, weights_of
from hiddencodes.drawing import array

CASES = {"batch normalization": (0.0, True), "none": (0.0, False), "linear": (1.0, True)}


def law(settings: Settings) -> Section:
    """The law of data separation, with and without batch normalization."""
    depth = settings.choose(full=9, quick=6)
    networks, epochs = settings.choose(full=5, quick=2), settings.choose(full=300, quick=40)
    data = digits(1000).task
    runs: dict[str, object] = {}
    curves: dict[str, np.ndarray] = {}
    for label, (slope, norm) in CASES.items():
        posterior = hc.Posterior(
            mlp(slope, depth=depth), data, prior=hc.GaussianPrior(readout_variance=1 / 3, hidden_variance=1 / 3, bias_variance=1e-6),
            likelihood="categorical", temperature=1.0,
        )  # fmt: skip
        run = settings.train(
            label, posterior, networks=networks, epochs=epochs, snapshots=1, batch_size=128, optimizer="adam", learning_rate=1e-3, schedule="cosine",
            weight_decay=5e-4, batch_norm="running" if norm else False, observables=(hc.separation, hc.train_accuracy),
        )  # fmt: skip
        runs[label] = {
            **describe_training(run),
            "accuracy": float(array(run, "posterior/train_accuracy")[0, :, -1].mean()),
        }
        curves[label] = _pseudo_inverse(posterior, run, norm)
    straight = {label: np.array([_pearson(c) for c in each]) for label, each in curves.items()}
    loads = {label: hc.load_curve(each.mean(0)) for label, each in curves.items()}
    panels = {
        label: [figures.Curve("networks", each.mean(0), each.std(0, ddof=1) / np.sqrt(networks)), figures.Curve("straight", np.linspace(each.mean(0)[0], each.mean(0)[-1], depth + 1))]
        for label, each in curves.items()
    }  # fmt: skip
    found = loads["batch normalization"]
    rho = float(np.exp(-found.loads.mean()))
    claims = [
        Claim.below("law", "With batch normalization every layer separates by nearly the same factor: Pearson's correlation of ln D and layer", -0.97, straight["batch normalization"].mean(), straight["batch normalization"].std(ddof=1) / np.sqrt(networks), grade="text", z=1.0, evidence=f"factor {rho:.2f} per layer"),
        Claim.above("law-every-layer", "and every layer lowers D: smallest load", 0.0, float(found.loads.min()), grade="text"),
        Claim.above("law-fails", "Without it the law fails: correlation above that with it", float(straight["batch normalization"].mean()), float(straight["none"].mean()), grade="text"),
        Claim.above("law-linear", "and it fails for linear networks: their factor per layer is nearer to 1", rho, float(np.exp(-loads["linear"].loads.mean())), grade="text"),
    ]  # fmt: skip
    return Section(
        title="The law of data separation",
        question="Do all layers separate classes by the same factor?",
        claims=tuple(claims),
        figures={"law": figures.load_curves(panels, y_label="ln Tr(S_w S_b+)")},
        captions={
            "law": f"The measure of He and Su by layer, in networks of {depth} hidden layers trained on 1000 digits; means and standard errors over {networks} networks."
        },
        settings={"runs": runs},
        notes=(
            "Learning rates fall along a cosine here, by tenths in the authors' script; every network has Adam at 0.001.",
        ),
    )


def _pseudo_inverse(posterior: hc.Posterior, run: xr.DataTree, norm: bool) -> np.ndarray:
    """ln D of He and Su (network, position)."""
    x, labels = np.asarray(posterior.task.x_train, float), posterior.task.labels_train
    inputs = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) if norm else x
    first = hc.feature_separation(inputs, labels, "pseudo-inverse")
    layers = separations(posterior.mlp, weights_of(run, 0), x, labels, "pseudo-inverse")
    return np.concatenate([np.full((len(layers), 1), first), layers], axis=1)


def _pearson(curve: np.ndarray) -> float:
    return float(np.corrcoef(np.arange(len(curve)), curve)[0, 1])
