"""Global minima of networks of one hidden layer with weight decay, whatever their number of units.

The objective of outputs ``F = phi(X W + 1 b^T) A`` (patterns, outputs),

    loss(F)  +  lambda_w/2 |W|^2  +  lambda_a/2 |A|^2,

is not convex in the weights, but it is in the distribution of preactivations. With all units of the same preactivations u, of cost
``c(u) = min |w|^2`` over the weights that cause them, taken together as one summed readout vector a_u, it is the group lasso

    min over a of   loss(sum_u phi(u) a_u^T)  +  sqrt(lambda_a lambda_w)  sum_u sqrt(c(u)) |a_u|

over all u that inputs can cause. It is solved here by column generation: the conic program over a finite set of preactivations, and
new ones where a unit's gain |Z phi(u)|/sqrt(c(u)) on the residuals Z is above sqrt(lambda_a lambda_w). Scaled down until no unit's is,
the residuals give a lower bound on the objective of every network of any width (`dual_bound`). Derived here; the map to distributions of
preactivations is that of Wang, Johnston and Fusi (arXiv 2510.09816), of which the abstract was read.
"""

import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.optimize import linprog  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from hiddencodes.models import Activation
from hiddencodes.models.unit_gain import UnitGains, gains_of, largest_gains
from hiddencodes.models.weight_decay_dual import dual_bound, has_free_constant, loss_and_residuals
from hiddencodes.tasks.arguments import positive_number

_ROUNDS = 60
# New kinds of units per round, and kinds that are told of a minimum.
_NEW, _TOLD = 32, 256
# Responses that differ by less than this share of the largest are of the same kind.
_SAME = 1e-4
# Units with less of the readout than this share are none.
_UNUSED = 1e-7
# How much a functional changes the logarithm of the gain while the ends of a continuum are searched.
_PULL = 0.01


class GlobalMinimum(NamedTuple):
    """The least objective of networks with any number of units, and what their layer looks like.

    Attributes:
        objective: Least objective found.
        bound: Lower bound on the objective of every network.
        outputs: F (pattern, output); those of every global minimum.
        free_constant: Whether outputs can have a constant part at no cost.
        residuals: Z, minus the loss's derivative by the outputs (pattern, output); those of every global minimum.
        kernel: ``sum over units of phi(u) phi(u)^T`` (pattern, pattern) of one global minimum.
        preactivations: u of the kinds of units that it has (kind, pattern).
        mass: How many there are of each kind.
        kinds: Responses, over the norm of the weights, of all kinds of units that a global minimum can have, as far as they were found
            (any_kind, pattern).
        readout_decay: lambda_a of the problem.
        rounds: Conic programs that were solved.
        inputs: X of the problem.
        activation: Its activation.
        free_bias: Whether its units have a bias that does not decay.

    >>> from hiddencodes.models import tanh
    >>> found = global_minimum(np.eye(2), np.array([[1.0], [-1.0]]), tanh, starts=16)
    >>> bool(abs(found.gap) < 1e-4), found.kernel.shape
    (True, (2, 2))
    """

    objective: float
    bound: float
    outputs: Float[np.ndarray, "pattern output"]
    free_constant: bool
    residuals: Float[np.ndarray, "pattern output"]
    kernel: Float[np.ndarray, "pattern pattern"]
    preactivations: Float[np.ndarray, "kind pattern"]
    mass: Float[np.ndarray, " kind"]
    kinds: Float[np.ndarray, "any_kind pattern"]
    readout_decay: float
    rounds: int
    inputs: Float[np.ndarray, "pattern input"]
    activation: Activation
    free_bias: bool

    @property
    def gap(self) -> float:
        """Objective minus bound, over the objective; infinite if the search for units failed."""
        return (self.objective - self.bound) / self.objective

    @property
    def attainable(self) -> bool:
        """Whether networks can come near the objective: not where it asks for less than one unit of a kind.

        In distributions of preactivations a hundredth of a very large unit is allowed. Where activations are not positively homogeneous no
        network has that: its true minimum is then above the bound, and certificates are pessimistic.
        """
        return self.activation.positively_homogeneous or bool(self.mass.min(initial=1.0) >= 1.0)


