"""SNIP: what the loss loses, to first order, when a connection is cut."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pruners.gradients import gradient, leaves, noise, passes
from pruners.logits import CROSS_ENTROPY, LOSSES
from pruners.pruner import Batch, Pruner


def score(
    model: nn.Module,
    batches: Sequence[Batch],
    *,
    mode: str,
    generator: torch.Generator,
    masks: Mapping[str, Tensor] | None = None,
    loss: str = CROSS_ENTROPY,
) -> dict[str, Tensor]:
    """|w · dL/dw|, L the sum of the batches' mean cross-entropies, or other `loss` (Lee et al. 2019, equation 5).

    That is |dL/dm| for a mask m at one. The paper's division by the sum over all weights changes no order and
    is left out. With `masks`, L and its slope are taken at the masked weights, and w is as it was (`pruners.force`).
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
    # The authors' program scores in evaluation mode; mil-ad's port in train mode, as do many that follow it.
    options={"loss": CROSS_ENTROPY},
    choices={"loss": LOSSES},
)
