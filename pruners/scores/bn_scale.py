"""Network slimming: channels that batch norm scales down most are the first to be removed."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pruners.channels import Channels, Norm, trace_channels
from pruners.errors import PruningError
from pruners.filters import never_removed
from pruners.pruner import Batch, Pruner
from pruners.weights import prunable


def score(model: nn.Module, batches: Sequence[Batch], *, mode: str, generator: torch.Generator) -> dict[str, Tensor]:
    """Return |γ|, the scale of the batch norm of the channel that a filter writes (Liu et al. 2017, section 3).

    All weights of a filter have its score. Where several batch norms scale channels that can only be removed together
    (`pruners.channels`), it is the mean of their |γ|, of which each filter that writes the channel has an equal part:
    so the granularity "filter", their sum, ranks channels by it. Filters that are never removed score 0 if they have no
    norm.

    Raises:
        PruningError: if channels cannot be followed, or if a channel that can be removed has no batch norm.
    """
    channels = trace_channels(model)
    scales, counts = _scales(channels)
    bare = (counts == 0) & ~never_removed(model, channels)
    writers = torch.zeros_like(scales)
    for layer in channels.inputs:
        writers.index_add_(0, channels.outputs[layer], torch.ones(len(channels.outputs[layer]), dtype=scales.dtype))
    mean = scales / counts.clamp(min=1) / writers.clamp(min=1)
    rows = {id(layer.weight): channels.outputs[layer] for layer in channels.inputs}
    weights = prunable(model)
    if missing := [name for name, w in weights.items() if id(w) in rows and bool(bare[rows[id(w)]].any())]:
        raise PruningError(
            f"Pruner 'bn-scale' needs a batch norm with a scale for every channel, and those of {', '.join(missing)} "
            "have none: keep these layers dense (keep_dense), or choose another pruner."
        )
    scores = {}
    for name, weight in weights.items():
        own = mean[rows[id(weight)]] if id(weight) in rows else torch.zeros(len(weight), dtype=mean.dtype)
        column = own.to(weight.device).view(-1, *[1] * (weight.dim() - 1))
        scores[name] = column.expand(weight.shape).contiguous()
    return scores


def _scales(channels: Channels) -> tuple[Tensor, Tensor]:
    """Return, per group of channels, the sum of the norms' |γ|, float64, and how many there are."""
    scales = torch.zeros(len(channels.fixed), dtype=torch.float64)
    counts = torch.zeros(len(channels.fixed), dtype=torch.int64)
    for norm, groups in channels.outputs.items():
        if isinstance(norm, Norm) and norm.weight is not None:
            scales.index_add_(0, groups, norm.weight.detach().abs().double().cpu())
            counts.index_add_(0, groups, torch.ones_like(groups))
    return scales, counts


def _require_norms(model: nn.Module, input_shape: tuple[int, ...]) -> None:
    score(model, (), mode="eval", generator=torch.Generator())


BN_SCALE = Pruner(
    score=score,
    check=_require_norms,
    summary="|γ|, the scale of the batch norm behind a filter",
    paper="Liu et al. 2017, Learning Efficient Convolutional Networks through Network Slimming",
    iterates=False,
    uses_mode=False,
    whole_filters=True,
    when="after",
)
