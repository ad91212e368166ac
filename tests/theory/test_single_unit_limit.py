"""P → ∞: tables, optimality of the linear program over branches, outliers, and how finite P gets there."""

from functools import cache

import numpy as np
import pytest

import hiddencodes as hc
from hiddencodes.theory.readout_energy import ReadoutEnergy

P = np.array([0.5, 0.25, 0.25])
# Printed digits of a separate derivation and program; they are off by one unit of the last place here and there.
LAST_PLACE = 1.1e-3
# Its branches are at energies within 1e-7 of the lowest, which leaves √(2 × 1e-7/E'') to their readouts, E'' ≥ 0.1.
READOUT = 1.6e-3
# At a softness of 1e-7 nats, energies are equal and constraints are met to this.
ACCURACY = 1e-6


def targets(y_minus: float, n_classes: int = 3) -> np.ndarray:
    return np.where(np.eye(n_classes) > 0, 1.0, y_minus)


SETTINGS = {
    "one-hot": (hc.sigmoidal, P, targets(0.0), 1.0, 0.0, 1.0),
    "half": (hc.sigmoidal, P, targets(0.5), 1.0, 0.0, 1.0),
    "minus one": (hc.sigmoidal, P, targets(-1.0), 1.0, 0.0, 1.0),
    "minus half": (hc.sigmoidal, P, targets(-0.5), 1.0, 0.0, 1.0),
    "wide": (hc.sigmoidal, P, targets(0.0), 1.5, 0.0, 1.0),
    "warm": (hc.hard_tanh, (0.3, 0.7), np.array([[0.8, -0.2], [-0.4, 0.9]]), 0.7, 0.2, 2.0),
    "clipped": (hc.clipped_relu(1.0), P, targets(0.2), 1.0, 0.05, 1.0),
    "relu": (hc.relu, P, targets(-0.5), 1.0, 0.0, 1.0),
    "relu one-hot": (hc.relu, P, targets(0.0), 1.0, 0.0, 1.0),
    "relu mixed": (hc.relu, P, targets(0.5), 1.4, 0.1, 2.0),
    "leaky": (hc.leaky_relu(0.2), (0.6, 0.4), np.array([[1.0, 0.3], [-0.5, 0.7]]), 1.0, 0.0, 1.0),
    "bulk alone": (hc.relu, P, targets(-0.5), 1.0, 3.0, 1.0),
}


@cache
def solved(name: str) -> hc.SingleUnitLimit:
    activation, fractions, y, scale, n_temperature, kappa = SETTINGS[name]
    return hc.single_unit_limit(
        activation, fractions, y, readout_scale=scale, n_temperature=n_temperature, input_variance=kappa
    )


def energy_of(name: str) -> ReadoutEnergy:
    activation, fractions, _, scale, _, kappa = SETTINGS[name]
    return ReadoutEnergy(activation, np.asarray(fractions), scale**2, kappa, solved(name).multiplier)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "leaky" else name for name in SETTINGS]
)
def test_population_meets_the_constraints_and_pays_what_the_dual_says(name):
    """Optimality: feasible branches and outliers whose cost is the value of the dual at t, which bounds it from below."""
    _, _, y, scale, n_temperature, kappa = SETTINGS[name]
    limit, energy = solved(name), energy_of(name)
    p = energy.fractions
    scale_of_y = np.max(np.abs(y))
    total, cost = (
        n_temperature * limit.multiplier,
        0.5 * n_temperature * p @ np.sum(limit.multiplier**2, axis=1),
    )
    assert sum(branch.fraction for branch in limit.branches) == pytest.approx(1.0, abs=1e-9)
    for branch in limit.branches:
        total = total + branch.fraction * np.outer(branch.class_means, branch.readout)
        h = energy.tilts(branch.readout[None])
        at_branch = (h[0] * branch.class_means) @ p - energy.table(h).log_g(h)[0] @ p
        cost += branch.fraction * (branch.readout @ branch.readout / (2 * scale**2) + at_branch)
    for outlier in limit.outliers:
        total = total + np.outer(outlier.activations, outlier.readout)
        cost += outlier.readout @ outlier.readout / (2 * scale**2) + p @ outlier.preactivations**2 / (
            2 * kappa
        )
    # Outliers of nearly parallel rays are summed up, which is exact to their spread.
    slack = 1e-3 if name in ("relu mixed", "leaky") else ACCURACY
    np.testing.assert_allclose(total, y, rtol=0, atol=slack * scale_of_y)
    quadratic = 0.5 * n_temperature * p @ np.sum(limit.multiplier**2, axis=1)
    dual = p @ np.sum(limit.multiplier * y, axis=1) - quadratic + limit.lowest_energy
    assert cost == pytest.approx(dual, abs=10 * slack * scale_of_y)


