"""Random walks through a network along its weights, many at once."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor, nn

from pruners.channels import Channels, Layer, Step

Walkers = tuple[Tensor, Tensor]  # the numbers of the walks, (n,), and the channels that they are at, (n,)
Taken = list[tuple[Layer, Tensor, Tensor]]  # a layer, the walks that crossed it, (n,), and the weights they took, (n,)


class Edges:
    """The weights of a layer as edges: who is next is drawn from running sums of |w|."""

    def __init__(self, layer: nn.Module) -> None:
        layer = _known(layer)
        groups = 1 if isinstance(layer, nn.Linear) else layer.groups
        out, into = layer.weight.shape[:2]
        self.size = layer.weight.detach().cpu().double().abs().view(groups, out // groups, into, -1)

    @cached_property
    def entering(self) -> tuple[Tensor, int]:  # rows: output channels
        return self.size.flatten().cumsum(0), self.size[0, 0].numel()

    @cached_property
    def leaving(self) -> tuple[Tensor, int]:  # rows: input channels
        turned = self.size.transpose(1, 2)
        return turned.flatten().cumsum(0), turned[0, 0].numel()

    def back(self, at: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """For walks at output channels: which of them go on, the index of their weight, and their input channel."""
        alive, where = _draw(*self.entering, at, generator)
        _, out, into, taps = self.size.shape
        return alive, where, where // (out * into * taps) * into + where // taps % into

    def on(self, at: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """For walks at input channels: which of them go on, the index of their weight, and their output channel."""
        alive, turned = _draw(*self.leaving, at, generator)
        _, out, into, taps = self.size.shape
        group, o, i = turned // (out * into * taps), turned // taps % out, turned // (taps * out) % into
        return alive, ((group * out + o) * into + i) * taps + turned % taps, group * out + o


def _draw(sums: Tensor, row: int, at: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Which walks have a weight to take in their row of the running sums, and for those its position."""
    high = sums[(at + 1) * row - 1]
    low = torch.where(at > 0, sums[at * row - 1], 0.0)
    alive = high > low
    low, high, end = low[alive], high[alive], (at[alive] + 1) * row - 1
    aim = low + (high - low) * torch.rand(len(low), dtype=torch.float64, generator=generator)
    return alive, torch.minimum(torch.searchsorted(sums, aim, right=True), end)


def past_layers(steps: Sequence[Step]) -> list[Step]:
    """Leave out identity shortcuts: what leads from a fork to a sum without a layer on its way, if another has one."""
    made = {step.name: step for step in steps}
    readers = Counter(source for step in steps for source in step.sources)

    def crosses(name: str) -> bool:
        step = made[name]
        while readers[step.name] == 1 and step.kind != "layer" and len(step.sources) == 1:
            step = made[step.sources[0]]
        return readers[step.name] == 1 and (step.kind == "layer" or len(step.sources) > 1)

    def without(step: Step) -> Step:
        if step.kind != "pointwise" or len(step.sources) < 2:
            return step
        through = tuple(source for source in step.sources if crosses(source))
        return replace(step, sources=through or step.sources)

    return [without(step) for step in steps]


class Walks:
    """Walks that go together, step by step through the network; every choice is drawn from `generator`."""

    def __init__(
        self,
        channels: Channels,
        edges: dict[nn.Module, Edges],
        generator: torch.Generator,
        identity_shortcuts: bool = True,
    ) -> None:
        self.steps = channels.steps if identity_shortcuts else past_layers(channels.steps)
        self.edges, self.generator = edges, generator
        self.width = {name: len(groups) for name, groups in channels.groups.items()}
        self.width |= {step.name: self.width[step.sources[0]] for step in self.steps if step.kind == "output"}

    def forward(self, numbers: Tensor) -> Taken:
        """The walks of these numbers, (n,), from random inputs to the outputs."""
        readers: dict[str, list[tuple[str, int]]] = defaultdict(list)  # result -> who reads it, at which channel
        reaching = {step.name for step in self.steps if step.kind == "output"}
        for step in reversed(self.steps):
            offset = 0
            for source in step.sources if step.name in reaching else ():
                reaching.add(source)
                readers[source].append((step.name, offset))
                offset += self.width[source] if step.kind == "join" else 0
        taken: Taken = []
        arrived: dict[str, list[Walkers]] = defaultdict(list)  # at the entrance of a step
        for step in self.steps:
            if step.kind == "input":
                arrived[step.name].append((numbers, torch.zeros_like(numbers)))
            when, at = _together(arrived.pop(step.name, []))
            if step.kind == "layer":
                edges = self.edges[_known(step.module)]
                into = edges.size.shape[0] * edges.size.shape[2]
                alive, where, out = edges.on(self.spread(at, self.width[step.sources[0]], into), self.generator)
                when, at = when[alive], out
                taken.append((_known(step.module), when, where))
            choice = torch.randint(max(1, len(readers[step.name])), when.shape, generator=self.generator)
            for index, (reader, offset) in enumerate(readers[step.name]):
                here = choice == index
                arrived[reader].append((when[here], at[here] + offset))
        return taken

    def backward(self, numbers: Tensor) -> Taken:
        """The walks of these numbers, (n,), from random outputs to the inputs."""
        taken: Taken = []
        leaving: dict[str, list[Walkers]] = defaultdict(list)  # at the exit of a step
        for step in reversed(self.steps):
            if step.kind == "output":
                ends = torch.randint(self.width[step.name], numbers.shape, generator=self.generator)
                leaving[step.name].append((numbers, ends))
            when, at = _together(leaving.pop(step.name, []))
            width = self.width[step.name]
            if step.kind == "layer":
                edges = self.edges[_known(step.module)]
                alive, where, at = edges.back(at, self.generator)
                when, width = when[alive], edges.size.shape[0] * edges.size.shape[2]
                taken.append((_known(step.module), when, where))
            choice = torch.randint(max(1, len(step.sources)), when.shape, generator=self.generator)
            offset = 0
            for index, source in enumerate(step.sources):
                own = self.width[source]
                if step.kind == "join":
                    here = (at >= offset) & (at < offset + own)
                    leaving[source].append((when[here], at[here] - offset))
                    offset += own
                else:
                    here = choice == index
                    leaving[source].append((when[here], at[here] // max(1, width // own)))
        return taken

    def spread(self, at: Tensor, before: int, after: int) -> Tensor:
        """Channels of a result among the features that flattening makes of each; one of them evenly."""
        each = max(1, after // before)
        return at * each + torch.randint(each, at.shape, generator=self.generator)


def _together(walkers: list[Walkers]) -> Walkers:
    if not walkers:
        return torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
    when, at = zip(*walkers, strict=True)
    return torch.cat(when), torch.cat(at)


def _known(module: nn.Module | None) -> Layer:
    assert isinstance(module, Layer)
    return module
