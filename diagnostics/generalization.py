"""The test error of a sampled network, split into bias, variance within chains and variance between chains."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from hiddencodes.diagnostics.error_split import PARTS, BiasVariance, ErrorPart, ErrorSplit
from hiddencodes.diagnostics.monte_carlo import autocovariance, positive_pairs
from hiddencodes.diagnostics.run_access import chain_health, dataset, seed_names, variable

_RESOLVED = 10  # effective draws per chain below which within and between chains are not told apart
_ROUNDS = 20


class _Moments(NamedTuple):
    """What the split needs of the draws, chain by chain."""

    y: Float[np.ndarray, "pattern output"]
    means: Float[np.ndarray, "chain pattern output"]
    # Over the draws of a chain (denominator n), mean over outputs.
    variances: Float[np.ndarray, "chain pattern"]
    # Autocovariance, mean over patterns and outputs.
    covariances: Float[np.ndarray, "chain lag"]
    readout: Float[np.ndarray, "chain pattern"]

    def without(self, chain: int) -> "_Moments":
        keep = np.arange(len(self.means)) != chain
        return _Moments(self.y, *(array[keep] for array in self[1:]))


def _moments(
    f: Float[np.ndarray, "chain draw pattern output"],
    y: Float[np.ndarray, "pattern output"],
    readout: Float[np.ndarray, "chain pattern"],
) -> _Moments:
    n_chain, n_draw, n_pattern, _ = f.shape
    # Relative to the first draw, chains that stand still have no variance at all, not one of size rounding.
    start = f[:, 0].astype(np.float64)
    means, variances = np.empty_like(start), np.empty((n_chain, n_pattern))
    covariances = np.zeros((n_chain, n_draw))
    # Pattern by pattern: the spectra of everything at once would not fit.
    for k in range(n_pattern):
        series = f[:, :, k] - start[:, None, k]
        covariances += autocovariance(np.moveaxis(series, 1, -1)).mean(1) / n_pattern
        means[:, k] = start[:, k] + series.mean(1)
        variances[:, k] = series.var(1).mean(-1)
    return _Moments(y, means, variances, covariances, readout)


def _variance_of_chain_mean(covariances: Float[np.ndarray, "chain lag"]) -> float:
    """Variance V of the mean over one chain's draws around that chain's own long-time mean.

    Autocovariances c_k around the estimated mean are (1 - k/n)(true ones - V), so with the true ones negligible beyond lag K

        V = sum_{|k| <= K} c_k / [n - (2 K + 1) + K (K + 1) / n],

    K from the initial positive sequence of c_k / (1 - k/n) + V: a few rounds, which only lengthen the window.
    """
    covariance = covariances.mean(0)
    n = len(covariance)
    if n < 4:
        return float("nan")
    lags = np.arange(n)
    v, window = 0.0, 0
    for _ in range(_ROUNDS):
        pairs = int(positive_pairs(covariance / (1 - lags / n) + v))
        k = min(2 * pairs - 1, n // 2)
        if k <= window:
            break
        window = k
        total = 2 * float(covariance[: k + 1].sum()) - float(covariance[0])
        v = max(total, 0.0) / (n - (2 * k + 1) + k * (k + 1) / n)
    return v


def _contributions(m: _Moments) -> tuple[Float[np.ndarray, "part pattern"], float]:
    """What every test pattern contributes to the parts, in the order of `PARTS`, and the effective draws."""
    n_chain = len(m.means)
    noise, level = _variance_of_chain_mean(m.covariances), float(m.covariances[:, 0].mean())
    mean, inside, readout = m.means.mean(0), m.variances.mean(0), m.readout.mean(0)
    share = noise / level if level > 0 else 0.0
    spread = inside * share if n_chain == 1 else m.means.var(0, ddof=1).mean(-1)
    # E (y - mean over C chains)^2 = bias^2 + Var(chain mean) / C.
    bias = ((m.y - mean) ** 2).mean(-1) - spread / n_chain
    variance = readout + inside + spread
    within = inside * (1 + share)
    between = np.full_like(inside, np.nan) if n_chain == 1 else spread - inside * share
    effective = float("inf") if noise == 0 else n_chain * (level + noise) / noise
    return np.stack([bias + variance, bias, variance, readout, within, between]), effective


def _split(seed: int | str, m: _Moments) -> tuple[ErrorSplit, Float[np.ndarray, "part pattern"]]:
    n_chain = len(m.means)
    contributions, effective = _contributions(m)
    error = np.full(len(PARTS), np.nan)
    if n_chain >= 3:
        left_out = np.array([_contributions(m.without(c))[0].mean(-1) for c in range(n_chain)])
        error = np.sqrt((n_chain - 1) * left_out.var(0))
    parts = [
        ErrorPart(float(value), float(e), _standard_error(row), float("nan"))
        for value, e, row in zip(contributions.mean(-1), error, contributions, strict=True)
    ]
    return _named(seed, parts, effective, bool(effective >= _RESOLVED * n_chain)), contributions


def _named(seed: int | str | None, parts: list[ErrorPart], effective: float, resolved: bool) -> ErrorSplit:
    total, bias, variance, readout, within, between = parts
    return ErrorSplit(seed, total, bias, variance, readout, within, between, effective, resolved)


def _standard_error(values: Float[np.ndarray, " sample"]) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def _pooled(rows: list[ErrorSplit], contributions: list[Float[np.ndarray, "part pattern"]]) -> ErrorSplit:
    parts: list[ErrorPart] = []
    mean = np.mean(contributions, axis=0)
    for name, row in zip(PARTS, mean, strict=True):
        found: list[ErrorPart] = [getattr(split, name) for split in rows]
        errors = np.array([part.error for part in found])
        seeds = np.array([part.value for part in found])
        parts.append(
            ErrorPart(
                float(seeds.mean()),
                float(np.sqrt((errors**2).sum()) / len(rows)),
                _standard_error(row),
                _standard_error(seeds),
            )
        )
    effective = float(sum(split.effective_draws for split in rows))
    return _named(None, parts, effective, all(split.resolved for split in rows))


def bias_variance(run: xr.DataTree) -> BiasVariance:
    """Split the mean squared test error of a Gaussian-likelihood run into bias^2 and posterior variance, seed by seed.

    For one posterior sample f, a mean over test patterns and outputs of

        E (y - f)^2 = (y - E f)^2 + Var f,      Var f = within chains + between chains.

    Draws are modeled as f = E f + b_c + noise, with b_c of the chain (frozen codes make it differ from zero) and noise that
    is stationary in the chain. With B the variance of the C chain means (denominator C - 1), s^2 the variance in a chain
    (denominator n) and V the variance of a chain's mean over its n draws (from the autocovariance, averaged over all
    predictions),

        bias^2 = (y - mean)^2 - B / C,     within = s^2 + V,     between = B - V,

    which are unbiased and add up to the mean of (y - f)^2 over draws exactly; only the split of the variance depends on V.
    One chain says nothing of `between`, and its V stands for B. Chains count as independent.

    Where the run stored `conditional_test_predictions` and `conditional_test_variance`, the same is done for E[f | W], W
    the hidden weights, with Var[f | W] as a part of the variance of its own: less Monte-Carlo noise, the same meaning.

    Args:
        run: A run with a test set.

    Returns:
        `BiasVariance`.

    Raises:
        ValueError: When the likelihood is not Gaussian, the run has no test predictions, or no chain of it is healthy.

    >>> f = np.array([1.0, 3.0]).reshape(1, 2, 1, 1, 1) + np.zeros((1, 2, 6, 1, 1))  # two frozen chains
    >>> run = xr.DataTree.from_dict({
    ...     "/posterior": xr.Dataset({"test_predictions": (("seed", "chain", "draw", "test_pattern", "output"), f)}),
    ...     "/observed_data": xr.Dataset({"y_test": (("seed", "test_pattern", "output"), np.zeros((1, 1, 1)))}),
    ... })
    >>> split = bias_variance(run).pooled
    >>> split.total.value, split.bias_squared.value, split.within.value, split.between.value
    (5.0, 3.0, 0.0, 2.0)
    """
    likelihood = run.attrs.get("likelihood", "gaussian")
    if likelihood != "gaussian":
        raise ValueError(f"run: likelihood {likelihood!r}, the split of the squared error needs 'gaussian'")
    health = chain_health(run)
    if not health.healthy.any():
        raise ValueError(f"run: no healthy chain: {', '.join(health.excluded)}")
    predictions = variable(run, "posterior", "test_predictions")
    targets = variable(run, "observed_data", "y_test").transpose("seed", "test_pattern", "output").values
    names = ("conditional_test_predictions", "conditional_test_variance")
    posterior = dataset(run, "posterior")
    has_conditional = all(name in posterior for name in names)

    def splits(f: xr.DataArray, readout: Callable[[int], np.ndarray]) -> tuple[list[ErrorSplit], ErrorSplit]:
        f = f.transpose("seed", "chain", "draw", "test_pattern", "output")
        rows: list[ErrorSplit] = []
        contributions: list[np.ndarray] = []
        for s, seed in enumerate(seed_names(run)):
            keep = health.healthy[s]
            if keep.any():
                moments = _moments(f.values[s, keep], np.asarray(targets[s], np.float64), readout(s)[keep])
                row, contribution = _split(seed, moments)
                rows.append(row)
                contributions.append(contribution)
        return rows, _pooled(rows, contributions)

    nothing = np.zeros((predictions.sizes["chain"], predictions.sizes["test_pattern"]))
    rows, pooled = splits(predictions, lambda _: nothing)
    if not has_conditional:
        return BiasVariance(tuple(rows), pooled, excluded=health.excluded)
    variance = posterior[names[1]].transpose("seed", "chain", "draw", "test_pattern").values
    conditional, conditional_pooled = splits(
        posterior[names[0]], lambda s: variance[s].mean(1, dtype=np.float64)
    )
    return BiasVariance(tuple(rows), pooled, tuple(conditional), conditional_pooled, health.excluded)
