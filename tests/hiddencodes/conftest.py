"""Runs made up of known codes, in the layout that `sample` writes: no chain is run."""

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

CLASSES = ("0", "1", "2")
FRACTIONS = (0.5, 0.25, 0.25)
CODES = np.array([[0.2, 0.94, 0.94], [0.9, 0.1, 0.93], [0.9, 0.93, 0.1], [0.81, 0.9, 0.9]])
CODE_FRACTIONS = (0.316, 0.307, 0.307, 0.07)
READOUTS = np.array([[-0.33, 1.61, 1.61], [1.73, -0.33, 1.57], [1.73, 1.57, -0.33], [1.17, 1.35, 1.35]])


@pytest.fixture(scope="session")
def make_run() -> Callable[..., xr.DataTree]:
    """The function that makes up runs."""
    return synthetic_run


def synthetic_run(
    kind: str = "sigmoidal",
    *,
    n_seeds: int = 2,
    n_chains: int = 4,
    n_draws: int = 60,
    n_train: int = 40,
    width: int = 60,
    n_test: int = 12,
    depth: int = 1,
    rng_seed: int = 0,
    class_names: tuple[str, ...] = CLASSES,
) -> xr.DataTree:
    """A made-up run; ``kind`` is ``"sigmoidal"``, ``"relu"``, ``"linear"`` or ``"lazy"``."""
    rng = np.random.default_rng(rng_seed)
    counts = np.array([n_train - 2 * (n_train // 4), n_train // 4, n_train // 4])
    labels = np.repeat(np.arange(3), counts)
    test_labels = np.arange(n_test) % 3
    lead = (n_seeds, n_chains, n_draws)
    activity = np.empty((n_seeds, n_chains, depth, width, n_train))
    readout = np.empty((*lead, 3, width))
    means = np.empty((*lead, depth, 3, width))
    for s in range(n_seeds):
        for c in range(n_chains):
            phi, a = _units(kind, rng, labels, width)
            activity[s, c] = phi
            class_means = np.stack([phi[:, labels == k].mean(1) for k in range(3)])
            readout[s, c] = a.T + 0.06 * rng.normal(size=(n_draws, 3, width))
            drift = 0.02 if kind != "lazy" else 0.3
            means[s, c] = class_means + drift * rng.normal(size=(n_draws, depth, 3, width))
    y = 0.5 + 0.5 * np.eye(3)[labels]
    kernel = np.einsum("sclim,sclin->sclmn", activity, activity) / width
    same = (labels[:, None] == np.arange(3)) * 1.0
    off = ~np.eye(n_train, dtype=bool)
    pairs = same.T @ (off * 1.0) @ same
    blocks = same.T @ (kernel * off) @ same / pairs
    diagonal = np.diagonal(kernel, axis1=-2, axis2=-1) @ (same / counts)

    def draws(mean: np.ndarray, scale: float) -> np.ndarray:
        noise = rng.normal(size=(*lead, *mean.shape[2:]))
        for t in range(1, n_draws):  # an autoregressive chain with coefficient 1/2
            noise[:, :, t] = 0.5 * noise[:, :, t - 1] + math.sqrt(0.75) * noise[:, :, t]
        return mean[:, :, None] + scale * noise

    def fixed(value: np.ndarray) -> np.ndarray:
        return np.broadcast_to(value, (n_seeds, n_chains, *np.shape(value)))

    multiplier = np.where(np.eye(3)[labels] > 0, 5.0, -1.2)
    posterior = {
        "kernel_blocks": (("layer", "class", "class_2"), draws(blocks, 0.004)),
        "kernel_diagonal": (("layer", "class"), draws(diagonal, 0.004)),
        "train_loss": ((), draws(fixed(np.array(0.02)), 0.003)),
        "residual_multiplier": (("pattern", "output"), draws(fixed(multiplier), 0.3)),
        "test_predictions": (
            ("test_pattern", "output"),
            draws(fixed(0.5 + 0.4 * np.eye(3)[test_labels]), 0.1),
        ),
        "log_density": ((), draws(fixed(np.array(-1200.0)), 20.0)),
        "readout_overlap": (
            ("output", "output_2"),
            np.einsum("scdri,scdqi->scdrq", readout, readout) / width,
        ),
    }
    if not n_test:
        del posterior["test_predictions"]
    units = {"class_means": (("layer", "class", "unit"), means), "readout": (("output", "unit"), readout)}
    stats = {
        "acceptance_rate": np.clip(0.8 + 0.1 * rng.normal(size=lead), 0, 1),
        "diverging": np.zeros(lead, bool),
        "finite": np.ones(lead, bool),
        "energy": draws(fixed(np.array(1200.0)), 20.0),
        "n_steps": np.full(lead, 20),
    }
    prior_kernel = np.where(off, 0.25 + 0.02 * (labels[:, None] == labels), 0.35)
    if kind in ("linear", "relu"):
        prior_kernel = np.where(off, 0.15 * (labels[:, None] == labels) + (kind == "relu") * 0.16, 1.0)
    prior_blocks = np.full((n_seeds, depth, 3, 3), 0.004) + 0.01 * np.eye(3)
    constant = {
        "x_train": (("seed", "pattern", "input"), rng.normal(size=(n_seeds, n_train, 9))),
        "labels_train": (("seed", "pattern"), np.tile(labels, (n_seeds, 1))),
        "x_test": (("seed", "test_pattern", "input"), rng.normal(size=(n_seeds, n_test, 9))),
        "labels_test": (("seed", "test_pattern"), np.tile(test_labels, (n_seeds, 1))),
        "superchain": (("chain",), np.arange(n_chains)),
        "prior_kernel": (
            ("seed", "layer", "pattern", "pattern_2"),
            np.broadcast_to(prior_kernel, (n_seeds, depth, n_train, n_train)),
        ),
        "prior_class_mean": (
            ("seed", "layer", "class"),
            np.full((n_seeds, depth, 3), {"linear": 0.0, "relu": 0.4}.get(kind, 0.5)),
        ),
        "prior_class_covariance": (("seed", "layer", "class", "class_2"), prior_blocks),
        "prior_variance": (("seed", "layer", "class"), np.full((n_seeds, depth, 3), 0.1)),
    }
    observed = {
        "y_train": (("seed", "pattern", "output"), np.tile(y, (n_seeds, 1, 1))),
        "y_test": (
            ("seed", "test_pattern", "output"),
            np.tile(0.5 + 0.5 * np.eye(3)[test_labels], (n_seeds, 1, 1)),
        ),
    }
    sizes = {"seed": n_seeds, "chain": n_chains, "draw": n_draws, "unit": width, "output": 3, "output_2": 3}
    coords = {name: np.arange(n) for name, n in sizes.items()}
    names = np.asarray(class_names, dtype=object)
    coords |= {"class": names, "class_2": names, "layer": np.arange(1, depth + 1)}

    def dataset(variables: dict[str, tuple[tuple[str, ...], np.ndarray]]) -> xr.Dataset:
        data = xr.Dataset(variables)
        return data.assign_coords({k: v for k, v in coords.items() if k in data.dims})

    sampled = ("seed", "chain", "draw")
    run = xr.DataTree.from_dict(
        {
            "posterior": dataset({k: ((*sampled, *d), v) for k, (d, v) in posterior.items()}),
            "units": dataset({k: ((*sampled, *d), v) for k, (d, v) in units.items()}),
            "final": dataset({"activations": (("seed", "chain", "layer", "unit", "pattern"), activity)}),
            "sample_stats": dataset({k: (sampled, v) for k, v in stats.items()}).assign(
                step_size=("seed", np.full(n_seeds, 0.04))
            ),
            "constant_data": dataset(constant),
            "observed_data": dataset(observed),
        }
    )
    run.attrs = attributes(kind, width=width, depth=depth, n_train=n_train, n_seeds=n_seeds)
    return run


def attributes(
    kind: str, *, width: int, depth: int, n_train: int, n_seeds: int
) -> dict[str, str | float | int]:
    """The root attributes of a made-up run."""
    model = {
        "n_inputs": 9,
        "n_outputs": 3,
        "width": width,
        "depth": depth,
        "activation": {"lazy": "sigmoidal"}.get(kind, kind),
        "parameterization": "ntk" if kind == "lazy" else "mean_field",
        "bias": False,
    }
    return {
        "hiddencodes_version": "0.1.0",
        "created": "2001-02-03T04:05:06+00:00",
        "model": json.dumps(model),
        "likelihood": "gaussian",
        "temperature": 0.01 / width,
        "n_temperature": 0.01,
        "readout_variance": 1.0 if kind == "lazy" else 1 / n_train,
        "hidden_variance": 1.0,
        "sampler": json.dumps({"name": "hmc", "target_acceptance": 0.8, "max_steps": 256}),
        "precision": "float64",
        "warmup": 100,
        "thin": 1,
        "key": 0,
        "provenance": json.dumps([json.dumps({"generator": "synthetic", "seed": s}) for s in range(n_seeds)]),
        "initialization": "prior draws, temperature annealed from 1 to 0.0001",
        "timings": json.dumps({"compile_seconds": 2.0, "warmup_seconds": 3.0, "sampling_seconds": 4.0}),
        "versions": json.dumps({"jax": "0.0", "numpy": "0.0"}),
    }


def _units(
    kind: str, rng: np.random.Generator, labels: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Activations (unit, pattern) and readouts (unit, output) of one network."""
    n = len(labels)
    if kind == "sigmoidal":
        which = rng.permutation(np.repeat(np.arange(4), _counts(width)))
        phi = CODES[which][:, labels] + 0.05 * rng.normal(size=(width, n))
        return np.clip(phi, 0.0, 1.0), READOUTS[which] + 0.06 * rng.normal(size=(width, 3))
    if kind == "relu":
        phi = np.maximum(0.4 + 0.7 * rng.normal(size=(width, n)), 0.0)
        a = np.array([0.13, -0.06, -0.06]) + 0.1 * rng.normal(size=(width, 3))
        for i, c in enumerate((0, 1, 2)):
            root = math.sqrt(width)
            phi[i] = root * 1.4 * (labels == c) * (1 + 0.03 * rng.normal(size=n))
            a[i] = root * np.where(np.arange(3) == c, 0.7, -0.35)
        return phi, a
    if kind == "linear":
        a = rng.normal(size=(width, 3))
        return (a @ (0.9 * np.eye(3) - 0.45))[:, labels] + 0.6 * rng.normal(size=(width, n)), a
    z = rng.normal(size=(width, n)) + 0.35 * rng.normal(size=(width, 3))[:, labels]
    return 0.5 * (1 + np.vectorize(math.erf)(math.sqrt(math.pi) * z / 2)), rng.normal(size=(width, 3))


def _counts(width: int) -> np.ndarray:
    counts = np.floor(np.array(CODE_FRACTIONS) * width).astype(int)
    counts[0] += width - counts.sum()
    return counts
