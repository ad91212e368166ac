"""Grid files: their points are those of the product, and everything that is wrong is found before anything is run."""

import re
import tomllib
from pathlib import Path

import pytest

from hiddencodes.study import StudyError
from hiddencodes.sweep_file import load_grid

PAGE = Path(__file__).parents[2] / "docs" / "sweeps.md"
ONE = """\
name = "tiny"
[task]
kind = "orthogonal_classes"
n_train = 8
[sampling]
draws = 8
[[network]]
label = "one/two"
activation = "sigmoidal"
width = 6
n_temperature = 0.1
"""
TWO = ONE + '[[network]]\nlabel = "b"\nactivation = "relu"\nn_temperature = 0.1\n'


def written(folder: Path, grid: str, base: str = TWO) -> Path:
    (folder / "base.toml").write_text(base)
    (folder / "grid.toml").write_text(grid)
    return folder / "grid.toml"


def test_the_points_are_the_product(tmp_path: Path) -> None:
    axes = '"task.n_train" = [8, 12]\n"network.b.activation" = ["relu", {name = "leaky_relu", slope = 0.1}]\n'
    grid = load_grid(written(tmp_path, f'study = "base.toml"\n[grid]\n{axes}'))
    assert grid.executor == ("local", None, {})
    assert [p.name for p in grid.points] == [
        "00-8-relu", "01-8-name-leaky_relu-slope-0.1", "02-12-relu", "03-12-name-leaky_relu-slope-0.1",
    ]  # fmt: skip
    assert [p.study.task.n_train for p in grid.points] == [8, 8, 12, 12]
    assert [p.study.network[1].activation.parameters for p in grid.points] == [{}, {"slope": 0.1}] * 2
    assert {p.study.network[0].activation.name for p in grid.points} == {"sigmoidal"}
    assert grid.points[3].values["task.n_train"] == 12


def test_a_key_of_all_networks(tmp_path: Path) -> None:
    grid = load_grid(written(tmp_path, 'study = "base.toml"\n[grid]\nnetwork.width = [6, 8]'))
    assert [[n.width for n in p.study.network] for p in grid.points] == [[6, 6], [8, 8]]


def test_paths_of_data_are_relative_to_the_study(tmp_path: Path) -> None:
    images = 'kind = "images"\ndata = "mnist"\nclasses = [3, 5]\npath = "data"'
    base = ONE.replace('kind = "orthogonal_classes"', images)
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "base.toml").write_text(base)
    (tmp_path / "grid.toml").write_text('study = "studies/base.toml"\n[grid]\n"task.path" = ["a", "b"]')
    paths = [p.study.task.model_dump()["path"] for p in load_grid(tmp_path / "grid.toml").points]
    assert paths == [str(tmp_path / "studies" / name) for name in ("a", "b")]


REFUSED = {
    "": [
        "1: grid: is missing; expected a table [grid] of keys of the study, each with an array of values",
        "1: study: is missing; expected the path of a study file, relative to this file",
    ],
    'stdy = 1\nstudy = "base.toml"\n[grid]': [
        "1: stdy: unknown key; did you mean study?",
        "3: grid: got {}; expected a table [grid] of keys of the study, each with an array of values",
    ],
    'study = "base.toml"\n[grid': [
        "2: is not valid TOML: Expected ']' at the end of a table declaration (at end of document)"
    ],
    "[]\nsampling.key = []\ntask = 3\nsampling.draws = [4, 4]\nsampling.thin = [1979-05-27]": [
        "3: grid.sampling.key: got []; expected an array of at least one value",
        "4: grid.task: got 3; expected an array of at least one value",
        "5: grid.sampling.draws[1]: 4 is there twice; expected different values",
        '6: grid.sampling.thin[0]: got "1979-05-27"; expected numbers, texts, true and false, and arrays and tables of them',
    ],
    '[]\nsampling.kee = [1, 2]\nsampling.key = [0, -1, "x", true]\n"network.b.width" = [\n6,\n2]': [
        "3: grid.sampling.kee: unknown key; did you mean key?",
        "4: grid.sampling.key[1]: got -1; expected an integer of at least 0",
        '4: grid.sampling.key[2]: got "x"; expected an integer of at least 0',
        "4: grid.sampling.key[3]: got true; expected an integer of at least 0",
        "7: grid.network.b.width[1]: got 2; expected an integer of at least 4 (the coding scheme needs at least 4 units)",
    ],
    "[]\nsampling.chains = [6, 4]\nsampling.superchains = [3, 2]": [
        ("2: grid: sampling.chains = 4, sampling.superchains = 3: sampling.superchains: "
        "3 does not divide the number of chains; expected a divisor of 4")
    ],
    "[]\nnetwork.temperature = [0.1]": [
        "3: grid.network.temperature: 0.1 is given together with n_temperature = N T; expected exactly one of the two"
    ],
    '[]\ntask = [{kind = "mnist"}, {kind = "mnist", digts = [1]}]': [
        "3: grid.task[1]: task.digts: unknown key; did you mean digits?"
    ],
    '[]\n"network.c.width" = [6]': [
        ("3: grid.network.c.width: c: unknown key of a network, or label of one; expected one of label, activation, width, depth, "
        "parameterization, readout_variance, readout_scale, likelihood, temperature, n_temperature, bias, one/two, b")
    ],
    '[]\n"network.width" = [6, 8]\n"network.b.width" = [6, 8]': [
        "4: grid.network.b.width: is varied by grid.network.width as well; expected one of the two"
    ],
    '[]\nsampling.target_acceptance = [0.5, 0.50]\n[executor]\ncluster = "pbs"\nparallel = 0': [
        "3: grid.sampling.target_acceptance[1]: 0.5 is there twice; expected different values",
        '5: executor.cluster: got "pbs"; expected "local", "slurm" or "debug"',
        "6: executor.parallel: got 0; expected a positive integer",
    ],
    '[]\nsampling.key = [0]\n[executor]\ncluster = "slurm"': [
        "4: executor: timeout_min: is missing; expected the minutes after which a job is put back into the queue, an integer"
    ],
    f"[]\nsampling.key = {list(range(101))}\nsampling.draws = {list(range(4, 104))}": [
        "2: grid: has 10100 points; expected at most 10000"
    ],
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused(text: str, tmp_path: Path) -> None:
    path = written(tmp_path, text.replace("[]\n", 'study = "base.toml"\n[grid]\n', 1))
    with pytest.raises(StudyError) as caught:
        load_grid(path)
    assert str(caught.value).split("\n") == [f"{path}:{line}" for line in REFUSED[text]]


def test_a_study_that_is_refused_or_missing(tmp_path: Path) -> None:
    path = written(
        tmp_path, 'study = "base.toml"\n[grid]\nsampling.key = [0]', ONE.replace("draws = 8", "draws = 1")
    )
    with pytest.raises(StudyError, match=r"base.toml:6: sampling.draws: got 1; expected"):
        load_grid(path)
    (tmp_path / "base.toml").unlink()
    with pytest.raises(StudyError, match=r"base.toml:1: cannot be read"):
        load_grid(path)


def test_the_page(tmp_path: Path) -> None:
    base, grid, executor = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    path = written(tmp_path, grid, base)
    assert len(load_grid(path).points) == 12
    assert load_grid(path).points[0].name == "00-24-50-0.02"
    text = grid[: grid.index("[executor]")] + executor
    assert load_grid(written(tmp_path, text, base)).executor.parameters["timeout_min"] == 240
    assert tomllib.loads(executor)["executor"]["parallel"] == 50
