"""What happens to the draws and states of a run: kept in memory, or written to a folder from which it can be gone on with."""

import datetime
import json
import shutil
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr

from hiddencodes.sampling import checkpoint, listing, processes, provenance, run_tree, store
from hiddencodes.sampling.checkpoint import Checkpoint, DamagedError, Position
from hiddencodes.sampling.lanes import Lanes
from hiddencodes.sampling.monitor import Monitor
from hiddencodes.sampling.plan import Plan, Segment
from hiddencodes.sampling.store import ArraySpec, RunStore
from hiddencodes.sampling.verification import verify, verify_group


class InMemory:
    """Draws of a run that nobody wants on disk."""

    def __init__(self, to_datasets: Callable[[Segment], dict[str, xr.Dataset]]) -> None:
        """Args: ``to_datasets``, which makes the groups of a segment."""
        self._to_datasets = to_datasets
        self._segments: list[dict[str, xr.Dataset]] = []

    def consume(self, segment: Segment) -> None:
        """Take a segment's draws."""
        self._segments.append(self._to_datasets(segment))

    def finish(self, groups: dict[str, xr.Dataset], attrs: dict[str, Any]) -> xr.DataTree:
        """The run."""
        draws = {
            name: xr.concat([s[name] for s in self._segments], "draw") if name != "health" else last
            for name, last in self._segments[-1].items()
        }
        tree = xr.DataTree.from_dict({**draws, **groups})
        tree.attrs = attrs
        return tree


class Identity(NamedTuple):
    """What makes a run the run that it is.

    Attributes:
        fingerprint: Everything that decides on its numbers, as plain data; the number of draws is not among it.
        session: What this stretch of it runs with.
    """

    fingerprint: dict[str, Any]
    session: dict[str, Any]


