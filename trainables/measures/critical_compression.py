"""Critical compression: how far a pruner can prune before it empties a layer and cuts the network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pruners import prunable, select
from search_spaces.density import density_of
from trainables.measures.measure import Found, Measure, Save, TableRow, pause
from trainables.training.trainer import Trainer

STEP = 0.25  # of the decimal logarithm of the compression, as published
COLUMNS = ("compression", "layer", "weights", "kept")


def find(on: Trainer, saved: Mapping[str, Any], save: Save) -> Found:
    """Count the weights that each layer keeps at 1x, 10^0.25x, 10^0.5x, …, while there is a weight for each layer.

    No method can go further without emptying a layer: weights / layers is the largest possible compression (Tanaka et
    al. 2020, section 3). Scores that do not depend on what is pruned are computed once; iterative pruners prune anew at
    each compression. The critical compression is the last one before the first at which a layer is empty. With few
    weights left, even a hundred iterations may cut more than the flow at once, so that SynFlow can lose a layer at one
    compression and none at the next.
    """
    trial = on.trial
    weights = {name: weight.numel() for name, weight in prunable(on.model).items()}
    rows: list[TableRow] = list(saved.get("rows", []))
    limit = sum(weights.values()) / len(weights)
    scan = scanned_compressions(limit)
    left = scan[len(rows) // len(weights) :]
    scores = on.find(1, at_once=True).scores if trial.iterations == 1 and left else {}
    for compression in left:
        masks = select(scores, density_of(compression), scope=trial.scope) if scores else on.find(compression).masks
        rows += [[compression, name, weights[name], int(mask.count_nonzero())] for name, mask in masks.items()]
        pause(on, rows, save)
    return Found(COLUMNS, rows, {"critical/compression": critical(rows), "critical/maximum": limit})


def scanned_compressions(limit: float) -> list[float]:
    """Return the compressions of the scan, from 1 up to at most `limit`."""
    steps = [1.0]
    while (wider := 10.0 ** (STEP * len(steps))) <= limit:
        steps.append(wider)
    return steps


def critical(rows: list[TableRow]) -> float:
    """Return the largest compression up to which no layer is empty."""
    first_empty: float = min((compression for compression, _, _, kept in rows if kept == 0), default=math.inf)
    return max(float(compression) for compression, *_ in rows if compression < first_empty)


CRITICAL_COMPRESSION = Measure(
    find=find,
    summary="the largest compression before a layer is empty, and what each layer keeps",
    paper="Tanaka et al. 2020, Pruning neural networks without any data by iteratively conserving synaptic flow",
    ignores=frozenset({"compression"}),
)
