"""Strict numerics for the whole suite: double precision, no silent promotion of dtype or rank."""

import os
from pathlib import Path
from typing import Any

import jax
import matplotlib

matplotlib.use("Agg")
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_configure(config: Any) -> None:
    """Compilation dominates the tests that are not marked slow; those and the jobs of users run fully optimized."""
    if config.option.markexpr != "slow":
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=1"


# A process may have so many memory mappings (Linux: 65,530); every compiled program takes a few, and one too many is a crash.
_MOST_MAPPINGS = 20_000


def pytest_runtest_teardown(item: Any, nextitem: Any) -> None:
    """Between two files compiled programs are forgotten when there are very many: files share few of them."""
    mappings = Path("/proc/self/maps")
    if (nextitem is not None and nextitem.path == item.path) or not mappings.is_file():
        return
    with mappings.open() as lines:
        if sum(1 for _ in lines) > _MOST_MAPPINGS:
            jax.clear_caches()
