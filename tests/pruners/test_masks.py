import copy

import pytest
import torch
from torch import nn, tensor
from torch.nn.utils.parametrizations import weight_norm

from pruners import PruningError, apply_masks, empty_layers, masking, prunable
from pruners.masks import factor


def linear():
    layer = nn.Linear(2, 2)
    layer.weight.data = tensor([[1.0, 2.0], [3.0, 4.0]])
    return layer


MASK = {"weight": tensor([[True, False], [False, True]])}


def test_pruned_weights_become_zero_in_place():
    layer = linear()
    weight, bias = layer.weight, layer.bias.clone()
    apply_masks(layer, MASK)
    assert layer.weight is weight and weight.requires_grad
    assert weight.tolist() == [[1.0, 0.0], [0.0, 4.0]]
    assert torch.equal(layer.bias, bias)


def test_masking_holds_through_training():
    layer = linear()
    hold = masking(layer, MASK)
    hold()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        layer(torch.ones(4, 2)).square().sum().backward()
        optimizer.step()
        hold()
        assert ((layer.weight != 0) == MASK["weight"]).all()


def test_the_model_stays_plain():
    layer = linear()
    names = list(layer.state_dict())
    masking(layer, MASK)()
    layer(torch.ones(1, 2))
    assert list(copy.deepcopy(layer).state_dict()) == names


def test_masks_that_do_not_fit():
    with pytest.raises(PruningError, match=r"'wieght'.*Did you mean 'weight'"):
        apply_masks(linear(), {"wieght": MASK["weight"]})
    with pytest.raises(PruningError, match=r"'weight'.*\(3,\).*\(2, 2\)"):
        apply_masks(linear(), {"weight": torch.ones(3, dtype=torch.bool)})


def test_no_masks_is_no_pruning():
    layer = linear()
    apply_masks(layer, {})
    assert layer.weight.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_empty_layers():
    masks = {"a": tensor([True, False]), "b": tensor([False, False]), "c": tensor([[False]])}
    assert empty_layers(masks) == ["b", "c"]
    assert empty_layers({"a": tensor([True])}) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), -1.0])
def test_pruned_weights_become_zero_whatever_they_were(dtype, value):
    model = nn.Sequential(nn.Linear(2, 2), nn.Conv2d(2, 3, 3)).to(dtype).to(memory_format=torch.channels_last)
    mask = torch.arange(54).view(3, 2, 3, 3) % 3 == 0
    with torch.no_grad():
        model[0].weight[~MASK["weight"]], model[1].weight[~mask] = value, value
    kept = [model[0].weight[MASK["weight"]].clone(), model[1].weight[mask].clone()]
    masking(model, {"0.weight": MASK["weight"], "1.weight": mask})()
    assert not model[0].weight[~MASK["weight"]].any() and not model[1].weight[~mask].any()
    assert torch.equal(model[0].weight[MASK["weight"]], kept[0]) and torch.equal(model[1].weight[mask], kept[1])


def test_what_is_written_into_a_factor_counts_from_then_on():
    layer = linear()
    held = factor(MASK["weight"], layer.weight)
    hold = masking(layer, {"weight": held})
    hold()
    held.copy_(~MASK["weight"])
    layer.weight.data.fill_(5.0)
    hold()
    assert layer.weight.tolist() == [[0.0, 5.0], [5.0, 0.0]]


def test_weights_that_have_moved_are_held_where_they_are():
    layer = linear()
    hold = masking(layer, MASK)
    layer.weight.data = tensor([[5.0, 6.0], [7.0, 8.0]])
    hold()
    assert layer.weight.tolist() == [[5.0, 0.0], [0.0, 8.0]]


def test_a_filter_without_weights_stays_zero_in_training_under_weight_norm():
    for wrap in (weight_norm, nn.utils.weight_norm):
        model = nn.Sequential(wrap(nn.Linear(4, 3)), nn.Linear(3, 2))
        name = next(iter(prunable(model)))
        mask = tensor([[True] * 4, [False] * 4, [True, False, True, False]])
        hold = masking(model, {name: mask})
        hold()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
        for _ in range(3):
            loss = model(torch.ones(4, 4)).square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            hold()
            model(torch.ones(1, 4))  # the older form computes its weight here
            assert torch.equal(model[0].weight != 0, mask)
