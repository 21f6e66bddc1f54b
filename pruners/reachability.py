"""Reachability of weights in any architecture: those that the input reaches and that reach the output.

It is computed by one forward and one backward pass of the model itself over truth values. A number in the forward pass
means "may differ from zero", and its gradient in the backward pass means "affects the output". The layers compute as
always, but their results are rounded to 0 and 1. Operations that could stop a truth value (normalisation, saturation,
the choice of one maximum) let it pass.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pruners.gradients import call, passes
from pruners.reparametrised import plain_copy
from pruners.unrolled import NAMES, RecurrentKind, unrolled
from pruners.weights import prunable


def effective(model: nn.Module, masks: Mapping[str, Tensor], input_shape: tuple[int, ...]) -> dict[str, Tensor]:
    """Return a bool tensor per prunable weight: True where it is kept and on a path from input to output.

    The tensor has the weight's shape. `input_shape` is that of one input, (C, H, W); a weight without a mask counts as
    dense. Biases carry nothing of the input, so they open no path. A weight that is only ever multiplied by padding is
    on no path either.
    """
    weights, _, output = _run(model, masks, input_shape)
    slopes = torch.autograd.grad(output.sum(), list(weights.values()), materialize_grads=True)
    return {name: weight.detach() * slope != 0 for (name, weight), slope in zip(weights.items(), slopes, strict=True)}


def connected(model: nn.Module, masks: Mapping[str, Tensor], input_shape: tuple[int, ...]) -> bool:
    """Return True if any path of kept weights leads from the input to the output; if none does, the output is constant.

    An empty layer cuts only what cannot bypass it: a shortcut that a network adds, joins or multiplies counts.
    """
    _, x, output = _run(model, masks, input_shape)
    (slope,) = torch.autograd.grad(output.sum(), x, materialize_grads=True)
    return bool(slope.any())


def _run(
    model: nn.Module, masks: Mapping[str, Tensor], input_shape: tuple[int, ...]
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Return the truth values of the prunable weights, of one input, and of the model's output for them."""
    weights = {
        name: masks.get(name, torch.ones_like(weight)).to(weight.device, torch.float32).requires_grad_()
        for name, weight in prunable(model).items()
    }
    model, names = plain_copy(model)
    given = {names.get(name, name): weight for name, weight in weights.items()}
    # Ones, so that multiplications let everything pass. What layers add, their biases, is ignored (`_layer`).
    others = {
        name: torch.ones_like(parameter, dtype=torch.float32)
        for name, parameter in model.named_parameters()
        if name not in given
    }
    x = torch.ones(1, *input_shape, device=next(iter(weights.values())).device, requires_grad=True)
    with passes(model, "eval", 0), _Truth():
        return weights, x, call(model, {**others, **given}, x.clone())  # a model may change its input in place


def dead_weights(model: nn.Module, input_shape: tuple[int, ...]) -> dict[str, Tensor]:
    """Return a bool tensor per prunable weight, of its shape: True where no input of this size can ever train it.

    Those are weights that are only multiplied by padding: 62 % of torchvision's ResNet-18 on 32x32 images, whose last
    maps are one pixel wide. Removing them costs nothing, so compressions of such a network mean little.
    """
    return {name: ~alive for name, alive in effective(model, {}, input_shape).items()}


class _Round(torch.autograd.Function):
    """Rounding to 0 and 1, forward and backward; along `axes`, if given, all results are 1 if any is."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, axes: tuple[int, ...] = ()) -> Tensor:
        ctx.axes = axes
        return _truth(x, axes)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _truth(gradient, ctx.axes), None


def _truth(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    truth = (x != 0).to(x.dtype)
    return truth.amax(axes, keepdim=True).expand_as(x).clone() if axes else truth


class _Truth(TorchFunctionMode):
    """Mode that replaces, by name, functions that would not preserve truth values; modules call these functions too."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in NAMES:
            return unrolled(func, args, kwargs or {}, partial(_layer, F.linear), _attend, _cell)
        replace = _REPLACED.get(name.strip("_").removesuffix("_with_indices"))
        return replace(func, *args, **(kwargs or {})) if replace else func(*args, **(kwargs or {}))


