"""One hidden layer in the mean-field scaling, orthogonal inputs: what every unit does, at any number of patterns.

For N → ∞ the units of a network f_r(x) = N⁻¹ Σ_i a_i^r φ(z_i(x)) with posterior ∝ prior × exp(-|y - f|²/2T) become
independent, each with the density (arXiv 2406.16689)

    P(a, z) ∝ exp(-|a|²/2σ_a²) N(z; 0, κ I) exp(Σ_μ t_μ·a φ(z_μ)),     y_c = N T t_c + ⟨a φ(z_c)⟩,

whose multiplier t = (y - ⟨f⟩)/N T maximizes a concave dual. Integrals over z factorize, those over a are summed on a lattice.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int
from scipy.special import ndtr  # pyright: ignore[reportMissingTypeStubs]

from hiddencodes.models.activations import Activation
from hiddencodes.models.gaussian_integrals import evaluate
from hiddencodes.theory.branches import Branch, Outlier, branches_of, outliers_of
from hiddencodes.theory.column_generation import first_multiplier
from hiddencodes.theory.dual_newton import maximize
from hiddencodes.theory.linear_unit import linear_population
from hiddencodes.theory.readout_energy import SPACING
from hiddencodes.theory.single_unit_arguments import checked_problem, code_text, code_threshold
from hiddencodes.theory.single_unit_population import Population, gathered, moments_of
from hiddencodes.theory.tilted_moments import is_linear, tilt_unit

# Values whose densities are summed up at a time.
_CHUNK = 2000
# For more patterns the first estimate, good to 1e-5 nats per pattern, may lose branches.
_MANY = 100_000


@dataclass(frozen=True, eq=False)
class SingleUnitSaddle:
    """The saddle point of one hidden layer at N → ∞.

    Attributes:
        multiplier: t, (class, output).
        kernel_blocks: K_cd = ⟨φ(z_μ) φ(z_ν)⟩ for two different patterns μ of class c and ν of class d, (class, class).
        kernel_diagonal: ⟨φ(z_μ)²⟩, (class,).
        readout_overlap: U = ⟨a aᵀ⟩, (output, output).
        branches: The codes, largest fraction first; empty for linear units.
        outliers: Codes on single units, which exist where φ does not saturate.
        class_counts: P_c.
        readout_variance: σ_a².
        n_temperature: N T.
        residual: Largest violation of the constraints by the solution.
        population: The units themselves: readout weights and their probabilities.
    """

    multiplier: Float[np.ndarray, "cls output"]
    kernel_blocks: Float[np.ndarray, "cls cls"]
    kernel_diagonal: Float[np.ndarray, " cls"]
    readout_overlap: Float[np.ndarray, "output output"]
    branches: tuple[Branch, ...]
    outliers: tuple[Outlier, ...]
    class_counts: Int[np.ndarray, " cls"]
    readout_variance: float
    n_temperature: float
    residual: float
    population: Population = field(repr=False)

    @property
    def _linear(self) -> bool:
        return is_linear(self.population.energy.activation)

    def _gaussian(self, values: Float[np.ndarray, " value"], variance: float) -> Float[np.ndarray, " value"]:
        return np.exp(-(values**2) / (2.0 * variance)) / math.sqrt(2.0 * math.pi * variance)

    def readout_density(
        self, values: Float[np.ndarray, " value"], output: int = 0
    ) -> Float[np.ndarray, " value"]:
        """Density of the readout weight a^r over the units; outliers, a share of order 1/N, are not in it.

        Band-limited interpolation of the lattice sum; its error is below 1e-4 of the peak.

        Args:
            values: Where, (value,).
            output: r.
        """
        if self._linear:
            return self._gaussian(values, float(self.readout_overlap[output, output]))
        spacing = SPACING * math.sqrt(self.readout_variance)
        index = np.rint(self.population.readouts[:, output] / spacing).astype(np.int64)
        lattice, position = np.unique(index, return_inverse=True)
        mass = np.bincount(position, weights=self.population.weights)
        density = np.sinc(values[:, None] / spacing - lattice) @ mass / spacing
        return np.maximum(density, 0.0)  # the interpolation rings around zero where there is no mass

    def preactivation_density(
        self, values: Float[np.ndarray, " value"], class_index: int = 0
    ) -> Float[np.ndarray, " value"]:
        """Density over units of the pre-activation z of one pattern: ⟨N(z; 0, κ) exp(h φ(z))/g(h)⟩ over h = t_c·a.

        Args:
            values: z, (value,).
            class_index: c.
        """
        energy = self.population.energy
        if self._linear:
            slope = float(evaluate(energy.activation, np.ones(1))[0])
            return self._gaussian(values, float(self.kernel_diagonal[class_index]) / slope**2)
        h, mass = self._tilts(class_index)
        variance, phi = energy.input_variance, evaluate(energy.activation, values)
        offset = -energy.table(h[:, None]).log_g(h) - 0.5 * math.log(2.0 * math.pi * variance)
        density = np.empty(len(values))
        for start in range(0, len(values), _CHUNK):
            part = slice(start, start + _CHUNK)
            exponent = np.outer(phi[part], h) + offset - (values[part] ** 2 / (2.0 * variance))[:, None]
            density[part] = np.exp(exponent) @ mass
        return density

    def activation_probability(
        self, edges: Float[np.ndarray, " edge"], class_index: int = 0
    ) -> Float[np.ndarray, " bin"]:
        """Probability that the activation φ(z) of one pattern lies between neighboring `edges`, over units.

        A probability, not a density: a ReLU puts a finite one on zero. Bins are closed below and open above, the last
        closed.

        Args:
            edges: Ascending, (bin + 1,).
            class_index: c.
        """
        energy = self.population.energy
        reach = 10.0 * (math.sqrt(energy.input_variance) + math.sqrt(float(np.max(self.kernel_diagonal))))
        z = np.linspace(-reach, reach, 40_001)
        mass = self.preactivation_density(z, class_index) * (z[1] - z[0])
        return np.histogram(evaluate(energy.activation, z), bins=edges, weights=mass)[0]

    def class_mean_density(
        self, values: Float[np.ndarray, " value"], class_index: int = 0
    ) -> Float[np.ndarray, " value"]:
        """Density over units of the class-mean activation, the mean of φ(z_μ) over the P_c patterns of a class.

        Given a unit's readout it is taken as Gaussian, with the exact mean and variance.

        Args:
            values: (value,).
            class_index: c.
        """
        energy = self.population.energy
        if self._linear:
            between = float(self.kernel_blocks[class_index, class_index])
            within = (float(self.kernel_diagonal[class_index]) - between) / int(
                self.class_counts[class_index]
            )
            return self._gaussian(values, between + within)
        h, mass = self._tilts(class_index)
        table = energy.table(h[:, None])
        width = np.sqrt(table.variance(h) / int(self.class_counts[class_index]))
        offset = (values[:, None] - table.mean(h)) / width
        return (np.exp(-0.5 * offset**2) / (math.sqrt(2.0 * math.pi) * width)) @ mass

    def observed_branches(self) -> tuple[Branch, ...]:
        """The branches as measured codes show them, largest share first; empty where φ does not saturate.

        `branches` divide units by what their readout weights make them do on average. A measured code goes by class means,
        averages over P_c noisy activations, whose fluctuation (Gaussian, of exact mean and variance) can carry a unit across
        the threshold.
        """
        population = self.population
        energy, threshold = population.energy, code_threshold(population.energy.activation)
        if threshold is None or self._linear:
            return ()
        a = population.readouts
        h = energy.tilts(a)
        table = energy.table(h)
        mean = table.mean(h)
        on = ndtr((mean - threshold) / np.sqrt(table.variance(h) / self.class_counts))
        found: list[Branch] = []
        for number in range(2 ** len(self.class_counts)):
            bits = np.array([number >> c & 1 for c in range(len(self.class_counts))], dtype=bool)[::-1]
            w = population.weights * np.prod(np.where(bits, on, 1.0 - on), axis=1)
            share = float(np.sum(w))
            if share > 0.0:
                center = w @ a / share
                covariance = ((a - center) * w[:, None]).T @ (a - center) / share
                found.append(Branch(code_text(bits), share, center, w @ mean / share, covariance))
        return tuple(sorted(found, key=lambda branch: -branch.fraction))

    def code_shares(self) -> dict[str, float]:
        """Share of the units whose class means show each code (`observed_branches`)."""
        return {branch.code: branch.fraction for branch in self.observed_branches()}

    def train_loss(self, width: int) -> float:
        """Mean of ½ Σ_μ |y_μ - f_μ|² over the posterior: ½ Σ_μ |N T t_μ|² plus the Gaussian fluctuations of f at width N.

        The latter are tr[Σ N T (Σ + N T)⁻¹]/2N, Σ the covariance over units of a φ(z_μ); outliers are not in them.

        Args:
            width: N.
        """
        bias = 0.5 * self.n_temperature**2 * float(self.class_counts @ np.sum(self.multiplier**2, axis=1))
        if self.n_temperature == 0.0:
            return bias
        energy, a, w = self.population.energy, self.population.readouts, self.population.weights
        h = energy.tilts(a)
        table = energy.table(h)
        mean, variance = table.mean(h), table.variance(h)
        statistic = (np.sqrt(self.class_counts) * mean)[:, :, None] * a[:, None, :]
        statistic = statistic.reshape(len(a), -1)
        centered = statistic - w @ statistic
        collective = (centered * w[:, None]).T @ centered
        within = np.einsum("g,gc,gr,gs->crs", w, variance, a, a)
        n_outputs = a.shape[1]
        spread = 0.0
        for c, count in enumerate(self.class_counts.tolist()):
            block = slice(c * n_outputs, (c + 1) * n_outputs)
            collective[block, block] += within[c]
            spread += (count - 1) * self._shrunk(within[c])
        return bias + 0.5 * (spread + self._shrunk(collective)) / width

    def _shrunk(self, covariance: Float[np.ndarray, "row row"]) -> float:
        values = np.maximum(np.linalg.eigvalsh(covariance), 0.0)
        return float(np.sum(values * self.n_temperature / (values + self.n_temperature)))

    def _tilts(self, class_index: int) -> tuple[Float[np.ndarray, " tilt"], Float[np.ndarray, " tilt"]]:
        """The distribution of h = t_c·a over units, gathered on a grid that is fine compared with its smoothing by φ."""
        h = self.population.energy.tilts(self.population.readouts)[:, class_index]
        return gathered(h, self.population.weights, 0.02)


def single_unit_saddle(
    activation: Activation,
    class_counts: Int[np.ndarray, "..."] | tuple[int, ...] | list[int],
    class_targets: Float[np.ndarray, "..."],
    *,
    readout_variance: float | None = None,
    n_temperature: float = 0.0,
    input_variance: float = 1.0,
) -> SingleUnitSaddle:
    """Solve one hidden layer for orthogonal inputs, K_0 = κ I, at N → ∞ and any number of patterns.

    The multiplier maximizes Σ_c P_c t_c·y_c - (N T/2) Σ_c P_c |t_c|² - log Z(t), Z(t) = ∫ da exp(-|a|²/2σ_a²)
    Π_c g(t_c·a)^{P_c}, g(h) = E exp(h φ(z)), z ~ N(0, κ), by Newton's method from the solution for P → ∞. The integral over a
    is a sum over a lattice of spacing 0.7 σ_a, exact to 1e-8. Where φ does not saturate, outliers confine t, and the bulk
    is separated from their valleys at 80 % of the energy between them, an ambiguity of relative size exp(-0.8 P ΔE). For
    P ΔE < 4 nats there are no single outliers: the integral is over the valleys too, as is exact for N → ∞.

    Args:
        activation: φ.
        class_counts: P_c, (class,).
        class_targets: y, row c the target of class c, (class, output).
        readout_variance: σ_a²; 1/P if None.
        n_temperature: N T.
        input_variance: κ.

    Returns:
        Multiplier, kernel, branches, outliers, densities.

    Raises:
        ValueError: if an argument is out of range, or the readout space of many outputs cannot be summed over.

    Example:
        >>> from hiddencodes.models.activations import sigmoidal
        >>> saddle = single_unit_saddle(sigmoidal, (25, 25), np.eye(2))
        >>> print(saddle.multiplier[0].round(2), [(b.code, round(b.fraction, 3)) for b in saddle.branches])
        [ 4.91 -1.56] [('01', 0.497), ('10', 0.497), ('11', 0.006)]

    References:
        A. van Meegen and H. Sompolinsky, arXiv 2406.16689.
    """
    counts = np.asarray(class_counts)
    if counts.dtype.kind not in "iu" or counts.ndim != 1 or np.any(counts < 1):
        raise ValueError(f"class_counts: must be positive integers, got {class_counts!r}")
    n_patterns = int(counts.sum())
    variance = 1.0 / n_patterns if readout_variance is None else float(readout_variance)
    if not variance > 0.0:
        raise ValueError(f"readout_variance: must be finite and positive, got {variance}")
    problem = checked_problem(
        activation, counts.astype(np.float64), class_targets, variance * n_patterns, input_variance, n_temperature,
        weights_name="class_counts",
    )  # fmt: skip
    if is_linear(activation):
        solution = linear_population(problem, n_patterns)
    else:
        start = first_multiplier(problem)
        if math.isfinite(tilt_unit(activation, input_variance)) or n_patterns > _MANY:
            start = maximize(problem, start, None).multiplier
        solution = maximize(problem, start, n_patterns)
    state = solution.population
    blocks, diagonal, overlap = moments_of(state)
    return SingleUnitSaddle(
        multiplier=solution.multiplier,
        kernel_blocks=blocks,
        kernel_diagonal=diagonal,
        readout_overlap=overlap,
        branches=() if is_linear(activation) else branches_of(state),
        outliers=() if is_linear(activation) else outliers_of(state),
        class_counts=counts,
        readout_variance=variance,
        n_temperature=n_temperature,
        residual=solution.residual,
        population=state,
    )
