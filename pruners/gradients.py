"""Forward passes, losses, gradients and micro-batches for scores; all of them leave the model as it was."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from pruners import memory
from pruners.float32 import ieee_float32
from pruners.logits import CROSS_ENTROPY, IGNORED, counted, logits_of, loss_of
from pruners.model_copy import unwrapped
from pruners.pruner import Batch
from pruners.weights import prunable


def leaves(model: nn.Module) -> dict[str, Tensor]:
    """Return the prunable weights as new autograd leaves: they share storage with the model, but not its `.grad`."""
    return {name: weight.detach().requires_grad_() for name, weight in prunable(model).items()}


def noise(generator: torch.Generator) -> int:
    """Draw a seed for a `passes` block; two blocks with the same seed have the same dropout."""
    return int(torch.randint(2**62, (), generator=generator))


@contextmanager
def passes(model: nn.Module, mode: str, noise: int) -> Iterator[None]:
    """Set `model` to `mode` ("train" or "eval") and the random seed to `noise`, from which dropout draws.

    Inside the block gradients are on, and autocast and TF32 are off, whatever surrounds it: scores in half precision
    would differ. On leaving, the mode of every submodule (frozen batch norms included) and the random states of the
    CPU and of the model's GPUs are restored.
    """
    before = [(module, module.training) for module in model.modules()]
    devices = {weight.device for weight in model.parameters()}
    gpus = sorted(device.index for device in devices if device.type == "cuda")
    kind = next(iter(devices)).type
    with (
        torch.random.fork_rng(gpus),
        torch.enable_grad(),
        torch.autocast(kind if kind != "meta" else "cpu", enabled=False),
        ieee_float32(),
    ):
        # Not torch.manual_seed: it would also reseed devices that are not restored, even ones not yet initialised.
        torch.default_generator.manual_seed(noise)
        for gpu in gpus:
            torch.cuda.default_generators[gpu].manual_seed(noise)
        model.train(mode == "train")
        try:
            yield
        finally:
            for module, training in before:
                module.training = training


@contextmanager
def differentiable_twice() -> Iterator[None]:
    """Make attention use the math kernel, for the whole process: fused kernels have no second derivative."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


