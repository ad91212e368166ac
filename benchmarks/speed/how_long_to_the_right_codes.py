"""How long until the shares of the codes agree with the theory, with which sampler?

Sigmoidal units in mean-field scaling, three classes of orthogonal inputs, y- = +1/2, P = 60, n_temperature = 0.004, 8 chains
from annealed prior draws, single precision. The theory (`hc.single_unit_saddle`, shares as class means show them) is that of infinite
width; shares at N = 100 and N = 200 are extrapolated to it linearly in 1/N, as `hiddencodes reproduce coding-schemes` does, and both runs
are paid for. Every sampler begins both runs and extends them (``resume=True``) to twice the draws, again and again. The shares
agree when none of those above 1 % is more than 3 standard errors from the theory and no standard error is above ``--resolution``,
since a run that knows nothing contradicts nothing; errors are the larger of those within and between chains (`hc.code_table`). The
answer is the time of the first of two stages in a row that agree. It has compilation and warm-up in it, of processes that begin
with nothing compiled.

    python benchmarks/speed/how_long_to_the_right_codes.py [--minutes 10] [--samplers moves,hmc,nuts,adjusted_mclmc]
        [--widths 100 200] [--first 64] [--resolution 0.005] [--quick]
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from timed import orthogonal_posterior, write_result

import hiddencodes as hc
from hiddencodes.benchmarks.papers.coding_schemes.measurements import Measured, at_infinite_width, saddle_of

CHAINS, N_TRAIN, LIMIT, RARE = 8, 60, 3.0, 0.01
SAMPLERS: dict[str, dict[str, Any]] = {
    # Short trajectories: the sweeps move what is slow.
    "moves": {"sampler": hc.hmc(max_steps=16), "moves": hc.cavity_refresh(), "moves_every": 2},
    "hmc": {"sampler": hc.hmc(max_steps=64)},
    "nuts": {"sampler": "nuts"},
    "adjusted_mclmc": {"sampler": "adjusted_mclmc"},
}


class Growing:
    """A run on disk that is extended again and again, and what it has cost."""

    def __init__(self, width: int, name: str, warmup: int, folder: Path) -> None:
        """Args: N; the sampler; iterations of warm-up; where the run is."""
        self.posterior = orthogonal_posterior(N_TRAIN, width)
        wanted = ("train_loss", "class_means")
        observables = [o for o in hc.default_observables(self.posterior.likelihood, 0) if o.name in wanted]
        self.width, self.draws, self.seconds, self.cpu_seconds = width, 0, 0.0, 0.0
        self.per_draw = math.nan
        self._options = {
            "chains": CHAINS,
            "warmup": warmup,
            "precision": "float32",
            "observables": observables,
            "out": folder / f"{width}.zarr",
            "resume": True,
            "verbose": False,
            **SAMPLERS[name],
        }

    def extend(self, draws: int) -> None:
        """Sample until there are so many draws of every chain."""
        begin = time.perf_counter(), time.process_time()
        run = hc.sample(self.posterior, draws=draws, **self._options)
        spent = time.perf_counter() - begin[0]
        if self.draws:
            self.per_draw = spent / (draws - self.draws)
        else:
            self.per_draw = json.loads(run.attrs["timings"])["sampling"] / draws
        self.seconds += spent
        self.cpu_seconds += time.process_time() - begin[1]
        self.draws = draws
        self.shares = hc.code_table(run).pooled

    def measured(self, codes: list[str]) -> Measured:
        """Shares of codes and their errors; a code that no unit has is not known at all."""
        unknown = hc.CodeFraction(0.0, math.inf, math.inf, math.inf)
        rows = [self.shares.get(code, unknown) for code in codes]
        return Measured(np.array([row.fraction for row in rows]), np.array([row.error for row in rows]))


def stage(runs: list[Growing], theory: dict[str, float], resolution: float) -> dict[str, Any]:
    """How far the shares at infinite width are from the theory after what was sampled so far."""
    codes = list(theory)
    narrow, wide = (run.measured(codes) for run in runs)
    found = at_infinite_width(narrow, wide, runs[0].width, runs[1].width)
    # Chains that all stand still at the same value have no error that could be known.
    error = np.where(found.error > 0.0, found.error, math.inf)
    deviation = np.abs(found.mean - np.array(list(theory.values()))) / error
    worst = int(np.argmax(deviation))
    return {
        "draws": runs[0].draws,
        "seconds": sum(run.seconds for run in runs),
        "cpu_seconds": sum(run.cpu_seconds for run in runs),
        "worst_deviation": float(deviation[worst]),
        "worst_code": codes[worst],
        "largest_error": float(np.max(error)) if np.all(np.isfinite(error)) else None,
        "shares": dict(zip(codes, found.mean.tolist(), strict=True)),
        "errors": dict(zip(codes, [e if math.isfinite(e) else None for e in found.error.tolist()], strict=True)),
        "agrees": bool(deviation[worst] <= LIMIT and np.max(error) <= resolution),
    }  # fmt: skip


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """A sampler's runs, extended until the shares agree in two stages in a row or the time is over."""
    limit = 60.0 * options.minutes
    with tempfile.TemporaryDirectory() as folder:
        runs = [Growing(width, name, options.warmup, Path(folder)) for width in options.widths]
        shares = saddle_of(runs[0].posterior).code_shares()
        theory = {code: share for code, share in shares.items() if share >= RARE}
        stages: list[dict[str, Any]] = []
        draws = options.first
        while True:
            for run in runs:
                run.extend(draws)
            now = stage(runs, theory, options.resolution)
            stages.append(now)
            error = math.nan if now["largest_error"] is None else now["largest_error"]
            print(
                f"{name:15s} {draws:7d} draws {now['seconds']:7.1f} s ({now['cpu_seconds']:7.1f} CPU-s): worst deviation "
                f"{now['worst_deviation']:5.1f} standard errors ({now['worst_code']}), largest error {error:.4f}"
                f"{', agrees' if now['agrees'] else ''}",
                file=sys.stderr,
                flush=True,
            )
            if len(stages) > 1 and stages[-2]["agrees"] and now["agrees"]:
                break
            fitting = int((limit - now["seconds"]) / sum(run.per_draw for run in runs))
            # The last stage fills the time; less than a quarter more of the draws would tell nothing new.
            if fitting < draws // 4 or now["seconds"] > limit:
                break
            draws += min(draws, fitting)
    agreed = len(stages) > 1 and stages[-2]["agrees"] and stages[-1]["agrees"]
    answer = stages[-2] if agreed else None
    return {
        "agreed": agreed,
        "seconds": answer["seconds"] if answer else None,
        "cpu_seconds": answer["cpu_seconds"] if answer else None,
        "verdict": f"within {answer['seconds']:.0f} s ({answer['cpu_seconds']:.0f} CPU-s)"
        if answer
        else f"not within the limit of {options.minutes:g} min",
        "theory": theory,
        "stages": stages,
    }


