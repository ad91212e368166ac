"""Where chains start: given weights as positions, positions as weights, and starts that are wrong on purpose.

Chains that agree prove little if they started alike. `composition_start` makes networks whose units have the codes of an
annealed run in other shares; `teacher_start` makes networks of which one is an exact draw of its posterior.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from hiddencodes.models import Params, Posterior, Reduced, TeacherTask, integrate_readout
from hiddencodes.sampling.arguments import count
from hiddencodes.sampling.known_codes import code_name, unit_codes
from hiddencodes.sampling.weights import final_weights

# Folded into the key: the stream from which readouts are drawn, apart from those of runs with the same key.
_STREAM = 2**20
# How far shares of units may be from adding up to one.
_ROUNDING = 1e-9


class Start(NamedTuple):
    """Weights that chains start from, and the targets they are for.

    Attributes:
        weights: Of the network, every array with leading axes (seed, chain).
        superchain: Chains with equal numbers have the same kind of start, (chain,).
        certificate: What agreement of the superchains certifies: ``"compositions"`` or ``"teacher"``.
        description: The starts in words.
        targets: Training targets of the posteriors that the start was made for, (seed, pattern, output).
    """

    weights: Mapping[str, Mapping[str, Any]]
    superchain: Int[np.ndarray, " chain"]
    certificate: str
    description: str
    targets: Float[np.ndarray, "seed pattern output"]


def composition_start(
    posterior: Posterior | Reduced | Sequence[Posterior] | Sequence[Reduced],
    run: xr.DataTree,
    shares: Sequence[Mapping[str, float]],
    *,
    chains: int = 8,
    key: int = 0,
) -> Start:
    """Networks with given shares of codes, put together from the units at the end of a run.

    Every composition names the shares of some codes; those not named keep their proportions among the rest. Units are
    taken at random, from all chains of a seed, and their readouts are then drawn from the exact law given the hidden
    layer, so that only the composition is wrong. A code is the set of classes with mean activation above the middle of
    the range of all class means.

    Args:
        posterior: What was sampled: one hidden layer, Gaussian likelihood; one for all seeds of the run, or one per seed.
        run: A run of it that was annealed, long enough for the layer to have its codes.
        shares: One composition per superchain, such as ``[{"111": 0.25}, {"111": 0.0}]``.
        chains: Chains per seed, a multiple of the number of compositions.
        key: Integer for the random choice of units.

    Returns:
        A `Start` for `sample`.

    Raises:
        ValueError: If the network has several layers, shares are out of range, or a code that is asked for has no unit.

    Example:
        >>> from hiddencodes.models import MLP, mean_field, sigmoidal
        >>> from hiddencodes.sampling import sample
        >>> from hiddencodes.tasks import orthogonal_classes
        >>> task = orthogonal_classes(n_train=8)
        >>> posterior = Posterior(MLP(task.n_inputs, 3, 10, 1, sigmoidal, mean_field), task, n_temperature=0.01)
        >>> run = sample(posterior, chains=2, draws=1, warmup=100, verbose=False)
        >>> name = str(codes_of(run)[0, 0, 0])
        >>> start = composition_start(posterior, run, [{name: 0.2}, {name: 1.0}], chains=4)
        >>> start.certificate, start.superchain.tolist()
        ('compositions', [0, 0, 1, 1])
    """
    given = [posterior] if isinstance(posterior, Posterior | Reduced) else list(posterior)
    posteriors = [p.original if isinstance(p, Reduced) else p for p in given]
    if posteriors[0].mlp.depth != 1:
        raise ValueError(f"posterior: expected one hidden layer, got {posteriors[0].mlp.depth}")
    chains, key = count("chains", chains, 1), count("key", key, 0)
    if any(dict(each) == dict(shares[0]) for each in shares[1:]):
        raise ValueError(f"shares: expected different compositions, got {list(shares)}")
    if len(shares) < 2 or chains % len(shares):
        raise ValueError(
            f"shares: expected two compositions or more, and chains={chains} a multiple of their number, got {len(shares)}"
        )
    rng = np.random.default_rng(key)
    names = codes_of(run)
    n_classes = run["posterior"].sizes["class"]
    wrong = [code for each in shares for code in each if len(code) != n_classes or set(code) - {"0", "1"}]
    if wrong:
        raise ValueError(f"shares: expected codes of {n_classes} digits 0 and 1, got {wrong[0]!r}")
    weights = final_weights(run)
    n_seeds, width = names.shape[0], names.shape[2]
    if len(posteriors) not in (1, n_seeds):
        raise ValueError(
            f"posterior: expected one, or one per seed of the run ({n_seeds}), got {len(posteriors)}"
        )
    posteriors = posteriors * (n_seeds // len(posteriors))
    superchain = np.repeat(np.arange(len(shares)), chains // len(shares))
    chosen = np.stack(
        [
            np.stack([_choose(rng, names[s].ravel(), shares[g], width) for g in superchain.tolist()])
            for s in range(n_seeds)
        ]
    )

    def pick(leaf: Any) -> np.ndarray:
        array = np.asarray(leaf)  # (seed, chain, ..., unit)
        pool = np.moveaxis(array, -1, 2).reshape(n_seeds, -1, *array.shape[2:-1])
        picked = np.stack([pool[s][chosen[s]] for s in range(n_seeds)])  # (seed, chain, unit, ...)
        return np.moveaxis(picked, 2, -1)

    hidden = {leaf: pick(value) for leaf, value in weights["hidden_1"].items()}
    stream = jax.random.fold_in(jax.random.key(key), _STREAM)
    # In the precision of the run, whatever JAX's default is.
    with jax.enable_x64(True):
        drawn = [
            _with_readouts(
                p,
                {leaf: jnp.asarray(values[s]) for leaf, values in hidden.items()},
                jax.random.fold_in(stream, s),
            )
            for s, p in enumerate(posteriors)
        ]
    joined = jax.tree.map(lambda *seeds: np.stack(seeds), *drawn)
    text = "; ".join(", ".join(f"{code} = {share:g}" for code, share in each.items()) for each in shares)
    return Start(
        joined,
        superchain,
        "compositions",
        f"{len(shares)} compositions: {text}",
        np.stack([p.task.y_train for p in posteriors]),
    )


def _with_readouts(posterior: Posterior, hidden: Mapping[str, Array], key: PRNGKeyArray) -> Params:
    """Weights of all chains with readouts from their exact law given the hidden layer."""
    collapsed = integrate_readout(posterior)
    keys = jax.random.split(key, len(hidden["kernel"]))
    return jax.vmap(lambda key, layer: collapsed.from_reduced(key, {"hidden_1": layer}))(keys, dict(hidden))


def _choose(
    rng: np.random.Generator, names: np.ndarray, shares: Mapping[str, float], width: int
) -> Int[np.ndarray, " unit"]:
    """Indices of units of a pool such that codes have the shares that are asked for."""
    total = sum(shares.values())
    if any(not 0.0 <= share <= 1.0 for share in shares.values()) or total > 1.0 + _ROUNDING:
        raise ValueError(f"shares: expected numbers from 0 to 1 that add up to 1 at most, got {dict(shares)}")
    others = np.flatnonzero(~np.isin(names, [*shares, ""]))
    counts = _apportioned(shares, width)
    left = width - sum(counts.values())
    parts: list[np.ndarray] = []
    for code, wanted in counts.items():
        pool = np.flatnonzero(names == code)
        if wanted and not len(pool):
            raise ValueError(
                f"shares: no unit of the run has the code {code!r}; it has {sorted(set(names.tolist()))}"
            )
        parts.append(rng.choice(pool, wanted, replace=wanted > len(pool)) if wanted else np.zeros(0, int))
    if left and not len(others):
        raise ValueError(
            f"shares: {dict(shares)} leaves {left} of {width} units without a code, and the run has no other"
        )
    parts.append(rng.choice(others, left, replace=left > len(others)) if left else np.zeros(0, int))
    return np.concatenate(parts).astype(int)


def _apportioned(shares: Mapping[str, float], width: int) -> dict[str, int]:
    """Whole numbers of units that add up to the rounded total: largest remainders get the units that are left."""
    exact = {code: share * width for code, share in shares.items()}
    counts = {code: int(value + _ROUNDING) for code, value in exact.items()}
    left = round(sum(exact.values())) - sum(counts.values())
    for code in sorted(exact, key=lambda code: counts[code] - exact[code])[:left]:
        counts[code] += 1
    return counts


def codes_of(run: xr.DataTree) -> np.ndarray:
    """Names of the codes of all units of the last layer at the end of a run, (seed, chain, unit).

    Units of chains that left the finite numbers have none: "".
    """
    final, constant = run["final"], run["constant_data"]
    activations = np.asarray(final["activations"].values)[:, :, -1]  # (seed, chain, unit, pattern)
    n_classes = run["posterior"].sizes["class"]
    names = np.full(activations.shape[:3], "", dtype=f"<U{n_classes}")
    for s, labels in enumerate(np.asarray(constant["labels_train"].values)):
        healthy = np.all(np.isfinite(activations[s]), axis=(1, 2))
        phi = activations[s, healthy]
        if len(phi):
            bits, _ = unit_codes(phi.reshape(-1, phi.shape[-1]), labels, n_classes)
            names[s, healthy] = code_name(bits).reshape(phi.shape[:2])
    return names


def teacher_start(taught: TeacherTask | Sequence[TeacherTask], run: xr.DataTree, *, chains: int = 8) -> Start:
    """Half of the chains at the teacher, an exact draw of its posterior, the others where annealed chains ended.

    A teacher's weights are a draw of the posterior given the labels it gave (`teacher_task`), so that chains which start there are
    in equilibrium from the first transition on, whatever the sampler can reach. Chains that start elsewhere must join them.

    Args:
        taught: One teacher per seed.
        run: A run of the teachers' posteriors from annealed prior draws.
        chains: Chains per seed, an even number; half of them are taken from the run.

    Returns:
        A `Start` for `sample`.

    Raises:
        ValueError: If chains are odd or more than twice those of the run, or the seeds are not those of the run.

    Example:
        >>> from hiddencodes.models import MLP, Posterior, mean_field, sigmoidal, teacher_task
        >>> from hiddencodes.sampling import sample
        >>> from hiddencodes.tasks import orthogonal_classes
        >>> task = orthogonal_classes(n_train=8)
        >>> posterior = Posterior(MLP(task.n_inputs, 3, 10, 1, sigmoidal, mean_field), task, n_temperature=0.1)
        >>> taught = teacher_task(posterior, jax.random.key(0))
        >>> run = sample(taught.posterior, chains=2, draws=1, warmup=50, verbose=False)
        >>> teacher_start(taught, run, chains=4).superchain.tolist()
        [0, 0, 1, 1]
    """
    teachers = [taught] if isinstance(taught, TeacherTask) else list(taught)
    chains = count("chains", chains, 1)
    weights = final_weights(run)
    n_seeds, n_chains = jax.tree.leaves(weights)[0].shape[:2]
    if chains % 2 or not 2 <= chains <= 2 * n_chains:
        raise ValueError(
            f"chains: expected an even number up to {2 * n_chains}, twice the chains of the run, got {chains}"
        )
    if len(teachers) != n_seeds:
        raise ValueError(f"taught: expected one teacher per seed of the run ({n_seeds}), got {len(teachers)}")
    targets = np.stack([teacher.posterior.task.y_train for teacher in teachers])
    if not np.array_equal(targets, np.asarray(run["observed_data"]["y_train"].values)):
        raise ValueError("run: its targets are not what the teachers said")
    if "independent prior draws" not in run.attrs["initialization"]:
        raise ValueError(
            f"run: expected chains from annealed prior draws, got {run.attrs['initialization']!r}"
        )
    half = chains // 2

    def joined(annealed: np.ndarray, *of_teachers: Any) -> np.ndarray:
        teacher = np.stack([np.asarray(w, annealed.dtype) for w in of_teachers])[:, None]
        return np.concatenate([np.repeat(teacher, half, axis=1), annealed[:, :half]], axis=1)

    both = jax.tree.map(joined, weights, *(teacher.weights for teacher in teachers))
    text = f"{half} chains at the teacher, {half} annealed prior draws"
    return Start(both, np.repeat([0, 1], half), "teacher", text, targets)
