"""Zeros that training cannot change: which channels of a masked network stay zero while the rest of it trains.

A channel without live inputs holds its bias, or the shift of its batch norm. Even if that is zero, a gradient may reach
it, and then it is a constant that training changes. No gradient reaches it behind a ReLU, whose slope at zero is zero,
or if all weights that read the channel are pruned. A zero without a gradient stays zero under weight decay and under
any momentum that starts at zero, in every optimizer that treats each number by itself. So convolutions without bias, or
with zero ones, and batch norms with shift and running mean zero (as networks begin) can lose such channels; trained
ones keep them.
"""

import torch
from torch import Tensor, nn

from pruners.channels import Channels, Norm, PrunableLayer, Step
from pruners.compaction.constants import Connected, constants


def lasting(channels: Channels, connected: Connected) -> dict[str, Tensor]:
    """Return values like `constants`: 0 if a channel is zero in both modes and stays so in training, else NaN."""
    loose = {name: torch.zeros(len(groups), dtype=torch.bool) for name, groups in channels.groups.items()}

    def settle(step: Step, value: Tensor) -> Tensor:
        return torch.where((value == 0).all(0) & ~loose[step.name], value, torch.nan)

    while True:
        values = constants(channels, connected, settle)
        zero = {name: (value == 0).all(0) for name, value in values.items()}
        held = _held(channels, connected, zero)
        moved = {name: zero[name] & soft & ~held[name] for name, soft in _soft(channels).items()}
        if not any(bool(flags.any()) for flags in moved.values()):
            return values
        for name, flags in moved.items():
            loose[name] |= flags


def _soft(channels: Channels) -> dict[str, bool]:
    """Return, per result, True if its zeros would change if a gradient reached them, False if they cannot change."""
    soft: dict[str, bool] = {}
    for step in channels.steps:
        if step.kind == "output":
            continue
        own = isinstance(step.module, PrunableLayer | Norm) and step.module.bias is not None
        passed_on = step.kind in ("pointwise", "pool", "join", "norm") and not step.gate
        soft[step.name] = own or (passed_on and any(soft[source] for source in step.sources))
    return soft


def _held(channels: Channels, connected: Connected, zero: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return, per result, bool (C,): True if no gradient reaches the channel, given which channels are `zero`."""
    held = {name: torch.ones_like(flags) for name, flags in zero.items()}
    for step in reversed(channels.steps):
        sizes = [len(held[source]) for source in step.sources]
        if step.gate:
            continue
        if step.kind in ("output", "mix"):
            passing = [torch.zeros(size, dtype=torch.bool) for size in sizes]
        elif step.kind == "layer":
            passing = [_unread(step.module, connected).view(sizes[0], -1).all(1)]
        else:
            kept = held[step.name] & zero[step.name]
            parts = torch.split(kept, sizes) if step.kind == "join" else [kept] * len(sizes)
            passing = [part.view(size, -1).all(1) for part, size in zip(parts, sizes, strict=True)]
        for source, flags in zip(step.sources, passing, strict=True):
            held[source] &= flags
    return held


def _unread(layer: nn.Module | None, connected: Connected) -> Tensor:
    """Return bool (I,): True for the input channels of which a layer keeps no weight."""
    assert isinstance(layer, PrunableLayer)
    groups, width = (1 if isinstance(layer, nn.Linear) else layer.groups), layer.weight.shape[1]
    if layer not in connected:
        return torch.zeros(groups * width, dtype=torch.bool)
    return ~connected[layer].cpu().view(groups, -1, width).any(1).flatten()
