"""One hidden layer at N → ∞ against brute force, exact relations between settings, and tables of a separate derivation."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

import hiddencodes as hc
from hiddencodes.theory import dual_newton, readout_energy

# The solver's own accuracy: constraints to 1e-8 of the targets, and the multiplier by a few times as much.
ACCURACY = 1e-6


def targets(y_minus: float, n_classes: int = 3) -> np.ndarray:
    return np.where(np.eye(n_classes) > 0, 1.0, y_minus)


def kernel(saddle: hc.SingleUnitSaddle) -> tuple[np.ndarray, np.ndarray]:
    """The kernel between patterns, and the class of every pattern."""
    labels = np.repeat(np.arange(len(saddle.class_counts)), saddle.class_counts)
    full = saddle.kernel_blocks[np.ix_(labels, labels)]
    full[np.diag_indices(len(labels))] = saddle.kernel_diagonal[labels]
    return full, labels


GENERAL = {
    "four classes": (hc.sigmoidal, (9, 7, 5, 4), np.array([[1.0, 0.2], [0.1, 0.7], [-0.4, 0.3], [0.6, -0.8]]), 0.05, 0.0, 1.0),
    "one class": (hc.erf, (9,), np.array([[0.8, -0.3]]), 0.2, 0.05, 0.4),
    "one pattern": (hc.tanh, (1,), np.array([[0.6]]), 1.0, 0.1, 1.0),
    "three outputs": (hc.erf, (12, 9, 6), targets(-0.5), 0.06, 0.01, 2.0),
    "wide prior": (hc.hard_tanh, (7, 11), np.array([[1.0, -1.0], [-1.0, 0.3]]), 1.0, 0.3, 3.0),
    "leaky": (hc.leaky_relu(0.2), (12, 15), np.array([[0.8], [-0.5]]), 0.04, 1.0, 1.0),
    "shifted": (hc.shifted_relu(0.3), (20, 14), np.array([[0.5, -0.2], [0.1, 0.6]]), 0.02, 1.0, 1.0),
    "bias": (hc.shifted_relu(-0.3), (10, 8), np.array([[0.8], [-0.7]]), 0.1, 0.05, 0.7),
    "filled valleys": (hc.relu, (6, 6), targets(0.0, 2), 1 / 12, 0.004, 1.0),
    "leaky, filled valleys": (hc.leaky_relu(0.2), (27, 29), targets(-0.5, 2), 1 / 56, 0.1, 3.0),
}  # fmt: skip
SLOW = ("leaky, filled valleys",)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in GENERAL],
)
def test_the_multiplier_is_that_of_regression_with_the_learned_kernel(name):
    """t = (σ_a² K + N T)⁻¹ Y with K the kernel of the solution: Gaussian conditioning, which the solver does not use."""
    activation, counts, y, variance, n_temperature, kappa = GENERAL[name]
    saddle = hc.single_unit_saddle(
        activation, counts, y, readout_variance=variance, n_temperature=n_temperature, input_variance=kappa
    )
    assert saddle.outliers == ()
    full, labels = kernel(saddle)
    left = variance * full @ saddle.multiplier[labels] + n_temperature * saddle.multiplier[labels]
    np.testing.assert_allclose(left, y[labels], rtol=0, atol=ACCURACY * np.max(np.abs(y)))
    # The second moment of the readouts follows in the same way: U = σ_a² + σ_a⁴ tᵀ K t.
    t = saddle.multiplier[labels]
    expected = variance * np.eye(y.shape[1]) + variance**2 * t.T @ full @ t
    np.testing.assert_allclose(saddle.readout_overlap, expected, rtol=0, atol=ACCURACY * np.max(expected))


class BruteForce:
    """One output: everything by sums over fixed grids in a and z."""

    def __init__(self, name: str) -> None:
        phi, self.counts, self.y, self.variance, self.n_temperature, kappa = {
            "tanh": (np.tanh, (14, 9), (1.0, -0.6), 0.07, 0.05, 1.3),
            "sigmoidal": (
                lambda z: 0.5 * (1 + special.erf(np.sqrt(np.pi) * z / 2)), (8, 16), (1.0, 0.25), 1 / 24, 0.0, 1.0,
            ),
            "relu": (lambda z: np.maximum(z, 0.0), (8, 6), (0.9, -0.4), 0.1, 0.5, 0.8),
        }[name]  # fmt: skip
        self.activation, self.kappa = getattr(hc, name), kappa
        x, w = np.polynomial.legendre.leggauss(20)
        edges = np.arange(-24, 24) / 2.0
        z = (edges[:, None] + 0.25 + 0.25 * x).ravel()
        self.log_weight = np.log(np.tile(0.25 * w, len(edges))) - z**2 / 2 - 0.5 * np.log(2 * np.pi)
        self.phi = phi(np.sqrt(kappa) * z)
        self.a = np.linspace(-6.0, 6.0, 1201)

    def moments(self, t: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """D(t), the readout density on the grid, and mean activations (grid, class)."""
        counts, y = np.array(self.counts), np.array(self.y)
        exponent = self.log_weight + (self.a[:, None] * t)[..., None] * self.phi
        log_g = special.logsumexp(exponent, axis=2)
        mean = np.exp(exponent - log_g[..., None]) @ self.phi
        log_p = -(self.a**2) / (2 * self.variance) + log_g @ counts
        total = special.logsumexp(log_p)
        value = counts @ (t * y) - 0.5 * self.n_temperature * counts @ t**2 - total
        return float(value), np.exp(log_p - total), mean

    def solved(self) -> hc.SingleUnitSaddle:
        return hc.single_unit_saddle(
            self.activation,
            self.counts,
            np.array(self.y)[:, None],
            readout_variance=self.variance,
            n_temperature=self.n_temperature,
            input_variance=self.kappa,
        )


@pytest.mark.parametrize("name", ["tanh", "sigmoidal", "relu"])
def test_the_dual_is_at_its_maximum(name):
    brute = BruteForce(name)
    saddle = brute.solved()
    t = saddle.multiplier[:, 0]
    value, density, mean = brute.moments(t)
    np.testing.assert_allclose(
        brute.n_temperature * t + (density * brute.a) @ mean, np.array(brute.y), rtol=0, atol=1e-7
    )
    np.testing.assert_allclose((mean * density[:, None]).T @ mean, saddle.kernel_blocks, rtol=0, atol=1e-7)
    np.testing.assert_allclose(density @ brute.a**2, saddle.readout_overlap[0, 0], rtol=1e-7)
    rng = np.random.default_rng(0)
    for size in np.geomspace(1e-2, 0.3, 12):
        there = t + size * rng.standard_normal(2)
        assert brute.moments(there)[0] < value


@pytest.mark.parametrize("name", ["three outputs", "four classes"])
def test_a_finer_lattice_changes_nothing(name, monkeypatch):
    activation, counts, y, variance, n_temperature, kappa = GENERAL[name]
    arguments = {"readout_variance": variance, "n_temperature": n_temperature, "input_variance": kappa}
    coarse = hc.single_unit_saddle(activation, counts, y, **arguments)
    monkeypatch.setattr(readout_energy, "SPACING", 0.4)
    fine = hc.single_unit_saddle(activation, counts, y, **arguments)
    assert len(fine.population.weights) > 1.5 * len(coarse.population.weights)
    for each in ("kernel_blocks", "kernel_diagonal", "readout_overlap"):
        np.testing.assert_allclose(getattr(fine, each), getattr(coarse, each), rtol=0, atol=1e-7)
    np.testing.assert_allclose(fine.multiplier, coarse.multiplier, rtol=ACCURACY, atol=ACCURACY)


BASE = np.array([[1.0, -0.2], [-0.5, 0.8], [0.3, 0.4]])


@cache
def base() -> hc.SingleUnitSaddle:
    return hc.single_unit_saddle(hc.tanh, (6, 5, 4), BASE, n_temperature=0.05)


@pytest.mark.slow
@given(
    order=st.permutations(range(3)),
    angle=st.floats(0.0, 6.28),
    signs=st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
)
@settings(max_examples=4, deadline=None)
def test_classes_may_be_permuted_and_flipped_and_outputs_rotated(order, angle, signs):
    # Of an odd φ a class is flipped with its targets.
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    sign = np.array(signs)
    saddle = hc.single_unit_saddle(
        hc.tanh, np.array((6, 5, 4))[order], (sign[:, None] * BASE @ turn)[order], n_temperature=0.05
    )
    expected = base()
    t = (sign[:, None] * expected.multiplier @ turn)[order]
    np.testing.assert_allclose(saddle.multiplier, t, rtol=0, atol=ACCURACY * np.max(np.abs(t)))
    blocks = (np.outer(sign, sign) * expected.kernel_blocks)[np.ix_(order, order)]
    np.testing.assert_allclose(saddle.kernel_blocks, blocks, rtol=0, atol=ACCURACY)
    overlap = turn.T @ expected.readout_overlap @ turn
    np.testing.assert_allclose(saddle.readout_overlap, overlap, rtol=0, atol=ACCURACY)


def test_a_class_may_be_split_and_an_output_without_targets_stays_at_its_prior():
    split = hc.single_unit_saddle(hc.tanh, (6, 2, 3, 4), BASE[[0, 1, 1, 2]], n_temperature=0.05)
    np.testing.assert_allclose(
        split.multiplier, base().multiplier[[0, 1, 1, 2]], rtol=ACCURACY, atol=ACCURACY
    )
    padded = np.concatenate([BASE, np.zeros((3, 1))], axis=1)
    more = hc.single_unit_saddle(hc.tanh, (6, 5, 4), padded, n_temperature=0.05)
    np.testing.assert_allclose(more.multiplier[:, :2], base().multiplier, rtol=ACCURACY, atol=ACCURACY)
    np.testing.assert_allclose(more.multiplier[:, 2], 0.0, atol=ACCURACY)
    assert more.readout_overlap[2, 2] == pytest.approx(1 / 15, rel=ACCURACY)


def test_units_of_the_readout_and_of_the_inputs():
    # a = λ b: y/λ and N T/λ² with σ_b² = σ_a²/λ², t = t'/λ, U = λ² U'.
    scaled = hc.single_unit_saddle(
        hc.tanh, (6, 5, 4), 1.7 * BASE, readout_variance=1.7**2 / 15, n_temperature=0.05 * 1.7**2
    )
    np.testing.assert_allclose(scaled.multiplier, base().multiplier / 1.7, rtol=ACCURACY, atol=ACCURACY)
    np.testing.assert_allclose(scaled.kernel_blocks, base().kernel_blocks, rtol=0, atol=ACCURACY)
    np.testing.assert_allclose(scaled.readout_overlap, 1.7**2 * base().readout_overlap, rtol=0, atol=ACCURACY)
    # Of a homogeneous φ, z = √κ x: y/√κ and N T/κ at unit variance, t = t'/√κ, K = κ K'.
    y, kappa = np.array([[0.5], [-0.3]]), 2.5
    wide = hc.single_unit_saddle(hc.relu, (9, 6), y, n_temperature=0.5, input_variance=kappa)
    unit = hc.single_unit_saddle(hc.relu, (9, 6), y / np.sqrt(kappa), n_temperature=0.5 / kappa)
    np.testing.assert_allclose(wide.multiplier, unit.multiplier / np.sqrt(kappa), rtol=ACCURACY)
    np.testing.assert_allclose(wide.kernel_blocks, kappa * unit.kernel_blocks, rtol=ACCURACY)


def test_hot_networks_keep_their_prior():
    # t = Y/N T + O(1/(N T)²), and the kernel that of the prior, E φ(z) E φ(z') between patterns.
    saddle = hc.single_unit_saddle(hc.relu, (5, 5), targets(-0.5, 2), n_temperature=1e6)
    np.testing.assert_allclose(saddle.multiplier, targets(-0.5, 2) / 1e6, rtol=1e-5)
    np.testing.assert_allclose(saddle.kernel_blocks, 1 / (2 * np.pi), rtol=1e-5)
    np.testing.assert_allclose(saddle.kernel_diagonal, 0.5, rtol=1e-5)


# Printed digits of a separate derivation and program; they are off by one unit of the last place here and there.
LAST_PLACE = 1.1e-3
TABLE = {
    (60, 0.0): ({"011": 0.325, "101": 0.331, "110": 0.331, "100": 0.014}, [5.559, -1.897, -1.897, -3.794, 10.428, -3.476], [0.573, 0.602, 0.313, 0.315]),
    (500, 0.0): ({"011": 0.328, "101": 0.333, "110": 0.333, "100": 0.007}, [5.583, -1.904, -1.904, -3.808, 10.385, -3.459], [0.573, 0.606, 0.315, 0.318]),
}  # fmt: skip


@pytest.mark.parametrize("setting", TABLE)
def test_table_of_three_classes(setting):
    n_patterns, n_temperature = setting
    fractions, t, blocks = TABLE[setting]
    counts = (n_patterns // 2, n_patterns // 4, n_patterns // 4)
    saddle = hc.single_unit_saddle(hc.sigmoidal, counts, targets(0.0), n_temperature=n_temperature)
    found = {branch.code: branch.fraction for branch in saddle.branches}
    assert {code: found[code] for code in fractions} == pytest.approx(fractions, abs=LAST_PLACE)
    np.testing.assert_allclose(saddle.multiplier[:2].ravel(), t, rtol=0, atol=LAST_PLACE)
    k = saddle.kernel_blocks
    np.testing.assert_allclose([k[0, 0], k[1, 1], k[0, 1], k[1, 2]], blocks, rtol=0, atol=LAST_PLACE)


def test_table_of_two_classes_and_of_a_finite_temperature():
    saddle = hc.single_unit_saddle(hc.sigmoidal, (25, 25), np.eye(2))
    found = {branch.code: branch.fraction for branch in saddle.branches}
    assert found == pytest.approx({"10": 0.497, "01": 0.497, "11": 0.006}, abs=LAST_PLACE)
    np.testing.assert_allclose(saddle.multiplier[0], [4.914, -1.558], rtol=0, atol=LAST_PLACE)
    moments = [saddle.kernel_blocks[0, 0], saddle.kernel_blocks[0, 1], saddle.kernel_diagonal[0]]
    np.testing.assert_allclose(moments, [0.452, 0.143, 0.470], rtol=0, atol=LAST_PLACE)
    warm = hc.single_unit_saddle(hc.sigmoidal, (30, 15, 15), targets(0.5), n_temperature=0.004)
    k = warm.kernel_blocks
    np.testing.assert_allclose(
        [k[0, 0], k[1, 1], k[0, 1], k[1, 2]], [0.553, 0.599, 0.395, 0.395], rtol=0, atol=LAST_PLACE
    )


@cache
def rectified() -> hc.SingleUnitSaddle:
    return hc.single_unit_saddle(hc.relu, (12, 12), targets(0.0, 2), n_temperature=0.004)


def test_outliers_or_filled_valleys_are_two_accounts_of_the_same_units(monkeypatch):
    """Where P ΔE is neither small nor large, nine nats here, both ways to treat the valleys are possible, and close."""
    alone = rectified()
    assert sorted(outlier.code for outlier in alone.outliers) == ["01", "10"]
    monkeypatch.setattr(dual_newton, "_HEIGHT", np.inf)
    filled = hc.single_unit_saddle(hc.relu, (12, 12), targets(0.0, 2), n_temperature=0.004)
    assert filled.outliers == ()
    # The cut leaves out exp(-0.8 P ΔE), and units in the valleys cost 1 - gain ≈ m/2P more, m their share: both below 1e-3.
    np.testing.assert_allclose(filled.multiplier, alone.multiplier, rtol=0, atol=2e-3)
    np.testing.assert_allclose(filled.kernel_blocks, alone.kernel_blocks, rtol=0, atol=2e-3)
    full, labels = kernel(filled)
    left = full @ filled.multiplier[labels] / 24 + 0.004 * filled.multiplier[labels]
    np.testing.assert_allclose(left, targets(0.0, 2)[labels], rtol=0, atol=ACCURACY)


@pytest.mark.slow
def test_targets_that_mix_classes_are_met_by_outliers_that_do():
    # Off-targets above what the bulk gives: a continuum of rays is flat, and only sums over outliers are fixed.
    y = targets(0.3, 2)
    saddle = hc.single_unit_saddle(hc.shifted_relu(0.3), (40, 39), y, n_temperature=0.1)
    assert len(saddle.outliers) > 2
    assert any(np.all(outlier.activations > 0.01) for outlier in saddle.outliers)
    (bulk,) = saddle.branches
    population = saddle.population
    h = population.energy.tilts(population.readouts)
    total = (population.weights[:, None] * population.energy.table(h).mean(h)).T @ population.readouts
    total += (population.ray_weights[:, None] * population.rays.activations).T @ population.rays.readouts
    np.testing.assert_allclose(total + 0.1 * saddle.multiplier, y, rtol=0, atol=ACCURACY)
    assert bulk.fraction == pytest.approx(1.0, abs=1e-12)


def test_densities_and_probabilities_of_rectified_units():
    saddle = rectified()
    population, energy = saddle.population, saddle.population.energy
    h = energy.tilts(population.readouts)[:, 0]
    # Silent: exp(-|z|h 0) = 1 on half of the prior, over g(h).
    u = np.exp(h**2 / 2) * special.ndtr(h)
    silent = population.weights @ (0.5 / (0.5 + u))
    probability = saddle.activation_probability(np.array([0.0, 1e-12, 0.7, 40.0]))
    # One bin of the grid of z, 1.1e-3 wide, may fall on either side.
    assert probability[0] == pytest.approx(silent, abs=2e-3)
    between = population.weights @ (
        (np.exp(h**2 / 2) * (special.ndtr(0.7 - h) - special.ndtr(-h))) / (0.5 + u)
    )
    assert probability[1] == pytest.approx(between, abs=2e-3)
    assert probability.sum() == pytest.approx(1.0, abs=1e-6)
    # A class mean has the moments of its Gaussians: ⟨φ̄⟩, and ⟨φ̄²⟩ plus the variance of one activation over P_c.
    bulk = population.weights @ (table := energy.table(h[:, None])).mean(h)
    m = np.linspace(-3.0, 37.0, 40_001)
    density = saddle.class_mean_density(m) * (m[1] - m[0])
    assert density.sum() == pytest.approx(1.0, abs=1e-6)
    # Tilts are gathered on a grid of 0.02, which interpolates ⟨φ⟩ to 0.02²/8 times a third cumulant of at most one.
    assert density @ m == pytest.approx(bulk, abs=5e-5)
    second = population.weights @ (table.mean(h) ** 2 + table.variance(h) / 12)
    assert density @ m**2 == pytest.approx(second, abs=2e-4)
    assert saddle.code_shares() == {}


def test_densities_of_linear_units_are_gaussian():
    saddle = hc.single_unit_saddle(hc.linear, (8, 4), np.array([[1.0], [-0.5]]), n_temperature=0.1)
    x = np.linspace(-8.0, 8.0, 4001)
    step = x[1] - x[0]
    moments = [
        (saddle.readout_density(x), saddle.readout_overlap[0, 0]),
        (saddle.preactivation_density(x, 1), saddle.kernel_diagonal[1]),
        (
            saddle.class_mean_density(x, 1),
            saddle.kernel_blocks[1, 1] + (saddle.kernel_diagonal[1] - saddle.kernel_blocks[1, 1]) / 4,
        ),
    ]
    for density, variance in moments:
        np.testing.assert_allclose(density.sum() * step, 1.0, rtol=1e-9)
        np.testing.assert_allclose(density @ x**2 * step, variance, rtol=1e-6)


def test_codes_of_measured_class_means_are_blurred_by_the_number_of_patterns():
    # Class means fluctuate by 1/√P_c; as P_c grows the shares become the fractions.
    sharp = hc.single_unit_saddle(hc.sigmoidal, (400, 400), np.eye(2))
    fractions = {branch.code: branch.fraction for branch in sharp.branches}
    shares = sharp.code_shares()
    assert sum(shares.values()) == pytest.approx(1.0, abs=1e-9)
    for code, fraction in fractions.items():
        assert shares[code] == pytest.approx(fraction, abs=1e-4)
    blurred = hc.single_unit_saddle(hc.sigmoidal, (10, 10), np.eye(2))
    expected = {branch.code: branch.fraction for branch in blurred.branches}
    assert max(abs(blurred.code_shares()[code] - expected[code]) for code in expected) > 5e-4


def test_supports_that_cannot_be_summed_over_are_refused(monkeypatch):
    monkeypatch.setattr(readout_energy, "_MOST_POINTS", 1000)
    with pytest.raises(ValueError, match=r"class_targets: .* 3 outputs needs more than 1000 points"):
        hc.single_unit_saddle(hc.sigmoidal, (9, 9, 9), targets(0.0))
