"""What a run was made with: versions, revision of the code, device."""

import hashlib
import importlib.metadata
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np

PACKAGES = ("jax", "jaxlib", "flax", "optax", "blackjax", "numpyro", "arviz", "numpy", "zarr")


def versions() -> dict[str, str]:
    """Versions of what results depend on."""
    return {name: importlib.metadata.version(name) for name in ("hiddencodes", *PACKAGES)}


@cache
def revision() -> str:
    """Git revision of the code, with ``+changes`` where files differ from it; empty where the code is not in a git checkout."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return ""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def session(devices: int) -> dict[str, Any]:
    """What one stretch of sampling runs with."""
    device = jax.local_devices()[0]
    return {
        "versions": versions(),
        "revision": revision(),
        "device": f"{devices} x {device.platform} {device.device_kind}",
        "processes": jax.process_count(),
    }


def digest(tree: Any) -> str:
    """SHA-256 of arrays: their types, shapes and values.

    Example:
        >>> digest({"x": np.zeros(2)}) == digest({"x": np.zeros(2)}), digest({"x": np.zeros(2)})[:8]
        (True, 'cdead7b1')
    """
    total = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        array = np.ascontiguousarray(leaf)
        total.update(f"{array.dtype.str}{array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()
