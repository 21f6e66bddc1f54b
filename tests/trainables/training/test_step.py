"""One step of training against torch's own calls."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from search_spaces import Trial
from trainables.architectures import build
from trainables.training.optimizer import make_optimizer
from trainables.training.step import Masked, Stepper

RECIPES = [
    {"optimizer": "sgd", "momentum": 0.9, "nesterov": True},
    {"optimizer": "sgd", "accumulate": 3, "weight_decay": 1e-3},
    {"optimizer": "adam"},
    {"optimizer": "adamw", "weight_decay": 0.1},
    {"optimizer": "rmsprop"},
]


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_steps_are_those_of_torch(recipe):
    trial = Trial(dataset="digits", architecture="mlp", **recipe)
    ours = build("mlp", input_shape=(1, 8, 8), num_classes=10, seed=0)
    plain = copy.deepcopy(ours)
    optimizer, reference = (make_optimizer(model, trial) for model in (ours, plain))
    step = Stepper(ours, optimizer, Masked(ours, optimizer, {}, None, 0), trial)
    draw = torch.Generator().manual_seed(0)
    for _ in range(3):
        x, y = torch.randn(12, 1, 8, 8, generator=draw), torch.randint(10, (12,), generator=draw)
        loss, _ = step(x, y)
        reference.zero_grad()
        parts = x.split(12 // trial.accumulate), y.split(12 // trial.accumulate)
        expected = sum(F.cross_entropy(plain(a), b, reduction="sum") for a, b in zip(*parts, strict=True))
        (expected / 12).backward()
        reference.step()
        assert loss.item() == pytest.approx(expected.item())
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_a_step_opens_no_range_of_the_profiler():
    trial = Trial(dataset="digits", architecture="mlp")
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    optimizer = make_optimizer(model, trial)
    step = Stepper(model, optimizer, Masked(model, optimizer, {}, None, 0), trial)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        step(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]))
    assert not [event.key for event in profile.key_averages() if event.key.startswith("Optimizer.")]
