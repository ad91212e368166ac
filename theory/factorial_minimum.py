"""When are representations of binary latents abstract at the global minimum? One number of the inputs' Gram matrix decides.

n balanced latents y_k of +1 and -1 are the targets of a network of one hidden layer with weight decay, over P patterns. The inputs' Gram
matrix is invariant under flips and permutations of latents: ``Kx = k_0 Pi_0 + k_1 Pi_1 + ...``, with projectors on the constant, on the latents, on
products of two, ... Then residuals at the minimum are ``Z = z Y``, outputs ``F = q Y``, and with

    r = max over u of  |Pi_1 phi(u)|^2 / (u^T Kx^+ u),      z = sqrt(lambda_a lambda_w / (r P)),

    loss                amplitude q       latents' eigenvalue of the layer's kernel     objective
    1/2 sum (Y - F)^2   1 - z             kappa_1 = lambda_a (1 - z)/z                  n P (z - z^2/2)
    sum log(1+e^-YF)    log(1/z - 1)      kappa_1 = lambda_a q/z                        n P [log(1 + e^-q) + z q]

and the layer is silent for z >= 1, or 1/2. At every global minimum all latents are coded along orthogonal directions of equal length.
Whether products of latents are there too, so that the code is not abstract, depends on which u attain r. Derived here
; the question is that of Wang, Johnston and Fusi (arXiv 2510.09816), of which the abstract was read, no formula.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from hiddencodes.models import Activation
from hiddencodes.models.unit_gain import largest_gains
from hiddencodes.tasks import walsh_functions
from hiddencodes.tasks.arguments import positive_number
from hiddencodes.tasks.latents import inputs_of_kernel

Case = Literal["constant small", "constant large", "no preference", "pairs", "linear", "odd", "numerical"]

_EQUAL = 1e-6
# Activations are steepest somewhere between these.
_RANGE = 10.0


class InputSpectrum(NamedTuple):
    """The Gram matrix of inputs, by products of latents.

    Attributes:
        degrees: k_0, ..., k_n: eigenvalues on the constant, the latents, products of two, ... (degree,).
        within: Largest eigenvalue among patterns of the same latents; 0 if there is one pattern each.

    >>> latents = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    >>> input_spectrum(np.diag([1.0] * 4), latents).rest
    1.0
    """

    degrees: Float[np.ndarray, " degree"]
    within: float

    @property
    def rest(self) -> float:
        """Largest eigenvalue that belongs neither to the constant nor to a latent."""
        return max(self.within, float(self.degrees[2:].max(initial=0.0)))


class FactorialMinimum(NamedTuple):
    """Global minima for binary latents, before anything is trained.

    Attributes:
        case: Which units attain r. Piecewise linear, one-sided units without a free bias: ``"constant small"`` (k_rest <= k_0 <= k_1) and ``"constant large"``
            (k_rest <= k_1 < k_0): only units of one latent; ``"no preference"`` (products of even degree have the constant's eigenvalue, at most k_1): units of any mixture; ``"pairs"`` (k_0 < k_2): only
            units of two latents' conjunctions. ``"linear"``: units in the linear range with a free bias, ``"odd"``: odd units without one;
            ``"numerical"``: none of these, r is the result of a search.
        gain: r.
        residual: z.
        amplitude: q.
        eigenvalue: kappa_1.
        objective: The least objective.
        kernels: The layer's kernels at the global minima with the least and with the most content in products of latents, by degree
            (two, degree): ``chi^T K chi/P`` of one product. The constant's is NaN where biases leave it open, all but the latents' in the numerical case.
        abstract: Whether all global minima are abstract (True), or none is (False). None if some are (``"no preference"``), if that is not known
            (``"numerical"``), or if there is nothing to ask because the layer is silent (``amplitude`` 0).
        parallelism: Parallelism score of the two, flipping one latent with all others fixed.

    >>> from hiddencodes.models import tanh
    >>> from hiddencodes.tasks import factorial_latents
    >>> factorial_minimum(np.eye(4), factorial_latents(2), tanh).case
    'odd'
    """

    case: Case
    gain: float
    residual: float
    amplitude: float
    eigenvalue: float
    objective: float
    kernels: Float[np.ndarray, "two degree"]
    abstract: bool | None
    parallelism: Float[np.ndarray, " two"]


def input_spectrum(input_kernel: ArrayLike, latents: ArrayLike) -> InputSpectrum:
    """Eigenvalues of a Gram matrix on the products of latents.

    Args:
        input_kernel: Kx (pattern, pattern), inner products of inputs.
        latents: +1 and -1 (pattern, latent); all combinations equally often.

    Raises:
        ValueError: If a combination is missing, or the matrix is not invariant under flips and permutations of latents, or no Gram matrix.

    >>> latents = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    >>> input_spectrum(latents @ latents.T + 0.5, latents).degrees
    array([2., 4., 0.])
    """
    kernel, y = np.asarray(input_kernel, float), np.asarray(latents, float)
    if y.ndim != 2 or kernel.shape != (len(y), len(y)):
        raise ValueError(
            f"latents: the shape {y.shape} does not fit a Gram matrix of the shape {kernel.shape}"
        )
    n = y.shape[1]
    if np.any(np.abs(y) != 1):
        raise ValueError(f"latents: expected +1 and -1, got {y[np.abs(y) != 1][0]:g}")
    _, counts = np.unique(y, axis=0, return_counts=True)
    if len(counts) != 2**n or np.ptp(counts):
        raise ValueError(
            f"latents: {len(counts)} of {2**n} combinations, {counts.min()} to {counts.max()} times each"
        )
    chosen = walsh_functions(n)[1]
    chi = np.stack([np.prod(y[:, list(each)], axis=1) for each in chosen], axis=1) / math.sqrt(len(y))
    if not np.all(np.isfinite(kernel)):
        raise ValueError("input_kernel: expected finite numbers, got NaN or infinity")
    image = kernel @ chi
    values = np.sum(chi * image, axis=0)
    degree = np.array([len(each) for each in chosen])
    degrees = np.array([values[degree == d].mean() for d in range(n + 1)])
    # A large constant part says nothing about how accurate the others have to be.
    about_mean = kernel - kernel.mean(0)[None, :] - kernel.mean(1)[:, None] + kernel.mean()
    size = float(np.abs(about_mean).max()) * len(y)
    off = np.abs(chi.T @ (image - chi * degrees[degree]))
    allowed = np.full(off.shape, size)
    allowed[0, :] = allowed[:, 0] = np.sqrt(size * max(size, abs(float(degrees[0]))))
    away = np.abs(about_mean @ chi[:, 1:] - chi[:, 1:] * degrees[degree][1:]).max(initial=0.0)
    rounding = 1e-12 * abs(float(degrees[0]))
    if np.any(off > _EQUAL * allowed + rounding) or away > _EQUAL * size + rounding:
        raise ValueError(
            "input_kernel: it is not invariant under flips and permutations of latents; `global_minimum` and `abstraction_range` need no such symmetry"
        )
    rest = kernel - (chi * degrees[degree]) @ chi.T
    within = float(np.linalg.eigvalsh(rest).max()) if len(y) > 2**n else 0.0
    if float(degrees.min()) < -_EQUAL * max(size, float(np.abs(degrees).max())):
        raise ValueError(
            f"input_kernel: a Gram matrix has no negative eigenvalues, got {float(degrees.min()):g}"
        )
    return InputSpectrum(degrees, max(within, 0.0))


def factorial_minimum(
    input_kernel: ArrayLike,
    latents: ArrayLike,
    activation: Activation,
    *,
    loss: str = "gaussian",
    hidden_decay: float = 0.1,
    readout_decay: float = 0.1,
    free_bias: bool = False,
    starts: int = 512,
) -> FactorialMinimum:
    """Predict the global minima of a network that is trained to give out binary latents.

    Args:
        input_kernel: Kx (pattern, pattern), inner products of the inputs. A bias that decays as the other weights do adds 1 to all of them.
        latents: +1 and -1 (pattern, latent), all combinations equally often; also the targets.
        activation: phi.
        loss: ``"gaussian"`` or ``"bernoulli"``, summed over patterns and outputs.
        hidden_decay: lambda_w.
        readout_decay: lambda_a.
        free_bias: Whether hidden units have a bias that does not decay.
        starts: Random starts of the search for r, where it has no closed form.

    Raises:
        ValueError: If an argument is out of range, or the Gram matrix has not the symmetry (`input_spectrum`).

    Example:
        >>> from hiddencodes.models import relu
        >>> from hiddencodes.tasks import factorial_latents
        >>> found = factorial_minimum(np.eye(4) + 1.0, factorial_latents(2), relu)  # one-hot inputs and a bias
        >>> found.case, found.abstract, f"{found.objective:.5f}"
        ('constant large', True, '0.42618')
    """
    y = np.asarray(latents, float)
    spectrum = input_spectrum(input_kernel, y)
    for name, value in (("hidden_decay", hidden_decay), ("readout_decay", readout_decay)):
        positive_number(name, value)
    if loss not in ("gaussian", "bernoulli"):
        raise ValueError(f"loss: expected 'gaussian' or 'bernoulli', got {loss!r}")
    p, n = y.shape
    case, gain = _case(spectrum, activation, free_bias=free_bias)
    if gain is None:
        found = largest_gains(
            y / math.sqrt(p), inputs_of_kernel(input_kernel), activation, free_bias=free_bias, starts=starts
        )
        gain = float(found.gain.max()) ** 2
        if not gain > 0.0:
            raise ValueError(f"activation: no unit of {activation} that responds to these inputs was found")
    z = math.sqrt(readout_decay * hidden_decay / (gain * p))
    silent = 1.0 if loss == "gaussian" else 0.5
    if z >= silent:
        empty = n * p * (0.5 if loss == "gaussian" else math.log(2.0))
        return FactorialMinimum(
            case, gain, silent, 0.0, 0.0, empty, np.zeros((2, n + 1)), None, np.full(2, np.nan)
        )
    q = 1.0 - z if loss == "gaussian" else math.log(1.0 / z - 1.0)
    objective = n * p * (z - z * z / 2 if loss == "gaussian" else math.log1p(math.exp(-q)) + z * q)
    kappa = readout_decay * q / z
    kernels = kappa * _kernels(case, n, activation)
    scores = np.array([_parallelism(each) for each in kernels])
    abstract = None
    if case != "numerical" and np.allclose(kernels[0, 2:], kernels[1, 2:]):
        abstract = bool(np.all(kernels[:, 2:] == 0.0))
    return FactorialMinimum(case, gain, z, q, kappa, objective, kernels, abstract, scores)


def isotropic_kernel(latents: ArrayLike) -> Float[np.ndarray, "pattern pattern"]:
    """The kernel, over kappa_1, of ReLU units of all mixtures of latents alike, to which training from random weights is near.

    One member of the family of global minima for inputs without preference: units ``max(c . y, 0)`` with c uniform on the sphere. Its even part is
    ``(n/P) (2/pi) [sqrt(1 - rho^2) + rho arcsin(rho)]`` with ``rho = y . y'/n``.

    Args:
        latents: +1 and -1 (pattern, latent).

    >>> isotropic_kernel([[1], [-1]]).round(6)
    array([[1., 0.],
           [0., 1.]])
    """
    y = np.asarray(latents, float)
    p, n = y.shape
    rho = np.clip(y @ y.T / n, -1.0, 1.0)
    even = 2 / math.pi * (np.sqrt(1 - rho**2) + rho * np.arcsin(rho))
    return y @ y.T / p + n / p * even


def _case(spectrum: InputSpectrum, activation: Activation, *, free_bias: bool) -> tuple[Case, float | None]:
    """Which case it is, and r where it has a closed form."""
    k, rest = spectrum.degrees, spectrum.rest
    k0, k1 = float(k[0]), float(k[1])
    near = _EQUAL * max(float(k[1:].max()), spectrum.within)
    largest = rest <= k1 + near
    if k1 <= near:
        return "numerical", None
    if largest and free_bias:
        return "linear", _steepest(activation) ** 2 * k1
    if largest and _is_odd(activation) and _slope(activation, 0.0) >= _steepest(activation) * (1 - 1e-9):
        return "odd", _steepest(activation) ** 2 * k1
    if free_bias or not activation.positively_homogeneous:
        return "numerical", None
    if not _at_one(activation) > 0.0:
        # A mirrored ReLU and the like: nothing is known of them in closed form here.
        return "numerical", None
    negative = -float(np.asarray(activation(jnp.asarray([-1.0])))[0]) / _at_one(activation)
    scale = _at_one(activation) ** 2
    all_equal = np.ptp(k) <= near and abs(spectrum.within - (k0 if spectrum.within else 0.0)) <= near
    if all_equal and _at_one(activation) > 0 and 0 <= negative < 1:
        return "no preference", scale * k0 * (1 + negative**2) / 2
    if negative != 0.0:
        return "numerical", None
    even, others = k[2::2], float(k[3::2].max(initial=0.0))
    same_even = len(even) > 0 and np.ptp(even) <= near
    if (
        same_even
        and abs(even[0] - k0) <= near
        and max(others, k0) <= k1 + near
        and spectrum.within <= k0 + near
    ):
        return "no preference", scale * (k0 + k1) / 4
    if rest < k0 - near and k0 <= k1 + near:
        return "constant small", scale * (k0 + k1) / 4
    if largest and k0 > k1 + near:
        return "constant large", scale * k0 * k1 / (k0 + k1)
    few = others <= k1 + near and spectrum.within <= min(k1, float(even[0])) + near if len(even) else False
    if same_even and few and k0 < even[0] - near and (k0 + even[0]) / 2 <= k1 + near:
        return "pairs", scale * (k1 + (k0 + float(even[0])) / 2) / 4
    return "numerical", None


def _kernels(case: Case, n: int, activation: Activation) -> Float[np.ndarray, "two degree"]:
    """By degree, over kappa_1."""
    none = np.zeros(n + 1)
    none[1] = 1.0
    pure = none.copy()
    pure[0] = n
    pairs = pure.copy()
    if n > 1:
        pairs[0], pairs[2] = n / 2, 1.0 / (n - 1)
    if case in ("constant small", "constant large"):
        return np.stack([pure, pure])
    if case == "pairs":
        return np.stack([pairs, pairs])
    if case == "no preference":
        a = -float(np.asarray(activation(jnp.asarray([-1.0])))[0]) / _at_one(activation)
        even = ((1 - a * a) / (1 + a * a)) ** 2
        weaker = np.where(np.arange(n + 1) == 1, 1.0, even)
        return np.stack([pure * weaker, pairs * weaker])
    if case == "odd":
        return np.stack([none, none])
    if case == "linear":
        open_constant = none.copy()
        open_constant[0] = np.nan
        return np.stack([open_constant, open_constant])
    unknown = np.full(n + 1, np.nan)
    unknown[1] = 1.0
    return np.stack([unknown, unknown])


def _parallelism(degrees: Sequence[float] | np.ndarray) -> float:
    """The score of a kernel that is diagonal in products of latents, from the products that contain one latent."""
    k = np.asarray(degrees, float)
    n = len(k) - 1
    contexts = 2 ** (n - 1)
    if contexts == 1:
        return math.nan
    others = sum(math.comb(n - 1, d - 1) * k[d] for d in range(2, n + 1))
    return float((k[1] - others / (contexts - 1)) / (k[1] + others))


def _at_one(activation: Activation) -> float:
    return float(np.asarray(activation(jnp.asarray([1.0])))[0])


def _is_odd(activation: Activation) -> bool:
    z = np.linspace(0.0, 5.0, 101)
    return bool(np.allclose(activation(jnp.asarray(z)), -np.asarray(activation(jnp.asarray(-z))), atol=1e-6))


def _slope(activation: Activation, z: float) -> float:
    with jax.enable_x64(True):
        return float(jax.grad(activation.__call__)(jnp.float64(z)))


def _steepest(activation: Activation) -> float:
    """The Lipschitz constant: the largest slope, between kinks for piecewise linear activations."""
    z = np.linspace(-_RANGE, _RANGE, 4001)
    if activation.piecewise_linear:
        kinks = np.asarray(activation.kinks, float)
        low, high = kinks.min(initial=0.0) - _RANGE, kinks.max(initial=0.0) + _RANGE
        ends = np.concatenate([[low], kinks, [high]])
        z = (ends[1:] + ends[:-1]) / 2
    with jax.enable_x64(True):
        return float(jnp.max(jnp.abs(jax.vmap(jax.grad(activation.__call__))(jnp.asarray(z)))))
