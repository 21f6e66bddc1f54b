"""AC/DC: when phases begin, and which weights they keep."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from search_spaces import SpaceError, Trial
from trainables.sparse_training import dynamics

TRIAL = Trial(dataset="digits", architecture="mlp", pruner="ac-dc", compression=4, epochs=200)


def test_phases_are_those_of_the_published_configuration():
    # IST-DASLab/ACDC ac53210, configs/neurips/iht_cifar10_resnet20_..._freq20_90: of 200 epochs, the network is
    # compressed after 10, 50, 90, 130 and 170, and dense again after 30, 70, 110 and 150.
    phases = dynamics(TRIAL, 7).compressed_after
    assert [step // 7 for step, compressed in phases.items() if compressed] == [10, 50, 90, 130, 170]
    assert [step // 7 for step, compressed in phases.items() if not compressed] == [30, 70, 110, 150]


@pytest.mark.parametrize("epochs", [1, 2, 3])
@pytest.mark.parametrize("steps", [1, 2, 5, 40])
def test_the_last_phase_is_compressed_however_short_training_is(epochs, steps):
    phases = dynamics(TRIAL.model_copy(update={"epochs": epochs}), steps).compressed_after
    assert phases[max(phases)] and max(phases) <= epochs * steps


def test_compressed_phases_keep_the_largest_of_all_and_dense_ones_all():
    model = nn.Sequential(nn.Linear(3, 2, bias=False), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, 0.1, 0.2], [-5.0, 0.3, 0.4]]))
        model[1].weight.copy_(torch.tensor([[0.0, -4.0]]))
    rule = dynamics(TRIAL, 7)
    pruned = {"0.weight": torch.zeros(2, 3, dtype=torch.bool), "1.weight": torch.zeros(1, 2, dtype=torch.bool)}
    masks = rule.update(70, pruned, model)
    assert masks["0.weight"].tolist() == [[False, False, False], [True, False, False]]  # 2 of 8, wherever they are
    assert masks["1.weight"].tolist() == [[False, True]]
    assert all(mask.all() for mask in rule.update(210, masks, model).values())
    assert rule.update(71, masks, model) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"last": 0.99}, "pruner ac-dc: last: 0.99 is not allowed; with warmup: 0.05 it must be at most 1"),
        ({"phase": 0.0}, "pruner ac-dc: phase: 0 is not allowed"),
        ({"warmup": 1.5}, "pruner ac-dc: warmup: 1.5 is not allowed; it must be a fraction"),
    ],
)
def test_phases_that_cannot_be(options, message):
    with pytest.raises(SpaceError, match=message):
        dynamics(TRIAL.model_copy(update={"options": options}), 7)
