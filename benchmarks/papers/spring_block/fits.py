"""The chain that has the load curve of a network: its friction and noise, cell by cell."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Claim

RATIO = 2.0
"""Friction backwards over that forwards."""

# A chain is a caricature: shares of loads are not asked to agree better than this, and errors of fits have it in them.
_MISFIT = 0.02


def fitted(
    loads: Float[np.ndarray, "slope noise layer"], errors: Float[np.ndarray, "slope noise layer"]
) -> dict[str, np.ndarray]:
    """Friction, noise, their errors and the largest deviation of a share of load, as arrays (slope, noise)."""
    shape = loads.shape[:2]
    total = loads.sum(-1, keepdims=True)
    spread = np.hypot(errors, _MISFIT * total)
    found = [hc.fit_chain(d, s, ratio=RATIO) for d, s in zip(loads.reshape(-1, loads.shape[-1]), spread.reshape(-1, loads.shape[-1]), strict=True)]  # fmt: skip

    def whole(values: Sequence[float]) -> np.ndarray:
        return np.array(values).reshape(shape)

    shares = (loads / total).reshape(-1, loads.shape[-1])
    return {
        "friction": whole([f.friction for f in found]),
        "friction error": whole([f.friction_error for f in found]),
        "noise": whole([f.noise for f in found]),
        "noise error": whole([f.noise_error for f in found]),
        "largest deviation": whole(
            [float(np.abs(f.loads - s).max()) for f, s in zip(found, shares, strict=True)]
        ),
    }


def fit_claims(slopes: Sequence[float], fits: Mapping[str, np.ndarray]) -> list[Claim]:
    """Whether a chain has the load curves of networks, and whether friction stands for nonlinearity in it."""
    off, friction = fits["largest deviation"].max(1), fits["friction"][:, 0]
    linear = float(fits["largest deviation"][-1].min())
    by_slope = ", ".join(f"{o:.3f} at slope {a:g}" for o, a in zip(off, slopes, strict=True))
    return [
        Claim.below(
            "chain-fits", "Every ReLU network has a chain whose shares of load are nearly its own: largest difference of a share", 0.05, float(off[0]), grade="new",
            evidence=f"{by_slope}",
        ),
        Claim.above("chain-linear", "No linear network has one: largest difference of a share, in the cell where it is smallest", 0.05, linear, grade="new"),
        Claim.statement_true(
            "chain-friction", "With friction backwards in proportion, friction does not stand for nonlinearity: with the most dropout linear networks need the chain with most friction",
            bool(np.argmax(friction) == len(friction) - 1), f"friction {', '.join(f'{f:.3g} at slope {a:g}' for f, a in zip(friction, slopes, strict=True))}", grade="new",
        ),
    ]  # fmt: skip