def _layer(func: Callable[..., Tensor], x: Tensor, weight: Tensor, bias: Any = None, *args: Any, **kwargs: Any) -> Any:
    return _Round.apply(func(x, weight, None, *args, **kwargs))


def _bilinear(func: Callable[..., Tensor], x: Tensor, y: Tensor, weight: Tensor, *_: Any, **__: Any) -> Any:
    return _Round.apply(func(x, y, weight, None))


def _product(func: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Any:
    return _Round.apply(func(*args, **kwargs))


def _difference(func: Any, x: Any, y: Any, *_: Any, **__: Any) -> Any:
    # A difference of equal truth values would be zero. A number that is no tensor carries nothing of the input.
    if isinstance(x, Tensor) and isinstance(y, Tensor):
        return x + y
    return x if isinstance(x, Tensor) else y


def _attention(func: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Any:
    return _attend(query, key, value)


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Any:
    # No share of attention is zero, and a change of one share changes all others.
    shares = _Round.apply(query @ key.transpose(-2, -1), (-2, -1))
    return _Round.apply((1 + shares) @ value)


def _cell(kind: RecurrentKind, of_x: Sequence[Tensor], of_h: Sequence[Tensor], c: Tensor) -> tuple[Any, Any]:
    # Gates are nowhere zero, so an output may differ from zero if the input of any gate does, or the cell's state.
    gates = sum([*of_x, *of_h], c if kind != "rnn" else torch.zeros_like(c))
    h = _Round.apply(gates)
    return h, h


def _batch_norm(func: Any, x: Tensor, *_: Any, **__: Any) -> Any:
    # Through batch statistics, a channel that differs from zero anywhere does so everywhere.
    return _Round.apply(x, (0, *range(2, x.dim())))


def _mixer(func: Any, x: Tensor, *_: Any, **__: Any) -> Any:
    return _Round.apply(x, tuple(range(x.dim())))


def _same(func: Any, x: Tensor, *_: Any, **__: Any) -> Any:
    return x


def _max_pool(func: Any, x: Tensor, size: Any, stride: Any = None, padding: Any = 0, *_: Any, **options: Any) -> Any:
    # The average of a window is not zero if its maximum is not, and its gradient reaches every place in the window.
    pool: Any = _AVERAGES[func.__name__.split("pool")[1][0]]
    return pool(x, size, stride, padding, options.get("ceil_mode", False))


def _adaptive_max_pool(func: Any, x: Tensor, size: Any, *_: Any, **__: Any) -> Any:
    return getattr(F, func.__name__.replace("max", "avg").removesuffix("_with_indices"))(x, size)


_AVERAGES = {"1": F.avg_pool1d, "2": F.avg_pool2d, "3": F.avg_pool3d}
_REPLACED: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(["linear", *(f"conv{way}{n}d" for way in ("", "_transpose") for n in (1, 2, 3))], _layer),
    "bilinear": _bilinear,
    **dict.fromkeys(["matmul", "mm", "bmm", "mv", "einsum", "baddbmm", "addmm"], _product),
    **dict.fromkeys(["sub", "subtract", "rsub", "isub"], _difference),
    "scaled_dot_product_attention": _attention,
    "batch_norm": _batch_norm,
    **dict.fromkeys(["layer_norm", "group_norm", "instance_norm", "rms_norm", "softmax", "log_softmax"], _mixer),
    # These would have no gradient where they saturate. Sigmoids are not replaced: they are nowhere zero.
    **dict.fromkeys(["relu", "relu6", "hardtanh", "leaky_relu", "elu", "gelu", "silu", "hardswish", "mish"], _same),
    **{f"max_pool{n}d": _max_pool for n in (1, 2, 3)},
    **{f"adaptive_max_pool{n}d": _adaptive_max_pool for n in (1, 2, 3)},
}
