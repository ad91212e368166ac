import doctest
import importlib
import pkgutil

import pytest

import hiddencodes.diagnostics


@pytest.mark.parametrize("name", [m.name for m in pkgutil.iter_modules(hiddencodes.diagnostics.__path__)])
def test_examples_in_docstrings(name):
    assert doctest.testmod(importlib.import_module(f"hiddencodes.diagnostics.{name}")).failed == 0
