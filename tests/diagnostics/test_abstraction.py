"""Abstract codes, classes of units, and certificates of trained networks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hiddencodes as hc


def codes(n):
    return hc.factorial_latents(n)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(2, 4), seed=st.integers(0, 2**31), shift=st.floats(-3, 3))
def test_linear_codes_are_abstract_whatever_their_directions(n, seed, shift):
    rng = np.random.default_rng(seed)
    y = codes(n)
    responses = y @ rng.standard_normal((n, 7)) + shift
    found = hc.abstraction(responses @ responses.T, y)
    assert found.perfect
    np.testing.assert_allclose(found.parallelism, 1.0, atol=1e-9)
    assert found.least_cosine == pytest.approx(1.0)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(2, 4), share=st.floats(0.05, 2.0))
def test_products_of_latents_are_found(n, share):
    _functions, chosen = hc.walsh_functions(n)
    degree = np.array([len(each) for each in chosen])
    kernel = hc.factorial_kernel(np.where(np.arange(n + 1) == 1, 1.0, np.where(np.arange(n + 1) == 2, share, 5.0 * (np.arange(n + 1) == 0))))  # fmt: skip
    found = hc.abstraction(kernel, codes(n))
    pairs = share * np.sum(degree == 2)
    assert found.higher_content == pytest.approx(pairs / (pairs + n))
    assert not found.perfect
    assert found.overlap == pytest.approx(0.0, abs=1e-9)
    assert found.least_cosine < 1 - 1e-3


def test_latents_along_one_direction_overlap():
    y = codes(2)
    responses = y @ np.array([[1.0, 0.0], [0.6, 0.8]])
    assert hc.abstraction(responses @ responses.T, y).overlap == pytest.approx(0.6)


def test_the_margin_decides():
    kernel = hc.factorial_kernel([1.0, 1.0, 0.01])
    cosine = (1 - 0.01) / (1 + 0.01)
    assert hc.abstraction(kernel, codes(2)).least_cosine == pytest.approx(cosine)
    assert hc.abstraction(kernel, codes(2), margin=0.021).perfect
    assert not hc.abstraction(kernel, codes(2), margin=0.019).perfect
    with pytest.raises(ValueError, match="margin"):
        hc.abstraction(kernel, codes(2), margin=2.0)


def test_leading_axes():
    kernels = np.stack([np.eye(4), codes(2) @ codes(2).T])[:, None]
    found = hc.abstraction(kernels, codes(2))
    assert found.parallelism.shape == (2, 1, 2)
    np.testing.assert_array_equal(found.perfect, [[False], [True]])


def test_classes_of_units_of_three_latents():
    y = codes(3)
    relu = lambda a: np.maximum(a, 0)
    units = np.stack(
        [
            relu(y @ [1.0, 0, 0]), relu(y @ [1.0, 1, 0]), relu(y @ [1.0, 0, 0] + 2), y @ [1.0, 1.0, 0], np.full(8, 2.0),
            1e-3 * relu(y @ [1.0, 0, 0]), (y == [1, -1, 1]).all(1) * 2.0,
        ],
        axis=1,
    )  # fmt: skip
    names = [hc.UNIT_CLASSES[i] for i in hc.unit_selectivity(units, y)]
    assert names == [
        "one latent",
        "conjunctive",
        "one latent",
        "linear mixture",
        "constant",
        "silent",
        "conjunctive",
    ]
    stacked = hc.unit_selectivity(np.stack([units, units[:, ::-1]]), y)
    np.testing.assert_array_equal(stacked[0], stacked[1, ::-1])


def test_a_network_built_at_the_minimum_has_no_gap():
    task = hc.latent_conditions(2, "biased")
    inputs = task.means
    theory = hc.factorial_minimum(inputs @ inputs.T, task.targets, hc.relu)
    found = hc.global_minimum(inputs, task.targets, hc.relu, starts=64)
    u, mass = found.preactivations, found.mass
    weights = np.linalg.pinv(inputs) @ (u * np.sqrt(mass)[:, None]).T
    responses = np.maximum(inputs @ weights, 0)
    a = np.linalg.solve(responses.T @ responses + 0.1 * np.eye(len(u)), responses.T @ task.targets)
    mlp = hc.MLP(inputs.shape[1], 2, len(u), 1, hc.relu, hc.standard)
    certificate = hc.optimality_certificate(mlp, {"hidden_1": {"kernel": weights}, "readout": {"kernel": a}}, inputs, task.targets, starts=64)  # fmt: skip
    assert certificate.objective == pytest.approx(theory.objective, rel=1e-4)
    assert abs(certificate.gap) < 1e-4
    assert certificate.largest_gain == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("parameterization", [hc.ntk, hc.mean_field, hc.mup], ids=str)
def test_multipliers_are_decay_rates(parameterization):
    """The same function with weights over the multipliers and decay rates times their squares has the same certificate."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((5, 4)), rng.choice([-1.0, 1.0], (5, 2))
    w, a = rng.standard_normal((4, 9)), rng.standard_normal((9, 2))
    plain = hc.MLP(4, 2, 9, 1, hc.relu, hc.standard)
    scaled = hc.MLP(4, 2, 9, 1, hc.relu, parameterization)
    c = [parameterization.layer(i, 1).multiplier(*sizes) for i, sizes in ((0, (4, 9)), (1, (9, 2)))]
    one = hc.optimality_certificate(
        plain, {"hidden_1": {"kernel": w}, "readout": {"kernel": a}}, x, y, starts=32
    )
    other = hc.optimality_certificate(
        scaled, {"hidden_1": {"kernel": w / c[0]}, "readout": {"kernel": a / c[1]}}, x, y,
        hidden_decay=0.1 * c[0] ** 2, readout_decay=0.1 * c[1] ** 2, starts=32,
    )  # fmt: skip
    for field in ("objective", "bound", "largest_gain"):
        assert getattr(other, field) == pytest.approx(getattr(one, field), rel=1e-6), field


