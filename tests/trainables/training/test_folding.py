"""Without its batch norms a network evaluates the same."""

from __future__ import annotations

import copy

import pytest
import torch
import torchvision
from torch import nn

from tests.pruners.smaller_networks import stirred
from trainables.architectures import build
from trainables.training.evaluation import foldable, folded

SHAPE = (3, 16, 16)


def norms(model):
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize("name", ["resnet20", "vgg11-bn", "mobilenet-v2-cifar"])
def test_all_are_folded_and_nothing_changes(name):
    model = stirred(build(name, SHAPE, 10, seed=0)).double()
    before = copy.deepcopy(model.state_dict())
    fixed = folded(model, foldable(model))
    x = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        assert torch.allclose(fixed(x), model.eval()(x), rtol=1e-10, atol=1e-12)
    assert norms(fixed) == 0 < norms(model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_norm_before_its_layer_stays():
    """DenseNet normalises what several layers read."""
    model = stirred(torchvision.models.DenseNet(8, (2,), 16, num_classes=10)).double()
    fixed = folded(model, foldable(model))
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        assert torch.allclose(fixed(x), model.eval()(x), rtol=1e-10, atol=1e-12)
    assert 0 < norms(fixed) < norms(model)


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        return self.norm(self.layer(x)) if x.sum() > 0 else self.layer(x)


def test_what_cannot_be_followed_stays_itself():
    model = Branching()
    assert folded(model, foldable(model)) is model and not model.training
