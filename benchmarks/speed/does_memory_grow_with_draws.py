"""Does memory grow with the number of draws, and how much more than the observables asked for is on disk?

One network (20 inputs, 100 ReLU units, 64 patterns, 4 chains, single precision), at 1,000 and at 20,000 draws; every case in a process
of its own. Ours streams its default observables to a zarr store (``out=``), in segments of its own choice, which are longer in longer runs, and
in segments of 50 draws whatever the run. Beside it BlackJAX's NUTS as its documentation uses
it: the states and infos of all draws are kept. Where those would be larger than ``--peer-limit`` they are computed from their
shapes, which at the smaller number of draws are compared with what was measured.

Memory of the host is the resident set, read from /proc every 5 ms: its largest value while sampling over its value at the
beginning of sampling, and over the whole process. Memory of the device is what JAX's live arrays take between segments, and the
allocator's own peak where it keeps one. Bytes on disk are counted before compression (entries times their size) and after it.

    python benchmarks/speed/does_memory_grow_with_draws.py [--draws 1000 20000] [--peer-limit 4e9] [--quick]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import zarr
from jax.flatten_util import ravel_pytree
from timed import write_result

import hiddencodes as hc

CHAINS, WARMUP, MAX_STEPS, SEGMENT = 4, 200, 8, 50
STATISTICS = "sample_stats"


class Watch:
    """The resident set of this process, phase by phase, as a thread reads it.

    Attributes:
        begin: Bytes at the beginning of every phase.
        peak: The most that was seen in it.
    """

    def __init__(self, seconds: float = 0.005) -> None:
        """Args: how often to look."""
        self.begin: dict[str, int] = {}
        self.peak: dict[str, int] = {}
        self._phase, self._seconds = "start", seconds
        self.enter("start")
        threading.Thread(target=self._look, daemon=True).start()

    def enter(self, phase: str) -> None:
        """A phase begins."""
        now = resident()
        self.begin.setdefault(phase, now)
        self.peak[phase] = max(self.peak.get(phase, 0), now)
        self._phase = phase

    def growth(self, phase: str) -> int:
        """Bytes by which the peak of a phase is above its beginning."""
        return self.peak[phase] - self.begin[phase]

    def _look(self) -> None:
        while True:
            phase = self._phase
            self.peak[phase] = max(self.peak[phase], resident())
            time.sleep(self._seconds)


def resident() -> int:
    """Bytes of the resident set."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def device_bytes() -> int:
    """Bytes of JAX's arrays, or what the device's allocator says it has given away at most."""
    peak = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return int(peak) if peak is not None else sum(array.nbytes for array in jax.live_arrays())


def on_disk(folder: Path) -> dict[str, Any]:
    """Bytes of a store: of the entries of its arrays, group by group, and of its files."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    state = [path for path in files if ".checkpoint" in path.parts]
    groups: dict[str, int] = {}
    for name, member in zarr.open_group(folder, mode="r").members(max_depth=None):
        if isinstance(member, zarr.Array) and member.dtype.kind != "T":
            group = name.split("/")[0]
            groups[group] = groups.get(group, 0) + member.size * member.dtype.itemsize
    return {
        "entries": groups,
        "files": len(files),
        "file_bytes": sum(path.stat().st_size for path in files),
        "disk_blocks": sum(path.stat().st_blocks * 512 for path in files),
        "state_bytes": sum(path.stat().st_size for path in state),
    }


def network(width: int) -> hc.Posterior:
    task = hc.gaussian_clusters(64, (0.5, 0.5), n_inputs=20, n_test=4)
    mlp = hc.MLP(task.n_inputs, task.n_outputs, width, 1, hc.relu, hc.ntk)
    return hc.Posterior(mlp, task, temperature=0.1)


def ours(posterior: hc.Posterior, draws: int, segment: int | None) -> dict[str, Any]:
    """A run with its default observables in a store on disk."""
    watch, device = Watch(), 0

    def progress(event: hc.Progress) -> None:
        nonlocal device
        device = max(device, device_bytes())
        if event.phase == "warmup":
            watch.enter("warmup")
        elif event.phase == "sampling" and event.done == event.total:
            watch.enter("end")
        elif event.phase == "compile" and event.done == event.total:
            watch.enter("sampling")

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run.zarr"
        run = hc.sample(
            posterior,
            sampler=hc.hmc(max_steps=MAX_STEPS),
            chains=CHAINS,
            draws=draws,
            warmup=WARMUP,
            segment=segment,
            precision="float32",
            out=out,
            progress=progress,
            verbose=False,
        )
        shapes = {
            (group, name): values
            for group in run.children
            for name, values in run[group].data_vars.items()
            if "draw" in values.dims
        }
        # What is asked for is what one draw of the observables has, times draws and chains: no buffer, no padding.
        per_draw = {key: values[:, :, 0].nbytes for key, values in shapes.items()}
        asked = draws * sum(size for (group, _), size in per_draw.items() if group != STATISTICS)
        statistics = draws * sum(size for (group, _), size in per_draw.items() if group == STATISTICS)
        disk = on_disk(out)
    stored = {group: disk["entries"].get(group, 0) for group in dict.fromkeys(group for group, _ in shapes)}
    stored_statistics = stored.pop(STATISTICS)
    everything = sum(disk["entries"].values())
    return {
        "peak_over_begin_of_sampling": watch.growth("sampling"),
        "peak_at_the_end": watch.growth("end"),
        "device": device,
        "asked": asked,
        "asked_statistics": statistics,
        "stored_observables_over_asked": sum(stored.values()) / asked,
        "stored_with_statistics_over_asked": (sum(stored.values()) + stored_statistics) / asked,
        "stored_with_statistics_over_asked_with_statistics": (sum(stored.values()) + stored_statistics)
        / (asked + statistics),
        "everything_over_asked_with_statistics": everything / (asked + statistics),
        "files_over_asked_with_statistics": disk["file_bytes"] / (asked + statistics),
        "disk": disk,
    }


def blackjax_program(posterior: hc.Posterior) -> tuple[Any, Any, Any]:
    """Warm-up, sampling loop and starting positions as in BlackJAX's documentation, weights in one flat vector."""
    import blackjax  # it starts the devices, which `timed` has to set up before

    template = posterior.sample_prior(jax.random.key(0))
    flat, unravel = ravel_pytree(template)

    def logdensity(x: Any) -> Any:
        return posterior.log_density(unravel(x))

    warm = blackjax.window_adaptation(blackjax.nuts, logdensity)
    kernel = blackjax.nuts.build_kernel()

    @jax.jit
    def warmed(keys: Any, positions: Any) -> Any:
        return jax.vmap(lambda key, x: warm.run(key, x, WARMUP)[0])(keys, positions)

    def loop(key: Any, states: Any, parameters: Any, draws: int) -> Any:
        def one(states: Any, key: Any) -> Any:
            keys = jax.random.split(key, CHAINS)
            step = lambda key, state, tuned: kernel(key, state, logdensity, **tuned)
            states, infos = jax.vmap(step)(keys, states, parameters)
            return states, (states, infos)

        return jax.lax.scan(one, states, jax.random.split(key, draws))[1]

    starts = np.stack(
        [
            np.asarray(ravel_pytree(posterior.sample_prior(jax.random.key(c)))[0], flat.dtype)
            for c in range(CHAINS)
        ]
    )
    return warmed, loop, starts


