"""Layers that are kept dense: not scored, not counted, not touched, and all else is still right."""

from __future__ import annotations

import copy

import pytest
import torch
from by_hand import OF_WEIGHTS, kept
from torch import nn

from pruners import PruningError, compact, effective, keep_dense, layer_weights, prunable, prune
from trainables.architectures import build

SHAPE = (3, 16, 16)
BATCH = [(torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(0)), torch.arange(4))]


def three(bias=False):
    """24 + 12 + 6 weights: in, middle, out."""
    layers = [nn.Linear(4, 6, bias), nn.ReLU(), nn.Linear(6, 2, bias), nn.ReLU(), nn.Linear(2, 3, bias)]
    model = nn.Sequential(*layers)
    for weight in model.parameters():
        nn.init.uniform_(weight, 0.5, 1.5, generator=torch.Generator().manual_seed(weight.numel()))
    return model


def test_patterns_name_weights_and_copies_remember():
    model = build("resnet20", SHAPE, 10, seed=0)
    every = list(layer_weights(model))
    keep_dense(model, ["conv.weight", "blocks.[01].*"])
    left = [name for name in every if name != "conv.weight" and not name.startswith(("blocks.0.", "blocks.1."))]
    assert list(prunable(model)) == list(prunable(copy.deepcopy(model))) == left
    assert list(layer_weights(model)) == every


def test_a_shared_weight_is_dense_wherever_it_is_used():
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    model = nn.Sequential(first, second, nn.Linear(3, 1))
    keep_dense(model, ["0.weight"])
    assert list(prunable(model)) == ["2.weight"]


def test_what_matches_nothing_or_everything_is_refused():
    with pytest.raises(PruningError, match=r"weight to keep dense '4\.wieght'.*Did you mean '4\.weight'"):
        keep_dense(three(), ["4.wieght"])
    with pytest.raises(PruningError, match="no weight to prune"):
        keep_dense(three(), ["*"])


@pytest.mark.parametrize("pruner", OF_WEIGHTS)
def test_every_pruner_counts_the_others_alone(pruner):
    model = build("conv", (3, 8, 8), 10, seed=0)
    keep_dense(model, ["0.weight", "5.weight"])
    data = [(x[:, :, :8, :8], y) for x, y in BATCH]
    options = {"iterations": 2} if pruner in ("synflow", "px", "ntk-sap", "force", "iter-snip") else {}
    masks = prune(model, pruner, 4, data, **options)
    assert list(masks) == ["2.weight"]
    assert kept(masks) == 9216 // 4


@pytest.mark.parametrize("dense", ["0.weight", "2.weight", "4.weight"])
def test_a_dense_layer_keeps_its_filters_and_the_channels_it_reads(dense):
    model = three()
    keep_dense(model, [dense])
    free = {"0.weight": 2, "2.weight": 0, "4.weight": 6}[dense]  # channels that only other layers write and read
    wanted = {"0.weight": 1.5, "2.weight": 1.1, "4.weight": 3}[dense]
    if not free:
        with pytest.raises(PruningError, match="Unreachable filter compression"):
            prune(model, "magnitude", wanted, granularity="filter")
        return
    masks = prune(model, "magnitude", wanted, granularity="filter")
    assert dense not in masks
    small = compact(model, masks, (4,)).model
    layers = dict(small.named_modules())
    own = dict(model.named_modules())[dense.removesuffix(".weight")]
    assert layers[dense.removesuffix(".weight")].weight.shape == own.weight.shape
    assert sum(weight.numel() for weight in prunable(small).values()) == kept(masks)


@pytest.mark.parametrize("name", ["resnet20", "mobilenet-v2-cifar"])
def test_filters_with_a_dense_classifier_and_stem(name):
    model = build(name, SHAPE, 10, seed=0).eval()
    first, *_, last = prunable(model)
    keep_dense(model, [first, last])
    masks = prune(model, "magnitude", 2, granularity="filter")
    compacted = compact(model, masks, SHAPE)
    assert not compacted.reason
    small = layer_weights(compacted.model)
    assert small[last].shape == layer_weights(model)[last].shape
    assert small[first].shape == layer_weights(model)[first].shape
    assert sum(weight.numel() for weight in prunable(compacted.model).values()) == kept(masks)
    assert kept(masks) <= sum(mask.numel() for mask in masks.values()) / 2 + 1


def test_compaction_takes_columns_of_a_dense_layer_that_read_nothing():
    model = three()
    keep_dense(model, ["2.weight"])
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in prunable(model).items()}
    masks["0.weight"][1:4] = False  # three of six channels hold zero: no biases
    compacted = compact(model, masks, (4,))
    assert compacted.model[2].weight.shape == (2, 3)
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    masked = copy.deepcopy(model)
    masked[0].weight.data *= masks["0.weight"]
    torch.testing.assert_close(compacted.model(x), masked(x))


def test_effective_weights_are_those_on_paths_through_dense_layers():
    model = three()
    keep_dense(model, ["2.weight"])
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in prunable(model).items()}
    masks["4.weight"][:, 0] = False
    assert effective(model, masks, (4,))["0.weight"].all()  # on to the other unit
    masks["4.weight"][:] = False
    assert not effective(model, masks, (4,))["0.weight"].any()
    assert list(effective(model, masks, (4,))) == ["0.weight", "4.weight"]
