import json
from collections import Counter

import numpy as np
import populations as pop
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import KERNELS, Layout, correlated_kernel, prior_moments
from populations import SIGMOIDAL_DUAL
from synthetic_run import run_of_units

from hiddencodes.diagnostics import classify_codes, coding_scheme
from hiddencodes.diagnostics.scheme import average_decisions

DRAWS = 100
FRACTIONS = {3: (0.5, 0.25, 0.25), 2: (0.5, 0.5)}
QUICK = [(50, 60)]
SLOW = [
    (100, 60),
    (50, 100),
    (100, 100),
    (200, 100),
    (500, 60),
    (50, 500),
    (100, 500),
    (200, 500),
    (500, 500),
]


def settings_of(sizes):
    for width, patterns in sizes:
        for n in (2, 3):
            yield width, 50 if (n, patterns) == (2, 60) else patterns, n


def schemes(populations, prior) -> Counter:
    return Counter(classify_codes(m, *prior).scheme for m in populations)


def check_all_schemes(width: int, patterns: int, n_classes: int) -> None:
    """All 100 populations of every scheme and setting are recognized."""
    rng = np.random.default_rng([width, patterns, n_classes])
    fractions = FRACTIONS[n_classes]
    layout = Layout(patterns, fractions, 0.0)
    for kernel in (make(layout) for make in KERNELS.values()):
        for activation in ("linear", "sigmoidal", "relu"):
            populations = pop.lazy(activation, kernel, layout, width, DRAWS, rng)
            assert schemes(populations, prior_moments(activation, kernel, layout)) == {"lazy": DRAWS}
        for off in (0.0, 0.5, -0.5, -1.0):
            targets = layout._replace(off=off)
            populations = pop.analog(kernel, targets, width, DRAWS, rng)
            assert schemes(populations, prior_moments("linear", kernel, layout)) == {"analog": DRAWS}
    prior = prior_moments("sigmoidal", np.eye(patterns), layout)
    for off in (0.0, 0.5, -0.5, -1.0):
        assert (n_classes, patterns, off) in SIGMOIDAL_DUAL
        populations = pop.redundant(layout._replace(off=off), width, DRAWS, rng)
        assert schemes(populations, prior) == {"redundant": DRAWS}
    prior = prior_moments("relu", np.eye(patterns), layout)
    for split in (1, 2):
        populations = pop.sparse(
            layout._replace(off=-0.5 if n_classes == 3 else -1.0), width, DRAWS, rng, split
        )
        assert schemes(populations, prior) == {"sparse": DRAWS}


@pytest.mark.parametrize(("width", "patterns", "n_classes"), list(settings_of(QUICK)))
def test_populations_of_the_theory(width, patterns, n_classes):
    check_all_schemes(width, patterns, n_classes)


@pytest.mark.slow
@pytest.mark.parametrize(("width", "patterns", "n_classes"), list(settings_of(SLOW)))
def test_populations_of_the_theory_in_more_settings(width, patterns, n_classes):
    check_all_schemes(width, patterns, n_classes)


LAYOUT = Layout(60, FRACTIONS[3], 0.0)
PRIORS = {name: prior_moments(name, np.eye(60), LAYOUT) for name in ("linear", "sigmoidal", "relu")}


def population(scheme: str, rng, width: int = 60, draws: int = 1):
    """Class means (draw, unit, class) and the prior."""
    kernel = np.eye(60)
    if scheme == "lazy":
        return pop.lazy("sigmoidal", kernel, LAYOUT, width, draws, rng), PRIORS["sigmoidal"]
    if scheme == "analog":
        return pop.analog(kernel, LAYOUT, width, draws, rng), PRIORS["linear"]
    if scheme == "redundant":
        return pop.redundant(LAYOUT, width, draws, rng), PRIORS["sigmoidal"]
    return pop.sparse(LAYOUT._replace(off=-0.5), width, draws, rng), PRIORS["relu"]


def statistics(decision):
    return np.array([[s.value, s.error] for s in decision[1:]])


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["lazy", "analog", "redundant", "sparse"]))
def test_neither_the_order_of_units_nor_that_of_classes_matters(seed, scheme):
    rng = np.random.default_rng(seed)
    m, prior = population(scheme, rng)
    expected = classify_codes(m[0], *prior)
    assert expected.scheme == scheme
    units = classify_codes(rng.permutation(m[0]), *prior)
    p = rng.permutation(3)
    classes = classify_codes(
        m[0][:, p], prior.mean[p], prior.covariance[np.ix_(p, p)], prior.variance[p], prior.fractions[p]
    )
    for other in (units, classes):
        assert other.scheme == scheme
        np.testing.assert_allclose(statistics(other), statistics(expected), rtol=1e-7, atol=1e-9)