class KernelRange(NamedTuple):
    """Two global minima that differ most in something.

    Attributes:
        lowest: The least value.
        highest: The largest.
        kernels: The two kernels (2, pattern, pattern).

    >>> from hiddencodes.models import tanh
    >>> found = kernel_range(global_minimum(np.eye(2), np.array([[1.0], [-1.0]]), tanh, starts=16), np.eye(2))
    >>> bool(found.highest - found.lowest < 0.01 * found.highest)
    True
    """

    lowest: float
    highest: float
    kernels: Float[np.ndarray, "two pattern pattern"]


def global_minimum(
    inputs: ArrayLike,
    targets: ArrayLike,
    activation: Activation,
    *,
    loss: str = "gaussian",
    hidden_decay: float = 0.1,
    readout_decay: float = 0.1,
    free_bias: bool = False,
    tolerance: float = 1e-5,
    starts: int = 256,
    seed: int = 0,
) -> GlobalMinimum:
    """Solve for the global minimum of a task.

    Args:
        inputs: X (pattern, input); of inputs of which only the Gram matrix is known, `inputs_of_kernel`. A bias that decays as the other
            weights do is an input that is 1 for all patterns.
        targets: Y (pattern, output).
        activation: phi.
        loss: ``"gaussian"``, half the squared error, or ``"bernoulli"``, the log loss of targets of +1 and -1; summed over patterns and outputs.
        hidden_decay: lambda_w.
        readout_decay: lambda_a.
        free_bias: Whether hidden units have a bias that does not decay.
        tolerance: Gap between objective and bound, over the objective, at which to stop.
        starts: Random starts of the search for units, in every round.
        seed: Seed of the starts.

    Returns:
        The minimum, with a bound that says how good it is. The bound rests on searches for the unit of largest gain, which are thorough, not
        exhaustive: accurate to about 1e-5 for some twenty patterns, and to 5e-4 for 100, where more ``starts`` help.

    Raises:
        ValueError: If an argument is out of range.
        RuntimeError: If the conic solver fails.

    Warns:
        UserWarning: If the gap is above the tolerance at the end.

    Example:
        >>> from hiddencodes.models import relu
        >>> from hiddencodes.tasks import factorial_latents
        >>> found = global_minimum(np.eye(4), factorial_latents(2), relu, starts=32)
        >>> f"{found.objective:.4f}"
        '0.5457'
    """
    x, y = np.asarray(inputs, float), np.asarray(targets, float)
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise ValueError(f"targets: the shape {y.shape} does not fit inputs of the shape {x.shape}")
    if not (np.all(np.isfinite(x)) and np.all(np.isfinite(y))):
        raise ValueError("inputs, targets: expected finite numbers, got NaN or infinity")
    for name, value in (
        ("hidden_decay", hidden_decay),
        ("readout_decay", readout_decay),
        ("tolerance", tolerance),
    ):
        positive_number(name, value)
    decay = float(np.sqrt(hidden_decay * readout_decay))
    free = has_free_constant(activation, free_bias=free_bias)
    kept = UnitGains(np.zeros(0), np.zeros((0, len(x))), np.zeros(0))
    readout, outputs = np.zeros((0, y.shape[1])), np.zeros_like(y)
    before: list[np.ndarray] = []
    largest, rounds = np.zeros(0), 0
    while True:
        value, residuals = loss_and_residuals(loss, outputs, y)
        objective = float(value) + decay * float(np.sum(np.linalg.norm(readout, axis=1)))
        found = largest_gains(
            residuals, x, activation, free_bias=free_bias, starts=starts, near=kept.preactivations, seed=seed + rounds
        )  # fmt: skip
        before.append(residuals)
        # Units found now count for the bounds of all rounds, and those found before for this one's.
        seen = UnitGains(*(np.concatenate(pair) for pair in zip(found, kept, strict=True)))
        gains = gains_of(seen.preactivations, seen.norm, np.stack(before), activation, centre=free).max(-1)
        largest = np.maximum(np.append(largest, 0.0), gains)
        with np.errstate(divide="ignore"):
            bounds = [float(dual_bound(loss, z, y, decay / g, centre=free)) for z, g in zip(before, largest, strict=True)]  # fmt: skip
        # A search that finds only silent units knows nothing, of any round.
        blind = not np.isfinite(bounds[-1])
        bound = -np.inf if blind else min(max(bounds), objective)
        if objective - bound <= tolerance * objective or rounds == _ROUNDS or blind:
            break
        new = _distinct(found, activation, least=decay, most=_NEW)
        kept = UnitGains(*(np.concatenate(pair) for pair in zip(kept, new, strict=True)))
        readout, outputs = _solve(loss, y, _responses(activation, kept), decay, free=free)
        size = np.linalg.norm(readout, axis=1)
        used = size > _UNUSED * size.max(initial=0.0)
        kept, readout = UnitGains(*(a[used] for a in kept)), readout[used]
        rounds += 1
    if objective - bound > tolerance * objective:
        warnings.warn(
            f"the gap is {(objective - bound) / objective:.2g} after {rounds} rounds, above the tolerance of {tolerance:g}",
            UserWarning,
            stacklevel=2,
        )
    psi = _responses(activation, kept)
    strength = np.linalg.norm(readout, axis=1) * np.sqrt(readout_decay / hidden_decay)
    others = _distinct(found, activation, least=largest[-1] * (1 - 10 * tolerance), most=_TOLD)
    return GlobalMinimum(
        objective=objective,
        bound=bound,
        outputs=outputs,
        free_constant=free,
        residuals=residuals,
        kernel=np.einsum("u,up,uq->pq", strength, psi, psi),
        preactivations=kept.preactivations,
        mass=strength / kept.norm**2,
        kinds=np.concatenate([psi, _responses(activation, others)]),
        readout_decay=readout_decay,
        rounds=rounds,
        inputs=x,
        activation=activation,
        free_bias=free_bias,
    )