def main() -> None:
    """Run every sampler in a process of its own and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="time of a sampler, both widths together")
    parser.add_argument("--samplers", default=",".join(SAMPLERS))
    parser.add_argument("--widths", type=int, nargs=2, default=[100, 200])
    parser.add_argument("--warmup", type=int, default=400)
    parser.add_argument("--first", type=int, default=64, help="draws of the first stage")
    parser.add_argument("--resolution", type=float, default=0.005, help="largest standard error of a share")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--case", help="one sampler, as the script calls itself")
    options = parser.parse_args()
    if options.quick:
        options.minutes, options.widths, options.warmup, options.first = 0.8, [10, 20], 40, 20
        options.samplers = "hmc"
    if options.case:
        print(json.dumps(measure(options.case, options)))
        return
    rows: dict[str, Any] = {}
    for name in options.samplers.split(","):
        given = {name: getattr(options, name) for name in ("minutes", "warmup", "first", "resolution")}
        sizes = [f"--{key}={value}" for key, value in given.items()]
        widths = ["--widths", *map(str, options.widths)]
        command = [sys.executable, __file__, "--case", name, *sizes, *widths]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        rows[name] = json.loads(done.stdout.splitlines()[-1])
        print(f"{name}: {rows[name]['verdict']}", flush=True)
    settings = {
        "chains": CHAINS,
        "n_train": N_TRAIN,
        "widths": options.widths,
        "warmup": options.warmup,
        "minutes": options.minutes,
        "resolution": options.resolution,
    }
    result = {"question": __doc__.splitlines()[0], "settings": settings, "rows": rows}
    if options.quick:
        print(json.dumps(result))
    else:
        write_result(__file__, result)


if __name__ == "__main__":
    main()
