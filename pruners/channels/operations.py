"""Effect of torch's operations on channels, by name, for modules, functions and methods alike."""

from typing import Any

from torch import fx, nn

from pruners.channels.records import OperationKind


def operation_kind(name: str) -> OperationKind | None:
    """Return the kind of the operation with this plain name; None if its name alone does not decide it."""
    return _KINDS.get(name)


def plain_name(name: str) -> str:
    """Return the plain name of an operation, the same for `MaxPool2d` and `max_pool2d`, for `ReLU` and `relu_`."""
    return name.lower().replace("_", "")


_POINTWISE = """
    identity contiguous relu relu6 leakyrelu gelu silu hardswish hardsigmoid hardtanh sigmoid tanh elu selu celu mish
    softplus softsign clamp neg abs add iadd sub isub mul imul truediv
"""
GATES = ("relu", "relu6")  # value and slope at zero are zero; the slope of `clamp` is one there
_POOLS = """
    maxpool1d maxpool2d maxpool3d avgpool1d avgpool2d avgpool3d adaptivemaxpool1d adaptivemaxpool2d adaptivemaxpool3d
    adaptiveavgpool1d adaptiveavgpool2d adaptiveavgpool3d upsample interpolate
    dropout dropout1d dropout2d dropout3d featuredropout stochasticdepth
"""
_MIXERS = """
    softmax logsoftmax groupnorm layernorm localresponsenorm instancenorm instancenorm1d instancenorm2d instancenorm3d
"""
_KINDS: dict[str, OperationKind] = {
    **dict.fromkeys(_POINTWISE.split(), "pointwise"),  # treat each element by itself
    **dict.fromkeys(_POOLS.split(), "pool"),  # stay within a channel, and zeros stay zeros
    **dict.fromkeys(_MIXERS.split(), "mix"),  # combine channels, so that none of them can be removed
}


def argument(node: fx.Node, position: int, name: str, default: Any) -> Any:
    """Return an argument of a call, whether it is given by position or by name."""
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def flattens(node: fx.Node, name: str, module: nn.Module | None) -> bool:
    """Return True if the call turns (N, C, ...) into (N, features)."""
    if isinstance(module, nn.Flatten):
        return (module.start_dim, module.end_dim) == (1, -1)
    if name == "flatten":
        return bool(argument(node, 1, "start_dim", 0) == 1 and argument(node, 2, "end_dim", -1) == -1)
    sizes: Any = node.args[1:] if len(node.args) != 2 else node.args[1]
    return name in ("view", "reshape") and isinstance(sizes, tuple | list) and len(sizes) == 2 and bool(sizes[1] == -1)


def spatial(axes: Any) -> bool:
    """Return True if these axes are neither that of the examples (0) nor that of the channels (1)."""
    return all(axis not in (0, 1) for axis in (axes if isinstance(axes, tuple | list) else [axes]))
