"""PHEW: keep the paths that random walks along large weights take, from inputs to outputs and back."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pruners.channels import UnfollowableError, follow
from pruners.errors import PruningError
from pruners.pruner import Batch, Pruner
from pruners.walks import Edges, Walks
from pruners.weights import prunable


def score(
    model: nn.Module,
    batches: Sequence[Batch],
    *,
    mode: str,
    generator: torch.Generator,
    identity_shortcuts: bool = False,
) -> dict[str, Tensor]:
    """Minus the number of the first walk that took the weight (Patil & Dovrolis 2021, section 4).

    A walk goes from a random input unit to the outputs, the next weight being taken with probability |w| over the
    sum of |w| that leave the unit; every other walk goes from an output back to the inputs, over the sum of those
    that enter it. Units are channels, and a weight is one tap of a kernel. Where branches part, or meet on the
    way back, one is taken evenly, but for shortcuts without a layer: the authors' program takes none of these, unless
    `identity_shortcuts` asks for it. So the highest scores are the union of the first walks, whole
    paths, and each layer has the density that the walks give it.

    There are walks until half of all weights are taken (or as many as weights); those never taken rank behind, by
    |w|, so that below 2x this is in part magnitude pruning. Pruned weights are never taken. Scores are float64.
    Raises PruningError for a network whose channels `pruners.channels.follow` cannot follow.
    """
    try:
        channels = follow(model)
    except UnfollowableError as error:
        raise PruningError(f"PHEW has to follow walks through the model, but {error}") from error
    weights = prunable(model)
    names = {id(weight): name for name, weight in weights.items()}
    total = sum(weight.numel() for weight in weights.values())
    first = {name: torch.full((weight.numel(),), total, dtype=torch.int64) for name, weight in weights.items()}
    walks = Walks(channels, {layer: Edges(layer) for layer in channels.inputs}, generator, identity_shortcuts)
    chunk = max(64, total // 8)
    for start in range(0, total, chunk):
        numbers = torch.arange(start, min(start + chunk, total))
        for layer, when, where in walks.forward(numbers[numbers % 2 == 0]) + walks.backward(numbers[numbers % 2 == 1]):
            if id(layer.weight) in names:  # a layer kept dense is walked through all the same
                first[names[id(layer.weight)]].scatter_reduce_(0, where, when, "amin")
        if sum(int((taken < total).sum()) for taken in first.values()) >= total / 2:
            break
    return {name: _ranked(first[name], weight.detach(), total) for name, weight in weights.items()}


def _ranked(first: Tensor, weight: Tensor, total: int) -> Tensor:
    score = -first.view(weight.shape).double().to(weight.device)
    return torch.where(score > -total, score, score - 1 / (1 + weight.abs().double()))


PHEW = Pruner(
    score=score,
    summary="how soon random walks along large weights, from inputs to outputs and back, take the weight",
    paper="Patil and Dovrolis 2021, PHEW: Constructing Sparse Networks that Learn Fast and Generalize Well without "
    "Training Data",
    uses_mode=False,
    options={"identity_shortcuts": False},
    unrecorded={"identity_shortcuts": True},
)