@pytest.mark.parametrize("name", SETTINGS)
def test_all_branches_are_at_the_lowest_energy(name):
    limit, energy = solved(name), energy_of(name)
    for branch in limit.branches:
        if branch.fraction > 1e-4:
            # The energy of a branch with a share w is 1e-7 log w above the lowest.
            assert energy.energy(branch.readout[None])[0] == pytest.approx(limit.lowest_energy, abs=2e-6)
    spread = 3.0 * np.sqrt(np.trace(limit.readout_overlap))
    rng = np.random.default_rng(0)
    tried = spread * rng.standard_normal((20_000, limit.multiplier.shape[1]))
    assert np.min(energy.energy(tried)) >= limit.lowest_energy - ACCURACY


TABLE = {
    "one-hot": (
        {"011": 0.328, "101": 0.333, "110": 0.333, "100": 0.006},
        {"011": (-1.705, 1.620, 1.620), "101": (1.645, -1.642, 1.580), "100": (2.599, -0.838, -0.838)},
        {"011": (0.045, 0.961, 0.961), "101": (0.923, 0.024, 0.956), "100": (0.961, 0.045, 0.045)},
    ),
    "half": (
        {"011": 0.331, "101": 0.315, "110": 0.315, "111": 0.038},
        {"011": (-0.329, 1.613, 1.613), "101": (1.733, -0.335, 1.574), "111": (1.165, 1.345, 1.345)},
        {"011": (0.199, 0.941, 0.941), "101": (0.903, 0.100, 0.930), "111": (0.806, 0.904, 0.904)},
    ),
    "minus one": ({"011": 0.332, "101": 0.333, "110": 0.333, "100": 0.003}, {}, {}),
    "wide": ({"011": 0.303, "101": 0.321, "110": 0.321, "100": 0.055}, {}, {}),
}


@pytest.mark.parametrize("name", TABLE)
def test_table_of_three_classes(name):
    fractions, readouts, means = TABLE[name]
    limit = solved(name)
    found = {branch.code: branch for branch in limit.branches}
    assert limit.unique
    assert {code: branch.fraction for code, branch in found.items()} == pytest.approx(
        fractions, abs=LAST_PLACE
    )
    for code, readout in readouts.items():
        np.testing.assert_allclose(found[code].readout, readout, rtol=0, atol=READOUT)
        np.testing.assert_allclose(found[code].class_means, means[code], rtol=0, atol=LAST_PLACE)


def test_table_where_the_fractions_are_not_fixed():
    limit = solved("minus half")
    ranges = dict(zip((branch.code for branch in limit.branches), limit.fraction_ranges, strict=True))
    assert not limit.unique
    # 1e-6 of slack in the constraints is worth 1e-3 or so where they are nearly redundant.
    np.testing.assert_allclose(ranges["100"], [0.025, 0.339], rtol=0, atol=3e-3)
    found = {branch.code: branch for branch in limit.branches}
    np.testing.assert_allclose(found["100"].readout, (3.161, -1.580, -1.581), rtol=0, atol=LAST_PLACE)
    np.testing.assert_allclose(found["001"].class_means, (0.047, 0.022, 0.989), rtol=0, atol=LAST_PLACE)
    # The choice among them is the one that finite P makes.
    saddle = hc.single_unit_saddle(hc.sigmoidal, (800, 400, 400), targets(-0.5))
    for branch in saddle.branches:
        if branch.fraction > 1e-3:
            assert branch.fraction == pytest.approx(found[branch.code].fraction, abs=5e-3)


@pytest.mark.parametrize("name", ["one-hot", "minus half", "warm", "clipped", "relu"])
def test_fractions_lie_in_their_ranges(name):
    limit = solved(name)
    fractions = np.array([branch.fraction for branch in limit.branches])
    assert np.all(limit.fraction_ranges[:, 0] - ACCURACY <= fractions)
    assert np.all(fractions <= limit.fraction_ranges[:, 1] + ACCURACY)
    assert limit.unique == bool(np.all(np.ptp(limit.fraction_ranges, axis=1) < 1e-3))


@pytest.mark.parametrize(
    ("y_minus", "unique"), [pytest.param(0.5, False, marks=pytest.mark.slow), (0.2, True), (-0.5, True)]
)
def test_outliers_that_can_turn_into_each_other_are_not_unique(y_minus, unique):
    # Above y- = .5, about, targets need classes to be mixed: M of the confinement is then the identity, and all rays are flat.
    y = targets(y_minus)
    limit = hc.single_unit_limit(hc.relu, P, y)
    assert limit.unique == unique
    gram = np.sqrt(np.outer(P, P)) * (limit.multiplier @ limit.multiplier.T)
    assert np.allclose(gram, np.eye(3), atol=1e-4) != unique
    (bulk,) = limit.branches
    total = np.outer(bulk.class_means, bulk.readout)
    total += sum(np.outer(each.activations, each.readout) for each in limit.outliers)
    # Outliers below 1e-4 of the action are left out, and merging may cost 1e-3.
    np.testing.assert_allclose(total, y, rtol=0, atol=1.5e-3)


