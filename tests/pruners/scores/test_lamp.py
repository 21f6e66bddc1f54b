"""LAMP (Lee et al. 2021) on weights small enough to do by hand."""

import pytest
import torch
from torch import nn

from pruners import find, prune


def layer(*values):
    linear = nn.Linear(len(values), 1, bias=False)
    linear.weight.data = torch.tensor([values])
    return linear


def test_equation_1_by_hand():
    # Squares 4, 1, 16, 9; from each one up: 4/(4+9+16), 1/(1+4+9+16), 16/16, 9/(9+16).
    scores = find(layer(2.0, -1.0, 4.0, -3.0), "lamp", 2).scores["weight"]
    torch.testing.assert_close(scores, torch.tensor([[4 / 29, 1 / 30, 1.0, 9 / 25]], dtype=torch.float64))


def test_of_equal_weights_the_earlier_counts_as_larger_and_zeros_score_zero():
    scores = find(layer(1.0, 0.0, 1.0, 0.0), "lamp", 2).scores["weight"]
    torch.testing.assert_close(scores, torch.tensor([[1.0, 0.0, 0.5, 0.0]], dtype=torch.float64))
    assert (find(layer(0.0, 0.0), "lamp", 1).scores["weight"] == 0).all()


def test_a_layer_of_small_weights_survives_where_magnitude_empties_it():
    net = nn.Sequential(layer(0.01, 0.02, 0.03), layer(5.0, 6.0, 7.0))
    masks = prune(net, "lamp", 3)
    assert [mask.tolist() for mask in masks.values()] == [[[False, False, True]], [[False, False, True]]]
    assert not prune(net, "magnitude", 3)["0.weight"].any()


def test_of_many_equal_weights_the_earlier_counts_as_larger():
    layer = nn.Linear(1000, 1)
    layer.weight.data.fill_(0.5)
    assert find(layer, "lamp", 2).scores["weight"][0].tolist() == pytest.approx([1 / k for k in range(1, 1001)])
