"""GraSP: keep the weights whose removal would reduce the norm of the gradient most."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pruners.gradients import differentiable_twice, gradient, leaves, losses, noise, passes
from pruners.pruner import Batch, Pruner

TEMPERATURE = 200.0  # as in the authors' program: softens the logits, so that one confident class does not decide H


def score(
    model: nn.Module,
    batches: Sequence[Batch],
    *,
    mode: str,
    generator: torch.Generator,
    temperature: float = TEMPERATURE,
    per_batch: bool = False,
) -> dict[str, Tensor]:
    """Return w · (Hg), signed: the largest are kept (Wang et al. 2020, equation 8 with the sign reversed).

    g and H are the gradient and the Hessian of the sum of the batches' mean cross-entropies, of logits divided by
    `temperature`. Hg is the gradient of the inner product of a second, differentiable gradient with the fixed first
    one; both passes see the same batches and the same dropout, or H and g would belong to two different losses.
    With `per_batch`, Hg is the sum over the batches of each one's own H times its own g.
    """
    weights = leaves(model)
    values = list(weights.values())
    curvature = [torch.zeros_like(value) for value in values]
    for together in [[batch] for batch in batches] if per_batch else [batches]:
        seed = noise(generator)
        with passes(model, mode, seed):
            fixed = gradient(model, weights, together, temperature)
        with passes(model, mode, seed), differentiable_twice():
            for loss in losses(model, weights, together, temperature):
                slopes = torch.autograd.grad(loss, values, create_graph=True, materialize_grads=True)
                along = torch.stack([(slope * g).sum() for slope, g in zip(slopes, fixed, strict=True)]).sum()
                torch._foreach_add_(curvature, torch.autograd.grad(along, values, materialize_grads=True))
    return {name: weight.detach() * hg for (name, weight), hg in zip(weights.items(), curvature, strict=True)}


GRASP = Pruner(
    score=score,
    summary="w (Hg), signed: how much the norm of the gradient falls without the weight",
    paper="Wang et al. 2020, Picking Winning Tickets Before Training by Preserving Gradient Flow",
    needs_data=True,
    mode="train",
    # The SynFlow program had a temperature of 1, per batch, when its published data were made.
    options={"temperature": TEMPERATURE, "per_batch": False},
    least={"temperature": 1e-6},
)
