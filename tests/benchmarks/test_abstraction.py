"""What the sections of abstraction compare, on numbers whose answer is known."""

import numpy as np
import pytest

import hiddencodes as hc
from hiddencodes.benchmarks.papers.abstraction import REPRODUCTION
from hiddencodes.benchmarks.papers.abstraction.minima import CASES, Case, Found, _by_combination, _claims
from hiddencodes.benchmarks.papers.abstraction.networks import Ensembles, parallelism, sectors


def exact(case: Case, *, objective: float = 1.0, kernel: int = 0) -> Found:
    """Two networks of a case that are at the minimum, or off by factors."""
    theory = case.predicted(case.task())
    degrees = np.nan_to_num(theory.kernels[kernel])
    kernels = np.broadcast_to(hc.factorial_kernel(degrees), (1, 2, 1, 2**case.latents, 2**case.latents))
    values = np.full((1, 2), objective * theory.objective)
    trained = Ensembles(values, values, np.full((1, 2), theory.amplitude), kernels, np.ones((1, 2)), {})
    found = kernels[0, :, 0]
    return Found(case, theory, trained, sectors(found, case.latents), parallelism(found, case.latents))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_networks_at_the_minimum_hold(case):
    claims = _claims(exact(case))
    assert len(claims) >= 5
    assert {claim.verdict for claim in claims} == {"holds"}


def test_networks_above_the_minimum_fail():
    verdicts = {c.name: c.verdict for c in _claims(exact(CASES[4], objective=1.003))}
    assert verdicts["bias-that-decays-n-2-objective"] == "fails"
    assert verdicts["bias-that-decays-n-2-amplitude"] == "holds"


def test_the_other_end_of_a_family_holds_as_well():
    assert {claim.verdict for claim in _claims(exact(CASES[0], kernel=1))} == {"holds"}


def test_kernels_of_repeats_are_those_of_combinations():
    case = Case("repeats", 2, repeats=3)
    y = np.repeat(hc.factorial_latents(2), 3, axis=0)
    kernels = (y @ y.T)[None] * 1.0
    # Eigenvalue 12 on a latent over 12 patterns, and 12 over the four combinations.
    np.testing.assert_allclose(sectors(_by_combination(kernels, case), 2)[0], [0, 12, 0], atol=1e-12)


def test_the_catalogue_has_it():
    names = [section.__name__ for section in REPRODUCTION.sections]
    assert names == ["minima", "certificates", "switch", "depth", "targets", "dynamics", "temperature"]
