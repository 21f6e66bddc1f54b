"""Removable channels of a masked network: removing them changes nothing, in train mode and in eval mode."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pruners.channels import Channels, PrunableLayer, Step
from pruners.compaction.constants import Connected, connections, constants, links
from pruners.compaction.frozen_zeros import lasting


def surviving(channels: Channels, masks: Mapping[nn.Module, Tensor], training: bool) -> Tensor:
    """Return one flag per group of channels: True if removing it could change the output, now or while it trains.

    `masks` holds each layer's mask, of its weight's shape; layers without one are dense. A channel can be removed if,
    for each layer that reads it, it is zero, or all weights that read it are pruned or write channels that are not
    needed. Channels with a constant other than zero stay: zero padding makes their effect depend on the position, so
    that no bias could replace them. With `training`, only zeros that training cannot change count (see `lasting`).
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
            alive[groups[0]] = True  # torch has no convolution without channels, so one that does nothing is kept
    return alive


def _uses(step: Step, needed: Mapping[str, Tensor], values: Mapping[str, Tensor], connected: Connected) -> list[Tensor]:
    """Return, per source of a step, which channels the step needs, given which of its own channels are needed."""
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
