"""A search in a real MLflow store, its numbers invented: a study per cell, and the best of each confirmed."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invented_sweep import log_plan

from search_spaces import Cell, Trial

TRIALS, SEEDS = 12, (1, 2, 3)
PLACES = [("snip", 4.0), ("synflow", 4.0)]


@dataclass(frozen=True)
class Made:
    """What was logged of a search, to compute from."""

    uri: str
    tried: dict[str, list[tuple[float, float | None]]]  # study -> learning rate, validation accuracy
    test: dict[str, dict[int, float]]  # pruner -> seed -> test accuracy of the best settings


def cell(trial: Trial, **more: Any) -> Cell:
    place = {key: getattr(trial, key) for key in ("dataset", "architecture", "pruner", "compression", "seed")}
    return Cell(**place, fingerprint=trial.fingerprint, **more)


def trial(pruner: str, compression: float, lr: float, iterations: int = 1, seed: int = 0) -> Trial:
    return Trial(dataset="digits", architecture="conv", pruner=pruner, compression=compression, lr=lr,
                 iterations=iterations, seed=seed, validation=0.2, epochs=3)  # fmt: skip


def log(client: Any, experiment: str, parent: str, one: Trial, metrics: Mapping[str, float], **tags: str) -> None:
    from mlflow.entities import Metric

    known = {"kind": "trial", "fingerprint": one.fingerprint, "mlflow.parentRunId": parent, "collapsed": "false"}
    run = client.create_run(experiment, tags=known | tags).info.run_id
    client.log_batch(run, metrics=[Metric(key, value, int(time.time() * 1000), 0) for key, value in metrics.items()])
    client.set_terminated(run, "KILLED" if "stopped" in tags else "FAILED" if "error" in tags else "FINISHED")


def plan_of(client: Any, experiment: str, found: list[tuple[Cell, Trial]], search: Mapping[str, Any]) -> str:
    parent = log_plan(client, experiment, "s", [c for c, _ in found], {t.fingerprint: t for _, t in found}, "")
    if search:
        from mlflow.artifacts import load_dict

        record = load_dict(client.get_run(parent).info.artifact_uri + "/plan.json")
        client.log_dict(parent, {**record, "search": search}, "plan.json")
    return parent


def build_search(folder: Path) -> Made:
    """A grid at a fixed learning rate; then a study per cell over learning rate and iterations, its best confirmed."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(uri)
    experiment = client.create_experiment("searched", artifact_location=(folder / "artifacts").as_uri())
    grid = [(cell(one), one) for one in (trial(*place, lr=0.1, seed=1) for place in PLACES)]
    parent = plan_of(client, experiment, grid, {})
    for _, one in grid:
        log(client, experiment, parent, one, {"final/top1": 0.5})
    values: dict[str, list[tuple[float, float | None]]] = {}
    test: dict[str, dict[int, float]] = {}
    found: list[tuple[Cell, Trial]] = []
    runs: list[tuple[Trial, dict[str, float], dict[str, str]]] = []
    for shift, (pruner, compression) in enumerate(PLACES):
        study = f"digits conv {pruner} {compression:g}x"
        for number in range(TRIALS + 2):
            lr, iterations = 0.001 * 1.4 ** ((5 * number) % 14), (1, 20, 100)[number % 3]
            one = trial(pruner, compression, lr, iterations)
            chosen = {"lr": lr, "pruner.iterations": iterations}
            found.append((cell(one, searched=chosen, role="search", study=study), one))
            top = 0.9 + 0.01 * shift - 0.05 * abs(math.log10(lr / 0.01)) + 0.0001 * iterations
            tags = {3: {"stopped": "epoch 2 by asha"}, 5: {"error": "ValueError: no"}}.get(number, {})
            values.setdefault(study, []).append((lr, None if tags else top))
            runs.append((one, {"final/validation_top1": top, "final/top1": top - 0.1}, tags))
        best = max((top, -at) for at, (_, top) in enumerate(values[study]) if top is not None)
        winner, settings = found[len(found) - (TRIALS + 2) - best[1]][1], found[len(found) - (TRIALS + 2) - best[1]][0]
        for seed in SEEDS:
            again = winner.model_copy(update={"seed": seed})
            found.append((cell(again, searched=settings.searched, study=study), again))
            test.setdefault(pruner, {})[seed] = 0.85 + 0.02 * shift + 0.003 * seed * (1 + shift)
            runs.append((again, {"final/top1": test[pruner][seed]}, {}))
    record = {"trials": TRIALS + 2, "per": "cell", "objective": ["validation/top1"], "sampler": "tpe"}
    parent = plan_of(client, experiment, found, record)
    for one, metrics, tags in runs:
        log(client, experiment, parent, one, metrics, **tags)
    return Made(uri, values, test)
