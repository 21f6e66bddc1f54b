"""What several tests work by hand with: two weights, three layers with their scores, and how many masks keep."""

from __future__ import annotations

import math

import torch
from torch import nn, tensor

from pruners import PRUNERS

OF_WEIGHTS = [name for name, pruner in PRUNERS.items() if not pruner.whole_filters]  # the others refuse single weights
LOG3 = math.log(3)
SCORES = {  # of `three_layers`
    "0.weight": tensor([[1.0, 1.0], [5.0, 0.0], [4.0, 4.0]]),  # sums 2, 5, 8; largest 1, 5, 4
    "2.weight": tensor([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]]),  # sums 3, 6; means 1, 2
    "4.weight": tensor([[9.0, 9.0]]),
}


def two_weights():
    """For input 1 the logits are (1 + log 3, 1), so the class probabilities are 3/4 and 1/4."""
    layer = nn.Linear(1, 2, bias=False).double()
    layer.weight.data = torch.tensor([[1 + LOG3], [1.0]], dtype=torch.float64)
    return layer


def batch(label):
    return torch.ones(1, 1, dtype=torch.float64), torch.tensor([label])


def three_layers():
    """2 -> 3 -> 2 -> 1: 6 + 6 + 2 = 14 weights, five filters beside the logit."""
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))


def kept(masks):
    return sum(int(mask.sum()) for mask in masks.values())


def total(masks):
    return sum(mask.numel() for mask in masks.values())
