"""deploy/slurm.sbatch on a real Slurm of one node: two jobs share it, and a rejected command ends."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import until
from slurm import Slurm, installed

pytestmark = [pytest.mark.cluster, pytest.mark.slow, installed]
ROOT = Path(__file__).parents[2]
SECONDS = 600  # for what takes one on an idle machine
SPACE = ["digits", "--set", "architecture=conv", "--set", "pruner=random", "--set", "compression=4", "--set", "seed=0"]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    slurm = Slurm(tmp_path_factory.mktemp("slurm"))
    yield slurm
    slurm.stop()


def submit(slurm: Slurm, folder: Path, epochs: int) -> str:
    """Submit a sweep of one trial, as a user does; return the job's id."""
    folder.mkdir()
    limits = ["--time=10:00:00", "--signal=B:TERM@10", f"--output={folder}/job.log", "--cpus-per-task=2"]
    sweep = [*SPACE, "--set", f"epochs={epochs}", "--output", str(folder / "out")]
    return slurm.submit(
        *limits, str(ROOT / "deploy/slurm.sbatch"), *sweep, cwd=folder, PYTHON=sys.executable, PYTHONPATH=str(ROOT)
    )


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
