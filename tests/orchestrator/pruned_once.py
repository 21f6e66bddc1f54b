"""A sweep that only pruned, and the plans of spaces that train its masks."""

from __future__ import annotations

import torch

from orchestrator.planning.plan import plan
from orchestrator.results.results import read
from orchestrator.sweep import main
from search_spaces import load

RECIPE = ["dataset=digits", "architecture=mlp", "batch_size=64"]


def sweep(output, space, *overrides, **options):
    sets = [word for field in (*RECIPE, *overrides) for word in ("--set", field)]
    return main([str(space), "--local", "--output", str(output), *sets])


def rows(output, experiment):
    return read(f"sqlite:///{output / 'mlflow.db'}", experiment).rows


def prune_once(output):
    """An output folder in which two runs have pruned and one has not: its path, and the runs by compression."""
    space = output / "once.yaml"
    space.write_text("pruner: snip\ncompression: [1, 4, 16]\nepochs: 0\nseed: 1\n")
    assert sweep(output, space) == 0
    return output, {row.cell.compression: row.run_id for row in rows(output, "once")}


def planned(pruned, mask, **fields):
    output, _ = pruned
    space = load({"dataset": "digits", "architecture": "mlp", "epochs": 1, "mask": mask} | fields)
    return plan(space, cache=output / "data", tracking_uri=f"sqlite:///{output / 'mlflow.db'}")


def shapes(made):
    given = next(iter(made.masks.values()))
    return [(name, shape, torch.Size(shape).numel()) for name, shape in given.shapes.items()]
