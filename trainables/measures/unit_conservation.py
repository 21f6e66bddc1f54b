"""Conservation at hidden units: the total score of incoming weights, and that of outgoing weights."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from pruners import layer_weights
from pruners.channels import PrunableLayer, trace_channels
from trainables.measures.measure import Found, Measure, Save, TableRow
from trainables.training.trainer import Trainer

COLUMNS = ("layer", "unit", "score_in", "score_out")


def find(on: Trainer, saved: Mapping[str, Any], save: Save) -> Found:
    """Return the total score of each hidden unit's incoming and of its outgoing weights, before anything is pruned.

    For scores of the form w · dR/dw the two are equal if activations are homogeneous and biases are zero (Tanaka et al.
    2020, theorem 1). Biases do not compete and have no score here; they are zero at initialisation in the published
    networks. The error of a unit is the difference of the two, as a share of the larger.
    """
    rows = units(on.model, on.find(1, at_once=True).scores)
    if not rows:
        raise ValueError(
            "the network has no hidden unit that exactly one prunable layer computes and another prunable layer uses"
        )
    errors = [_error(come, gone) for _, _, come, gone in rows]
    return Found(COLUMNS, rows, {"conservation/error": max(errors), "conservation/median_error": median(errors)})


def units(model: nn.Module, scores: Mapping[str, Tensor]) -> list[TableRow]:
    """Return a row for each channel that only one layer writes and others read: layer, number, score in, score out.

    Channels of a residual stream, which several layers write, are no units of their own.

    Raises:
        UnfollowableError: if it cannot be determined which layer reads which channel.
    """
    known = trace_channels(model)
    names = {id(weight): name for name, weight in layer_weights(model).items()}
    count = len(known.fixed)
    come, gone = torch.zeros(2, count, dtype=torch.float64)
    writers, readers = torch.zeros(2, count, dtype=torch.int64)
    unknown = known.fixed.clone()
    for layer, groups in known.outputs.items():
        if isinstance(layer, PrunableLayer):
            writers.index_add_(0, groups, torch.ones_like(groups))
            _add(come, unknown, groups, scores.get(names[id(layer.weight)]), axis=0)
    for layer, groups in known.inputs.items():
        if getattr(layer, "groups", 1) == 1:  # otherwise it writes the channels that it reads, so they have two writers
            readers.index_add_(0, groups, torch.ones_like(groups))
            _add(gone, unknown, groups, scores.get(names[id(layer.weight)]), axis=1)
    hidden = (writers == 1) & (readers > 0) & ~unknown
    return [
        [names[id(layer.weight)], unit, float(come[group]), float(gone[group])]
        for layer, groups in known.outputs.items()
        if isinstance(layer, PrunableLayer)
        for unit, group in enumerate(groups.tolist())
        if hidden[group]
    ]


def _add(totals: Tensor, unknown: Tensor, groups: Tensor, score: Tensor | None, axis: int) -> None:
    """Add each channel's share of a layer's score; mark the channels of a layer without one, kept dense, as unknown."""
    if score is None:
        unknown[groups] = True
    else:
        totals.index_add_(0, groups, score.detach().double().cpu().movedim(axis, 0).flatten(1).sum(1))


def _error(come: float, gone: float) -> float:
    return abs(come - gone) / (max(abs(come), abs(gone)) or 1)


def check(model: nn.Module) -> None:
    """Raise UnfollowableError, a ValueError, for a network whose channels cannot be followed."""
    trace_channels(model)


UNIT_CONSERVATION = Measure(
    find=find,
    summary="the score of each hidden unit's incoming and of its outgoing weights",
    paper="Tanaka et al. 2020, Pruning neural networks without any data by iteratively conserving synaptic flow",
    ignores=frozenset({"compression", "schedule", "iterations", "scope"}),
    check=check,
)
