"""Iterative SNIP: SNIP's score, taken anew each time a little more has been pruned."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from pruners import snip
from pruners.logits import CROSS_ENTROPY, NLL
from pruners.pruner import FRESH_BATCHES, Batch


def score(
    model: nn.Module,
    batches: Sequence[Batch],
    *,
    mode: str,
    generator: torch.Generator,
    masks: Mapping[str, Tensor] | None = None,
    loss: str = NLL,
    fresh_batches: bool = True,
) -> dict[str, Tensor]:
    """SNIP's score with another `loss`. Of which batches it is taken decides `pruners.find`, by `fresh_batches`."""
    return snip.score(model, batches, mode=mode, generator=generator, masks=masks, loss=loss)


# 60 exponential steps are the published CIFAR recipe; the authors' program scores in train mode, draws other images for
# every step and takes the logits themselves for logarithms of probabilities. SNIP's |w dL/dw| of a pruned weight is 0,
# and `select` sees to it that a pruned weight stays pruned.
ITER_SNIP = replace(
    snip.SNIP,
    score=score,
    summary="|w dL/dw| after each of many small steps; pruned weights stay pruned",
    paper="de Jorge et al. 2021, Progressive Skeletonization: Trimming more fat from a network at initialization",
    mode="train",
    schedule="exponential",
    iterations=60,
    options={"loss": NLL, FRESH_BATCHES: True},
    unrecorded={"loss": CROSS_ENTROPY, FRESH_BATCHES: False},
)