def test_a_bias_is_an_input_that_is_one():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((5, 4)), rng.choice([-1.0, 1.0], (5, 2))
    w, b, a = rng.standard_normal((4, 9)), rng.standard_normal(9), rng.standard_normal((9, 2))
    biased = hc.optimality_certificate(
        hc.MLP(4, 2, 9, 1, hc.relu, hc.standard, bias=True), {"hidden_1": {"kernel": w, "bias": b}, "readout": {"kernel": a}}, x, y,
        bias_decay=0.4, starts=32,
    )  # fmt: skip
    # Twice the bias, half the weight: a decay four times as large.
    plain = hc.optimality_certificate(
        hc.MLP(5, 2, 9, 1, hc.relu, hc.standard), {"hidden_1": {"kernel": np.vstack([w, 2 * b])}, "readout": {"kernel": a}},
        np.column_stack([x, np.full(5, 0.5)]), y, starts=32,
    )  # fmt: skip
    assert biased.objective == pytest.approx(float(plain.objective))
    assert biased.bound == pytest.approx(float(plain.bound), rel=1e-6)


def test_trained_networks_are_certified_and_stopped_ones_are_not():
    rng = np.random.default_rng(1)
    task = hc.ConditionTask(rng.standard_normal((6, 6)), rng.choice([-1.0, 1.0], (6, 6)), 0.0)
    mlp = hc.MLP(6, 6, 60, 1, hc.relu, hc.standard)
    posterior = hc.Posterior(mlp, task.noise_free(), temperature=1.0)
    gaps = []
    for epochs in (40, 12_000):
        run = hc.train(posterior, networks=2, epochs=epochs, snapshots=1, optimizer="adam", learning_rate=0.02, schedule="cosine", loss="sum", weight_decay=0.1, precision="float64", verbose=False)  # fmt: skip
        weights = {
            k: {n: np.asarray(v)[0] for n, v in layer.items()} for k, layer in hc.final_weights(run).items()
        }
        found = hc.optimality_certificate(mlp, weights, task.means, task.targets, starts=96)
        assert found.gap.shape == (2,)
        gaps.append(found.gap)
    assert gaps[0].min() > 0.05
    assert gaps[1].max() < 1e-3


