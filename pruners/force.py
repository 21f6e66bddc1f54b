"""FORCE: what a connection matters in the pruned network; what was pruned may return."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pruners.gradients import gradient, leaves, noise, passes
from pruners.pruner import Batch, Pruner


def score(
    model: nn.Module,
    batches: Sequence[Batch],
    *,
    mode: str,
    generator: torch.Generator,
    masks: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """|w · dL/d(c w)|: the gradient of the masked network times the weight as it would be unmasked.

    L is the sum of the batches' mean cross-entropies at the weights c ⊙ w (de Jorge et al. 2021,
    section 4), `masks` holds c. Where c = 1 this is SNIP's score; where c = 0 it is what the
    weight would matter if it returned, and the best of all weights are kept whatever they were before.
    """
    weights = leaves(model)
    masked = {
        name: (weight.detach() * masks[name]).requires_grad_() if masks else weight for name, weight in weights.items()
    }
    with passes(model, mode, noise(generator)):
        slopes = gradient(model, masked, batches)
    return {
        name: (weight.detach() * slope).abs() for (name, weight), slope in zip(weights.items(), slopes, strict=True)
    }


FORCE = Pruner(
    score=score,
    summary="|w dL/dw| in the pruned network, pruned weights at the value they had",
    paper="de Jorge et al. 2021, Progressive Skeletonization: Trimming more fat from a network at initialization",
    needs_data=True,
    takes_masks=True,
    revives=True,
    mode="train",
    schedule="exponential",
    iterations=60,
)
