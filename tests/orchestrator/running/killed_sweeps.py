"""Kill a small sweep at many of its writes, run it again, and print a JSON line of what came of each.

python killed_sweeps.py FOLDER KILLS, with the library of kill_at_write.c preloaded. All sweeps are forks of this
process, because imports take longer than they do.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import shutil
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mlflow import MlflowClient

from orchestrator.report import write
from orchestrator.results.store import sqlite_uri
from orchestrator.running import execute
from orchestrator.sweep import main
from trainables.record.event_log import read

SETTINGS = ("architecture=mlp", "pruner=random", "compression=[2, 4]", "epochs=2", "batch_size=512")
WORDS = ["digits", "--local", "--audit", "0", "--checkpoint-every", "0.001"]
WORDS += [word for setting in SETTINGS for word in ("--set", setting)]
MEASURED = ("time/", "model/latency_ms", "model/speedup", "model/peak_mb")  # beginnings of metrics that differ
LIBRARY = ctypes.CDLL(None)
assert write and execute  # imported before the forks


def fork(work: Callable[[], int]) -> int:
    """Run `work` in a fork; return its exit code, or the negative number of the signal that killed it."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(work())
        except BaseException:  # noqa: BLE001 - a fork must not go on as its parent
            traceback.print_exc()
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def sweep(folder: Path, n: int = 0) -> int:
    """Run the sweep into `folder`, killed at write `n` if that is above 0; note how many writes it made."""
    said = (folder.parent / f"{folder.name}.txt").open("a")
    os.dup2(said.fileno(), 1)
    LIBRARY.kill_at(ctypes.c_long(n), str(folder).encode())
    code = main([*WORDS, "--output", str(folder)])
    (folder.parent / f"{folder.name}.writes").write_text(str(LIBRARY.writes_seen()))
    return code


def results(folder: Path) -> dict[str, Any]:
    """Return what must be the same after any kill; fail where something is there twice or has not ended."""
    client = MlflowClient(sqlite_uri(folder / "mlflow.db"))
    experiment = client.get_experiment_by_name("digits").experiment_id
    found: dict[str, Any] = {}
    (parent,) = client.search_runs([experiment], "tags.kind = 'sweep'")
    assert parent.info.status == "FINISHED"
    runs = client.search_runs([experiment], "tags.kind = 'trial'")
    assert len({run.data.tags["fingerprint"] for run in runs}) == len(runs) == 2
    for run in runs:
        fingerprint = run.data.tags["fingerprint"]
        assert run.info.status == "FINISHED", run.info.status
        for key in ("train/loss", "test/top1", "final/top1"):
            points = Counter(point.step for point in client.get_metric_history(run.info.run_id, key))
            assert set(points.values()) == {1}, f"{key}: {points}"
        events = [event for event, _ in read(folder / "checkpoints" / fingerprint)]
        recorded = Counter((key, event["step"]) for event in events for key in event.get("metrics", {}))
        assert set(recorded.values()) == {1}, recorded
        artifacts = folder / "artifacts" / run.info.run_id / "artifacts"
        found[fingerprint] = {
            "metrics": {k: value for k, value in run.data.metrics.items() if not k.startswith(MEASURED)},
            "params": run.data.params,
            "files": {
                name: (artifacts / name).read_bytes().hex()[:200] + str((artifacts / name).stat().st_size)
                for name in ("masks.safetensors", "weights.safetensors", "layers.json", "trial.json")
            },
        }
    assert (folder / "report" / "report.html").stat().st_size > 10_000
    return found


def compare(folder: Path, reference: Path) -> int:
    """Return 0 if the results in `folder` are those of the reference."""
    ours, theirs = results(folder), results(reference)
    assert ours == theirs, f"{ours} instead of {theirs}"
    return 0


def run(folder: Path, kills: int) -> None:
    """Kill `kills` sweeps, one in each equal part of a sweep's writes."""
    reference = folder / "reference"
    assert fork(lambda: sweep(reference)) == 0, (folder / "reference.txt").read_text()
    writes = int((folder / "reference.writes").read_text())
    drawn = random.Random(os.environ.get("KILL_SEED", "0"))
    for part in range(kills):
        n = 1 + int((part + drawn.random()) * 0.95 * writes / kills)
        killed = folder / f"killed_{n}"
        first = fork(lambda n=n, killed=killed: sweep(killed, n))
        second = fork(lambda killed=killed: sweep(killed))
        same = second == 0 and fork(lambda killed=killed: compare(killed, reference)) == 0
        line = {"n": n, "of": writes, "killed": first == -signal.SIGKILL, "again": second, "same": same}
        if not same:
            line["said"] = (folder / f"{killed.name}.txt").read_text()[-3000:]
        print(json.dumps(line), flush=True)  # noqa: T201
        shutil.rmtree(killed, ignore_errors=same)


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(Path(sys.argv[1]).resolve(), int(sys.argv[2]))
