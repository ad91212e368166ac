"""The Python blocks of the README and the tutorial run, and what the text says about them holds."""

import re
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import pytest
from typer.testing import CliRunner

from hiddencodes.cli import app
from hiddencodes.study import parse_study

ROOT = Path(__file__).parents[1]
PAGES = (
    "README.md",
    "docs/tutorial.md",
    "docs/long_runs.md",
    "docs/geometry.md",
    "docs/abstraction.md",
    "docs/layers.md",
    "CONTRIBUTING.md",
)


def blocks(page: str, language: str) -> list[tuple[int, str]]:
    """First line and text of every fenced block in a language."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, match.start(1)) + 1, match[1])
        for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


def execute(page: str) -> dict[str, Any]:
    """Run all Python blocks of a page in one namespace; tracebacks point at the page's own lines."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for line, code in blocks(page, "python"):
        exec(compile("\n" * (line - 1) + code, str(ROOT / page), "exec"), namespace)  # noqa: S102  (the pages are ours)
    return namespace


def test_readme(capsys):
    namespace = execute("README.md")
    assert namespace["run"]["posterior"].sizes["chain"] == 4
    assert "redundant" in capsys.readouterr().out


def test_long_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    execute("docs/long_runs.md")
    assert capsys.readouterr().out.split() == ["80", "4"]


@pytest.mark.slow
def test_geometry(capsys):
    n = execute("docs/geometry.md")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[0.0, 0.174, 0.577]"
    assert [line.split(":")[0] for line in lines[1:]] == ["tanh"] * 3 + ["relu"] * 3
    target = n["geometry"]["target_alignment"].isel(draw=-1).mean("chain").values
    # Where the target is linearly separable tanh layers are the more aligned ones; at the plain exclusive-or they are not.
    assert target[1] > target[4]
    assert target[2] > target[5]
    assert target[0] < target[3]


@pytest.mark.slow
def test_abstraction(capsys):
    n = execute("docs/abstraction.md")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("constant large True 0.42617")
    assert float(lines[1].split()[1]) < 1e-5
    assert lines[2].startswith("True")
    assert n["certificate"].gap.max() < 1e-3
    assert lines[-2] == "[1. 1.] True" or lines[-2].endswith("False")
    assert lines[-1] == "['one latent', 'one latent', 'conjunctive']"


@pytest.mark.slow
def test_layers(capsys):
    n = execute("docs/layers.md")
    capsys.readouterr()
    # Learning separates classes where the prior mixes them up.
    assert np.all(n["curve"].loads[-1] > 0.0)
    assert np.all(n["prior"].loads < 0.0)
    np.testing.assert_allclose(n["fit"].noise, 0.1, rtol=1e-3)


@pytest.mark.slow
def test_tutorial(capsys):
    n = execute("docs/tutorial.md")
    assert n["posterior"].readout_variance == 1 / 24
    assert n["run"]["posterior"]["readout_norm"].dims == ("seed", "chain", "draw", "output")
    # Section 5: not converged, because codes are kept.
    assert n["convergence"].verdict.startswith("NOT converged: R-hat")
    assert 0 <= n["drift"].changes < 1
    assert n["drift"].autocorrelation[100][0] > 0.9
    # Section 6: redundant, nine out of ten units with two classes, most others with the first alone.
    shares = {code: row.fraction for code, row in n["table"].pooled.items()}
    pairs = sum(share for code, share in shares.items() if code.count("1") == 2)
    assert n["scheme"].scheme == "redundant"
    assert round(pairs, 1) == 0.9
    assert shares["100"] > (1 - pairs) / 2
    # The theory: pairs on 96 % of the units, the first class alone on nearly all others.
    theory = n["theory"].code_shares()
    assert round(sum(share for code, share in theory.items() if code.count("1") == 2), 2) == 0.96
    assert round(theory["100"], 2) == 0.04
    # Codes in equilibrium: what 30 % and none of the units began with ends at 3.9 %, the theory has 4.3 %.
    assert n["certificate"].ok, n["certificate"].verdict
    row = {row.code: row for row in n["certificate"].shares}["100"]
    assert row.start == (0.3, 0.0)
    np.testing.assert_allclose(row.mean, 0.0388, atol=0.0022)  # five standard errors of .00044
    # Section 7: lazy, and close to the Gaussian process.
    assert n["scheme"].decision.feature_learning.value > 1
    lazy = n["hc"].coding_scheme(n["lazy_run"])
    assert lazy.scheme == "lazy"
    assert lazy.decision.feature_learning.value < 0.1
    # Five Monte-Carlo standard errors; the networks' finite width is within them.
    predictions = n["lazy_run"]["posterior"].to_dataset()[["test_predictions"]].isel(seed=0)
    error = az.mcse(predictions)["test_predictions"].values.max()
    assert n["difference"] < 5 * error
    assert n["difference"] < n["predicted"].variance_test.max() ** 0.5
    # Section 8: the same density, up to rounding of a sum of some thousand terms.
    assert abs(n["numpyro_value"] / n["posterior"].log_density(n["params"]) - 1) < 1e-12
    assert "redundant" in capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES)
def test_study_files_are_accepted(page):
    for _, text in blocks(page, "toml"):
        assert parse_study(text).network


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    assert [target for target in targets if not (ROOT / page).parent.joinpath(target).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_the_command_line_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    commands = set(re.findall(r"(?:^|`|/)hiddencodes ([a-z]+)", text, re.MULTILINE))
    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert commands <= known


def test_command_line_says_what_it_offers():
    result = CliRunner().invoke(app, ["run", "--help"])
    assert result.exit_code == 0
    assert "--quick" in result.output