@pytest.mark.slow
def test_a_unit_far_out_in_two_classes_still_gains_from_the_third():
    # Next to a valley that leaves out a class of a quarter the bulk is shallow: 7 nats at 200 patterns, less than four at 100.
    y = targets(0.5)
    limit, saddle = hc.single_unit_limit(hc.relu, P, y), hc.single_unit_saddle(hc.relu, (100, 50, 50), y)
    np.testing.assert_allclose(saddle.multiplier, limit.multiplier, rtol=0, atol=1e-3)
    bulk = saddle.branches[0]
    total = np.outer(bulk.class_means, bulk.readout)
    total += sum(np.outer(each.activations, each.readout) for each in saddle.outliers)
    # The bulk fluctuates: ⟨φ aᵀ⟩ and ⟨φ⟩⟨a⟩ᵀ differ by terms of order 1/P.
    np.testing.assert_allclose(total, y, rtol=0, atol=20 / 200)


def test_two_classes():
    limit = hc.single_unit_limit(hc.sigmoidal, (0.5, 0.5), np.eye(2))
    found = {branch.code: branch for branch in limit.branches if branch.fraction > 1e-4}
    assert {code: b.fraction for code, b in found.items()} == pytest.approx(
        {"10": 0.5, "01": 0.5}, abs=LAST_PLACE
    )
    np.testing.assert_allclose(found["10"].readout, (2.189, -0.348), rtol=0, atol=LAST_PLACE)
    np.testing.assert_allclose(found["10"].class_means, (0.937, 0.149), rtol=0, atol=LAST_PLACE)
    single = hc.single_unit_limit(hc.sigmoidal, (0.5, 0.5), np.array([[1.0], [-1.0]]))
    codes = {branch.code: branch.fraction for branch in single.branches}
    assert codes == pytest.approx({"10": 0.5, "01": 0.5}, abs=1e-6)


@pytest.mark.parametrize(
    ("activation", "fractions", "y", "n_temperature", "kappa"),
    [
        (hc.tanh, (0.7, 0.3), [[1.0, 0.2], [-0.4, 0.8]], 0.0, 1.0),
        (hc.tanh, (0.3, 0.7), [[1.0], [-0.2]], 0.1, 1.0),
        (hc.erf, (0.3, 0.7), [[1.0], [-0.5]], 0.0, 1.0),
        (hc.erf, (1.0,), [[1.0, -1.0]], 0.0, 4.0),
    ],
)
def test_odd_activations_have_every_branch_twice(activation, fractions, y, n_temperature, kappa):
    limit = hc.single_unit_limit(
        activation, fractions, np.array(y), n_temperature=n_temperature, input_variance=kappa
    )
    assert not limit.unique
    for branch in limit.branches:
        mirrored = [b for b in limit.branches if np.allclose(b.readout, -branch.readout, rtol=0, atol=1e-5)]
        assert len(mirrored) == 1
        assert mirrored[0].fraction == pytest.approx(branch.fraction, abs=1e-5)
        np.testing.assert_allclose(mirrored[0].class_means, -branch.class_means, rtol=0, atol=1e-5)


@pytest.mark.parametrize("n_temperature", [0.0, 0.3])
def test_linear_units(n_temperature):
    # At T = 0, U = s (κ Σ_c p_c y_c y_cᵀ)^½/κ and t U κ = y; N T is subtracted from κ U.
    y, kappa, scale = np.array([[1.0, 0.2], [-0.5, 0.7]]), 1.5, 1.3
    limit = hc.single_unit_limit(
        hc.linear, (0.4, 0.6), y, readout_scale=scale, n_temperature=n_temperature, input_variance=kappa
    )
    values, vectors = np.linalg.eigh(y.T @ (np.array([[0.4], [0.6]]) * y))
    u = (scale * np.sqrt(kappa * values) - n_temperature) / kappa
    assert np.all(u > 0.0)
    np.testing.assert_allclose(limit.readout_overlap, (vectors * u) @ vectors.T, rtol=0, atol=1e-10)
    left = limit.multiplier @ (kappa * limit.readout_overlap + n_temperature * np.eye(2))
    np.testing.assert_allclose(left, y, rtol=0, atol=1e-10)
    assert limit.branches == limit.outliers == ()
    # With U, two patterns of classes c and d share κ² t_c U t_d.
    blocks = kappa**2 * limit.multiplier @ limit.readout_overlap @ limit.multiplier.T
    np.testing.assert_allclose(limit.kernel_blocks, blocks, rtol=0, atol=1e-10)


