"""The run as an `xarray.DataTree`: what is constant, what every segment adds, and how both go to zarr."""

import datetime
import importlib.metadata
import json
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hiddencodes.models import Posterior, class_mean_prior, nngp_kernels
from hiddencodes.sampling.observables import Observable
from hiddencodes.sampling.run_chains import Moved, Plan, Segment
from hiddencodes.sampling.sampler import Sampler

SAMPLE_DIMS = ("seed", "chain", "draw")


def constants(posteriors: Sequence[Posterior], plan: Plan) -> dict[str, xr.Dataset]:
    """Data, targets and what the prior says about the hidden layers, per seed."""
    tasks = [p.task for p in posteriors]

    def stack(values: Sequence[Any], *dims: str) -> tuple[tuple[str, ...], np.ndarray]:
        return ("seed", *dims), np.stack([np.asarray(v) for v in values])

    kernels, priors = [], []
    for p in posteriors:
        bias_variance = p.prior.bias_variance if p.mlp.bias else 0.0
        k_input = p.task.input_kernel()
        try:
            k = nngp_kernels(
                p.mlp.activation,
                k_input,
                p.mlp.depth,
                weight_variance=p.prior.hidden_variance,
                bias_variance=bias_variance,
            )
        except ValueError as error:
            scale = np.mean(np.diag(k_input))
            raise ValueError(
                f"posterior: the prior kernel cannot be computed at a mean diagonal of K0 of {scale:.3g}; scale the task's "
                f"inputs so that it is of order one ({error})"
            ) from error
        kernels.append(k.postactivation)
        priors.append(class_mean_prior(k, p.task.labels_train, p.task.n_classes))
    coords = coordinates(posteriors[0], plan)
    constant = xr.Dataset(
        {
            "x_train": stack([t.x_train for t in tasks], "pattern", "input"),
            "labels_train": stack([t.labels_train for t in tasks], "pattern"),
            "x_test": stack([t.x_test for t in tasks], "test_pattern", "input"),
            "labels_test": stack([t.labels_test for t in tasks], "test_pattern"),
            "superchain": (("chain",), plan.superchain),
            "prior_kernel": stack(kernels, "layer", "pattern", "pattern_2"),
            "prior_class_mean": stack([p.mean for p in priors], "layer", "class"),
            "prior_class_covariance": stack([p.covariance for p in priors], "layer", "class", "class_2"),
            "prior_variance": stack([p.variance for p in priors], "layer", "class"),
        }
    )
    observed = xr.Dataset(
        {
            "y_train": stack([t.y_train for t in tasks], "pattern", "output"),
            "y_test": stack([t.y_test for t in tasks], "test_pattern", "output"),
        }
    )
    return {"constant_data": _with_coords(constant, coords), "observed_data": _with_coords(observed, coords)}


def coordinates(posterior: Posterior, plan: Plan) -> dict[str, Any]:
    """Labels of every axis."""
    mlp, task = posterior.mlp, posterior.task
    classes = np.asarray(task.class_names, dtype=object)
    return {
        "seed": plan.seeds,
        "chain": np.arange(plan.chains),
        "layer": np.arange(1, mlp.depth + 1),
        "class": classes,
        "class_2": classes,
        "unit": np.arange(mlp.width),
        "output": np.arange(mlp.n_outputs),
        "output_2": np.arange(mlp.n_outputs),
        "pattern": np.arange(task.n_train),
        "pattern_2": np.arange(task.n_train),
        "test_pattern": np.arange(task.n_test),
        "input": np.arange(task.n_inputs),
    }


def _with_coords(dataset: xr.Dataset, coords: dict[str, Any]) -> xr.Dataset:
    return dataset.assign_coords({str(name): coords[str(name)] for name in dataset.dims if name in coords})


def segment_datasets(
    segment: Segment,
    observables: Sequence[Observable],
    sampler: Sampler,
    plan: Plan,
    coords: dict[str, Any],
    *,
    swept: bool = False,
) -> dict[str, xr.Dataset]:
    """The groups ``posterior``, ``units`` and ``sample_stats`` of one segment; ``swept`` if moves change states as well."""
    n = len(next(iter(segment.stats.values())))
    coords = {**coords, "draw": np.arange(segment.first, segment.first + n)}

    def dataset(variables: dict[str, tuple[tuple[str, ...], np.ndarray]]) -> xr.Dataset:
        arranged = {
            name: ((*SAMPLE_DIMS, *dims), np.moveaxis(values, 0, 2))
            for name, (dims, values) in variables.items()
        }
        return _with_coords(xr.Dataset(arranged), coords)

    stats = dict(segment.stats)
    # E-BFMI compares successive transitions, which thinning skips and moves come between.
    if not sampler.has_energy or plan.thin > 1 or swept:
        stats.pop("energy", None)
    groups = {"posterior": True, "units": False}
    result = {
        group: dataset(
            {o.name: (o.dims, segment.observed[o.name]) for o in observables if o.invariant is invariant}
        )
        for group, invariant in groups.items()
    }
    result["sample_stats"] = dataset({name: ((), values) for name, values in stats.items()})
    return result


