import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from hiddencodes.theory.linear import linear_saddle, readout_overlap_exact
from hiddencodes.theory.linear_posterior import sample_linear_posterior


def random_problem(n_train: int, n_inputs: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_train, n_inputs))
    return x @ x.T / n_inputs, rng.standard_normal((n_train, 1))


def moments(width: int, n_train: int, readout_variance: float, norm: float) -> tuple[float, float]:
    """Mean and variance of the generalized inverse Gaussian law by adaptive quadrature in log q."""
    order, a, b = 0.5 * (width - n_train), width / readout_variance, width * norm
    mode = math.log((order + math.sqrt(order**2 + a * b)) / a)

    def exponent(s: float) -> float:
        return order * s - 0.5 * a * math.exp(s) - 0.5 * b * math.exp(-s)

    # The curvature at the mode of s = log q is √(ν² + ab); beyond 15 standard deviations e^-100 is left.
    reach = 15.0 / (order**2 + a * b) ** 0.25

    def moment(power: int, center: float) -> float:
        def integrand(s: float) -> float:
            return (math.exp(s) - center) ** power * math.exp(exponent(s) - exponent(mode))

        value, _ = integrate.quad(
            integrand, mode - reach, mode + reach, points=[mode], epsabs=0, epsrel=1e-12, limit=200
        )
        return float(value)

    mean = moment(1, 0.0) / moment(0, 0.0)
    return mean, moment(2, mean) / moment(0, 0.0)


@pytest.mark.parametrize(
    ("width", "n_train"),
    [
        *[(50, 40), (40, 60), (41, 60), (300, 20), (61, 60), (60, 61), (2000, 3)],
        *[pytest.param(*sizes, marks=pytest.mark.slow) for sizes in [(500, 500), (100, 600)]],
    ],
)
def test_zero_temperature_law_against_quadrature(width: int, n_train: int) -> None:
    readout_variance = 1.3 / n_train
    law = readout_overlap_exact(np.eye(n_train), np.full((n_train, 1), 0.8), width, readout_variance)
    mean, variance = moments(width, n_train, readout_variance, 0.64 * n_train)
    assert law.mean == pytest.approx(mean, rel=1e-10)
    # The variance is a difference of ratios of order one: it loses the digits by which it is small.
    assert law.variance == pytest.approx(variance, rel=1e-14 * mean**2 / variance + 1e-9)


def test_printed_value() -> None:
    law = readout_overlap_exact(np.eye(40), np.ones((40, 1)), 50, 1 / 40)
    assert law.mean == pytest.approx(1.002753, abs=5e-7)


@given(
    width=st.integers(20, 300),
    n_train=st.integers(1, 40),
    readout_variance=st.floats(0.01, 10.0),
    size=st.floats(0.05, 5.0),
)
@settings(max_examples=25, deadline=None)
def test_mean_obeys_the_exact_moment_identity(
    width: int, n_train: int, readout_variance: float, size: float
) -> None:
    # ∫ d/dq [q^(ν+1) exp(-aq/2 - b/2q)] dq = 0 gives a E q² = 2 (ν + 1) E q + b for every generalized inverse Gaussian.
    y = np.full((n_train, 1), size)
    law = readout_overlap_exact(np.eye(n_train), y, width, readout_variance)
    second = law.variance + law.mean**2
    left = width / readout_variance * second
    right = (width - n_train + 2) * law.mean + width * float(np.sum(y**2))
    assert left == pytest.approx(right, rel=1e-11)


@pytest.mark.parametrize(("width", "n_train"), [(50, 40), (30, 45), (400, 10)])
def test_low_temperatures_approach_zero_temperature(width: int, n_train: int) -> None:
    k_input, y = random_problem(n_train, 2 * n_train)
    readout_variance = 1.0 / n_train
    zero = readout_overlap_exact(k_input, y, width, readout_variance)
    first, second = (
        readout_overlap_exact(k_input, y, width, readout_variance, temperature)
        for temperature in (1e-7, 5e-8)
    )
    # The approach is linear in T: Richardson's combination removes that term; what stays is of order T².
    assert first.mean != zero.mean
    error = abs(first.mean - zero.mean)
    assert abs(2.0 * second.mean - first.mean - zero.mean) < 1e-3 * error + 1e-10
    assert (
        abs(2.0 * second.variance - first.variance - zero.variance)
        < 1e-3 * abs(first.variance - zero.variance) + 1e-10
    )


