"""Reading a run: the groups the diagnostics need, and the chains that can be trusted."""

import json
from typing import Any, NamedTuple, cast

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Shaped

# A chain that ends stuck or diverging is lost when it has been so for this many draws and this share of them; one that was and
# recovered has only mixed badly, and leaving it out would bias averages.
LOST_DRAWS, LOST_SHARE = 20, 0.1

# Scalars that every change of the weights changes.
STATE_VARIABLES = ("log_density", "train_loss")


class ChainHealth(NamedTuple):
    """Which chains can be used.

    Attributes:
        healthy: False for a chain that left the finite numbers, or ended stuck or diverging, shape (seed, chain).
        excluded: One phrase per unhealthy chain that names it and says why.
    """

    healthy: Bool[np.ndarray, "seed chain"]
    excluded: tuple[str, ...]


def dataset(run: xr.DataTree, group: str) -> xr.Dataset:
    """The data set of a group.

    Raises:
        ValueError: When the run has no such group.

    >>> dataset(xr.DataTree.from_dict({"/posterior": xr.Dataset({"x": 1})}), "posterior")["x"].item()
    1
    """
    if group not in run.children:
        raise ValueError(f"run: no group {group!r}, it has {sorted(run.children)}")
    return run[group].to_dataset()


def variable(run: xr.DataTree, group: str, name: str) -> xr.DataArray:
    """A variable of a group.

    Raises:
        ValueError: When the run has no such group or the group no such variable.

    >>> variable(xr.DataTree.from_dict({"/units": xr.Dataset({"readout": 2})}), "units", "readout").item()
    2
    """
    data = dataset(run, group)
    if name not in data:
        raise ValueError(f"run: no variable {name!r} in group {group!r}, it has {sorted(map(str, data))}")
    return data[name]


def coordinate(array: xr.DataArray, dim: str) -> list[int | str]:
    """Coordinate values of a dimension, or 0, 1, ... without a coordinate.

    >>> coordinate(xr.DataArray([0.0, 0.0], {"class": ["cat", "dog"]}, ("class",)), "class")
    ['cat', 'dog']
    """
    return array[dim].values.tolist()


def seed_names(run: xr.DataTree) -> list[int | str]:
    """Coordinate values of the seeds of the posterior, or 0, 1, ... without a coordinate.

    >>> seed_names(xr.DataTree.from_dict({"/posterior": xr.Dataset({"x": ("seed", [1.0])}, {"seed": [7]})}))
    [7]
    """
    return dataset(run, "posterior")["seed"].values.tolist()


def chain_health(run: xr.DataTree) -> ChainHealth:
    """Find the chains that are lost: that left the finite numbers, by `sample_stats/finite` and by their own observables, or that
    ended stuck or diverging for max(20, 10 % of the draws) draws, by the group `health`.

    Entries that are undefined (see `undefined`) say nothing about a chain.

    Args:
        run: A run with dimensions seed, chain, draw in the group `posterior`.

    Returns:
        `ChainHealth`.

    Raises:
        ValueError: When the group `posterior` or one of the three dimensions is missing.

    >>> x = np.array([[[0.0, 1.0], [np.nan, 1.0]]])
    >>> run = xr.DataTree.from_dict({"/posterior": xr.Dataset({"x": (("seed", "chain", "draw"), x)})})
    >>> chain_health(run).excluded
    ('seed 0 chain 1 (non-finite x from draw 0)',)
    """
    posterior = dataset(run, "posterior")
    for dim in ("seed", "chain", "draw"):
        if dim not in posterior.dims:
            raise ValueError(
                f"run: no dimension {dim!r} in group 'posterior', it has {tuple(posterior.dims)}"
            )
    shape = (posterior.sizes["seed"], posterior.sizes["chain"], posterior.sizes["draw"])
    first_bad: dict[tuple[int, int], tuple[int, str]] = {}

    def note(name: str, finite: Bool[np.ndarray, "seed chain draw"]) -> None:
        for s, c in np.argwhere(~finite.all(-1)).tolist():
            draw = int(np.argmin(finite[s, c]))
            if (s, c) not in first_bad or draw < first_bad[s, c][0]:
                first_bad[s, c] = (draw, f"non-finite {name}")

    for name, values in posterior.data_vars.items():
        array = values.transpose("seed", "chain", "draw", ...).values
        fine = np.isfinite(array) | undefined(str(name), array)
        note(str(name), fine.reshape(*shape, -1).all(-1))
    if "sample_stats" in run.children and "finite" in run["sample_stats"]:
        finite = dataset(run, "sample_stats")["finite"].transpose("seed", "chain", "draw").values
        note("state", finite.astype(bool))
    for (s, c), (draw, what) in _lost(run, shape[2]).items():
        first_bad.setdefault((s, c), (draw, what))
    healthy = np.ones(shape[:2], dtype=bool)
    seeds = seed_names(run)
    excluded: list[str] = []
    for (s, c), (draw, why) in sorted(first_bad.items()):
        healthy[s, c] = False
        excluded.append(f"seed {seeds[s]} chain {c} ({why} from draw {draw})")
    return ChainHealth(healthy, tuple(excluded))


