"""An MLflow store of a finished sweep of any size, its numbers invented: rows written straight into the database."""

from __future__ import annotations

import json
import math
import random
import sqlite3
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from safetensors.numpy import save_file

from orchestrator.colors import look
from search_spaces import Cell, Trial

ARCHITECTURES = ("vgg16-bn", "resnet20", "resnet18", "vgg11-bn")
PRUNERS = {"random": 1.6, "magnitude": 1.0, "snip": 0.8, "grasp": 0.9, "synflow": 0.5, "iter-snip": 0.7, "force": 0.6,
           "ntk-sap": 0.55, "prospr": 0.65, "phew": 0.75}  # name: how fast accuracy falls  # fmt: skip
COMPRESSIONS = (2, 3, 5, 10, 15, 20, 50, 100, 200, 500)
LAYERS = 20
CURVES = ("train/loss", "train/top1", "test/loss", "test/top1", "test/top5", "time/epoch_seconds")


def build(folder: Path, name: str, trials: int, epochs: int, remote: bool, masks: bool = False) -> str:
    """Make `mlflow.db` and `artifacts/` in `folder`; `remote`: artifacts are asked of the server. Returns the URI."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(uri)
    root = "mlflow-artifacts:/" if remote else (folder / "artifacts").resolve().as_uri() + "/"
    experiment = client.create_experiment(name, artifact_location=root + "1")
    cells, records = _grid(trials, epochs)
    plan = {
        "space": name,
        "description": "Invented numbers, to measure the report.",
        "cells": [cell.model_dump(mode="json") for cell in cells],
        "trials": {key: record.model_dump(mode="json") for key, record in records.items()},
    }
    with sqlite3.connect(folder / "mlflow.db") as database:
        artifacts = folder / "artifacts" / "1"
        sweep = _run(database, experiment, root, f"sweep {name}", {"kind": "sweep", "space": name})
        _json(artifacts, sweep, "plan.json", plan)
        for record in records.values():
            tags = {"kind": "trial", "fingerprint": record.fingerprint, "config": record.config, "space": name,
                    "collapsed": "false", "mlflow.parentRunId": sweep,
                    "mlflow.runColor": look(record.pruner).color}  # fmt: skip
            run = _run(database, experiment, root, record.name, tags)
            params = [(key, value, run) for key, value in record.params().items()]
            database.executemany("INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)", params)
            _metrics(database, run, record)
            for file, content in _files(record).items():
                _json(artifacts, run, file, content)
            if masks:
                dice = np.random.default_rng(int(record.fingerprint, 16))
                layers = {f"layers.{i}.weight": dice.random((64, 64, 3, 3), dtype=np.float32) < density
                          for i, density in enumerate(_densities(record))}  # fmt: skip
                save_file(layers, artifacts / run / "artifacts" / "masks.safetensors")
    return uri


def _grid(trials: int, epochs: int) -> tuple[list[Cell], dict[str, Trial]]:
    seeds = math.ceil(trials / (len(ARCHITECTURES) * len(PRUNERS) * len(COMPRESSIONS)))
    cells, records = [], {}
    for seed, architecture, pruner, compression in product(range(seeds), ARCHITECTURES, PRUNERS, COMPRESSIONS):
        if len(cells) < trials:
            place = {"dataset": "cifar10", "architecture": architecture, "pruner": pruner, "seed": seed}
            record = Trial(**place, compression=compression, epochs=epochs)  # type: ignore[arg-type]
            records[record.fingerprint] = record
            cells.append(Cell(**place, compression=compression, fingerprint=record.fingerprint))  # type: ignore[arg-type]
    return cells, records


def _run(database: sqlite3.Connection, experiment: str, root: str, name: str, tags: dict[str, str]) -> str:
    run = uuid4().hex
    values = (
        run,
        name,
        "UNKNOWN",
        "",
        "",
        "bench",
        "FINISHED",
        1,
        2,
        "",
        "active",
        f"{root}1/{run}/artifacts",
        experiment,
    )
    database.execute(
        "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, "
        f"end_time, source_version, lifecycle_stage, artifact_uri, experiment_id) VALUES ({','.join('?' * 13)})",
        values,
    )
    database.executemany(
        "INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", [(key, value, run) for key, value in tags.items()]
    )
    return run


def _metrics(database: sqlite3.Connection, run: str, trial: Trial) -> None:
    """A curve per epoch and key, a profile per layer, and the numbers that are logged once."""
    top1, dice = _top1(trial), random.Random(trial.fingerprint)
    points = [
        (key, top1 * (1 - 0.97**epoch) + 0.01 * dice.random(), 1000 + epoch, run, epoch)
        for key in CURVES
        for epoch in range(1, trial.epochs + 1)
    ]
    for step, density in enumerate(_densities(trial)):
        points += [("profile/density", density, 1, run, step), ("profile/macs_kept", 1e7 * density, 1, run, step)]
    kept = trial.density
    once = {
        "final/top1": top1, "final/top5": min(1, top1 + 0.05), "final/loss": 1 - top1, "best/top1": top1 + 0.002,
        "model/params": 737_280.0, "model/params_kept": 737_280 * kept, "model/compression": trial.compression,
        "model/macs": 3.1e8, "model/macs_kept": 3.1e8 * kept**0.7, "model/macs_compacted": 3e8,
        "model/params_compacted": 14e6, "model/latency_ms": 5 + 10 * kept**0.5 + dice.random(),
        "model/speedup": kept**-0.2, "model/speedup_spread": 0.1, "model/latency_inputs": 64, "model/peak_mb": 300,
        "model/file_mb": 58, "time/prune_seconds": 3 + dice.random(), "time/train_seconds": 900,
        "time/total_seconds": 910, "prune/empty_layers": 0, "prune/effective_density": kept, "prune/zero_scores": 0,
        "prune/dead_weights": 0,
    }  # fmt: skip
    points += [(key, value, 2000, run, 0) for key, value in once.items()]
    database.executemany(
        "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, ?, ?, ?, 0)", points
    )
    last = list({point[0]: point for point in points}.values())
    database.executemany(
        "INSERT INTO latest_metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, ?, ?, ?, 0)", last
    )


def _top1(trial: Trial) -> float:
    noise = random.Random(trial.fingerprint).gauss(0, 0.003)
    return max(0.1, 0.935 - 0.03 * PRUNERS[trial.pruner] * math.log(trial.compression) ** 1.5 + noise)


def _densities(trial: Trial) -> Iterator[float]:
    for layer in range(LAYERS):
        yield min(1.0, trial.density * 3 ** (1 - 2 * layer / LAYERS))


def _files(trial: Trial) -> dict[str, Any]:
    columns = ["layer", "shape", "params", "kept", "density", "macs", "macs_kept", "score_mean", "score_std"]
    names = [f"layers.{i}.weight" for i in range(LAYERS)]
    data = [
        [name, "10×512" if name == names[-1] else "64×64×3×3", 36864, round(36864 * density), density, 1e7,
         1e7 * density, 0.1, 0.2]
        for name, density in zip(names, _densities(trial), strict=True)
    ]  # fmt: skip
    counts = [round(100 * math.exp(-((i - 20) ** 2) / 60)) for i in range(41)]
    bins = [{"layer": n, "edges": [i / 20 - 1 for i in range(42)], "counts": counts, "zeros": 0} for n in names]
    return {"layers.json": {"columns": columns, "data": data}, "histograms.json": {"layers": bins},
            "scores.json": {"layers": bins}}  # fmt: skip


def _json(root: Path, run: str, name: str, content: Any) -> None:
    file = root / run / "artifacts" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")
