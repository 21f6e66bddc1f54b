"""A training by CUDA graphs against the same step by step, and against one that was interrupted: bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gpu import dropout_network
from benchmarks.gpu.harness import GRAPH, Ran, Result, Setting, judged, step_by_step, unequal

EPOCHS = 3
FEW = ("dropout", "rigl", "compacted, Adam")  # with a pretended GPU; tests/gpu/inside has the others
STOPPED = 2  # after which epoch the third of three runs is interrupted


def kinds(setting: Setting) -> dict[str, dict[str, Any]]:
    """Return the fields of a trial for each way of training."""
    interval = 2 if setting.small else 7
    own = Path(dropout_network.__file__)
    small_layers: dict[str, Any] = {"pruner": "synflow", "mode": "eval", "schedule": "exponential", "iterations": 5}
    return {
        "SGD": {},
        "Adam": {"optimizer": "adam", "lr": 0.001},
        "average, accumulate": {"ema": 0.9, "accumulate": 2},
        "bfloat16": {"precision": "bfloat16"},
        "tf32": {"precision": "tf32"},
        "dropout": {"architecture": f"{own.name}:build", "architecture_code": own.read_text(encoding="utf-8")},
        "gradual": {"pruner": "gradual", "schedule": "cubic", "iterations": 3},
        "set": {"pruner": "set", "scope": "erk", "options": {"interval": interval}},
        "rigl": {"pruner": "rigl", "scope": "erk", "options": {"interval": interval}},
        "compacted": small_layers | {"compression": 100.0},
        "compacted, Adam": small_layers | {"compression": 50.0, "optimizer": "adam", "lr": 0.001},
    }


def graphs(setting: Setting) -> Iterator[Result]:
    """Every way of training: by graphs, step by step, and interrupted, with equal weights and masks."""
    for name, fields in kinds(setting).items():
        if setting.small and name not in FEW:
            continue
        yield _compare(setting, name, fields)


def _compare(setting: Setting, name: str, fields: dict[str, Any]) -> Result:
    trial = setting.trial(**{"epochs": EPOCHS} | fields)
    row = f"graphs: {name}"
    graph = setting.run(trial, f"graph {name}")
    with step_by_step():
        eager = setting.run(trial, f"eager {name}")
    asked = 0

    def stop() -> bool:  # asked before the trial, and after each epoch
        nonlocal asked
        asked += 1
        return asked > STOPPED

    first = setting.run(trial, f"resumed {name}", stop, save_seconds=0)
    resumed = setting.run(trial, f"resumed {name}", save_seconds=0)
    if first.outcome.end != "interrupted":
        return Result(row, "FAIL", f"not interrupted: {first.end}")
    for ran in (graph, eager, resumed):
        if ran.outcome.end != "finished":
            return Result(row, "FAIL", f"{ran.folder.parent.name}: {ran.end}")
    plain, interrupted = _unequal(graph, eager), _unequal(graph, resumed)
    captured = graph.stepped == GRAPH and resumed.stepped == GRAPH and eager.stepped != GRAPH
    small = name.startswith("compacted")
    figures = [graph.stepped if graph.stepped != GRAPH else f"graph {graph.speed}, step by step {eager.speed}"]
    figures += [f"numbers that differ: step by step {plain}, resumed {interrupted}"]
    figures += [f"loss {graph.metrics['final/loss']:.4f}"]
    figures += [graph.tags["trained"]] if small else []
    used = graph.tags.get("precision", "")
    figures += [used] if used != trial.precision else []
    whole = small and not graph.tags["trained"].startswith("compacted")
    return judged(row, captured and not whole and plain == interrupted == 0, "; ".join(figures))


def _unequal(some: Ran, others: Ran) -> int:
    """Return how many weights and masks differ in any bit."""
    files = ("weights.safetensors", "masks.safetensors")
    return sum(abs(unequal(some.tensors(file), others.tensors(file))) for file in files)