def _lost(run: xr.DataTree, n_draw: int) -> dict[tuple[int, int], tuple[int, str]]:
    """Chains that ended stuck or diverging, with the draw from which they were."""
    if "health" not in run.children:
        return {}
    health = dataset(run, "health").transpose("seed", "chain")
    status, since = health["status"].values, health["since"].values
    words = str(health["status"].attrs["flag_meanings"]).split()
    meanings = dict(zip(np.atleast_1d(health["status"].attrs["flag_values"]).tolist(), words, strict=True))
    long = n_draw - since >= max(LOST_DRAWS, LOST_SHARE * n_draw)
    return {
        (s, c): (int(since[s, c]), meanings[int(status[s, c])])
        for s, c in np.argwhere((status != 0) & long).tolist()
        if meanings[int(status[s, c])] != "non_finite"
    }


def undefined(
    name: str, values: Shaped[np.ndarray, "seed chain draw *entry"]
) -> Bool[np.ndarray, "seed 1 1 *entry"]:
    """Entries that are NaN in every chain and draw of a seed: they have no value by definition.

    The kernel within a class of one pattern is one. The log density and the training loss always have a value.

    >>> undefined("kernel_blocks", np.array([[[[0.1, np.nan], [0.2, np.nan]]]]))
    array([[[[False,  True]]]])
    """
    missing = np.isnan(values).all((1, 2), keepdims=True)
    return missing & (name not in STATE_VARIABLES)


def layer_index(run: xr.DataTree, layer: int) -> int:
    """Position of a layer: 1 is the first hidden layer, L or -1 the last.

    Raises:
        ValueError: When the run has no such layer.

    >>> units = xr.Dataset({"class_means": ("layer", [0.1, 0.2])})
    >>> layer_index(xr.DataTree.from_dict({"/units": units}), -1)
    1
    """
    depth = variable(run, "units", "class_means").sizes["layer"]
    if layer == 0 or not -depth <= layer <= depth:
        raise ValueError(f"layer: {layer}, the run has hidden layers 1 to {depth}")
    return layer - 1 if layer > 0 else depth + layer


def unit_class_means(run: xr.DataTree, layer: int, seed: int) -> Float[np.ndarray, "chain draw unit class"]:
    """Class-mean activations of one layer and one seed (positions), all chains.

    >>> means = xr.Dataset({"class_means": (("seed", "chain", "draw", "layer", "class", "unit"), np.ones((1,) * 6))})
    >>> unit_class_means(xr.DataTree.from_dict({"/units": means}), 0, 0).shape
    (1, 1, 1, 1)
    """
    means = variable(run, "units", "class_means").isel(seed=seed, layer=layer)
    return means.transpose("chain", "draw", "unit", "class").values


def class_fractions(run: xr.DataTree, seed: int) -> Float[np.ndarray, " class"]:
    """Shares of the classes among the training patterns of one seed (position).

    >>> data = xr.Dataset({"labels_train": (("seed", "pattern"), [[0, 0, 1, 0]])})
    >>> units = xr.Dataset({"class_means": ("class", [0.0, 0.0])})
    >>> class_fractions(xr.DataTree.from_dict({"/constant_data": data, "/units": units}), 0)
    array([0.75, 0.25])
    """
    n_classes = variable(run, "units", "class_means").sizes["class"]
    labels = variable(run, "constant_data", "labels_train").isel(seed=seed).values
    return np.bincount(labels, minlength=n_classes) / len(labels)


def activation_name(run: xr.DataTree) -> str | None:
    """Name of the activation in the run's `model` attribute, None where it is not said.

    The name may be given as a string or as an object with a `name`; arguments in parentheses are dropped.

    >>> activation_name(xr.DataTree(xr.Dataset(attrs={"model": '{"activation": "leaky_relu(slope=0.1)"}'})))
    'leaky_relu'
    """
    model = cast("dict[str, Any]", json.loads(run.attrs.get("model", "{}")))
    name: Any = model.get("activation")
    if isinstance(name, dict):
        name = cast("dict[str, Any]", name).get("name")
    return name.split("(")[0] if isinstance(name, str) else None


def require_order(run: xr.DataTree) -> None:
    """Refuse a run whose draws do not follow one another in time.

    Raises:
        ValueError: When the attribute `draws` says "particles".

    >>> require_order(xr.DataTree(xr.Dataset(attrs={"draws": "particles"})))
    Traceback (most recent call last):
        ...
    ValueError: run: its draws are particles of a population, which have no order in time
    """
    if run.attrs.get("draws") == "particles":
        raise ValueError("run: its draws are particles of a population, which have no order in time")


def thinning(run: xr.DataTree) -> int:
    """Sampler draws per stored draw, from the run's `thin` attribute (1 where it is not said).

    >>> thinning(xr.DataTree(xr.Dataset(attrs={"thin": 5})))
    5
    """
    return int(run.attrs.get("thin", 1))
