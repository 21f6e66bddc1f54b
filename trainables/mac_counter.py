"""Counter of multiply-accumulates per parameter, in torch's operations, whatever module or function calls them.

torch.utils.flop_counter has the formulas, but adds up by module and operation. A weight may be used by a module other
than its own (nn.MultiheadAttention's out_proj), by several, or by none. So this counter looks for the parameter itself.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, UntypedStorage, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakIdKeyDictionary

from pruners import layer_weights

NO_WEIGHTS = "no weights"  # row of products without a parameter: attention's q k^T, and its scores times v
Names = frozenset[str]
Arguments = Sequence[Any]

aten = torch.ops.aten
LINEAR, ATTENTION, TRILINEAR = aten.linear, aten.scaled_dot_product_attention, aten._trilinear
CONVOLUTIONS = {aten.convolution, aten._convolution}
MATRICES = {aten.mm, aten.addmm, aten.bmm, aten.baddbmm}
VECTORS = {aten.mv, aten.addmv, aten.dot, aten.vdot}
RECURRENT = {aten.mkldnn_rnn_layer, aten._cudnn_rnn}
PRODUCTS = {LINEAR, ATTENTION, TRILINEAR, *CONVOLUTIONS, *MATRICES, *VECTORS, *RECURRENT, *flop_registry}


@dataclass(frozen=True)
class Trace:
    """Origin of a tensor's numbers."""

    of_input: bool  # True if they depend on the network's input
    names: Names = frozenset()  # if not: parameters from which they were computed without a product
    through_products: Names = frozenset()  # the same, including products


class MacCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Dispatch mode that counts the multiply-accumulates of all computations inside, by parameter.

    A product belongs to a parameter if an operand is that parameter, a view of it, or computed from it without the
    network's input, such as a reparametrised or masked weight. Products without a parameter count as `NO_WEIGHTS`.
    Use it in inference mode, where torch dispatches linear layers and attention before it decomposes them.
    """

    def __init__(self, model: nn.Module, x: Tensor) -> None:
        """Prepare to count for input `x`. Weights have the names of `layer_weights`, other parameters their own."""
        super().__init__()  # type: ignore[no-untyped-call]
        parts: dict[str, Tensor] = dict(layer_weights(model))
        self.counts: dict[str, tuple[int, int]] = dict.fromkeys(parts, (0, 0))  # name -> (of weights, of biases)
        taken = {id(part.untyped_storage()) for part in parts.values()}
        parts |= {n: p for n, p in model.named_parameters() if id(p.untyped_storage()) not in taken}
        self._sizes = {name: part.numel() for name, part in parts.items()}
        # Storage -> its parts: name, first and last position.
        self._parts: MutableMapping[UntypedStorage, list[tuple[str, int, int]]] = WeakIdKeyDictionary()
        for name, part in parts.items():
            self._place(name, part)
        self._traces: MutableMapping[UntypedStorage, Trace] = WeakIdKeyDictionary()  # constants have no entry
        self._traces[x.untyped_storage()] = Trace(of_input=True)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Arguments = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run `func` and count it if it is a product; otherwise count the operations of its decomposition."""
        kwargs = kwargs or {}
        packet = getattr(func, "_overloadpacket", func)
        if packet not in PRODUCTS and hasattr(func, "decompose") and func is not torch.ops.prim.device.default:
            with self:
                made = func.decompose(*args, **kwargs)
            if made is not NotImplemented:
                return made
        made = func(*args, **kwargs)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if packet in PRODUCTS:
            self._count(packet, args, kwargs, tensors, made)
        self._follow([leaf for leaf in tree_leaves(made) if isinstance(leaf, Tensor)], tensors, packet in PRODUCTS)
        return made

    def _place(self, name: str, part: Tensor) -> None:
        self._parts.setdefault(part.untyped_storage(), []).append((name, *_extent(part)))

    def _count(
        self, packet: Any, args: Arguments, kwargs: Mapping[str, Any], tensors: Sequence[Tensor], made: Any
    ) -> None:
        if packet == LINEAR or packet in CONVOLUTIONS:
            _, weight, *bias = tensors
            count = made.numel() * weight.shape[-1] if packet == LINEAR else _by_formula(packet, args, kwargs, made)
            self._add(count, self._named(weight, through_products=True), made.numel() if bias else 0)
        elif packet in RECURRENT:
            rows = tensors[0].shape[:-1].numel()
            weights = [tensor for tensor in tensors[1:] if tensor.dim() == 2 and self._named(tensor)]
            with_bias = any(tensor.dim() == 1 and self._named(tensor) for tensor in tensors[1:])
            for weight in weights:
                self._add(rows * weight.numel(), self._named(weight), rows * weight.shape[0] if with_bias else 0)
        elif packet in MATRICES:
            *bias, left, right = tensors
            names = self._named(right) or self._named(left)
            biased = names and bias and self._named(bias[0])
            self._add(_by_formula(packet, args, kwargs, made), names, made.numel() if biased else 0)
        elif packet in VECTORS:  # only if the input takes part: spectral norm's power iteration is not counted
            *_, left, right = tensors
            if self._of_input(tensors):
                self._add(left.numel(), self._named(right) or self._named(left))
        elif packet == TRILINEAR:
            weight = tensors[1]
            self._add(made.shape[:-1].numel() * weight.numel(), self._named(weight))
        elif packet == ATTENTION:
            q, k, v = tensors[:3]
            self._add(q.shape[:-1].numel() * k.shape[-2] * (q.shape[-1] + v.shape[-1]), {})
        else:
            self._add(_by_formula(packet, args, kwargs, made), {})

    def _add(self, count: int, names: Mapping[str, int], of_bias: int = 0) -> None:
        """Distribute the counts over `names` in proportion to their shares, without rounding errors in the sum."""
        whole, left, left_of_bias = sum(names.values()), count, of_bias
        for place, (name, share) in enumerate(names.items(), 1):
            last = place == len(names)
            part, part_of_bias = (left, left_of_bias) if last else (count * share // whole, of_bias * share // whole)
            weights, biases = self.counts.get(name, (0, 0))
            self.counts[name] = weights + part, biases + part_of_bias
            left, left_of_bias = left - part, left_of_bias - part_of_bias
        if not names:
            self.counts[NO_WEIGHTS] = 0, self.counts.get(NO_WEIGHTS, (0, 0))[1] + count

    def _named(self, operand: Tensor, through_products: bool = False) -> dict[str, int]:
        """Return the parameters that an operand consists of, each with its share; {} if it is not a weight."""
        storage = operand.untyped_storage()
        if storage in self._parts:
            first, last = _extent(operand)
            shares = {n: min(last, end) - max(first, start) + 1 for n, start, end in self._parts[storage]}
            return {name: share for name, share in shares.items() if share > 0}
        trace = self._traces.get(storage)
        if trace is None or trace.of_input:
            return {}
        names = trace.names or (trace.through_products if through_products else frozenset())
        sizes = {name: self._sizes[name] for name in self._sizes if name in names}
        if sum(sizes.values()) == operand.numel():
            return sizes
        largest = max(sizes.values(), default=0)
        fitting = operand.numel() if operand.numel() in sizes.values() else largest
        return {name: 1 for name, size in sizes.items() if size == fitting}

    def _of_input(self, tensors: Sequence[Tensor]) -> bool:
        traces = (self._traces.get(tensor.untyped_storage()) for tensor in tensors)
        return any(trace is not None and trace.of_input for trace in traces)

    def _follow(self, outputs: Sequence[Tensor], inputs: Sequence[Tensor], product: bool) -> None:
        """Record the origin of the numbers of `outputs`."""
        trace = Trace(of_input=True)
        if not self._of_input(inputs):
            names: Names = frozenset()
            through: Names = frozenset()
            for tensor in inputs:
                storage = tensor.untyped_storage()
                own = frozenset(name for name, *_ in self._parts.get(storage, ()))
                known = self._traces.get(storage, Trace(of_input=False))
                names, through = names | own | known.names, through | own | known.through_products
            trace = Trace(False, frozenset() if product else names, through)
        for output in outputs:
            if (storage := output.untyped_storage()) not in self._parts:
                self._traces[storage] = trace


def _by_formula(packet: Any, args: Arguments, kwargs: Mapping[str, Any], made: Any) -> int:
    return int(flop_registry[packet](*args, **kwargs, out_val=made)) // 2


def _extent(tensor: Tensor) -> tuple[int, int]:
    """Return the first and the last position of a tensor in its storage."""
    first = int(tensor.storage_offset())
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return first, first + int(reach) if tensor.numel() else first - 1
