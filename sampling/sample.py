"""The public call: posterior in, run out."""

import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import PRNGKeyArray

from hiddencodes.models import Posterior, Reduced, whiten_inputs
from hiddencodes.sampling import adaptation, arguments, memory, provenance, run_tree
from hiddencodes.sampling import health as chain_health
from hiddencodes.sampling.batching import LEAST_ITERATIONS, faster_batching
from hiddencodes.sampling.interruption import asked_to_stop
from hiddencodes.sampling.lanes import Batching, Lanes, lane_waste, lanes
from hiddencodes.sampling.monitor import Monitor
from hiddencodes.sampling.move import Move
from hiddencodes.sampling.numpyro_nuts import NumPyroNUTS, run_numpyro
from hiddencodes.sampling.observables import Observable
from hiddencodes.sampling.plan import LARGEST_CAPACITY, SECONDS_WORTH_WRITING, Host, Plan, Report, Setup
from hiddencodes.sampling.problem import Precision, Problem, numerics, problem, run_activations
from hiddencodes.sampling.recorder import Identity, InMemory, OnDisk, fingerprint, saved_batching
from hiddencodes.sampling.run_chains import run_chains, watched
from hiddencodes.sampling.sampler import Sampler
from hiddencodes.sampling.starts import Start
from hiddencodes.sampling.store import locked
from hiddencodes.sampling.target import NetworkTarget
from hiddencodes.sampling.weights import named_weights, to_positions, to_weights

# Folded into the run's key: the stream from which weights are drawn that are not sampled but kept at the end.
_LAST_WEIGHTS = 4
# A segment's buffer on the device is kept below this, so that memory does not grow with the number of draws.
_SEGMENT_BYTES = 64e6


