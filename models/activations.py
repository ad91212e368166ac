"""Elementwise nonlinearities, hashable so that networks that share one share their compiled programs."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@dataclass(frozen=True)
class Activation:
    """An elementwise function φ(z) and what numerical integration has to know about it.

    Two activations are equal, and share compiled programs, when their name, parameters and function are. The
    function must therefore be defined at module level and take its parameters as keywords; a closure made anew at
    every call would compile anew.

    Attributes:
        name: What reports and study files call it.
        function: `function(z, **parameters)`, elementwise in JAX, in the floating-point type of `z`.
        parameters: (keyword, value) pairs; `dict(activation.parameters)` gives them back.
        kinks: The points at which φ is not differentiable, ascending.
        positively_homogeneous: Whether φ(λz) = λφ(z) for every λ > 0.
        piecewise_linear: Whether φ is continuous, and linear between its kinks.

    Raises:
        ValueError: if a parameter or a kink is not finite, or the kinks do not ascend.

    Example:
        >>> leaky_relu(slope=0.1) == activation("leaky_relu", slope=0.1)
        True
        >>> shifted_relu(0.5)(jnp.array([-1.0, 2.0])).tolist()
        [0.0, 1.5]
    """

    name: str
    function: Callable[..., Array] = field(repr=False)
    parameters: tuple[tuple[str, float], ...] = ()
    kinks: tuple[float, ...] = field(default=(), compare=False, repr=False)
    positively_homogeneous: bool = field(default=False, compare=False, repr=False)
    piecewise_linear: bool = field(default=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse what would only show as NaN in a forward pass."""
        for keyword, value in self.parameters:
            if not math.isfinite(value):
                raise ValueError(f"activation {self.name!r}: {keyword} must be finite, got {value!r}")
        if not all(map(math.isfinite, self.kinks)) or list(self.kinks) != sorted(set(self.kinks)):
            raise ValueError(f"activation {self.name!r}: kinks must be finite and ascend, got {self.kinks!r}")

    def __call__(self, z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Apply φ to every entry of `z`, in the floating-point type of `z`."""
        return self.function(z, **dict(self.parameters))

    def __str__(self) -> str:
        """Name it as a study file would: `leaky_relu(slope=0.1)`."""
        arguments = ", ".join(f"{keyword}={value:g}" for keyword, value in self.parameters)
        return f"{self.name}({arguments})" if arguments else self.name


def _linear(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return z


def _sigmoidal(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return 0.5 * (1.0 + jax.lax.erf(0.5 * math.sqrt(math.pi) * z))


def _leaky_relu(z: Float[Array, "*shape"], slope: float) -> Float[Array, "*shape"]:
    return jnp.where(z > 0.0, z, slope * z)


def _shifted_relu(z: Float[Array, "*shape"], shift: float) -> Float[Array, "*shape"]:
    return jax.nn.relu(z - shift)


def _clipped_relu(z: Float[Array, "*shape"], ceiling: float) -> Float[Array, "*shape"]:
    # relu, not a second maximum: its derivative at a pre-activation of exactly zero is zero, as in `relu`.
    return jnp.minimum(jax.nn.relu(z), ceiling)


linear = Activation("linear", _linear, positively_homogeneous=True, piecewise_linear=True)
"""φ(z) = z."""

sigmoidal = Activation("sigmoidal", _sigmoidal)
"""φ(z) = ½[1 + erf(√π z/2)], between 0 and 1, with slope ½ at the origin (arXiv 2406.16689)."""

erf = Activation("erf", jax.lax.erf)
"""φ(z) = erf(z)."""

tanh = Activation("tanh", jnp.tanh)
"""φ(z) = tanh(z)."""

relu = Activation("relu", jax.nn.relu, kinks=(0.0,), positively_homogeneous=True, piecewise_linear=True)
"""φ(z) = max(z, 0)."""

hard_tanh = Activation("hard_tanh", jax.nn.hard_tanh, (), (-1.0, 1.0), False, True)
"""φ(z) = min(max(z, -1), 1)."""


def leaky_relu(slope: float = 0.01) -> Activation:
    """φ(z) = z for z > 0 and `slope`·z otherwise.

    Example:
        >>> leaky_relu(0.5)(jnp.array([-2.0, 2.0])).tolist()
        [-1.0, 2.0]
    """
    slope = float(slope)
    return Activation("leaky_relu", _leaky_relu, (("slope", slope),), (0.0,), True, True)


def shifted_relu(shift: float) -> Activation:
    """φ(z) = max(z - `shift`, 0): silent below a threshold.

    Example:
        >>> shifted_relu(1.0)(jnp.array([0.5, 3.0])).tolist()
        [0.0, 2.0]
    """
    shift = float(shift)
    kinks = (shift,) if math.isfinite(shift) else ()
    return Activation("shifted_relu", _shifted_relu, (("shift", shift),), kinks, shift == 0.0, True)


def clipped_relu(ceiling: float) -> Activation:
    """φ(z) = min(max(z, 0), `ceiling`): a ReLU that saturates.

    Raises:
        ValueError: if `ceiling` is not positive.

    Example:
        >>> clipped_relu(1.0)(jnp.array([-1.0, 0.5, 3.0])).tolist()
        [0.0, 0.5, 1.0]
    """
    ceiling = float(ceiling)
    if not ceiling > 0.0:
        raise ValueError(f"activation 'clipped_relu': ceiling must be positive, got {ceiling!r}")
    kinks = (0.0, ceiling) if math.isfinite(ceiling) else ()
    return Activation("clipped_relu", _clipped_relu, (("ceiling", ceiling),), kinks, False, True)


_PLAIN: Mapping[str, Activation] = MappingProxyType(
    {each.name: each for each in (linear, sigmoidal, erf, tanh, relu, hard_tanh)}
)
_WITH_PARAMETER: Mapping[str, tuple[str, Callable[..., Activation]]] = MappingProxyType(
    {
        "leaky_relu": ("slope", leaky_relu),
        "shifted_relu": ("shift", shifted_relu),
        "clipped_relu": ("ceiling", clipped_relu),
    }
)


def activation(name: str, **parameters: float) -> Activation:
    """Look up an activation by the name that study files use.

    Args:
        name: One of linear, sigmoidal, erf, tanh, relu, hard_tanh, leaky_relu, shifted_relu, clipped_relu.
        **parameters: `slope` of leaky_relu (default 0.01), `shift` of shifted_relu, `ceiling` of clipped_relu.

    Returns:
        The activation, equal to the module's constant or to what its factory returns.

    Raises:
        ValueError: if the name or a parameter is unknown, or a parameter is missing, not finite or out of range.

    Example:
        >>> str(activation("clipped_relu", ceiling=2.0))
        'clipped_relu(ceiling=2)'
    """
    if name in _PLAIN:
        if parameters:
            raise ValueError(f"activation {name!r} takes no parameters, got {sorted(parameters)}")
        return _PLAIN[name]
    if name not in _WITH_PARAMETER:
        raise ValueError(f"unknown activation {name!r}; known: {sorted([*_PLAIN, *_WITH_PARAMETER])}")
    keyword, factory = _WITH_PARAMETER[name]
    if not set(parameters) <= {keyword}:
        raise ValueError(f"activation {name!r} takes only {keyword!r}, got {sorted(parameters)}")
    if not parameters and name != "leaky_relu":
        raise ValueError(f"activation {name!r} needs {keyword!r}")
    return factory(**parameters)
