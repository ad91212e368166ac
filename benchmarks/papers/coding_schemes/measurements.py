"""Posterior means with standard errors, the finite-width correction, and the theory of a posterior."""

from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Claim
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


def remembers(row: hc.LayerSymmetry) -> str:
    """Why the code shares of a layer are those that warm-up left, or nothing where the chains forget them within the run."""
    if row.frozen:
        return f"codes change {row.changes_per_run:.2g} times per coded unit over the run"
    if row.verdict == "broken" and not row.memory < row.run_length:
        return f"the memory of the codes, about {row.memory:.2g} draws, is longer than the run of {row.run_length}"
    return ""


def targets_by_class(task: hc.Task) -> Float[np.ndarray, "cls output"]:
    """The target of every class."""
    return np.stack([task.y_train[task.labels_train == c][0] for c in range(task.n_classes)])


def saddle_of(posterior: hc.Posterior) -> hc.SingleUnitSaddle:
    """The single-unit theory of a posterior with one hidden layer and orthogonal inputs."""
    task, mlp = posterior.task, posterior.mlp
    assert posterior.n_temperature is not None
    return hc.single_unit_saddle(
        mlp.activation,
        task.class_counts,
        targets_by_class(task),
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
    shares, centers, spreads = list[np.ndarray](), list[Measured](), list[Measured]()
    for code in codes:
        wanted = np.array([digit == "1" for digit in code])
        carries = np.all(bits == wanted[:, None], axis=2)
        share = carries.mean(axis=-1)
        shares.append(share)
        # Means over the units of a branch are ratios of sums: a draw in which no unit has the code weighs nothing.
        center = _ratio(np.einsum("sdu,sdru->sdr", carries, readout) / readout.shape[-1], share)
        around = np.square(readout - center.mean[:, None])
        square = _ratio(np.einsum("sdu,sdru->sdr", carries, around) / readout.shape[-1], share)
        centers.append(center)
        spread = np.sqrt(square.mean)
        spreads.append(Measured(spread, square.error / (2.0 * spread)))
    return mean_of(np.stack(shares, axis=2)), _stacked(centers), _stacked(spreads)


def _ratio(sums: Float[np.ndarray, "chain draw output"], share: Float[np.ndarray, "chain draw"]) -> Measured:
    """Mean of `sums` over that of `share`, its error from the fluctuation of what their difference leaves."""
    mean = sums.mean(axis=(0, 1)) / share.mean()
    return Measured(mean, mean_of(sums - share[..., None] * mean).error / share.mean())


def _stacked(parts: list[Measured]) -> Measured:
    return Measured(np.stack([part.mean for part in parts]), np.stack([part.error for part in parts]))


def kernel_contrast(run: xr.DataTree, layer: int) -> Measured:
    """Mean of the kernel's within-class blocks minus that of the others."""
    blocks = chains_of(run, "posterior/kernel_blocks")[:, :, layer]
    same = np.eye(blocks.shape[-1], dtype=bool)
    return mean_of(blocks[:, :, same].mean(axis=-1) - blocks[:, :, ~same].mean(axis=-1))


def frozen(claim: Claim, why: str) -> Claim:
    """The same claim, not compared, with the reason."""
    return Claim.frozen(
        claim.name,
        claim.statement,
        why,
        grade=claim.grade,
        expected=claim.expected,
        measured=claim.measured,
        error=claim.error,
    )
