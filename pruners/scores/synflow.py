"""SynFlow: keep the weights that carry most of the flow on the paths from input to output, without reading data."""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from pruners.gradients import call, noise, passes
from pruners.linear_flow import LinearFlow
from pruners.pruner import Batch, Pruner
from pruners.weights import prunable


def score(
    model: nn.Module,
    batches: Sequence[Batch],
    *,
    mode: str,
    generator: torch.Generator,
    norm: str = "l1",
    linearize: bool = False,
) -> dict[str, Tensor]:
    """Return |w| · dR/d|w|, R the sum of the outputs for an all-ones input (Tanaka et al. 2020, equations 1 and 2).

    With `norm` "l2", w² is used instead of |w|, and R is the trace of the path kernel's Gram matrix (Gebhart et
    al. 2021; SynFlow-L2 of Patil & Dovrolis 2021). `linearize` replaces the operations that break the flow in networks
    with saturating activations, gates or layer norm (`LinearFlow`).
    Only the shape of an input is read from the batches. Scores are float64.

    Biases take part, as in the authors' program: flow that starts in a bias needs no layer before it, so that a deep
    network with large biases loses its first layers at some compression. Without biases (or with those of batch norm at
    their initial value, zero) all layers carry the same flow, and no layer that all paths cross is lost (theorems 1
    to 3).
    """
    weights = prunable(model)
    # R multiplies all layers' absolute weights: in float32 it overflows at the depth of ResNet-110.
    power = 2 if norm == "l2" else 1
    sizes = {name: _double(p).abs() ** power for name, p in model.named_parameters()}
    # Absolute values of parameters only: the running mean of batch norm is no weight and keeps its sign.
    statistics = {name: _double(buffer).clone() for name, buffer in model.named_buffers()}
    flowing = [sizes[name].requires_grad_() for name in weights]
    ones = torch.ones(1, *batches[0][0].shape[1:], dtype=torch.float64, device=flowing[0].device)
    with passes(model, mode, noise(generator)), LinearFlow(power) if linearize else nullcontext():
        flow = call(model, {**statistics, **sizes}, ones).sum()
        slopes = torch.autograd.grad(flow, flowing, materialize_grads=True)
    return {name: size.detach() * slope for name, size, slope in zip(weights, flowing, slopes, strict=True)}


def _double(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    return tensor.double() if tensor.is_floating_point() else tensor


SYNFLOW = Pruner(
    score=score,
    summary="|w| dR/d|w|, the share of a weight in all absolute paths from input to output",
    paper="Tanaka et al. 2020, Pruning neural networks without any data by iteratively conserving synaptic flow",
    needs_input=True,
    schedule="exponential",
    iterations=100,
    options={"norm": "l1", "linearize": False},
    choices={"norm": ("l1", "l2")},
)
