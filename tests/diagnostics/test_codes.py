import json

import numpy as np
import populations as pop
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import Layout, prior_moments
from synthetic_run import run_of_units

from hiddencodes.diagnostics import class_means, code_table, codes, outlier_units, participation_ratio

PRIOR = prior_moments("sigmoidal", np.eye(60), Layout(60, (0.5, 0.25, 0.25), 0.0))


def test_class_means_are_means_over_patterns():
    rng = np.random.default_rng(0)
    activations, labels = rng.random((2, 5, 9)), np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])
    result = class_means(activations, labels)
    np.testing.assert_allclose(result[..., 1], activations[..., 3:5].mean(-1))
    assert class_means(activations.astype(np.float32), labels).dtype == np.float32


def test_class_means_errors():
    with pytest.raises(ValueError, match="labels: no pattern of class 1"):
        class_means(np.ones((2, 2)), np.array([0, 2]))
    with pytest.raises(ValueError, match="labels: values 0 to 2"):
        class_means(np.ones((2, 2)), np.array([0, 2]), n_classes=2)


@pytest.mark.parametrize(
    ("means", "rule", "expected"),
    [
        ([[0.9, 0.2], [0.4, 0.6]], "auto", [[1, 0], [0, 1]]),
        ([[20.0, 0.4], [0.5, 0.4]], "auto", [[1, 0], [0, 0]]),
        ([[-0.3, 0.2], [0.4, -0.1]], "zero", [[0, 1], [1, 0]]),
        ([[0.3, 0.1], [0.2, 0.0]], 0.15, [[1, 0], [1, 0]]),
        ([[0.3, 0.1], [0.2, 0.0]], "half_maximum", [[1, 0], [1, 0]]),
    ],
)
def test_rules(means, rule, expected):
    assert codes(np.array(means), rule).astype(int).tolist() == expected


def test_codes_refuse_nan():
    with pytest.raises(ValueError, match="1 entries are not finite"):
        codes(np.array([[np.nan, 1.0]]))


def means_with_codes(rng, shape: tuple[int, ...], fraction: float) -> np.ndarray:
    """Two classes: a unit has code 10 with probability `fraction`, else 01."""
    on = rng.random(shape)[..., None] < fraction
    return np.where(on, [0.9, 0.1], [0.1, 0.9])


def test_code_fractions_of_mixing_chains():
    means = means_with_codes(np.random.default_rng(0), (4, 200, 50), 0.3)
    row = code_table(means).pooled["10"]
    exact = np.sqrt(0.3 * 0.7 / means[..., 0].size)
    assert abs(row.fraction - 0.3) < 5 * exact
    # The error is the larger of an estimate with 800 draws and one with 4 chains (chi^2_3 < 35 at z = 5).
    assert exact * (1 - 5 / np.sqrt(1600)) < row.error < exact * np.sqrt(35 / 3)


def test_code_fractions_of_frozen_chains_have_the_error_between_chains():
    one = means_with_codes(np.random.default_rng(1), (6, 1, 50), 0.3)
    row = code_table(np.repeat(one, 30, axis=1)).pooled["10"]
    by_chain = (one[..., 0] > 0.5).mean((1, 2))
    assert row.within == pytest.approx(0, abs=1e-15)
    assert row.error == pytest.approx(by_chain.std(ddof=1) / np.sqrt(6))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_code_table_does_not_depend_on_the_order_of_units(seed):
    rng = np.random.default_rng(seed)
    means = rng.random((2, 5, 12, 3))
    assert code_table(means).pooled == code_table(means[:, :, rng.permutation(12)]).pooled


