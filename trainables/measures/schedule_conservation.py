"""Share of the flow that each pruning iteration cuts: the reason to prune in many small steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from pruners import densities
from search_spaces.density import density_of
from trainables.measures.measure import Found, Measure, Save, TableRow
from trainables.training.trainer import Trainer

COLUMNS = ("iteration", "density", "cut", "flow", "ratio")


def find(on: Trainer, saved: Mapping[str, Any], save: Save) -> Found:
    """Return for each iteration the total score of the weights that it prunes, the network's flow, and their ratio.

    While the ratio is below 1, no iteration can have cut all paths, so that no layer is lost. With many iterations of
    an exponential schedule it is below 1 (Tanaka et al. 2020, theorem 3 and figure 7). The flow is the total score of a
    layer that all paths cross. If biases are zero no layer has more, so it is the largest of the layers' totals.
    """
    trial = on.trial
    masks: dict[str, Tensor] = {}
    rows: list[TableRow] = []
    for iteration, density in enumerate(densities(trial.schedule, density_of(trial.compression), trial.iterations), 1):
        step = on.find(1 / density, masks, at_once=True)
        flow = max(float(score.double().sum()) for score in step.scores.values())
        cut = sum(float((score.double() * ~step.masks[name]).sum()) for name, score in step.scores.items())
        rows.append([iteration, float(density), cut, flow, cut / flow if flow else 0.0])
        masks = step.masks
    return Found(COLUMNS, rows, {"conservation/cut_to_flow": max(ratio for *_, ratio in rows)})


SCHEDULE_CONSERVATION = Measure(
    find=find,
    summary="the largest share of the network's flow that an iteration of pruning cuts",
    paper="Tanaka et al. 2020, Pruning neural networks without any data by iteratively conserving synaptic flow",
)
