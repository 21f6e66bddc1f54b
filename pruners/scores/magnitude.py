"""Magnitude pruning, and iterative magnitude pruning (IMP): the smallest weights are pruned first."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from pruners.pruner import Batch, Pruner
from pruners.weights import prunable


def score(model: nn.Module, batches: Sequence[Batch], *, mode: str, generator: torch.Generator) -> dict[str, Tensor]:
    """Return |w| (Han et al. 2015, section 3)."""
    return {name: weight.detach().abs() for name, weight in prunable(model).items()}


MAGNITUDE = Pruner(
    score=score,
    summary="|w|, the absolute value of the weight",
    paper="Han et al. 2015, Learning both Weights and Connections for Efficient Neural Networks",
    iterates=False,
    uses_mode=False,
)

# The paper prunes 20 % per round, until the density is reached. Here the number of levels is given, and the fraction
# per level follows from it.
IMP = replace(
    MAGNITUDE,
    summary="|w| of trained weights, in levels of train, prune and rewind: the lottery ticket",
    paper="Frankle and Carbin 2019, The Lottery Ticket Hypothesis: Finding Sparse, Trainable Neural Networks",
    when="after",
    levels=5,
)
