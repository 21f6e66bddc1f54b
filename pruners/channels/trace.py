"""Tracing of a network with torch.fx, which follows its channels from operation to operation.

Torch-Pruning's dependency graph does similar work. But it links a channel to the weights of its group without
recording where its value is read. Exact removal needs that (an activation may turn a dead channel into a constant), so
this dependency would save nothing.
"""

import random
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, fx, nn

from pruners.channels.operations import GATES, argument, flattens, operation_kind, plain_name, spatial
from pruners.channels.records import Channels, Norm, OperationKind, PrunableLayer, Step, UnfollowableError, widen
from pruners.errors import OF_THE_MACHINE, message_of
from pruners.reparametrised import computed


def trace_channels(model: nn.Module) -> Channels:
    """Return the channels of `model`, which takes one tensor (N, C, ...); nothing is computed, no data is needed.

    Raises UnfollowableError if torch.fx cannot trace the model or the effect of an operation is not known.
    """
    root = nn.Sequential(model)  # torch.fx does not trace into a model that is itself a torch.nn layer
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        graphs = _traced(root)
    except (*OF_THE_MACHINE, UnfollowableError):
        raise
    except Exception as error:  # tracing runs the model's own code, which may raise anything
        raise UnfollowableError(f"torch.fx cannot trace the model: {message_of(error)}") from error
    finally:
        for buffer, before in buffers:
            buffer.copy_(before)
    for graph in graphs:
        walk = _Walk(dict(root.named_modules()))
        for node in graph.nodes:
            walk.step(node)
    return walk.finish()


def _traced(root: nn.Module) -> list[fx.Graph]:
    """Trace a model in its own mode and, if random numbers decide what it computes there, in eval mode as well.

    Stochastic depth leaves out blocks at random: the graph of one draw lacks them, and the graph in eval mode has all.
    What only training has must be followed too, so both graphs are returned, the more complete one last. Random numbers
    start from one seed, so that a model has the same graphs in every process; the global generators are restored.

    Raises:
        UnfollowableError: if the forward draws random numbers in eval mode too, or lacks layers there.
    """
    states = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng([]):
            graph, drew = _trace(root)
            if not drew:
                return [graph]
            training = [module for module in root.modules() if module.training]
            try:
                for module in training:
                    module.training = False
                whole, draws_still = _trace(root)
            finally:
                for module in training:
                    module.training = True
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
    if draws_still or not _called(graph) <= _called(whole):
        raise UnfollowableError("random numbers decide what it computes.")
    return [graph, whole]


def _trace(root: nn.Module) -> tuple[fx.Graph, bool]:
    """Trace a model; return its graph, and True if its forward drew random numbers meanwhile."""
    random.seed(0)
    np.random.seed(0)
    torch.default_generator.manual_seed(0)
    before = _random_state()
    graph = _Tracer().trace(root)
    return graph, _random_state() != before


def _random_state() -> tuple[object, ...]:
    """Return the state of the generators from which a forward may draw, in a form that can be compared."""
    _, keys, place, *_ = np.random.get_state()
    return random.getstate(), np.asarray(keys).tobytes(), place, torch.get_rng_state().numpy().tobytes()


def _called(graph: fx.Graph) -> set[str]:
    return {str(node.target) for node in graph.nodes if node.op == "call_module"}


