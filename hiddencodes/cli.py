"""The command line: ``hiddencodes run``, ``sweep``, ``report``, ``study`` and ``reproduce``."""

import os
import sys
import traceback
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hiddencodes.benchmarks.papers import Reproduction

app = typer.Typer(
    help="Sample the weight posteriors of wide neural networks and say which codes their hidden layers use.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"hiddencodes {metadata.version('hiddencodes')}")
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version


@contextmanager
def _plain_errors(debug: bool) -> Generator[None]:
    """Turn errors into one message and an exit code: 2 for a refused study, 1 for any other failure."""
    from hiddencodes.study import StudyError

    try:
        yield
    except KeyboardInterrupt as stopped:
        typer.echo(f"{stopped or 'stopped'}", err=True)
        raise typer.Exit(130) from None
    except StudyError as error:
        count = len(error.problems)
        typer.echo(f"{error}\nerror: the study was refused ({count} problem{'s' * (count != 1)})", err=True)
        raise typer.Exit(2) from None
    except (ValueError, OSError, MemoryError, ArithmeticError) as error:
        if debug:
            traceback.print_exc()
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


@contextmanager
def _bars(labels: list[str], shown: bool) -> Generator[Callable[..., None]]:
    """One progress bar per network, and the function that moves it; nothing is drawn unless ``shown``."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    from hiddencodes.sampling import Progress

    bars = Bars(
        TextColumn("{task.fields[label]}", markup=False),
        TextColumn("{task.fields[phase]}", style="dim", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.completed:.0f}/{task.total:.0f}", markup=False),
        TextColumn("{task.fields[numbers]}", markup=False),
        console=Console(stderr=True),
        expand=True,
        disable=not shown,
    )
    rows = {label: bars.add_task("", total=1, label=label, phase="waiting", numbers="") for label in labels}

    def show(label: str, event: Progress | str, what: str = "") -> None:
        if isinstance(event, str):
            bars.update(rows[label], completed=event != "running", total=1, phase=event, numbers="")
            return
        numbers = ""
        if event.phase != "compile":
            rhat = f"R-hat {event.worst_rhat:.2f}  " if event.worst_rhat == event.worst_rhat else ""
            numbers = (
                f"{event.draws_per_second:,.0f} draws/s  acceptance {event.acceptance:.2f}  {rhat}"
                f"{_clock(event.seconds_left)} left"
            )
        phase = f"{what}: {event.phase}" if what else event.phase
        bars.update(rows[label], completed=event.done, total=event.total, phase=phase, numbers=numbers)

    with bars:
        yield show


def _clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any.

    Example:
        >>> _clock(75.2), _clock(3700.0), _clock(float("nan"))
        ('1:15', '1:01:40', '?')
    """
    if not 0 <= seconds < float("inf"):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@app.command()
def run(
    study: Annotated[
        Path | None,
        typer.Argument(metavar="[STUDY.toml]", help="A study file; the built-in study if left out."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/<name>-<time> if left out.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A small version of the study, to try it out.")
    ] = False,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with a run folder that was interrupted.")
    ] = None,
    extend: Annotated[
        int, typer.Option(min=0, metavar="DRAWS", help="With --resume: add draws to every chain.")
    ] = 0,
    distributed: Annotated[
        bool,
        typer.Option(
            "--distributed", help="One of several processes that sample together; JAX finds the others."
        ),
    ] = False,
    progress: Annotated[bool, typer.Option("--progress/--no-progress", help="Show progress bars.")] = True,
    debug: Annotated[bool, typer.Option("--debug", help="Print the traceback of an error.")] = False,
) -> None:
    """Sample every network of a study, then write its report.

    What is interrupted, by Ctrl-C or in any other way, is gone on with by --resume; its draws are then those of a run that
    was never interrupted.
    """
    with _plain_errors(debug):
        if resume is not None and (out is not None or quick):
            raise ValueError(
                "--resume goes on in its own folder with its own study; leave out --out and --quick"
            )
        if extend and resume is None:
            raise ValueError("--extend adds draws to a run folder; name it with --resume")
        if resume is not None and not (resume / "study.toml").is_file():
            raise ValueError(
                f"--resume: there is no run at {str(resume)!r}; expected a folder that `hiddencodes run` made"
            )
        # The study is read before anything heavy is imported: mistakes in it should show at once.
        from hiddencodes.study import built_in_study, load_study

        loaded = load_study(study if resume is None else resume / "study.toml")
        given = load_study(study) if resume is not None and study is not None else None
        text = None if quick else built_in_study() if study is None else study.read_text(encoding="utf-8")
        loaded = loaded.quick() if quick else loaded
        if distributed:
            import jax

            jax.distributed.initialize()
        from hiddencodes.runner import resume_study, run_study
        from hiddencodes.sampling import processes

        first = processes.index() == 0
        progress = progress and first
        with _bars([network.label for network in loaded.network], progress) as show:
            if resume is None:
                folder = run_study(loaded, out, text=text, progress=show, verbose=progress)
            else:
                folder = resume_study(resume, extend=extend, study=given, progress=show, verbose=progress)
        if first:
            _print_verdicts(folder)


@app.command()
def sweep(
    grid: Annotated[
        Path | None,
        typer.Argument(
            metavar="[GRID.toml]", help="A grid file: a study, and the values that its keys take."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the sweep; runs/<name of the file> if left out.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Go on with a folder, as the same command does.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for a scheduler's jobs.")] = True,
    progress: Annotated[bool, typer.Option("--progress/--no-progress", help="Show a progress bar.")] = True,
    debug: Annotated[bool, typer.Option("--debug", help="Print the traceback of an error.")] = False,
) -> None:
    """Run a study at every point of a grid, in jobs of a scheduler or in processes on this machine.

    Every point is a run folder. The same command goes on with what was interrupted, tries again what failed, and leaves alone what is
    finished. Exit code 1: a point failed; 130: a point is not finished.
    """
    with _plain_errors(debug):
        if (grid is None) == (resume is None) or (resume is not None and out is not None):
            raise ValueError("expected a grid file and its --out, or the folder of a sweep as --resume")
        from hiddencodes.rules import slug
        from hiddencodes.sweep_file import load_grid
        from hiddencodes.sweep_jobs import run_sweep
        from hiddencodes.sweep_view import bar_of_points, print_points

        loaded = None if grid is None else load_grid(grid)
        folder = resume or out or Path("runs") / slug("sweep" if grid is None else grid.stem)
        with bar_of_points(progress) as watch:
            points = run_sweep(folder, loaded, wait=wait, watch=watch)
        print_points(points)
        typer.echo(folder)
    states = {point.state for point in points}
    if "failed" in states:
        raise typer.Exit(1)
    if states - {"finished"} and wait:
        raise typer.Exit(130)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    debug: Annotated[bool, typer.Option("--debug", help="Print the traceback of an error.")] = False,
) -> None:
    """Draw the report of a run folder anew; nothing is sampled."""
    with _plain_errors(debug):
        from hiddencodes.runner import report_run_folder

        report_run_folder(folder)
        _print_verdicts(folder)


@app.command("study")
def print_study() -> None:
    """Print the built-in study file, to start your own from."""
    from hiddencodes.study import built_in_study

    typer.echo(built_in_study(), nl=False)


@app.command()
def reproduce(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A reproduction; all are listed if left out.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; runs/<name>-<time> if left out.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A small version, to try it out.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(metavar="SECTION", help="Run this section only; may be repeated.")
    ] = None,
    key: Annotated[int, typer.Option(help="Random key.")] = 0,
    listed: Annotated[bool, typer.Option("--list", help="List the sections and run nothing.")] = False,
    progress: Annotated[bool, typer.Option("--progress/--no-progress", help="Show progress bars.")] = True,
    debug: Annotated[bool, typer.Option("--debug", help="Print the traceback of an error.")] = False,
) -> None:
    """Hold a published system against sampled networks: theory beside samples, claim by claim.

    Writes results.json, report.html and figures; what is there is kept if a later section fails. Exit code 0: every section ran
    and no claim fails; 1: a claim fails, a section stopped with an error, or nothing could be run; 2: there is no such
    reproduction or section. Claims that are "not compared" neither pass nor fail.
    """
    from hiddencodes.benchmarks.papers import run
    from hiddencodes.benchmarks.papers.catalog import REPRODUCTIONS

    known = {reproduction.name: reproduction for reproduction in REPRODUCTIONS}
    if name is None or listed:
        shown = known.values() if name is None else [_one_of(known, name, "reproduction")]
        typer.echo("\n".join(map(_listing, shown)))
        return
    chosen: Reproduction = _one_of(known, name, "reproduction")
    for section in only or ():
        _one_of(chosen.headlines, section, "section")
    with _plain_errors(debug):
        with _bars([s for s in chosen.headlines if not only or s in only], progress) as show:
            outcome = run(chosen, out, quick=quick, only=only or (), key=key, watch=show)
        _print_claims(outcome.results)
        typer.echo(outcome.folder / "report.html")
    if not outcome.ok:
        raise typer.Exit(1)


def _one_of[T](known: Mapping[str, T], name: str, what: str) -> T:
    """The thing of a name, or exit code 2 and the names there are."""
    if name not in known:
        typer.echo(f"error: no {what} is called {name!r}; there are: {', '.join(known) or 'none'}", err=True)
        raise typer.Exit(2)
    return known[name]


def _listing(reproduction: "Reproduction") -> str:
    """A reproduction and its sections as lines of text."""
    width = max(map(len, reproduction.headlines), default=0)
    sections = [f"  {name:<{width}}  {headline}" for name, headline in reproduction.headlines.items()]
    return "\n".join(
        [f"{reproduction.name}: {reproduction.title} (arXiv {reproduction.paper.arxiv})", *sections]
    )


def _print_claims(results: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from hiddencodes.benchmarks.papers.page import count_words, shown_numbers

    styles = {"holds": "green", "fails": "bold red"}
    table = Table("section", "claim", "expected", "measured", "verdict")
    for claim in results["claims"]:
        cells = [claim["section"], claim["name"], *shown_numbers(claim)]
        table.add_row(*map(Text, cells), Text(claim["verdict"], styles.get(claim["verdict"], "yellow")))
    for section in results["sections"]:
        if section["error"]:
            table.add_row(
                Text(section["name"]), Text(section["error"]), "", "", Text("stopped by an error", "bold red")
            )
    Console().print(table)
    typer.echo(count_words(results["counts"]))


def _print_verdicts(folder: Path) -> None:
    import json

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from hiddencodes.report import one_reason

    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    table = Table("network", "scheme", "chains")
    for label, network in summary["networks"].items():
        scheme = network["scheme"]["sentence"] if network["scheme"] else "unknown: no chain stayed finite"
        chains = network["convergence"]
        word = "converged" if chains["ok"] else "NOT converged" if chains["assessable"] else "not assessable"
        table.add_row(Text(label), Text(scheme), Text(f"{word}: {one_reason(chains)}"))
    Console().print(table)
    typer.echo(folder / "report.html")


def _use_all_cores() -> None:
    """For ``run`` and ``reproduce``: a device per core where JAX would use the CPU, since XLA does little of a program of many small operations in parallel.

    JAX reads how many when it is imported, which was before this module was: the process becomes itself once more.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    told = "JAX_NUM_CPU_DEVICES" in os.environ or "xla_force_host" in os.environ.get("XLA_FLAGS", "")
    if sys.argv[1:2] in (["run"], ["reproduce"]) and "--help" not in sys.argv and cores > 1 and not told:
        environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(cores)}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def main() -> None:
    """The console entry point."""
    _use_all_cores()
    try:
        app()
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
