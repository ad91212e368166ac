"""What the command line shows of a sweep."""

from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column, Table
from rich.text import Text

from hiddencodes.sweep import PointState

_STYLES = {"finished": "green", "failed": "bold red"}


@contextmanager
def bar_of_points(shown: bool) -> Generator[Callable[[Mapping[str, str]], None]]:
    """A progress bar of the points that are finished, and the function that moves it.

    Args:
        shown: Whether anything is drawn.
    """
    states = TextColumn("{task.fields[states]}", markup=False)
    console = Console(stderr=True)
    bars = Progress(
        BarColumn(None), MofNCompleteColumn(), states, console=console, expand=True, disable=not shown
    )
    row = bars.add_task("", total=None, states="")

    def show(points: Mapping[str, str]) -> None:
        counts = Counter(points.values())
        text = ", ".join(f"{n} {state}" for state, n in counts.items())
        bars.update(row, completed=counts["finished"], total=len(points), states=text)

    with bars:
        yield show


def print_points(points: Sequence[PointState]) -> None:
    """Print a table of points with their values and states.

    Args:
        points: At least one.
    """
    table = Table("point", *(Column(Text(key)) for key in points[0].values), "state", "")
    for point in points:
        cells = map(Text, [point.name, *map(str, point.values.values())])
        table.add_row(*cells, Text(point.state, _STYLES.get(point.state, "yellow")), Text(point.detail))
    Console().print(table)
