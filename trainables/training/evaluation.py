"""Loss and accuracy of a model on a test set."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pruners.float32 import ieee_float32
from trainables.team import ALONE, Team


@ieee_float32()
@torch.inference_mode()
def evaluate(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], team: Team = ALONE) -> dict[str, float]:
    """Mean cross-entropy, top-1 and top-5 accuracy (fractions) over all examples of `batches`.

    In IEEE float32, whatever the process has set for training.
    `batches` yields inputs (N, C, H, W) and class numbers (N,). The model is left in eval mode.
    With fewer than five classes top-5 means any class. Of a `team` each worker has batches of its own, and gets what
    all have found together.
    """
    model.eval()
    totals: Tensor | int = 0
    count = 0
    for x, y in batches:
        logits = model(x)
        loss = F.cross_entropy(logits, y, reduction="sum")
        best = logits.topk(min(5, logits.shape[1])).indices
        hits = best == y[:, None]
        # One tensor per batch, read once at the end: asking for a number each batch would make a GPU wait.
        totals = totals + torch.stack([loss.double(), hits[:, 0].sum().double(), hits.sum().double()])
        count += len(y)
    if not isinstance(totals, Tensor):
        raise ValueError("evaluate: there are no batches")
    loss_sum, top1, top5, count = team.sum(torch.cat([totals, totals.new_tensor([count])])).tolist()
    return {"loss": loss_sum / count, "top1": top1 / count, "top5": top5 / count}
