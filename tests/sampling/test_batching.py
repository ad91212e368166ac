"""Whether lanes run at once or one after another is measured, remembered and recorded; the numbers are the same."""

import numpy as np
import pytest

import hiddencodes as hc
from hiddencodes.sampling import batching
from hiddencodes.sampling.lanes import Lanes


@pytest.mark.slow
def test_both_give_the_same_numbers_up_to_rounding(small_posterior, small_settings):
    """1e-9: rounding after 90 transitions, which amplify it."""
    runs = [hc.sample(small_posterior, **small_settings, batching=how) for how in ("vmap", "loop")]
    assert [run.attrs["batching"] for run in runs] == ["vmap", "loop"]
    for name, values in runs[0]["posterior"].data_vars.items():
        np.testing.assert_allclose(
            runs[1]["posterior"][name], values, rtol=1e-7, atol=1e-9, err_msg=str(name)
        )


def test_the_faster_one_is_taken_and_measured_once(small_posterior, small_settings, monkeypatch):
    measured = []

    def slow_at_once(how: Lanes, target, repeats, *arrays):
        measured.append(how.batching)
        spin = 0.02 * int(repeats) if how.batching == "loop" else 0.0
        end = batching.time.perf_counter() + spin
        while batching.time.perf_counter() < end:
            pass
        return np.zeros(())

    monkeypatch.setattr(batching, "_gradients", slow_at_once)
    monkeypatch.setattr(batching, "_chosen", {})
    longer = small_settings | {"draws": batching.LEAST_ITERATIONS, "thin": 1, "warmup": 0}
    run = hc.sample(small_posterior, **longer)
    assert run.attrs["batching"] == "vmap"
    assert set(measured) == {"vmap", "loop"}
    n = len(measured)
    hc.sample(small_posterior, **(longer | {"seeds": [3, 4]}))
    assert len(measured) == n


def test_short_runs_are_not_measured(small_posterior, small_settings, monkeypatch):
    monkeypatch.setattr(batching, "_gradients", None)
    assert hc.sample(small_posterior, **small_settings).attrs["batching"] == "loop"


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["nuts"])
def test_chains_one_after_another_do_not_wait(small_posterior, small_settings, sampler):
    run = hc.sample(small_posterior, **small_settings, sampler=sampler)
    assert set(hc.convergence(run).sampler.idle.values()) == {0.0}
    run.attrs["batching"] = "vmap"
    assert max(hc.convergence(run).sampler.idle.values()) > 0.0
