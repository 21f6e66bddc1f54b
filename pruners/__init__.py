"""Pruning of neural networks on plain PyTorch modules: a pruner is a score, combined with a scope and a schedule.

    from pruners import prune
    masks = prune(model, "snip", compression=10, batches=[(x, y)])

`find` returns the scores too; `masking` keeps pruned weights at zero during training; `compact` makes a smaller dense
model that computes the same.
"""

from pruners.ablations import ABLATIONS
from pruners.compaction import Compacted, compact, refit
from pruners.compatibility import concerns
from pruners.errors import PruningError, PruningWarning
from pruners.granularity import GRANULARITIES
from pruners.masks import apply_masks, empty_layers, masking, put_weights
from pruners.products import mark_prunable
from pruners.prune import Pruning, find, prune
from pruners.pruner import MODES, Batch, Pruner, Settings
from pruners.reachability import connected, dead_weights, effective
from pruners.registry import PRUNERS, lookup
from pruners.schedules import SCHEDULES, densities
from pruners.scopes import SCOPES
from pruners.selection import select
from pruners.weights import dense_parameters, keep_dense, layer_weights, layers, prunable

__all__ = [
    "ABLATIONS",
    "GRANULARITIES",
    "MODES",
    "PRUNERS",
    "SCHEDULES",
    "SCOPES",
    "Batch",
    "Compacted",
    "Pruner",
    "Pruning",
    "PruningError",
    "PruningWarning",
    "Settings",
    "apply_masks",
    "compact",
    "concerns",
    "connected",
    "dead_weights",
    "dense_parameters",
    "densities",
    "effective",
    "empty_layers",
    "find",
    "keep_dense",
    "layer_weights",
    "layers",
    "lookup",
    "mark_prunable",
    "masking",
    "prunable",
    "prune",
    "put_weights",
    "refit",
    "select",
]
