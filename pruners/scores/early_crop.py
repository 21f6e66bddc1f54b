"""EarlyCroP: keep the weights on which the gradient flow depends most, early in training."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pruners.gradients import differentiable_twice, gradient, leaves, losses, noise, passes
from pruners.pruner import Batch, Pruner


def score(
    model: nn.Module,
    batches: Sequence[Batch],
    *,
    mode: str,
    generator: torch.Generator,
    masks: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Return |w · (Hg)|: the effect of a weight on the norm of the gradient (Rachwan et al. 2022, section 4).

    g and H are the gradient and the Hessian of the sum of the batches' mean cross-entropies. With `masks` both are
    taken at the masked weights, and g without the entries of pruned weights, which cannot train.
    """
    weights = leaves(model)
    if masks:
        weights = {name: (w.detach() * masks[name]).requires_grad_() for name, w in weights.items()}
    values, seed = list(weights.values()), noise(generator)
    with passes(model, mode, seed):
        fixed = gradient(model, weights, batches)
    if masks:
        fixed = [slope * masks[name] for name, slope in zip(weights, fixed, strict=True)]
    curvature = [torch.zeros_like(value) for value in values]
    with passes(model, mode, seed), differentiable_twice():
        for loss in losses(model, weights, batches):
            slopes = torch.autograd.grad(loss, values, create_graph=True, materialize_grads=True)
            along = torch.stack([(slope * g).sum() for slope, g in zip(slopes, fixed, strict=True)]).sum()
            torch._foreach_add_(curvature, torch.autograd.grad(along, values, materialize_grads=True))
    return {name: (weight.detach() * hg).abs() for (name, weight), hg in zip(weights.items(), curvature, strict=True)}


EARLY_CROP = Pruner(
    score=score,
    summary="|w (Hg)|, the effect of a weight on the norm of the gradient, after a few epochs of training",
    paper="Rachwan et al. 2022, Winning the Lottery Ahead of Time: Efficient Early Network Pruning",
    needs_data=True,
    takes_masks=True,
    schedule="exponential",
    iterations=20,  # after 20 of the program's 101 steps, one weight in a million is left to prune
    when="early",
)