def moved(moves: Sequence[Moved], plan: Plan) -> dict[str, xr.Dataset]:
    """The group ``moves``: how often every move was proposed and accepted, by code before and after; none without moves.

    Codes differ from seed to seed: ``codes`` names them by row and column of the counts.
    """
    if not moves:
        return {}
    n_codes = max(move.proposed.shape[-1] for move in moves)
    names = np.full((len(moves), len(plan.seeds), n_codes), "", dtype=object)
    for m, move in enumerate(moves):
        for s, codes in enumerate(move.codes):
            names[m, s, : len(codes)] = codes
    dims = ("move", "seed", "chain", "code", "code_2")
    dataset = xr.Dataset(
        {
            "proposed": (dims, np.stack([_padded(move.proposed, n_codes) for move in moves])),
            "accepted": (dims, np.stack([_padded(move.accepted, n_codes) for move in moves])),
            "codes": (("move", "seed", "code"), names.astype(str)),
        },
        {"move": [move.name for move in moves], "seed": plan.seeds, "chain": np.arange(plan.chains)},
    )
    return {"moves": dataset}


def _padded(counts: np.ndarray, n_codes: int) -> np.ndarray:
    more = n_codes - counts.shape[-1]
    return np.pad(counts, [(0, 0), (0, 0), (0, more), (0, more)])


def attributes(posteriors: Sequence[Posterior], sampler: Sampler, plan: Plan, **extra: Any) -> dict[str, Any]:
    """Provenance of a run: strings and numbers only, nested values as JSON."""
    p = posteriors[0]
    model = {
        "n_inputs": p.mlp.n_inputs,
        "n_outputs": p.mlp.n_outputs,
        "width": p.mlp.width,
        "depth": p.mlp.depth,
        "activation": str(p.mlp.activation),
        "parameterization": p.mlp.parameterization.name,
        "bias": p.mlp.bias,
    }
    settings = {
        "name": sampler.name,
        "target_acceptance": sampler.target_acceptance,
        "max_steps": sampler.max_steps,
    }
    versions = {
        name: importlib.metadata.version(name)
        for name in ("jax", "flax", "blackjax", "numpyro", "arviz", "numpy")
    }
    likelihood = p.likelihood if isinstance(p.likelihood, str) else p.likelihood.name
    return {
        "hiddencodes_version": importlib.metadata.version("hiddencodes"),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "model": json.dumps(model),
        "likelihood": likelihood,
        "temperature": p.temperature,
        "n_temperature": p.n_temperature,
        "readout_variance": p.readout_variance,
        "hidden_variance": p.prior.hidden_variance,
        "sampler": json.dumps(settings),
        "warmup": plan.warmup,
        "thin": plan.thin,
        "provenance": json.dumps([q.task.provenance for q in posteriors]),
        "versions": json.dumps(versions),
        **extra,
    }


@contextmanager
def _zarr_warnings_off() -> Generator[None]:
    # Zarr 3 warns that its string type is not in the specification yet; every reader we support reads it.
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*(does not have a Zarr V3 specification|Consolidated metadata).*"
        )
        yield


def append(path: Path, datasets: dict[str, xr.Dataset]) -> None:
    """Append one segment's groups along ``draw``; the first call creates them."""
    with _zarr_warnings_off():
        for group, dataset in datasets.items():
            if (path / group).exists():
                # Only `draw` grows; coordinates of other axes are already stored.
                fixed = [name for name, c in dataset.coords.items() if "draw" not in c.dims]
                dataset.drop_vars(fixed).to_zarr(path, group=group, append_dim="draw", consolidated=False)
            else:
                dataset.to_zarr(path, group=group, mode="w-", consolidated=False)


def write(path: Path, datasets: dict[str, xr.Dataset], attrs: dict[str, Any]) -> None:
    """Add groups and root attributes to a run on disk."""
    with _zarr_warnings_off():
        for group, dataset in datasets.items():
            dataset.to_zarr(path, group=group, mode="w", consolidated=False)
        xr.Dataset(attrs=attrs).to_zarr(path, mode="a", consolidated=False)


def open_run(path: str | Path) -> xr.DataTree:
    """Open a run from disk; arrays are read when used.

    Args:
        path: The zarr folder that ``sample(..., out=path)`` wrote.

    Raises:
        FileNotFoundError: If there is none.

    Example:
        >>> open_run("no-such-run")
        Traceback (most recent call last):
            ...
        FileNotFoundError: path: there is no run at 'no-such-run'
    """
    if not Path(path).is_dir():
        raise FileNotFoundError(f"path: there is no run at {str(path)!r}")
    with _zarr_warnings_off():
        return xr.open_datatree(path, engine="zarr", consolidated=False, chunks=None)
