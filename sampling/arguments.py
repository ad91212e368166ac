"""What `sample` refuses, before anything is compiled."""

import operator
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from hiddencodes.models import Posterior, Reduced
from hiddencodes.sampling import processes
from hiddencodes.sampling.adjusted_mclmc import adjusted_mclmc
from hiddencodes.sampling.checkpoint import is_run
from hiddencodes.sampling.hmc import hmc
from hiddencodes.sampling.mala import mala
from hiddencodes.sampling.move import Move
from hiddencodes.sampling.numpyro_nuts import NumPyroNUTS, numpyro_nuts
from hiddencodes.sampling.nuts import nuts
from hiddencodes.sampling.observables import Observable
from hiddencodes.sampling.sampler import Sampler
from hiddencodes.sampling.target import Network

_SAMPLERS: dict[str, Callable[[], Sampler | NumPyroNUTS]] = {
    "hmc": hmc,
    "nuts": nuts,
    "adjusted_mclmc": adjusted_mclmc,
    "mala": mala,
    "numpyro_nuts": numpyro_nuts,
}
SAMPLER_NAMES = tuple(_SAMPLERS)


def count(name: str, value: object, least: int) -> int:
    """An integer of at least ``least``; NumPy's are welcome."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex) or operator.index(value) < least:
        raise ValueError(f"{name}: expected an integer of at least {least}, got {value!r}")
    return operator.index(value)


def choice(name: str, value: object, options: tuple[str | bool, ...]) -> None:
    """One of a few words."""
    if value not in options:
        listed = ", ".join(map(repr, options[:-1]))
        raise ValueError(f"{name}: expected {listed} or {options[-1]!r}, got {value!r}")


def share(name: str, value: object) -> None:
    """A number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
        raise ValueError(f"{name}: expected a number from 0 to 1, got {value!r}")


def out(value: object, *, resume: bool) -> Path | None:
    """The folder of a run: a new one, or one that holds a run if that is to be gone on with.

    Raises:
        FileExistsError: If something else is there.
    """
    if value is None:
        if resume:
            raise ValueError("resume: there is nothing to resume without out=")
        if jax.process_count() > 1:
            raise ValueError("out: several processes sample into one folder; name it, got None")
        return None
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError(f"out: expected a path, got {value!r}")
    # One process looks, before any of them makes the folder.
    processes.agreed(_refuse_what_is_there, Path(value), resume)
    return Path(value)


def _refuse_what_is_there(path: Path, resume: bool) -> None:
    if not resume and path.exists():
        raise FileExistsError(f"out: {str(path)!r} exists; name a new folder, or say resume=True")
    if resume and path.exists() and not is_run(path):
        raise FileExistsError(f"out: {str(path)!r} exists and is not a run")


def seed_numbers(seeds: object) -> np.ndarray:
    """The seeds' numbers: 0, 1, ... for a count, or what was given."""
    if isinstance(seeds, SupportsIndex):
        return np.arange(count("seeds", seeds, 1))
    text = f"seeds: expected a positive number or distinct integers from 0 to 2^32 - 1, got {seeds!r}"
    if not isinstance(seeds, Sequence | np.ndarray) or isinstance(seeds, str):
        raise ValueError(text)
    numbers: list[Any] = list(seeds)
    integers = all(isinstance(n, SupportsIndex) and not isinstance(n, bool) for n in numbers)
    # A lane's key is folded with the seed as an unsigned 32-bit number: a larger one would repeat another's chains.
    if (
        not numbers
        or not integers
        or len(set(numbers)) < len(numbers)
        or min(numbers) < 0
        or max(numbers) >= 2**32
    ):
        raise ValueError(text)
    return np.asarray([operator.index(n) for n in numbers], int)


def posteriors(posterior: object, n_seeds: int) -> list[Posterior] | list[Reduced]:
    """One posterior per seed, all reduced in the same way or none, that differ in their data only."""
    if not isinstance(posterior, Posterior | Reduced | Sequence):
        raise ValueError(
            f"posterior: expected a Posterior, a Reduced or a sequence of them, got {posterior!r}"
        )
    found: list[Any] = list(posterior) if isinstance(posterior, Sequence) else [posterior] * n_seeds
    kind = Reduced if any(isinstance(p, Reduced) for p in found) else Posterior
    if len(found) != n_seeds or not all(isinstance(p, Posterior | Reduced) for p in found):
        raise ValueError(f"posterior: expected one or one per seed ({n_seeds}), got {len(found)}")
    if not all(isinstance(p, kind) for p in found):
        raise ValueError("posterior: some are reduced and some are not")

    def shared(given: Posterior | Reduced) -> tuple[object, ...]:
        p = given.posterior if isinstance(given, Reduced) else given
        task = p.task
        return (
            *((given.n_along, given.readout_integrated) if isinstance(given, Reduced) else ()),
            p.mlp,
            p.likelihood,
            p.prior,
            p.temperature,
            task.x_train.shape,
            task.x_test.shape,
            task.class_names,
        )

    for i, p in enumerate(found):
        if shared(p) != shared(found[0]):
            raise ValueError(
                f"posterior: number {i} differs from the first in network, likelihood, prior, temperature or shapes"
            )
    return found


