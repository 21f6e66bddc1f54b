"""FPGM: the filter that is nearest to all others of its layer is the first to be removed."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pruners.pruner import Batch, Pruner
from pruners.weights import joined, layers, per_layer, prunable


def score(model: nn.Module, batches: Sequence[Batch], *, mode: str, generator: torch.Generator) -> dict[str, Tensor]:
    """Return, for every weight, Σ_j ‖F_i - F_j‖₂ of its filter i, over the filters j of the layer (He et al. 2019).

    That is equation 7, which ranks filters by their distance to the geometric median (equation 4). Filters that are
    all zero were pruned, and do not count among the others. Scores are float64.
    """
    parts = layers(model)
    weights = {name: weight.detach() for name, weight in prunable(model).items()}
    return joined({layer: _distances(weight) for layer, weight in per_layer(weights, parts).items()}, parts)


def _distances(weight: Tensor) -> Tensor:
    rows = weight.flatten(1).double()
    # Not by the inner products of rows, which cancel where two filters are nearly equal.
    sums = torch.cdist(rows, rows[rows.any(1)], compute_mode="donot_use_mm_for_euclid_dist").sum(1)
    return sums.view(-1, *[1] * (weight.dim() - 1)).expand(weight.shape).contiguous()


# Sums of distances grow with the size and the number of a layer's filters, so that layers cannot be compared by them.
FPGM = Pruner(
    score=score,
    summary="the distance of a filter to all others of its layer: what is nearest to the geometric median goes",
    paper="He et al. 2019, Filter Pruning via Geometric Median for Deep Convolutional Neural Networks Acceleration",
    uses_mode=False,
    whole_filters=True,
    scope="layer",
    when="after",
)
