"""What the panels of the phase diagram compare, on cells whose numbers are known."""

from pathlib import Path

import numpy as np
import pytest

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Settings
from hiddencodes.benchmarks.papers.spring_block import REPRODUCTION, published, pytorch
from hiddencodes.benchmarks.papers.spring_block.comparison import (
    Measured,
    accuracy_and_shape,
    against_published,
    counter_examples,
    moves_with_noise,
)
from hiddencodes.benchmarks.papers.spring_block.fits import fit_claims, fitted
from hiddencodes.benchmarks.papers.spring_block.networks import accuracy, digits, mlp
from hiddencodes.benchmarks.papers.spring_block.panels import _gathered

FULL = Settings(quick=False, folder=Path("nowhere"))


def as_published(panel, area_off=0.0, accuracy_off=0.0):
    """A panel whose parabolic load curves have the published areas, up to what is added."""
    area = panel.area + area_off
    position = np.arange(8)
    # u = straight line + 4 area' x (1 - x), whose mean above the line is 2/3 area' times 8/7 of 7 intervals.
    x = position / 7
    bump = x * (1 - x) / np.mean(x * (1 - x))
    curves = np.clip((1 - x) + area[..., None] * bump, 0.0, None)
    cell = hc.load_curve(3.0 * curves)
    small = np.full(area.shape, 0.001)
    return Measured(
        tuple(range(6)), tuple(range(8)), panel.noise, cell._replace(area=area), np.full((6, 8, 7), 0.01), small,
        panel.accuracy + accuracy_off, small, {},
    )  # fmt: skip


def verdicts(claims):
    return {claim.name: claim.verdict for claim in claims}


@pytest.mark.parametrize("panel", [published.DROPOUT, published.LEARNING_RATE], ids=["dropout", "rate"])
def test_the_published_cells_hold(panel):
    found = as_published(panel)
    assert set(
        verdicts(
            [*against_published(panel, found, FULL)[:3], *accuracy_and_shape(panel, found, FULL)]
        ).values()
    ) == {"holds"}


def test_cells_that_are_off_fail():
    panel = published.DROPOUT
    shifted = verdicts(against_published(panel, as_published(panel, area_off=0.05), FULL))
    assert (shifted["area"], shifted["accuracy"]) == ("fails", "holds")
    assert shifted["signs"] == "fails"  # -0.03 becomes 0.02, and what was straight is curved
    poor = verdicts(against_published(panel, as_published(panel, accuracy_off=-1.5), FULL))
    assert (poor["area"], poor["accuracy"]) == ("holds", "fails")
    # Cells whose networks scatter are compared with that scatter.
    scattered = as_published(panel, accuracy_off=-1.5)
    error = np.full((6, 8), 0.001)
    error[0, 0] = 0.5
    noisy = against_published(panel, scattered._replace(accuracy_error=error), FULL)
    assert verdicts(noisy)["accuracy-noisy"] == "holds"
    assert next(c for c in noisy if c.name == "accuracy-noisy").n_entries == 1


def test_what_the_abstract_says_holds_for_dropout_and_not_when_reversed():
    found = as_published(published.DROPOUT)
    assert set(verdicts(moves_with_noise(found, "dropout")).values()) == {"holds"}
    reversed_ = found._replace(curves=found.curves._replace(area=found.curves.area[:, ::-1]))
    assert verdicts(moves_with_noise(reversed_, "dropout"))["more-noise"] == "fails"


def test_counter_examples_are_in_the_published_panel():
    found = as_published(published.LEARNING_RATE)
    held = verdicts(counter_examples(found))
    assert held["straight-and-poor"] == held["linear-straight"] == held["linear-poor"] == "holds"
    bent = found.curves.area.copy()
    bent[5, 7] = -0.1
    curved = counter_examples(found._replace(curves=found.curves._replace(area=bent)))
    assert verdicts(curved)["linear-straight"] == "fails"
    assert held["drop"] == "fails"  # all synthetic curves drop alike