def test_table_of_rectified_units():
    limit = solved("relu")
    t = [1.1547, -0.5773, -0.5774, -0.8694, 1.6318, -0.7625]
    np.testing.assert_allclose(limit.multiplier[:2].ravel(), t, rtol=0, atol=2e-4)
    np.testing.assert_allclose(limit.branches[0].readout, (0.1288, -0.0644, -0.0644), rtol=0, atol=2e-4)
    np.testing.assert_allclose(limit.branches[0].class_means, (0.484, 0.346, 0.346), rtol=0, atol=LAST_PLACE)
    found = {outlier.code: outlier for outlier in limit.outliers}
    np.testing.assert_allclose(found["100"].readout, (0.736, -0.368, -0.368), rtol=0, atol=LAST_PLACE)
    np.testing.assert_allclose(found["010"].readout, (-0.344, 0.646, -0.302), rtol=0, atol=LAST_PLACE)
    assert found["100"].preactivations[0] == pytest.approx(1.275, abs=LAST_PLACE)
    assert found["010"].preactivations[1] == pytest.approx(1.583, abs=LAST_PLACE)
    one_hot = solved("relu one-hot").branches[0].readout
    np.testing.assert_allclose(one_hot, (0.3122, 0.1693, 0.1693), rtol=0, atol=2e-4)


@pytest.mark.parametrize("name", ["relu", "relu one-hot", "relu mixed", "leaky"])
def test_outliers_lie_on_flat_rays_and_no_ray_gains_more(name):
    activation, _, _, scale, _, kappa = SETTINGS[name]
    limit, p = solved(name), np.asarray(SETTINGS[name][1])
    below = dict(activation.parameters).get("slope", 0.0)
    assert limit.outliers
    for outlier in limit.outliers:
        phi = np.where(outlier.preactivations > 0, outlier.preactivations, below * outlier.preactivations)
        np.testing.assert_allclose(outlier.activations, phi, rtol=0, atol=1e-5)
        # ā = s² Σ_c p_c t_c φ(z̄_c), the readout that goes with these pre-activations on a flat ray. Nearly parallel rays are
        # summed up: exact to the square of their angle.
        expected = scale**2 * (p * phi) @ limit.multiplier
        np.testing.assert_allclose(outlier.readout, expected, rtol=0, atol=1e-3 * np.linalg.norm(expected))
    v = np.random.default_rng(0).standard_normal((100_000, len(p)))
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    pull = scale * np.sqrt(kappa) * (np.where(v > 0, v, below * v) * np.sqrt(p)) @ limit.multiplier
    gains = np.linalg.norm(pull, axis=1)
    assert 0.99 < np.max(gains) < 1.0 + 2e-6


def test_hot_rectified_units_have_no_outliers():
    limit = solved("bulk alone")
    assert limit.outliers == ()
    assert len(limit.branches) == 1


@pytest.mark.slow
def test_rectified_units_approach_the_limit_as_one_over_p():
    limit = solved("relu one-hot")
    errors = []
    for quarter in (25, 100):
        saddle = hc.single_unit_saddle(hc.relu, (2 * quarter, quarter, quarter), targets(0.0))
        sizes = {outlier.code: np.linalg.norm(outlier.readout) for outlier in saddle.outliers}
        expected = {outlier.code: np.linalg.norm(outlier.readout) for outlier in limit.outliers}
        assert sizes.keys() == expected.keys()
        errors.append(
            [
                np.abs(saddle.branches[0].readout - limit.branches[0].readout).max(),
                max(abs(sizes[code] - expected[code]) for code in sizes),
            ]
        )
    ratios = np.array(errors[0]) / np.array(errors[1])
    np.testing.assert_allclose(ratios, 4.0, rtol=0.25)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_fractions": (0.5, -0.5)}, "class_fractions: .*-0.5"),
        ({"class_fractions": (0.5, np.inf)}, "class_fractions: .*inf"),
        ({"class_fractions": (1.0,)}, "class_targets: 2 rows"),
        ({"class_targets": np.full((2, 2), np.nan)}, "class_targets: .*nan"),
        ({"readout_scale": np.nan}, "readout_scale: .*nan"),
        ({"n_temperature": np.inf}, "n_temperature: .*inf"),
        ({"input_variance": -2.0}, "input_variance: .*-2.0"),
    ],
)
def test_bad_arguments_are_refused_by_name_and_value(change, message):
    arguments = {
        "activation": hc.sigmoidal,
        "class_fractions": (0.5, 0.5),
        "class_targets": np.eye(2),
    } | change
    with pytest.raises(ValueError, match=message):
        hc.single_unit_limit(**arguments)
