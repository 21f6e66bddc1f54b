"""Inputs of the products that prunable weights are used in, passed to a visitor while a model runs."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from pruners.errors import PruningError
from pruners.gradients import call, leaves, micro_batches, noise, passes
from pruners.pruner import Batch
from pruners.weights import prunable

AT_ONCE = 2**24  # numbers of the patches that are unfolded together


class Convolution(NamedTuple):
    """Settings of a convolution, as torch's operator takes them."""

    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]
    transposed: bool
    output_padding: Sequence[int]
    groups: int


@dataclass(frozen=True)
class Product:
    """Product of an input with a prunable weight or with some of its rows: inputs @ weight.T, or a convolution."""

    name: str  # of the parameter
    rows: slice  # of the parameter
    inputs: Tensor  # (n, inputs) of a matrix product, (N, C, ...) of a convolution
    convolution: Convolution | None = None
    output: tuple[int, ...] = ()  # shape of the convolution's output

    def require_matrix(self) -> None:
        """Raise PruningError for transposed convolutions, whose outputs differ in the weights that they use."""
        if self.convolution and self.convolution.transposed:
            raise PruningError(f"The inputs of {self.name}, a transposed convolution, are not those of one matrix.")

    def patches(self, kernel: Sequence[int]) -> Iterator[Tensor]:
        """Yield the inputs of each output, (groups, n, inputs of one output), some images at a time.

        `kernel` is the convolution's size. Raises PruningError for transposed convolutions.
        """
        c = self.convolution
        if c is None:
            yield self.inputs[None]
            return
        self.require_matrix()
        each = self.inputs[0].numel() * math.prod(kernel)
        for images in torch.split(self.inputs, max(1, AT_ONCE // each)):
            x = nn.functional.pad(images, [width for width in reversed(c.padding) for _ in range(2)])
            for axis, (size, stride, dilation) in enumerate(zip(kernel, c.stride, c.dilation, strict=True), 2):
                x = x.unfold(axis, (size - 1) * dilation + 1, stride)[..., ::dilation]
            x = x.movedim(1, 1 + len(kernel))  # (N, outputs ..., C, kernel ...)
            yield x.reshape(x.shape[: 1 + len(kernel)].numel(), c.groups, -1).transpose(0, 1)


class LayerInputs(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Mode in which `visit` is called for each product with a prunable weight; `seen` has the names of these weights.

    Weights are recognised by their memory, so that attention and recurrent layers, which use parts of a parameter, are
    seen as well.
    """

    def __init__(self, model: nn.Module, visit: Callable[[Product], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: set[str] = set()
        self._visit = visit
        self._weights = {weight.untyped_storage()._cdata: (name, weight) for name, weight in prunable(model).items()}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kind = func.overloadpacket.__name__
        if kind in ("mm", "bmm"):
            self._product(args[0], args[1])
        elif kind in ("addmm", "baddbmm"):
            self._product(args[1], args[2])
        result = func(*args, **(kwargs or {}))
        if kind in ("convolution", "convolution_overrideable"):
            self._convolution(args, result.shape)
        return result

    def _product(self, left: Tensor, right: Tensor) -> None:
        found = self._rows(right.transpose(-1, -2))
        if found:
            self._tell(Product(*found, left.detach().reshape(-1, left.shape[-1])))
        elif found := self._rows(left):
            self._tell(Product(*found, right.detach().transpose(-1, -2).reshape(-1, right.shape[-2])))

    def _convolution(self, args: tuple[Any, ...], output: torch.Size) -> None:
        entry = self._weights.get(args[1].untyped_storage()._cdata)
        if entry is not None and args[1].shape == entry[1].shape:
            self._tell(Product(entry[0], slice(0, len(args[1])), args[0].detach(), Convolution(*args[3:9]), output))

    def _rows(self, matrix: Tensor) -> tuple[str, slice] | None:
        """Return which rows of which weight a matrix is; None if it is none, or another part of one."""
        entry = self._weights.get(matrix.untyped_storage()._cdata)
        if entry is None:
            return None
        name, weight = entry
        if matrix.dim() == 3 and matrix.stride(0) == 0:  # one matrix for a whole batch
            matrix = matrix[0]
        width = weight[0].numel()
        if matrix.dim() != 2 or matrix.shape[1] != width or matrix.stride() != (width, 1):
            return None
        start = int(matrix.storage_offset() - weight.storage_offset()) // width
        return name, slice(start, start + len(matrix))

    def _tell(self, product: Product) -> None:
        self.seen.add(product.name)
        self._visit(product)


@torch.no_grad()
def visit_products(model: nn.Module, inputs: Tensor, visit: Callable[[Product], None]) -> set[str]:
    """Run `model` on `inputs` (N, ...) and call `visit` for each product with a prunable weight; return their names.

    Call it within `pruners.gradients.passes`. Attention and recurrent layers run as the products that they consist of.
    """
    mode = LayerInputs(model, visit)
    with _taken_apart(model), mode:
        call(model, {}, inputs)
    return mode.seen


def require_seen(model: nn.Module, inputs: Tensor, seen: set[str], label: str) -> None:
    """Raise PruningError, naming the weights, if the output depends on weights whose products were not seen.

    Call it within `pruners.gradients.passes`. `label` is the pruner's name in the message.
    """
    weights = leaves(model)
    output = call(model, weights, inputs[:2])
    slopes = torch.autograd.grad(output.sum(), list(weights.values()), allow_unused=True)
    hidden = [name for name, slope in zip(weights, slopes, strict=True) if slope is not None and name not in seen]
    if hidden:
        raise PruningError(
            f"Pruner {label!r} needs the inputs of every layer, and those of {', '.join(hidden)} cannot be seen: keep "
            "these layers dense (keep_dense), or choose another pruner."
        )


def require_visible(model: nn.Module, input_shape: tuple[int, ...], label: str, matrices: bool = False) -> None:
    """Raise PruningError, naming the weights, if the inputs of a layer that matters cannot be seen.

    With `matrices`, also if they are not rows of a matrix (`Product.patches`). It takes one pass of two black images.
    """

    def visit(product: Product) -> None:
        if matrices:
            product.require_matrix()

    first = next(model.parameters())
    x = torch.zeros(2, *input_shape, device=first.device, dtype=first.dtype)
    with passes(model, "eval", 0):
        require_seen(model, x, visit_products(model, x, visit), label)


@contextmanager
def _taken_apart(model: nn.Module) -> Iterator[None]:
    """Switch off fused attention and, if the model has recurrent layers, fused recurrent layers."""
    fast = torch.backends.mha.get_fastpath_enabled()
    libraries = torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled
    torch.backends.mha.set_fastpath_enabled(False)
    if any(isinstance(module, nn.RNNBase) for module in model.modules()):
        # Not by the libraries' contexts: they set TF32 as well, in a way that conflicts with `ieee_float32`.
        torch.backends.mkldnn.enabled = torch.backends.cudnn.enabled = False  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled = libraries


def input_hessians(
    model: nn.Module, batches: Sequence[Batch], mode: str, generator: torch.Generator, label: str
) -> dict[str, list[tuple[slice, Tensor]]]:
    """Return, per weight, 2 X Xᵀ / N for the inputs X of some of its rows, float64; N is the number of images.

    That is the Hessian of the squared error of these outputs. A grouped convolution has one for each group, attention
    whose query, key and value differ one for each of them. A weight that nothing uses has none.

    Raises:
        PruningError: naming the layers, if their inputs cannot be seen or are no rows of a matrix.
    """
    found: dict[str, dict[tuple[int, int], Tensor]] = {name: {} for name in prunable(model)}
    shapes = {name: weight.shape for name, weight in prunable(model).items()}
    device = next(iter(prunable(model).values())).device
    seen: set[str] = set()

    def visit(product: Product) -> None:
        for rows in product.patches(shapes[product.name][2:]):
            each = (product.rows.stop - product.rows.start) // len(rows)
            for group, x in enumerate(rows.double()):
                start = product.rows.start + group * each
                total = found[product.name].setdefault((start, start + each), x.new_zeros(x.shape[1], x.shape[1]))
                total.addmm_(x.T, x)

    with passes(model, mode, noise(generator)):
        for inputs, _ in batches:
            for part in micro_batches(model, inputs, [mode]):
                seen |= visit_products(model, inputs[part].to(device), visit)
        require_seen(model, batches[0][0].to(device), seen, label)
    count = sum(len(inputs) for inputs, _ in batches)
    overlap = [name for name, each in found.items() if sum(b - a for a, b in each) not in (0, shapes[name][0])]
    if overlap:
        raise PruningError(f"Pruner {label!r} cannot tell the inputs of {', '.join(overlap)} from each other.")
    return {
        name: [(slice(*ends), h * (2 / count)) for ends, h in sorted(each.items(), key=lambda e: e[0])]
        for name, each in found.items()
    }


def add_squares(total: Tensor, product: Product, weight: Tensor) -> None:
    """Add to `total`, shaped like the weight, the sum of the squared inputs that each weight multiplies; float64."""
    squares = product.inputs.double().square()
    if product.convolution is None:
        total.flatten(1)[product.rows] += squares.sum(0)
        return
    # The gradient of the sum of all outputs with respect to a weight is the sum of the inputs that it multiplies.
    ones = squares.new_ones(product.output)
    only_weight = [False, True, False]
    total += torch.ops.aten.convolution_backward(
        ones, squares, weight.double(), None, *product.convolution, only_weight
    )[1]
