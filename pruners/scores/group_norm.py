"""DepGraph's group norm: the size of all weights that write or read a channel, relative to the channel's layer."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pruners.channels import Channels, Norm, PrunableLayer, trace_channels
from pruners.pruner import Batch, Pruner
from pruners.weights import prunable


def score(model: nn.Module, batches: Sequence[Batch], *, mode: str, generator: torch.Generator) -> dict[str, Tensor]:
    """Return I_k / mean of I over the layer's channels, I_k = Σ ‖w[k]‖₂² (Fang et al. 2023, section 3.3).

    The sum is over all parts of the network that are removed with channel k: the filters that write it, the weights
    that read it, and the scales γ of batch norms. The mean is over all channels of the layers that write channel k,
    and of layers that share channels with these. The filters of a channel each have an equal part of its score, so that
    the granularity "filter", their sum, ranks channels by it. Scores are float64.

    Raises:
        PruningError: if channels cannot be followed.
    """
    channels = trace_channels(model)
    sizes = torch.zeros(len(channels.fixed), dtype=torch.float64)
    writers = torch.zeros_like(sizes)
    for layer, inputs in channels.inputs.items():
        squares = _squares(layer)
        outputs = channels.outputs[layer]
        sizes.index_add_(0, outputs, squares.sum(1))
        writers.index_add_(0, outputs, torch.ones(len(outputs), dtype=sizes.dtype))
        if (read := _read(layer, squares)) is not None:
            sizes.index_add_(0, inputs, read)
    for norm, groups in channels.outputs.items():
        if isinstance(norm, Norm) and norm.weight is not None:
            sizes.index_add_(0, groups, norm.weight.detach().double().cpu().square())
    relative = sizes / _means(channels, sizes) / writers.clamp(min=1)
    rows = {id(layer.weight): channels.outputs[layer] for layer in channels.inputs}
    scores = {}
    for name, weight in prunable(model).items():
        own = relative[rows[id(weight)]] if id(weight) in rows else sizes.new_zeros(len(weight))
        column = own.to(weight.device).view(-1, *[1] * (weight.dim() - 1))
        scores[name] = column.expand(weight.shape).contiguous()
    return scores


def _squares(layer: nn.Module) -> Tensor:
    """Return the squares of a layer's weights, summed over the places of the kernel: (outputs, inputs of an output)."""
    assert isinstance(layer, PrunableLayer)
    weight = layer.weight.detach().double().cpu()
    return weight.square().flatten(2).sum(2) if weight.dim() > 2 else weight.square()


def _read(layer: nn.Module, squares: Tensor) -> Tensor | None:
    """Return the sums of squares of the weights that read each input; None if a filter reads the channel it writes."""
    groups = layer.groups if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d) else 1
    if groups > 1 and groups == len(squares):
        return None
    return squares.view(groups, -1, squares.shape[1]).sum(1).flatten()


def _means(channels: Channels, sizes: Tensor) -> Tensor:
    """Return, for every group of channels, the mean size of the groups of its layers; 1 if that is zero."""
    labels = torch.arange(len(sizes))
    written = [torch.unique(channels.outputs[layer]) for layer in channels.inputs]
    for _ in written:  # layers that share a channel get one label; that spreads by a layer at least each time
        for own in written:
            labels[own] = labels[own].min()
    count = torch.zeros_like(sizes).index_add_(0, labels, torch.ones_like(sizes))
    total = torch.zeros_like(sizes).index_add_(0, labels, sizes)
    means = (total / count.clamp(min=1))[labels]
    return torch.where(means > 0, means, 1.0)


GROUP_NORM = Pruner(
    score=score,
    summary="squares of all weights that write and read a channel, relative to the layer's mean",
    paper="Fang et al. 2023, DepGraph: Towards Any Structural Pruning",
    uses_mode=False,
    whole_filters=True,
    when="after",
)
