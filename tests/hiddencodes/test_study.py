"""Study files: everything that is wrong is found, in one go, with its line."""

import doctest
import importlib
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from hiddencodes.schema import TASKS, Activation, Network, Sampling, Study
from hiddencodes.study import StudyError, built_in_study, load_study, parse_study
from hiddencodes.toml_lines import KeyPath, key_lines
from hiddencodes.toml_text import to_toml

GOOD = """\
name = "small"
seeds = [3, 1]

[task]
kind = "orthogonal_classes"
n_train = 8
fractions = [0.5, 0.25, 0.25]

[sampling]
draws = 10

[[network]]
label = "a"
activation = {name = "leaky_relu", slope = 0.2}
n_temperature = 0.1

[[network]]
label = "b"
activation = "tanh"
readout_variance = 2
temperature = 1
"""


def problems(text: str) -> list[tuple[int, str, str]]:
    with pytest.raises(StudyError) as caught:
        parse_study(text, "my.toml")
    return [(p.line, p.key, p.message) for p in caught.value.problems]


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


@pytest.mark.parametrize("name", ["study", "schema", "rules", "toml_lines", "toml_text", "plain_data"])
def test_examples_run(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"hiddencodes.{name}"))
    assert result.attempted or name == "schema"
    assert result.failed == 0


def test_a_good_study() -> None:
    study = parse_study(GOOD)
    assert study.seeds == (3, 1)
    assert [network.label for network in study.network] == ["a", "b"]
    assert study.network[0].activation.parameters == {"slope": 0.2}
    assert study.network[1].activation == Activation(name="tanh")
    assert study.network[1].readout_variance == 2.0
    assert study.sampling == Sampling(draws=10)


def test_a_study_does_not_change() -> None:
    study = parse_study(GOOD)
    with pytest.raises(ValidationError):
        study.name = "other"
    with pytest.raises(ValidationError):
        study.network[0].width = 3


def test_the_built_in_study() -> None:
    study = load_study()
    assert [(n.activation.name, n.parameterization) for n in study.network] == [
        ("sigmoidal", "mean_field"),
        ("linear", "mean_field"),
        ("relu", "mean_field"),
        ("sigmoidal", "ntk"),
    ]
    assert study.task.model_dump()["digits"] == (0, 1, 2)
    assert parse_study(built_in_study()) == study


