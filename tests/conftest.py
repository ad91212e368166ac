"""Strict numerics for the whole suite: double precision, no silent promotion of dtype or rank."""

import os
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