def _puts_back(function: Callable[[nn.Module, Mapping[str, Tensor], Tensor], Tensor]) -> Callable[..., Tensor]:
    """Restore the model's parameters and buffers after each call of `function`.

    torch.func.functional_call (2.15) restores the wrong ones if a module has two names, because it swaps them twice.
    """

    @wraps(function)
    def called(model: nn.Module, tensors: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        held = [(module, dict(module._parameters), dict(module._buffers)) for module in model.modules()]
        try:
            return function(model, tensors, inputs)
        finally:
            for module, parameters, buffers in held:
                module._parameters.update(parameters)
                module._buffers.update(buffers)

    return called


@_puts_back
def call(model: nn.Module, tensors: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    """Return the model's logits with `tensors` in place of the parameters and buffers that they name.

    Other buffers are copied, so that batch norm in train mode updates the copies and not the model's. Inputs are
    copied, because a network may change them in place. If the output is not a tensor, its logits are returned
    (`logits_of`). Wrappers such as `nn.DataParallel` are bypassed.
    """
    model = unwrapped(model)
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers() if name not in tensors}
    return logits_of(functional_call(model, {**buffers, **tensors}, (inputs.clone(),)))


def micro_batches(model: nn.Module, inputs: Tensor, modes: Iterable[str]) -> list[slice]:
    """Return the slices of a batch to pass separately, so that a sum over inputs fits into the GPU's memory.

    It is one slice, unless `pruners.memory` asks for smaller passes and the output for an input depends on no other
    input in any of these `modes` ("train", "eval"). Batch norm in train mode makes it depend on them, and so does
    dropout, which draws other numbers for smaller batches.
    Raises torch.OutOfMemoryError if the batch must be split and cannot be.
    """
    budget, n = memory.current(), len(inputs)
    whole = [slice(0, n)]
    if budget is None:
        return whole
    if 0 < budget.images < n:
        for mode in modes:
            if mode not in budget.separable:
                budget.separable[mode] = _separable(model, inputs, mode)
        if all(budget.separable[mode] for mode in modes):
            budget.split, budget.largest = True, max(budget.largest, budget.images)
            return [slice(start, min(start + budget.images, n)) for start in range(0, n, budget.images)]
        if budget.must_split:
            raise torch.OutOfMemoryError("A batch does not fit into the GPU's memory, and cannot be split.")
        return whole
    budget.largest = max(budget.largest, n)
    return whole


class _BatchStatistics(TorchFunctionMode):
    """Mode that records in `seen` whether batch norm used the statistics of its batch inside it."""

    seen = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in (F.batch_norm, torch.batch_norm):
            self.seen |= bool(kwargs.get("training", args[5] if args[5:] else False))
        return func(*args, **kwargs)


@torch.no_grad()
def _separable(model: nn.Module, inputs: Tensor, mode: str) -> bool:
    """Return True if the model's output for an input depends on no other input in this mode; if in doubt, False.

    This is tested on the network itself, because a user's network may do anything: the first and the last input alone
    must give the same outputs as in the batch, or in as much of it as fits into memory, and the pass must neither draw
    random numbers nor use batch statistics.
    """
    inputs = inputs.to(next(model.parameters()).device)
    with passes(model, mode, 0):
        before = _random_states(inputs.device)
        with _BatchStatistics() as statistics:
            together, count = _as_many(model, inputs)
            try:
                alone = [call(model, {}, inputs[i : i + 1]) for i in (0, count - 1)]
            except torch.OutOfMemoryError:
                raise
            except Exception:  # noqa: BLE001 - a forward that takes no single input fails as it likes
                return False
        drawn = not all(map(torch.equal, before, _random_states(inputs.device)))
    if count < 2 or drawn or statistics.seen or len(together) != count:
        return False
    scale = float(together.abs().max())
    tolerance = scale * (1e-9 if together.dtype == torch.float64 else 1e-4)  # rounding: 1e-15 and 1e-6
    return all(
        one.shape == together[i : i + 1].shape and float((one - together[i : i + 1]).abs().max()) <= tolerance
        for one, i in zip(alone, (0, count - 1), strict=True)
    )


def _as_many(model: nn.Module, inputs: Tensor) -> tuple[Tensor, int]:
    """Return the outputs of the first inputs, and their number: as many as a pass without gradients has memory for."""
    count = len(inputs)
    while True:
        try:
            return call(model, {}, inputs[:count]), count
        except torch.OutOfMemoryError:
            if count <= 2:
                raise
        count //= 2


def _random_states(device: torch.device) -> list[Tensor]:
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def mode_of(model: nn.Module) -> str:
    """Return the mode that a model is in within `passes`."""
    return "train" if model.training else "eval"


def batch_loss(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    batch: Batch,
    temperature: float = 1.0,
    kind: str = CROSS_ENTROPY,
) -> Tensor:
    """Return the mean loss of one batch, for logits divided by `temperature` (`pruners.logits.loss_of`)."""
    device = next(iter(weights.values())).device
    inputs, labels = (tensor.to(device) for tensor in batch)
    counted(labels)
    return loss_of(call(model, weights, inputs) / temperature, labels, kind)


def losses(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    batches: Iterable[Batch],
    temperature: float = 1.0,
    kind: str = CROSS_ENTROPY,
) -> Iterator[Tensor]:
    """Yield the batches' mean losses, each as a sum of as many terms as memory asks for (`micro_batches`).

    Call it within `passes`. Only one term's graph is alive at a time, if the caller drops it.
    """
    for inputs, labels in batches:
        total = counted(labels)
        parts = micro_batches(model, inputs, [mode_of(model)])
        for part in parts:
            if len(parts) > 1 and not (labels[part] != IGNORED).any():
                continue
            share = counted(labels[part]) / total
            loss = batch_loss(model, weights, (inputs[part], labels[part]), temperature, kind)
            yield loss if share == 1 else share * loss


def gradients_of_images(
    model: nn.Module, weights: Mapping[str, Tensor], batches: Iterable[Batch], images: int
) -> Iterator[list[Tensor]]:
    """Yield the gradients of the mean losses of `images` inputs at a time, or of what is left of a batch.

    Call it within `passes`. Inputs without a label that counts are left out.
    """
    for inputs, labels in batches:
        for start in range(0, len(inputs), images):
            part = slice(start, start + images)
            if labels.is_floating_point() or (labels[part] != IGNORED).any():
                yield gradient(model, weights, [(inputs[part], labels[part])])


def gradient(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    batches: Iterable[Batch],
    temperature: float = 1.0,
    kind: str = CROSS_ENTROPY,
) -> list[Tensor]:
    """Return the gradient of the sum of the batches' mean losses, one tensor per weight; zero for unused weights.

    Call it within `passes`. Only one term's graph is alive at a time.
    """
    total = [torch.zeros_like(weight) for weight in weights.values()]
    for loss in losses(model, weights, batches, temperature, kind):
        torch._foreach_add_(total, torch.autograd.grad(loss, list(weights.values()), materialize_grads=True))
    return total
