"""deploy/slurm.sbatch on a real Slurm: a sweep that outlives time limits, two jobs on a node, and an end for good."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import until
from slurm import Slurm, installed

from trainables.record.event_log import read

pytestmark = [pytest.mark.cluster, pytest.mark.slow, installed]
ROOT = Path(__file__).parents[2]
MINUTES = int(os.environ.get("SLURM_TEST_MINUTES", "1"))  # time limit of a job; more where one minute starts nothing
SECONDS = 60 * MINUTES * 8
SPACE = ["digits", "--set", "architecture=conv", "--set", "pruner=random", "--set", "compression=4", "--set", "seed=0"]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    slurm = Slurm(tmp_path_factory.mktemp("slurm"))
    yield slurm
    slurm.stop()


def submit(slurm: Slurm, folder: Path, epochs: int) -> str:
    """Submit a sweep of one trial that saves every second, as a user does; return the job's id."""
    folder.mkdir()
    limits = [f"--time={MINUTES}", "--signal=B:TERM@10", f"--output={folder}/job.log", "--cpus-per-task=2"]
    sweep = [*SPACE, "--set", f"epochs={epochs}", "--checkpoint-every", "1s", "--output", str(folder / "out")]
    return slurm.submit(
        *limits, str(ROOT / "deploy/slurm.sbatch"), *sweep, cwd=folder, PYTHON=sys.executable, PYTHONPATH=str(ROOT)
    )


def epochs(folder: Path) -> list[int]:
    """The epochs that the trial has recorded, in order."""
    records = (folder / "out" / "checkpoints").glob("*/outbox.jsonl")
    events = [event for record in records for event, _ in read(record.parent)]
    return [event["step"] for event in events if "train/loss" in event.get("metrics", {})]


def test_a_sweep_outlives_two_time_limits_and_cancelled_it_stays_so(slurm, tmp_path):
    folder = tmp_path / "long"
    job = submit(slurm, folder, epochs=10**6)
    log = folder / "job.log"
    seen = 0
    for restarts in (1, 2):
        until(lambda count=restarts: slurm.show(job, "Restarts") == str(count), f"{restarts} restarts", SECONDS)
        done = epochs(folder)
        assert len(done) > seen, log.read_text()
        seen = len(done)
        until(lambda: slurm.show(job, "JobState") == "RUNNING", "it runs again", SECONDS)
    until(lambda: len(epochs(folder)) > seen, "it goes on", SECONDS)
    assert epochs(folder) == list(range(1, len(epochs(folder)) + 1)), "an epoch was computed twice, or lost"
    assert log.read_text().count("The same command continues where this one stopped.") == 2
    slurm.run("scancel", job)
    until(lambda: slurm.show(job, "JobState") == "CANCELLED", "it is cancelled", SECONDS)
    assert slurm.show(job, "Restarts") == "2"
    assert not Path(f"/tmp/ray-{job}").exists()


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
