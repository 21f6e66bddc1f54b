"""Following channels through a network: which layer writes a channel, which layers read it, which go together.

The network is traced by torch.fx. Torch-Pruning's dependency graph does similar work, but it ties a channel to
the weights of its group without saying where its value is read, and exact removal needs to know that (an
activation may turn a dead channel into a constant); so nothing would be saved by the dependency.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn

from pruners.errors import PruningError

Kind = Literal["input", "layer", "norm", "pointwise", "pool", "join", "mix", "output"]
Layer = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear
Norm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d

# What torch's modules, functions and methods do to channels, by name in lower case without underscores.
_KINDS: dict[str, Kind] = {
    # Each number by itself.
    **dict.fromkeys(
        "identity contiguous relu relu6 leakyrelu gelu silu hardswish hardsigmoid hardtanh sigmoid tanh elu selu celu "
        "mish softplus softsign clamp neg abs add iadd sub isub mul imul truediv".split(),
        "pointwise",
    ),
    # Within a channel; zeros stay zeros.
    **dict.fromkeys(
        [f"{pool}{n}d" for n in (1, 2, 3) for pool in ("maxpool", "avgpool", "adaptiveavgpool", "adaptivemaxpool")]
        + "dropout dropout1d dropout2d dropout3d featuredropout stochasticdepth upsample interpolate".split(),
        "pool",
    ),
    # Across channels: they all stay.
    **dict.fromkeys("softmax logsoftmax groupnorm layernorm localresponsenorm".split(), "mix"),
}


class UnfollowableError(PruningError):
    """The network does something whose effect on channels is not known here; the message says what."""


@dataclass(frozen=True)
class Step:
    """One operation of the network, by the name of its result, and what it reads."""

    kind: Kind
    name: str
    sources: tuple[str, ...]
    module: nn.Module | None = None
    apply: Callable[..., Tensor] | None = None  # pointwise: one value per channel of each source -> one per channel


@dataclass
class Channels:
    """The channels of a network, numbered by group: channels of one group can only be removed together.

    Groups arise where residual connections add channels up, and within the groups of a convolution.
    """

    steps: list[Step] = field(default_factory=list)  # in the order of computation
    groups: dict[str, Tensor] = field(default_factory=dict)  # result of a step -> group of each channel (C,)
    outputs: dict[nn.Module, Tensor] = field(default_factory=dict)  # layer or norm -> group of each output channel
    inputs: dict[nn.Module, Tensor] = field(default_factory=dict)  # layer -> group of each input channel
    fixed: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))  # (groups,): never removed


def widen(values: Tensor, size: int) -> Tensor:
    """(..., C) -> (..., size): flattening turns each channel into `size / C` features that lie side by side."""
    if size % values.shape[-1]:
        raise UnfollowableError(f"{values.shape[-1]} channels do not make {size} features.")
    return values.repeat_interleave(size // values.shape[-1], dim=-1)


def follow(model: nn.Module) -> Channels:
    """The channels of `model`, which takes one tensor (N, C, ...); nothing is computed, no data is needed.

    Raises UnfollowableError if torch.fx cannot trace the model or an operation is not known here.
    """
    try:
        graph = fx.Tracer().trace(model)
    except Exception as error:  # noqa: BLE001 - tracing runs the model's own code, which may raise anything
        raise UnfollowableError(f"torch.fx cannot trace the model: {' '.join(str(error).split())}") from error
    walk = _Walk(dict(model.named_modules()))
    for node in graph.nodes:
        walk.step(node)
    return walk.finish()


class _Walk:
    def __init__(self, modules: dict[str, nn.Module]) -> None:
        self.modules = modules
        self.found = Channels()
        self.count = 0
        self.pairs: list[tuple[Tensor, Tensor]] = []  # channels that belong to one group
        self.kept: list[Tensor] = []
        self.flat: dict[str, bool] = {}  # is a result (N, features), without spatial axes? The input may be
        self.numbers: set[str] = set()  # results that are sizes, not tensors
        self.tied: dict[int, nn.Module] = {}  # id of a weight -> the first layer that uses it

    def step(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            if self.flat:
                raise UnfollowableError("it takes more than one input.")
            self.kept.append(self.new(1))  # one channel for all: it is never removed and fits any width
            self.record(node, "input", [], self.kept[-1], flat=True)
            return
        sources = [source for source in node.all_input_nodes if source.name not in self.numbers]
        if node.op == "output":
            self.kept += [self.found.groups[source.name] for source in sources]
            self.found.steps.append(Step("output", node.name, tuple(source.name for source in sources)))
        elif node.op == "call_module":
            module = self.modules[str(node.target)]
            self.call(node, sources, type(module).__name__, module)
        elif node.op == "get_attr":
            raise UnfollowableError(f"it uses the tensor {node.target!r} outside a torch.nn layer.")
        else:
            self.call(node, sources, node.target if isinstance(node.target, str) else node.target.__name__, None)

    def call(self, node: fx.Node, sources: list[fx.Node], name: str, module: nn.Module | None) -> None:
        plain = name.lower().replace("_", "")
        if not sources or plain == "size" or (plain == "getattr" and node.args[1] in ("shape", "ndim")):
            self.numbers.add(node.name)
            return
        groups = self.found.groups[sources[0].name]
        flat = self.flat[sources[0].name]
        if isinstance(module, Layer):
            self.layer(node, sources, module, groups, flat)
        elif isinstance(module, Norm):
            groups = self.bind(self.found.outputs, module, widen(groups, module.num_features))
            self.record(node, "norm", sources, groups, flat, module)
        elif plain == "cat":
            if _argument(node, 1, "dim", 0) != 1:
                raise UnfollowableError(f"{name} joins along another axis than the channels'.")
            joined = torch.cat([self.found.groups[source.name] for source in sources])
            self.record(node, "join", sources, joined, flat)
        elif _flattens(node, plain, module):
            self.record(node, "pointwise", sources, groups, flat=True, apply=lambda value: value)
        elif plain == "mean" and not flat and _spatial(_argument(node, 1, "dim", 1)):
            self.record(node, "pool", sources, groups, flat=not _argument(node, 2, "keepdim", False))
        elif _KINDS.get(plain) == "pointwise":
            self.pointwise(node, sources, name)
        elif plain in _KINDS:
            if _KINDS[plain] == "mix":
                self.kept.append(groups)
            self.record(node, _KINDS[plain], sources, groups, flat)
        else:
            raise UnfollowableError(f"what {name} does to channels is not known.")

    def layer(self, node: fx.Node, sources: list[fx.Node], layer: Layer, groups: Tensor, flat: bool) -> None:
        linear = isinstance(layer, nn.Linear)
        if linear and not flat:
            raise UnfollowableError(f"{node.target} is a linear layer on something not flattened.")
        wide = widen(groups, layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels)
        first = self.tied.setdefault(id(layer.weight), layer)
        known = self.found.outputs.get(first)
        outputs = self.new(layer.weight.shape[0]) if known is None else known
        self.bind(self.found.outputs, layer, outputs)
        self.bind(self.found.inputs, layer, wide)
        if first is not layer:
            self.pairs.append((self.found.inputs[first], wide))
        if not isinstance(layer, nn.Linear) and layer.groups > 1:
            lead = wide.view(layer.groups, -1)[:, :1]
            for side in (wide, outputs):
                rows = side.view(layer.groups, -1)
                self.pairs.append((rows.flatten(), lead.expand_as(rows).flatten()))
        self.record(node, "layer", sources, outputs, flat=linear, module=layer)

    def pointwise(self, node: fx.Node, sources: list[fx.Node], name: str) -> None:
        known = [self.found.groups[source.name] for source in sources]
        size = max(map(len, known))
        for other in known[1:]:
            self.pairs.append((widen(known[0], size), widen(other, size)))
        if len({self.flat[source.name] for source in sources}) > 1:
            raise UnfollowableError(f"{name} takes tensors of different dimension.")

        def apply(*values: Tensor) -> Tensor:
            table = {source: widen(value, size) for source, value in zip(sources, values, strict=True)}
            arguments = fx.map_arg((node.args, node.kwargs), table.__getitem__)
            if node.op == "call_module":
                return torch.as_tensor(self.modules[str(node.target)](*arguments[0]))
            if isinstance(node.target, str):
                return torch.as_tensor(getattr(arguments[0][0], node.target)(*arguments[0][1:], **arguments[1]))
            return torch.as_tensor(node.target(*arguments[0], **arguments[1]))

        self.record(node, "pointwise", sources, widen(known[0], size), self.flat[sources[0].name], apply=apply)

    def record(
        self,
        node: fx.Node,
        kind: Kind,
        sources: list[fx.Node],
        groups: Tensor,
        flat: bool,
        module: nn.Module | None = None,
        apply: Callable[..., Tensor] | None = None,
    ) -> None:
        self.found.groups[node.name] = groups
        self.flat[node.name] = flat
        self.found.steps.append(Step(kind, node.name, tuple(source.name for source in sources), module, apply))

    def new(self, count: int) -> Tensor:
        self.count += count
        return torch.arange(self.count - count, self.count)

    def bind(self, table: dict[nn.Module, Tensor], module: nn.Module, groups: Tensor) -> Tensor:
        """Note a module's channels; one that is called again must have the same ones removed."""
        self.pairs.append((table.setdefault(module, groups), groups))
        return groups

    def finish(self) -> Channels:
        labels = _components(self.count, self.pairs)
        for table in (self.found.groups, self.found.outputs, self.found.inputs):
            for key in table:
                table[key] = labels[table[key]]  # type: ignore[index]
        self.found.fixed = torch.zeros(self.count, dtype=torch.bool)
        for channels in self.kept:
            self.found.fixed[labels[channels]] = True
        return self.found


