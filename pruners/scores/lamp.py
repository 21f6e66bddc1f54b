"""LAMP: squared magnitude, relative to the weights of the same layer that are at least as large."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pruners.pruner import Batch, Pruner
from pruners.weights import joined, layers, per_layer, prunable


def score(model: nn.Module, batches: Sequence[Batch], *, mode: str, generator: torch.Generator) -> dict[str, Tensor]:
    """Return w² / Σ w'², the sum over the weight and all larger ones of its layer (Lee et al. 2021, equation 1).

    The largest weight of a layer scores 1, so under the global scope no layer dies before every layer is down
    to one weight. Of equal weights the earlier counts as larger. Scores are float64.
    """
    parts = layers(model)
    weights = {name: weight.detach() for name, weight in prunable(model).items()}
    return joined({layer: _lamp(weight) for layer, weight in per_layer(weights, parts).items()}, parts)


def _lamp(weight: Tensor) -> Tensor:
    squares = weight.flatten().double().square()  # a running sum of 2 million float32 would lose the small ones
    falling, order = squares.sort(descending=True, stable=True)
    shares = torch.where(falling > 0, falling / falling.cumsum(0), 0.0)  # avoids 0 / 0 in a layer of zeros
    return torch.empty_like(shares).index_copy_(0, order, shares).view(weight.shape)


LAMP = Pruner(
    score=score,
    summary="w² / (sum of the layer's squares from w² up): global magnitude, normalised within each layer",
    paper="Lee et al. 2021, Layer-adaptive Sparsity for the Magnitude-based Pruning",
    iterates=False,
    uses_mode=False,
    when="after",
)