def test_analog_feature_learning_is_its_closed_form():
    """Orthogonal inputs, readout variance 1/P: lambda^2 = tr(Y^T Y) / P up to O(1/P), here 1 for one-hot targets."""
    values = [
        classify_codes(m, *PRIORS["linear"]).feature_learning
        for m in pop.analog(np.eye(60), LAYOUT, 500, 50, np.random.default_rng(0))
    ]
    squares = np.array([v.value**2 for v in values])
    # E of the square of S adds its variance, 2 lambda^2 / N per direction; the O(1/P) term of U is 1/(2 P u) with
    # u = 1/2, and S_cc has its prior part 1/P_c taken off.
    assert abs(squares.mean() - 1) < 5 * squares.std() / np.sqrt(50) + 4 / 500 + 2 / 60
    # The error over units is the spread over populations; known to 1/sqrt(2 * 50).
    predicted = np.mean([v.error for v in values])
    assert np.std([v.value for v in values]) == pytest.approx(predicted, rel=5 / np.sqrt(100))


def test_lazy_feature_learning_is_unbiased():
    kernel = correlated_kernel(LAYOUT)
    prior = prior_moments("linear", kernel, LAYOUT)
    m = pop.lazy("linear", kernel, LAYOUT, 50, 400, np.random.default_rng(0))
    # One chain of independent draws: the mean of lambda^2 before its root is taken.
    decision = classify_codes(m, *prior)
    square = decision.feature_learning.value**2
    error = 2 * decision.feature_learning.value * decision.feature_learning.error
    assert square < 5 * max(error, decision.feature_learning.error**2)
    # The likelihood ratio of Gaussian units stays below its 1e-4 point, which is the threshold over 2.2.
    assert decision.significance.value < decision.significance.threshold / 2.2


@pytest.mark.parametrize("axes", [1, 2])
def test_frozen_chains_are_judged_by_their_spread(axes):
    m, prior = population("redundant", np.random.default_rng(3), draws=4)
    stacked = np.repeat(m[:, None], 6, axis=1) if axes == 2 else np.repeat(m[:1], 6, axis=0)
    decision = classify_codes(stacked, *prior)
    assert decision.scheme == "redundant"
    if axes == 2:
        single = [classify_codes(x, *prior).participation.value for x in m]
        assert decision.participation.value == pytest.approx(np.mean(single))
        assert decision.participation.error == pytest.approx(np.std(single, ddof=1) / 2)
    else:
        # One frozen chain: the sampling error over its units.
        assert decision.participation.error == classify_codes(m[0], *prior).participation.error > 0


def test_units_that_all_share_one_code_are_redundant():
    m = (
        PRIORS["sigmoidal"].mean
        + np.array([0.4, -0.4, -0.4])
        + 0.01 * np.random.default_rng(0).standard_normal((80, 3))
    )
    decision = classify_codes(m, *PRIORS["sigmoidal"])
    assert decision.scheme == "redundant"
    assert decision.discreteness.value == 1


def test_constant_units_that_agree_with_the_prior_are_lazy():
    prior = PRIORS["sigmoidal"]
    decision = classify_codes(np.tile(prior.mean, (50, 1)), *prior)
    assert decision.scheme == "lazy"
    json.dumps(decision.to_dict(), allow_nan=False)


def test_a_prior_without_variance_does_not_make_rounding_significant():
    prior = PRIORS["sigmoidal"]
    m = np.tile(prior.mean, (50, 1)).astype(np.float32)
    decision = classify_codes(m, prior.mean, np.zeros((3, 3)), prior.variance, prior.fractions)
    assert decision.scheme == "lazy"
    assert decision.significance.value < 1


def test_only_one_class_varies():
    rng = np.random.default_rng(0)
    prior = PRIORS["sigmoidal"]
    m = np.tile(prior.mean, (80, 1))
    m[:, 1] = rng.choice([0.03, 0.97], 80)
    assert classify_codes(m, *prior).scheme == "redundant"
    m[:, 1] = 0.5 + 0.45 * rng.standard_normal(80)
    assert classify_codes(m, *prior).scheme == "analog"


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("class_means", np.ones(5), r"class_means: shape \(5,\)"),
        ("class_means", np.ones((3, 3)), r"class_means: shape \(3, 3\)"),
        ("class_means", np.full((9, 3), np.nan), "class_means: 27 entries are not finite"),
        ("prior_mean", np.ones(2), r"prior_mean: shape \(2,\), expected \(3,\)"),
        ("prior_covariance", np.ones(3), r"prior_covariance: shape \(3,\), expected \(3, 3\)"),
        ("prior_covariance", -np.eye(3), "not a covariance matrix"),
        ("prior_covariance", np.triu(np.ones((3, 3))), "not a covariance matrix"),
        ("prior_variance", np.zeros(3), "prior_variance: 0.0"),
        ("prior_variance", np.array([1.0, np.inf, 1.0]), "prior_variance: 1 entries are not finite"),
        ("class_fractions", np.ones(3), "class_fractions"),
    ],
)
def test_errors_name_the_argument(argument, value, message):
    prior = PRIORS["sigmoidal"]
    arguments = {
        "class_means": np.full((9, 3), 0.5),
        "prior_mean": prior.mean,
        "prior_covariance": prior.covariance,
        "prior_variance": prior.variance,
        "class_fractions": prior.fractions,
    }
    with pytest.raises(ValueError, match=message):
        classify_codes(**{**arguments, argument: value})


