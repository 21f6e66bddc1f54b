"""deploy/slurm.sbatch on a real Slurm: a sweep that outlives time limits and a lost node, and two jobs on a node."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import until
from slurm import Slurm, installed

from trainables.record.event_log import read

pytestmark = [pytest.mark.cluster, pytest.mark.slow, installed]
ROOT = Path(__file__).parents[2]
SECONDS = 600  # for what takes one on an idle machine
SPACE = ["digits", "--set", "architecture=conv", "--set", "pruner=random", "--set", "compression=4", "--set", "seed=0"]
GOES_ON = "The same command continues where this one stopped."


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    slurm = Slurm(tmp_path_factory.mktemp("slurm"))
    yield slurm
    slurm.stop()


def submit(slurm: Slurm, folder: Path, epochs: int) -> str:
    """Submit a sweep of one trial that saves every second, as a user does; return the job's id."""
    folder.mkdir()
    limits = ["--time=10:00:00", "--signal=B:TERM@10", f"--output={folder}/job.log", "--cpus-per-task=2"]
    sweep = [*SPACE, "--set", f"epochs={epochs}", "--checkpoint-every", "1s", "--output", str(folder / "out")]
    return slurm.submit(
        *limits, str(ROOT / "deploy/slurm.sbatch"), *sweep, cwd=folder, PYTHON=sys.executable, PYTHONPATH=str(ROOT)
    )


def epochs(folder: Path) -> list[int]:
    """The epochs that the trial has recorded, in order."""
    records = (folder / "out" / "checkpoints").glob("*/outbox.jsonl")
    events = [event for record in records for event, _ in read(record.parent)]
    return [event["step"] for event in events if "train/loss" in event.get("metrics", {})]


def test_a_sweep_outlives_three_time_limits_and_a_lost_node_and_cancelled_it_stays_so(slurm, tmp_path):
    """The limit is lowered when the job has trained, however long that takes; Slurm then sends its signal as ever."""
    folder = tmp_path / "long"
    job = submit(slurm, folder, epochs=10**6)
    log, seen = folder / "job.log", 0

    def trains() -> None:
        nonlocal seen
        until(lambda: len(epochs(folder)) > seen, "it trains", SECONDS)

    def queued_again(*command: str) -> None:
        nonlocal seen
        before = slurm.show(job, "Restarts")
        slurm.run(*command)
        until(lambda: slurm.show(job, "Restarts") != before, "the job is queued again", SECONDS)
        seen = len(epochs(folder))

    for _ in range(3):
        trains()
        queued_again("scontrol", "update", f"JobId={job}", "TimeLimit=1")
        slurm.run("scontrol", "update", f"JobId={job}", "TimeLimit=600")
        assert not Path(f"/tmp/ray-{job}").exists()
    assert epochs(folder) == list(range(1, seen + 1)), "an epoch was computed twice, or lost"
    text = log.read_text()
    assert text.count(GOES_ON) == 3
    assert "Killed" not in text  # Ray ended when it was asked to
    trains()
    queued_again(*slurm.node("DOWN"))
    slurm.run(*slurm.node("RESUME"))
    trains()
    assert set(epochs(folder)) == set(range(1, max(epochs(folder)) + 1)), "an epoch was lost"
    slurm.run("scancel", job)
    until(lambda: slurm.show(job, "JobState") == "CANCELLED", "it is cancelled", SECONDS)
    until(lambda: not Path(f"/tmp/ray-{job}").exists(), "Ray's files are removed", SECONDS)


def test_two_jobs_share_a_node_and_end_when_they_are_done(slurm, tmp_path):
    folders = {submit(slurm, tmp_path / name, epochs=2): tmp_path / name for name in ("one", "other")}
    for job, folder in folders.items():
        until(lambda job=job: slurm.show(job, "JobState") in ("COMPLETED", "FAILED"), "it ends", SECONDS)
        assert slurm.show(job, "JobState") == "COMPLETED", (folder / "job.log").read_text()
        assert (folder / "out" / "report" / "report.html").exists()
        assert not Path(f"/tmp/ray-{job}").exists()


def test_a_rejected_command_is_not_queued_again(slurm, tmp_path):
    job = submit(slurm, tmp_path / "wrong", epochs=-1)
    until(lambda: slurm.show(job, "JobState") == "FAILED", "it fails", SECONDS)
    assert slurm.show(job, "ExitCode") == "2:0"
