"""The public call that trains ensembles: posteriors in, a run out whose draws are snapshots along training."""

import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import PRNGKeyArray

from hiddencodes.models import Posterior
from hiddencodes.models.likelihood import Likelihood
from hiddencodes.sampling import arguments, memory, provenance, run_tree
from hiddencodes.sampling import training_setup as setup
from hiddencodes.sampling.interruption import asked_to_stop
from hiddencodes.sampling.lanes import lanes
from hiddencodes.sampling.observables import Observable
from hiddencodes.sampling.plan import LARGEST_CAPACITY, Host, Plan, Report, Setup
from hiddencodes.sampling.problem import Precision, numerics
from hiddencodes.sampling.recorder import Identity, InMemory, OnDisk, fingerprint, saved_batching
from hiddencodes.sampling.run_chains import run_chains
from hiddencodes.sampling.store import locked
from hiddencodes.sampling.training import TRAINING, layer_rates
from hiddencodes.sampling.training_observables import training_observables
from hiddencodes.sampling.training_target import Knobs, Optimizer, Recipe, TrainingData, TrainingTarget
from hiddencodes.sampling.weights import named_weights

_SEGMENT_BYTES = 64e6


def train(
    posterior: Posterior | Sequence[Posterior],
    *,
    networks: int = 10,
    epochs: int = 100,
    snapshots: int = 10,
    batch_size: int | None = None,
    optimizer: str | Optimizer = "sgd",
    learning_rate: float | Sequence[float] = 0.1,
    schedule: str = "constant",
    loss: str = "mean",
    weight_decay: float | Sequence[float] | Mapping[str, Any] | str = 0.0,
    trained: Sequence[str] | None = None,
    layer_rates_of: str = "equal",
    label_noise: float | Sequence[float] = 0.0,
    input_noise: float | Sequence[float] = 0.0,
    dropout: float | Sequence[float] = 0.0,
    batch_norm: bool | str = False,
    stop_below: float | Sequence[float] = 0.0,
    start: Mapping[str, Mapping[str, Any]] | None = None,
    observables: Sequence[Observable] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    segment: int | None = None,
    batching: Literal["vmap", "loop"] | None = None,
    precision: Precision = "float32",
    memory_limit: int | None = None,
    key: int | PRNGKeyArray = 0,
    progress: Report | None = None,
    verbose: bool = True,
) -> xr.DataTree:
    """Train ensembles of networks on one task or on a whole grid of tasks, in one compiled program.

    Minimized is, for every network of every posterior,

        mean or sum over patterns of the likelihood's loss  +  sum over layers of lambda/2 |w|^2,

    from its own random weights with its own order of minibatches. What is compiled does not depend on data, learning rates, decay,
    noise or dropout: they may differ between the posteriors, and new ones compile nothing. So may the activation, all of
    which are compiled into the program.

    Args:
        posterior: What to train, one or many with equal sizes; each is a point of the axis ``seed``. The temperature only enters
            ``weight_decay="prior"``.
        networks: Networks per posterior, the axis ``chain``.
        epochs: Passes over the training set; steps of the optimizer without ``batch_size``.
        snapshots: How often observables are stored, after equal numbers of epochs; the last time at the end.
        batch_size: Patterns of a step, drawn anew in every epoch without repetition; None for all. The last batch of an epoch may
            be smaller.
        optimizer: An optimizer of optax by name, or with settings, ``Optimizer("sgd", (("momentum", 0.9),))``.
        learning_rate: One, or one per posterior.
        schedule: ``"cosine"`` lets the learning rate fall to zero at the end.
        loss: Whether the loss is averaged over patterns, or summed over all of them (estimated from those of a step).
        weight_decay: lambda for all layers, by layer, or by layer and kind, ``{"hidden_1": {"kernel": 0.1, "bias": 0.0}}``, each one number or one
            per posterior; or ``"prior"``: the objective is then minus T times the posterior's log-density, over the number of patterns if the
            loss is averaged.
        trained: Layers that are trained, such as ``("hidden_1",)``; None for all.
        layer_rates_of: ``"parameterization"`` multiplies the learning rates of layers by its factors, with which muP keeps its
            promise; ``"equal"`` does not.
        label_noise: Probability, below 1, that a pattern's target is replaced by that of a random one, drawn anew in every step.
        input_noise: Standard deviation of noise on the inputs, drawn anew in every step, in units of that of all inputs.
        dropout: Probability that a hidden unit is silent, drawn anew in every step.
        batch_norm: Whether inputs and hidden preactivations are normalized over the patterns of a step, with a trained gain (from 1) and
            bias (from 0) of every input and unit; networks need ``bias=True``. Observables and ``weights`` are those of the plain network that
            it is with the moments of the whole training set, or, with ``"running"``, with moments averaged along training
            (a tenth of every step's), as deep-learning libraries evaluate it: what noise and dropout added to them stays in, and the group
            ``initial`` is normalized with means of 0 and variances of 1. Plain networks cannot be trained on as normalized ones:
            gains and averages are not in the run, and ``start`` sets gains to 1.
        stop_below: A network is trained no further when the mean objective of the steps of an epoch falls below it; ``n_steps`` says how many it took.
        start: Initial weights with leading axes (seed, chain); None for draws from the prior.
        observables: What a snapshot is; None for `training_observables`.
        out: Folder (zarr) that receives the snapshots; None keeps the run in memory.
        resume: Go on with the run in ``out`` from the last segment that was saved; ``snapshots`` and ``epochs`` may have grown together.
        segment: Snapshots per segment.
        batching: ``"loop"``, networks of a device one after another, or ``"vmap"``, all at once; None for what the device is better at.
        precision: Floating-point type.
        memory_limit: Bytes the run may use; None for all that is free.
        key: Random key, or the integer to make one from.
        progress: Called between segments.
        verbose: Whether to print what goes on.

    Returns:
        A run as of `sample`: ``posterior`` (invariant observables), ``units``, ``health``, ``weights`` (the last ones), ``constant_data``; ``draw``
        counts snapshots, of ``steps_per_draw`` steps each (attribute). The group ``initial`` has the observables before the
        first step. Networks that left the finite numbers are named in ``health``.

    Raises:
        ValueError: If an argument is out of range, posteriors do not fit together, or the run in ``out`` is another one.
        FileExistsError: If ``out`` exists.
        MemoryError: If the run would not fit, before anything is compiled.
        KeyboardInterrupt: If training is stopped when its last snapshot is already on disk.

    Example:
        >>> from hiddencodes.models import MLP, relu, standard
        >>> from hiddencodes.tasks import xor_conditions
        >>> task = xor_conditions(1.0, 12).sample(64)
        >>> run = train(Posterior(MLP(12, 1, 20, 1, relu, standard), task, likelihood="bernoulli", temperature=1.0),
        ...             networks=3, epochs=20, snapshots=4, batch_size=16, verbose=False)
        >>> dict(run["posterior"]["condition_kernel"].sizes)
        {'seed': 1, 'chain': 3, 'draw': 4, 'layer': 1, 'condition': 4, 'condition_2': 4}
    """
    posteriors = list(posterior) if isinstance(posterior, Sequence) else [posterior]
    setup.check_equal_sizes(posteriors)
    first, n = posteriors[0], len(posteriors)
    chosen = Optimizer(optimizer) if isinstance(optimizer, str) else optimizer
    networks = arguments.count("networks", networks, 1)
    epochs, snapshots = arguments.count("epochs", epochs, 1), arguments.count("snapshots", snapshots, 1)
    if epochs % snapshots:
        raise ValueError(f"snapshots: expected a divisor of epochs={epochs}, got {snapshots!r}")
    for name, value, options in (
        ("schedule", schedule, ("constant", "cosine")),
        ("loss", loss, ("mean", "sum")),
        ("layer_rates_of", layer_rates_of, ("equal", "parameterization")),
        ("precision", precision, ("float64", "float32")),
    ):
        arguments.choice(name, value, options)
    n_train = first.task.n_train
    size = None if batch_size is None else arguments.count("batch_size", batch_size, 1)
    if size is not None and size > n_train:
        raise ValueError(f"batch_size: expected at most the {n_train} training patterns, got {batch_size!r}")
    layers = tuple(shape.name for shape in first.mlp.layers())
    chosen_layers = layers if trained is None else tuple(trained)
    if not chosen_layers or set(chosen_layers) - set(layers):
        raise ValueError(f"trained: expected some of {list(layers)}, got {trained!r}")
    arguments.choice("batch_norm", batch_norm, (False, True, "running"))
    if batch_norm and not first.mlp.bias:
        raise ValueError("batch_norm: networks need bias=True, got bias=False")
    if batch_norm and size is not None and 1 in (size, n_train % size):
        raise ValueError(
            f"batch_size: a batch of one pattern has no variance to normalize with, got {size} for {n_train} patterns"
        )
    running = batch_norm == "running"
    stops = setup.per_posterior("stop_below", stop_below, n)
    path = arguments.out(out, resume=resume)
    arguments.limit("memory_limit", memory_limit)
    arguments.callback("progress", progress)
    random_key = arguments.random_key(key)
    noise = {"label_noise": label_noise, "input_noise": input_noise, "dropout": dropout}
    varied = {name: setup.per_posterior(name, value, n) for name, value in noise.items()}
    for name in ("label_noise", "dropout"):
        if not np.all(varied[name] < 1.0):
            raise ValueError(f"{name}: expected less than 1, got {varied[name].max():g}")
    rates = setup.per_posterior("learning_rate", learning_rate, n)
    per_epoch = 1 if size is None else -(-n_train // size)
    recipe = Recipe(
        optimizer=chosen,
        steps_per_snapshot=per_epoch * (epochs // snapshots),
        batch_size=size,
        average=loss == "mean",
        trained=chosen_layers,
        rates=layer_rates(first.mlp, chosen, layer_rates_of == "equal", bool(batch_norm)),
        cosine=schedule == "cosine",
        noisy=tuple(name for name, value in varied.items() if np.any(value > 0)),
        batch_norm=bool(batch_norm),
        running=running,
        stops=bool(np.any(stops > 0)),
    )
    kinds = list(dict.fromkeys(p.mlp for p in posteriors))
    assert isinstance(first.likelihood, Likelihood)
    observed = arguments.observables(
        training_observables(first.task.n_test) if observables is None else observables
    )
    target = TrainingTarget(tuple(kinds), first.likelihood, observed, recipe)
    count = n_train if loss == "mean" else 1
    knobs = Knobs(
        network=np.asarray([kinds.index(p.mlp) for p in posteriors], np.int32),
        learning_rate=rates,
        weight_decay=setup.weight_decay(weight_decay, posteriors, count),
        steps=np.full(n, float(per_epoch * epochs)),
        stop_below=stops,
        **varied,
    )
    with ExitStack() as stack:
        stack.enter_context(numerics(precision))
        if path is not None:
            stack.enter_context(locked(path, jax.process_index()))
        stop = stack.enter_context(asked_to_stop(verbose))
        dtype = np.dtype(precision)
        data = setup.stacked(TrainingData(setup.stack([p.data() for p in posteriors]), knobs), dtype)
        q = (
            setup.initial_weights(
                posteriors, networks, random_key, dtype, batch_norm=bool(batch_norm), running=running
            )
            if start is None
            else setup.flat(start, posteriors, networks, batch_norm=bool(batch_norm), running=running)
        )
        plan = Plan(np.arange(n), networks, 0, snapshots, 1, np.arange(networks), capacity=1, segment=segment)
        per_draw = memory.draw_bytes(target, data, dtype) * plan.lanes
        rows = min(
            1 << (snapshots - 1).bit_length(), LARGEST_CAPACITY["on disk"], int(_SEGMENT_BYTES // per_draw)
        )
        plan = plan._replace(capacity=max(1, rows))
        how = lanes(networks, 1, batching or (None if path is None else saved_batching(path)))
        budget = memory.training_budget(
            target, first.mlp, data, plan, dtype, streamed=path is not None, how=how
        )
        if verbose:
            print(budget, file=sys.stderr)
        memory.check(budget, memory_limit)
        coords = setup.coordinates(posteriors, plan)
        settings = {
            "name": "training", "optimizer": chosen.name, **dict(chosen.settings), "epochs_per_snapshot": epochs // snapshots,
            "batch_size": size, "loss": loss, "trained": list(chosen_layers), "layer_rates_of": layer_rates_of, "schedule": schedule,
            "batch_norm": batch_norm, "activations": [str(p.mlp.activation) for p in posteriors], "n_train": n_train,
        }  # fmt: skip
        attrs = run_tree.attributes(
            posteriors, TRAINING, plan, precision=precision, initialization="prior draws" if start is None else "given weights",
            certificate="none", moves="{}", moves_every=1, coordinates="weights", devices=how.devices, processes=how.processes,
            batching=how.batching, pattern_devices=1, steps_per_draw=recipe.steps_per_snapshot, kind="training",
            key=json.dumps(np.asarray(jax.random.key_data(random_key)).tolist()),
        ) | {"sampler": json.dumps(settings)}  # fmt: skip
        session = provenance.session(how.devices)
        constants = {
            "constant_data": setup.constants(
                posteriors, coords, with_kernel=any(o.name == "condition_kernel" for o in observed)
            ),
            "initial": setup.observed(target, q, data, coords, dtype),
        }
        stats = {"n_steps": "int32"}
        saved = None
        if path is None:
            recorder = InMemory(lambda s: run_tree.segment_datasets(s, observed, stats, coords))
            attrs |= {"sessions": json.dumps([{"from": "the beginning", **session}])}
        else:
            # How long it is does not decide on the numbers, unless the learning rate falls towards the end.
            about = data if recipe.cosine else data._replace(knobs=data.knobs._replace(steps=None))
            marks = fingerprint(attrs, plan, observed, about, q, precision)
            specs = run_tree.array_specs(observed, memory.draw_shapes(target, data, dtype), stats, dtype)
            recorder = OnDisk(path, specs, plan, how, Identity(marks, session), coords)
            saved, plan, whole = recorder.open(constants, attrs, resume=resume)
            if whole:
                return run_tree.open_run(path)
        temperature = np.asarray([p.temperature for p in posteriors], float)
        plan_of_run = Setup(target, data, temperature, TRAINING, plan, random_key, dtype, how, start=q)
        save = recorder.save if isinstance(recorder, OnDisk) else None
        report: Report = progress or (lambda event: None)
        # A network that has found its minimum stands still: nothing is lost with it.
        finished = run_chains(
            plan_of_run, Host(recorder.consume, save, report, stop, None, lost_share=1.0), saved
        )
        of_networks = jax.vmap(target.network_weights, in_axes=(0, None))
        last = jax.vmap(of_networks)(jnp.asarray(finished.q), data)
        ends = {
            "weights": named_weights(last).assign_coords({name: coords[name] for name in ("seed", "chain")})
        }
        attrs |= {"timings": json.dumps(finished.seconds), "complete": int(finished.draws == snapshots)}
        run = recorder.finish(ends if path is not None else {**ends, **constants}, attrs)
        _warn(run, finished.draws, snapshots)
        if verbose:
            print(f"trained {plan.lanes} networks in {finished.seconds['sampling']:.1f} s", file=sys.stderr)
        if path is not None and finished.draws == snapshots and stop():
            # Whoever called would go on with the next run; this one is whole, and on disk.
            raise KeyboardInterrupt(f"stopped when all {snapshots} snapshots were in {path}")
        return run


def _warn(run: xr.DataTree, done: int, snapshots: int) -> None:
    lost = int(np.sum(run["health"]["status"].values == 1))
    if lost:
        warnings.warn(
            f"{lost} networks left the finite numbers, see the group 'health'", UserWarning, stacklevel=3
        )
    if done < snapshots:
        warnings.warn(f"stopped after {done} of {snapshots} snapshots", UserWarning, stacklevel=3)