def test_code_table_of_a_run():
    layout = Layout(60, (0.5, 0.25, 0.25), 0.5)
    m = pop.redundant(layout, 200, 8, np.random.default_rng(0)).reshape(2, 4, 1, 1, 200, 3)
    m = np.repeat(m, 5, axis=2)
    finite = np.ones((2, 4, 5), bool)
    finite[1, 2, 3] = False
    run = run_of_units(m, [PRIOR], activation="sigmoidal", finite=finite)
    table = code_table(run)
    assert table.layer == 1
    assert table.rule == "half"
    assert table.class_names == ("c0", "c1", "c2")
    assert table.excluded == ("seed 1 chain 2 (non-finite state from draw 3)",)
    assert set(table.pooled) <= {"011", "101", "110", "111"}
    assert sum(row.fraction for row in table.pooled.values()) == pytest.approx(1)
    by_seed = [table.by_seed[s]["011"].fraction for s in ("0", "1")]
    assert table.pooled["011"].fraction == pytest.approx(np.mean(by_seed))
    kept = m[1, [0, 1, 3]][:, 0, 0] > 0.5
    assert by_seed[1] == pytest.approx((kept == [False, True, True]).all(-1).mean())
    json.dumps(table.to_dict(), allow_nan=False)


def test_code_table_errors():
    run = run_of_units(
        np.full((1, 2, 5, 1, 4, 3), 0.5), [PRIOR], activation="sigmoidal", finite=np.zeros((1, 2, 5), bool)
    )
    with pytest.raises(ValueError, match="no healthy chain"):
        code_table(run)
    with pytest.raises(ValueError, match="layer: 3"):
        code_table(run, layer=3)
    with pytest.raises(ValueError, match=r"source: shape \(3, 4\)"):
        code_table(np.ones((3, 4)))


def test_participation_ratio():
    e = np.random.default_rng(0).exponential(size=(3, 50))
    assert ((participation_ratio(e) >= 1) & (participation_ratio(e) <= 50)).all()
    np.testing.assert_allclose(participation_ratio(np.eye(4)), 1)
    assert np.isnan(participation_ratio(np.zeros(4)))
    g2 = np.random.default_rng(0).standard_normal((400, 1000)) ** 2
    ratio = participation_ratio(g2) / 1000
    # (E g^2)^2 / E g^4 = 1/3, with a bias of order 1/N from the ratio of means.
    assert abs(ratio.mean() - 1 / 3) < 5 * ratio.std() / np.sqrt(400) + 10 / 1000


def test_energies_may_be_integers():
    counts = np.array([3, 0, 1, 2, 1, 900])
    assert participation_ratio(counts) == participation_ratio(counts.astype(np.float64))
    np.testing.assert_array_equal(outlier_units(counts), outlier_units(counts.astype(np.float64)))


def test_outliers_are_counted_and_the_bulk_is_left_alone():
    rng = np.random.default_rng(0)
    values = np.exp(0.3 * rng.standard_normal((2000, 500)))
    false = outlier_units(values, false_positives=0.1).sum(-1)
    # The scale is known to s = 1.17/sqrt(N) = 5 %, which multiplies the tail beyond z = 3.54 by exp((z^2 s)^2 / 2).
    inflated = 0.1 * np.exp((3.54**2 * 1.17 / np.sqrt(500)) ** 2 / 2)
    error = false.std() / np.sqrt(2000)
    assert 0.1 - 5 * error < false.mean() < inflated + 5 * error
    values[:, :3] *= 100
    assert outlier_units(values)[:, :3].all()


def test_outliers_over_a_silent_bulk():
    silent = np.zeros(50)
    silent[7] = 2.0
    assert np.flatnonzero(outlier_units(silent)).tolist() == [7]
    assert not outlier_units(np.zeros(50)).any()
    with pytest.raises(ValueError, match="false_positives: 0"):
        outlier_units(silent, false_positives=0)
    with pytest.raises(ValueError, match="unit_energies: minimum -2"):
        outlier_units(-silent)


@pytest.mark.parametrize("split", [1, 2])
def test_outliers_of_a_sparse_population(split):
    means = pop.sparse(Layout(100, (0.5, 0.25, 0.25), -0.5), 200, 5, np.random.default_rng(0), split)
    energy = (means**2) @ PRIOR.fractions
    assert outlier_units(energy)[:, : 3 * split].all()
    # 5 populations with 0.01 expected false outliers each: two or more of them have a probability of 0.1 %.
    assert outlier_units(energy).sum() <= 5 * 3 * split + 1
    table = code_table(means[None])
    expected = {f"{1 << c:03b}": split / 200 for c in range(3)}
    assert {k: v.fraction for k, v in table.pooled.items() if k != "000"} == pytest.approx(expected)
