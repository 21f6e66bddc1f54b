"""Conservation at layers: their average score against their inverse size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainables.inverse_size_fit import inverse
from trainables.measures.measure import Found, Measure, Save
from trainables.training.trainer import Trainer

COLUMNS = ("layer", "weights", "total", "average")


def find(on: Trainer, saved: Mapping[str, Any], save: Save) -> Found:
    """Return the total score of each layer and its average over the layer's weights, before anything is pruned.

    If all layers have the same total, the average is inversely proportional to the size, so that a global threshold
    empties the largest layer first (Tanaka et al. 2020, theorem 2 and section 4). The error is the difference between
    the largest and the smallest total, as a share of the largest; totals count by their absolute value.
    """
    scores = on.find(1, at_once=True).scores
    totals = {name: abs(float(score.double().sum())) for name, score in scores.items()}
    sizes = {name: score.numel() for name, score in scores.items()}
    averages = {name: totals[name] / size for name, size in sizes.items()}
    error = (max(totals.values()) - min(totals.values())) / (max(totals.values()) or 1)
    return Found(
        COLUMNS,
        [[name, size, totals[name], averages[name]] for name, size in sizes.items()],
        {"conservation/error": error, **inverse(list(sizes.values()), list(averages.values()))},
    )


LAYER_CONSERVATION = Measure(
    find=find,
    summary="each layer's average score against its inverse size",
    paper="Tanaka et al. 2020, Pruning neural networks without any data by iteratively conserving synaptic flow",
    ignores=frozenset({"compression", "schedule", "iterations", "scope"}),
)
