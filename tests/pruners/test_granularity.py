"""Whole filters and n:m blocks: worked by hand, and what both must hold on real networks."""

from __future__ import annotations

import math

import pytest
import torch
import torchvision
from torch import nn, tensor

from pruners import GRANULARITIES, PRUNERS, Pruner, PruningError, compact, find, prunable, prune
from pruners.granularity import check, selector
from trainables.architectures import build

T, F = True, False
SHAPE = (3, 16, 16)
BATCH = [(torch.randn(20, *SHAPE, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 10)]


def kept(masks):
    return sum(int(mask.sum()) for mask in masks.values())


def total(masks):
    return sum(mask.numel() for mask in masks.values())


def three_layers():
    """2 -> 3 -> 2 -> 1; 6 + 6 + 2 = 14 weights."""
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))


SCORES = {
    "0.weight": tensor([[1.0, 1.0], [5.0, 0.0], [4.0, 4.0]]),  # sums 2, 5, 8; largest 1, 5, 4
    "2.weight": tensor([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]]),  # sums 3, 6; means 1, 2
    "4.weight": tensor([[9.0, 9.0]]),
}


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
    with pytest.raises(PruningError, match=r"Unreachable filter compression 10x.*at 3\.5x"):
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
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x):
            return self.layer(x) if x.sum() > 0 else self.layer(-x)

    with pytest.raises(PruningError, match=r"follow channels.*torch\.fx cannot trace"):
        prune(Branching(), "random", 2, granularity="filter")


def test_two_of_four_keeps_the_two_highest_of_four():
    layer = nn.Linear(8, 2, bias=False)
    layer.weight.data = tensor([[1.0, -4.0, 3.0, 2.0, 5.0, 5.0, 5.0, 5.0], [0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0]])
    masks = prune(nn.Sequential(layer), "magnitude", 2, granularity="2:4")
    assert masks["0.weight"].tolist() == [[F, T, T, F, T, T, F, F], [T, T, F, F, F, F, T, T]]


@pytest.mark.parametrize("granularity", ["2:4", "1:4", "1:2", "4:8", "3:5"])
@pytest.mark.parametrize("pruner", ["random", "synflow"])
def test_every_block_along_the_input_axis(granularity, pruner):
    n, m = map(int, granularity.split(":"))
    convolutions = nn.Conv2d(3, 40, 3, padding=1), nn.ReLU(), nn.Conv2d(40, 40, 3)
    model = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(160, 4))
    masks = prune(model, pruner, m / n, [(torch.ones(1, 3, 4, 4), torch.zeros(1).long())], granularity=granularity)
    assert masks["0.weight"].all()  # three colours: dense
    blocks = masks["2.weight"].movedim(1, -1).reshape(-1, m)
    assert (blocks.sum(1) == n).all()
    assert (masks["4.weight"].reshape(-1, m).sum(1) == n).all()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"granularity": "filtre", "compression": 2}, "Unknown granularity 'filtre'.*Did you mean 'filter'"),
        ({"granularity": "4:2", "compression": 2}, "Unknown granularity '4:2'.*n:m"),
        ({"granularity": "4:4", "compression": 1}, "Unknown granularity .4:4.*n:m"),
        ({"granularity": "2:4", "compression": 10}, "'2:4' is a compression of 2x and 10x was asked for"),
        (
            {"granularity": "1:5", "compression": 5},
            "width 5 divides, and 'head.weight' has 96",
        ),
        ({"granularity": "filter", "compression": 2, "scope": "erk"}, "global and layer, not"),
        ({"granularity": "filter", "compression": 2, "ablation": "shuffle"}, "shuffle"),
    ],
)
def test_refusals(asked, message, model):
    with pytest.raises(PruningError, match=message):
        prune(model, "random", **asked)


