"""The run as an `xarray.DataTree`: what is constant and what every segment adds."""

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hiddencodes.models import Posterior, class_mean_prior, nngp_kernels
from hiddencodes.sampling import provenance
from hiddencodes.sampling.observables import Observable
from hiddencodes.sampling.plan import Moved, Plan, Segment
from hiddencodes.sampling.sampler import Sampler
from hiddencodes.sampling.store import HEALTH, SAMPLE_DIMS, ArraySpec, quiet, rows_of


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


def kept_stats(sampler: Sampler, plan: Plan, *, swept: bool) -> dict[str, str]:
    """What is stored of the sampler's reports, with the types of those that are not the run's; ``swept`` if moves change states as well."""
    names = {"acceptance_rate": "", "diverging": "bool", "energy": "", "n_steps": "int32", "finite": "bool"}
    # E-BFMI compares successive transitions, which thinning skips and moves come between.
    if not sampler.has_energy or plan.thin > 1 or swept:
        del names["energy"]
    return names


def array_specs(
    observables: Sequence[Observable], shapes: dict[str, Any], stats: dict[str, str], dtype: Any
) -> list[ArraySpec]:
    """The arrays of draws that a run stores.

    Args:
        observables: What is observed.
        shapes: Shape and type of each for one draw, by name.
        stats: What is stored of the sampler's reports, see `kept_stats`.
        dtype: Floating-point type of the run.
    """
    specs = [
        ArraySpec(
            o.group, o.name, o.dims, shapes[o.name].shape, np.dtype(o.dtype or shapes[o.name].dtype), o.every
        )
        for o in observables
    ]
    return specs + [
        ArraySpec("sample_stats", name, (), (), np.dtype(own or dtype)) for name, own in stats.items()
    ]


def segment_datasets(
    segment: Segment, observables: Sequence[Observable], stats: dict[str, str], coords: dict[str, Any]
) -> dict[str, xr.Dataset]:
    """The groups ``posterior``, ``units`` and so on, ``sample_stats`` and ``health`` of one segment.

    Args:
        segment: The segment.
        observables: What was observed.
        stats: What is stored of the sampler's reports.
        coords: Labels of every axis but ``draw``.
    """

    def dataset(variables: dict[str, tuple[tuple[str, ...], np.ndarray]], every: int = 1) -> xr.Dataset:
        arranged = {name: ((*SAMPLE_DIMS, *dims), values) for name, (dims, values) in variables.items()}
        rows = rows_of(every, segment.first, segment.n)
        draws = (np.arange(rows.first, rows.stop) + 1) * every - 1
        return _with_coords(xr.Dataset(arranged), {**coords, "draw": draws})

    result: dict[str, xr.Dataset] = {}
    for group, every in dict.fromkeys((o.group, o.every) for o in observables):
        members = {o.name: (o.dims, segment.observed[o.name]) for o in observables if o.group == group}
        result[group] = dataset(members, every)
    result["sample_stats"] = dataset({n: ((), v) for n, v in segment.stats.items() if n in stats})
    if segment.status is not None:
        variables = {
            name: (("seed", "chain"), values.astype(dtype), attrs)
            for (name, dtype, attrs), values in zip(HEALTH, segment.status, strict=True)
        }
        result["health"] = _with_coords(xr.Dataset(variables), coords)
    return result


def every_kth(observed: dict[str, np.ndarray], observables: Sequence[Observable]) -> dict[str, np.ndarray]:
    """Of observables (seed, chain, draw, ...) of all draws the draws that are stored."""
    return {o.name: np.asarray(observed[o.name])[:, :, o.every - 1 :: o.every] for o in observables}


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
    versions = provenance.versions()
    likelihood = p.likelihood if isinstance(p.likelihood, str) else p.likelihood.name
    return {
        "hiddencodes_version": versions.pop("hiddencodes"),
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
    with quiet():
        return xr.open_datatree(path, engine="zarr", chunks=None)
