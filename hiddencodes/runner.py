"""From a study to a run folder: posteriors, sampling, report."""

import datetime
import json
import shutil
import sys
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import xarray as xr

from hiddencodes import models, sampling, tasks
from hiddencodes.report import write_report
from hiddencodes.rules import slug
from hiddencodes.run_plan import Plan, as_written, extend_plan, plain, read_plan, refuse_another, write_plan
from hiddencodes.sampling import Progress, listing, processes
from hiddencodes.sampling.store import locked
from hiddencodes.schema import Images, Network, Sampling, Study
from hiddencodes.study import load_study
from hiddencodes.toml_text import to_toml

# Folded into the key of a study: the stream of runs that only make starting points.
_ANNEALED = 2**21


class RunFolder(NamedTuple):
    """A study and its runs, read from disk.

    Attributes:
        path: The folder.
        study: The study that was run.
        runs: One run per network, by label, in the order of the study.
    """

    path: Path
    study: Study
    runs: dict[str, xr.DataTree]


def draw_task(study: Study, seed: int) -> tasks.Task:
    """The study's task with the training and test set of one seed.

    Raises:
        ValueError: If the data do not allow what the study asks for.
        FileNotFoundError: If files of the data set are missing.
        ConnectionError: If they cannot be downloaded.
    """
    options: dict[str, Any] = study.task.model_dump(exclude={"kind"}, exclude_none=True) | {"seed": seed}
    if isinstance(study.task, Images):
        source = {key: options.pop(key) for key in ("path", "download") if key in options}
        images = tasks.load_images(options.pop("data"), **source)
        names = [images.class_names[c] for c in study.task.classes if c < len(images.class_names)]
        if len(names) < len(study.task.classes):
            raise ValueError(
                f"task.classes: {list(study.task.classes)}, expected labels below {len(images.class_names)}"
            )
        return tasks.image_task(
            images.images, images.labels, class_names=names, source=images.source, **options
        )
    generators = {
        "mnist": tasks.mnist,
        "orthogonal_classes": tasks.orthogonal_classes,
        "gaussian_clusters": tasks.gaussian_clusters,
    }
    return generators[study.task.kind](**options)


def build_posterior(network: Network, task: tasks.Task) -> models.Posterior:
    """The posterior of a network of the study on one task.

    Raises:
        ValueError: If network and task do not fit.
    """
    mlp = models.MLP(
        n_inputs=task.n_inputs,
        n_outputs=task.n_outputs,
        width=network.width,
        depth=network.depth,
        activation=models.activation(network.activation.name, **network.activation.parameters),
        parameterization=models.parameterization(network.parameterization),
        bias=network.bias,
    )
    prior = models.GaussianPrior(
        readout_variance=network.readout_variance, readout_scale=network.readout_scale
    )
    return models.Posterior(
        mlp,
        task,
        prior,
        network.likelihood,
        temperature=network.temperature,
        n_temperature=network.n_temperature,
    )


def build_posteriors(study: Study) -> dict[str, list[models.Posterior]]:
    """Every network's posterior on every seed's task, by label.

    Raises:
        ValueError: If a network and the task do not fit, or the data do not allow what the study asks for.
    """
    drawn = [draw_task(study, seed) for seed in study.seeds]
    return {n.label: [build_posterior(n, task) for task in drawn] for n in study.network}


def _sampler(settings: Sampling) -> str | sampling.Sampler | sampling.NumPyroNUTS:
    if settings.target_acceptance is None:
        return settings.sampler
    return getattr(sampling, settings.sampler)(target_acceptance=settings.target_acceptance)


def new_run_folder(name: str, out: str | Path | None = None) -> Path:
    """Make the folder of a run.

    Args:
        name: The name of the study or reproduction.
        out: The folder; ``runs/<name>-<time>`` if None.

    Raises:
        FileExistsError: If the folder exists and is not empty, or is a file.
    """
    now = datetime.datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    path = Path("runs") / f"{slug(name)}-{now}" if out is None else Path(out)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(f"{path} exists and is not an empty folder; name a new one with --out")
    path.mkdir(parents=True, exist_ok=True)
    return path


class Interrupted(KeyboardInterrupt):
    """A run that somebody stopped: everything so far is in its folder, and `resume_study` goes on with it."""


def run_study(
    study: Study,
    out: str | Path | None = None,
    *,
    text: str | None = None,
    progress: Callable[[str, Progress], None] | None = None,
    verbose: bool = True,
) -> Path:
    """Sample every network of a study and write the run folder.

    The folder holds ``study.toml``, ``networks/<label>.zarr``, ``summary.json``, ``report.html``, ``figures/*.png`` and, for those who
    go on with it, ``plan.json``. All posteriors are built before the first is sampled, so that a study that does not fit its data costs
    no sampling.

    Args:
        study: The study.
        out: The folder; ``runs/<name>-<time>`` if None.
        text: The study file's text, to be copied verbatim; written anew from the study if None.
        progress: Called between segments with the network's label and the sampler's report.
        verbose: Whether every network's memory budget is printed, and that the report is being drawn.

    Returns:
        The folder.

    Raises:
        FileExistsError: If the folder exists and is not empty.
        ValueError: If a network and the task do not fit, or the data do not allow what the study asks for.
        MemoryError: If a network would not fit into memory, before it is compiled.
        Interrupted: If somebody stopped it.
    """
    posteriors = build_posteriors(study)
    if processes.index() == 0:
        folder = new_run_folder(study.name, out)
        (folder / "study.toml").write_text(to_toml(study) if text is None else text, encoding="utf-8")
        (folder / "networks").mkdir()
        # Last, since a folder is a run that can be gone on with when it has it.
        write_plan(folder, Plan(plain(study), as_written(folder), study.sampling.draws))
    elif out is None:
        raise ValueError("out: several processes sample into one folder; name it")
    else:
        folder = Path(out)
    processes.wait("folder")
    with locked(folder, processes.index()):
        return _go_on(folder, study, posteriors, study.sampling.draws, progress, verbose)