class _Tracer(fx.Tracer):
    """Tracer that treats subclasses of layers and norms as such, unless they have a forward of their own."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, PrunableLayer | Norm):
            name = module_qualified_name.removeprefix("0.")
            if reparametrised := computed(m):
                raise UnfollowableError(f"{name} computes its {reparametrised[0]} from other parameters.")
            if not _is_plain(m):
                kind = type(m).__name__
                raise UnfollowableError(f"{name} is of type {kind}, a {_torchs(m).__name__} with its own forward.")
            return True
        return super().is_leaf_module(m, module_qualified_name)


def _torchs(module: nn.Module) -> type:
    """Return the torch.nn class that a module is an instance of."""
    return next(kind for kind in type(module).__mro__ if kind.__module__.startswith("torch.nn"))


def _is_plain(module: nn.Module) -> bool:
    """Return True if a module computes what its torch.nn class computes."""
    methods = ("forward", "__call__", "_call_impl", "_conv_forward")
    return all(getattr(type(module), name, None) is getattr(_torchs(module), name, None) for name in methods)


class _Walk:
    def __init__(self, modules: dict[str, nn.Module]) -> None:
        self.modules = modules
        self.found = Channels()
        self.count = 0
        self.pairs: list[tuple[Tensor, Tensor]] = []  # channels that belong to one group
        self.kept: list[Tensor] = []
        self.flat: dict[str, bool | None] = {}  # True: the result is (N, features), without spatial axes; None: input
        self.numbers: set[str] = set()  # results that are sizes, not tensors
        self.tied: dict[int, nn.Module] = {}  # id of a weight -> the first layer that uses it

    def step(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            if self.flat:
                raise UnfollowableError("it takes more than one input.")
            self.kept.append(self.new(1))  # one channel for the whole input: it is never removed and fits any width
            self.record(node, "input", [], self.kept[-1], flat=None)
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
        simple = plain_name(name)
        if not sources or simple == "size" or (simple == "getattr" and node.args[1] in ("shape", "ndim")):
            self.numbers.add(node.name)
            return
        groups = self.found.groups[sources[0].name]
        flat = self.flat[sources[0].name]
        if isinstance(module, PrunableLayer):
            self.layer(node, sources, module, groups, flat)
        elif isinstance(module, Norm):
            groups = self.bind(self.found.outputs, module, widen(groups, module.num_features))
            self.record(node, "norm", sources, groups, flat, module)
        elif simple == "cat":
            if argument(node, 1, "dim", 0) != 1:
                raise UnfollowableError(f"{name} joins tensors along an axis that is not the channel axis.")
            joined = torch.cat([self.found.groups[source.name] for source in sources])
            self.record(node, "join", sources, joined, flat)
        elif flattens(node, simple, module):
            self.record(node, "pointwise", sources, groups, flat=True, apply=lambda value: value)
        elif simple == "mean" and not flat and spatial(argument(node, 1, "dim", 1)):
            self.record(node, "pool", sources, groups, flat=not argument(node, 2, "keepdim", False))
        elif operation_kind(simple) == "pointwise":
            self.pointwise(node, sources, name)
        elif known := operation_kind(simple):
            if known == "mix":
                self.kept.append(groups)
            self.record(node, known, sources, groups, flat)
        else:
            raise UnfollowableError(f"it is not known what {name} does to channels.")

    def layer(
        self, node: fx.Node, sources: list[fx.Node], layer: PrunableLayer, groups: Tensor, flat: bool | None
    ) -> None:
        linear = isinstance(layer, nn.Linear)
        if linear and flat is False:
            raise UnfollowableError(f"the input of the linear layer {node.target} is not flattened.")
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
        if len({flat for source in sources if (flat := self.flat[source.name]) is not None}) > 1:
            raise UnfollowableError(f"{name} takes tensors of different dimension.")

        def apply(*values: Tensor) -> Tensor:
            table = {source: widen(value, size) for source, value in zip(sources, values, strict=True)}
            arguments = fx.map_arg((node.args, node.kwargs), table.__getitem__)
            if node.op == "call_module":
                return torch.as_tensor(self.modules[str(node.target)](*arguments[0]))
            if isinstance(node.target, str):
                return torch.as_tensor(getattr(arguments[0][0], node.target)(*arguments[0][1:], **arguments[1]))
            return torch.as_tensor(node.target(*arguments[0], **arguments[1]))

        flat, gate = self.flat[sources[0].name], plain_name(name) in GATES
        self.record(node, "pointwise", sources, widen(known[0], size), flat, apply=apply, gate=gate)

    def record(
        self,
        node: fx.Node,
        kind: OperationKind,
        sources: list[fx.Node],
        groups: Tensor,
        flat: bool | None,
        module: nn.Module | None = None,
        apply: Callable[..., Tensor] | None = None,
        gate: bool = False,
    ) -> None:
        self.found.groups[node.name] = groups
        self.flat[node.name] = flat
        self.found.steps.append(Step(kind, node.name, tuple(source.name for source in sources), module, apply, gate))

    def new(self, count: int) -> Tensor:
        self.count += count
        return torch.arange(self.count - count, self.count)

    def bind(self, table: dict[nn.Module, Tensor], module: nn.Module, groups: Tensor) -> Tensor:
        """Record a module's channels; if it is called again, the same channels must be removed there."""
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
    """Return, for each number, the smallest member of its connected component in the graph with these edges."""
    labels = torch.arange(count)
    left, right = (torch.cat(side) for side in zip(*pairs, strict=True)) if pairs else (labels, labels)
    while True:
        low = torch.minimum(labels[left], labels[right])
        lower = labels.scatter_reduce(0, left, low, "amin").scatter_reduce(0, right, low, "amin")
        lower = lower[lower]
        if torch.equal(lower, labels):
            return labels
        labels = lower