def kernel_range(
    minimum: GlobalMinimum, functional: ArrayLike, *, accuracy: float = 1e-3, starts: int = 256
) -> KernelRange:
    """How much layers of global minima can differ in something: all have the same outputs, but not all the same kernel.

    Kernels ``K = sum of mass psi psi^T`` over the kinds of units that global minima can have belong to one of them if ``K Z = lambda_a F``, up to
    a constant where that is free. Among these, linear programs find the least and the largest ``tr(M K)``. Where there is a continuum of
    kinds, searches that are pulled a little towards more and towards less of it find its ends. The range is one that is there; that there is no
    larger one is not proven.

    Args:
        minimum: A global minimum.
        functional: M (pattern, pattern), such as the projector on products of latents.
        accuracy: Relative error of ``K Z = lambda_a F``, and of the gain of a unit, that counts as none.
        starts: Random starts of the searches for further kinds of units.

    Raises:
        ValueError: If the program has no solution at this accuracy.

    Example:
        >>> from hiddencodes.models import relu
        >>> from hiddencodes.tasks import walsh_functions
        >>> functions, _ = walsh_functions(2)
        >>> parity = np.outer(functions[:, 3], functions[:, 3]) / 4
        >>> found = kernel_range(global_minimum(np.eye(4), functions[:, 1:3], relu, starts=32), parity)
        >>> bool(found.highest > 0.3 + found.lowest)  # some are abstract, some are not
        True
    """
    m, z = np.asarray(functional, float), minimum.residuals
    psi = np.concatenate(
        [minimum.kinds, *(_pulled(minimum, sign * m, accuracy, starts) for sign in (1.0, -1.0))]
    )
    wanted, responses = minimum.readout_decay * minimum.outputs, psi
    if minimum.free_constant:
        wanted, z = wanted - wanted.mean(0), z - z.mean(0)
        responses = psi - psi.mean(1, keepdims=True)
    size = float(np.abs(wanted).max())
    if size == 0.0:
        return KernelRange(0.0, 0.0, np.zeros((2, *m.shape)))
    rows = np.einsum("up,uo->pou", responses, psi @ z).reshape(-1, len(psi))
    limits = np.concatenate([wanted.ravel() / size + accuracy, accuracy - wanted.ravel() / size])
    values = np.einsum("up,pq,uq->u", psi, m, psi)
    found: list[tuple[float, np.ndarray]] = []
    for sign in (1.0, -1.0):
        solved: Any = linprog(
            sign * values, A_ub=np.concatenate([rows, -rows]) / size, b_ub=limits, bounds=(0, None)
        )
        if solved.status != 0:
            raise ValueError(f"accuracy: no kernel gives the outputs to {accuracy:g}: {solved.message}")
        found.append((float(values @ solved.x), np.einsum("u,up,uq->pq", solved.x, psi, psi)))
    return KernelRange(found[0][0], found[1][0], np.stack([found[0][1], found[1][1]]))