# Line, key, and what the message must contain, for one mistake each.
MISTAKES = [
    ("draws = 10", "draw = 10", 10, "sampling.draw", "unknown key; did you mean draws?"),
    ("[sampling]", "[smapling]", 9, "smapling", "did you mean sampling?"),
    ('label = "a"', 'label = "a"\nwidht = 3', 14, "network[0].widht", "did you mean width?"),
    ("slope = 0.2", "slop = 0.2", 14, "network[0].activation.slop", "did you mean slope?"),
    ("draws = 10", 'draws = "10"', 10, "sampling.draws", 'got "10"; expected an integer of at least 4'),
    ("draws = 10", "draws = 10.0", 10, "sampling.draws", "got 10.0; expected an integer"),
    ("draws = 10", "draws = true", 10, "sampling.draws", "got true; expected an integer"),
    ("draws = 10", "draws = 3", 10, "sampling.draws", "got 3; expected an integer of at least 4"),
    ("draws = 10", "draws = 1979-05-27", 10, "sampling.draws", "1979-05-27"),
    ("draws = 10", "chains = 0", 10, "sampling.chains", "got 0; expected a positive integer"),
    ("draws = 10", "superchains = 3", 10, "sampling.superchains", "expected a divisor of 4"),
    ("draws = 10", 'moves = "rotation"', 10, "sampling.moves", 'expected "cavity_refresh"'),
    ("draws = 10", 'compositions = [{"11" = 0.5}]', 10, "sampling.compositions", "at least two tables"),
    ("draws = 10", 'compositions = [{"a" = 0.5}, {"11" = 0.5}]', 10, "sampling.compositions[0].a", 'got "a"'),
    ("draws = 10", 'compositions = [{"11" = 1.5}, {"11" = 0.5}]', 10, "sampling.compositions[0].11", "got 1.5"),
    ("draws = 10", 'chains = 3\ncompositions = [{"1" = 0.5}, {"1" = 0.1}]', 11, "sampling.compositions", "a divisor"),
    ("draws = 10", 'superchains = 2\ncompositions = [{"1" = 0.5}, {"1" = 0.1}]', 11, "sampling.compositions", "not both"),
    ("draws = 10", 'sampler = "huts"', 10, "sampling.sampler", 'did you mean "nuts"?'),
    ("draws = 10", 'precision = "half"', 10, "sampling.precision", 'expected "float64" or "float32"'),
    ("draws = 10", "target_acceptance = 1.0", 10, "sampling.target_acceptance", "between 0 and 1"),
    ("n_train = 8", "n_train = -8", 6, "task.n_train", "got -8; expected a positive integer"),
    ("n_train = 8", "n_train = 2", 6, "task.n_train", "leaves a class empty"),
    ("n_train = 8", "n_train = 8\nn_inputs = 7", 7, "task.n_inputs", "at least n_train + n_test = 8"),
    ("n_train = 8", "n_train = 8\ny_minus = 1.0", 7, "task.y_minus", "expected y_plus and y_minus to differ"),
    ("n_train = 8", "n_train = 8\ny_plus = nan", 7, "task.y_plus", "got NaN; expected a finite number"),
    ("0.5, 0.25, 0.25", "0.5, 0.25, 0.5", 7, "task.fractions", "sum to 1.25; expected numbers that sum to 1"),
    ("0.5, 0.25, 0.25", "0.5, -0.25, 0.75", 7, "task.fractions[1]", "got -0.25; expected a number in (0, 1]"),
    ("[0.5, 0.25, 0.25]", "[]", 7, "task.fractions", "got []; expected an array"),
    ("[0.5, 0.25, 0.25]", "0.5", 7, "task.fractions", "got 0.5; expected an array of numbers"),
    ('"orthogonal_classes"', '"orthogonal"', 5, "task.kind", 'did you mean "orthogonal_classes"?'),
    ('kind = "orthogonal_classes"', "", 4, "task.kind", "is missing; expected one of"),
    ("seeds = [3, 1]", "seeds = [3, 3]", 2, "seeds[1]", "3 is there twice"),
    ("seeds = [3, 1]", "seeds = [3,\n -1]", 3, "seeds[1]", "got -1; expected an integer of at least 0"),
    ("[3, 1]", "[3,\n 4294967296]", 3, "seeds[1]", "a seed is an unsigned 32-bit number"),
    ("seeds = [3, 1]", "seeds = []", 2, "seeds", "got []; expected an array"),
    ('name = "small"', "name = 3", 1, "name", "got 3; expected a text"),
    ('name = "small"', 'name = ""', 1, "name", 'got ""; expected a text of 1 to 200 characters'),
    ('name = "small"', "", 1, "name", "is missing; expected a text"),
    ('label = "b"', 'label = "a"', 18, "network[1].label", "the label of network[0]; expected different"),
    ('label = "b"', 'label = "A/"', 18, "network[1].label", "same file name"),
    ('label = "b"', "", 17, "network[1].label", "is missing"),
    ("n_temperature = 0.1", "n_temperature = 0", 15, "network[0].n_temperature", "got 0; expected a positive"),
    ("n_temperature = 0.1", "n_temperature = inf", 15, "network[0].n_temperature", "expected a positive finite"),
    ("n_temperature = 0.1", "", 12, "network[0]", "expected exactly one of the keys temperature"),
    ("temperature = 1\n", "temperature = 1\nn_temperature = 1\n", 21, "network[1].temperature", "together with"),
    ("readout_variance = 2", "readout_variance = -2", 20, "network[1].readout_variance", "got -2; expected"),
    ("readout_variance = 2", 'readout_variance = "1/p"', 20, "network[1].readout_variance", '"1/P"?'),
    ("readout_variance = 2", "width = 0", 20, "network[1].width", "got 0; expected an integer of at least 4"),
    ("readout_variance = 2", "width = 3", 20, "network[1].width", "the coding scheme needs at least 4 units"),
    ("readout_variance = 2", "bias = 1", 20, "network[1].bias", "got 1; expected true or false"),
    ('activation = "tanh"', 'activation = "than"', 19, "network[1].activation", 'did you mean "tanh"?'),
    ('activation = "tanh"', "activation = 3", 19, "network[1].activation", "got 3; expected a name or a table"),
    ('activation = "tanh"', 'activation = "shifted_relu"', 19, "network[1].activation", "needs a parameter"),
    ('activation = "tanh"', "", 17, "network[1].activation", "is missing"),
    ("slope = 0.2", "shift = 0.2", 14, "network[0].activation.shift", "is no parameter of leaky_relu; expected slope"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "line", "key", "message"), MISTAKES)
