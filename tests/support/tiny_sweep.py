"""A study and a grid of four points that take little time, and the command that runs them."""

from pathlib import Path

# When it is imported it closes the log handlers that there are, and some of them their streams, unless these are the ones of now.
import submitit  # noqa: F401
from typer.testing import CliRunner, Result

from hiddencodes import cli

# Points differ in nothing for which programs are compiled anew.
BASE = """\
name = "tiny"
[task]
kind = "orthogonal_classes"
n_train = 8
[sampling]
chains = 2
draws = 8
warmup = 10
lost_share = 1.0
[[network]]
label = "one/two"
activation = "sigmoidal"
width = 6
n_temperature = 0.1
"""
GRID = """\
study = "base.toml"
[grid]
sampling.key = [0, 1]
"task.y_plus" = [1, 2]
[executor]
cluster = "debug"
"""
NAMES = ["00-0-1", "01-0-2", "02-1-1", "03-1-2"]


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, ["sweep", *map(str, arguments), "--no-progress"])


def written(folder: Path, grid: str = GRID, base: str = BASE) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "base.toml").write_text(base)
    (folder / "grid.toml").write_text(grid)
    return folder / "grid.toml"


def rows(table: str) -> list[str]:
    return [line for line in table.split("\n") if any(name in line for name in NAMES)]
