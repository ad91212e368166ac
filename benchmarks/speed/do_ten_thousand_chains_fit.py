"""Do ten thousand chains with a thousand kept draws each fit: one run in one store, in the memory and the minutes of two cores?

A small deep network (5 inputs, four layers of 16 tanh units, 2 outputs, NTK scaling), 100 patterns in two Gaussian clusters, single
precision. Every number of chains has a process of its own: it samples into a zarr store (``out=``), opens it and makes the
convergence report that ArviZ's diagnostics go into. Recorded are the seconds and CPU-seconds of compilation, warm-up, sampling,
the end of the run and the report, the resident set in each of these phases, bytes and files on disk, and what the report says. The
smaller numbers of chains are extrapolated to the next one before it begins. Chains this short need not converge;
what is asked is whether such a run can be made, kept and judged.

    python benchmarks/speed/do_ten_thousand_chains_fit.py [--chains 100 1000 10000] [--draws 1000] [--warmup 300]
        [--patterns 100] [--width 16] [--depth 4] [--sampler mala] [--observables few] [--minutes 25] [--entries 32] [--quick]
"""

import argparse
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from does_memory_grow_with_draws import Watch, device_bytes, on_disk
from timed import write_result

import hiddencodes as hc

PATTERNS, WIDTH, DEPTH, TEMPERATURE = 100, 16, 4, 1.0
# A transition of ten thousand chains has to cost less than half a second: one to a few gradients of this network.
SAMPLERS: dict[str, Callable[[], hc.Sampler]] = {
    "mala": hc.mala,
    "hmc": lambda: hc.hmc(max_steps=4),
    "adjusted_mclmc": lambda: hc.adjusted_mclmc(max_steps=2),
}
# What convergence is judged by: 30 numbers of a draw. The class means of all units, which the default has too, are 128 more.
FEW = ("log_density", "train_loss", "kernel_diagonal", "kernel_blocks", "test_predictions")
PHASES = ("compile", "warmup", "sampling", "end", "report")


def network(patterns: int, width: int, depth: int) -> hc.Posterior:
    task = hc.gaussian_clusters(patterns, (0.5, 0.5), n_inputs=5, n_test=2)
    mlp = hc.MLP(task.n_inputs, task.n_outputs, width, depth, hc.tanh, hc.ntk)
    return hc.Posterior(mlp, task, temperature=TEMPERATURE)


class Phases:
    """Seconds, CPU-seconds and memory of what a run does one after the other."""

    def __init__(self) -> None:
        """The first phase is compilation."""
        self.watch, self.spent = Watch(0.02), {name: [0.0, 0.0] for name in PHASES}
        self.device = 0
        self._now, self._since = "compile", self._clock()
        self.watch.enter(self._now)

    def enter(self, phase: str) -> None:
        """A phase begins; compilation comes twice."""
        now = self._clock()
        for i in range(2):
            self.spent[self._now][i] += now[i] - self._since[i]
        self._now, self._since = phase, now
        self.watch.enter(phase)

    def row(self) -> dict[str, Any]:
        """What was measured."""
        self.enter(self._now)
        return {
            "seconds": {name: wall for name, (wall, _) in self.spent.items()},
            "cpu_seconds": {name: cpu for name, (_, cpu) in self.spent.items()},
            "peak_bytes": {name: self.watch.peak.get(name, 0) for name in PHASES},
            "peak_of_process": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            "device": self.device,
        }

    @staticmethod
    def _clock() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()