def test_one_mistake(old: str, new: str, line: int, key: str, message: str) -> None:
    head, _, tail = GOOD.rpartition(old)
    ((at, where, said),) = problems(head + new + tail)
    assert (at, where) == (line, key)
    assert message in said


def test_all_mistakes_at_once() -> None:
    text = (
        changed("n_train = 8", "n_train = -8").replace("draws = 10", "drawz = 10").replace('"tanh"', '"than"')
    )
    assert [(line, key) for line, key, _ in problems(text)] == [
        (6, "task.n_train"),
        (10, "sampling.drawz"),
        (19, "network[1].activation"),
    ]
    with pytest.raises(StudyError) as caught:
        parse_study(text, "my.toml")
    assert str(caught.value).splitlines()[0] == "my.toml:6: task.n_train: got -8; expected a positive integer"


def test_a_missing_table() -> None:
    found = problems('name = "x"')
    assert [(line, key) for line, key, _ in found] == [(1, "network"), (1, "task")]


def test_tables_of_the_wrong_kind() -> None:
    found = problems('name = "x"\ntask = 3\nsampling = []\nnetwork = [1]\n')
    assert [(line, key) for line, key, _ in found] == [(2, "task"), (3, "sampling"), (4, "network[0]")]


@pytest.mark.parametrize(
    ("text", "line"),
    [("a = ", 1), ("a = 1\nb = = 2", 2), ("a = 1\n[b\n", 2), ('a = 1\n\nb = "x\n', 3), ("a = 1\na = 2\n", 2)],
)
def test_broken_toml(text: str, line: int) -> None:
    ((at, key, message),) = problems(text)
    assert (at, key) == (line, "")
    assert message.startswith("is not valid TOML")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"missing\.toml:1: cannot be read: No such file"):
        load_study(tmp_path / "missing.toml")
    with pytest.raises(StudyError, match="cannot be read"):
        load_study(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'name = "x"\nlabel = "\xe9"\n')
    with pytest.raises(StudyError, match=r"latin\.toml:2: is not UTF-8"):
        load_study(tmp_path / "latin.toml")


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    task = 'kind = "images"\ndata = "mnist"\npath = "own/digits"\nclasses = [1, 7]\n'
    text = GOOD.replace('kind = "orthogonal_classes"\nn_train = 8\nfractions = [0.5, 0.25, 0.25]\n', task)
    (tmp_path / "a.toml").write_text(text)
    assert load_study(tmp_path / "a.toml").task.model_dump()["path"] == str(tmp_path / "own" / "digits")