def sample(
    posterior: Posterior | Reduced | Sequence[Posterior] | Sequence[Reduced],
    *,
    sampler: str | Sampler | NumPyroNUTS = "hmc",
    chains: int = 4,
    seeds: int | Sequence[int] = 1,
    draws: int = 1000,
    warmup: int = 1000,
    thin: int = 1,
    observables: Sequence[Observable] | None = None,
    out: str | Path | None = None,
    precision: Precision = "float64",
    moves: Move | Sequence[Move] = (),
    moves_every: int = 8,
    start: Start | Mapping[str, Mapping[str, Any]] | None = None,
    key: int | PRNGKeyArray = 0,
    superchains: int | None = None,
    resume: bool = False,
    segment: int | None = None,
    batching: Literal["auto", "vmap", "loop"] = "auto",
    pattern_devices: int = 1,
    lost_share: float = 0.5,
    memory_limit: int | None = None,
    progress: Report | None = None,
    verbose: bool = True,
) -> xr.DataTree:
    """Sample posteriors of a network's weights with many chains and seeds in one compiled program.

    Every chain starts from its own draw of the prior; the temperature is annealed geometrically to its target over the
    first 70 % of warm-up, with step size and metric pooled over the chains of a seed. Chains live in equal parts on all devices of all
    processes, or on the largest number of them that divides the number of chains (attribute ``devices`` of the run).

    With ``out=`` nothing is lost: draws go to disk segment by segment, and the state with them. A run that was killed goes on
    when the same call is made with ``resume=True``, and its draws are those of a run that was never killed; with more ``draws``
    it is extended. Ctrl-C ends a run after the segment in progress and returns the draws so far (attribute ``complete`` is 0). The
    folder opens in ArviZ and xarray at any moment, also while the run goes on.

    Args:
        posterior: One posterior, shared by all seeds, or one per seed (same network, temperature and shapes, other data);
            as it is, or reduced (`hiddencodes.models.reductions`), which samples the same posterior in fewer coordinates.
        sampler: ``"hmc"`` (default), ``"nuts"``, ``"adjusted_mclmc"``, ``"mala"``, ``"numpyro_nuts"``, or what the
            functions of these names return.
        chains: Chains per seed.
        seeds: Number of seeds, or their numbers. A seed has its own chains, step size and metric; the length of trajectories is
            shared by all of them, so that seeds run in lock step and a seed alone has other draws.
        draws: Stored draws per chain.
        warmup: Warm-up iterations, not stored.
        thin: Transitions per stored draw.
        observables: What is stored of a draw; see `default_observables`.
        out: Folder (zarr) that receives the draws segment by segment; must not exist, unless ``resume``. None keeps the run in
            memory.
        precision: ``"float64"``, safe at every size and temperature, or ``"float32"``.
            ``benchmarks/speed/does_float32_keep_acceptance.py`` measures where they agree and what single precision saves.
        moves: Kernels that change codes, such as `cavity_refresh()` or `pair_rotation()`: sweeps over the units of a layer between
            local transitions. For the former, a posterior that is not reduced is sampled in white coordinates
            (`whiten_inputs`). They begin after 35 % of warm-up. What they did is in the run's group ``moves``.
        moves_every: Local transitions between two sweeps.
        start: Weights of the network to start from, every array with leading axes (seed, chain), such as `final_weights` of another
            run, or a `Start`. The chains then start at the target temperature. None for prior draws, which are annealed.
        key: Random key, or the integer to make one from.
        superchains: Number of distinct starting points per seed; chains that share one form a superchain of the nested
            R-hat. None gives every chain its own.
        resume: Go on with the run in ``out`` from the last segment that was saved; begin it if there is none. All other arguments
            must be those of its beginning, but for ``draws``, which may grow.
        segment: Draws per segment; None for a twentieth of the run, at most 10 s and 64 MB of observables; on disk
            at least 2 s, if those are no more than 1024 draws.
        batching: How the chains of one device run: ``"vmap"``, all at once, ``"loop"``, one after another, or ``"auto"``, what
            a short measurement at the beginning finds faster (attribute ``batching`` of the run). Of ``"loop"`` every chain's
            numbers are the same bit for bit on any number of devices above one; the two differ by rounding.
        pattern_devices: Devices that share the training patterns of the same chains, for tasks too large for one.
        lost_share: Share of the chains that may be lost (not finite, stuck or diverging); when it is exceeded the run ends.
        memory_limit: Bytes the run may use; None for all that is free.
        progress: Called from the host between segments with a `Progress`.
        verbose: Print the memory budget to the standard error stream before compiling.

    Returns:
        A run with the groups ``posterior`` (invariant observables), ``units``, ``sample_stats``, ``health`` (the status of every
        chain), ``final``, ``weights``, ``constant_data`` and ``observed_data``, and ``every_k`` for observables of every k-th draw;
        the leading axes are ``seed, chain, draw``. ArviZ reads it as it is.

    Raises:
        ValueError: If an argument is out of range, posteriors do not fit together, or the run in ``out`` is another one.
        FileExistsError: If ``out`` exists.
        BlockingIOError: If another process is sampling the run in ``out``.
        ChainsLostError: If more chains are lost than ``lost_share``.
        KeyboardInterrupt: If the run is stopped before its first draw, or when its last is already on disk.
        MemoryError: If the run would not fit, before anything is compiled.

    Example:
        >>> from hiddencodes.models import MLP, mean_field, sigmoidal
        >>> from hiddencodes.tasks import orthogonal_classes
        >>> task = orthogonal_classes(n_train=8)
        >>> mlp = MLP(task.n_inputs, task.n_outputs, 10, 1, sigmoidal, mean_field)
        >>> run = sample(Posterior(mlp, task, n_temperature=0.1), chains=2, draws=5, warmup=20, verbose=False)
        >>> dict(run["posterior"]["kernel_blocks"].sizes)
        {'seed': 1, 'chain': 2, 'draw': 5, 'layer': 1, 'class': 3, 'class_2': 3}
    """
    seed_numbers = arguments.seed_numbers(seeds)
    posteriors = arguments.posteriors(posterior, len(seed_numbers))
    chosen_moves = arguments.moves(moves)
    if any(move.white for move in chosen_moves):
        posteriors = [p if isinstance(p, Reduced) else whiten_inputs(p) for p in posteriors]
    chosen = arguments.sampler(sampler)
    chains = arguments.count("chains", chains, 1)
    draws = arguments.count("draws", draws, 1)
    warmup = arguments.count("warmup", warmup, 0)
    thin = arguments.count("thin", thin, 1)
    every = arguments.count("moves_every", moves_every, 1)
    segment = None if segment is None else arguments.count("segment", segment, 1)
    pattern_devices = arguments.count("pattern_devices", pattern_devices, 1)
    n_starts = chains if superchains is None else arguments.count("superchains", superchains, 1)
    if chains % n_starts:
        raise ValueError(f"superchains: expected a divisor of chains={chains}, got {superchains!r}")
    arguments.choice("precision", precision, ("float64", "float32"))
    arguments.choice("batching", batching, ("auto", "vmap", "loop"))
    arguments.share("lost_share", lost_share)
    random_key = arguments.random_key(key)
    path = arguments.out(out, resume=resume)
    arguments.limit("memory_limit", memory_limit)
    arguments.callback("progress", progress)

    setting = problem(posteriors, observables)
    originals, reduced, target = setting
    first = originals[0]
    if isinstance(chosen, NumPyroNUTS) and (reduced or chosen_moves or start is not None or resume):
        raise ValueError(
            "sampler: numpyro_nuts samples all weights; it takes no reduced posterior, no moves and no start, and does not resume"
        )
    if start is not None and superchains is not None:
        raise ValueError(f"superchains: the chains start where start says, got {superchains!r}")
    if chosen_moves and every > draws * thin:
        raise ValueError(
            f"moves_every: expected at most draws * thin = {draws * thin} transitions, got {every}"
        )
    if isinstance(start, Start) and not np.array_equal(start.targets, [p.task.y_train for p in originals]):
        raise ValueError("start: it was made for other training targets than the posterior has")
    if first.task.n_train % pattern_devices:
        raise ValueError(
            f"pattern_devices: expected a divisor of the {first.task.n_train} training patterns, got {pattern_devices!r}"
        )
    with ExitStack() as stack:
        stack.enter_context(numerics(precision))
        if path is not None:
            stack.enter_context(locked(path, jax.process_index()))
        stop = stack.enter_context(asked_to_stop(verbose))
        dtype = np.dtype(precision)
        data = setting.data(dtype)
        given = start if isinstance(start, Start) else None
        superchain = np.arange(chains) // (chains // n_starts) if given is None else given.superchain
        if len(superchain) != chains:
            raise ValueError(f"start: it is for {len(superchain)} chains, got chains={chains}")
        plan = Plan(seed_numbers, chains, warmup, draws, thin, superchain, capacity=1, segment=segment)
        coords = run_tree.coordinates(first, plan)
        arguments.check_dims(target, data, dtype, coords)
        for move in chosen_moves:
            move.check(target, data)
        weights = start.weights if isinstance(start, Start) else start
        q = None if weights is None else to_positions(weights, posteriors, chains)
        per_draw = memory.draw_bytes(target, data, dtype) * plan.lanes
        # Powers of two, so that runs of other lengths share programs.
        largest = LARGEST_CAPACITY["in memory" if path is None else "on disk"]
        rows = min(1 << (draws - 1).bit_length(), largest, int(_SEGMENT_BYTES // per_draw))
        # Position and gradient of every chain are in a checkpoint.
        worth = -(-2 * target.dimension * dtype.itemsize * plan.lanes // per_draw)
        least = 0.0 if path is None else SECONDS_WORTH_WRITING
        plan = plan._replace(capacity=max(1, rows), worth=worth, least_seconds=least)
        tuned = chosen if isinstance(chosen, Sampler) else chosen.as_sampler()
        temperature = np.asarray([p.temperature for p in originals], float)
        numpyro = isinstance(chosen, NumPyroNUTS)
        how = (
            Lanes("vmap")
            if numpyro
            else _lanes(setting, data, temperature, plan, batching, pattern_devices, path, dtype)
        )
        budget = memory.memory_budget(
            target,
            data,
            tuned,
            plan,
            dtype,
            streamed=path is not None,
            moves=bool(chosen_moves),
            how=how,
        )
        if verbose:
            print(budget, file=sys.stderr)
        memory.check(budget, memory_limit)

        constants = run_tree.constants(originals, plan)
        attrs = run_tree.attributes(
            originals, tuned, plan, precision=precision, initialization=_initialization(originals, plan, start),
            certificate=given.certificate if given else "none",
            moves=json.dumps({move.name: dict(move.settings) for move in chosen_moves}), moves_every=every,
            coordinates=setting.coordinates, devices=how.devices, processes=how.processes, batching=how.batching,
            pattern_devices=pattern_devices,
            key=json.dumps(np.asarray(jax.random.key_data(random_key)).tolist()),
        )  # fmt: skip
        stats = run_tree.kept_stats(tuned, plan, swept=bool(chosen_moves))
        session = provenance.session(how.devices)
        monitor = Monitor()
        saved = None
        if path is None:
            recorder = InMemory(lambda s: run_tree.segment_datasets(s, target.observables, stats, coords))
            attrs |= {"sessions": json.dumps([{"from": "the beginning", **session}])}
        else:
            marks = fingerprint(attrs, plan, target.observables, data, q, precision)
            specs = run_tree.array_specs(
                target.observables, memory.draw_shapes(target, data, dtype), stats, dtype
            )
            recorder = OnDisk(path, specs, plan, how, Identity(marks, session), coords)
            saved, plan, whole = recorder.open(constants, attrs, resume=resume)
            if whole:
                found = run_tree.open_run(path)
                status, since = (found["health"][name].to_numpy() for name in ("status", "since"))
                chain_health.check(status, since, plan.seeds, lost_share, f"{path} has all of its draws")
                return found
            if saved is not None:
                recorder.refill(monitor, {o.name for o in watched(target)}, saved)
        report: Report = progress or (lambda event: None)
        if isinstance(chosen, NumPyroNUTS):
            assert isinstance(target, NetworkTarget)
            finished = run_numpyro(
                chosen, originals, target, data, plan, random_key, recorder.consume, report
            )
        else:
            setup = Setup(
                target, data, temperature, chosen, plan, random_key, dtype, how, chosen_moves, every, q
            )
            save = recorder.save if isinstance(recorder, OnDisk) else None
            finished = run_chains(
                setup, Host(recorder.consume, save, report, stop, monitor, lost_share), saved
            )
        ends = {"final": run_activations(target, finished.q, data, coords)}
        if q is not None:
            ends["initial"] = run_activations(target, jnp.asarray(q, dtype), data, coords)
        last_key = jax.random.fold_in(random_key, _LAST_WEIGHTS)
        last = to_weights(jnp.asarray(finished.q), posteriors, target.shapes(), last_key)
        lanes_of = {name: coords[name] for name in ("seed", "chain")}
        ends["weights"] = named_weights(last).assign_coords(lanes_of)
        step_size = xr.Dataset({"step_size": (("seed",), np.asarray(finished.tuning.step_size))})
        ends |= {"tuning": step_size.assign_coords(seed=seed_numbers), **run_tree.moved(finished.moves, plan)}
        attrs |= {
            "timings": json.dumps(finished.seconds),
            "trajectory_length": float(finished.tuning.length),
            "complete": int(finished.draws == draws),
        }
        if finished.draws < draws:
            warnings.warn(f"stopped after {finished.draws} of {draws} draws", UserWarning, stacklevel=2)
        run = recorder.finish(ends if path is not None else {**ends, **constants}, attrs)
        if verbose:
            print(_told(run, how), file=sys.stderr)
        if path is not None and finished.draws == draws and stop():
            # Whoever called would go on with the next run; this one is whole, and on disk.
            raise KeyboardInterrupt(f"stopped when all {draws} draws were in {path}")
        return run


def _told(run: xr.DataTree, how: Lanes) -> str:
    """What it took, and which part of it was for nothing."""
    text = "; ".join(f"{name} {value:.1f} s" for name, value in json.loads(run.attrs["timings"]).items())
    if "n_steps" in run["sample_stats"]:
        waste = lane_waste(run["sample_stats"]["n_steps"].to_numpy()) if how.batching == "vmap" else 0.0
        text += f"; {100 * waste:.0f} % of all gradients served no chain (lanes: {how.batching})"
    return text


def _lanes(
    setting: Problem,
    data: Any,
    temperature: np.ndarray,
    plan: Plan,
    batching: str,
    pattern_devices: int,
    path: Path | None,
    dtype: Any,
) -> Lanes:
    """Where and how lanes run: as asked for, as the run on disk has done, as is faster, or as is usual."""
    if batching != "auto":
        return lanes(plan.chains, pattern_devices, cast("Batching", batching))
    before = None if path is None else saved_batching(path)
    how = lanes(plan.chains, pattern_devices, before)
    if before is not None or plan.warmup + plan.draws * plan.thin < LEAST_ITERATIONS or pattern_devices > 1:
        return how
    faster = faster_batching(setting.target, data, 1.0 / temperature, plan.chains // how.parts, dtype)
    return replace(how, batching=faster)


def _initialization(posteriors: Sequence[Posterior], plan: Plan, start: object) -> str:
    if start is not None:
        return start.description if isinstance(start, Start) else "given weights, at the target temperature"
    n_starts = len(np.unique(plan.superchain))
    temperature = posteriors[0].temperature
    assert temperature is not None
    text = f"{n_starts} independent prior draws per seed"
    if temperature < adaptation.ANNEAL_FROM and plan.warmup:
        text += f", temperature annealed from {adaptation.ANNEAL_FROM:g} to {temperature:.3g}"
    return text
