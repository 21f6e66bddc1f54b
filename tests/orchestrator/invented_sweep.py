"""A finished sweep in a real MLflow store, its numbers invented: the reading side needs no training."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from orchestrator.colors import look
from search_spaces import Cell, Trial
from trainables.record.predictions import PREDICTIONS, Predictions

QUESTION = "Which pruner keeps the most accuracy, at which compression?"
EPOCHS = 3
DECAY = {"random": 0.9, "magnitude": 0.5, "snip": 0.4, "grasp": 0.45, "synflow": 0.3}  # of accuracy with compression
SLOPE = {"random": 0.0, "magnitude": 1.6, "snip": 1.2, "grasp": 0.4, "synflow": 0.8}  # of density with depth


@dataclass(frozen=True)
class Store:
    """Where the sweep lies, and what was logged: fingerprint -> metrics of the finished trials."""

    folder: Path
    uri: str
    logged: dict[str, dict[str, float]]
    failed: Cell
    missing: Cell


def build(
    folder: Path,
    name: str = "small",
    architectures: Sequence[str] = ("vgg16-bn", "resnet20"),
    pruners: Sequence[str] = ("random", "snip", "synflow"),
    compressions: Sequence[float] = (1, 2, 10),
    seeds: Sequence[int] = (0, 1),
    layers: int = 5,
    predictions: bool = False,
    masks: bool = False,
) -> Store:
    """Log the grid as an experiment of the folder's store; its last cell but one has failed, its last was never run.

    With `predictions` each run stores them, as runs of earlier versions do not; with `masks` too.
    """
    from mlflow import MlflowClient

    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(uri)
    experiment = client.create_experiment(name, artifact_location=(folder / "artifacts").as_uri())
    cells, trials = _grid(architectures, pruners, compressions, seeds)
    failed, missing = cells[-2:]
    parent = log_plan(client, experiment, name, cells, trials, QUESTION)
    logged: dict[str, dict[str, float]] = {}
    for key, trial in trials.items():
        if key == missing.fingerprint:
            continue
        run = _start(client, experiment, parent, name, trial)
        if key == failed.fingerprint:
            client.set_tag(run, "error", "RuntimeError: the loss is not finite in epoch 2")
            client.set_terminated(run, "FAILED")
        else:
            logged[key] = _finish(client, run, trial, layers)
            if predictions:
                _predict(client, run, trial, logged[key]["final/top1"])
            if masks:
                _log_masks(client, run, trial, layers)
    client.set_terminated(parent)
    return Store(folder, uri, logged, failed, missing)


def log_plan(
    client: Any, experiment: str, space: str, cells: Sequence[Cell], trials: Mapping[str, Trial], description: str
) -> str:
    """A sweep's parent run, as the driver leaves it."""
    tags = {"kind": "sweep", "space": space, "command": f"{space} --tracking-uri http://me:secret@host"}
    run = client.create_run(experiment, tags=tags).info.run_id
    plan = {
        "space": space,
        "description": description,
        "varied": ["architecture", "pruner", "compression", "seed"],
        "cells": [cell.model_dump(mode="json") for cell in cells],
        "trials": {key: trial.model_dump(mode="json") for key, trial in trials.items()},
    }
    client.log_dict(run, plan, "plan.json")
    return str(run)


def _grid(
    architectures: Sequence[str], pruners: Sequence[str], compressions: Sequence[float], seeds: Sequence[int]
) -> tuple[list[Cell], dict[str, Trial]]:
    cells, trials = [], {}
    for architecture, pruner, compression, seed in product(architectures, pruners, compressions, seeds):
        record: dict[str, Any] = {"dataset": "cifar10", "architecture": architecture, "seed": seed, "epochs": EPOCHS}
        if compression > 1:
            record |= {"pruner": pruner, "compression": compression}
        trial = Trial(**record)
        trials[trial.fingerprint] = trial
        cells.append(
            Cell(
                dataset="cifar10",
                architecture=architecture,
                pruner=pruner,
                compression=compression,
                seed=seed,
                fingerprint=trial.fingerprint,
            )
        )
    return cells, trials


def _start(client: Any, experiment: str, parent: str, space: str, trial: Trial) -> str:
    from mlflow.entities import Param

    tags = {
        "kind": "trial",
        "fingerprint": trial.fingerprint,
        "config": trial.config,
        "space": space,
        "git_commit": "0123abc",
        "mlflow.parentRunId": parent,
        "mlflow.runColor": look(trial.pruner).color,
    }
    run = client.create_run(experiment, tags=tags, run_name=trial.name).info.run_id
    client.log_batch(run, params=[Param(key, value) for key, value in trial.params().items()])
    return str(run)