def test_rules_hold_for_studies_made_in_python() -> None:
    study = parse_study(GOOD)
    with pytest.raises(ValidationError, match="expected different labels"):
        Study(name="x", task=study.task, network=(study.network[0], study.network[0]))
    with pytest.raises(ValidationError, match="exactly one"):
        Study(name="x", task=study.task, network=(Network(label="a", activation="tanh"),))


def test_every_field_says_what_it_expects() -> None:
    def fields(table: type[BaseModel]) -> list[tuple[str, str | None]]:
        return [(f"{table.__name__}.{name}", field.description) for name, field in table.model_fields.items()]

    tables: list[type[BaseModel]] = [Study, Sampling, Network, Activation, *TASKS.values()]
    assert [name for table in tables for name, text in fields(table) if not text] == []


def test_quick_is_smaller_and_still_a_study() -> None:
    quick = load_study().quick()
    assert quick.sampling.draws < load_study().sampling.draws
    assert [n.label for n in quick.network] == [n.label for n in load_study().network]
    assert parse_study(to_toml(quick)) == quick


def test_writing_and_reading_is_the_identity() -> None:
    text = changed('name = "small"', 'name = "tab\\t \\"quoted\\" \\\\ é \\u007f"')
    study = parse_study(text)
    assert parse_study(to_toml(study)) == study


LINES = r'''# comment with [table] and key = 1
top = 1
dotted.inner.key = 2  # more
"quo.ted" = """a
[not a table]
key = 3 \""" """
'lit' = [1, # one
  {a = 2, "b" = [3,
     4]}, "]", ']']
[table]
key = 1979-05-27T07:32:00Z
[[list]]
x = 'y = 1'
[list.sub]
x = 1
[[list.deep]]
x = """"quotes""""
[[list]]
[[list.deep]]
[[list.deep]]
x = {}
'''


def paths(value: Any, path: KeyPath = ()) -> set[KeyPath]:
    """Every key path of a parsed document."""
    found = {path}
    if isinstance(value, dict):
        for key, inner in value.items():
            found |= paths(inner, (*path, key))
    if isinstance(value, list):
        for i, inner in enumerate(value):
            found |= paths(inner, (*path, i))
    return found


def test_lines_of_keys() -> None:
    lines = key_lines(LINES)
    assert set(lines) == paths(tomllib.loads(LINES))
    expected: dict[KeyPath, int] = {
        ("top",): 2,
        ("dotted", "inner", "key"): 3,
        ("quo.ted",): 4,
        ("lit", 0): 7,
        ("lit", 1, "a"): 8,
        ("lit", 1, "b", 1): 9,
        ("lit", 3): 9,
        ("table",): 10,
        ("list",): 12,
        ("list", 0, "sub", "x"): 15,
        ("list", 0, "deep", 0, "x"): 17,
        ("list", 1): 18,
        ("list", 1, "deep", 1, "x"): 21,
    }
    assert {path: lines[path] for path in expected} == expected


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[\n" + ",\n".join(map(_toml, value)) + "\n]"
    if isinstance(value, str):
        return (
            '"' + "".join(c if c.isalnum() or c in " #[]{}=,.'" else f"\\U{ord(c):08x}" for c in value) + '"'
        )
    return repr(value).lower()


# Surrogates are no characters, and repr's exponents of extreme floats are TOML too.
texts = st.text(st.characters(codec="utf-8"), max_size=6)
values = st.recursive(
    st.integers(-9, 9) | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(texts, values, max_size=4))
def test_every_key_of_every_document_has_its_line(document: dict[str, Any]) -> None:
    # Inline tables must be on one line, so arrays that are inside them lose their line breaks.
    entries = [f"{_toml(k)} = {_toml(v)}" for k, v in document.items()]
    entries = [e.replace("\n", " ") if "{" in e else e for e in entries]
    text = "\n\n".join(entries)
    lines = key_lines(text)
    assert set(lines) == paths(tomllib.loads(text))
    for key in document:
        assert text.splitlines()[lines[(key,)] - 1].startswith(_toml(key))