@pytest.mark.parametrize("temperature", [1e-3, 0.5])
def test_finite_temperature_law_against_importance_weights(temperature: float) -> None:
    # The prior of q is Gamma(N/2) with mean σ_a²; the likelihood N(Y; 0, q K_0/N + T) weights its draws.
    k_input, y = random_problem(6, 9, seed=1)
    width, readout_variance = 8, 1.5
    q = readout_variance * np.random.default_rng(2).chisquare(width, 400_000) / width
    values, vectors = np.linalg.eigh(k_input)
    spread = np.outer(q / width, values) + temperature
    log_weight = -0.5 * np.sum(np.log(spread) + (vectors.T @ y)[:, 0] ** 2 / spread, axis=1)
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    law = readout_overlap_exact(k_input, y, width, readout_variance, temperature)
    # Delta-method standard error of a self-normalized average, five of them.
    for sample, expected in ((q, law.mean), ((q - law.mean) ** 2, law.variance)):
        estimate = weight @ sample
        error = math.sqrt(np.sum(weight**2 * (sample - estimate) ** 2))
        assert abs(estimate - expected) < 5.0 * error


def test_infinite_temperature_is_the_prior() -> None:
    # q ~ Gamma: mean σ_a², variance 2 σ_a⁴/N; the likelihood changes it by terms of order P/T.
    k_input, y = random_problem(4, 2)
    law = readout_overlap_exact(k_input, y, 12, 0.7, temperature=1e9)
    assert law.mean == pytest.approx(0.7, rel=1e-7)
    assert law.variance == pytest.approx(2 * 0.7**2 / 12, rel=1e-7)


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_saddle_satisfies_its_equations(depth: int) -> None:
    k_input, _ = random_problem(9, 15)
    y = np.random.default_rng(3).standard_normal((9, 2))
    readout_variance = 0.4
    overlap, kernels, _, _ = linear_saddle(k_input, y, depth, readout_variance)

    target = y.T @ np.linalg.inv(k_input) @ y
    power = np.linalg.matrix_power(overlap, depth)
    left = power @ overlap / readout_variance**depth - power / readout_variance ** (depth - 1)
    np.testing.assert_allclose(left, target, rtol=0, atol=1e-10 * np.max(target))

    # Every layer has P(z^l) ∝ N(z|0, K_(l-1)) exp(½ zᵀ K̃_l z), K̃_l = K_l⁻¹(⟨zzᵀ⟩_(l+1) - K_l)K_l⁻¹, hence covariance
    # K_l = (K_(l-1)⁻¹ - K̃_l)⁻¹; the last layer and the readout share t = (σ_a² K_L)⁻¹ Y.
    levels = [k_input, *kernels]
    for below, here, above in zip(levels, levels[1:], levels[2:], strict=False):
        inverse = np.linalg.inv(here)
        coupling = inverse @ (above - here) @ inverse
        np.testing.assert_allclose(
            inverse, np.linalg.inv(below) - coupling, rtol=0, atol=1e-9 * np.max(np.abs(inverse))
        )
    multiplier = np.linalg.solve(readout_variance * levels[-1], y)
    expected = np.eye(2) / readout_variance - multiplier.T @ levels[-2] @ multiplier
    np.testing.assert_allclose(np.linalg.inv(overlap), expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(levels[-2] @ multiplier @ overlap, y, rtol=0, atol=1e-10)


def test_saddle_of_three_orthogonal_classes() -> None:
    # 100/50/50 patterns, targets 1 and -1/2, σ_a² = P^(-1/3); values to the digits printed. The diagonal is the mean over
    # all patterns: class by class it is K_0 plus the block of the class with itself.
    labels = np.repeat([0, 1, 2], [100, 50, 50])
    y = np.where(labels[:, None] == np.arange(3), 1.0, -0.5)
    kernels = linear_saddle(np.eye(200), y, 3, 200 ** (-1 / 3)).kernels
    pairs = ((0, 1), (100, 101), (0, 100), (100, 150))
    printed = ((0.040, 0.053, -0.020, -0.033, 1.047), (0.282, 0.345, -0.141, -0.204, 1.314))
    for kernel, expected in zip(kernels[:2], printed, strict=True):
        found = [*(kernel[pair] for pair in pairs), np.mean(np.diagonal(kernel))]
        np.testing.assert_allclose(found, expected, rtol=0, atol=5e-4)


@given(depth=st.integers(1, 6), readout_variance=st.floats(1e-4, 1e4), size=st.floats(1e-6, 1e3))
@settings(max_examples=40, deadline=None)
def test_saddle_root_at_every_scale(depth: int, readout_variance: float, size: float) -> None:
    overlap = float(
        linear_saddle(np.eye(1), np.full((1, 1), size), depth, readout_variance).readout_overlap[0, 0]
    )
    ratio = overlap / readout_variance
    assert ratio >= 1.0
    # v - 1 has the rounding error of v ≥ 1, amplified by v^L in the equation.
    tolerance = 1e-14 * (depth + 2) * ratio ** (depth + 1)
    assert abs(ratio**depth * (ratio - 1.0) - size**2 / readout_variance) <= tolerance


def test_targets_of_lower_rank_than_outputs() -> None:
    y = np.array([[1.0, 1.0], [0.0, 0.0], [2.0, 2.0]])
    overlap = linear_saddle(np.eye(3), y, 2, 0.5).readout_overlap
    # The direction without a target keeps its prior variance.
    assert np.array([1.0, -1.0]) @ overlap @ np.array([1.0, -1.0]) / 2 == pytest.approx(0.5)


def test_mean_field_is_the_limit_of_large_width() -> None:
    k_input, y = random_problem(15, 30)
    saddle = float(linear_saddle(k_input, y, 1, 0.1).readout_overlap[0, 0])
    errors = [readout_overlap_exact(k_input, y, width, 0.1).mean - saddle for width in (20_000, 40_000)]
    # A 1/N correction halves; its own correction is of relative order P/N.
    assert errors[0] / errors[1] == pytest.approx(2.0, abs=15 / 20_000 * 10)


@pytest.mark.parametrize("temperature", [0.0, 0.05])
def test_independent_draws(temperature: float) -> None:
    k_input, y = random_problem(5, 8, seed=4)
    width, readout_variance, draws = 7, 0.6, 40_000
    a, z = sample_linear_posterior(
        k_input, y, width, readout_variance, draws, np.random.default_rng(5), temperature
    )
    assert a.shape == (draws, width)
    assert z.shape == (draws, 5, width)
    law = readout_overlap_exact(k_input, y, width, readout_variance, temperature)
    q = np.sum(a**2, axis=1) / width
    f = np.einsum("dpn,dn->dp", z, a) / width
    if temperature == 0.0:
        np.testing.assert_allclose(f, np.broadcast_to(y[:, 0], f.shape), rtol=0, atol=1e-10)

    # Given q, f is N(0, q K_0/N) seen through noise of variance T.
    prior = q[:, None, None] * k_input / width
    gain = np.linalg.solve(prior + temperature * np.eye(5), prior).transpose(0, 2, 1)
    residual = f - gain @ y[:, 0]
    # Given a and f the components of z across a keep their prior: <z zᵀ> = (N-1) K_0 + f fᵀ N/q.
    products = np.einsum("dpn,dkn->dpk", z, z) - width * f[:, :, None] * f[:, None, :] / q[:, None, None]
    samples = [
        (q, law.mean),
        ((q - law.mean) ** 2, law.variance),
        (residual.T, 0.0),
        (np.moveaxis(residual[:, :, None] * residual[:, None, :] - (prior - gain @ prior), 0, -1), 0.0),
        (np.moveaxis(products, 0, -1), (width - 1) * k_input),
        (a.T, 0.0),
    ]
    # Draws are independent: five standard errors; 1e-10 is the rounding of what is exactly zero.
    for sample, expected in samples:
        error = np.std(sample, axis=-1) / math.sqrt(draws)
        assert np.all(np.abs(np.mean(sample, axis=-1) - expected) <= 5.0 * error + 1e-10)


@pytest.mark.slow
def test_draws_at_large_width() -> None:
    n_train = 300
    y = np.ones((n_train, 1))
    law = readout_overlap_exact(np.eye(n_train), y, 300, 1 / n_train)
    a, _ = sample_linear_posterior(np.eye(n_train), y, 300, 1 / n_train, 50, np.random.default_rng(6))
    error = math.sqrt(law.variance / 50)
    assert abs(np.mean(np.sum(a**2, axis=1)) / 300 - law.mean) < 5.0 * error


def test_refuses_what_has_no_law() -> None:
    k_input, y = random_problem(4, 2)
    with pytest.raises(ValueError, match=r"k_input .4 x 4. is singular .* its rank is 2"):
        readout_overlap_exact(k_input, y, 10, 1.0)
    with pytest.raises(ValueError, match=r"k_input .4 x 4. is singular"):
        linear_saddle(k_input, y, 1, 1.0)
    with pytest.raises(ValueError, match=r"one output for the exact law, got shape \(4, 2\)"):
        readout_overlap_exact(np.eye(4), np.ones((4, 2)), 10, 1.0)
    with pytest.raises(ValueError, match="y is zero"):
        readout_overlap_exact(np.eye(4), np.zeros((4, 1)), 10, 1.0)
    with pytest.raises(ValueError, match="positive semidefinite, got the eigenvalue -1"):
        readout_overlap_exact(-np.eye(4), y, 10, 1.0, temperature=1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"readout_variance": 0.0}, r"readout_variance must be finite and positive, got 0\.0"),
        ({"temperature": -1.0}, r"temperature must be finite and non-negative, got -1\.0"),
    ],
)
def test_refuses_arguments(arguments: dict[str, float], message: str) -> None:
    accepted = {"width": 10, "readout_variance": 1.0, "temperature": 0.0}
    with pytest.raises(ValueError, match=message):
        readout_overlap_exact(np.eye(2), np.ones((2, 1)), **{**accepted, **arguments})  # pyright: ignore
    with pytest.raises(ValueError, match="draws must be at least 1, got 0"):
        sample_linear_posterior(np.eye(2), np.ones((2, 1)), 10, 1.0, 0, np.random.default_rng(0))
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        linear_saddle(np.eye(2), np.ones((2, 1)), 0, 1.0)
