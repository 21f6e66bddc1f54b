"""Linearised networks for scoring: activations, norms and gates are replaced, so that outputs are sums over paths."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pruners.unrolled import NAMES, RecurrentKind, unrolled

_ACTIVATIONS = (
    *("relu", "relu_", "relu6", "hardtanh", "hardtanh_", "hardswish", "leaky_relu", "silu", "gelu", "mish"),
    *("elu", "elu_", "selu", "celu", "softplus", "softsign", "tanh"),
)
ACTIVATIONS = frozenset(
    getattr(home, name) for name in _ACTIVATIONS for home in (F, torch, Tensor) if hasattr(home, name)
)
_GATES = frozenset({torch.sigmoid, Tensor.sigmoid, Tensor.sigmoid_, F.sigmoid, F.hardsigmoid})
_SHARES = frozenset({torch.softmax, Tensor.softmax, F.softmax})
_NORMS = frozenset({F.batch_norm, F.instance_norm, F.group_norm})  # with a scale per channel, dimension 1
_LAST_NORMS = frozenset({F.layer_norm, F.rms_norm})  # with a scale over the last dimensions


class LinearFlow(TorchFunctionMode):
    """Mode in which activations are the identity, and norms multiply by their scale over their spread and add biases.

    On positive signals most activations are the identity anyway. Those that saturate (ReLU6, hard-swish's gate, tanh)
    have no gradient at the size that products of absolute weights reach. A norm would divide this size away; layer
    norm, for one, would leave a sum whose gradient is zero. The spread is that of running statistics, else 1.
    Gates (sigmoids, as in squeeze-and-excite) and attention (softmax) are open: 1, or 1 / n for each of n. Their
    gradient is that of the logarithm, so that a layer behind a gate carries the same flow as one on the path.
    Recurrent layers are unrolled; a GRU both keeps its state and adds the new one.

    `power` is 1 for absolute weights and 2 for squared ones: a norm's spread is its standard deviation to that
    power. If `patterns` are given, activation i multiplies by the i-th of these masks instead of being the identity.
    """

    def __init__(self, power: int = 1, patterns: Iterable[Tensor] | None = None) -> None:
        super().__init__()
        self.power = power
        self.patterns = None if patterns is None else iter(patterns)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in ACTIVATIONS:
            x = _first(args, kwargs)
            return x if self.patterns is None else x * next(self.patterns)
        if func in _NORMS or func in _LAST_NORMS:
            return self._scaled(func, signature(func).bind(*args, **kwargs).arguments)
        if func in _GATES:
            return _open(_first(args, kwargs))
        if func in _SHARES:
            x = _first(args, kwargs)
            return _open(x) / x.shape[kwargs["dim"] if "dim" in kwargs else args[1]]
        return self._by_parts(func, args, kwargs)

    def _by_parts(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if func is F.scaled_dot_product_attention:
            return _attend(*args[:3])
        if getattr(func, "__name__", "") in NAMES:
            return unrolled(func, args, kwargs, F.linear, _attend, _cell)
        return func(*args, **kwargs)

    def _scaled(self, norm: Callable[..., Any], given: Mapping[str, Any]) -> Tensor:
        x: Tensor = given["input"]
        shape = (1, -1, *[1] * (x.ndim - 2)) if norm in _NORMS else (*given["normalized_shape"],)
        if given.get("weight") is not None:
            x = x * given["weight"].view(shape)
        if given.get("running_var") is not None:
            x = x * (given["running_var"] + given["eps"]).view(shape) ** (-self.power / 2)
        if given.get("bias") is not None:
            x = x + given["bias"].view(shape)
        return x


class Patterns(TorchFunctionMode):
    """Mode in which every activation appends a mask to `seen`: True where its input is positive."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in ACTIVATIONS:
            self.seen.append(_first(args, kwargs or {}) > 0)
        return func(*args, **(kwargs or {}))


def _first(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
    x: Tensor = args[0] if args else kwargs["input"]
    return x


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return _open(query @ key.transpose(-2, -1)) / key.shape[-2] @ value


def _cell(kind: RecurrentKind, of_x: Sequence[Tensor], of_h: Sequence[Tensor], c: Tensor) -> tuple[Tensor, Tensor]:
    gates = [x + h for x, h in zip(of_x, of_h, strict=True)]
    if kind == "lstm":
        enter, keep, new, leave = gates
        c = _open(keep) * c + _open(enter) * new
        return _open(leave) * c, c
    if kind == "gru":
        reset, keep, _ = gates
        c = of_x[2] + _open(reset) * of_h[2] + _open(keep) * c
        return c, c
    return gates[0], gates[0]


def _open(x: Tensor) -> Tensor:
    size = x.detach()
    share = x / size.masked_fill(size == 0, torch.inf)
    return 1 + share - share.detach()
