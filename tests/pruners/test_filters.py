"""Whole filters: worked by hand, and as small as asked on real networks."""

from __future__ import annotations

import math

import pytest
import torch
import torchvision
from by_hand import SCORES, kept, three_layers, total
from smaller_networks import Branching
from torch import nn, tensor

from pruners import PruningError, compact, prunable, prune
from pruners.granularity import check, selector
from trainables.architectures import build

T, F = True, False
SHAPE = (3, 16, 16)
BATCH = [(torch.randn(20, *SHAPE, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 10)]


def rows(masks):
    return {name: mask.any(1).tolist() for name, mask in masks.items()}


def test_the_lowest_channels_go_with_what_writes_and_what_reads_them():
    choose = selector("filter", three_layers(), 2)
    masks = choose(SCORES, 10 / 14, None, "global")  # the lowest sum is channel 0 of layer 0: 2 + 2 weights
    assert masks["0.weight"].tolist() == [[F, F], [T, T], [T, T]]
    assert masks["2.weight"].tolist() == [[F, T, T], [F, T, T]]
    assert masks["4.weight"].tolist() == [[T, T]]
    masks = choose(SCORES, 0.63, None, "global")  # 9 weights: one too many: channel 0 of layer 2 goes too
    assert rows(masks) == {"0.weight": [F, T, T], "2.weight": [F, T], "4.weight": [T]}
    assert kept(masks) == 4 + 2 + 1


@pytest.mark.parametrize(
    ("granularity", "first", "second"),
    [("filter", [T, F, T], [T, T]), ("filter-mean", [T, T, T], [F, T]), ("filter-max", [T, T, F], [T, T])],
)
def test_merits(granularity, first, second):
    scores = {
        "0.weight": tensor([[4.0, 4.0], [5.0, 0.0], [3.0, 3.0]]),  # sums 8, 5, 6; means 4, 2.5, 3; largest 4, 5, 3
        "2.weight": tensor([[0.0, 0.0, 6.0], [9.0, 9.0, 9.0]]),  # sums 6, 27; means 2, 9; largest 6, 9
        "4.weight": tensor([[0.0, 0.0]]),
    }
    masks = selector(granularity, three_layers(), 2)(scores, 0.9, None, "global")
    assert rows(masks) == {"0.weight": first, "2.weight": second, "4.weight": [T]}


def test_scope_layer_takes_the_same_share_everywhere():
    scores = {"0.weight": SCORES["0.weight"] * 100, "2.weight": SCORES["2.weight"], "4.weight": SCORES["4.weight"]}
    model = three_layers()
    everywhere = selector("filter", model, 2)(scores, 0.5, None, "layer")
    assert rows(everywhere) == {"0.weight": [F, T, T], "2.weight": [F, T], "4.weight": [T]}
    assert rows(selector("filter", model, 2)(scores, 0.65, None, "global"))["0.weight"] == [T, T, T]
    last_of_three = selector("filter", model, 2)(scores, 0.65, None, "layer")  # is lower than the last of two
    assert rows(last_of_three) == {"0.weight": [F, T, T], "2.weight": [T, T], "4.weight": [T]}


def test_ties_go_to_the_earlier():
    scores = {name: torch.ones_like(score) for name, score in SCORES.items()}
    masks = selector("filter-mean", three_layers(), 2)(scores, 0.5, None, "global")  # 7 weights; 6 + 3 + 1 are 10
    assert rows(masks) == {"0.weight": [T, T, F], "2.weight": [T, F], "4.weight": [T]}


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_masks_are_nested(scope):
    choose = selector("filter", three_layers(), 3)
    first = choose(SCORES, 10 / 14, None, "global")
    turned = {name: -score for name, score in SCORES.items()}
    second = choose(turned, 6 / 14, first, scope)
    assert not any((second[name] & ~first[name]).any() for name in first)


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_a_channel_that_lost_some_of_its_inputs_lives(scope):
    choose = selector("filter", three_layers(), 2)
    first = choose(SCORES, 10 / 14, None, "global")
    assert rows(first) == {"0.weight": [F, T, T], "2.weight": [T, T], "4.weight": [T]}
    assert rows(choose(SCORES, 10 / 14, first, scope)) == rows(first)


def test_a_channel_that_left_has_no_standing():
    scores = {**SCORES, "0.weight": SCORES["0.weight"] * 100}
    choose = selector("filter", three_layers(), 2)
    first = choose(scores, 0.65, None, "global")  # the last of two left; it would stand above the last of three
    assert (
        rows(choose(scores, 0.65, first, "layer"))
        == rows(first)
        == {"0.weight": [T] * 3, "2.weight": [F, T], "4.weight": [T]}
    )


def test_beyond_reach_is_refused_with_what_is_reachable():
    with pytest.raises(PruningError, match=r"Unreachable filter compression 10x.*at most 3\.5x"):
        prune(three_layers(), "magnitude", 10, granularity="filter")  # 2 + 1 + 1 = 4 of 14 weights
    assert kept(prune(three_layers(), "magnitude", 3.5, granularity="filter")) == 4
    with pytest.raises(PruningError, match="Unreachable"):
        check(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), "filter", 2)
    check(three_layers(), "filter", 3.5)


NETWORKS = {
    **{
        name: lambda name=name: build(name, SHAPE, 10, seed=0)
        for name in ("mlp", "conv", "resnet20", "vgg11", "vgg16-bn", "resnet18-cifar")
    },
    "tv-mobilenet_v2": lambda: torchvision.models.mobilenet_v2(num_classes=10, dropout=0.0),
    "tv-resnet18": lambda: torchvision.models.resnet18(num_classes=10),
}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("pruner", ["random", "magnitude", "snip"])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_filters_make_the_network_as_small_as_asked(network, pruner, scope):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = NETWORKS[network]()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias, 0, 0.3)  # shifts that would make dead channels constants
    masks = prune(model, pruner, 4, BATCH, granularity="filter", scope=scope)
    wanted = total(masks) / 4
    assert 0.85 * wanted < kept(masks) <= math.ceil(wanted)
    compacted = compact(model, masks, SHAPE)
    assert sum(weight.numel() for weight in prunable(compacted.model).values()) == kept(masks)
    assert list(prunable(compacted.model).values())[-1].shape[0] == 10


def test_filters_over_iterations():
    model = build("resnet20", SHAPE, 10, seed=0)
    masks = prune(model, "synflow", 20, BATCH, granularity="filter-mean", iterations=10)
    assert 0.8 * total(masks) / 20 < kept(masks) <= math.ceil(total(masks) / 20)


def test_a_model_that_cannot_be_followed_has_no_filters():
    with pytest.raises(PruningError, match=r"follow channels.*torch\.fx cannot trace"):
        prune(Branching(), "random", 2, granularity="filter")


@pytest.mark.parametrize("left", range(1, 9))
def test_as_many_channels_stay_as_fit(left):
    wide = nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 1))  # 2 weights a channel
    deep = nn.Sequential(nn.Conv2d(2, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 1, 1))  # 2 + 9 + 1
    for model in (wide, deep):
        masks = prune(model, "magnitude", 8 / left, granularity="filter")
        assert kept(masks) * 8 == left * total(masks)
