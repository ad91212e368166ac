import json

import numpy as np
import pytest
from synthetic_run import replace, synthetic_run

import hiddencodes as hc
from hiddencodes.diagnostics import code_table, coding_scheme, convergence, drift
from hiddencodes.diagnostics.run_access import chain_health

WITHIN = "kernel_blocks[seed=0, layer=1, class=c1, class_2=1]"


def without_within(run):
    values = run["posterior"]["kernel_blocks"].values.copy()
    values[0, :, :, 0, 1, 1] = np.nan
    return replace(run, "posterior", "kernel_blocks", values)


def test_a_sampled_run_with_a_class_of_one_pattern():
    """Classes of 3, 2 and 1 patterns: the kernel within the last is undefined in every chain and draw."""
    task = hc.orthogonal_classes(6)
    assert task.class_counts.tolist() == [3, 2, 1]
    mlp = hc.MLP(
        task.n_inputs, task.n_outputs, width=8, depth=1, activation=hc.linear, parameterization=hc.mean_field
    )
    posterior = hc.Posterior(mlp, task, n_temperature=0.1)
    run = hc.sample(posterior, chains=2, draws=6, warmup=3, verbose=False)
    assert chain_health(run).healthy.all()
    report = convergence(run)
    assert report.assessable
    assert any(caution.startswith("undefined: kernel_blocks[") for caution in report.cautions)
    json.dumps(report.to_dict(), allow_nan=False)
    assert coding_scheme(run).excluded == ()
    assert len(drift(run, lags=(1,)).rows) == 1
    assert code_table(run).excluded == ()


def test_undefined_entries_are_named_and_do_not_decide():
    report = convergence(without_within(synthetic_run()))
    assert report.ok
    assert f"undefined: {WITHIN}" in report.cautions
    blocks = next(row for row in report.table if row.variable == "kernel_blocks")
    assert (blocks.entries, blocks.assessed, len(blocks.undefined)) == (4, 3, 1)


def test_undefined_entries_do_not_hide_a_chain_that_left_the_finite_numbers():
    run = without_within(synthetic_run())
    values = run["posterior"]["kernel_blocks"].values.copy()
    values[0, 2, 30:] = np.nan
    run = replace(run, "posterior", "kernel_blocks", values)
    assert chain_health(run).excluded == ("seed 0 chain 2 (non-finite kernel_blocks from draw 30)",)


@pytest.mark.parametrize("name", ["log_density", "train_loss"])
def test_the_state_variables_are_never_undefined(name):
    run = synthetic_run()
    run = replace(run, "posterior", name, np.full(run["posterior"][name].shape, np.nan))
    assert not chain_health(run).healthy.any()
