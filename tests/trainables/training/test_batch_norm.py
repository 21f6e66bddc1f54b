"""Batch norms trained on several pixels at a time: torch's own numbers, in float64."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from trainables.training.batch_norm import _pixels, quick_norms


def steps(model, shape, quick):
    """Outputs, gradients and buffers of three steps."""
    draw, seen = torch.Generator().manual_seed(0), []
    for _ in range(3):
        x = torch.randn(shape, generator=draw).double().contiguous(memory_format=torch.channels_last) * 3 + 1
        x.requires_grad_()
        if quick:
            with quick_norms(model):
                y = model(x)
        else:
            y = model(x)
        given = torch.randn(shape, generator=draw).double()
        seen += [y.detach(), *torch.autograd.grad(y, [x, *model.parameters()], given)]
        seen += [buffer.clone() for buffer in model.buffers()]
    return seen


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize(
    "shape", [(12, 7, 8, 8), (5, 2, 6, 6), (8, 16, 4, 4), (3, 3, 1, 1), (4, 1, 4, 4), (2, 40, 8, 8)]
)
def test_the_same_numbers_as_torch(shape, momentum):
    norm = nn.BatchNorm2d(shape[1], momentum=momentum).double()
    nn.init.uniform_(norm.weight, -1, 2)
    nn.init.normal_(norm.bias)
    model = nn.Sequential(norm, nn.ReLU(inplace=True))
    for a, b in zip(steps(copy.deepcopy(model), shape, False), steps(model, shape, True), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_they_are_in_place_only_while_it_lasts():
    model = nn.Sequential(nn.BatchNorm2d(4), nn.BatchNorm2d(4).eval()).double()
    x = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    x = x.contiguous(memory_format=torch.channels_last)
    with quick_norms(model):
        assert "_NormBackward" in repr(model[0](x).grad_fn)
        assert "_NormBackward" not in repr(model[1](x).grad_fn)  # a frozen one is what torch makes of it
        assert "_NormBackward" not in repr(model[0](x.contiguous()).grad_fn)
    assert "_NormBackward" not in repr(model[0](x).grad_fn)
    assert not any("forward" in vars(module) for module in model)


@pytest.mark.parametrize(
    ("shape", "k"),
    [  # doubled until a row has 64 columns, if the pixels divide by it; from 32 channels on torch is as fast
        ((12, 7, 8, 8), 16),
        ((8, 16, 4, 4), 4),
        ((2, 31, 8, 8), 4),
        ((2, 32, 8, 8), 1),
        ((5, 2, 6, 6), 4),  # 180 pixels
        ((3, 3, 3, 5), 1),  # 45
    ],
)
def test_how_many_pixels_make_a_row(shape, k):
    x = torch.zeros(shape)
    assert _pixels(x.contiguous(memory_format=torch.channels_last)) == k
    assert _pixels(x) == _pixels(x[0]) == 1  # of any other layout
