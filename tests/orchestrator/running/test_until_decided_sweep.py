"""A sweep whose seeds come until its comparisons are decided, killed on the way: it ends as one that was left alone."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from orchestrator.results.results import read
from orchestrator.running import run_trials
from orchestrator.sweep import main
from trainables.record.event_log import ended
from trainables.record.mlflow import MARK

pytestmark = pytest.mark.slow

SPACE = {
    "name": "until",
    "dataset": "digits",
    "architecture": {"name": "mlp", "depth": 3, "width": 30},
    "pruner": ["random", "magnitude", "snip"],
    "compression": [2, 20],
    "seed": {"until": "decided", "most": 4},
    "epochs": 2,
}
FIRST = 2 * 3 * 2  # trials of the first two seeds


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    (folder / "until.yaml").write_text(yaml.safe_dump(SPACE))
    command = [sys.executable, "-m", "orchestrator.sweep", "until.yaml", "--audit", "0", *more]
    environment = os.environ | {"HOME": str(folder / "home")}
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, stdout=-1, stderr=subprocess.STDOUT)


def finish(folder: Path, *more: str) -> str:
    process = start(folder, *more)
    out, _ = process.communicate(timeout=900)
    assert process.returncode == 0, out
    return out


def finished(folder: Path) -> int:
    return sum(ended(record) == "finished" for record in (folder / "results/checkpoints").glob("*") if record.is_dir())


def kill_after(trials: int, folder: Path, *more: str) -> None:
    """Start the sweep and kill it as soon as so many trials have finished."""
    driver = start(folder, *more)
    deadline = time.monotonic() + 600
    while finished(folder) < trials:
        assert driver.poll() is None and time.monotonic() < deadline, driver.communicate()[0]
        time.sleep(0.02)
    driver.kill()
    driver.communicate()


def came(folder: Path) -> tuple[dict[str, tuple[str, float | None]], list[list[str]], list[str]]:
    """What must be the same: results by fingerprint, how each comparison ended, and the cells of the sweep's plan."""
    results = read(f"sqlite:///{folder / 'results/mlflow.db'}", "until")
    rows = {row.cell.fingerprint: (row.status, row.metrics.get("final/top1")) for row in results.rows}
    with (folder / "results/report/tables/questions.csv").open() as file:
        questions = list(csv.reader(file))
    (sweep,) = results.sweeps
    return rows, questions, sorted(cell.model_dump_json() for cell in sweep.cells)


def test_a_sweep_that_was_killed_twice_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    out = finish(whole, "--local")
    trials = finished(whole)
    assert FIRST < trials < 2 * FIRST, out
    assert "comparisons open" in out and f"{trials} of {trials} trials finished" in out
    kill_after(FIRST // 2, killed, "--local")
    kill_after(trials - 1, killed, "--local")
    out = finish(killed, "--local")
    assert finished(killed) == trials, out
    assert came(killed) == came(whole)
    again = finish(killed, "--local")
    assert finished(killed) == trials and "nothing left to do" in again


def test_a_trial_that_another_process_finishes_between_two_reads_is_not_waited_for(tmp_path, monkeypatch, capsys):
    (tmp_path / "until.yaml").write_text(yaml.safe_dump(SPACE | {"pruner": ["random", "snip"], "compression": 20}))
    words = [str(tmp_path / "until.yaml"), "--local", "--audit", "0", "--output"]
    assert main([*words, str(tmp_path / "other")]) == 0
    done = capsys.readouterr().out
    results = read(f"sqlite:///{tmp_path / 'other/mlflow.db'}", "until")
    first = next(row.cell.fingerprint for row in results.rows if row.cell.seed == 0)

    def finish_meanwhile(trials, records):  # called after results were read, and before trials are handed out
        if not (records.folder / first).exists():
            shutil.copytree(tmp_path / "other/checkpoints" / first, records.folder / first)
            (records.folder / first / MARK).unlink()

    monkeypatch.setattr(run_trials, "_forget_failed", finish_meanwhile)
    assert main([*words, str(tmp_path / "own")]) == 0
    counts = re.compile(r"\d+ of \d+ trials finished")
    assert counts.findall(capsys.readouterr().out) == counts.findall(done)


@pytest.mark.cluster
def test_on_ray_the_same_seeds_come(tmp_path: Path) -> None:
    finish(tmp_path / "here", "--local")
    finish(tmp_path / "ray")
    assert came(tmp_path / "ray") == came(tmp_path / "here")
