"""Taylor: the squared first-order effect on the loss of removing a weight, or a filter."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pruners.gradients import gradient, leaves, noise, passes
from pruners.pruner import Batch, Pruner


def score(model: nn.Module, batches: Sequence[Batch], *, mode: str, generator: torch.Generator) -> dict[str, Tensor]:
    """Return (w · dL_b/dw)², the mean over the batches b, L_b a batch's mean loss (Molchanov et al. 2019, equation 8).

    The square is taken in every batch, so that effects of opposite signs do not cancel. The sum over a filter, which
    the granularity "filter" takes, is the paper's importance of the filter. With one batch, single weights come in the
    order of SNIP's scores, of which these are the squares. Scores are float64: squares of float32 would underflow.
    """
    weights = leaves(model)
    total = [torch.zeros_like(weight, dtype=torch.float64) for weight in weights.values()]
    with passes(model, mode, noise(generator)):
        for batch in batches:
            slopes = gradient(model, weights, [batch])
            effects = [
                (w.detach().double() * g.double()).square() for w, g in zip(weights.values(), slopes, strict=True)
            ]
            torch._foreach_add_(total, effects, alpha=1 / len(batches))
    return dict(zip(weights, total, strict=True))


TAYLOR = Pruner(
    score=score,
    summary="(w dL/dw)², the squared first-order effect on the loss; over a filter, their sum",
    paper="Molchanov et al. 2019, Importance Estimation for Neural Network Pruning",
    needs_data=True,
    when="after",
)
