"""SNIP, iterative SNIP and FORCE: the first-order effect on the loss of removing a weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from pruners.gradients import gradient, leaves, noise, passes
from pruners.logits import CROSS_ENTROPY, LOSSES, NLL
from pruners.pruner import FRESH_BATCHES, Batch, Pruner


def score(
    model: nn.Module,
    batches: Sequence[Batch],
    *,
    mode: str,
    generator: torch.Generator,
    masks: Mapping[str, Tensor] | None = None,
    loss: str = CROSS_ENTROPY,
) -> dict[str, Tensor]:
    """Return |w · dL/dw|, L the sum of the batches' mean cross-entropies or other `loss` (Lee et al. 2019, equation 5).

    That is |dL/dm| for a mask m at one. The paper's division by the sum over all weights does not change the order and
    is left out. With `masks`, L and its gradient are taken at the masked weights, but w is unmasked (FORCE, below).
    """
    weights = leaves(model)
    at = {name: (w.detach() * masks[name]).requires_grad_() for name, w in weights.items()} if masks else weights
    with passes(model, mode, noise(generator)):
        slopes = gradient(model, at, batches, kind=loss)
    return {
        name: (weight.detach() * slope).abs() for (name, weight), slope in zip(weights.items(), slopes, strict=True)
    }


SNIP = Pruner(
    score=score,
    summary="|w dL/dw|, the first-order effect of a weight on the loss",
    paper="Lee et al. 2019, SNIP: Single-shot Network Pruning based on Connection Sensitivity",
    needs_data=True,
    # The authors' program scores in eval mode; mil-ad's port scores in train mode, as do many that follow it.
    options={"loss": CROSS_ENTROPY},
    choices={"loss": LOSSES},
)


def iter_snip_score(
    model: nn.Module,
    batches: Sequence[Batch],
    *,
    mode: str,
    generator: torch.Generator,
    masks: Mapping[str, Tensor] | None = None,
    loss: str = NLL,
    fresh_batches: bool = True,
) -> dict[str, Tensor]:
    """Return SNIP's score, by default with the "nll" loss; `pruners.find` chooses the batches by `fresh_batches`."""
    return score(model, batches, mode=mode, generator=generator, masks=masks, loss=loss)


# 60 exponential steps are the published CIFAR recipe. The authors' program scores in train mode, draws other images for
# every step and uses the logits themselves as logarithms of probabilities. SNIP's |w dL/dw| of a pruned weight is 0,
# and `select` keeps pruned weights pruned.
ITER_SNIP = replace(
    SNIP,
    score=iter_snip_score,
    summary="|w dL/dw| after each of many small steps; pruned weights stay pruned",
    paper="de Jorge et al. 2021, Progressive Skeletonization: Trimming more fat from a network at initialization",
    mode="train",
    schedule="exponential",
    iterations=60,
    options={"loss": NLL, FRESH_BATCHES: True},
    unrecorded={"loss": CROSS_ENTROPY, FRESH_BATCHES: False},
)

# |w · dL/d(c w)|: the gradient of the masked network times the unmasked weight. L is taken at c ⊙ w, c being the masks
# so far (de Jorge et al. 2021, section 4). Where c = 1 this is SNIP's score. Where c = 0 it is the effect that the
# weight would have if it returned. The best of all weights are kept, whether they were pruned before or not.
FORCE = replace(
    ITER_SNIP,
    summary="|w dL/dw| in the pruned network, pruned weights at the value they had",
    takes_masks=True,
    revives=True,
)
