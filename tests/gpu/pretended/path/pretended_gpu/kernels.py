"""An operator of torch on the pretended GPU: the CPU does it, on the same memory, now or when a graph is replayed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from pretended_gpu.draws import draw, seeded
from pretended_gpu.library import is_capturing, launch
from pretended_gpu.memory import in_private_pool, like, mapped, on_cpu, tensors_in

# On CUDA these wait for the GPU: the size of their result depends on values, or the result is a Python number.
SYNCHRONIZING = {
    "_unique", "_unique2", "bincount", "equal", "histc", "masked_select", "multinomial", "nonzero", "repeat_interleave",
    "unique_consecutive", "unique_dim",
}  # fmt: skip
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
MIXING = {"_foreach_copy_"}  # takes tensors of several devices


class Kernel:
    """The CUDA kernel of one operator, made of its CPU kernel or of `function`, which takes the same arguments.

    `hidden` names arguments that are written although the operator's schema does not say so.
    """

    def __init__(self, op: Any, function: Callable[..., Any] | None = None, hidden: tuple[str, ...] = ()) -> None:
        schema = op._schema
        base = schema.name.removeprefix("aten::")
        self.name = f"{base}.{schema.overload_name}" if schema.overload_name else base
        self._function = function or op
        self._parameters = [each.name for each in schema.arguments]
        self._tensors = {each.name for each in schema.arguments if str(each.type) == "Tensor"}
        self._keyword_only = {each.name for each in schema.arguments if each.kwarg_only}
        written = {each.name: each for each in schema.arguments if each.alias_info and each.alias_info.is_write}
        self._outs = [name for name in written if name in self._keyword_only]
        self._returned = [_argument_of(each, written) for each in schema.returns]
        self._in_place = bool(written) and all(self._returned)
        self._written = tuple(written) or hidden
        self._generator = next((each.name for each in schema.arguments if "Generator" in str(each.type)), None)
        self._synchronizes = base in SYNCHRONIZING
        self._indexing = base in INDEXING
        self._mixing = base in MIXING

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do the operator, or record it where the current stream is being captured."""
        given = dict(zip(self._parameters, args, strict=False)) | kwargs
        with torch._C.DisableTorchFunction(), torch.no_grad():
            device = self._device(given)
            current = torch._C._cuda_getDevice()
            with nullcontext() if device == current else torch.cuda.device(device):
                if self._synchronizes or (self._indexing and _needs_values(given["indices"])):
                    torch.cuda.current_stream().synchronize()
                if self._outs:
                    return self._into(given, device)
                return self._change(given, device) if self._in_place else self._make(given, device)

    def _device(self, given: dict[str, Any]) -> int:
        """Return the GPU that all tensors are on. Raises as torch does if there are several."""
        tensors = list(tensors_in(list(given.values())))
        devices = {each.device.index for each in tensors if each.is_cuda and each.dim() > 0}
        devices = devices or {each.device.index for each in tensors if each.is_cuda}
        if not devices:
            wanted = given.get("device")
            index = None if wanted is None else torch.device(wanted).index
            return torch._C._cuda_getDevice() if index is None else index
        device = min(devices)
        for each in tensors:
            foreign = len(devices) > 1 or not (each.is_cuda or each.dim() == 0 or self._indexing or self._mixing)
            if foreign and each.device != torch.device("cuda", device):
                raise RuntimeError(
                    f"Expected all tensors to be on the same device, but found at least two devices, cuda:{device} and "
                    f"{each.device}! (when checking an argument of {self.name})"
                )
        return device

    def _call(self, given: dict[str, Any], device: int) -> Callable[..., Any]:
        """Return the CPU's computation. Its keywords replace arguments."""
        capturing = is_capturing(device)

        def there(tensor: Tensor) -> Tensor:
            if tensor.is_cuda:
                return on_cpu(tensor)
            return tensor.clone() if capturing else tensor  # a kernel is launched with the value that a number has now

        cpu = {name: mapped(value, there) for name, value in given.items()}
        for name in self._tensors:
            if isinstance(cpu.get(name), int | float | complex):  # C++ hands on a tensor made of a number as the number
                kind = torch.result_type(next(tensors_in(list(cpu.values()))), cpu[name])
                cpu[name] = torch.tensor(cpu[name], dtype=kind)
        if "device" in cpu:
            cpu["device"] = torch.device("cpu")
        seed = draw(given.get(self._generator), device) if self._generator else None

        def call(**other: Any) -> Any:
            if seed is not None:
                other[self._generator] = seeded(seed)
            values = cpu | other
            positional = [values[name] for name in self._parameters[: self._count] if name in values]
            keywords = {name: values[name] for name in self._keyword_only if name in values}
            return self._function(*positional, **keywords)

        return call

    @property
    def _count(self) -> int:
        return len(self._parameters) - len(self._keyword_only)

    def _change(self, given: dict[str, Any], device: int) -> Any:
        """Do an operator that writes into its arguments and returns nothing else."""
        call = self._call(given, device)
        # In a capture nothing is computed. But the shapes of later results are found by computing them, for which what
        # the graph's own memory holds must make sense: there, and only there, it is done at once too.
        if not launch(self.name, device, call) or self._only_private(given):
            call()
        found = tuple(given[name] for name in self._returned)
        return found[0] if len(found) == 1 else found or None

    def _only_private(self, given: dict[str, Any]) -> bool:
        return all(in_private_pool(each) for each in tensors_in([given.get(name) for name in self._written]))

    def _into(self, given: dict[str, Any], device: int) -> Any:
        """Do an operator that writes into tensors given as `out`, which get the result's shape."""
        call = self._call(given, device)

        empty = {name: mapped(given[name], lambda each: torch.empty(0, dtype=each.dtype)) for name in self._outs}

        def compute() -> list[Tensor]:
            outs = {name: mapped(value, torch.clone) for name, value in empty.items()}
            call(**outs)
            return list(tensors_in(list(outs.values())))

        results = compute()
        targets = list(tensors_in([given[name] for name in self._outs]))
        for target, result in zip(targets, results, strict=True):
            if target.shape != result.shape:
                target.resize_(result.shape)
        views = [on_cpu(each) for each in targets]

        def again() -> None:
            _store(views, compute())

        if not launch(self.name, device, again) or self._only_private(given):
            _store(views, results)
        found = tuple(given[name] for name in self._returned)
        return found[0] if len(found) == 1 else found or None

    def _make(self, given: dict[str, Any], device: int) -> Any:
        """Do an operator that returns new tensors."""
        call = self._call(given, device)
        views: list[Tensor] = []

        def again() -> None:
            _store(views, list(tensors_in(call())))

        recorded = launch(self.name, device, again)
        keep = {name: given[name] for name in self._written if given.get(name) is not None} if recorded else {}
        result = call(**{name: mapped(value, lambda each: on_cpu(each).clone()) for name, value in keep.items()})

        def there(tensor: Tensor) -> Tensor:
            made = like(tensor, device)
            views.append(on_cpu(made))
            views[-1].copy_(tensor)
            return made

        made = mapped(result, there)
        if self._written and any(self._returned):
            made = tuple(given[name] if name else each for name, each in zip(self._returned, made, strict=True))
        return made


def _argument_of(returned: Any, written: dict[str, Any]) -> str | None:
    """Return the name of the written argument that an operator returns, None if it returns something new."""
    alias = returned.alias_info
    if alias is None or not alias.is_write:
        return None
    return next(name for name, each in written.items() if each.alias_info.before_set == alias.before_set)


def _needs_values(indices: list[Tensor | None]) -> bool:
    """Return True if indexing waits for the GPU: masks are turned into positions, indices of the host are copied."""
    given = [each for each in indices if each is not None]
    return any(each.dtype in (torch.bool, torch.uint8) or not each.is_cuda for each in given)


def _store(views: list[Tensor], results: list[Tensor]) -> None:
    for view, result in zip(views, results, strict=True):
        view.copy_(result)
