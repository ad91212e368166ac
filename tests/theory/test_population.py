"""The Monte Carlo saddle point against quadrature, the linear closed form, the prior and sampled networks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats

import hiddencodes as hc
from hiddencodes.models import linear, mean_field, relu, sigmoidal
from hiddencodes.models.gaussian_integrals import evaluate
from hiddencodes.models.nngp import activation_kernel
from hiddencodes.tasks import Task
from hiddencodes.theory.linear import linear_saddle
from hiddencodes.theory.linear_prediction import linear_prediction
from hiddencodes.theory.population import exchangeable_groups, single_unit_monte_carlo

REPLICATES = 16
# Five standard errors: the quantile of Student's law of that probability, the error being estimated from replicates.
BOUND = float(stats.t.isf(stats.norm.sf(5.0), REPLICATES - 1))


def gram(n_patterns: int, n_inputs: int, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((n_patterns, n_inputs))
    return x @ x.T / n_inputs


def agree(measured: np.ndarray, error: np.ndarray, exact: np.ndarray, precision: float) -> None:
    """`measured` is within its errors of `exact`, and these are small enough to tell a wrong result."""
    assert np.all(error <= precision)
    # Rounding: entries that are fixed exactly have an error of that size.
    assert np.all(np.abs(measured - exact) <= BOUND * error + 1e-12 * np.max(np.abs(exact)))


def orthogonal_saddle(
    counts: np.ndarray, targets: np.ndarray, readout_variance: float, n_temperature: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """t of every class, class blocks of the kernel and U by quadrature in a and z, one output, K_0 = I."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    phi = 0.5 * (1.0 + special.erf(np.sqrt(np.pi) * nodes / 2.0))
    a = np.linspace(-9.0, 9.0, 3001)

    def tilted(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        terms = np.log(weights / weights.sum()) + a[:, None, None] * t[:, None] * phi
        log_g = np.logaddexp.reduce(terms, axis=2)
        mean = np.exp(terms - log_g[:, :, None]) @ phi
        log_p = -(a**2) / (2 * readout_variance) + log_g @ counts
        p = np.exp(log_p - np.max(log_p))
        return p / p.sum(), mean

    def residual(t: np.ndarray) -> np.ndarray:
        p, mean = tilted(t)
        return targets - n_temperature * t - (p * a) @ mean

    solution = optimize.root(residual, np.zeros(len(counts)), tol=1e-12)
    assert solution.success
    p, mean = tilted(solution.x)
    return solution.x, (mean * p[:, None]).T @ mean, float(p @ a**2)


@pytest.mark.parametrize("precision", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
def test_orthogonal_inputs_against_quadrature(precision) -> None:
    counts, targets = np.array([8, 4]), np.array([1.0, -0.5])
    labels = np.repeat([0, 1], counts)
    t, blocks, overlap = orthogonal_saddle(counts, targets, 1 / 12, 0.02)
    saddle = single_unit_monte_carlo(
        sigmoidal,
        np.eye(12),
        targets[labels][:, None],
        readout_variance=1 / 12,
        n_temperature=0.02,
        labels=labels,
        units=512,
        replicates=REPLICATES,
        precision=precision,
    )
    assert saddle.converged
    agree(saddle.multiplier[:, 0], saddle.multiplier_error[:, 0], t[labels], 0.05)
    assert saddle.kernel_blocks is not None
    assert saddle.kernel_blocks_error is not None
    agree(saddle.kernel_blocks, saddle.kernel_blocks_error, blocks, 0.01)
    agree(saddle.readout_overlap, saddle.readout_overlap_error, np.full((1, 1), overlap), 0.02)
    codes = {each.code: each for each in saddle.codes}
    assert sum(each.fraction for each in saddle.codes) == pytest.approx(1.0, abs=1e-5)
    # The units themselves: their weighted code fractions are one more draw of what was averaged.
    phi = evaluate(sigmoidal, saddle.preactivations)
    on = np.stack([phi[:, :, labels == c].mean(2) > 0.5 for c in (0, 1)])
    snapshot = np.sum(saddle.units.weights * (on[0] & ~on[1]), axis=1)
    spread = np.std(snapshot, ddof=1) / np.sqrt(REPLICATES)
    assert abs(snapshot.mean() - codes["10"].fraction) < BOUND * np.hypot(spread, codes["10"].error)


@pytest.mark.slow
def test_without_exchangeable_patterns() -> None:
    # K_0 = I up to 1e-7, which moves t by no more; but now every pattern has its own t.
    counts, targets = np.array([8, 4]), np.array([1.0, -0.5])
    labels = np.repeat([0, 1], counts)
    t, blocks, _ = orthogonal_saddle(counts, targets, 1 / 12, 0.02)
    k_input = np.eye(12) + 1e-7 * gram(12, 12)
    assert len(set(exchangeable_groups(k_input, targets[labels][:, None]))) == 12
    saddle = single_unit_monte_carlo(
        sigmoidal,
        k_input,
        targets[labels][:, None],
        readout_variance=1 / 12,
        n_temperature=0.02,
        labels=labels,
        units=512,
        replicates=REPLICATES,
    )
    assert saddle.converged
    agree(saddle.multiplier[:, 0], saddle.multiplier_error[:, 0], t[labels], 0.1)
    assert saddle.kernel_blocks is not None
    assert saddle.kernel_blocks_error is not None
    agree(saddle.kernel_blocks, saddle.kernel_blocks_error, blocks, 0.01)


@pytest.mark.parametrize(
    ("n_inputs", "n_temperature"), [(4, 0.05), pytest.param(20, 0.0, marks=pytest.mark.slow)]
)
def test_linear_units_against_the_closed_form(n_inputs, n_temperature) -> None:
    """Two outputs; with fewer inputs than patterns the input kernel is singular."""
    kernel = gram(11, n_inputs)
    train, cross, test = kernel[:8, :8], kernel[:8, 8:], np.diagonal(kernel)[8:]
    y = np.random.default_rng(1).standard_normal((8, 2))
    exact = linear_saddle(train, y, 1, 1 / 8, n_temperature=n_temperature)
    saddle = single_unit_monte_carlo(
        linear,
        train,
        y,
        readout_variance=1 / 8,
        n_temperature=n_temperature,
        units=512,
        replicates=REPLICATES,
    )
    assert saddle.converged
    size = float(np.max(np.abs(exact.kernels)))
    agree(saddle.readout_overlap, saddle.readout_overlap_error, exact.readout_overlap, 0.02 * size)
    agree(saddle.kernel, saddle.kernel_error, exact.kernels[0], 0.02 * size)
    agree(saddle.multiplier, saddle.multiplier_error, exact.multiplier, 0.1)
    # At a huge width the closed form's own corrections of order P/N are gone; the product N Var f is of order one.
    width = 10**7
    prediction = saddle.predict(cross, test, width)
    expected = linear_prediction(train, cross, test, y, 1, width, 1 / 8, n_temperature=n_temperature)
    agree(prediction.mean, prediction.mean_error, expected.mean, 0.1)
    # Independent conditions on every jackknifed entry: a singular kernel holds the outputs of all test patterns.
    agree(width * prediction.variance, width * prediction.variance_error, width * expected.variance, 0.3)


@pytest.mark.slow
def test_small_targets_leave_the_prior() -> None:
    kernel = gram(8, 4)
    y = 1e-4 * np.random.default_rng(2).standard_normal((8, 1))
    saddle = single_unit_monte_carlo(
        sigmoidal, kernel, y, readout_variance=1.0, n_temperature=0.1, units=512, replicates=REPLICATES
    )
    variance = np.diagonal(kernel)
    prior = activation_kernel(sigmoidal, variance[:, None], variance[None, :], kernel)
    assert saddle.converged
    # What small targets change is of second order, 1e-8.
    agree(saddle.kernel, saddle.kernel_error, prior, 0.01)
    t = np.linalg.solve(prior + 0.1 * np.eye(8), y)
    agree(saddle.multiplier, saddle.multiplier_error, t, 0.1 * float(np.max(np.abs(t))))


@pytest.mark.slow
def test_against_sampled_networks() -> None:
    """Two widths remove the correction of order 1/N; what is left is of order 1/N²."""
    rng = np.random.default_rng(3)
    n_train, n_inputs, n_temperature = 6, 5, 0.1
    x = rng.standard_normal((9, n_inputs))
    labels = np.repeat([0, 1], 3)
    y = np.array([1.0, -0.5])[labels][:, None] + 0.3 * rng.standard_normal((n_train, 1))
    task = Task(x[:6], y, labels, x[6:], np.zeros((3, 1)), np.zeros(3, int), ("a", "b"), "{}")
    kernel = x @ x.T / n_inputs
    saddle = single_unit_monte_carlo(
        sigmoidal,
        kernel[:6, :6],
        y,
        readout_variance=1 / n_train,
        n_temperature=n_temperature,
        labels=labels,
        units=2048,
        replicates=REPLICATES,
    )
    prediction = saddle.predict(kernel[:6, 6:], np.diagonal(kernel)[6:], 1)

    def measure(width: int) -> list[np.ndarray]:
        mlp = hc.MLP(n_inputs, 1, width, 1, sigmoidal, mean_field)
        posterior = hc.Posterior(mlp, task, prior=hc.GaussianPrior("1/P"), n_temperature=n_temperature)
        run = hc.sample(posterior, chains=REPLICATES, draws=1500, warmup=400, thin=2, verbose=False)
        group = run["posterior"]
        f = group["test_predictions"].values[0]
        return [
            group["residual_multiplier"].values[0].mean(1),
            group["kernel_blocks"].values[0, :, :, 0].mean(1),
            f.mean(1),
            width * np.mean(np.square(f - f.mean((0, 1))), axis=1),
        ]

    narrow, wide = measure(30), measure(60)
    assert saddle.kernel_blocks is not None
    assert saddle.kernel_blocks_error is not None
    predicted = [
        (saddle.multiplier, saddle.multiplier_error),
        (saddle.kernel_blocks, saddle.kernel_blocks_error),
        (prediction.mean, prediction.mean_error),
        (prediction.variance, prediction.variance_error),
    ]
    for at_30, at_60, (value, error) in zip(narrow, wide, predicted, strict=True):
        extrapolated = 2.0 * at_60 - at_30
        spread = np.std(extrapolated, axis=0, ddof=1) / np.sqrt(REPLICATES)
        agree(extrapolated.mean(0), np.hypot(spread, error), value, 0.02)


def test_same_key_same_result() -> None:
    arguments = {"readout_variance": 0.5, "n_temperature": 0.1, "units": 64, "replicates": 2, "sweeps": 8}
    first, second, other = (
        single_unit_monte_carlo(sigmoidal, gram(3, 5), np.ones((3, 1)), **arguments, key=key)
        for key in (1, 1, 2)
    )
    assert np.array_equal(first.multiplier, second.multiplier)
    assert np.array_equal(first.readouts, second.readouts)
    assert not np.array_equal(first.multiplier, other.multiplier)


@pytest.mark.slow
def test_targets_out_of_reach_do_not_converge() -> None:
    # Two equal inputs with different targets, at zero temperature.
    saddle = single_unit_monte_carlo(
        linear,
        np.ones((2, 2)),
        np.array([[1.0], [-1.0]]),
        readout_variance=1.0,
        units=64,
        replicates=2,
        sweeps=8,
    )
    assert not saddle.converged


@pytest.mark.slow
def test_condensing_units_do_not_converge() -> None:
    y = np.repeat([[1.0], [-1.0]], 20, axis=0)
    saddle = single_unit_monte_carlo(
        relu, np.eye(40), y, readout_variance=1 / 40, units=128, replicates=2, sweeps=8
    )
    assert not saddle.converged


@given(st.integers(2, 5), st.integers(1, 4), st.floats(-0.2, 0.9), st.permutations(range(8)))
@settings(max_examples=20, deadline=None)
def test_groups_of_exchangeable_patterns(first, second, correlation, order) -> None:
    labels = np.repeat([0, 1], [first, second])
    order = np.array([each for each in order if each < len(labels)])
    k_input = np.where(np.equal.outer(labels, labels), correlation, 0.1) + np.diag(1.0 + labels)
    y = labels[:, None].astype(float)
    groups = exchangeable_groups(k_input[np.ix_(order, order)], y[order])
    assert np.array_equal(np.equal.outer(groups, groups), np.equal.outer(labels[order], labels[order]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k_input": -np.eye(4)}, "positive semidefinite"),
        ({"k_input": np.triu(np.ones((4, 4)))}, "symmetric"),
        ({"readout_variance": 0.0}, "readout_variance"),
        ({"n_temperature": -1.0}, "n_temperature"),
        ({"units": 1}, "units"),
        ({"replicates": 1}, "replicates"),
        ({"sweeps": 2}, "sweeps"),
        ({"labels": np.arange(4) * 5}, "labels"),
    ],
)
def test_refuses(change, message) -> None:
    arguments = {"k_input": np.eye(4), "y": np.ones((4, 1)), "readout_variance": 1.0} | change
    with pytest.raises(ValueError, match=message):
        single_unit_monte_carlo(sigmoidal, **arguments)


def test_prediction_refuses() -> None:
    saddle = single_unit_monte_carlo(
        sigmoidal, gram(3, 5), np.ones((3, 1)), readout_variance=0.5, units=64, replicates=2, sweeps=8
    )
    with pytest.raises(ValueError, match="width"):
        saddle.predict(np.ones((3, 1)), np.ones(1), 0)
    with pytest.raises(ValueError, match="k_cross"):
        saddle.predict(np.ones((2, 1)), np.ones(1), 10)
    with pytest.raises(ValueError, match="k_test"):
        saddle.predict(10.0 * np.ones((3, 1)), np.ones(1), 10)
    assert saddle.predict(np.zeros((3, 0)), np.zeros(0), 10).mean.shape == (0, 1)
