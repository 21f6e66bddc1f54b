"""NTK-SAP: keep the weights that the spectrum of the neural tangent kernel depends on, without reading data."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pruners.gradients import call, micro_batches, noise, passes
from pruners.pruner import Batch, Pruner
from pruners.weights import layer_weights, prunable


def score(
    model: nn.Module,
    batches: Sequence[Batch],
    *,
    mode: str,
    generator: torch.Generator,
    masks: Mapping[str, Tensor] | None = None,
    resamplings: int,
    epsilon: float,
    scoring_batch: int = 0,
) -> dict[str, Tensor]:
    """Return |d/dm of E ||f(x; m ⊙ w) - f(x; m ⊙ (w + e))||²|, e ~ N(0, epsilon²) (Wang et al. 2023, section 4).

    The squared distance, summed over inputs and outputs, is epsilon² times the trace of the masked network's
    kernel, to second order in epsilon. The expectation is over fresh weights w, Gaussian inputs x of a batch's
    shape (N, ...) and e, drawn `resamplings` times for every batch. Only the shapes of the batches are read. Inputs
    are drawn in batches as given, or `scoring_batch` at a time: with fewer, more weights are drawn per input.

    Fresh weights are normal with zero mean and the mean square of the layer's weights. That is what Kaiming and
    Xavier initialisation draw, has the same second moment as any other initialisation, and needs no access to modules.
    Biases and norms stay as they are. Both networks run in eval mode, and batch norm uses the statistics of the
    unperturbed network on the same inputs, as in the paper. Weights that are already pruned score zero.
    """
    weights = layer_weights(model)  # the kernel is that of all weights, also of those kept dense
    kept = {name: masks[name].to(w) if masks and name in masks else torch.ones_like(w) for name, w in weights.items()}
    width = {name: w.detach().square().mean().sqrt() for name, w in weights.items()}

    def normal(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator).to(like)

    total = [torch.zeros_like(w) for w in weights.values()]
    for _ in range(resamplings):
        for shape in _shapes(batches, scoring_batch):
            fresh = {name: normal(w) * width[name] for name, w in weights.items()}
            moved = {name: w + epsilon * normal(w) for name, w in fresh.items()}
            x = torch.randn(shape, generator=generator).to(next(iter(kept.values())))
            seed = noise(generator)
            statistics = _statistics(model, {name: w * kept[name] for name, w in fresh.items()}, x, seed)
            gates = [mask.clone().requires_grad_() for mask in kept.values()]
            for part in micro_batches(model, x, ["eval"]):
                with passes(model, "eval", seed):
                    nets = (fresh, moved)
                    here, there = (call(model, {**_own(statistics), **_gated(net, gates)}, x[part]) for net in nets)
                    slopes = torch.autograd.grad((here - there).square().sum(), gates, materialize_grads=True)
                torch._foreach_add_(total, slopes)
    found = dict(zip(weights, total, strict=True))
    return {name: (found[name] * kept[name]).abs() for name in prunable(model)}


def _shapes(batches: Sequence[Batch], at_once: int) -> list[tuple[int, ...]]:
    """Return the shapes of the inputs to draw: those of the batches, or `at_once` inputs each.

    A single input that is left over joins the batch before it.
    """
    if not at_once:
        return [tuple(inputs.shape) for inputs, _ in batches]
    n, each = sum(len(inputs) for inputs, _ in batches), tuple(batches[0][0].shape[1:])
    sizes = [min(at_once, n - start) for start in range(0, n, at_once)]
    if sizes[-1] == 1 and sizes[1:]:  # batch norm has no variance of a single input
        sizes[-2:] = [sizes[-2] + 1]
    return [(size, *each) for size in sizes]


def _own(buffers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of buffers for one pass, because a model may change its buffers in eval mode too."""
    return {name: buffer.clone() for name, buffer in buffers.items()}


def _gated(weights: Mapping[str, Tensor], gates: Sequence[Tensor]) -> dict[str, Tensor]:
    return {name: w * gate for (name, w), gate in zip(weights.items(), gates, strict=True)}


def _statistics(model: nn.Module, weights: Mapping[str, Tensor], inputs: Tensor, seed: int) -> dict[str, Tensor]:
    """Return the model's buffers after one pass in train mode; batch norm's running statistics are the batch's."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with passes(model, "train", seed), torch.no_grad(), _no_memory(model):
        call(model, {**buffers, **weights}, inputs)
    return buffers


@contextmanager
def _no_memory(model: nn.Module) -> Iterator[None]:
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    before = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 1.0
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum


NTK_SAP = Pruner(
    score=score,
    summary="how much the trace of the neural tangent kernel of random weights and inputs depends on a weight",
    paper="Wang et al. 2023, NTK-SAP: Improving neural network pruning by aligning training dynamics",
    needs_data=True,  # no label or value is read, but the number of inputs decides the precision of the trace
    takes_masks=True,
    uses_mode=False,
    schedule="exponential",
    iterations=20,
    options={"resamplings": 5, "epsilon": 0.01, "scoring_batch": 0},  # 0: batches as given, 256 inputs in a sweep
    least={"resamplings": 1, "epsilon": 1e-12, "scoring_batch": 0},
)
