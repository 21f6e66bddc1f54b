"""What scores that look at gradients share: a forward pass that leaves no trace on the model."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from pruners.pruner import Batch
from pruners.weights import prunable


def leaves(model: nn.Module) -> dict[str, Tensor]:
    """The prunable weights as leaves of a graph of their own: same storage, but no `.grad` of the model's."""
    return {name: weight.detach().requires_grad_() for name, weight in prunable(model).items()}


def noise(generator: torch.Generator) -> int:
    """A seed for one `passes` block; two blocks with the same one see the same dropout."""
    return int(torch.randint(2**62, (), generator=generator))


@contextmanager
def passes(model: nn.Module, mode: str, noise: int) -> Iterator[None]:
    """Inside, `model` is in `mode` ("train" or "eval") and dropout draws from the seed `noise`.

    Whatever surrounds the block, gradients are on and autocast is off: scores in half precision would be
    others. On leaving, every submodule has its own mode back (frozen batch norms included) and the random
    states of the CPU and of the model's GPUs are as before.
    """
    before = [(module, module.training) for module in model.modules()]
    devices = {weight.device for weight in model.parameters()}
    gpus = sorted(device.index for device in devices if device.type == "cuda")
    kind = next(iter(devices)).type
    with (
        torch.random.fork_rng(gpus),
        torch.enable_grad(),
        torch.autocast(kind, enabled=False),
    ):
        # Not torch.manual_seed: it would reseed devices that are not restored, even ones not yet started.
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
    """Inside, attention has a second derivative: fused kernels have none, and torch chooses for the whole process."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


def call(model: nn.Module, tensors: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    """The model's output with `tensors` in place of the parameters and buffers they name.

    Buffers not named are copies, so that batch norm in train mode updates those and not the model's.
    """
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers() if name not in tensors}
    output: Tensor = functional_call(model, {**buffers, **tensors}, (inputs,))
    return output


def batch_loss(model: nn.Module, weights: Mapping[str, Tensor], batch: Batch, temperature: float = 1.0) -> Tensor:
    """Mean cross-entropy of one batch, of the logits divided by `temperature`."""
    device = next(iter(weights.values())).device
    inputs, labels = (tensor.to(device) for tensor in batch)
    return F.cross_entropy(call(model, weights, inputs) / temperature, labels)


def gradient(
    model: nn.Module, weights: Mapping[str, Tensor], batches: Iterable[Batch], temperature: float = 1.0
) -> list[Tensor]:
    """Gradient of the batches' summed mean losses, one tensor per weight; zero where a weight is not used.

    Call it within `passes`. Only one batch's graph is alive at a time.
    """
    total = [torch.zeros_like(weight) for weight in weights.values()]
    for batch in batches:
        loss = batch_loss(model, weights, batch, temperature)
        torch._foreach_add_(total, torch.autograd.grad(loss, list(weights.values()), materialize_grads=True))
    return total
