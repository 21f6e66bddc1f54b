"""Which channels a masked network can do without, exactly, in train mode and in eval mode."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pruners.channels import Channels, PrunableLayer, Step
from pruners.compaction.constants import Connected, connections, constants, links
from pruners.compaction.frozen_zeros import lasting


def surviving(channels: Channels, masks: Mapping[nn.Module, Tensor], training: bool) -> Tensor:
    """One flag per group of channels: True where removing it could change the output, now or while it trains.

    `masks` holds a layer's mask, of its weight's shape; layers without one are dense. A channel can go if
    each layer that reads it finds zeros there or has pruned, or has no use for, all that it would do with them.
    Channels of a constant other than zero stay: zero padding makes their effect depend on the position, so that
    no bias could replace them. With `training` only zeros that training cannot move count (see `lasting`).
    """
    connected = connections(channels, masks)
    values = lasting(channels, connected) if training else constants(channels, connected)
    alive = channels.fixed.clone()
    needed = {name: torch.zeros(len(groups), dtype=torch.bool) for name, groups in channels.groups.items()}
    for step in reversed(channels.steps):
        for source, use in zip(step.sources, _uses(step, needed, values, connected), strict=True):
            needed[source] |= use
            if step.kind in ("layer", "output", "mix"):
                alive[channels.groups[source][use]] = True
    for groups in channels.outputs.values():
        if not alive[groups].any():
            alive[groups[0]] = True  # torch has no convolution without channels; one that does nothing will do
    return alive


def _uses(step: Step, needed: Mapping[str, Tensor], values: Mapping[str, Tensor], connected: Connected) -> list[Tensor]:
    """Per source of a step: which of its channels the step has a use for, given which of its own are needed."""
    if step.kind in ("output", "mix"):
        return [torch.ones_like(needed[source]) for source in step.sources]
    sizes = [len(needed[source]) for source in step.sources]
    wanted = needed[step.name]
    if step.kind == "layer":
        assert isinstance(step.module, PrunableLayer)
        found = links(step.module, values[step.sources[0]], connected)
        read = (found & wanted.view(found.shape[0], -1, 1)).any(1).flatten()
        return [read.view(sizes[0], -1).any(1)]
    if step.kind == "join":
        return list(torch.split(wanted, sizes))
    return [wanted.view(size, -1).any(1) for size in sizes]
