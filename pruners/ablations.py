"""Sanity checks of Frankle et al. 2021, section 5: does it matter which weights a pruner keeps?"""

from collections.abc import Mapping

import torch
from torch import Tensor

from pruners.comparable import comparable

ABLATIONS = ("none", "shuffle", "reinitialize", "invert")


def inverted(scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Scores whose highest are the lowest of `scores`: dead weights are still dead to `select`."""
    return {name: -score for name, score in comparable(scores).items()}


def shuffled(masks: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Each mask permuted inside its layer: the densities stay, which weights they fall on is chance.

    The permutation is drawn on the CPU: the same on every device.
    """
    return {
        name: mask.flatten()[torch.randperm(mask.numel(), generator=generator).to(mask.device)].view(mask.shape)
        for name, mask in masks.items()
    }
