"""Random pruning: the baseline that every other score has to beat."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pruners.pruner import Batch, Pruner
from pruners.weights import prunable


def score(model: nn.Module, batches: Sequence[Batch], *, mode: str, generator: torch.Generator) -> dict[str, Tensor]:
    """Return uniform scores in [0, 1), float32, drawn on the CPU: the same on every device and in every precision."""
    return {
        name: torch.rand(weight.shape, generator=generator).to(weight.device)
        for name, weight in prunable(model).items()
    }


RANDOM = Pruner(
    score=score,
    summary="uniform random scores",
    paper="",
    iterates=False,
    uses_mode=False,
)
