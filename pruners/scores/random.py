"""Random pruning: the baseline that every other score has to beat."""

from collections.abc import Sequence
from dataclasses import replace

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

# The densities of the layers are the method: magnitudes in the same scope are the paper's hybrid tickets.
SMART_RATIO = replace(
    RANDOM,
    summary="uniform random scores, early layers denser by a fixed rule: random tickets",
    paper="Su et al. 2020, Sanity-Checking Pruning Methods: Random Tickets can Win the Jackpot",
    scope="smart-ratio",
)
