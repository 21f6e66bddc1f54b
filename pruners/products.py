"""Detection of weights by what a model computes: the parameters that matrix products and convolutions use."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from pruners.gradients import call, passes
from pruners.weights import layer_weights, mark

# Positions of the operands that may be weights: only the kernel of a convolution, but either side of a product.
_PRODUCTS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(["mm", "bmm", "mv", "dot", "matmul", "linear", "_scaled_mm"], (0, 1)),
    **dict.fromkeys(["addmm", "baddbmm", "addbmm", "addmv", "_addmm_activation"], (1, 2)),
    **dict.fromkeys(["convolution", "_convolution", "convolution_overrideable", "_trilinear"], (1,)),
}
# Operations that carry a mask over from a parameter to the result: elements keep their places, or move as a whole, and
# zeros stay zeros.
_CARRIES = frozenset(
    [
        *("clone", "_to_copy", "contiguous", "_unsafe_view", "_reshape_alias", "_reshape_copy", "repeat", "flip"),
        *("roll", "constant_pad_nd", "neg", "abs", "mul", "div", "sgn", "tanh", "square", "relu", "masked_fill"),
        *("tril", "triu", "index_select", "cat", "stack"),
    ]
)
_DENSE = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.Embedding, nn.EmbeddingBag)


def mark_prunable(model: nn.Module, example: Tensor) -> list[str]:
    """Mark the weights that `model` uses outside of torch's own layers as prunable; return the names newly found.

    These are parameters that enter a matrix product (matmul, einsum, linear, attention) or are the kernel of a
    convolution, as they are, or reshaped, transposed, scaled or put together from several. They are found by forward
    passes of the first and the last input of `example` (N, ...), in train mode and in eval mode, which leave buffers
    and the random state as they were. If no parameter could be found, none is run. Embeddings, norms, positions and
    tokens that are added or joined to the signal, and vectors, stay dense; so does a weight that is computed from
    parameters in a way that does not carry zeros over. `prunable` and copies of the model remember what was found.

    Raises any error of the model's forward.
    """
    known = layer_weights(model)
    names = {id(weight): name for name, weight in candidates(model).items()}
    if not names:
        return []
    inputs = torch.cat([example[:1], example[-1:]]).to(next(model.parameters()).device)  # not a batch of one
    products = _Products(dict(model.named_parameters()), set(known))
    for mode in ("train", "eval"):
        with passes(model, mode, 0), torch.no_grad(), products:
            call(model, {}, inputs.clone())
    found = [name for name in names.values() if name in products.used]
    mark(model, found)
    return found


def discover(model: nn.Module, example: Tensor) -> None:
    """Call `mark_prunable` and ignore its errors: if the example does not fit the model, its next use reports it."""
    with suppress(Exception):
        mark_prunable(model, example)


def candidates(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters that `mark_prunable` may find: of two or more dimensions, outside of torch's own layers."""
    known = layer_weights(model)
    owned = {id(weight) for module in model.modules() if isinstance(module, _DENSE) for weight in module.parameters()}
    return {
        name: weight
        for name, weight in model.named_parameters()
        if weight.dim() > 1 and name not in known and id(weight) not in owned and "parametrizations." not in name
    }


class _Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Mode that records in `used` the names of the parameters that products use.

    Views share the storage of their parameter. For other results that carry a parameter's elements, the storage is
    recorded.
    """

    def __init__(self, parameters: Mapping[str, Tensor], known: set[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.used: set[str] = set()
        self.known = known
        self.matrices = {name for name, weight in parameters.items() if _is_matrix(weight)}
        self.of: dict[int, list[tuple[str, int, int]]] = defaultdict(list)  # storage -> (parameter, start, stop)
        self.alive: list[Any] = []  # keeps storages alive, so that no new one gets the same key
        for name, weight in parameters.items():
            first = int(weight.storage_offset())
            self.of[self.key(weight)].append((name, first, first + weight.numel()))

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        name = func.overloadpacket.__name__.rstrip("_") or func.overloadpacket.__name__
        if name in _PRODUCTS:
            self.product(name, args)
        elif "scaled_dot_product" in name and "backward" not in name:
            for tensor in args[:3]:
                self.used |= self.matrices & set(self.names(tensor))
        result = func(*args, **(kwargs or {}))
        if name in _CARRIES and isinstance(result, Tensor):
            self.carry(name, args, result)
        return result

    def key(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        self.alive.append(storage)
        return int(storage._cdata)

    def names(self, tensor: Any) -> list[str]:
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            return []
        first = tensor.storage_offset()
        end = first + 1 + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
        held = self.of.get(int(tensor.untyped_storage()._cdata), ())
        return [name for name, start, stop in held if start < end and first < stop]

    def product(self, name: str, args: tuple[Any, ...]) -> None:
        operands = [set(self.names(args[i])) for i in _PRODUCTS[name]]
        if "convolution" not in name:
            operands = [found & self.matrices for found in operands]
        # If one operand is the weight of a torch layer, the other is its input, even if that is a parameter (a token).
        for found in [found for found in operands if found & self.known] or operands:
            self.used |= found

    def carry(self, name: str, args: tuple[Any, ...], result: Tensor) -> None:
        if isinstance(args[0], list | tuple):
            names = [self.names(tensor) for tensor in args[0]]
            found = [name for each in names for name in each] if all(names) else []  # only if all parts are parameters
        elif name == "mul" and isinstance(args[1], Tensor):
            # The operand of the result's size is the weight; the other one scales it: a length, a gain or a mask.
            names = [self.names(tensor) for tensor in args[:2] if tensor.numel() == result.numel()]
            found = next(filter(None, names), [])
        else:
            found = self.names(args[0])
        if found:
            # An element takes at least one byte, so the number of bytes is a bound on the number of elements.
            end = result.untyped_storage().nbytes()
            self.of[self.key(result)] = [(name, 0, end) for name in dict.fromkeys(found)]


def _is_matrix(weight: Tensor) -> bool:
    """Return True if the weight is more than a learned vector, such as a token (1, 1, d)."""
    return weight.dim() == 2 or sum(size > 1 for size in weight.shape) > 1
