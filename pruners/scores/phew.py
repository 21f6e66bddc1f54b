"""PHEW: keep the paths that random walks along large weights take, from inputs to outputs and back."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor, nn

from pruners.channels import Channels, PrunableLayer, Step, UnfollowableError, trace_channels
from pruners.errors import PruningError
from pruners.pruner import Batch, Pruner
from pruners.weights import prunable

Walkers = tuple[Tensor, Tensor]  # the numbers of the walks, (n,), and the channels that they are at, (n,)
Taken = list[tuple[PrunableLayer, Tensor, Tensor]]  # walks that crossed a layer, (n,), weights they took, (n,)


class Edges:
    """The weights of a layer as edges of a graph; the next unit of a walk is drawn from running sums of |w|."""

    def __init__(self, layer: nn.Module) -> None:
        layer = _known(layer)
        groups = 1 if isinstance(layer, nn.Linear) else layer.groups
        out, into = layer.weight.shape[:2]
        self.size = layer.weight.detach().cpu().double().abs().view(groups, out // groups, into, -1)

    @cached_property
    def entering(self) -> tuple[Tensor, int]:  # running sums, and length of a row; rows: output channels
        return self.size.flatten().cumsum(0), self.size[0, 0].numel()

    @cached_property
    def leaving(self) -> tuple[Tensor, int]:  # running sums, and length of a row; rows: input channels
        turned = self.size.transpose(1, 2)
        return turned.flatten().cumsum(0), turned[0, 0].numel()

    def back(self, at: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Step from output channels back; return which walks go on, and their weights' indices and input channels."""
        alive, where = _draw(*self.entering, at, generator)
        _, out, into, taps = self.size.shape
        return alive, where, where // (out * into * taps) * into + where // taps % into

    def on(self, at: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Step from input channels on; return which walks go on, and their weights' indices and output channels."""
        alive, turned = _draw(*self.leaving, at, generator)
        _, out, into, taps = self.size.shape
        group, o, i = turned // (out * into * taps), turned // taps % out, turned // (taps * out) % into
        return alive, ((group * out + o) * into + i) * taps + turned % taps, group * out + o


def _draw(sums: Tensor, row: int, at: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw a weight for each walk from its row; return which walks have one, and the positions of those weights."""
    high = sums[(at + 1) * row - 1]
    low = torch.where(at > 0, sums[at * row - 1], 0.0)
    alive = high > low
    low, high, end = low[alive], high[alive], (at[alive] + 1) * row - 1
    aim = low + (high - low) * torch.rand(len(low), dtype=torch.float64, generator=generator)
    return alive, torch.minimum(torch.searchsorted(sums, aim, right=True), end)


def past_layers(steps: Sequence[Step]) -> list[Step]:
    """Leave out identity shortcuts, which lead from a fork to a sum without a layer, if another branch has a layer."""
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
    """Walks that move through the network together, step by step; every choice is drawn from `generator`."""

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
        """Run the walks with these numbers, (n,), from random inputs to the outputs; return the weights taken."""
        readers: dict[str, list[tuple[str, int]]] = defaultdict(list)  # result -> its readers, at which channel
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
        """Run the walks with these numbers, (n,), from random outputs to the inputs; return the weights taken."""
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
        """Return, for each channel, one of the features that flattening makes of it, drawn uniformly."""
        each = max(1, after // before)
        return at * each + torch.randint(each, at.shape, generator=self.generator)


def _together(walkers: list[Walkers]) -> Walkers:
    if not walkers:
        return torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
    when, at = zip(*walkers, strict=True)
    return torch.cat(when), torch.cat(at)


def _known(module: nn.Module | None) -> PrunableLayer:
    assert isinstance(module, PrunableLayer)
    return module


def score(
    model: nn.Module,
    batches: Sequence[Batch],
    *,
    mode: str,
    generator: torch.Generator,
    identity_shortcuts: bool = False,
) -> dict[str, Tensor]:
    """Return minus the number of the first walk that took the weight (Patil & Dovrolis 2021, section 4).

    A walk goes from a random input unit to the outputs; the next weight is taken with probability |w| over the
    sum of |w| that leave the unit. Every other walk goes from an output back to the inputs, with the sum of those
    that enter the unit. Units are channels, and a weight is one tap of a kernel. Where branches part, or meet on the
    way back, one is chosen uniformly. Shortcuts without a layer are excluded, as in the authors' program, unless
    `identity_shortcuts` is set. So the highest scores are the union of the first walks, whole paths, and each layer has
    the density that the walks give it.

    Walks are run until half of all weights are taken, but at most as many as there are weights. Weights that were
    never taken rank last, by |w|, so that below 2x this is in part magnitude pruning. Pruned weights are never taken.
    Scores are float64.
    Raises PruningError for a network whose channels `pruners.channels.trace_channels` cannot follow.
    """
    channels = _channels(model)
    weights = prunable(model)
    names = {id(weight): name for name, weight in weights.items()}
    total = sum(weight.numel() for weight in weights.values())
    first = {name: torch.full((weight.numel(),), total, dtype=torch.int64) for name, weight in weights.items()}
    walks = Walks(channels, {layer: Edges(layer) for layer in channels.inputs}, generator, identity_shortcuts)
    chunk = max(64, total // 8)
    for start in range(0, total, chunk):
        numbers = torch.arange(start, min(start + chunk, total))
        for layer, when, where in walks.forward(numbers[numbers % 2 == 0]) + walks.backward(numbers[numbers % 2 == 1]):
            if id(layer.weight) in names:  # walks pass through layers that are kept dense too
                first[names[id(layer.weight)]].scatter_reduce_(0, where, when, "amin")
        if sum(int((taken < total).sum()) for taken in first.values()) >= total / 2:
            break
    return {name: _ranked(first[name], weight.detach(), total) for name, weight in weights.items()}


def _ranked(first: Tensor, weight: Tensor, total: int) -> Tensor:
    score = -first.view(weight.shape).double().to(weight.device)
    return torch.where(score > -total, score, score - 1 / (1 + weight.abs().double()))


def _channels(model: nn.Module) -> Channels:
    try:
        return trace_channels(model)
    except UnfollowableError as error:
        raise PruningError(f"PHEW must follow walks through the model, but {error}") from error


def _require_channels(model: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Raise PruningError for a network that walks cannot follow, such as a transformer."""
    _channels(model)


PHEW = Pruner(
    score=score,
    check=_require_channels,
    summary="how soon random walks along large weights, from inputs to outputs and back, take the weight",
    paper="Patil and Dovrolis 2021, PHEW: Constructing Sparse Networks that Learn Fast and Generalize Well without "
    "Training Data",
    uses_mode=False,
    options={"identity_shortcuts": False},
    unrecorded={"identity_shortcuts": True},
)
