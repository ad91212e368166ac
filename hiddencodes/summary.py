"""All numbers of a study as plain data, as they go into ``summary.json`` and into the report."""

import json
import math
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any, cast

import numpy as np
import xarray as xr

from hiddencodes.diagnostics import (
    code_table,
    coding_scheme,
    convergence,
    drift,
    equilibrium,
    move_acceptance,
    symmetry_breaking,
)
from hiddencodes.diagnostics.error_split import ErrorPart, ErrorSplit
from hiddencodes.diagnostics.generalization import bias_variance
from hiddencodes.diagnostics.monte_carlo import chain_mean
from hiddencodes.diagnostics.run_access import chain_health, dataset, seed_names, variable
from hiddencodes.drawing import array, healthy_chains, model_of
from hiddencodes.plain_data import as_list, as_table
from hiddencodes.schema import Study

_SETTINGS = (
    "created",
    "likelihood",
    "temperature",
    "n_temperature",
    "readout_variance",
    "precision",
    "warmup",
    "thin",
    "key",
    "initialization",
    "trajectory_length",
    "batching",
    "devices",
    "processes",
)
_ERROR_PARTS = (
    ("total", "total"),
    ("bias_squared", "bias_squared"),
    ("variance_within", "within"),
    ("variance_between", "between"),
    ("variance_readout", "readout"),
)
_NESTED = ("sampler", "timings", "versions", "provenance", "sessions")


def summarize(study: Study, runs: Mapping[str, xr.DataTree]) -> dict[str, Any]:
    """Everything that is known about a study's runs: numbers, texts, lists and dictionaries; None for what is not known.

    Args:
        study: The study.
        runs: Runs by label.
    """
    summary = {
        "study": study.model_dump(mode="json"),
        "hiddencodes_version": metadata.version("hiddencodes"),
        "networks": {label: summarize_run(run) for label, run in runs.items()},
    }
    return _plain(summary)


def summarize_run(run: xr.DataTree) -> dict[str, Any]:
    """One network's codes, convergence, drift, symmetry breaking, errors and settings.

    Args:
        run: A run. Where no chain stayed finite, the entries that need one are None.

    Returns:
        The numbers. A diagnostic that refuses the run leaves its message in ``undecided``, under its name, and loses
        none of the others.
    """
    sizes = dataset(run, "posterior").sizes
    usable = chain_health(run).healthy.any()
    layers = range(1, sizes["layer"] + 1)
    undecided: dict[str, str] = {}

    def attempt[T](name: str, diagnostic: Callable[[], T]) -> T | None:
        try:
            return diagnostic()
        except ValueError as error:
            undecided[name] = str(error)
            return None

    scheme = attempt("scheme", lambda: coding_scheme(run).to_dict()) if usable else None
    codes = attempt("codes", lambda: [code_table(run, layer=i).to_dict() for i in layers]) if usable else []
    drifts = attempt("drift", lambda: drift(run).to_dict()) if usable else None
    symmetry = attempt("symmetry", lambda: symmetry_breaking(run).to_dict()) if usable else None
    chains = attempt("convergence", lambda: convergence(run).to_dict())
    moves = attempt("moves", lambda: [row.to_dict() for row in move_acceptance(run)])
    certified = attempt("equilibrium", lambda: equilibrium(run).to_dict())
    errors = attempt("errors", lambda: prediction_errors(run))
    return {
        "sizes": {name: int(sizes[name]) for name in ("seed", "chain", "draw")},
        "seeds": seed_names(run),
        "scheme": _undecided_scheme(undecided["scheme"]) if "scheme" in undecided else scheme,
        "codes": codes or [],
        "drift": drifts,
        "symmetry": symmetry,
        "moves": moves or [],
        "convergence": chains or _unjudged_chains(undecided["convergence"]),
        "equilibrium": certified or _uncertified(undecided["equilibrium"]),
        "errors": errors or [],
        "undecided": undecided,
        "model": model_of(run),
        "settings": {name: run.attrs.get(name) for name in _SETTINGS},
        **{name: _decoded(run.attrs.get(name)) for name in _NESTED},
    }