def sampler(value: object) -> Sampler | NumPyroNUTS:
    """A sampler, by name or as it is."""
    if isinstance(value, Sampler | NumPyroNUTS):
        return value
    if isinstance(value, str) and value in _SAMPLERS:
        return _SAMPLERS[value]()
    hint = "; call it: hc.hmc()" if callable(value) else ""
    raise ValueError(f"sampler: {value!r} is unknown; expected one of {sorted(_SAMPLERS)} or a Sampler{hint}")


def moves(value: object) -> tuple[Move, ...]:
    """Moves, in the order given."""
    found: list[Any] = (
        [value] if isinstance(value, Move) else list(value) if isinstance(value, Sequence) else []
    )
    if not isinstance(value, Move | Sequence) or not all(isinstance(move, Move) for move in found):
        raise ValueError(
            f"moves: expected cavity_refresh(), annealed_refresh(), pair_rotation(), another move or a sequence of them, got {value!r}"
        )
    return tuple(found)


def random_key(key: object) -> PRNGKeyArray:
    """A random key, made from an integer or as it is."""
    if isinstance(key, jax.Array):
        if key.dtype == jnp.uint32 and key.ndim == 1:
            return jax.random.wrap_key_data(key)
        if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim == 0:
            return key
        raise ValueError(f"key: expected one random key, got {key.dtype} of the shape {key.shape}")
    if isinstance(key, bool) or not isinstance(key, SupportsIndex):
        raise ValueError(f"key: expected an integer or a JAX random key, got {key!r}")
    number = operator.index(key)
    if not -(2**63) <= number < 2**64:
        raise ValueError(f"key: expected an integer of at most 64 bits, got {number!r}")
    return jax.random.key(number)


def callback(name: str, value: object) -> None:
    """Something to call, or None."""
    if value is not None and not callable(value):
        raise ValueError(f"{name}: expected a function or None, got {value!r}")


def limit(name: str, value: object) -> None:
    """A number of bytes, or None."""
    if value is not None:
        count(name, value, 1)


def observables(chosen: object) -> tuple[Observable, ...]:
    """Observables with distinct names."""
    if not isinstance(chosen, Sequence) or not all(isinstance(o, Observable) for o in chosen):
        raise ValueError(f"observables: expected a sequence of Observable, got {chosen!r}")
    names = [o.name for o in chosen]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"observables: expected at least one and distinct names, got {names!r}")
    taken = sorted(set(names) & RESERVED)
    if taken:
        raise ValueError(f"observables: the name {taken[0]!r} is the run's own")
    return tuple(chosen)


RESERVED = frozenset(
    {
        "seed",
        "chain",
        "draw",
        "acceptance_rate",
        "diverging",
        "energy",
        "n_steps",
        "finite",
        "status",
        "since",
    }
)
"""Names in a run that no observable may have."""


def check_dims(target: Network, data: Any, dtype: Any, coords: Mapping[str, Any] | None = None) -> None:
    """Refuse an observable whose value does not have the axes that it names, or not as long as their labels."""
    one_seed = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), data)
    position = jax.ShapeDtypeStruct((target.dimension,), dtype)
    values = jax.eval_shape(target.observe, position, one_seed, jax.random.key(0))
    for observable in target.observables:
        shape = values[observable.name].shape
        if len(shape) != len(observable.dims):
            raise ValueError(
                f"observables: {observable.name!r} names the axes {observable.dims!r} but has the shape {shape!r}"
            )
        for name, size in zip(observable.dims, shape, strict=True):
            if name in RESERVED:
                raise ValueError(
                    f"observables: {observable.name!r} names the axis {name!r}, which is the run's own"
                )
            if coords is not None and name in coords and len(coords[name]) != size:
                raise ValueError(
                    f"observables: the axis {name!r} of {observable.name!r} has {size} entries, the run's has {len(coords[name])}"
                )
