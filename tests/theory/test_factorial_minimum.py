"""Global minima for binary latents: printed values, the general solver, symmetry."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import hiddencodes as hc
from hiddencodes.models.unit_gain import largest_gains

STARTS = 96


def gram(task):
    return task.means @ task.means.T


def predicted(n, inputs="one-hot", activation=hc.relu, **options):
    task = hc.latent_conditions(n, inputs)
    return hc.factorial_minimum(gram(task), task.targets, activation, **options)


@pytest.mark.parametrize(
    ("n", "inputs", "options", "case", "expected"),
    [
        (2, "one-hot", {}, "no preference", (0.54569, 0.92929, 1.31421)),
        (3, "one-hot", {}, "no preference", (1.17000, 0.95000, 1.9)),
        (2, "biased", {}, "constant large", (0.42618, 0.94523, 1.72574)),
        (2, "one-hot", {"free_bias": True}, "linear", (0.39, 0.95, 1.9)),
        (3, "one-hot", {"free_bias": True}, "linear", (0.83353, 0.96464, 2.72843)),
        (2, "centred", {}, "pairs", (0.62653, 0.91835, 1.12474)),
        (2, "one-hot", {"activation": hc.tanh}, "odd", (0.39, 0.95, 1.9)),
    ],
)
def test_tabulated_minima(n, inputs, options, case, expected):
    found = predicted(n, inputs, **options)
    assert found.case == case
    np.testing.assert_allclose((found.objective, found.amplitude, found.eigenvalue), expected, atol=6e-6)


@pytest.mark.parametrize(
    ("k0", "kappa", "abstract"),
    [(0.3, 1.08322, False), (0.5, 1.12474, None), (0.7, 1.20384, True), (3.0, 1.63205, True)],
)
def test_the_switch(k0, kappa, abstract):
    found = predicted(2, hc.factorial_kernel([k0, 1.0, 0.5]))
    assert found.eigenvalue == pytest.approx(kappa, abs=6e-6)
    assert found.abstract is abstract


def test_repeats():
    task = hc.latent_conditions(2, "biased", repeats=3)
    assert hc.factorial_minimum(gram(task), task.targets, hc.relu).amplitude == pytest.approx(
        0.97004, abs=6e-6
    )


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("k0", [0.2, 0.8, 2.0])
def test_closed_forms_of_the_gain_are_what_a_search_finds(n, k0):
    kernel = hc.factorial_kernel([k0, 1.0] + [0.6] * (n - 1))
    latents = hc.factorial_latents(n)
    found = hc.factorial_minimum(kernel, latents, hc.relu)
    assert found.case != "numerical"
    # Conjunctions and single latents, from which a search of this size may start.
    functions, _ = hc.walsh_functions(n)
    near = np.concatenate([functions.T, (functions[:, 1] + functions[:, 2])[None]])
    searched = largest_gains(
        latents / np.sqrt(2**n), hc.inputs_of_kernel(kernel), hc.relu, starts=STARTS, near=near
    )
    assert searched.gain.max() ** 2 == pytest.approx(found.gain, rel=1e-4)


@pytest.mark.parametrize(
    ("n", "inputs", "activation", "loss", "free_bias"),
    [
        (2, "one-hot", hc.leaky_relu(0.3), "gaussian", False),
        (3, "biased", hc.relu, "bernoulli", False),
        (2, "expansion", hc.relu, "gaussian", False),
        (2, "one-hot", hc.sigmoidal, "gaussian", True),
        (2, "one-hot", hc.hard_tanh, "bernoulli", False),
        (2, (0.9, 0.4, 1.0), hc.relu, "gaussian", False),
    ],
)
def test_the_general_solver_agrees(n, inputs, activation, loss, free_bias):
    task = hc.latent_conditions(n, inputs if isinstance(inputs, str) else hc.factorial_kernel(list(inputs)))
    options = {"loss": loss, "free_bias": free_bias}
    theory = hc.factorial_minimum(gram(task), task.targets, activation, **options)
    solved = hc.global_minimum(task.means, task.targets, activation, starts=STARTS, **options)
    assert solved.objective == pytest.approx(theory.objective, rel=1e-4)
    outputs = solved.outputs - solved.outputs.mean(0)
    np.testing.assert_allclose(outputs, theory.amplitude * task.targets, atol=5e-3 * max(1, theory.amplitude))
    spectrum = hc.walsh_spectrum(solved.kernel, hc.walsh_functions(n)[0])
    np.testing.assert_allclose(spectrum[1 : n + 1], theory.eigenvalue, rtol=5e-3)
    if theory.abstract is not None:
        higher = spectrum[n + 1 :]
        np.testing.assert_allclose(higher, theory.kernels[0, 2], atol=5e-3 * theory.eigenvalue)


def test_both_ends_of_a_family_are_minima():
    theory = predicted(2)
    _functions, _ = hc.walsh_functions(2)
    y = hc.factorial_latents(2)
    for degrees in theory.kernels:
        kernel = hc.factorial_kernel(degrees)
        outputs = kernel @ np.linalg.solve(kernel + 0.1 * np.eye(4), y)
        np.testing.assert_allclose(outputs, theory.amplitude * y, atol=1e-9)
        assert np.trace(kernel) == pytest.approx(4 * theory.eigenvalue)
    np.testing.assert_allclose(theory.parallelism, [1.0, 0.0])
    assert theory.abstract is None


@pytest.mark.parametrize(("n", "expected"), [(2, 0.466), (3, 0.560), (4, 0.588)])
def test_units_of_all_mixtures(n, expected):
    latents = hc.factorial_latents(n)
    kernel = hc.isotropic_kernel(latents)
    assert hc.abstraction(kernel, latents).parallelism.mean() == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    degrees=st.lists(st.floats(0.05, 3.0), min_size=3, max_size=5),
    scale=st.floats(0.1, 10.0),
    decay=st.floats(0.001, 0.1),
)
def test_the_scale_of_inputs_is_a_scale_of_the_decay(degrees, scale, decay):
    n = len(degrees) - 1
    latents = hc.factorial_latents(n)
    one = hc.factorial_minimum(hc.factorial_kernel(degrees), latents, hc.relu, hidden_decay=decay, starts=8)
    other = hc.factorial_minimum(
        scale * hc.factorial_kernel(degrees), latents, hc.relu, hidden_decay=scale * decay, starts=8
    )
    assert other.case == one.case
    # A search from eight starts is no closed form.
    assume(one.case != "numerical")
    assert other.objective == pytest.approx(one.objective, rel=1e-9)


def test_inputs_without_the_symmetry_are_refused():
    latents = hc.factorial_latents(2)
    with pytest.raises(ValueError, match="not invariant under flips"):
        hc.factorial_minimum(np.diag([1.0, 2.0, 1.0, 1.0]), latents, hc.relu)
    with pytest.raises(ValueError, match="3 of 4 combinations"):
        hc.input_spectrum(np.eye(3), latents[:3])
    with pytest.raises(ValueError, match=r"expected \+1 and -1, got 0"):
        hc.input_spectrum(np.eye(4), latents * [1, 0])


def test_silence():
    found = predicted(2, hidden_decay=100.0)
    assert (found.amplitude, found.eigenvalue, found.objective) == (0.0, 0.0, 4.0)


def test_symmetry_is_asked_for_beside_a_large_mean():
    latents = hc.factorial_latents(2)
    parity = latents.prod(1)
    uneven = 2.0 * np.outer(latents[:, 0], latents[:, 0]) + 1.5 * np.outer(latents[:, 1], latents[:, 1])
    with pytest.raises(ValueError, match="not invariant"):
        hc.factorial_minimum(9e4 + uneven / 4 + 0.1 * np.outer(parity, parity), latents, hc.relu)
    assert hc.factorial_minimum(1e6 + latents @ latents.T, latents, hc.relu).case == "constant large"
    with pytest.raises(ValueError, match="no negative eigenvalues"):
        hc.factorial_minimum(latents @ latents.T + 1 - 0.25 * np.outer(parity, parity), latents, hc.relu)


def test_one_latent_has_no_pairs():
    found = hc.factorial_minimum(np.eye(2), hc.factorial_latents(1), hc.relu)
    np.testing.assert_allclose(found.kernels[0], found.kernels[1])


def test_kinks_far_away_are_found():
    latents = hc.factorial_latents(2)
    found = hc.factorial_minimum(np.eye(4), latents, hc.shifted_relu(12.0), free_bias=True)
    np.testing.assert_allclose(found.gain, 1.0)
