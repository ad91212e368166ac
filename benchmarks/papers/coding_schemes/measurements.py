"""Posterior means with standard errors, the finite-width correction, and the theory of a posterior."""

from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

import hiddencodes as hc
from hiddencodes.diagnostics.monte_carlo import chain_mean
from hiddencodes.diagnostics.run_access import chain_health, variable

# The tuned trajectories of linear and rectified networks are as long as they may be; many short ones decorrelate what is
# measured here as well per gradient, and a draw's cost stays known.
SAMPLER = hc.hmc(max_steps=64)
UPPER = {2: np.triu_indices(2), 3: np.triu_indices(3)}


class Measured(NamedTuple):
    """A posterior mean and its standard error, of any shape."""

    mean: Float[np.ndarray, "..."]
    error: Float[np.ndarray, "..."]


def chains_of(run: xr.DataTree, path: str) -> Float[np.ndarray, "chain draw *rest"]:
    """A variable of a run, e.g. "posterior/kernel_blocks", the healthy chains of all seeds one after the other."""
    group, _, name = path.partition("/")
    values = np.asarray(variable(run, group, name).values, dtype=np.float64)
    return values[chain_health(run).healthy]


def mean_of(series: Float[np.ndarray, "chain draw *rest"]) -> Measured:
    """Mean over chains and draws; the error is the larger of the one within chains and the one between them."""
    result = chain_mean(np.moveaxis(series, (0, 1), (-2, -1)))
    return Measured(result.mean, result.error)


def class_multiplier(run: xr.DataTree) -> Measured:
    """t = (y - f)/(N T), averaged over the patterns of a class, (class, output)."""
    t = chains_of(run, "posterior/residual_multiplier")
    labels = np.asarray(variable(run, "constant_data", "labels_train").values)[0]
    by_class = [t[:, :, labels == c].mean(axis=2) for c in range(int(labels.max()) + 1)]
    return mean_of(np.stack(by_class, axis=2))


def kernel_blocks(run: xr.DataTree, layer: int = -1) -> Measured:
    """Class blocks of a layer's kernel, (class, class)."""
    return mean_of(chains_of(run, "posterior/kernel_blocks")[:, :, layer])


def final_kernel(run: xr.DataTree, layer: int = -1) -> Float[np.ndarray, "pattern pattern"]:
    """The kernel at the last draw, averaged over chains."""
    phi = final_activations(run, layer)
    return np.einsum("cum,cun->mn", phi, phi) / (phi.shape[0] * phi.shape[1])


def final_activations(run: xr.DataTree, layer: int = -1) -> Float[np.ndarray, "chain unit pattern"]:
    """Activations at the last draw."""
    values = np.asarray(variable(run, "final", "activations").values, dtype=np.float64)
    return values[chain_health(run).healthy][:, layer]


def at_infinite_width(narrow: Measured, wide: Measured, width_narrow: int, width_wide: int) -> Measured:
    """Extrapolate x(N) = x + c/N from two widths: the finite-width correction, measured."""
    gain = width_wide / (width_wide - width_narrow)
    mean = gain * wide.mean - (gain - 1.0) * narrow.mean
    return Measured(mean, np.hypot(gain * wide.error, (gain - 1.0) * narrow.error))


def class_targets(task: hc.Task) -> Float[np.ndarray, "cls output"]:
    """The target of every class."""
    return np.stack([task.y_train[task.labels_train == c][0] for c in range(task.n_classes)])


def saddle_of(posterior: hc.Posterior) -> hc.SingleUnitSaddle:
    """The single-unit theory of a posterior with one hidden layer and orthogonal inputs."""
    task, mlp = posterior.task, posterior.mlp
    assert posterior.n_temperature is not None
    return hc.single_unit_saddle(
        mlp.activation,
        task.class_counts,
        class_targets(task),
        readout_variance=posterior.readout_variance,
        n_temperature=posterior.n_temperature,
        input_variance=float(np.mean(np.diag(task.input_kernel()))),
    )


def branch_means(run: xr.DataTree, codes: list[str]) -> tuple[Measured, Measured, Measured]:
    """Share, mean readout and spread of the readout of the units that carry each of `codes` in the last layer.

    Returns:
        Shares (code,), means (code, output) and standard deviations (code, output).
    """
    means = chains_of(run, "units/class_means")[:, :, -1]
    readout = chains_of(run, "units/readout")
    bits = np.swapaxes(hc.codes(np.swapaxes(means, -1, -2)), -1, -2)
    shares, centers, spreads = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
    for code in codes:
        wanted = np.array([digit == "1" for digit in code])
        carries = np.all(bits == wanted[:, None], axis=2)
        count = np.maximum(carries.sum(axis=-1), 1)
        center = np.einsum("sdu,sdru->sdr", carries, readout) / count[..., None]
        square = np.einsum("sdu,sdru->sdr", carries, readout**2) / count[..., None]
        shares.append(carries.mean(axis=-1))
        centers.append(center)
        spreads.append(square)
    share = mean_of(np.stack(shares, axis=2))
    center = mean_of(np.stack(centers, axis=2))
    square = mean_of(np.stack(spreads, axis=2))
    # The spread around the posterior mean of the branch; its error follows from that of the mean square.
    spread = np.sqrt(np.maximum(square.mean - center.mean**2, 1e-12))
    error = np.hypot(square.error, 2.0 * np.abs(center.mean) * center.error) / (2.0 * spread)
    return share, center, Measured(spread, error)