@pytest.mark.parametrize("granularity", ["filter", "2:4"])
def test_scores_that_are_no_number(granularity):
    bad = Pruner(
        score=lambda model, *_, **__: {n: torch.full_like(w, math.nan) for n, w in prunable(model).items()},
        summary="",
        paper="",
    )
    with pytest.raises(PruningError, match=r"'0\.weight' hold 32 NaN"):
        prune(nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)), bad, 2, granularity=granularity)


def test_settings_are_canonical():
    snip = PRUNERS["snip"]
    assert snip.settings().granularity == "weight"
    assert snip.settings(granularity="2:4") == snip.settings(granularity="2:4", scope="layer")
    assert snip.settings(granularity="2:4", scope="global").scope == "layer"
    assert snip.settings(granularity="filter", scope="global").scope == "global"


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_every_granularity_with_every_kind_of_schedule(granularity):
    model = build("conv", (1, 8, 8), 10, seed=0)
    compression = 1 / eval(granularity.replace(":", "/")) if ":" in granularity else 4
    batch = [(torch.ones(2, 1, 8, 8), torch.zeros(2, dtype=torch.int64))]
    for iterations, schedule in ((1, None), (3, "linear"), (3, "exponential")):
        found = find(
            model, "snip", compression, batch, granularity=granularity, iterations=iterations, schedule=schedule
        )
        assert kept(found.masks) < total(found.masks) and found.scores.keys() == found.masks.keys()


@pytest.mark.parametrize(("density", "left"), [(0.75, 6), (0.7, 6), (0.51, 5), (0.5, 4), (0.1, 4)])
def test_on_the_way_to_n_of_m_a_block_rounds_up(density, left):
    masks = selector("4:8", nn.Linear(8, 3), 2)({"weight": torch.rand(3, 8)}, density, None, "layer")
    assert masks["weight"].sum(1).tolist() == [left] * 3


@pytest.mark.parametrize(
    ("granularity", "width", "dense"), [("1:3", 2, T), ("1:3", 4, F), ("1:8", 7, T), ("1:8", 9, F)]
)
def test_only_layers_narrower_than_a_block_or_four_stay_dense(granularity, width, dense):
    layer, compression = nn.Linear(width, 2), int(granularity[2:])
    if dense:
        assert prune(layer, "random", compression, granularity=granularity)["weight"].all()
    else:
        with pytest.raises(PruningError, match=f"has {width} inputs"):
            prune(layer, "random", compression, granularity=granularity)


def test_many_ties_go_to_the_earlier_as_well():
    layer = nn.Linear(1024, 1)
    layer.weight.data.fill_(0.5)
    assert prune(layer, "magnitude", 2, granularity="512:1024")["weight"][0].tolist() == [T] * 512 + [F] * 512
    wide = nn.Sequential(nn.Linear(1, 1000), nn.ReLU(), nn.Linear(1000, 1))
    for weight in prunable(wide).values():
        weight.data.fill_(0.5)
    assert prune(wide, "magnitude", 2, granularity="filter")["0.weight"].flatten().tolist() == [T] * 500 + [F] * 500


@pytest.mark.parametrize(("alive", "left"), [([F, T, T, T], [F, T, T, F]), ([T, F, F, F], [T, F, F, F])])
def test_of_a_block_only_the_living_are_kept(alive, left):
    choose = selector("2:4", nn.Linear(4, 1), 2)
    masks = choose({"weight": tensor([[4.0, 3.0, 2.0, 1.0]])}, 0.5, {"weight": tensor([alive])}, "layer")
    assert masks["weight"].tolist() == [left]


@pytest.mark.parametrize("left", range(1, 9))
def test_as_many_channels_stay_as_fit(left):
    wide = nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 1))  # 2 weights a channel
    deep = nn.Sequential(nn.Conv2d(2, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 1, 1))  # 2 + 9 + 1
    for model in (wide, deep):
        masks = prune(model, "magnitude", 8 / left, granularity="filter")
        assert kept(masks) * 8 == left * total(masks)