def measure(chains: int, options: argparse.Namespace) -> dict[str, Any]:
    """One run and its report."""
    posterior = network(options.patterns, options.width, options.depth)
    phases, begin = Phases(), time.perf_counter()
    names = FEW if options.observables == "few" else None
    observables = hc.default_observables(posterior.likelihood, posterior.task.n_test)
    asked = False

    def progress(event: hc.Progress) -> None:
        nonlocal asked
        phases.device = max(phases.device, device_bytes())
        last = event.done == event.total
        # The report comes at the end of a stretch: what follows it is the next phase.
        if event.phase == "compile":
            phases.enter("sampling" if last else "warmup" if event.done else "compile")
        elif last:
            phases.enter("compile" if event.phase == "warmup" else "end")
        if time.perf_counter() - begin > 60.0 * options.minutes and not asked and event.phase == "sampling":
            # As Ctrl-C does: the run ends after the segment in progress and keeps its draws.
            asked = True
            signal.raise_signal(signal.SIGINT)

    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        out = Path(folder) / "run.zarr"
        hc.sample(
            posterior,
            sampler=SAMPLERS[options.sampler](),
            chains=chains,
            draws=options.draws,
            warmup=options.warmup,
            observables=observables if names is None else [o for o in observables if o.name in names],
            precision="float32",
            out=out,
            progress=progress,
        )
        phases.enter("report")
        run = hc.open_run(out)
        report = hc.convergence(run, max_entries=options.entries)
        row = phases.row()
        statistics = run["sample_stats"]
        draws = {g: run[g].to_dataset() for g in run.children if "draw" in run[g].dims}
        row |= {
            "draws": int(run["posterior"].sizes["draw"]),
            "complete": bool(run.attrs["complete"]),
            "batching": run.attrs["batching"],
            "bytes_of_draws": sum(values.nbytes for dataset in draws.values() for values in dataset.values()),
            "entries": sum(v[0, 0, 0].size for v in run["posterior"].data_vars.values()),
            "gradients": int(statistics["n_steps"].values.sum(dtype=np.int64)),
            "acceptance": float(statistics["acceptance_rate"].mean()),
            "verdict": report.verdict[:400],
            "characters_of_verdict": len(report.verdict),
            "worst_rhat": {r.variable: r.rhat.value for r in report.table},
            "smallest_bulk_ess": {r.variable: r.ess_bulk.value for r in report.table},
            "disk": on_disk(out),
        }
    dimension = posterior.mlp.n_parameters
    row["positions_of_all_draws_would_take"] = 4 * dimension * chains * row["draws"]
    row["positions_of_all_chains_take"] = 4 * dimension * chains
    return row


def extrapolated(rows: dict[int, dict[str, Any]], chains: int) -> dict[str, float]:
    """Seconds of every phase and peak bytes, linear in the chains of the two largest runs so far."""
    few, many = sorted(rows)[-2:]

    def line(value: Callable[[dict[str, Any]], float]) -> float:
        slope = (value(rows[many]) - value(rows[few])) / (many - few)
        return value(rows[many]) + slope * (chains - many)

    found = {name: line(lambda row, name=name: row["seconds"][name]) for name in PHASES}
    return {**found, "peak_bytes": line(lambda row: row["peak_of_process"])}


def main() -> None:
    """Run every number of chains in a process of its own and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chains", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--patterns", type=int, default=PATTERNS)
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--depth", type=int, default=DEPTH)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--warmup", type=int, default=300)
    parser.add_argument("--sampler", choices=list(SAMPLERS), default="mala")
    parser.add_argument("--observables", choices=["few", "default"], default="few")
    parser.add_argument("--entries", type=int, default=32, help="entries per variable judged in full")
    parser.add_argument("--minutes", type=float, default=25.0, help="after which a run ends with its draws")
    parser.add_argument("--folder", help="where the store is while it is needed")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--case", type=int, help="one number of chains, as the script calls itself")
    options = parser.parse_args()
    if options.quick:
        options.chains, options.draws, options.warmup = [20, 200], 40, 40
    if options.case:
        print(json.dumps(measure(options.case, options)))
        return
    rows: dict[int, dict[str, Any]] = {}
    for chains in options.chains:
        expected = extrapolated(rows, chains) if len(rows) > 1 else None
        if expected:
            words = ", ".join(f"{name} {expected[name]:.0f} s" for name in PHASES)
            print(
                f"expected of {chains} chains: {words}, peak {expected['peak_bytes'] / 1e9:.2f} GB",
                flush=True,
            )
        given = (
            "patterns",
            "width",
            "depth",
            "draws",
            "warmup",
            "sampler",
            "observables",
            "entries",
            "minutes",
        )
        arguments = [x for name in given for x in (f"--{name}", str(getattr(options, name)))]
        arguments += ["--folder", options.folder] if options.folder else []
        command = [sys.executable, __file__, "--case", str(chains), *arguments]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        rows[chains] = row = {**json.loads(done.stdout.splitlines()[-1]), "expected": expected}
        seconds = ", ".join(f"{name} {row['seconds'][name]:.0f} s" for name in PHASES)
        print(
            f"{chains} chains, {row['draws']} draws: {seconds}, peak {row['peak_of_process'] / 1e9:.2f} GB "
            f"(report {row['peak_bytes']['report'] / 1e9:.2f}), {row['disk']['file_bytes'] / 1e9:.2f} GB on disk in "
            f"{row['disk']['files']} files\n    {row['verdict'][:200]}",
            flush=True,
        )
    settings = {
        "patterns": options.patterns,
        "width": options.width,
        "depth": options.depth,
        "temperature": TEMPERATURE,
        "warmup": options.warmup,
        "sampler": options.sampler,
        "observables": options.observables,
        "entries": options.entries,
        "devices": jax.device_count(),
    }
    result = {"question": __doc__.splitlines()[0], "settings": settings, "rows": rows}
    if options.quick:
        print(json.dumps(result))
    else:
        write_result(__file__, result)


if __name__ == "__main__":
    main()
