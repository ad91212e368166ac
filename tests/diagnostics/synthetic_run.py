"""Runs in the layout of the sampling room, made of independent or AR(1) draws."""

import json

import numpy as np
import xarray as xr
from layouts import Prior

LEADING = ("seed", "chain", "draw")
OBSERVABLES: dict[str, tuple[str, ...]] = {
    "kernel_blocks": ("layer", "class", "class_2"),
    "kernel_diagonal": ("layer", "class"),
    "train_loss": (),
    "residual_multiplier": ("pattern", "output"),
    "test_predictions": ("test_pattern", "output"),
    "log_density": (),
    "readout_overlap": ("output", "output_2"),
}


def autoregressive(rng, shape: tuple[int, ...], correlation: float) -> np.ndarray:
    """Stationary AR(1) series of unit variance along axis 2."""
    noise = rng.standard_normal(shape)
    x = noise.copy()
    for t in range(1, shape[2]):
        x[:, :, t] = correlation * x[:, :, t - 1] + np.sqrt(1 - correlation**2) * noise[:, :, t]
    return x


def synthetic_run(
    *,
    seeds: int = 1,
    chains: int = 4,
    draws: int = 1000,
    layers: int = 1,
    classes: int = 2,
    patterns: int = 6,
    test_patterns: int = 3,
    correlation: float = 0.0,
    superchain: list[int] | None = None,
    rng_seed: int = 0,
    **attrs: object,
) -> xr.DataTree:
    """Observables that are standard normal, well-behaved sampler statistics; no `units` group."""
    rng = np.random.default_rng(rng_seed)
    sizes = {
        "layer": layers,
        "class": classes,
        "class_2": classes,
        "pattern": patterns,
        "test_pattern": test_patterns,
        "output": 2,
        "output_2": 2,
    }
    leading = (seeds, chains, draws)
    posterior = {
        name: (LEADING + dims, autoregressive(rng, leading + tuple(sizes[d] for d in dims), correlation))
        for name, dims in OBSERVABLES.items()
    }
    coords = {
        "seed": np.arange(seeds),
        "chain": np.arange(chains),
        "draw": np.arange(draws),
        "layer": np.arange(1, layers + 1),
        "class": [f"c{k}" for k in range(classes)],
    }
    stats = {
        "acceptance_rate": (LEADING, np.full(leading, 0.8)),
        "diverging": (LEADING, np.zeros(leading, bool)),
        "finite": (LEADING, np.ones(leading, bool)),
        "energy": (LEADING, rng.standard_normal(leading)),
        "n_steps": (LEADING, np.full(leading, 20)),
        "step_size": (("seed",), np.full(seeds, 0.1)),
    }
    constant = {"superchain": (("chain",), np.arange(chains) if superchain is None else np.array(superchain))}
    groups = {
        "/": xr.Dataset(attrs={"initialization": "prior draws", "thin": 1, **attrs}),
        "/posterior": xr.Dataset(posterior, coords),
        "/sample_stats": xr.Dataset(stats, {k: coords[k] for k in LEADING}),
        "/constant_data": xr.Dataset(constant, {"chain": coords["chain"]}),
    }
    return xr.DataTree.from_dict(groups)


def replace(run: xr.DataTree, group: str, name: str, values: np.ndarray) -> xr.DataTree:
    """The run with the values of one variable exchanged."""
    groups = {path: node.to_dataset() for path, node in run.subtree_with_keys}
    data = groups[group]
    groups[group] = data.assign({name: (data[name].dims, values)})
    return xr.DataTree.from_dict(groups)


def run_of_units(
    means: np.ndarray,
    priors: list[Prior],
    *,
    activation: str,
    finite: np.ndarray | None = None,
    thin: int = 1,
) -> xr.DataTree:
    """A run from class means (seed, chain, draw, layer, unit, class); `priors` has one entry per layer."""
    seeds, chains, draws, layers, units, classes = means.shape
    counts = np.round(priors[0].fractions * 60).astype(int)
    labels = np.repeat(np.arange(classes), counts)

    def constants(name: str) -> np.ndarray:
        return np.stack([np.stack([getattr(p, name) for p in priors])] * seeds)

    coords = {
        "seed": np.arange(seeds),
        "class": [f"c{k}" for k in range(classes)],
        "layer": np.arange(1, layers + 1),
    }
    stats = np.ones((seeds, chains, draws), bool) if finite is None else finite
    groups = {
        "/": xr.Dataset(attrs={"thin": thin, "model": json.dumps({"activation": activation})}),
        "/posterior": xr.Dataset(
            {"train_loss": (LEADING, np.ones((seeds, chains, draws)))}, {"seed": coords["seed"]}
        ),
        "/units": xr.Dataset(
            {"class_means": ((*LEADING, "layer", "class", "unit"), np.swapaxes(means, -1, -2))},
            {**coords, "unit": np.arange(units)},
        ),
        "/sample_stats": xr.Dataset({"finite": (LEADING, stats)}),
        "/constant_data": xr.Dataset(
            {
                "labels_train": (("seed", "pattern"), np.tile(labels, (seeds, 1))),
                "prior_class_mean": (("seed", "layer", "class"), constants("mean")),
                "prior_class_covariance": (("seed", "layer", "class", "class_2"), constants("covariance")),
                "prior_variance": (("seed", "layer", "class"), constants("variance")),
            },
            coords,
        ),
    }
    return xr.DataTree.from_dict(groups)
