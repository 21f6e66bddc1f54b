"""Biases before a batch norm: the same logits, and gradients of exactly zero."""

from __future__ import annotations

import copy

import torch
from torch import nn

from trainables.training.batch_norm import still_biases
from trainables.training.evaluation import foldable


def test_a_bias_that_is_taken_away_again_has_no_gradient_and_changes_no_other():
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 5), nn.BatchNorm1d(5), nn.Linear(5, 2)]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(*layers)
        for parameter in model.parameters():
            nn.init.normal_(parameter)
        model, x = model.double(), torch.randn(6, 3, 6, 6).double()
    plain = copy.deepcopy(model)
    plain(x).square().sum().backward()
    with still_biases(model, foldable(model)):
        logits = model(x)
        logits.square().sum().backward()
        tested, expected = model.eval()(x), plain.eval()(x)
    assert torch.equal(tested, expected)
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    for name in ("0.bias", "3.bias"):
        assert gradients[name] is not None and not gradients.pop(name).any()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, plain.get_parameter(name).grad, rtol=1e-10, atol=1e-10)
    assert not any("forward" in vars(module) for module in model)
