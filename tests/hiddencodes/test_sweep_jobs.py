"""Jobs of a sweep: killed and stopped on this machine, submitted and followed on Slurm."""

import json
import os
import pickletools
import re
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from tiny_sweep import BASE, GRID, NAMES, invoke, rows, written

import hiddencodes as hc
from hiddencodes import sweep_jobs, sweep_slurm
from hiddencodes.sampling import checkpoint
from hiddencodes.sweep import point_lock, write_sweep
from hiddencodes.sweep_file import load_grid
from hiddencodes.sweep_jobs import run_sweep, sample_point


class Jobs:
    """An executor whose jobs do nothing, and end when they have been asked about a few times."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.running, self.most, self.names = folder, 0, 0, list[str]()

    def submit(self, function: object, folder: str, name: str) -> "Jobs.Job":
        assert (function, folder) == (sample_point, str(self.folder))
        self.running += 1
        self.most = max(self.most, self.running)
        self.names.append(name)
        return Jobs.Job(self)

    class Job:
        job_id = "123"

        def __init__(self, jobs: "Jobs") -> None:
            self.jobs, self.asked = jobs, 0

        def done(self) -> bool:
            self.asked += 1
            self.jobs.running -= self.asked == 3
            return self.asked == 3


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    jobs = Jobs(tmp_path / "out")
    monkeypatch.setattr(sweep_jobs, "_executor", lambda *_: jobs)
    monkeypatch.setattr(sweep_jobs, "_LOOK", 0.001)
    write_sweep(jobs.folder, load_grid(written(tmp_path, GRID.replace('"debug"', '"local"\nparallel = 2'))))
    return jobs


def test_so_many_jobs_at_once(jobs: Jobs) -> None:
    # A process that an earlier command left behind has the first point for as long as there are others.
    lock = point_lock(jobs.folder, NAMES[0])
    lock.acquire()

    def watch(states: Mapping[str, str]) -> None:
        assert list(states) == NAMES
        if len(jobs.names) == 3 and not jobs.running:
            lock.release()

    found = run_sweep(jobs.folder, watch=watch)
    assert jobs.names == [*NAMES[1:], NAMES[0]]
    assert jobs.most == 2
    assert [(point.name, point.state) for point in found] == [(name, "not begun") for name in NAMES]


def test_jobs_are_told_once_to_stop(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *arguments: told.append(arguments))

    def watch(states: Mapping[str, str]) -> None:
        if list(states.values()).count("running") == 2 and not told:
            signal.raise_signal(signal.SIGTERM)

    run_sweep(jobs.folder, watch=watch)
    assert told == [(123, signal.SIGTERM)] * 2
    assert jobs.names == NAMES[:2]
    assert not jobs.running


@pytest.mark.slow
def test_a_job_that_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    text = 'study = "base.toml"\n[grid]\nsampling.key = [0]\n'
    grid = load_grid(written(tmp_path, text, BASE.replace("draws = 8", "draws = 20000")))
    out, meddlers = tmp_path / "out", list[threading.Thread]()
    store = out / "points" / "00-0" / "networks" / "one-two.zarr"

    def once_it_has(draws: int, then: Callable[[], None]) -> Callable[[Mapping[str, str]], None]:
        def wait() -> None:
            # Draws are shown to readers after the state that follows them is saved: those of the first of two are.
            while sum(position > (1, draws) for position in checkpoint.positions(store)) < 2:
                time.sleep(0.05)
            then()

        def watch(states: Mapping[str, str]) -> None:
            if states["00-0"] == "running":
                meddlers.append(threading.Thread(target=wait, daemon=True))
                meddlers[-1].start()

        return watch

    def kill() -> None:
        # The only child of the process that submitit starts is the job.
        controller = json.loads((out / "jobs.json").read_text())["00-0"]
        child = Path(f"/proc/{controller}/task/{controller}/children").read_text().split()[0]
        os.kill(int(child), signal.SIGKILL)

    (killed,) = run_sweep(out, grid, watch=once_it_has(0, kill))
    assert killed.state == "interrupted"
    assert re.match(r"one-two: draw \d+; ", killed.detail)
    before = hc.open_sweep(out)
    assert before["00-0"].attrs == {"sampling.key": 0, "complete": 0}
    draws = before["00-0/one-two/posterior"].sizes["draw"]
    assert draws > 0

    # Asked to stop in the middle, the next job finishes its segment.
    terminate = once_it_has(draws, lambda: os.kill(os.getpid(), signal.SIGTERM))
    (stopped,) = run_sweep(out, watch=terminate)
    assert stopped.state == "interrupted"
    assert stopped.detail.endswith("stopped; the sweep can be gone on with")
    run = hc.open_sweep(out)["00-0/one-two"]
    assert run["posterior"].sizes["draw"] > draws
    begun = [session["from"] for session in json.loads(run.attrs["sessions"])]
    assert begun == ["the beginning", re.match(r"one-two: (draw \d+)", killed.detail)[1]]  # pyright: ignore

    # What was pickled are names, of submitit's and of one function.
    job, *_ = (out / "submitit").glob("*_submitted.pkl")
    texts = [str(a) for op, a, _ in pickletools.genops(job.read_bytes()) if "UNICODE" in op.name]
    assert {"sample_point", str(out), "00-0"} <= set(texts)
    assert {t for t in texts if t.startswith("hiddencodes")} == {"hiddencodes.sweep_jobs"}


# Slurm is played by scripts here.


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "slurm"
    folder.mkdir()
    scripts = {
        "srun": "",
        "sbatch": 'cp "$1" "$(dirname "$0")/script"; echo Submitted batch job $(($(wc -l <"$(dirname "$0")/log") + 7))\n'
        'echo "$1" >>"$(dirname "$0")/log"',
        "squeue": 'echo "$@" >"$(dirname "$0")/asked"; cat "$(dirname "$0")/queue"',
        "scontrol": 'echo "$@" >>"$(dirname "$0")/controlled"; echo "PreemptTime=$(cat "$(dirname "$0")/queue")"',
    }
    for name, body in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    for name in ("log", "queue"):
        (folder / name).touch()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(sweep_slurm, "_LOOK_AT_QUEUE", 0.1)
    return folder


ON_SLURM = GRID.replace('"debug"', '"slurm"\ntimeout_min = 30\nslurm_partition = "small"\nparallel = 3')


def test_points_on_slurm(tmp_path: Path, slurm: Path) -> None:
    path, out = written(tmp_path, ON_SLURM), tmp_path / "out"
    result = invoke(path, "--out", out, "--no-wait")
    assert result.exit_code == 0, result.output
    assert [row.split("│")[4].strip() for row in rows(result.output)] == ["submitted"] * 4
    script = (slurm / "script").read_text()
    for line in ("--array=0-3%3", "--partition=small", "--time=30", "--job-name=tiny", "--signal=USR2@90"):
        assert f"#SBATCH {line}\n" in script
    assert json.loads((out / "jobs.json").read_text()) == {name: f"7_{i}" for i, name in enumerate(NAMES)}
    assert "--array" in (slurm / "asked").read_text()

    # Jobs that are in the queue still are not submitted again; the others are.
    (slurm / "queue").write_text("7_0\n7_1\n7_3\n99\n")
    assert invoke(path, "--out", out, "--no-wait").exit_code == 0
    assert json.loads((out / "jobs.json").read_text()) == dict(
        zip(NAMES, ["7_0", "7_1", "8", "7_3"], strict=True)
    )

    # Waiting ends when all have left the queue, whatever became of them.
    (slurm / "queue").write_text("")
    (out / "submitit" / "9_1_0_log.err").write_text("slurmstepd: error: Detected 1 oom-kill event\n\n")
    result = invoke(path, "--out", out)
    assert result.exit_code == 130
    assert [row.split("│")[4].strip() for row in rows(result.output)] == ["not begun"] * 4
    assert "oom-kill" in result.output


def test_jobs_that_slurm_does_not_take(tmp_path: Path, slurm: Path) -> None:
    (slurm / "sbatch").write_text("#!/bin/sh\necho sbatch: error: invalid partition >&2\nexit 1\n")
    result = invoke(written(tmp_path, ON_SLURM), "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "error: Slurm does not take the jobs: sbatch: error: invalid partition\n" in result.output


@pytest.mark.parametrize(("when", "requeued"), [("2030-01-02T03:04:05", True), ("None", False)])
def test_a_job_that_is_preempted(
    when: str, requeued: bool, slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    (slurm / "queue").write_text(when)
    sweep_slurm.requeue_if_preempted()
    assert ("requeue 12" in (slurm / "controlled").read_text()) == requeued
