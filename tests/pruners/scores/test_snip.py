import copy

import pytest
import torch
from by_hand import LOG3, batch, two_weights
from torch import nn

from pruners import find


def test_by_hand():
    # dL/dw = p - onehot(0) = (-1/4, 1/4)
    scores = find(two_weights(), "snip", 2, [batch(0)]).scores["weight"]
    assert scores.flatten().tolist() == pytest.approx([(1 + LOG3) / 4, 1 / 4])


def test_batches_add_up_before_the_absolute_value():
    # Label 1 gives (3/4, -3/4); the sum of both gradients is (1/2, -1/2).
    scores = find(two_weights(), "snip", 2, [batch(0), batch(1)]).scores["weight"]
    assert scores.flatten().tolist() == pytest.approx([(1 + LOG3) / 2, 1 / 2])


def test_the_loss_of_a_batch_is_a_mean():
    x, y = batch(0)
    scores = find(two_weights(), "snip", 2, [(x.repeat(7, 1), y.repeat(7))]).scores["weight"]
    assert scores.flatten().tolist() == pytest.approx([(1 + LOG3) / 4, 1 / 4])


def test_a_weight_the_loss_never_sees_scores_zero():
    model = nn.Sequential(two_weights(), nn.Identity())
    model[1].unused = nn.Linear(2, 2).double()
    scores = find(model, "snip", 2, [batch(0)]).scores
    assert scores["1.unused.weight"].tolist() == [[0, 0], [0, 0]]


def test_scores_of_float32_are_those_of_float64_but_for_rounding(model, batches):
    def scores(dtype):
        data = [(inputs.to(dtype), labels) for inputs, labels in batches]
        return find(copy.deepcopy(model).to(dtype), "snip", 2, data, mode="eval").scores

    for single, double in zip(scores(torch.float32).values(), scores(torch.float64).values(), strict=True):
        assert (single - double).abs().max() < 1e-4 * double.max()  # bfloat16 would be 1e-2 away


def test_of_the_loss_of_the_filter_level_program():
    # jeong-tae/SNIP-filter-level-pytorch c8d0868, models/snip.py: nll_loss of the logits, whose slope is (-1, 0).
    scores = find(two_weights(), "snip", 2, [batch(0)], options={"loss": "nll"}).scores["weight"]
    assert scores.flatten().tolist() == pytest.approx([1 + LOG3, 0])