def bytes_of(tree: Any) -> int:
    """Bytes of the arrays or shapes of a pytree; keys count as what they hold."""
    return sum(int(np.prod(leaf.shape)) * np.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(tree))


def peer(posterior: hc.Posterior, draws: int, limit: float) -> dict[str, Any]:
    """BlackJAX with all states and infos."""
    watch = Watch()
    warmed, loop, starts = blackjax_program(posterior)
    states, parameters = warmed(jax.random.split(jax.random.key(1), CHAINS), starts)
    body = lambda key, states, parameters: loop(key, states, parameters, draws)
    program = jax.jit(body)
    kept = bytes_of(jax.eval_shape(body, jax.random.key(2), states, parameters))
    positions = CHAINS * draws * starts[0].nbytes
    row = {"kept": kept, "positions": positions, "kept_over_positions": kept / positions, "measured": False}
    if kept < limit:
        compiled = program.lower(jax.random.key(2), states, parameters).compile()
        watch.enter("sampling")
        history = jax.block_until_ready(compiled(jax.random.key(2), states, parameters))
        row |= {
            "measured": True,
            "peak_over_begin_of_sampling": watch.growth("sampling"),
            "device": device_bytes(),
        }
        row["gradients_per_draw"] = float(np.mean(history[1].num_integration_steps))
    return row


def main() -> None:
    """Run every case in a process of its own and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, nargs="+", default=[1000, 20000])
    parser.add_argument("--width", type=int, default=100)
    parser.add_argument(
        "--peer-limit", type=float, default=4e9, help="bytes up to which the peer is measured"
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--case", help="one case, as the script calls itself")
    options = parser.parse_args()
    if options.quick:
        options.draws, options.width = [50, 200], 20
    if options.case:
        name, draws = options.case.split(",")
        posterior = network(options.width)
        row = (
            peer(posterior, int(draws), options.peer_limit)
            if name == "blackjax"
            else ours(posterior, int(draws), None if name == "ours" else SEGMENT)
        )
        row["peak_of_process"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps(row))
        return
    rows: dict[str, Any] = {}
    for name in ("ours", "ours in equal segments", "blackjax"):
        for draws in options.draws:
            case = ["--case", f"{name},{draws}", "--width", str(options.width)]
            command = [sys.executable, __file__, *case, "--peer-limit", str(options.peer_limit)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            rows[f"{name}, {draws} draws"] = row = json.loads(done.stdout.splitlines()[-1])
            shown = {
                key: round(value / 1e6, 1) if value > 1e4 else value
                for key, value in row.items()
                if key != "disk"
            }
            print(f"{name}, {draws} draws (MB):", shown, flush=True)
    few, many = options.draws[0], options.draws[-1]
    for key in ("peak_over_begin_of_sampling", "peak_of_process", "device"):
        growth = rows[f"ours, {many} draws"][key] - rows[f"ours, {few} draws"][key]
        print(f"ours, {key}: {growth / 1e6:+.1f} MB from {few} to {many} draws")
    settings = {"chains": CHAINS, "width": options.width, "warmup": WARMUP, "max_steps": MAX_STEPS}
    result = {"question": __doc__.splitlines()[0], "settings": settings, "rows": rows}
    if options.quick:
        print(json.dumps(result))
    else:
        write_result(__file__, result)


if __name__ == "__main__":
    main()