def resume_study(
    folder: str | Path,
    *,
    extend: int = 0,
    study: Study | None = None,
    progress: Callable[[str, Progress], None] | None = None,
    verbose: bool = True,
) -> Path:
    """Go on with a run folder: sample what is missing, and write the report.

    Args:
        folder: The folder.
        extend: Draws to add to every chain of every network.
        study: The study that the folder is expected to hold; None for whatever it holds.
        progress: Called between segments with the network's label and the sampler's report.
        verbose: As for `run_study`.

    Returns:
        The folder.

    Raises:
        ValueError: If it is not a run folder, or its study is not what it was when it was begun.
        BlockingIOError: If another process is sampling it.
        Interrupted: If somebody stopped it.
    """
    folder = Path(folder)
    plan = read_plan(folder)
    refuse_another(folder, "its study.toml", plan.as_written, as_written(folder))
    if study is not None:
        refuse_another(folder, "the study given", plan.study, plain(study))
    # What paths in the study are relative to is known in the plan only.
    kept = Study.model_validate_json(json.dumps(plan.study))
    if extend and kept.sampling.sampler == "numpyro_nuts":
        raise ValueError(f"{folder}: NumPyro's sampler cannot add draws to a run; a longer one is a new one")
    posteriors = build_posteriors(kept)
    with locked(folder, processes.index()):
        draws = processes.agreed(extend_plan, folder, extend)
        return _go_on(folder, kept, posteriors, draws, progress, verbose)


def _go_on(
    folder: Path,
    study: Study,
    posteriors: dict[str, list[models.Posterior]],
    draws: int,
    progress: Callable[[str, Progress], None] | None,
    verbose: bool,
) -> Path:
    """Sample what is missing of every network, then draw the report."""
    settings = study.sampling
    for network in study.network:

        def report(event: Progress, label: str = network.label) -> None:
            if progress is not None:
                progress(label, event)

        common: dict[str, Any] = {
            "sampler": _sampler(settings),
            "chains": settings.chains,
            "seeds": list(study.seeds),
            "warmup": settings.warmup,
            "precision": settings.precision,
            "key": settings.key,
            "moves": () if settings.moves is None else getattr(sampling, settings.moves)(),
            "moves_every": settings.moves_every,
            "lost_share": settings.lost_share,
            "progress": report,
            "verbose": verbose,
        }
        store = folder / "networks" / f"{slug(network.label)}.zarr"
        start = None
        if settings.compositions is not None:
            own: dict[str, Any] = {
                "key": jax.random.fold_in(jax.random.key(settings.key), _ANNEALED),
                "moves_every": 1,
            }
            # A folder of its own: a label of another network may end like any name that is made of this one.
            beside = folder / "starts" / store.name
            beside.parent.mkdir(exist_ok=True)
            with _stops_here(folder):
                annealed = sampling.sample(
                    posteriors[network.label], draws=1, out=beside, resume=True, **(common | own)
                )
            start = sampling.composition_start(
                posteriors[network.label],
                annealed,
                settings.compositions,
                chains=settings.chains,
                key=settings.key,
            )
        again: dict[str, Any] = {"resume": True}
        if settings.sampler == "numpyro_nuts":
            # NumPyro's sampler hands over all draws at its end: there is all of a run or nothing.
            if listing.attributes(store).get("complete", 0):
                continue
            shutil.rmtree(store, ignore_errors=True)
            again = {}
        with _stops_here(folder):
            run = sampling.sample(
                posteriors[network.label],
                draws=draws,
                thin=settings.thin,
                out=store,
                superchains=settings.superchains,
                start=start,
                **common,
                **again,
            )
            if not run.attrs["complete"]:
                raise KeyboardInterrupt
    if processes.index() == 0:
        if verbose:
            print("drawing the report", file=sys.stderr, flush=True)
        report_run_folder(folder)
    processes.wait("report")
    return folder


@contextmanager
def _stops_here(folder: Path) -> Generator[None]:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="stopped after")
            yield
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; go on with: hiddencodes run --resume {folder}") from None


def load_run_folder(path: str | Path) -> RunFolder:
    """Read a run folder; arrays are read when used.

    Args:
        path: The folder.

    Raises:
        ValueError: If it is not a run folder, or a network has not been sampled to the end.
    """
    path = Path(path)
    if not (path / "study.toml").is_file():
        raise ValueError(f"{path} is not a run folder: it has no study.toml")
    study = load_study(path / "study.toml")
    runs: dict[str, xr.DataTree] = {}
    for network in study.network:
        store = path / "networks" / f"{slug(network.label)}.zarr"
        run = sampling.open_run(store) if listing.attributes(store) else None
        if run is None or not run.attrs.get("complete", 1):
            raise ValueError(f"{path}: the network {network.label!r} has not been sampled to the end")
        runs[network.label] = run
    return RunFolder(path, study, runs)


def report_run_folder(path: str | Path) -> Path:
    """Draw figures and write ``summary.json`` and ``report.html`` for a run folder; nothing is sampled.

    Args:
        path: The folder.

    Returns:
        The path of the report.

    Raises:
        ValueError: If it is not a run folder, or a network has not been sampled to the end.
    """
    folder = load_run_folder(path)
    return write_report(folder.path, folder.study, folder.runs)