def _finish(client: Any, run: str, trial: Trial, layers: int) -> dict[str, float]:
    from mlflow.entities import Metric, RunTag

    dice = random.Random(trial.fingerprint)
    steep = DECAY.get(trial.pruner, 0) * math.log10(trial.compression) ** 2
    table = _layers(trial, layers)
    collapsed = any(row[3] == 0 for row in table["data"])
    top1 = 0.1 if collapsed else max(0.1, 0.935 - 0.25 * steep + dice.gauss(0, 0.004))
    params, kept = (sum(row[i] for row in table["data"]) for i in (2, 3))
    macs, macs_kept = (sum(row[i] for row in table["data"]) for i in (5, 6))
    once = {
        "final/top1": top1,
        "final/top5": min(1.0, top1 + 0.06),
        "final/loss": -math.log(top1),
        "best/top1": top1 + 0.002,
        "model/params": params,
        "model/params_kept": kept,
        "model/compression": trial.compression,
        "model/macs": macs,
        "model/macs_kept": macs_kept,
        "model/latency_ms": 3 + dice.random(),
        "model/speedup": trial.compression**0.2,
        "model/peak_mb": 20 + 10 / trial.compression,
        "cost/training_macs": 3 * EPOCHS * 50_000 * macs / trial.compression,
        "cost/dense_training_macs": 3 * EPOCHS * 50_000 * macs,
        "prune/empty_layers": sum(row[3] == 0 for row in table["data"]),
        "time/prune_seconds": 0.5 + dice.random(),
        "time/total_seconds": 60.0,
    }
    now = int(time.time() * 1000)
    metrics = [Metric(key, value, now, 0) for key, value in once.items()]
    for epoch in range(1, EPOCHS + 1):
        metrics += [Metric("test/top1", top1 * (1 - 0.5**epoch), now, epoch)]
        metrics += [Metric("train/loss", 2.3 * 0.6**epoch, now, epoch)]
    for index, row in enumerate(table["data"]):
        metrics += [Metric("profile/density", row[4], now, index), Metric("profile/macs_kept", row[6], now, index)]
    client.log_batch(run, metrics=metrics, tags=[RunTag("collapsed", "true" if collapsed else "false")])
    client.log_dict(run, table, "layers.json")
    client.log_dict(run, {"layers": _histograms(table)}, "histograms.json")
    if trial.pruner != "dense":
        client.log_dict(run, {"layers": _scores(table)}, "scores.json")
    client.set_terminated(run)
    return once


def _predict(client: Any, run: str, trial: Trial, top1: float, images: int = 1000) -> None:
    """Log predictions in which images that are hard for one network are hard for the others too."""
    noise = np.random.default_rng(int(trial.fingerprint, 16)).normal(0, 0.3, images)
    easiest_first = np.argsort(np.random.default_rng(0).normal(0, 1, images) + noise)
    right = np.zeros(images, dtype=bool)
    right[easiest_first[: round(top1 * images)]] = True
    with TemporaryDirectory() as folder:
        file = Path(folder) / PREDICTIONS
        file.write_bytes(Predictions("cifar10", "0123", right, right, np.zeros(images, dtype=np.int64)).to_bytes())
        client.log_artifact(run, str(file))


def _log_masks(client: Any, run: str, trial: Trial, layers: int, shape: tuple[int, ...] = (12, 8, 3, 3)) -> None:
    """Log masks of small layers with the densities of the trial's layers, in another order than these have."""
    dice = np.random.default_rng(int(trial.fingerprint, 16))
    masks = {row[0]: dice.random(shape) < row[4] for row in _layers(trial, layers)["data"]}
    with TemporaryDirectory() as folder:
        file = Path(folder) / "masks.safetensors"
        save_file(dict(reversed(masks.items())), file)
        client.log_artifact(run, str(file))


def _layers(trial: Trial, count: int) -> dict[str, Any]:
    """Wide layers deep in the network, and a pruner that thins them more the steeper its slope."""
    columns = ["layer", "shape", "params", "kept", "density", "macs", "macs_kept", "score_mean", "score_std"]
    data = []
    for index in range(count):
        depth = index / max(1, count - 1)
        params = int(2000 * 40**depth)
        density = min(1.0, 1 / trial.compression * 10 ** (SLOPE.get(trial.pruner, 0) * (0.5 - depth)))
        kept = round(params * density)
        if trial.pruner == "random" and trial.compression >= 10 and index == 0 and trial.seed == 0:
            kept = 0
        macs = params * (1024 if depth < 0.5 else 64)
        shape = [10 if index == count - 1 else 64, 64, 3, 3]
        name = f"layers.{index}.conv.weight" if index < count - 1 else "head.weight"
        data.append([name, shape, params, kept, kept / params, macs, macs * kept / params, 0.0, 1.0])
    return {"columns": columns, "data": data}


def _scores(table: dict[str, Any], bins: int = 41) -> list[dict[str, Any]]:
    """A hump over log10 |score|, deeper layers lower."""
    counts = [round(100 * math.exp(-(((i - 25) / 8) ** 2))) for i in range(bins)]
    return [
        {"layer": row[0], "edges": [-4 - i / 2 + j / 20 for j in range(bins + 1)], "counts": counts, "zeros": 0}
        for i, row in enumerate(table["data"])
    ]


def _histograms(table: dict[str, Any], bins: int = 41) -> list[dict[str, Any]]:
    """Gaussian weights with a gap around zero that grows as the layer is thinned."""
    entries = []
    for row in table["data"]:
        name, kept, density, sigma = row[0], row[3], row[4], 0.3 / math.sqrt(row[2] / 1000)
        limit = 4 * sigma
        edges = [-limit + 2 * limit * i / bins for i in range(bins + 1)]
        heights = []
        for a, b in pairwise(edges):
            x = (a + b) / 2 / sigma
            heights.append(math.exp(-x * x / 2) * (1 - (1 - density) * math.exp(-((x / 0.8) ** 2))))
        counts = [round(kept * height / sum(heights)) for height in heights]
        entries.append({"layer": name, "edges": edges, "counts": counts})
    return entries
