"""A section of a reproduction: one figure's worth of sampling, claims and pictures, and the settings it is run with."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import xarray as xr
from matplotlib.figure import Figure

from hiddencodes.benchmarks.papers.claim import Claim
from hiddencodes.models import Posterior, Reduced
from hiddencodes.rules import slug
from hiddencodes.sampling import Progress, sample, train

Show = Callable[[str, Progress], None]


def _ignore(label: str, event: Progress) -> None:
    del label, event


@dataclass(frozen=True)
class Settings:
    """What a section is run with.

    Attributes:
        quick: Whether a small version is wanted.
        folder: Where runs are kept.
        key: The reproduction's random key, an integer.
        section: Name of the section; its runs do not collide with those of others.
        progress: Called between segments with the run's label and the sampler's report.

    Example:
        >>> settings = Settings(quick=True, folder=Path("out"), section="figure-1")
        >>> settings.choose(full=1000, quick=50), settings.store("relu, lazy").as_posix()
        (50, 'out/runs/figure-1_relu-lazy.zarr')
    """

    quick: bool
    folder: Path
    key: int = 0
    section: str = ""
    progress: Show = field(default=_ignore, repr=False, compare=False)

    def choose[T](self, full: T, quick: T) -> T:
        """One of two values, by the size of the reproduction."""
        return quick if self.quick else full

    def store(self, label: str) -> Path:
        """Where the run of a label is kept."""
        return self.folder / "runs" / f"{slug(f'{self.section}_{label}')}.zarr"

    def random_key(self, label: str) -> int:
        """A random key of the label's own: runs do not share random numbers unless they share reproduction, section and label."""
        text = json.dumps([self.key, self.section, label])
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) // 2

    def sample(
        self,
        label: str,
        posterior: Posterior | Reduced | Sequence[Posterior] | Sequence[Reduced],
        **options: Any,
    ) -> xr.DataTree:
        """Sample into the reproduction's folder.

        Args:
            label: What the run is called; unique within the section.
            posterior: One posterior, or one per seed.
            **options: As in `hiddencodes.sample`; the key follows from the label unless it is given.

        Returns:
            The run, kept on disk.

        Raises:
            FileExistsError: If the section has a run of that label already.
            ValueError: As `hiddencodes.sample` does.
            KeyboardInterrupt: If somebody stopped it, by Ctrl-C or SIGTERM.
        """
        return self._kept(sample, label, posterior, options)

    def train(self, label: str, posterior: Posterior | Sequence[Posterior], **options: Any) -> xr.DataTree:
        """Train ensembles into the reproduction's folder.

        Arguments and errors are those of `sample`, options those of `hiddencodes.train`.
        """
        return self._kept(train, label, posterior, options)

    def _kept(
        self, how: Callable[..., xr.DataTree], label: str, posterior: Any, options: dict[str, Any]
    ) -> xr.DataTree:
        store = self.store(label)
        store.parent.mkdir(parents=True, exist_ok=True)
        defaults: dict[str, Any] = {"key": self.random_key(label), "verbose": False}

        def told(event: Progress) -> None:
            self.progress(label, event)

        run = how(posterior, out=store, progress=told, **{**defaults, **options})
        if not run.attrs["complete"]:
            # Somebody asked to stop: neither is the next run wanted, nor are claims about a part of this one.
            raise KeyboardInterrupt(f"stopped in the run {label!r}")
        return run


@dataclass(frozen=True)
class Section:
    """What a section found.

    Attributes:
        title: Heading.
        question: What is asked, as plain text.
        claims: The claims, with different names.
        figures: Figures, or the bytes of PNG files, by a name that is also the file's.
        captions: What the figures show, by the same names.
        settings: What was run: numbers, texts and sequences, or one mapping per run (`describe_run`).
        notes: What a reader has to know.
        unknown: What is not known about the published experiment.

    Raises:
        ValueError: If names of claims repeat, a figure is no PNG or has a name that is no file name, or a caption has no figure.

    Example:
        >>> claim = Claim.agrees("mean", "The mean is 1.", 1.0, 1.05, 0.02, grade="derived")
        >>> Section("Coins", "Is the coin fair?", (claim,)).claims[0].verdict
        'holds'
    """

    title: str
    question: str
    claims: tuple[Claim, ...] = ()
    figures: Mapping[str, Figure | bytes] = MappingProxyType({})
    captions: Mapping[str, str] = MappingProxyType({})
    settings: Mapping[str, object] = MappingProxyType({})
    notes: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what could not be told apart or shown."""
        repeated = [name for name, times in Counter(claim.name for claim in self.claims).items() if times > 1]
        if repeated:
            raise ValueError(f"claims: the names {repeated} are given to more than one claim")
        for name, figure in self.figures.items():
            if slug(name) != name:
                raise ValueError(f"figures: expected a name like {slug(name)!r}, got {name!r}")
            if isinstance(figure, bytes) and not figure.startswith(b"\x89PNG"):
                raise ValueError(f"figures: {name!r} is not a PNG")
        if not set(self.captions) <= set(self.figures):
            raise ValueError(f"captions: {sorted(set(self.captions) - set(self.figures))} name no figure")


SectionFunction = Callable[[Settings], Section]


def section_name(function: SectionFunction) -> str:
    """A section's name: its function's, with dashes.

    Example:
        >>> def two_classes(settings: Settings) -> Section:
        ...     '''Two equal classes.'''
        ...     return Section("Two classes", "Which codes?")
        >>> section_name(two_classes), section_headline(two_classes)
        ('two-classes', 'Two equal classes')
    """
    return function.__name__.strip("_").replace("_", "-")


def section_headline(function: SectionFunction) -> str:
    """What a section is about: the first line of its function's docstring."""
    first = (function.__doc__ or "").strip().partition("\n")[0]
    return re.sub(r"\.$", "", first) or section_name(function)


def describe_run(run: xr.DataTree) -> dict[str, object]:
    """How a run was made, for a section's settings.

    Args:
        run: What `hiddencodes.sample` returns.
    """
    model, sampler, seconds = (json.loads(run.attrs[name]) for name in ("model", "sampler", "timings"))
    sizes = run["posterior"].sizes
    data = run["constant_data"].sizes
    return {
        "network": f"{model['activation']}, {model['parameterization']}",
        "L": model["depth"],
        "N": model["width"],
        "P": data["pattern"],
        "N T": run.attrs["n_temperature"],
        "readout variance": run.attrs["readout_variance"],
        "sampler": sampler["name"],
        "seeds": sizes["seed"],
        "chains": sizes["chain"],
        "draws": sizes["draw"],
        "thin": run.attrs["thin"],
        "warm-up": run.attrs["warmup"],
        "precision": run.attrs["precision"],
        "seconds": round(sum(seconds.values()), 1),
    }


def describe_training(run: xr.DataTree) -> dict[str, object]:
    """How ensembles were trained, for a section's settings.

    Args:
        run: What `hiddencodes.train` returns.
    """
    model, recipe, seconds = (json.loads(run.attrs[name]) for name in ("model", "sampler", "timings"))
    sizes = run["posterior"].sizes
    return {
        "network": f"{', '.join(dict.fromkeys(recipe['activations']))}, {model['parameterization']}",
        "N": model["width"],
        "P": recipe["n_train"],
        "optimizer": recipe["optimizer"],
        "batch": recipe["batch_size"] or "all",
        "epochs": recipe["epochs_per_snapshot"] * sizes["draw"],
        "trained layers": ", ".join(recipe["trained"]),
        "tasks x activations": sizes["seed"],
        "networks each": sizes["chain"],
        "seconds": round(sum(seconds.values()), 1),
    }
