"""What the sampler says about itself: energies, divergences, acceptance, steps."""

from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from hiddencodes.diagnostics.run_access import dataset, seed_names


class SamplerHealth(NamedTuple):
    """Numbers from `sample_stats`, over the healthy chains; None (or empty) where the sampler does not report them.

    Attributes:
        bfmi: Chain to Bayesian fraction of missing information of the energy.
        divergences: Number of divergent draws.
        acceptance: Mean acceptance rate per seed.
        gradients_per_draw: Mean number of gradients per stored draw, per seed.
        idle: Share of the gradients that chains in lock step wait for the longest one, per seed.
    """

    bfmi: dict[str, float]
    divergences: int | None
    acceptance: dict[str, float]
    gradients_per_draw: dict[str, float]
    idle: dict[str, float]


def bfmi(energy: Float[np.ndarray, "*batch draw"]) -> Float[np.ndarray, "*batch"]:
    """Bayesian fraction of missing information, <(E_t - E_t-1)^2> / Var(E) (arXiv 1604.00695).

    Args:
        energy: Total energies along the chain, last axis.

    Returns:
        About 1 where momentum resampling explores the energies in one step, near 0 where it hardly moves them;
        NaN for fewer than 2 draws or constant energy.

    >>> bfmi(np.array([0.0, 1.0, 0.0, 1.0])).round(6)
    np.float64(3.0)
    """
    if energy.shape[-1] < 2:
        return np.full(energy.shape[:-1], np.nan)
    variance = np.asarray(energy.var(-1, ddof=1))
    steps = np.asarray((np.diff(energy, axis=-1) ** 2).mean(-1))
    return np.divide(steps, variance, out=np.full_like(variance, np.nan), where=variance > 0)


def sampler_health(run: xr.DataTree, healthy: Bool[np.ndarray, "seed chain"]) -> SamplerHealth:
    """Collect the sampler's own statistics.

    Args:
        run: A run; the group `sample_stats` and each of its variables may be absent.
        healthy: Chains to use.

    Returns:
        `SamplerHealth`.

    >>> dims = ("seed", "chain", "draw")
    >>> stats = xr.Dataset({"diverging": (dims, np.array([[[False, True]]]))})
    >>> posterior = xr.Dataset({"x": (dims, np.zeros((1, 1, 2)))})
    >>> run = xr.DataTree.from_dict({"/posterior": posterior, "/sample_stats": stats})
    >>> sampler_health(run, np.array([[True]])).divergences
    1
    """
    empty = SamplerHealth({}, None, {}, {}, {})
    if "sample_stats" not in run.children:
        return empty
    stats = dataset(run, "sample_stats")
    seeds = [(s, str(seed)) for s, seed in enumerate(seed_names(run)) if healthy[s].any()]

    def per_draw(name: str) -> Float[np.ndarray, "seed chain draw"] | None:
        if name not in stats or "draw" not in stats[name].dims:
            return None
        return stats[name].transpose("seed", "chain", "draw").values.astype(np.float64)

    energy, diverging = per_draw("energy"), per_draw("diverging")
    acceptance, steps = per_draw("acceptance_rate"), per_draw("n_steps")
    fractions: dict[str, float] = {}
    if energy is not None:
        for s, seed in seeds:
            for c in np.flatnonzero(healthy[s]).tolist():
                fractions[f"seed {seed} chain {c}"] = float(bfmi(energy[s, c]))
    idle: dict[str, float] = {}
    if steps is not None:
        for s, seed in seeds:
            lanes = steps[s, healthy[s]]
            longest = float(lanes.max(0).mean())
            idle[seed] = 1 - float(lanes.mean()) / longest if longest > 0 else 0.0
    return SamplerHealth(
        fractions,
        None if diverging is None else int(diverging[healthy].sum()),
        {} if acceptance is None else {seed: float(acceptance[s, healthy[s]].mean()) for s, seed in seeds},
        {} if steps is None else {seed: float(steps[s, healthy[s]].mean()) for s, seed in seeds},
        idle,
    )
