"""n:m blocks worked by hand, and what all granularities must hold."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from by_hand import kept, total
from torch import nn, tensor

from pruners import GRANULARITIES, PRUNERS, Pruner, PruningError, find, prunable, prune
from pruners.granularity import selector
from pruners.transformer_blocks import UNITS
from search_spaces import Network
from trainables.architectures import build

T, F = True, False


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
        ({"granularity": "2:4", "compression": 10}, "'2:4' has a compression of 2x, but 10x was asked for"),
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
    model = build(Network("vit-tiny", (("depth", 2),)) if granularity in UNITS else "conv", (1, 8, 8), 10, seed=0)
    compression = {"head": 1.1, "neuron": 1.5}.get(granularity, 4)
    compression = 1 / eval(granularity.replace(":", "/")) if ":" in granularity else compression
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
    layer.weight.data.fill_(0.5)[0, 0] = 0.6  # were all alike, it would be refused
    assert prune(layer, "magnitude", 2, granularity="512:1024")["weight"][0].tolist() == [T] * 512 + [F] * 512
    wide = nn.Sequential(nn.Linear(1, 1000), nn.ReLU(), nn.Linear(1000, 1))
    for weight in prunable(wide).values():
        weight.data.fill_(0.5)[0, 0] = 0.6
    assert prune(wide, "magnitude", 2, granularity="filter")["0.weight"].flatten().tolist() == [T] * 500 + [F] * 500


@pytest.mark.parametrize(("alive", "left"), [([F, T, T, T], [F, T, T, F]), ([T, F, F, F], [T, F, F, F])])
def test_of_a_block_only_the_living_are_kept(alive, left):
    choose = selector("2:4", nn.Linear(4, 1), 2)
    masks = choose({"weight": tensor([[4.0, 3.0, 2.0, 1.0]])}, 0.5, {"weight": tensor([alive])}, "layer")
    assert masks["weight"].tolist() == [left]


def slow_blocks(layer, score, n, m):
    """Of every m inputs in a row of each output, the n with the highest scores: one weight at a time."""
    mask = torch.zeros_like(score, dtype=torch.bool)
    reads, writes = layer.in_channels // layer.groups, layer.out_channels // layer.groups
    for group in range(layer.groups):
        for output in range(writes):
            for tap in itertools.product(*map(range, score.shape[2:])):
                for start in range(0, reads, m):
                    places = [(group * reads + start + k, output, *tap) for k in range(m)]  # weight: (inputs, outputs)
                    for place in sorted(places, key=lambda place: -float(score[place]))[:n]:
                        mask[place] = True
    return mask


@pytest.mark.parametrize(
    ("layer", "granularity"),
    [
        (nn.ConvTranspose2d(8, 16, 3), "2:4"),
        (nn.ConvTranspose2d(8, 3, 3), "2:4"),
        (nn.ConvTranspose2d(8, 6, 3), "1:4"),
        (nn.ConvTranspose1d(8, 5, 2), "2:8"),
        (nn.ConvTranspose3d(4, 2, 2), "1:2"),
        (nn.ConvTranspose2d(16, 8, 3, groups=2), "2:4"),
        (nn.ConvTranspose2d(24, 4, 2, groups=4), "1:2"),
        (nn.ConvTranspose2d(15, 7, 2), "3:5"),
    ],
)
def test_blocks_of_transposed_convolutions_run_along_their_inputs(layer, granularity):
    n, m = map(int, granularity.split(":"))
    score = torch.randperm(layer.weight.numel(), generator=torch.Generator().manual_seed(0)).float()
    layer.weight.data = score.view(layer.weight.shape) + 1
    mask = prune(nn.Sequential(layer), "magnitude", m / n, granularity=granularity)["0.weight"]
    assert torch.equal(mask, slow_blocks(layer, layer.weight.detach(), n, m))
    assert int(mask.sum()) * m == mask.numel() * n


def test_transposed_convolutions_that_are_refused_or_stay_dense():
    with pytest.raises(PruningError, match=r"'0\.weight' has 6 inputs"):  # 6, and not the 8 outputs
        prune(nn.Sequential(nn.ConvTranspose2d(6, 8, 3)), "magnitude", 2, granularity="2:4")
    narrow = nn.Sequential(nn.ConvTranspose2d(3, 8, 3), nn.ConvTranspose2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1))
    masks = prune(narrow, "magnitude", 2, granularity="2:4")
    assert masks["0.weight"].all() and masks["1.weight"].all()
    assert masks["2.weight"].view(4, 2, 4).sum(2).eq(2).all()


def test_blocks_of_transposed_convolutions_stay_nested():
    model = nn.Sequential(nn.ConvTranspose2d(8, 3, 3))
    first = find(model, "magnitude", 4 / 3, granularity="3:4").masks
    masks = find(model, "magnitude", 2, granularity="2:4", alive=first).masks["0.weight"]
    assert (masks & ~first["0.weight"]).sum() == 0
    assert masks.view(2, 4, 3, 3, 3).sum(1).eq(2).all()
