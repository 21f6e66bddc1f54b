"""What a trial costs besides itself when there are many: planning, dispatch by Ray Tune, delivery to MLflow.

    python -m benchmarks.scale [--trials 100 1000 10000]

Trials are made up: each waits a little and records what a short trial would, so only the orchestration is measured.
Every size runs in a process of its own, from an empty folder to the last run FINISHED in MLflow. The ratio is what a
trial takes at the largest size, planning included, over what it takes at the smallest; each size is told too.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.rows import cost

SECONDS = 0.02  # of a trial; a real one takes a second at least, so this is harder than the real thing
SLOTS = 4
CURVES = ("train/loss", "train/top1", "test/loss", "test/top1", "test/top5", "time/epoch_seconds")
ONCE = (
    "final/top1",
    "final/loss",
    "best/top1",
    "model/params",
    "model/params_kept",
    "model/macs",
    "time/total_seconds",
)


def made_up(point: Mapping[str, Any], place: Any, *_: Any) -> None:
    """Stand for `trainables.on_ray.trial.ray_trial`."""
    from ray import tune  # not before its environment is prepared

    from trainables.record.event_log import EventLog

    fingerprint = point["fingerprint"]
    folder = place.storage / fingerprint
    folder.mkdir(parents=True)
    time.sleep(SECONDS)
    outbox = EventLog(folder)
    outbox.params({"pruner": "random"})
    outbox.metrics(dict.fromkeys(CURVES, 0.5), 1)
    outbox.metrics(dict.fromkeys(ONCE, 0.5))
    outbox.end("finished")
    outbox.close()
    tune.report({"fingerprint": fingerprint, "end": "finished", "error": "", "epoch": 0})


def measure(n: int, folder: Path) -> None:
    """Run `n` made-up trials; print a line on that to stderr, and the seconds that each took to stdout."""
    from mlflow import MlflowClient

    from orchestrator import environment

    environment.prepare_ray(None)  # before anything imports Ray
    from orchestrator import ray_driver
    from orchestrator.live.interrupt import Stop
    from orchestrator.live.trial_records import Records
    from orchestrator.live.trial_sources import TrialList
    from orchestrator.live.uploader import Uploader
    from orchestrator.planning.plan import plan
    from orchestrator.planning.resources import Resources
    from orchestrator.ray_driver import tune
    from orchestrator.tracking.experiment import create
    from search_spaces import load
    from trainables.context import Place

    started = time.perf_counter()
    grid = {"pruner": ["random", "magnitude", "snip", "grasp", "synflow"], "compression": [2, 4, 8, 16, 32]}
    recipe = {"name": "scale", "dataset": "digits", "architecture": ["mlp", "conv"], "epochs": 1}
    planned = plan(load(recipe | grid | {"seed": list(range(n // 50))}))
    planning = time.perf_counter() - started

    uri = f"sqlite:///{folder / 'mlflow.db'}"
    place = Place(storage=folder / "checkpoints", cache=folder / "data")
    resources = Resources(cpus=(_cores() / SLOTS))
    tune.ray_trial = made_up  # type: ignore[assignment]
    with ray_driver.connected(None, resources, folder, uri):
        book = create(uri, "scale", folder / "artifacts")
        parent = book.start_sweep(planned, "scale")
        trials = {trial.fingerprint: trial for trial in planned.trials}
        watch = Uploader(book, trials, Records(place.storage), parent, lambda *_: None, lambda *_: None)
        started = time.perf_counter()
        watch.start()
        ray_driver.run_on_ray(TrialList(planned.trials), place, resources, watch, folder / ".tune", Stop())
        dispatched = time.perf_counter() - started
        waiting = watch.close(3600)
        delivered = time.perf_counter() - started
    client = MlflowClient(uri)
    found = client.get_experiment_by_name("scale")
    assert found is not None and not waiting
    counts: Counter[str] = Counter()
    token = None
    while token != "":
        page = client.search_runs([found.experiment_id], "tags.kind = 'trial'", max_results=5000, page_token=token)
        counts.update(run.info.status for run in page if len(run.data.metrics) == len(CURVES) + len(ONCE))
        token = page.token or ""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{n:6d} trials: planned in {planning:5.1f} s, dispatched {1000 * dispatched / n:5.0f} ms each, delivered "
        f"{1000 * delivered / n:5.0f} ms each ({delivered:.0f} s), driver {memory:.2f} GiB, MLflow {dict(counts)}",
        file=sys.stderr,
    )
    print((planning + delivered) / n)


def _cores() -> int:
    import os

    return os.cpu_count() or 1


def main() -> None:
    """Measure each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        with tempfile.TemporaryDirectory() as folder:
            measure(args.one, Path(folder))
        return
    seconds = []
    for n in args.trials:
        command = [sys.executable, "-m", "benchmarks.scale", "--one", str(n)]
        # What Ray says on the way comes before.
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        seconds.append(float(told.split()[-1]))
    each = ", ".join(f"{n}: {1000 * took:.0f}" for n, took in zip(args.trials, seconds, strict=True))
    print(
        cost(f"scale, ms a trial at the largest / at the smallest sweep ({each})", [seconds[-1] / seconds[0]], held=1.1)
    )


if __name__ == "__main__":
    main()