def test_deep_networks_have_no_certificate():
    with pytest.raises(ValueError, match="one hidden layer, got depth=2"):
        hc.optimality_certificate(hc.MLP(2, 1, 3, 2, hc.relu, hc.standard), {}, np.eye(2), np.ones((2, 1)))


def test_what_would_be_certified_wrongly_is_not():
    latents = hc.factorial_latents(2)
    silent = hc.shifted_relu(5.0)
    mlp = hc.MLP(4, 2, 4, 1, silent, hc.standard)
    hidden, readout = np.zeros((4, 4)), np.zeros((4, 2))
    for unit, (latent, sign) in enumerate([(0, 1), (0, -1), (1, 1), (1, -1)]):
        hidden[latents[:, latent] == sign, unit] = 10.0
        readout[unit, latent] = 0.19 * sign
    small = {"hidden_decay": 1e-3, "readout_decay": 1e-3, "starts": 32}
    weights = {"hidden_1": {"kernel": hidden}, "readout": {"kernel": readout}}
    found = hc.optimality_certificate(mlp, weights, np.eye(4), latents, **small)
    assert 0.0 <= found.gap <= 1.0
    nothing = {"hidden_1": {"kernel": 0 * hidden}, "readout": {"kernel": 0 * readout}}
    # Silent networks are not optimal because every random start of a search is silent, too.
    assert hc.optimality_certificate(mlp, nothing, np.eye(4), latents, **small).gap > 0.5
    with pytest.raises(ValueError, match=r"targets: expected finite numbers of the shape \(4, 2\)"):
        hc.optimality_certificate(mlp, weights, np.eye(4), latents[:, 0], **small)


def test_offsets_of_inputs_do_not_matter_with_a_free_bias():
    rng = np.random.default_rng(1)
    x = np.sort(rng.uniform(-1, 1, 24))[:, None]
    y = np.sign(np.sin(9 * x + 1))
    mlp = hc.MLP(1, 1, 2, 1, hc.relu, hc.standard, bias=True)
    weights = {
        "hidden_1": {"kernel": np.zeros((1, 2)), "bias": np.zeros(2)},
        "readout": {"kernel": np.zeros((2, 1))},
    }
    bounds = [
        hc.optimality_certificate(mlp, weights, x + c, y, bias_decay=0.0, starts=64).bound
        for c in (0.0, 300.0)
    ]
    np.testing.assert_allclose(bounds[1], bounds[0], rtol=1e-4)


def test_a_constant_that_is_free_leaves_the_certificate_tight():
    y = np.array([[1.0], [-1.0], [1.0], [-1.0]])
    mlp = hc.MLP(4, 1, 1, 1, hc.sigmoidal, hc.standard)
    weights = {"hidden_1": {"kernel": np.zeros((4, 1))}, "readout": {"kernel": np.zeros((1, 1))}}
    exact = hc.optimality_certificate(
        mlp, weights, np.eye(4), y, hidden_decay=2.0, readout_decay=2.0, starts=32
    )
    # A mean of the residuals that training left moves the bound by as much as the loss, not by the gain of tiny units.
    weights["hidden_1"]["kernel"] = np.full((4, 1), 1e-4)
    weights["readout"]["kernel"] = np.full((1, 1), 1e-3)
    moved = hc.optimality_certificate(
        mlp, weights, np.eye(4), y, hidden_decay=2.0, readout_decay=2.0, starts=32
    )
    np.testing.assert_allclose(moved.bound, exact.bound, rtol=1e-3)
