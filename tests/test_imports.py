"""The direction of imports, and that importing the package does nothing but import."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BELOW = {
    "tasks": set(),
    "models": {"tasks"},
    "diagnostics": {"models", "tasks"},
    "sampling": {"models", "tasks"},
    "theory": {"models", "tasks"},
}
ROOMS = set(BELOW)
SCRIPTS = sorted((ROOT / "benchmarks" / "speed").rglob("*.py"))
PACKAGE = [
    path
    for folder in (*sorted(ROOMS), "benchmarks", "hiddencodes")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path not in SCRIPTS
]


def imported_names(source: str) -> list[tuple[int, str, bool]]:
    """Line and absolute dotted name of everything a file imports, "." for a relative import; whether a function does it, or
    only the type checker."""
    tree = ast.parse(source)
    found: list[tuple[int, str, bool]] = []
    late = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name, id(node) in late) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "." if node.level else f"{node.module}"
            found += [(node.lineno, f"{base}.{alias.name}", id(node) in late) for alias in node.names]
    return found


def violations(room: str, source: str) -> list[str]:
    """What a file of a folder must not import: rooms what is beside or above them, the front door what only one command needs."""
    wrong: list[str] = []
    for line, name, late in imported_names(source):
        parts = name.split(".")
        if name.startswith("."):
            wrong.append(f"line {line}: relative import")
        elif parts[0] in ROOMS | {"benchmarks", "tests"}:
            wrong.append(f"line {line}: {name} instead of hiddencodes.{name}")
        elif parts[0] == "hiddencodes" and room in ROOMS:
            target = parts[1] if len(parts) > 1 else ""
            if target not in BELOW[room] | {room}:
                wrong.append(f"line {line}: {room} imports {name}")
        elif room == "hiddencodes" and name.startswith("hiddencodes.benchmarks") and not late:
            wrong.append(f"line {line}: {name} is loaded with {room}")
    return wrong


@pytest.mark.parametrize("path", [*PACKAGE, *SCRIPTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downward(path):
    assert violations(path.relative_to(ROOT).parts[0], path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("diagnostics", "from hiddencodes.sampling import sample"),
        ("theory", "from hiddencodes import sampling"),
        ("theory", "def f():\n    import hiddencodes.sampling.engine"),
        ("sampling", "from hiddencodes.diagnostics.codes import codes"),
        ("models", "import hiddencodes"),
        ("models", "from hiddencodes import sample"),
        ("tasks", "from hiddencodes.models import MLP"),
        ("tasks", "from ..models import MLP"),
        ("sampling", "from models import MLP"),
        ("hiddencodes", "import sampling.engine"),
        ("hiddencodes", "import benchmarks.papers"),
        ("hiddencodes", "from hiddencodes import benchmarks"),
        ("hiddencodes", "from hiddencodes.benchmarks.papers import run"),
        ("theory", "from hiddencodes.benchmarks.papers import run"),
        ("sampling", "def f():\n    from hiddencodes import benchmarks"),
        ("benchmarks", "from . import claim"),
    ],
)
def test_the_rule_catches(room, source):
    assert len(violations(room, source)) == 1


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("hiddencodes", "from hiddencodes import models, sampling\nfrom hiddencodes.schema import Study"),
        ("hiddencodes", "def command():\n    from hiddencodes.benchmarks.papers import run"),
        ("hiddencodes", "if TYPE_CHECKING:\n    from hiddencodes.benchmarks.papers import Reproduction"),
        ("benchmarks", "import hiddencodes as hc\nfrom hiddencodes.sampling import engine"),
        (
            "benchmarks",
            "from hiddencodes.benchmarks.papers import Claim\nfrom hiddencodes.report import render",
        ),
        (
            "sampling",
            "from hiddencodes.sampling import engine\nfrom hiddencodes.models import MLP\nimport jax",
        ),
        ("models", "from hiddencodes.tasks import Task"),
    ],
)
def test_the_rule_lets_through(room, source):
    assert violations(room, source) == []


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def test_importing_every_module_leaves_jax_as_it_was():
    code = (
        "import importlib, jax, flax.linen, blackjax\n"  # BlackJAX computes a constant when it is imported
        "config, arrays = dict(jax.config.values), len(jax.live_arrays())\n"
        f"for name in {[_dotted(path) for path in PACKAGE]!r}: importlib.import_module(name)\n"
        "print({k: v for k, v in jax.config.values.items() if config[k] != v}, len(jax.live_arrays()) - arrays)\n"
    )
    result = run_python(code)
    assert result.stdout == "{} 0\n", result.stderr


def _dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "hiddencodes" else ("hiddencodes", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_import_hiddencodes_does_not_load_what_only_some_calls_need():
    result = run_python("import sys, hiddencodes; print('\\n'.join(sys.modules))")
    loaded = set(result.stdout.split())
    assert "hiddencodes.sampling" in loaded, result.stderr
    assert "hiddencodes.benchmarks" not in loaded
    # NumPyro's bare name is there as a placeholder that arviz_base makes; its modules are not.
    assert loaded & {"arviz", "arviz_plots", "matplotlib.pyplot", "numpyro.infer", "pooch", "typer"} == set()
