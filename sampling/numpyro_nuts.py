"""NumPyro's NUTS on the exported model: an independent log-density, warm-up and kernel to compare against."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import PRNGKeyArray

from hiddencodes.models import Posterior, PosteriorData
from hiddencodes.sampling import engine
from hiddencodes.sampling.adaptation import Tuning
from hiddencodes.sampling.hmc import quarter_power_step, unit_length
from hiddencodes.sampling.lanes import Lanes
from hiddencodes.sampling.plan import Finished, Plan, Progress, Report, Segment
from hiddencodes.sampling.run_tree import every_kth
from hiddencodes.sampling.sampler import Sampler
from hiddencodes.sampling.target import NetworkTarget


@dataclass(frozen=True)
class NumPyroNUTS:
    """Settings of NumPyro's NUTS, see `numpyro_nuts`."""

    target_acceptance: float
    max_doublings: int

    def as_sampler(self) -> Sampler:
        """The same settings as the engine's samplers store them."""

        def unused(*_: Any) -> Any:
            raise AssertionError("NumPyro runs its own kernel")

        return Sampler(
            name="numpyro_nuts",
            target_acceptance=self.target_acceptance,
            max_steps=2**self.max_doublings,
            tunes_length=False,
            has_energy=True,
            initial_step_size=quarter_power_step,
            length_unit=unit_length,
            init=unused,
            step=unused,
        )


def numpyro_nuts(*, target_acceptance: float = 0.8, max_doublings: int = 8) -> NumPyroNUTS:
    """NumPyro's no-U-turn sampler on `Posterior.to_numpyro`, started from the prior, with NumPyro's own warm-up.

    A reference, not a way to get much done: seeds run one after another and each compiles anew; there is no annealing.

    Args:
        target_acceptance: Acceptance that each chain's step size is tuned to.
        max_doublings: Most doublings of a trajectory.

    Example:
        >>> numpyro_nuts().max_doublings
        8
    """
    return NumPyroNUTS(target_acceptance, max_doublings)


def run_model(
    settings: NumPyroNUTS,
    model: Callable[[], None],
    init_params: Any,
    key: PRNGKeyArray,
    *,
    chains: int,
    warmup: int,
    draws: int,
    thin: int,
) -> tuple[Any, dict[str, np.ndarray]]:
    """Run NumPyro's NUTS on a model without arguments.

    Returns:
        Samples by site, (chain, draw, ...) each, and the statistics ``acceptance_rate``, ``diverging``, ``energy``,
        ``n_steps``, (chain, draw) each, and ``step_size`` (chain,).
    """
    from numpyro.infer import MCMC, NUTS

    kernel = NUTS(model, target_accept_prob=settings.target_acceptance, max_tree_depth=settings.max_doublings)
    mcmc = MCMC(
        kernel, num_warmup=warmup, num_samples=draws * thin, num_chains=chains, thinning=thin,
        chain_method="vectorized", progress_bar=False,
    )  # fmt: skip
    fields = ("accept_prob", "diverging", "energy", "num_steps")
    # NumPyro works in its own mixture of types; our strictness is not its business.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        mcmc.run(key, init_params=init_params, extra_fields=fields)  # pyright: ignore[reportUnknownMemberType]
        samples: Any = mcmc.get_samples(group_by_chain=True)
        extra: Any = mcmc.get_extra_fields(group_by_chain=True)
    names = {"accept_prob": "acceptance_rate", "num_steps": "n_steps"}
    stats = {names.get(f, f): np.asarray(extra[f]) for f in fields}
    last_state: Any = mcmc.last_state
    stats["step_size"] = np.broadcast_to(np.asarray(last_state.adapt_state.step_size), (chains,))
    return samples, stats


def run_numpyro(
    settings: NumPyroNUTS,
    posteriors: Sequence[Posterior],
    target: NetworkTarget,
    data: PosteriorData,
    plan: Plan,
    key: PRNGKeyArray,
    consume: Callable[[Segment], None],
    report: Report,
) -> Finished:
    """All seeds, one after another; observables are computed from the stored weights afterwards."""
    begin = time.perf_counter()
    keys = engine.lane_keys(Lanes(), key, np.int32(0), plan.seeds, 2)
    observed: list[dict[str, np.ndarray]] = []
    statistics: list[dict[str, np.ndarray]] = []
    last: list[Any] = []
    for s, posterior in enumerate(posteriors):
        report(
            Progress(
                "sampling", s * plan.draws, len(posteriors) * plan.draws, 0.0, float("nan"), float("nan")
            )
        )
        unique = [posterior.sample_prior(jax.random.fold_in(keys[s, 0], int(c))) for c in plan.superchain]
        flat = {
            f"{layer}.{leaf}": jnp.stack([p[layer][leaf] for p in unique])
            for layer, leaves in unique[0].items()
            for leaf in leaves
        }
        samples, stats = run_model(
            settings, posterior.to_numpyro(), flat if plan.chains > 1 else {k: v[0] for k, v in flat.items()},
            keys[s, 1], chains=plan.chains, warmup=plan.warmup, draws=plan.draws, thin=plan.thin,
        )  # fmt: skip
        one_seed = jax.tree.map(lambda a, s=s: a[s], data)
        q = _whiten(samples, one_seed)
        observed.append(_observe(target, q, one_seed))
        stats["finite"] = np.asarray(jnp.all(jnp.isfinite(q), axis=-1))
        statistics.append(stats)
        last.append(q[:, -1])

    def over_seeds(parts: list[dict[str, np.ndarray]], name: str) -> np.ndarray:
        return np.stack([p[name] for p in parts])

    step_sizes = [float(np.mean(s.pop("step_size"))) for s in statistics]
    consume(
        Segment(
            0,
            plan.draws,
            every_kth({name: over_seeds(observed, name) for name in observed[0]}, target.observables),
            {name: over_seeds(statistics, name) for name in statistics[0]},
        )
    )
    q = jnp.stack(last)
    tuning = Tuning(
        jnp.asarray(step_sizes), jnp.asarray(float("nan")), jnp.ones((len(posteriors), q.shape[-1]))
    )
    seconds = {"compile": 0.0, "warmup": 0.0, "sampling": time.perf_counter() - begin}
    return Finished(np.asarray(q), tuning, seconds, plan.draws)


def _whiten(samples: dict[str, Any], data: PosteriorData) -> Any:
    """Weights by site, (chain, draw, ...), to whitened flat positions (chain, draw, dimension)."""
    nested: dict[str, dict[str, Any]] = {}
    for site, value in samples.items():
        layer, leaf = site.split(".")
        nested.setdefault(layer, {})[leaf] = value / data.prior_std[layer][leaf]
    return jax.vmap(jax.vmap(lambda p: ravel_pytree(p)[0]))(nested)


def _observe_all(target: NetworkTarget, q: Any, data: PosteriorData) -> dict[str, Any]:
    unused = jax.random.key(0)
    return jax.lax.map(lambda chain: jax.lax.map(lambda one: target.observe(one, data, unused), chain), q)


_observe_jit = jax.jit(_observe_all, static_argnums=0)


def _observe(target: NetworkTarget, q: Any, data: PosteriorData) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in _observe_jit(target, q, data).items()}
