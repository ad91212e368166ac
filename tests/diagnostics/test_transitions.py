import json

import numpy as np
import pytest
from scipy import stats

from hiddencodes.diagnostics.transitions import FALSE_ALARM, code_transitions


def bits(states: np.ndarray, n_class: int = 2) -> np.ndarray:
    """Codes whose binary number is the state."""
    return (states[..., None] >> np.arange(n_class - 1, -1, -1)) & 1 == 1


def test_counts_and_shares_by_hand():
    first = bits(np.array([[0, 1, 1], [2, 2, 1]]))
    last = bits(np.array([[0, 1, 2], [2, 3, 2]]))
    found = code_transitions(first, last)
    # Most frequent first, over both draws: 10 five times, 01 four, 00 twice, 11 once.
    assert found.codes == ("10", "01", "00", "11")
    expected = [[1, 0, 0, 1], [2, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(found.counts, expected)
    np.testing.assert_allclose(
        found.probabilities[:3], [[1 / 2, 0, 0, 1 / 2], [2 / 3, 1 / 3, 0, 0], [0, 0, 1, 0]]
    )
    assert np.isnan(found.probabilities[3]).all()
    np.testing.assert_allclose(found.first, [2 / 6, 3 / 6, 1 / 6, 0])
    np.testing.assert_allclose(found.last, [3 / 6, 1 / 6, 1 / 6, 1 / 6])
    assert found.distance == pytest.approx(2 / 6)
    assert found.stayed == pytest.approx(3 / 6)
    # Two units of 01 and 10 each go either way, and one of 10 and 11: the distance is that of all eight outcomes.
    net = np.array([[2 * a, b] for a in (-1, 0, 0, 1) for b in (-1, 1)])
    distances = np.abs(np.stack([net[:, 0], net[:, 1], net.sum(1)], axis=1)).sum(1) / 12
    error = 5 * distances.std() / np.sqrt(4999)
    assert abs(found.expected_distance - distances.mean()) < error
    share = (distances >= 2 / 6).mean()
    assert abs(found.p_value - share) < 5 * np.sqrt(share * (1 - share) / 4999) + 2e-4
    json.dumps(found.to_dict(), allow_nan=False)


def test_frozen_codes():
    states = np.random.default_rng(0).integers(4, size=(2, 50))
    found = code_transitions(bits(states), bits(states))
    assert found.stayed == 1
    assert found.distance == found.expected_distance == 0
    assert found.p_value == 1
    assert found.conserved


def test_two_codes_are_the_sign_test():
    # 40 units go one way, 25 the other.
    first = np.repeat([0, 0, 3, 3], [100, 40, 25, 80])
    last = np.repeat([0, 3, 0, 3], [100, 40, 25, 80])
    found = code_transitions(bits(first), bits(last))
    exact = stats.binomtest(40, 65).pvalue
    assert abs(found.p_value - exact) < 5 * np.sqrt(exact / 4999) + 2e-4


def test_few_moves_in_one_direction():
    # Seven from 00 to 01 and six from 10 to 11: by chance once in 2^6 * 2^5.
    first = np.repeat([0, 0, 2, 2], [7, 50, 6, 50])
    last = np.repeat([1, 0, 3, 2], [7, 50, 6, 50])
    found = code_transitions(bits(first), bits(last))
    assert abs(found.p_value - 1 / 2048) < 5 * np.sqrt(1 / 2048 / 4999) + 2e-4
    assert found.distance == pytest.approx(13 / 113)


def stationary(rng, stay: float, share: np.ndarray, units: int) -> tuple[np.ndarray, np.ndarray]:
    """A chain that stays, or draws its state afresh from its stationary law."""
    first = rng.choice(len(share), size=units, p=share)
    fresh = rng.choice(len(share), size=units, p=share)
    return first, np.where(rng.random(units) < stay, first, fresh)


@pytest.mark.parametrize("stay", [0.0, 0.7])
def test_a_conserved_composition_has_uniform_p_values_and_the_expected_distance(stay):
    rng = np.random.default_rng(1)
    share = np.array([0.4, 0.3, 0.2, 0.1])
    found = [code_transitions(*map(bits, stationary(rng, stay, share, 1000))) for _ in range(200)]
    p = np.array([row.p_value for row in found])
    assert stats.kstest(p, "uniform").pvalue > 1e-4
    assert (p > FALSE_ALARM).mean() > 0.98
    distances = np.array([row.distance for row in found])
    expected = np.mean([row.expected_distance for row in found])
    assert abs(distances.mean() - expected) < 5 * distances.std() / np.sqrt(200)


def test_a_changed_composition_is_seen():
    rng = np.random.default_rng(2)
    first = rng.choice(4, size=1000, p=[0.4, 0.3, 0.2, 0.1])
    last = np.where((first == 0) & (rng.random(1000) < 0.3), 1, first)
    found = code_transitions(bits(first), bits(last))
    assert not found.conserved
    assert found.distance > 3 * found.expected_distance


def test_errors():
    with pytest.raises(ValueError, match="63 classes"):
        code_transitions(np.zeros((2, 63), bool), np.zeros((2, 63), bool))
    with pytest.raises(
        ValueError, match=r"first: must have the shape of last, and not be empty, got \(2, 3\) and \(1, 3\)"
    ):
        code_transitions(np.zeros((2, 3), bool), np.zeros((1, 3), bool))
    with pytest.raises(ValueError, match=r"not be empty, got \(0, 3\)"):
        code_transitions(np.zeros((0, 3), bool), np.zeros((0, 3), bool))