def _undecided_scheme(message: str) -> dict[str, Any]:
    """What stands for the coding scheme of a run that the decision refused."""
    return {
        "layer": None,
        "scheme": "undecided",
        "sentence": f"undecided: {message}",
        "table": [],
        "excluded": [],
    }


def _unjudged_chains(message: str) -> dict[str, Any]:
    """What stands for the convergence of a run that could not be judged."""
    return {
        "ok": False,
        "verdict": f"undecided: {message}",
        "assessable": False,
        "reasons": [message],
        "cautions": [],
        "starts": "unknown",
        "excluded": [],
        "sampler": {"divergences": None, "acceptance": {}, "gradients_per_draw": {}, "idle": {}},
        "table": [],
    }


def _uncertified(message: str) -> dict[str, Any]:
    """What stands for the certificate of equilibrium of a run that could not be judged."""
    return {
        "certificate": "none",
        "ok": False,
        "verdict": f"undecided: {message}",
        "reasons": [message],
        "shares": [],
    }


def prediction_errors(run: xr.DataTree) -> list[dict[str, Any]]:
    """Training loss and the parts of the test error, per seed, over the chains that stayed finite.

    Args:
        run: A run.

    Returns:
        One row per seed with ``seed``, ``train_loss``, ``train_loss_error`` and, where there is a test set and the
        likelihood is Gaussian, ``total``, ``bias_squared``, ``variance_within``, ``variance_between`` and, where the run
        stored the predictors given the hidden weights, ``variance_readout`` (see `bias_variance`), each with its
        Monte-Carlo error (``total_error``, ...); ``accuracy`` of the mean output.
    """
    has_test = "test_predictions" in dataset(run, "posterior")
    splits: dict[int | str | None, ErrorSplit] = {}
    if has_test and run.attrs.get("likelihood") == "gaussian" and chain_health(run).healthy.any():
        found = bias_variance(run)
        splits = {split.seed: split for split in found.conditional_by_seed or found.by_seed}
        parts = dict(_ERROR_PARTS if found.conditional_by_seed else _ERROR_PARTS[:-1])
    else:
        parts = {}
    rows: list[dict[str, Any]] = []
    for s, seed in enumerate(seed_names(run)):
        chains = healthy_chains(run, s)
        row: dict[str, Any] = {"seed": seed}
        if len(chains):
            loss = chain_mean(array(run, "posterior/train_loss")[s, chains])
            row |= {"train_loss": float(loss.mean), "train_loss_error": float(loss.error)}
            for name, part in parts.items():
                estimate: ErrorPart = getattr(splits[seed], part)
                row |= {name: estimate.value, f"{name}_error": estimate.error}
            if has_test:
                row |= _accuracy(run, s, chains)
        rows.append(row)
    return rows


def _accuracy(run: xr.DataTree, seed: int, chains: np.ndarray) -> dict[str, float]:
    mean = array(run, "posterior/test_predictions")[seed, chains].mean((0, 1))
    labels = np.asarray(variable(run, "constant_data", "labels_test").values)[seed]
    if mean.shape[-1] == 1 or mean.shape[-1] != dataset(run, "posterior").sizes["class"]:
        return {}
    return {"accuracy": float((mean.argmax(-1) == labels).mean())}


def _decoded(value: object) -> Any:
    """Nested JSON as plain data; any other text as it is."""
    if not isinstance(value, str):
        return value
    try:
        decoded = json.loads(value)
    except json.JSONDecodeError:
        return value
    items = as_list(decoded)
    return decoded if items is None else [_decoded(item) for item in items]


def _plain(value: object) -> Any:
    """Plain data of which JSON can tell all: what is not a finite number becomes None."""
    if (table := as_table(value)) is not None:
        return {str(k): _plain(v) for k, v in table.items()}
    if (items := as_list(value)) is not None:
        return [_plain(v) for v in items]
    if isinstance(value, np.generic):
        return _plain(cast("object", value.item()))
    return None if isinstance(value, float) and not math.isfinite(value) else value
