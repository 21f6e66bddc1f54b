"""Working copies of a model without wrappers; module attributes that cannot be copied are shared with the model."""

import copy
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor, nn

from pruners.errors import OF_THE_MACHINE, PruningError, in_one_line, is_out_of_memory

_WRAPPED = {"DataParallel": "module", "DistributedDataParallel": "module", "OptimizedModule": "_orig_mod"}
_SHARDED = ("FullyShardedDataParallel", "FSDPModule")


class PassThrough(nn.Module):
    """Stand-in for a wrapper such as `nn.DataParallel`: calls the wrapped model, and keeps its parameter names."""

    def __init__(self, attribute: str, wrapped: nn.Module, training: bool) -> None:
        """Register `wrapped` as a child under the name `attribute`."""
        super().__init__()
        self.add_module(attribute, wrapped)
        self._attribute, self.training = attribute, training

    def forward(self, x: Any) -> Any:
        """Return what the wrapped model returns."""
        return getattr(self, self._attribute)(x)


class _InnerPassThrough(PassThrough):
    """`PassThrough` inside a model, where a module may take any arguments."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return getattr(self, self._attribute)(*args, **kwargs)


def unwrapped(model: nn.Module) -> nn.Module:
    """Return `model` without `nn.DataParallel`, DistributedDataParallel or `torch.compile` around it.

    The modules are the model's own, and parameters keep their names ("module.0.weight"), so that masks fit both.
    """
    attribute = _wraps(model)
    return model if attribute is None else PassThrough(attribute, unwrapped(getattr(model, attribute)), model.training)


def copied(model: nn.Module) -> nn.Module:
    """Return a deep copy of `model` without wrappers: same parameter names, independent parameters and buffers.

    Tensors with a graph that are attributes of a module (features of an earlier pass, the `weight` of an old-style
    weight_norm) are detached. Other attributes that cannot be copied, such as locks, streams and open files, are
    shared with the model.
    Raises PruningError, naming the module, if the model still cannot be copied, or if a module shards its parameters.
    """
    for name, module in model.named_modules():
        if any(kind.__name__ in _SHARDED for kind in type(module).__mro__):
            raise PruningError(f"Module {name!r} shards its parameters: gather the model before pruning it.")
    try:
        return _copy(model, {})
    except Exception as error:  # noqa: BLE001 - whatever hangs on a module fails as it likes
        _raise_if_of_the_machine(error)
    memo: dict[int, Any] = {}
    own = {id(each): each for each in (*model.modules(), *model.parameters())}
    for module in model.modules():
        for key, value in vars(module).items():
            if key not in ("_parameters", "_modules"):
                _set_aside(value, memo, own, set())
    try:
        return _copy(model, memo)
    except Exception as error:
        _raise_if_of_the_machine(error)
        raise PruningError(
            f"The model cannot be copied to be scored: {_culprit(model, memo)}{in_one_line(error)}."
        ) from error


def _copy(model: nn.Module, memo: Mapping[int, Any]) -> nn.Module:
    memo = dict(memo)
    for module in reversed(list(model.modules())):  # inner wrappers first: outer ones hold their stand-ins
        attribute = _wraps(module)
        if attribute is not None:
            stand_in = PassThrough if module is model else _InnerPassThrough
            memo[id(module)] = stand_in(attribute, copy.deepcopy(getattr(module, attribute), memo), module.training)
    result: nn.Module = copy.deepcopy(model, memo)
    return result


def _wraps(module: nn.Module) -> str | None:
    """Return the attribute that holds the wrapped model; None if this is no wrapper.

    Classes are compared by name, because torch._dynamo loads slowly.
    """
    kinds = (kind for kind in type(module).__mro__ if kind.__module__.startswith("torch."))
    return next((_WRAPPED[kind.__name__] for kind in kinds if kind.__name__ in _WRAPPED), None)


def _set_aside(value: Any, memo: dict[int, Any], own: Mapping[int, Any], seen: set[int]) -> None:
    """Add to `memo` replacements for those parts of `value` that `copy.deepcopy` cannot copy."""
    if id(value) in seen or id(value) in memo or id(value) in own:
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        if value.grad_fn is not None:
            memo[id(value)] = value.detach().clone()
        return
    if _copyable(value, memo, own):
        return
    parts: Collection[Any] = ()
    if isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        parts = value
    elif not isinstance(value, type) and type(value).__module__ != "builtins":
        parts = getattr(value, "__dict__", {}).values()
    for part in parts:
        _set_aside(part, memo, own, seen)
    if not _copyable(value, memo, own):
        memo[id(value)] = value


def _copyable(value: Any, memo: Mapping[int, Any], own: Mapping[int, Any]) -> bool:
    try:
        copy.deepcopy(value, {**own, **memo})
    except Exception as error:  # noqa: BLE001 - whatever hangs on a module fails as it likes
        _raise_if_of_the_machine(error)
        return False
    return True


def _culprit(model: nn.Module, memo: Mapping[int, Any]) -> str:
    """Return the start of a message that names the innermost module that cannot be copied; "" if none has a name."""
    for name, module in reversed(list(model.named_modules())):
        if not _copyable(module, memo, {}):
            return f"module {name!r} ({type(module).__name__}): " if name else ""
    return ""


def _raise_if_of_the_machine(error: Exception) -> None:
    if isinstance(error, OF_THE_MACHINE) or is_out_of_memory(error):
        raise error