def _components(count: int, pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """The smallest member of each number's component in the graph with these edges."""
    labels = torch.arange(count)
    left, right = (torch.cat(side) for side in zip(*pairs, strict=True)) if pairs else (labels, labels)
    while True:
        low = torch.minimum(labels[left], labels[right])
        lower = labels.scatter_reduce(0, left, low, "amin").scatter_reduce(0, right, low, "amin")
        lower = lower[lower]
        if torch.equal(lower, labels):
            return labels
        labels = lower


def _argument(node: fx.Node, position: int, name: str, default: Any) -> Any:
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def _flattens(node: fx.Node, plain: str, module: nn.Module | None) -> bool:
    if isinstance(module, nn.Flatten):
        return (module.start_dim, module.end_dim) == (1, -1)
    if plain == "flatten":
        return bool(_argument(node, 1, "start_dim", 0) == 1 and _argument(node, 2, "end_dim", -1) == -1)
    sizes: Any = node.args[1:] if len(node.args) != 2 else node.args[1]
    return plain in ("view", "reshape") and isinstance(sizes, tuple | list) and len(sizes) == 2 and bool(sizes[1] == -1)


def _spatial(axes: Any) -> bool:
    return all(axis not in (0, 1) for axis in (axes if isinstance(axes, tuple | list) else [axes]))