class OnDisk:
    """A run's folder, held by this process: draws in zarr arrays, states in checkpoints."""

    def __init__(
        self,
        path: Path,
        specs: list[ArraySpec],
        plan: Plan,
        how: Lanes,
        identity: Identity,
        coords: dict[str, Any],
        say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
    ) -> None:
        """Args: the folder; its arrays; the run's sizes, lanes, identity and labels; how to tell the user something."""
        self.path, self.plan, self.how, self.identity = path, plan, how, identity
        self.store = RunStore(path, specs, how.own(plan.chains))
        self.sessions: list[dict[str, Any]] = []
        self._coords, self._say = coords, say
        self._process = jax.process_index() if how.processes > 1 else 0

    def open(
        self, groups: dict[str, xr.Dataset], attrs: dict[str, Any], *, resume: bool
    ) -> tuple[Checkpoint | None, Plan, bool]:
        """Begin the run, or go on with what there is of it.

        Returns:
            The state to go on from, None at the beginning; the plan, with buffers as long as they were; whether the run is whole.
        """
        if resume:
            self._mend(attrs)
        saved = self.resume() if resume else None
        if saved is None:
            self.begin(groups, attrs)
            return None, self.plan, False
        plan = self.plan._replace(capacity=saved.manifest.get("capacity", self.plan.capacity))
        whole = saved.position == (1, plan.draws) and bool(listing.attributes(self.path)["complete"])
        return saved, plan, whole and processes.agreed(self._ends_are_whole)

    def _mend(self, attrs: dict[str, Any]) -> None:
        """Write what is known at the beginning, and the file that lists it, if the file is lost: all else can still be used."""
        if self._process == 0 and checkpoint.positions(self.path):
            with self._writing():
                if listing.mend(self.path, self._attrs(attrs, complete=0)):
                    self._say(f"{self.path}: the list of its arrays was lost and is written anew")
        processes.wait("mended")

    def _ends_are_whole(self) -> bool:
        """Whether what was written at the end of the run can be read; says what cannot."""
        for group in sorted(p.name for p in self.path.iterdir() if (p / "zarr.json").is_file()):
            if group not in (*self.store.every, "health"):
                try:
                    verify_group(self.path, group)
                except DamagedError as error:
                    self._say(f"{self.path}: what was written at the end cannot be used ({error})")
                    return False
        return True

    def begin(self, groups: dict[str, xr.Dataset], attrs: dict[str, Any]) -> None:
        """Write what is known before the first draw; whatever an earlier attempt left is gone."""
        self._open_session("the beginning")
        if self._process == 0:
            with self._writing():
                checkpoint.clear(self.path)
                self._tidy()
                listing.begin(self.path, self._attrs(attrs, complete=0))
                for old in self.path.iterdir():
                    if (old / "zarr.json").is_file():
                        shutil.rmtree(old)
                store.write(self.path, groups, {})
        processes.wait("begin")

    def resume(self) -> Checkpoint | None:
        """The newest state from which the run can be gone on with, all lanes of it; None if there is none.

        Raises:
            ValueError: If the run is not this one, or has more draws than are asked for.
        """
        found = processes.agreed(self._newest)
        if found is None:
            return None
        position = Position(*found)
        saved = self._read(position)
        self.sessions = saved.manifest["sessions"]
        before, now = (self.sessions[-1], self.identity.session) if self.sessions else ({}, {})
        for line in checkpoint.differences(before.get("versions", {}), now.get("versions", {})):
            self._say(f"{self.path}: the run was begun with another version, {line}")
        hardware = ("device", "processes")
        was, has = ({name: each.get(name) for name in hardware} for each in (before, now))
        for line in checkpoint.differences(was, has) if before else ():
            self._say(f"{self.path}: the run was begun on other hardware, {line}")
        self._open_session(str(position))
        if self._process == 0:
            with self._writing():
                self._tidy()
                if position < (1, self.plan.draws):
                    # The end of a run that is gone on with is not its end.
                    listing.set_attributes(self.path, complete=0)
                if position > (1, 0):
                    self.store.truncate(position.done)
                    self.store.publish()
                else:
                    self.store.hide()
        processes.wait("resumed")
        return saved

    def refill(self, monitor: Monitor, names: set[str], saved: Checkpoint) -> None:
        """Show the monitor the draws that there are."""
        length = saved.manifest.get("segment", 1)
        done = saved.position.done if saved.position.phase else 0
        for first in range(0, done, length):
            monitor.add(self.store.read(names, first, min(length, done - first)))

    def consume(self, segment: Segment) -> None:
        """Add a segment's draws."""
        if segment.first == 0:
            if self._process == 0:
                with self._writing():
                    self.store.create(self._coords, segment.length, self.plan.chains // self.how.processes)
            processes.wait("created")
        assert segment.status is not None
        values = {**segment.observed, **segment.stats}
        with self._writing():
            self.store.append(values, segment.first, segment.n, *segment.status)

    def save(self, saved: Checkpoint) -> None:
        """Keep a state, then let readers see the draws before it."""
        own = {
            "fingerprint": self.identity.fingerprint,
            "sessions": self.sessions,
            "processes": self.how.processes,
            "batching": self.how.batching,
            "draws": self.plan.draws,
            **saved.manifest,
        }
        with self._writing():
            checkpoint.write(self.path, saved._replace(manifest=own), self._process)
        processes.wait("saved")
        with self._writing():
            if self._process == 0 and saved.position > (1, 0):
                self.store.publish()
            checkpoint.prune(self.path, saved.position, self._process)

    def finish(self, groups: dict[str, xr.Dataset], attrs: dict[str, Any]) -> xr.DataTree:
        """Write what is known at the end; the run, opened."""
        if self._process == 0:
            with self._writing():
                store.write(self.path, groups, self._attrs(attrs, attrs["complete"]))
        processes.wait("finished")
        return run_tree.open_run(self.path)

    def _attrs(self, attrs: dict[str, Any], complete: int) -> dict[str, Any]:
        return {**attrs, "complete": complete, "sessions": json.dumps(self.sessions)}

    def _open_session(self, where: str) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self.sessions = [*self.sessions, {"from": where, "time": now, **self.identity.session}]

    @contextmanager
    def _writing(self) -> Generator[None]:
        """Of an error of the file system, such as a full disk, say which run it stopped and that nothing is lost."""
        try:
            yield
        except OSError as error:
            reason = f"{error.strerror or error}; what was saved before is whole, and resume=True goes on from there"
            raise OSError(error.errno, reason, str(self.path)) from error

    def _tidy(self) -> None:
        """Nobody finishes what processes were writing that were killed."""
        for left in self.path.rglob("*.partial"):
            left.unlink(missing_ok=True)

    def _newest(self) -> tuple[int, int] | None:
        """The newest position whose checkpoint and draws are what was written; says which are not.

        What cannot be read for another reason than damage stops the run: it may be there the next time.
        """
        refused = False
        for position in checkpoint.positions(self.path):
            try:
                saved = self._read(position)
                self._refuse_another(saved)
                self._verify(saved)
                if not refused and position > (1, 0):
                    # The next segment writes it anew, so that one has to be made again.
                    verify_group(self.path, "health")
            except (DamagedError, FileNotFoundError) as error:
                self._say(f"{self.path}: the state at {position} cannot be used ({error})")
                refused = True
                continue
            if refused:
                self._say(f"{self.path}: going on from {position}")
            return position.phase, position.done
        if refused:
            self._say(f"{self.path}: beginning anew")
        return None

    def _read(self, position: Position) -> Checkpoint:
        first = checkpoint.read(self.path, position)
        others = [checkpoint.read(self.path, position, p) for p in range(1, first.manifest["processes"])]
        n = first.manifest["lane_arrays"]
        parts = [first, *others]
        lanes = [np.concatenate([p.arrays[i] for p in parts], axis=1) for i in range(n)]
        return first._replace(arrays=[*lanes, *first.arrays[n:]])

    def _refuse_another(self, saved: Checkpoint) -> None:
        lines = checkpoint.differences(saved.manifest["fingerprint"], self.identity.fingerprint)
        if lines:
            raise ValueError(
                f"{self.path}: the run that is there is another one and cannot be gone on with; it has\n  "
                + "\n  ".join(lines)
            )
        if saved.manifest["batching"] != self.how.batching:
            raise ValueError(
                f"batching: the run was begun with {saved.manifest['batching']!r}, got {self.how.batching!r}"
            )
        if saved.position.phase == 1 and saved.position.done > self.plan.draws:
            raise ValueError(
                f"draws: {self.path} has {saved.position.done} draws already, got {self.plan.draws!r}"
            )
        if saved.manifest["processes"] % self.how.processes:
            raise ValueError(
                f"{self.path}: its chains are stored in {saved.manifest['processes']} parts, which {self.how.processes} "
                "processes cannot share"
            )

    def _verify(self, saved: Checkpoint) -> None:
        if saved.position <= (1, 0):
            return
        each = self.plan.chains // saved.manifest["processes"]
        for first in range(0, self.plan.chains, each):
            chains = slice(first, first + each)
            verify(RunStore(self.path, self.store.specs, chains), saved.position.done)


def saved_batching(path: Path) -> Any:
    """How lanes ran in the run that is there; None if there is none.

    Not from its checkpoints: a run all of whose checkpoints are damaged is to have the numbers that it had.
    """
    try:
        return listing.attributes(path).get("batching")
    except DamagedError:
        return None


def fingerprint(
    attrs: dict[str, Any], plan: Plan, observables: Any, data: Any, start: Any, precision: str
) -> dict[str, Any]:
    """What decides on the numbers of a run, as plain data.

    Args:
        attrs: The run's attributes.
        plan: Its sizes.
        observables: What is stored.
        data: Its arrays.
        start: Positions to start from; None for prior draws.
        precision: Floating-point type.
    """
    names = (
        "model", "likelihood", "temperature", "readout_variance", "hidden_variance", "sampler", "warmup", "thin",
        "coordinates", "moves", "moves_every", "key", "pattern_devices",
    )  # fmt: skip
    plain = {name: attrs[name] for name in names}
    for name in ("model", "sampler", "moves", "key"):
        plain[name] = json.loads(plain[name])
    return {
        **plain,
        "chains": plan.chains,
        "seeds": [int(seed) for seed in plan.seeds],
        "superchains": [int(number) for number in plan.superchain],
        "precision": precision,
        "observables": {
            o.name: {"axes": list(o.dims), "every": o.every, "dtype": o.dtype, "invariant": o.invariant}
            for o in observables
        },
        "data (checksum)": provenance.digest(data),
        "start (checksum)": None if start is None else provenance.digest(start),
    }
