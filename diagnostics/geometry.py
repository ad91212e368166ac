"""The geometry of a run's hidden layer, measure by measure, for every network and snapshot or draw."""

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

from hiddencodes.diagnostics.condition_readouts import cross_condition_generalization, shattering_dimension
from hiddencodes.diagnostics.kernel_geometry import class_clustering, kernel_alignment, kernel_dimension
from hiddencodes.diagnostics.parallelism import parallelism_score
from hiddencodes.diagnostics.run_access import dataset

GEOMETRY_MEASURES = (
    "input_alignment", "target_alignment", "parallelism", "generalization", "shattering", "dimension", "clustering"
)  # fmt: skip


def geometry(
    run: xr.DataTree,
    *,
    layer: int = -1,
    measures: Sequence[str] = GEOMETRY_MEASURES,
    group: str = "posterior",
) -> xr.Dataset:
    """What a hidden layer did to the geometry of a task's conditions.

    Args:
        run: A run of `hiddencodes.sampling.train`, or of `sample` with the observable `condition_kernel`, of tasks whose test patterns
            are the noise-free conditions.
        layer: Which hidden layer, by position; the last one by default.
        measures: Which of these: ``input_alignment`` and ``target_alignment`` (`kernel_alignment`), ``parallelism`` (`parallelism_score`, best pairing)
            and ``generalization`` (`cross_condition_generalization`), means over the targets, ``shattering`` (`shattering_dimension`),
            ``dimension`` (`kernel_dimension`), ``clustering`` (`class_clustering`, mean over the targets).
        group: ``"posterior"`` for snapshots or draws, ``"initial"`` for networks before training.

    Returns:
        One variable per measure with dimensions seed, chain and draw, and ``alignment`` (seed,) of inputs and targets. NaN where a measure
        has no meaning: parallelism of targets that are not balanced, generalization where a class has one condition, shattering of an
        odd number of conditions.

    Raises:
        ValueError: If the run has no condition kernels, or there is no such measure.

    >>> kernel = np.eye(4)[None, None, None, None]
    >>> run = xr.DataTree.from_dict({
    ...     "/posterior": xr.Dataset({"condition_kernel": (("seed", "chain", "draw", "layer", "condition", "condition_2"), kernel)}),
    ...     "/constant_data": xr.Dataset({"input_kernel": (("seed", "condition", "condition_2"), np.eye(4)[None]),
    ...                                   "targets": (("seed", "condition", "output"), np.array([[[1.0], [1], [-1], [-1]]]))})})
    >>> geometry(run, measures=["input_alignment", "dimension"])["dimension"].values
    array([[[3.]]])
    """
    unknown = sorted(set(measures) - set(GEOMETRY_MEASURES))
    if unknown:
        raise ValueError(f"measures: {unknown[0]!r} is unknown; expected some of {list(GEOMETRY_MEASURES)}")
    values = dataset(run, group)
    if "condition_kernel" not in values:
        raise ValueError(
            f"run: its group {group!r} has no 'condition_kernel', it has {sorted(map(str, values))}"
        )
    kernels = values["condition_kernel"].isel(layer=layer)
    leading = [d for d in ("seed", "chain", "draw") if d in kernels.dims]
    kernels = kernels.transpose(*leading, "condition", "condition_2")
    inputs, targets = _conditions(run)
    found: dict[str, list[np.ndarray]] = {name: [] for name in measures}
    aligned: list[float] = []
    for s in range(kernels.sizes["seed"]):
        k, y = kernels.values[s].astype(float), targets[s]
        own = y @ y.T
        aligned.append(float(kernel_alignment(inputs[s], own)))
        of_measure = {
            "input_alignment": lambda k=k, s=s: kernel_alignment(k, inputs[s]),
            "target_alignment": lambda k=k, own=own: kernel_alignment(k, own),
            "parallelism": lambda k=k, y=y: _over_targets(parallelism_score, k, y, _balanced),
            "generalization": lambda k=k, y=y: _over_targets(
                cross_condition_generalization, k, y, _spares_conditions
            ),
            "shattering": lambda k=k: shattering_dimension(k) if k.shape[-1] % 2 == 0 else _undefined(k),
            "dimension": lambda k=k: kernel_dimension(k),
            "clustering": lambda k=k, y=y: _over_targets(class_clustering, k, y, lambda t: True),
        }
        for name in measures:
            found[name].append(np.asarray(of_measure[name]()))
    variables = {name: (tuple(leading), np.stack(each)) for name, each in found.items()}
    result = xr.Dataset({**variables, "alignment": (("seed",), np.asarray(aligned))})
    labels = {d: np.asarray(kernels[d].values) for d in leading}
    return result.assign_coords(labels)  # pyright: ignore[reportUnknownMemberType]


def _over_targets(
    measure: Callable[[np.ndarray, np.ndarray], np.ndarray],
    k: np.ndarray,
    y: np.ndarray,
    defined: Callable[[np.ndarray], bool],
) -> np.ndarray:
    return np.mean([measure(k, t) if defined(t) else _undefined(k) for t in np.sign(y.T)], axis=0)


def _undefined(k: np.ndarray) -> np.ndarray:
    return np.full(k.shape[:-2], np.nan)


def _balanced(target: np.ndarray) -> bool:
    return len(target) > 2 and float(target.sum()) == 0.0


def _spares_conditions(target: np.ndarray) -> bool:
    return min(int((target > 0).sum()), int((target < 0).sum())) > 1


def mean_and_error(values: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Mean over networks (``chain``) and its standard error.

    >>> [x.item() for x in mean_and_error(xr.DataArray([1.0, 3.0], dims="chain"))]
    [2.0, 1.0]
    """
    return values.mean("chain"), values.std("chain", ddof=1) / np.sqrt(values.sizes["chain"])


def _conditions(run: xr.DataTree) -> tuple[np.ndarray, np.ndarray]:
    """Kernels of the inputs and targets of the conditions, by seed."""
    constant = dataset(run, "constant_data")
    if "input_kernel" in constant:
        return constant["input_kernel"].values, constant["targets"].values
    x = constant["x_test"].transpose("seed", "test_pattern", "input").values
    y = dataset(run, "observed_data")["y_test"].transpose("seed", "test_pattern", "output").values
    return x @ np.swapaxes(x, 1, 2) / x.shape[-1], y