def _pulled(
    minimum: GlobalMinimum, functional: Float[np.ndarray, "pattern pattern"], accuracy: float, starts: int
) -> Float[np.ndarray, "kind pattern"]:
    """Responses of kinds of units of the largest gain, to this accuracy, that have much of ``psi^T M psi``."""
    values = np.abs(np.einsum("up,pq,uq->u", minimum.kinds, functional, minimum.kinds))
    largest = float(np.linalg.norm(minimum.kinds @ _centred(minimum), axis=-1).max(initial=0.0))
    if not values.max(initial=0.0) > 0.0:
        return np.zeros((0, len(functional)))
    found = largest_gains(
        minimum.residuals, minimum.inputs, minimum.activation, free_bias=minimum.free_bias, starts=starts, near=minimum.preactivations,
        tilt=_PULL / values.max() * functional,
    )  # fmt: skip
    near = _distinct(found, minimum.activation, least=largest * (1.0 - accuracy), most=_TOLD)
    return _responses(minimum.activation, near)


def _centred(minimum: GlobalMinimum) -> Float[np.ndarray, "pattern output"]:
    z = minimum.residuals
    return z - z.mean(0) if minimum.free_constant else z


def _solve(
    loss: str,
    y: Float[np.ndarray, "pattern output"],
    psi: Float[np.ndarray, "kind pattern"],
    decay: float,
    *,
    free: bool,
) -> tuple[Float[np.ndarray, "kind output"], Float[np.ndarray, "pattern output"]]:
    """The group lasso over these kinds of units: readout vectors, and outputs."""
    # It takes a second to import.
    import cvxpy as cp

    a, c = cp.Variable((len(psi), y.shape[1])), cp.Variable((1, y.shape[1]))
    outputs = psi.T @ a + (np.ones((len(y), 1)) @ c if free else 0.0)
    error = (
        0.5 * cp.sum_squares(y - outputs)
        if loss == "gaussian"
        else cp.sum(cp.logistic(-cp.multiply(y, outputs)))
    )
    problem = cp.Problem(cp.Minimize(error + decay * cp.sum(cp.norm(a, 2, axis=1))))
    with warnings.catch_warnings():
        # How accurate a solution is, the bound says.
        warnings.filterwarnings("ignore", "Solution may be inaccurate", UserWarning)
        try:
            problem.solve(solver=cp.CLARABEL)
        except cp.SolverError as error:
            raise RuntimeError(
                f"the conic solver failed on {len(psi)} kinds of units; inputs of very different sizes make it do so: {error}"
            ) from error
    return np.asarray(a.value), np.asarray(outputs.value)


def _responses(activation: Activation, units: UnitGains) -> Float[np.ndarray, "kind pattern"]:
    """Responses of units over the norm of their weights."""
    with jax.enable_x64(True):
        responses = np.asarray(activation(jnp.asarray(units.preactivations)))
    return responses / units.norm[:, None]


def _distinct(found: UnitGains, activation: Activation, *, least: float, most: int) -> UnitGains:
    """Units of at least this gain, the best first, of those that respond alike only one."""
    order = np.argsort(-found.gain)
    order = order[found.gain[order] >= least]
    psi = _responses(activation, found)
    kept: list[int] = []
    for i in order:
        if not kept or np.abs(psi[kept] - psi[i]).max(1).min() > _SAME * np.abs(psi[i]).max():
            kept.append(int(i))
        if len(kept) == most:
            break
    return UnitGains(*(a[kept] for a in found))
