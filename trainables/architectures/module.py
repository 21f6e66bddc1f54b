"""Turn the object that an architecture's function returns into the module that trials train, or reject it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from search_spaces import SpaceError
from trainables.architectures.architecture import Shape

WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)
DTYPES = (torch.float32, torch.float64)


def as_module(made: object, input_shape: Shape) -> nn.Module:
    """Return the network `made` on the CPU (or "meta"), without wrappers and with its lazy layers initialised.

    Wrappers that spread a batch over GPUs or compile are removed, inside the network too: state names are those of the
    inner network. Lazy layers draw their weights from torch's global generator, in the order of the forward pass.

    Raises:
        SpaceError: if `made` is no nn.Module, or its parameters cannot be trained, masked or stored.
    """
    if isinstance(made, type):
        raise SpaceError(f"architecture: it returns the class {made.__name__}; it must return an object of that class")
    if not isinstance(made, nn.Module):
        kind = "nothing" if made is None else f"a {type(made).__name__}"
        raise SpaceError(f"architecture: it returns {kind}; it must return an nn.Module")
    model = _unwrapped(made)
    _initialise(model, input_shape)
    _require_usable(model)
    if any(tensor.device.type not in ("cpu", "meta") for tensor in model.parameters()):
        model.to("cpu")  # trials move it to their own device
    return model


def _unwrapped(module: nn.Module) -> nn.Module:
    """Return the module inside any wrappers, and remove wrappers from its submodules."""
    while isinstance(module, WRAPPERS):
        module = module.module
    if type(module).__name__ == "OptimizedModule":  # of torch.compile; importing the class takes a second
        return _unwrapped(module.get_submodule("_orig_mod"))
    for name, child in list(module.named_children()):
        if (inner := _unwrapped(child)) is not child:
            setattr(module, name, inner)
    return module


def _initialise(model: nn.Module, input_shape: Shape) -> None:
    """Run the network once if it has lazy layers, which take their shapes from their first input.

    The first pass is in eval mode, so that running statistics stay unchanged. A second pass in train mode initialises
    layers that run only there.
    """
    training = model.training
    for mode in (False, True):
        lazy = _lazy(model)
        if not lazy:
            break
        kept = {name: value.clone() for name, value in model.named_buffers() if name not in lazy}
        model.train(mode)
        try:
            with torch.no_grad():
                model(torch.zeros(2, *input_shape))
        except Exception as error:
            raise SpaceError(
                f"architecture: its lazy layers cannot be initialised: {type(error).__name__}: {error}"
            ) from error
        made = set(lazy).difference(_lazy(model))
        for name, value in model.named_buffers():
            if name in kept:
                value.copy_(kept[name])
        for name, module in model.named_modules():
            if isinstance(module, nn.modules.batchnorm._NormBase) and f"{name}.running_mean" in made:
                module.reset_running_stats()
    model.train(training)
    if lazy := _lazy(model):
        raise SpaceError(
            f"architecture: its lazy layers take no part in the forward pass: {first_names(layers_of(lazy))}"
        )


def _lazy(model: nn.Module) -> list[str]:
    named = [*model.named_parameters(), *model.named_buffers()]
    return [name for name, tensor in named if is_lazy(tensor)]


def _require_usable(model: nn.Module) -> None:
    parameters = dict(model.named_parameters())
    if not parameters:
        raise SpaceError("architecture: it has no parameters; there is nothing to train")
    for name, parameter in parameters.items():
        if parameter.dtype not in DTYPES or parameter.layout != torch.strided:
            kind = str(parameter.dtype if parameter.layout == torch.strided else parameter.layout)
            kind = kind.removeprefix("torch.")
            if parameter.dtype in (torch.float16, torch.bfloat16):
                raise SpaceError(
                    f"architecture: its parameter {name} is {kind}; build it in float32; to train in "
                    "another precision, set 'precision'"
                )
            raise SpaceError(f"architecture: its parameter {name} is {kind}; only float32 weights are trained")
        if parameter.is_meta and torch.get_default_device().type != "meta":
            raise SpaceError(f"architecture: its parameter {name} has no values: it is on the meta device")
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise SpaceError(
                f"architecture: its state_dict holds {name}, which is a {type(value).__name__} and not a tensor"
            )
    _require_apart(parameters)


def _require_apart(parameters: Mapping[str, Tensor]) -> None:
    """Raise a SpaceError if parameters overlap in memory: a step on the CPU would update the shared numbers twice.

    One parameter with two names (tied weights) is no overlap: named_parameters returns it once.
    """
    at: dict[int, list[str]] = {}
    for name, parameter in parameters.items():
        if parameter.is_meta:
            continue
        if any(step == 0 and size > 1 for step, size in zip(parameter.stride(), parameter.shape, strict=True)):
            raise SpaceError(
                f"architecture: several elements of its parameter {name} share memory; build it with clone()"
            )
        at.setdefault(parameter.untyped_storage().data_ptr(), []).append(name)
    for names in at.values():
        for one, other in combinations(names, 2):
            if _overlap(parameters[one], parameters[other]):
                raise SpaceError(
                    f"architecture: its parameters {one} and {other} share memory without being one parameter; "
                    "assign the nn.Parameter itself to both modules"
                )


def _overlap(one: Tensor, other: Tensor) -> bool:
    """Return True if two views of one storage have a number in common."""
    if not one.numel() or not other.numel():
        return False
    first, second = sorted((one, other), key=lambda tensor: tensor.storage_offset())
    if _end(first) < second.storage_offset():
        return False
    indices = torch.arange(one.untyped_storage().nbytes() // one.element_size(), device="cpu")
    own, others = (indices.as_strided(t.shape, t.stride(), t.storage_offset()) for t in (one, other))
    return bool(torch.isin(own, others).any())


def _end(tensor: Tensor) -> int:
    """Return the position of a tensor's last number in its storage."""
    steps = ((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    return int(tensor.storage_offset()) + sum(steps)


def layers_of(names: Iterable[str]) -> list[str]:
    """Return the names of the modules that hold the parameters of these names, each once."""
    return list(dict.fromkeys(name.rpartition(".")[0] or name for name in names))


def first_names(names: Sequence[str], most: int = 4) -> str:
    """Return the names as text for a message: `a, b, c, d and 3 more`."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