def run_with(first: str, last: str, rng, seeds: int = 2, **options):
    """Two layers, two seeds, four chains of frozen populations with a little noise along the draws."""
    layers = []
    for scheme in (first, last):
        m, prior = population(scheme, rng, width=100, draws=seeds * 4)
        layers.append((np.repeat(m.reshape(seeds, 4, 1, 100, 3), 30, axis=2), prior))
    means = np.stack([m for m, _ in layers], axis=3)
    means = means + 1e-3 * rng.standard_normal(means.shape)
    return run_of_units(means, [p for _, p in layers], activation="sigmoidal", **options)


def test_run_reports_every_layer_and_seed():
    report = coding_scheme(run_with("lazy", "redundant", np.random.default_rng(0)))
    assert report.layer == 2
    assert report.scheme == "redundant"
    assert {layer: d.scheme for layer, d in report.by_layer.items()} == {1: "lazy", 2: "redundant"}
    assert len(report.table) == 2 * 3
    assert report.sentence.startswith("redundant: feature learning 1.2 (threshold 0.2), participation 1 ")
    assert report.by_layer[2].discreteness.value == pytest.approx(
        np.mean([d.discreteness.value for d in report.by_seed[2].values()])
    )
    assert all(np.isfinite(s.error) for s in report.decision[1:])
    json.dumps(report.to_dict(), allow_nan=False)
    assert coding_scheme(run_with("lazy", "redundant", np.random.default_rng(0)), layer=1).scheme == "lazy"


def test_run_with_unhealthy_chains():
    finite = np.ones((2, 4, 30), bool)
    finite[0, 1, 7:] = False
    report = coding_scheme(run_with("analog", "redundant", np.random.default_rng(0), finite=finite))
    assert report.excluded == ("seed 0 chain 1 (non-finite state from draw 7)",)
    assert "left out: seed 0 chain 1" in report.sentence
    finite[0] = False
    assert list(
        coding_scheme(run_with("lazy", "lazy", np.random.default_rng(0), finite=finite)).by_seed[2]
    ) == ["1"]
    with pytest.raises(ValueError, match="no healthy chain"):
        coding_scheme(run_with("lazy", "lazy", np.random.default_rng(0), finite=finite & False))


def test_seeds_that_disagree_are_named():
    rng = np.random.default_rng(0)
    m, prior = population("redundant", rng, width=100, draws=8)
    means = np.repeat(m.reshape(2, 4, 1, 1, 100, 3), 5, axis=2)
    means[1] = prior.mean + 0.4 * rng.standard_normal(means[1].shape)
    report = coding_scheme(run_of_units(means, [prior], activation="sigmoidal"))
    assert {d.scheme for d in report.by_seed[1].values()} == {"redundant", "analog"}
    assert "seeds that differ: " in report.sentence


def test_average_over_seeds_knows_their_spread():
    m, prior = population("analog", np.random.default_rng(0), draws=3)
    single = [classify_codes(x, *prior) for x in m]
    values = [d.participation.value for d in single]
    pooled = average_decisions(single).participation
    assert pooled.value == pytest.approx(np.mean(values))
    assert pooled.error >= np.std(values, ddof=1) / np.sqrt(3) * (1 - 1e-12)


def test_missing_variables_are_named():
    run = run_with("lazy", "lazy", np.random.default_rng(0))
    groups = {path: node.to_dataset() for path, node in run.subtree_with_keys}
    groups["constant_data"] = groups["constant_data"].drop_vars("prior_variance")
    with pytest.raises(ValueError, match="no variable 'prior_variance' in group 'constant_data'"):
        coding_scheme(type(run).from_dict(groups))
    with pytest.raises(ValueError, match="layer: 5"):
        coding_scheme(run, layer=5)


@pytest.mark.parametrize("kernel", sorted(KERNELS))
def test_analog_feature_learning_follows_the_theory_for_correlated_inputs(kernel):
    k0 = KERNELS[kernel](LAYOUT)
    prior = prior_moments("linear", k0, LAYOUT)
    m = pop.analog(k0, LAYOUT, 500, 200, np.random.default_rng(0))
    found = classify_codes(m[:, None], *prior).feature_learning
    # 200 independent chains of one draw: no bias; delta-method error of the root.
    assert abs(found.value - pop.analog_feature_learning(k0, LAYOUT)) < 5 * found.error
    assert found.error < 0.02
