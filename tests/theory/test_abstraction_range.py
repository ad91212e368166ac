"""Whether global minima are abstract, for inputs of any kind: closed forms, networks, refusals."""

import numpy as np
import pytest

import hiddencodes as hc

LATENTS = hc.factorial_latents(2)


def solved(kernel, latents=LATENTS, targets=None, starts=64):
    targets = latents if targets is None else targets
    return hc.global_minimum(hc.inputs_of_kernel(kernel), targets, hc.relu, starts=starts)


@pytest.mark.parametrize(
    "eigenvalues", [(2.0, 1.0, 0.4), (0.0, 1.0, 0.4), (1.0, 1.0, 1.0), (0.3, 1.0, 0.5), (0.5, 1.0, 0.2)]
)
def test_where_there_is_a_closed_form_it_is_that(eigenvalues):
    kernel = hc.factorial_kernel(eigenvalues)
    expected, found = (
        hc.factorial_minimum(kernel, LATENTS, hc.relu),
        hc.abstraction_range(solved(kernel), LATENTS),
    )
    assert found.abstract == expected.abstract
    nonconstant = expected.kernels[:, 1:] @ np.diag([2.0, 1.0])
    np.testing.assert_allclose(found.products, nonconstant[:, 1] / nonconstant.sum(1), atol=0.01)


def expansion(units=10, seed=0):
    rng = np.random.default_rng(seed)
    h = np.maximum(LATENTS @ rng.standard_normal((2, units)) + 0.5 * rng.standard_normal(units), 0.0)
    return h @ h.T / units


@pytest.mark.slow
def test_networks_are_where_it_was_predicted():
    kernel = expansion()
    with pytest.raises(ValueError, match="abstraction_range"):
        hc.factorial_minimum(kernel, LATENTS, hc.relu)
    predicted = hc.abstraction_range(solved(kernel), LATENTS)
    assert predicted.abstract is False
    mlp = hc.MLP(4, 2, 40, 1, hc.relu, hc.standard)
    task = hc.latent_conditions(2, kernel).noise_free()
    run = hc.train(
        hc.Posterior(mlp, task, temperature=1.0), networks=3, epochs=8000, snapshots=1, optimizer="adam",
        learning_rate=0.01, schedule="cosine", loss="sum", weight_decay=0.1, precision="float64", verbose=False,
    )  # fmt: skip
    kernels = run["posterior"]["condition_kernel"].values[0, :, -1, -1]
    share = hc.abstraction(kernels, LATENTS).higher_content
    assert np.all((predicted.products[0] - 0.005 < share) & (share < predicted.products[1] + 0.005)), share


@pytest.mark.slow
def test_the_order_of_patterns_and_their_number_do_not_matter():
    kernel, order = expansion(), np.array([3, 0, 2, 1])
    turned = hc.abstraction_range(solved(kernel[order][:, order], LATENTS[order]), LATENTS[order])
    # Twice the patterns are twice the loss, or half of both decay rates.
    twice = np.tile(np.arange(4), 2)
    repeated = hc.global_minimum(
        hc.inputs_of_kernel(kernel[twice][:, twice]), LATENTS[twice], hc.relu, hidden_decay=0.2, readout_decay=0.2, starts=64
    )  # fmt: skip
    expected = hc.abstraction_range(solved(kernel), LATENTS).products
    np.testing.assert_allclose(turned.products, expected, atol=0.005)
    np.testing.assert_allclose(hc.abstraction_range(repeated, LATENTS[twice]).products, expected, atol=0.005)


def test_a_silent_layer_is_neither():
    minimum = hc.global_minimum(
        0.01 * np.eye(4), LATENTS, hc.relu, hidden_decay=10.0, readout_decay=10.0, starts=16
    )
    found = hc.abstraction_range(minimum, LATENTS)
    assert found.abstract is None
    assert np.all(np.isnan(found.products))


def test_refusals_name_the_value():
    minimum = hc.global_minimum(np.eye(4), LATENTS, hc.relu, starts=16)
    with pytest.raises(ValueError, match="each of them equally often"):
        hc.abstraction_range(minimum, LATENTS[[0, 0, 1, 2]])
    with pytest.raises(ValueError, match=r"for 4 patterns, got the shape \(8, 3\)"):
        hc.abstraction_range(minimum, hc.factorial_latents(3))
    with pytest.raises(ValueError, match="margin: expected a number between 0 and 1, got 2"):
        hc.abstraction_range(minimum, LATENTS, margin=2.0)
