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


def equal_fan_in(
    model: nn.Module, batches: Sequence[Batch], *, mode: str, generator: torch.Generator, **of_training: float | str
) -> dict[str, Tensor]:
    """Return scores of which the highest of a layer are as many in each row, in random places."""
    draws = random.score(model, batches, mode=mode, generator=generator)
    return {name: draw - draw.flatten(1).argsort(1).argsort(1).view(draw.shape) for name, draw in draws.items()}


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

SRIGL = replace(
    RIGL,
    score=equal_fan_in,
    summary="SET or RigL in which the neurons of a layer have one fan-in, and weak neurons lose all inputs",
    paper="Lasby et al. 2024, Dynamic Sparse Training with Structured Sparsity",
    # A neuron goes that has fewer salient weights than this fraction of the fan-in; 0: none goes.
    options={**SET.options, "salient": 0.3, "growth": "gradient"},
    unrecorded={},
    choices={"growth": ("gradient", "random")},
)

GRA_NET = replace(
    SET,
    summary="|w| at many moments of training, the smallest exchanged for those of largest gradient each time",
    paper="Liu et al. 2021, Sparse Training via Boosting Pruning Plasticity with Neuroregeneration",
    # The density to start from, and the fraction of training after which it falls no more; exchanges go on.
    options={"initial": 0.5, "interval": 100, "end": 0.5, "drop": 0.5},
)

AC_DC = replace(
    GRADUAL,
    summary="|w|, the network dense and compressed in turn while training",
    paper="Peste et al. 2021, AC/DC: Alternating Compressed/DeCompressed Training of Deep Neural Networks",
    schedule="oneshot",
    iterations=1,
    # Fractions of training: the dense phase at first, each phase after it, the compressed phase at last.
    options={"warmup": 0.05, "phase": 0.1, "last": 0.15},
)

STR = replace(
    AC_DC,
    summary="|w| above thresholds of the layers that are learned while training, by soft thresholding",
    paper="Kusupati et al. 2020, Soft Threshold Weight Reparameterization for Learnable Sparsity",
    # The fraction of training in which thresholds are learned, and the inverse sigmoid of the thresholds at first.
    options={"end": 0.75, "initial": -5.0},
    least={"initial": -3200.0},
    by_decay=True,
)

TOP_KAST = replace(
    AC_DC,
    summary="|w|, chosen anew at many moments of training; some more weights train without being used",
    paper="Jayakumar et al. 2020, Top-KAST: Top-K Always Sparse Training",
    scope="layer",
    # Weights that train for each weight that is used.
    options={"interval": 100, "spread": 2.0},
)

MOVEMENT = replace(
    AC_DC,
    summary="scores that are learned while training: weights that move away from zero stay",
    paper="Sanh et al. 2020, Movement Pruning: Adaptive Sparsity by Fine-Tuning",
    # Fractions of training between which the density falls by a cubic; steps from one choice of masks to the next.
    options={"start": 0.0, "end": 0.75, "interval": 1},
)

EDGE_POPUP = replace(
    SET,
    summary="scores that are learned for weights that keep their first values",
    paper="Ramanujan et al. 2020, What's Hidden in a Randomly Weighted Neural Network?",
    scope="layer",
    options={"interval": 1},
)
