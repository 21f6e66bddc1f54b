"""Sanity checks of Frankle et al. 2021, section 5, which test if it matters which weights a pruner keeps."""

from collections.abc import Mapping

import torch
from torch import Tensor

from pruners.comparable import comparable

ABLATIONS = ("none", "shuffle", "reinitialize", "invert")


def inverted(scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the scores in reverse order, as their negatives; weights that are pruned stay pruned in `select`."""
    return {name: -score for name, score in comparable(scores).items()}


def shuffled(masks: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Return each mask permuted at random inside its layer, so that the density of each layer stays the same.

    The permutation is drawn on the CPU: the same on every device.
    """
    return {
        name: mask.flatten()[torch.randperm(mask.numel(), generator=generator).to(mask.device)].view(mask.shape)
        for name, mask in masks.items()
    }
