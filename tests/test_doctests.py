"""The examples in docstrings are run, and everything users call has one."""

import doctest
import importlib
import inspect
import re
from pathlib import Path

import pytest

import hiddencodes as hc

ROOT = Path(__file__).parents[1]
PACKAGE = ("benchmarks/papers", "diagnostics", "hiddencodes", "models", "sampling", "tasks", "theory")
FILES = [path for room in PACKAGE for path in sorted((ROOT / room).rglob("*.py"))]
CALLABLES = {
    name: value
    for module in (hc, hc.diagnostics, hc.models, hc.sampling, hc.tasks, hc.theory)
    for name, value in sorted(vars(module).items())
    if not name.startswith("_") and (inspect.isclass(value) or inspect.isroutine(value))
}
# Users receive instances of these and do not make them; the example is that of the function that does.
RECEIVED = {
    "Activations",
    "BiasVariance",
    "Branch",
    "ChainFit",
    "ChainProfile",
    "CodeFraction",
    "CodeTable",
    "CodeTransitions",
    "ComparedPart",
    "Context",
    "ConvergenceReport",
    "DeepLinearLaw",
    "DeepMonteCarloSaddle",
    "Disagreement",
    "GeometryPrediction",
    "DriftReport",
    "EquilibriumReport",
    "ErrorComparison",
    "ErrorPart",
    "ErrorSplit",
    "Estimate",
    "GaussianProcessPrediction",
    "ImageSet",
    "KernelBlocks",
    "LayerSymmetry",
    "LazyPrediction",
    "LinearMonteCarlo",
    "LinearPosteriorDraws",
    "LinearPrediction",
    "LinearSaddle",
    "LoadCurve",
    "MonteCarloPrediction",
    "MonteCarloSaddle",
    "Move",
    "MoveAcceptance",
    "NNGPKernels",
    "NumPyroNUTS",
    "Outlier",
    "Overlap",
    "PosteriorData",
    "Progress",
    "ReadoutOverlapLaw",
    "ReadoutPrediction",
    "ReplicaExchange",
    "Sampler",
    "SchemeDecision",
    "SchemeReport",
    "ShareComparison",
    "SingleUnitLimit",
    "SingleUnitSaddle",
    "Start",
    "SymmetryBreakingReport",
    "TeacherTask",
    "TemperedSMC",
    "UnitCode",
    "UnitPopulations",
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "hiddencodes" else ("hiddencodes", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_examples_of_module(path):
    result = doctest.testmod(importlib.import_module(module_name(path)), verbose=False)
    assert result.failed == 0
    # Examples that doctest does not find, behind a decorator for instance, would pass unnoticed.
    written = re.findall(r"^\s*>>> ", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert result.attempted == len(written)


@pytest.mark.parametrize("name", CALLABLES)
def test_public_callable_has_a_docstring_of_its_own(name):
    value = CALLABLES[name]
    assert value.__doc__
    # Classes without a docstring show a generated one: dataclasses and named tuples their signature.
    assert not value.__doc__.startswith(f"{name}(")
    if name not in RECEIVED:
        assert ">>> " in value.__doc__


def test_received_classes_are_public():
    assert set(CALLABLES) >= RECEIVED
