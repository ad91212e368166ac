"""The chain of blocks and springs: exact profiles, and its own phase diagram."""

import numpy as np
from jaxtyping import Float

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Claim, Section, Settings
from hiddencodes.benchmarks.papers.spring_block import figures

FRICTIONS = (0.4, 0.1, 0.02, 0.01)
NOISES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)
# Areas of load curves over the last half of 10,000 steps (20 chains), measured with another implementation.
MEASURED = {
    1.0: (
        (0.375, 0.375, 0.361, 0.334, 0.179, 0.008),
        (0.292, 0.247, 0.118, 0.008, 0.001, 0.001),
        (0.087, 0.005, 0.0, 0.0, 0.0, 0.001),
        (0.042, 0.0, 0.0, 0.0, 0.0, 0.001),
    ),
    2.0: (
        (0.375, 0.375, 0.361, 0.334, 0.122, -0.295),
        (0.292, 0.247, 0.114, -0.104, -0.164, -0.166),
        (0.087, -0.013, -0.038, -0.038, -0.038, -0.038),
        (0.042, -0.018, -0.019, -0.019, -0.019, -0.019),
    ),
}


def chain(settings: Settings) -> Section:
    """The chain of springs and blocks: exact profiles and the mechanical phase diagram."""
    chains = settings.choose(full=50, quick=10)
    grid = {ratio: _phase_table(ratio, chains) for ratio in MEASURED}
    areas = {ratio: hc.load_curve(profile.load).area for ratio, profile in grid.items()}
    claims = [*_at_rest(), *_relaxed(chains, steps=40_000), _inertial(settings)]
    for ratio, table in MEASURED.items():
        name = f"phases-ratio-{ratio:g}"
        # Areas move by the errors of the elongations over the length of the chain.
        error = grid[ratio].errors.max(-1)
        claims.append(
            Claim.agrees(
                name, f"Areas of load curves at {len(FRICTIONS)} frictions and {len(NOISES)} noises, friction backwards {ratio:g} times that forwards",
                np.array(table), areas[ratio], np.where(np.array(NOISES) > 0, error, 0.0), grade="measured", extra=0.003,
                extra_reason="three digits and the error of the 20 chains there",
            )
        )  # fmt: skip
        small_step = np.array([[_area(f, s, ratio) for s in NOISES[1:]] for f in FRICTIONS])
        claims.append(
            Claim.agrees(
                f"small-steps-{ratio:g}", "and they are those of the limit of small steps, where noise only smooths friction",
                small_step, areas[ratio][:, 1:], error[:, 1:], grade="derived", extra=0.005,
                extra_reason="steps of 0.01 are not infinitely small",
            )
        )  # fmt: skip
    claims += [
        Claim.statement_true(
            "symmetric", "With the same friction to both sides no load curve is convex",
            bool(areas[1.0].min() > -0.02), f"smallest area {areas[1.0].min():.3f}", grade="derived",
        ),
        Claim.statement_true(
            "all-phases", "With twice the friction backwards there are all three phases of networks: concave, straight, convex",
            bool(areas[2.0].max() > 0.1 and areas[2.0].min() < -0.1 and np.abs(areas[2.0]).min() < 0.03),
            f"areas from {areas[2.0].min():.2f} to {areas[2.0].max():.2f}", grade="derived",
        ),
    ]  # fmt: skip
    ticks = {"rows": [f"{f:g}" for f in FRICTIONS], "columns": [f"{s:g}" for s in NOISES]}
    labels = {"row_label": "friction", "column_label": "noise"}
    return Section(
        title="The chain",
        question="Which load curves does a chain of blocks, springs and friction have?",
        claims=tuple(claims),
        figures={
            "phases": figures.phase_diagram(grid[2.0].load, None, **ticks, **labels),
            "symmetric-phases": figures.phase_diagram(grid[1.0].load, None, **ticks, **labels),
        },
        captions={
            "phases": "Load curves y - x_l of chains of 7 blocks pulled from rest, mean over the last half of 10,000 steps; friction backwards is twice that forwards. Thin: straight.",
            "symmetric-phases": "The same with equal frictions: concave or straight only.",
        },
        settings={"chains": chains, "blocks": 7, "steps": 10_000, "step": 0.01, "stiffness": 1.0, "pull": 1.0},
        notes=(
            (
                "With friction in proportion, the convex phase is weakest at low friction, while linear networks, which should have the least, are the most convex: "
                "a difference between the frictions that stays would be needed. How the paper treats this is not known here."
            ),
        ),
    )  # fmt: skip


