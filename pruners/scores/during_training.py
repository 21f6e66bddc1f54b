"""Pruners whose masks change during training: their scores and their settings.

The training code, not this package, changes the masks after each step and reads the options; scores ignore these.
`find` draws the masks that SET and RigL start from. For gradual pruning it returns the masks that would result without
any training in between.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from pruners.pruner import Batch
from pruners.scores import magnitude, random


def absolute_weights(
    model: nn.Module, batches: Sequence[Batch], *, mode: str, generator: torch.Generator, **of_training: float
) -> dict[str, Tensor]:
    """Return |w|, the scores of magnitude pruning."""
    return magnitude.score(model, batches, mode=mode, generator=generator)


def chance(
    model: nn.Module, batches: Sequence[Batch], *, mode: str, generator: torch.Generator, **of_training: float
) -> dict[str, Tensor]:
    """Return the scores of random pruning."""
    return random.score(model, batches, mode=mode, generator=generator)


# In the paper all layers have one density. Here weights compete globally, so that methods are compared, not scopes.
GRADUAL = replace(
    magnitude.MAGNITUDE,
    score=absolute_weights,
    summary="|w| at many moments of training, the density falling by a cubic from dense",
    paper="Zhu and Gupta 2017, To prune, or not to prune: exploring the efficacy of pruning for model compression",
    when="during",
    schedule="cubic",
    iterations=100,
    options={"start": 0.0, "end": 0.75},  # fractions of training
)

SET = replace(
    random.RANDOM,
    score=chance,
    summary="random masks; the smallest weights are exchanged for random others while training",
    paper="Mocanu et al. 2018, Scalable training of artificial neural networks with adaptive sparse connectivity",
    when="during",
    scope="erk",
    # Steps between exchanges (an epoch, if that is shorter), the fraction of training after which they end, and
    # the fraction of weights exchanged at first. SET has the settings of RigL, so that the two can be compared.
    options={"interval": 100, "end": 0.75, "drop": 0.3},
)

RIGL = replace(
    SET,
    summary="random masks; the smallest weights are exchanged for those of largest gradient while training",
    paper="Evci et al. 2020, Rigging the Lottery: Making All Tickets Winners",
    # The authors' program exchanges weights in its very first step too.
    options={**SET.options, "at_start": True},
    unrecorded={"at_start": False},
)
