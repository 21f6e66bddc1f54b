"""Structured pruning by the share of filters: exact counts, worked by hand and on real networks."""

from __future__ import annotations

import inspect

import pytest
import torch
from by_hand import SCORES, three_layers
from torch import nn, tensor

from pruners import PruningError, compact, find, prunable, prune
from pruners.granularity import check, selector
from trainables.architectures import build

SHAPE = (3, 16, 16)
BATCH = [(torch.randn(20, *SHAPE, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 10)]


def filters_left(masks):
    return {name: mask.flatten(1).any(1).tolist() for name, mask in masks.items()}


def removed(masks):
    return sum(row.count(False) for row in filters_left(masks).values())


@pytest.mark.parametrize(
    ("kappa", "first", "second"),
    [  # by rising sums: 2 (first), 3 (second), 5 (first); the best of each layer stays
        (0.19, [True, True, True], [True, True]),
        (0.2, [False, True, True], [True, True]),
        (0.4, [False, True, True], [False, True]),
        (0.6, [False, False, True], [False, True]),
    ],
)
def test_the_lowest_filters_go_whatever_their_layer(kappa, first, second):
    masks = selector("filter", three_layers(), 1, kappa)(SCORES, 1 - kappa, None, "global")
    assert filters_left(masks) == {"0.weight": first, "2.weight": second, "4.weight": [True]}


def test_a_share_that_would_empty_a_layer_is_refused_with_what_is_reachable():
    with pytest.raises(PruningError, match=r"Unreachable kappa 0\.8: .* at most 3 of 5 filters can be removed, 0\.6"):
        prune(three_layers(), "magnitude", granularity="filter", kappa=0.8)
    with pytest.raises(PruningError, match="Unreachable kappa"):
        check(three_layers(), "filter-max", 1, 0.8)
    check(three_layers(), "filter", 1, 0.6)


def filters_of(model):
    """All filters of the network but the logits."""
    return sum(weight.shape[0] for weight in list(prunable(model).values())[:-1])


@pytest.mark.parametrize("network", ["conv", "mlp", "vgg16-bn", "resnet20"])
@pytest.mark.parametrize("kappa", [0.1, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("granularity", ["filter", "filter-mean", "filter-max"])
def test_exactly_that_many_go_and_the_network_is_as_small(network, kappa, granularity):
    model = build(network, SHAPE, 10, seed=0)
    masks = prune(model, "snip", batches=BATCH, granularity=granularity, kappa=kappa)
    assert removed(masks) == int(kappa * filters_of(model) + 1e-9)  # of residual groups all filters count
    assert all(any(row) for row in filters_left(masks).values())
    assert all(list(filters_left(masks).values())[-1])
    small = compact(model, masks, SHAPE).model
    assert sum(w.numel() for w in prunable(small).values()) == sum(int(mask.sum()) for mask in masks.values())


def test_a_group_too_large_for_what_is_left_is_passed_over():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c, self.d = nn.Linear(2, 2), nn.Linear(2, 4), nn.Linear(4, 2), nn.Linear(2, 1)

        def forward(self, x):
            x = self.a(x)
            return self.d(x + self.c(self.b(x).relu()))

    scores = {  # channel 0 of a and c, one group of two filters, is the lowest; then channels 0, 1, ... of b
        "a.weight": tensor([[0.0, 0.1], [9.0, 9.0]]),
        "b.weight": tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [4.0, 4.0]]),
        "c.weight": tensor([[0.0, 0.0, 0.0, 0.1], [9.0, 9.0, 9.0, 9.0]]),
        "d.weight": tensor([[1.0, 1.0]]),
    }
    choose = selector("filter", Residual(), 1, 0.5)
    one = filters_left(choose(scores, 1 - 1 / 8, None, "global"))
    assert (one["a.weight"], one["b.weight"]) == ([True, True], [False, True, True, True])
    two = filters_left(choose(scores, 1 - 2 / 8, None, "global"))
    assert (two["a.weight"], two["b.weight"], two["c.weight"]) == ([False, True], [True] * 4, [False, True])


def test_over_iterations_filters_stay_gone_and_the_count_is_exact():
    model = build("resnet20", SHAPE, 10, seed=0)
    masks = prune(model, "synflow", batches=BATCH, granularity="filter-mean", kappa=0.7, iterations=10)
    assert removed(masks) == int(0.7 * filters_of(model) + 1e-9)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "Give a compression of at least 1 .* or a kappa above 0"),
        ({"compression": 2, "kappa": 0.5, "granularity": "filter"}, "one of the two"),
        ({"kappa": 1.0, "granularity": "filter"}, "kappa is 1.0; it must be at least 0 and below 1"),
        ({"kappa": -0.1, "granularity": "filter"}, "kappa is -0.1"),
        ({"kappa": 0.5}, "kappa is a share of filters, but the granularity is 'weight': choose filter, filter-mean"),
        ({"kappa": 0.5, "granularity": "2:4"}, "granularity is '2:4'"),
        ({"kappa": 0.5, "granularity": "filter", "alive": {"0.weight": torch.ones(3, 2).bool()}}, "cannot continue"),
    ],
)
def test_refusals(asked, message):
    with pytest.raises(PruningError, match=message):
        find(three_layers(), "magnitude", **asked)


def test_prune_has_the_arguments_of_find():
    assert inspect.signature(prune).parameters == inspect.signature(find).parameters
    assert prune.__name__ == "prune"
