"""The phase diagram of trained networks: four kinds of noise against the slope of the leaky ReLU."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Claim, Section, Settings
from hiddencodes.benchmarks.papers.spring_block import figures, published, pytorch
from hiddencodes.benchmarks.papers.spring_block.comparison import (
    Measured,
    accuracy_and_shape,
    against_published,
    counter_examples,
    moves_with_noise,
    signs,
)
from hiddencodes.benchmarks.papers.spring_block.fits import fit_claims, fitted
from hiddencodes.benchmarks.papers.spring_block.networks import Cell, digits, standard_error, train
from hiddencodes.benchmarks.papers.spring_block.published import SLOPES


def dropout(settings: Settings) -> Section:
    """Phase diagram with dropout, and the chains that fit its load curves."""
    panel = published.DROPOUT
    found = _measure(settings, panel.noise, lambda slope, p: Cell(slope, dropout=p), epochs=100)
    fits = fitted(found.curves.loads, found.loads_error)
    claims = [*against_published(panel, found, settings), *accuracy_and_shape(panel, found, settings)]
    claims += fit_claims([SLOPES[i] for i in found.slopes], fits)
    return _section(
        "Dropout", "Which layers separate classes, by slope and dropout?", found, claims, fits=fits
    )


def learning_rate(settings: Settings) -> Section:
    """Phase diagram with the learning rate."""
    panel = published.LEARNING_RATE
    found = _measure(
        settings, panel.noise, lambda slope, rate: Cell(slope, learning_rate=rate), epochs=200, few=(3, 7)
    )
    claims = [*against_published(panel, found, settings), *accuracy_and_shape(panel, found, settings)]
    if not settings.quick:
        claims += [*counter_examples(found), *pytorch.claims(pytorch.LEARNING_RATE, found)]
    return _section(
        "Learning rate", "Which layers separate classes, by slope and learning rate?", found, claims
    )


def data_noise(settings: Settings) -> Section:
    """Phase diagram with noise on labels and inputs."""
    panel = published.DATA_NOISE
    found = _measure(
        settings, panel.noise, lambda slope, q: Cell(slope, data_noise=q), epochs=100, networks=settings.choose(full=6, quick=2)
    )  # fmt: skip
    _, area = found.of(panel)
    # Its last column is not that of the dropout panel, which it should be: fewer digits were used than the script says.
    noisy = np.asarray(found.noise) > 0.0
    claims = [signs(area[:, noisy], found.curves.area[:, noisy], "beside noise")]
    if not settings.quick:
        claims += _fewer_digits(settings, found)
    claims += moves_with_noise(found, "noise")
    return _section(
        "Noise on the data", "Which layers separate classes, by slope and noise on labels and inputs?", found, claims,
        notes=("Settings are those of the script, with 2560 digits; areas and accuracies of the figure are not compared, since it used fewer.",),
    )  # fmt: skip


def _fewer_digits(settings: Settings, found: Measured) -> list[Claim]:
    """The column without noise, trained on fewer digits than the script says."""
    panel, rows = published.DATA_NOISE, [0, 2, 5]
    small = train(settings, "fewer digits", [Cell(SLOPES[i]) for i in rows], networks=6, epochs=100, n_train=1000)  # fmt: skip
    found.runs["fewer digits"] = small.description
    return [
        Claim.agrees(
            "fewer-digits", "Without noise, areas of the figure are those of networks trained on 1000 digits, not on 2560",
            panel.area[rows, -1], small.curves.area, small.area_error, grade="text", extra=0.03, extra_reason="other digits",
        ),
        Claim.agrees(
            "fewer-digits-accuracy", "and so are accuracies (%)", panel.accuracy[rows, -1], small.percent, small.percent_error, grade="text",
            extra=1.5, extra_reason="other digits",
        ),
    ]  # fmt: skip


def batch_size(settings: Settings) -> Section:
    """Phase diagram with the size of batches."""
    sizes = settings.choose(full=published.BATCH_SIZES, quick=published.BATCH_SIZES[4::3])
    slopes = _rows(settings)
    # Even numbers: both halves of the networks have a device of their own where there are two.
    networks = settings.choose(full=4, quick=2)
    each = [
        train(settings, f"batches of {size}", [Cell(SLOPES[i]) for i in slopes], networks=networks, epochs=100, batch_size=size)
        for size in sizes
    ]  # fmt: skip
    columns = tuple(published.BATCH_SIZES.index(size) for size in sizes)
    runs: dict[str, object] = {
        f"batches of {size}": t.description for size, t in zip(sizes, each, strict=True)
    }
    separation, accuracy = (
        np.stack(values, axis=1) for values in zip(*((t.separation, t.accuracy) for t in each), strict=True)
    )
    found = _gathered(separation, accuracy, slopes, columns, tuple(float(s) for s in sizes), runs)
    claims = moves_with_noise(found, "small batches")
    if not settings.quick:
        claims += pytorch.claims(pytorch.BATCH_SIZE, found)
    return _section(
        "Batch size", "Which layers separate classes, by slope and size of batches?", found, claims,
        notes=("The numbers of this panel are not known here; the claims are those of the abstract.",),
    )  # fmt: skip


def _rows(settings: Settings) -> tuple[int, ...]:
    return settings.choose(full=tuple(range(len(SLOPES))), quick=(0, 5))


def _measure(
    settings: Settings,
    noise: Sequence[float],
    make: Callable[[float, float], Cell],
    *,
    epochs: int,
    networks: int | None = None,
    few: tuple[int, ...] = (1, 7),
) -> Measured:
    """A panel in one program; the small version has the columns ``few``."""
    slopes = _rows(settings)
    columns = settings.choose(full=tuple(range(len(noise))), quick=few)
    cells = [make(SLOPES[i], noise[j]) for i in slopes for j in columns]
    many = networks or settings.choose(full=10, quick=2)
    found = train(settings, "cells", cells, networks=many, epochs=epochs)
    shape = (len(slopes), len(columns), many)
    separation = found.separation.reshape(*shape, -1)
    return _gathered(separation, found.accuracy.reshape(shape), slopes, columns, tuple(noise[j] for j in columns), {"cells": found.description})  # fmt: skip


def _gathered(
    separation: Float[np.ndarray, "slope noise network position"], accuracy: Float[np.ndarray, "slope noise network"],
    slopes: tuple[int, ...], columns: tuple[int, ...], noise: tuple[float, ...], runs: dict[str, object],
) -> Measured:  # fmt: skip
    loads = -np.diff(separation, axis=-1)
    return Measured(
        slopes, columns, noise, hc.load_curve(separation.mean(2)), standard_error(np.moveaxis(loads, 2, -1)),
        standard_error(hc.load_curve(separation).area), accuracy.mean(2), standard_error(accuracy), runs,
    )  # fmt: skip


def _section(
    title: str,
    question: str,
    found: Measured,
    claims: Sequence[Claim],
    *,
    fits: Mapping[str, np.ndarray] | None = None,
    notes: tuple[str, ...] = (),
) -> Section:
    drop = found.curves.total_drop
    diagram = figures.phase_diagram(
        found.curves.separation, found.accuracy, rows=[f"{SLOPES[i]:g}" for i in found.slopes], columns=[f"{x:g}" for x in found.noise],
        row_label="slope of the leaky ReLU", column_label=title.lower(), shade_label="test accuracy (%)",
    )  # fmt: skip
    table = {
        name: f"accuracy {a:.1f} %, area {area:+.3f}, drop {d:.2f}"
        for name, a, area, d in zip(
            found.names, found.accuracy.ravel(), found.curves.area.ravel(), drop.ravel(), strict=True
        )
    }
    chains = {} if fits is None else {"chains that fit": fits}
    return Section(
        title=title,
        question=question,
        claims=tuple(claims),
        figures={"phases": diagram},
        captions={
            "phases": "Load curves of networks with 7 hidden layers of 100 units and batch normalization, means over networks, scaled to their cells; thin lines are straight. "
            "Background: accuracy on digits that were not trained on."
        },
        settings={"runs": found.runs, "cells": table, **chains},
        notes=(f"{len(digits().labels_test)} digits to test on.", *notes),
    )
