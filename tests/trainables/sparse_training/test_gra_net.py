"""GraNet: densities, exchanged weights, and the masks of the paper's algorithm done slowly."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from search_spaces import Trial
from trainables.sparse_training import dynamics

TRIAL = Trial(
    dataset="digits", architecture="mlp", pruner="gra-net", scope="erk", compression=10, epochs=10,
    options={"interval": 4},
)  # fmt: skip


def slowly(weights, masks, slopes, kept, drop):
    """Prune to so many weights in all, then exchange the share `drop` of each layer, weight by weight."""
    places = [(abs(float(w.flatten()[i])), n, i) for n, w in weights.items() for i in range(w.numel()) if masks[n][i]]
    alive = {(name, i) for _, name, i in sorted(places, key=lambda place: -place[0])[:kept]}
    found = {}
    for name, weight in weights.items():
        own = sorted((i for key, i in alive if key == name), key=lambda i: -abs(float(weight.flatten()[i])))
        leaving = math.ceil(drop * len(own))
        staying = own[: len(own) - leaving]
        others = sorted(set(range(weight.numel())) - set(staying), key=lambda i: -abs(float(slopes[name].flatten()[i])))
        found[name] = sorted(staying + others[:leaving])
    return found


@pytest.mark.parametrize("number", [1, 2, 5])
def test_masks_are_those_of_the_algorithm(number):
    torch.manual_seed(number)
    model = nn.Sequential(nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 4))
    model(torch.randn(5, 12)).square().sum().backward()
    rule = dynamics(TRIAL, 8)  # 80 steps, an update every fourth; the tenth is the last that prunes
    assert (rule.interval, rule.last, rule.compression) == (4, 10, 2)
    weights = {f"{i}.weight": model[i].weight.detach() for i in (0, 2)}
    slopes = {f"{i}.weight": model[i].weight.grad for i in (0, 2)}
    masks = {name: torch.arange(w.numel()).view(w.shape) % 4 < 3 for name, w in weights.items()}
    density = 0.1 + 0.4 * (1 - number / 10) ** 3  # Liu et al. 2021, equation 1
    drop = 0.005 + 0.495 * (1 + math.cos(math.pi * 4 * number / 80)) / 2
    kept = 144 - math.floor((1 - density) * 144)
    expected = slowly(weights, {n: m.flatten().tolist() for n, m in masks.items()}, slopes, kept, drop)
    found = rule.update(4 * number, masks, model)
    assert {name: mask.flatten().nonzero().flatten().tolist() for name, mask in found.items()} == expected


def test_after_the_last_pruning_weights_are_only_exchanged():
    model = nn.Linear(20, 20)
    model(torch.randn(3, 20)).sum().backward()
    masks = {"weight": torch.rand(20, 20) < 0.5}
    rule = dynamics(TRIAL, 8)
    after = rule.update(44, masks, model)["weight"]
    assert int(after.sum()) == int(masks["weight"].sum()) and not torch.equal(after, masks["weight"])
    assert rule.update(45, masks, model) is None


def test_it_never_starts_sparser_than_it_ends():
    assert dynamics(TRIAL.model_copy(update={"compression": 1.5}), 8).compression == 1.5
    assert dynamics(TRIAL.model_copy(update={"options": {"initial": 1.0}}), 8).compression == 1
