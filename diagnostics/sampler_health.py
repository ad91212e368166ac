"""What the sampler says about itself: energies, divergences, acceptance, steps."""

from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from hiddencodes.diagnostics.run_access import STATE_VARIABLES, dataset, seed_names

STILL_DRAWS = 20  # a chain is stuck when it stands still for this many draws,
STILL_SHARE = 0.1  # and for this share of the draws,
LOWEST_ACCEPTANCE = 0.1  # or accepts less than this on average


class SamplerHealth(NamedTuple):
    """Numbers from `sample_stats`, over the healthy chains; None (or empty) where the sampler does not report them.

    Attributes:
        bfmi: Chain to Bayesian fraction of missing information of the energy.
        divergences: Number of divergent draws.
        acceptance: Mean acceptance rate per seed.
        gradients_per_draw: Mean number of gradients per stored draw, per seed.
        idle: Share of the gradients that chains in lock step wait for the longest one, per seed; zero where chains run one after
            another (attribute ``batching`` of the run).
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
            waits = longest > 0 and run.attrs.get("batching") != "loop"
            idle[seed] = 1 - float(lanes.mean()) / longest if waits else 0.0
    return SamplerHealth(
        fractions,
        None if diverging is None else int(diverging[healthy].sum()),
        {} if acceptance is None else {seed: float(acceptance[s, healthy[s]].mean()) for s, seed in seeds},
        {} if steps is None else {seed: float(steps[s, healthy[s]].mean()) for s, seed in seeds},
        idle,
    )


def stuck_chains(run: xr.DataTree, healthy: Bool[np.ndarray, "seed chain"]) -> tuple[str, ...]:
    """Name the chains that stand still while others of their seed move, or that hardly accept anything.

    Pooled statistics overlook one dead chain among many when it stopped near the median. A chain is stuck when the
    log density or the training loss (any variable, without these two) is identical over max(20, 10 % of the draws)
    draws in a row, or when its mean acceptance rate is below 0.1. A variable that moves in no chain of a seed says
    nothing.

    Args:
        run: A run with dimensions seed, chain, draw.
        healthy: Chains to use.

    Returns:
        One phrase per stuck chain.

    >>> loss = np.random.default_rng(0).standard_normal((1, 2, 50))
    >>> loss[0, 1, 25:] = 0.3
    >>> run = xr.DataTree.from_dict({"/posterior": xr.Dataset({"train_loss": (("seed", "chain", "draw"), loss)})})
    >>> stuck_chains(run, np.array([[True, True]]))
    ('seed 0 chain 1 did not move from draw 25 on',)
    """
    posterior = dataset(run, "posterior")
    names = [name for name in STATE_VARIABLES if name in posterior] or [str(name) for name in posterior]
    found: dict[tuple[int, int], str] = {}
    seeds, n_draw = seed_names(run), posterior.sizes["draw"]
    shortest = max(STILL_DRAWS, STILL_SHARE * n_draw)
    for name in names:
        array = posterior[name].transpose("seed", "chain", "draw", ...).values
        entries = array.reshape(*array.shape[:3], -1)
        # NaN equals nothing, but an undefined entry does not move.
        moved = ((entries[:, :, 1:] != entries[:, :, :-1]) & ~np.isnan(entries[:, :, 1:])).any(-1)
        for s, c in np.argwhere(healthy).tolist():
            first, last = _longest_rest(moved[s, c])
            if last - first + 1 >= shortest and moved[s, healthy[s]].any():
                until = "on" if last == n_draw - 1 else f"to {last}"
                found.setdefault((s, c), f"did not move from draw {first} {until}")
    if "sample_stats" in run.children and "acceptance_rate" in run["sample_stats"]:
        acceptance = dataset(run, "sample_stats")["acceptance_rate"]
        if {"chain", "draw"} <= set(acceptance.dims):
            means = acceptance.transpose("seed", "chain", "draw").values.mean(-1, dtype=np.float64)
            for s, c in np.argwhere(healthy & (means < LOWEST_ACCEPTANCE)).tolist():
                found.setdefault(
                    (s, c), f"has mean acceptance rate {means[s, c]:.2g} < {LOWEST_ACCEPTANCE:g}"
                )
    return tuple(f"seed {seeds[s]} chain {c} {why}" for (s, c), why in sorted(found.items()))


def _longest_rest(moved: Bool[np.ndarray, " step"]) -> tuple[int, int]:
    """First and last draw of the longest stretch without a move; step t leads from draw t to draw t + 1."""
    starts = np.concatenate([[0], np.flatnonzero(moved) + 1])
    ends = np.concatenate([np.flatnonzero(moved), [len(moved)]])
    longest = int(np.argmax(ends - starts))
    return int(starts[longest]), int(ends[longest])