def _phase_table(ratio: float, chains: int) -> hc.ChainProfile:
    friction = np.array(FRICTIONS)[:, None]
    return hc.simulate_chain(friction, ratio * friction, np.array(NOISES), chains=chains, key=1)


def _area(friction: float, noise: float, ratio: float) -> float:
    elongations = hc.chain_profile(friction, noise, ratio=ratio)
    return float(hc.load_curve(np.flip(np.cumsum(np.flip(elongations)))).area)


def _at_rest() -> list[Claim]:
    frictions = np.array([0.01, 0.05, 0.1, 0.2, 0.4])
    found = hc.simulate_chain(frictions, frictions, 0.0, steps=30_000, averaged=1e-4, chains=1)
    exact = np.stack([hc.pulled_chain(f) for f in frictions])
    return [
        Claim.agrees("zero-noise", "Pulled without noise: elongations of the closed form, at five frictions", exact, found.elongations, grade="derived", extra=1e-10, extra_reason="what 30,000 steps leave"),
        Claim.agrees("zero-noise-values", "which are, at friction 0.1", [0, 0, 0, 0, 0.1, 0.2, 0.3, 0.4], exact[2], grade="derived", extra=1e-12, extra_reason="rounding"),
    ]  # fmt: skip


def _relaxed(chains: int, steps: int) -> list[Claim]:
    cases = np.array(
        [(0.3, 0.02, 0.06), (0.1, 0.02, 0.06), (0.3, 0.05, 0.02), (1.0, 0.0, 0.1), (0.3, 0.05, 0.05)]
    )
    noise, right, left = cases.T
    found = hc.simulate_chain(right, left, noise, steps=steps, averaged=0.75, chains=chains, key=2)
    exact: Float[np.ndarray, "case spring"] = np.stack(
        [hc.relaxed_chain(r, b) for r, b in zip(right, left, strict=True)]
    )
    # What is left of the start, when all of the pull was in the last spring, as averaging begins.
    last = np.array([0.0] * 7 + [1.0])
    start = np.sqrt(np.sum((np.asarray(exact, float) - last) ** 2, axis=-1))
    rates = np.array([hc.relaxation_rate(r, b, e) for e, r, b in cases])
    remainder = (start * np.exp(-rates * 0.01 * 0.25 * steps))[:, None] * np.ones(8)
    return [
        Claim.agrees(
            "long-time", "After a long time with noise: elongations of the closed form, whatever the noise and the step", exact, found.elongations,
            found.errors, grade="derived", extra=remainder, extra_reason="what is left of the start",
            entries=[f"noise {e:g}, frictions {r:g} and {b:g}, spring {i}" for e, r, b in cases for i in range(1, 9)],
        )
    ]  # fmt: skip


def _inertial(settings: Settings) -> Claim:
    right, left, noise, stiffness, step = 0.003, 0.004, 0.003, 0.1, 0.05
    steps, late = settings.choose(full=80_000, quick=40_000), 0.5
    found = [
        hc.simulate_inertial_chain(right, left, noise, shared_noise=shared, steps=steps, averaged=late, chains=settings.choose(full=200, quick=50), key=3)
        for shared in (True, False)
    ]  # fmt: skip
    exact = hc.relaxed_chain(right, left, stiffness=stiffness)
    # Where velocities are normal around a small mean, kinetic friction is one more damping: that of its mean slope.
    velocity = noise / np.sqrt(2.0)
    damping = 1.0 + 0.5 * (right + left) * np.sqrt(2.0 / np.pi) / velocity
    rate = hc.relaxation_rate(stiffness=stiffness) / damping
    remainder = float(np.exp(-rate * step * (1.0 - late) * steps))
    return Claim.agrees(
        "inertia", "The chain with inertia obeys the same law, shaken as a whole or block by block", np.stack([exact, exact]),
        np.stack([f.elongations for f in found]), np.stack([f.errors for f in found]), grade="derived", extra=remainder, extra_reason="what is left of the start",
    )  # fmt: skip
