import numpy as np
import pytest
from layouts import Layout, prior_moments
from synthetic_run import run_of_units

from hiddencodes.diagnostics import classify_codes, coding_scheme

PRIOR = prior_moments("linear", np.eye(60), Layout(60, (0.5, 0.25, 0.25), 0.0))


def test_fewer_than_four_units_are_refused_by_name():
    run = run_of_units(np.zeros((1, 2, 5, 1, 3, 3)), [PRIOR], activation="linear")
    with pytest.raises(ValueError, match="run: the coding scheme needs at least 4 units per layer, got 3"):
        coding_scheme(run)


def test_a_change_that_is_not_significant_says_so():
    """Four units whose whitened second moment has eigenvalues 5, 2.5, 2.5: the likelihood ratio is
    4 (4 - log 5 + 2 (1.5 - log 2.5)) = 14.2, far below 2.2 times the 1e-4 point of chi^2 with 6 degrees of freedom."""
    root = np.linalg.cholesky(PRIOR.covariance)
    z = np.array([[1.0, 0, 0], [-1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    m = PRIOR.mean + np.sqrt(10) * z @ root.T
    # A prior variance of the order of the class means' makes the change large in its units.
    variance = np.diag(PRIOR.covariance)
    decision = classify_codes(m, PRIOR.mean, PRIOR.covariance, variance, PRIOR.fractions)
    learning, ratio = decision.feature_learning, decision.significance
    assert learning.relative > 0 > ratio.relative
    assert ratio.value == pytest.approx(4 * (4 - np.log(5) + 2 * (1.5 - np.log(2.5))), rel=1e-3)
    assert decision.sentence == (
        f"lazy: feature learning {learning.value:.2g} (threshold 0.2) is not significant, "
        f"likelihood ratio {ratio.value:.2g} (threshold {ratio.threshold:.2g}): too few units or chains to tell"
    )