def test_panels_are_put_together_by_slope_and_noise():
    rng = np.random.default_rng(0)
    separation = np.sort(rng.normal(size=(2, 4, 3, 8)))[..., ::-1]
    accuracy = rng.uniform(80, 90, (2, 4, 3))
    found = _gathered(separation, accuracy, (0, 5), (0, 1, 2, 3), (0.3, 0.2, 0.1, 0.0), {})
    np.testing.assert_allclose(found.curves.separation[1, 2], separation[1, 2].mean(0))
    np.testing.assert_allclose(found.accuracy[0, 3], accuracy[0, 3].mean())
    np.testing.assert_allclose(found.accuracy_error[0, 3], accuracy[0, 3].std(ddof=1) / np.sqrt(3))
    loads = -np.diff(separation[0, 1], axis=-1)
    np.testing.assert_allclose(found.loads_error[0, 1], loads.std(0, ddof=1) / np.sqrt(3))
    assert found.names[:2] == ["slope 0, 0.3", "slope 0, 0.2"]


def test_chains_that_fit_are_reported_with_their_misfit():
    loads = np.stack([[hc.chain_profile(0.1, 0.07)[:7], hc.chain_profile(0.02, 0.3)[:7]]])
    fits = fitted(2.0 * loads, np.full(loads.shape, 0.01))
    assert fits["friction"].shape == (1, 2)
    assert fits["largest deviation"].max() < 1e-3
    held = {
        c.name: c.verdict
        for c in fit_claims([0.0, 1.0], {**fits, **{k: np.repeat(v, 2, 0) for k, v in fits.items()}})
    }
    assert held["chain-fits"] == "holds"
    off = {"largest deviation": np.array([[0.2, 0.0], [0.0, 0.3]]), "friction": np.array([[0.3], [0.1]])}
    assert {c.verdict for c in fit_claims([0.0, 1.0], off)} == {"fails"}


def test_digits_are_all_used_once():
    found = digits(1000)
    assert found.task.n_train == 1000
    assert len(found.x_test) == 9000
    np.testing.assert_allclose(found.task.class_counts, [100, 113, 99, 103, 98, 86, 102, 107, 94, 98], atol=1)
    together = np.concatenate([found.task.x_train, found.x_test])
    assert len(np.unique(together.round(12), axis=0)) > 9990  # few small images are alike


def test_accuracy_is_a_percentage_of_networks():
    network = mlp(0.0, depth=1, width=4)
    weights = {
        "hidden_1": {"kernel": np.zeros((2, 100, 4)), "bias": np.ones((2, 4))},
        "readout": {"kernel": np.stack([np.eye(4, 10), np.zeros((4, 10))])},
    }
    labels = np.array([0, 1, 0, 5])
    np.testing.assert_allclose(accuracy(network, weights, np.zeros((4, 100)), labels), [50.0, 50.0])


def test_the_catalogue_has_it():
    assert len(REPRODUCTION.sections) == 8


@pytest.mark.parametrize("cells", [pytorch.LEARNING_RATE, pytorch.BATCH_SIZE], ids=["rate", "batches"])
def test_cells_of_another_library_are_found_by_their_noise(cells):
    panel = published.LEARNING_RATE
    found = as_published(panel)
    noise = tuple(cells.noise)[::-1] + tuple(x for x in panel.noise if x not in cells.noise)
    noise = noise[: len(panel.noise)]
    area, accuracy = found.curves.area.copy(), found.accuracy.copy()
    for k, x in enumerate(cells.noise):
        area[:, noise.index(x)] = cells.values[:, k, 0]
        accuracy[:, noise.index(x)] = cells.values[:, k, 2]
    same = found._replace(noise=noise, curves=found.curves._replace(area=area), accuracy=accuracy)
    assert verdicts(pytorch.claims(cells, same)) == {"pytorch-area": "holds", "pytorch-accuracy": "holds"}
    area[3, noise.index(cells.noise[0])] += 0.1
    off = pytorch.claims(cells, same)
    assert verdicts(off) == {"pytorch-area": "fails", "pytorch-accuracy": "holds"}
    assert off[0].entry == f"slope 0.6, {cells.noise[0]:g}"
