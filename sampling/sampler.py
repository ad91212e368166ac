"""What a sampler is: BlackJAX's `init` and `step` behind one signature, and the numbers the engine needs to tune it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

LogDensity = Callable[[Array], Array]


class KernelState(Protocol):
    """What the engine reads from a kernel's state; BlackJAX's HMC, NUTS and MALA states have it."""

    @property
    def position(self) -> Any:
        """The flat position."""
        ...

    @property
    def logdensity(self) -> Any:
        """The log-density there."""
        ...


class StepInfo(NamedTuple):
    """What one transition reports.

    Attributes:
        acceptance_rate: Metropolis acceptance probability (its average over the trajectory for NUTS).
        diverging: Whether the energy error exceeded BlackJAX's divergence threshold.
        energy: Total energy at the start of the trajectory (NaN where the kernel has no such notion).
        n_steps: Gradients spent.
        proposal: End point of the trajectory, accepted or not.
        velocity: Velocity there, the derivative of ``proposal`` by the trajectory length.
    """

    acceptance_rate: Float[Array, ""]
    diverging: Bool[Array, ""]
    energy: Float[Array, ""]
    n_steps: Int[Array, ""]
    proposal: Float[Array, " dimension"]
    velocity: Float[Array, " dimension"]


@dataclass(frozen=True)
class Sampler:
    """A kernel and how to tune it. Samplers that compare equal share compiled programs.

    Kernels run with the unit metric in coordinates that the engine has whitened and rescaled, so every kernel profits
    from the pooled metric, including those that know none.

    Attributes:
        name: The name used in study files and stored in runs.
        target_acceptance: What the pooled step size is tuned to.
        max_steps: Most gradients per draw (a power of two for NUTS).
        tunes_length: Whether the trajectory length is tuned by ChEES and the number of steps is shared by all lanes.
        has_energy: Whether `StepInfo.energy` means something (for the E-BFMI).
        initial_step_size: First guess as a function of the dimension.
        length_unit: Trajectory length that turns a standard Gaussian of that dimension by one radian.
        init: ``(position, log_density) -> state``.
        step: ``(key, state, log_density, step_size, n_steps, max_steps) -> (state, StepInfo)``.
    """

    name: str
    target_acceptance: float
    max_steps: int
    tunes_length: bool
    has_energy: bool
    initial_step_size: Callable[[int], float] = field(repr=False)
    length_unit: Callable[[int], float] = field(repr=False)
    init: Callable[[Array, LogDensity], Any] = field(repr=False)
    step: Callable[[PRNGKeyArray, Any, LogDensity, Array, Array, int], tuple[Any, StepInfo]] = field(
        repr=False
    )

    def __post_init__(self) -> None:  # noqa: D105
        if not 0.0 < self.target_acceptance < 1.0:
            raise ValueError(
                f"target_acceptance: expected a number in (0, 1), got {self.target_acceptance!r}"
            )
        if self.max_steps < 1:
            raise ValueError(f"max_steps: expected at least 1, got {self.max_steps!r}")
