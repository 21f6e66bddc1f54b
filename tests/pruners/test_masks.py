import copy

import pytest
import torch
from torch import nn, tensor

from pruners import PruningError, apply_masks, empty_layers, masking


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
