"""Movement pruning and edge-popup: weights and scores are those of autograd with a straight-through mask."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from search_spaces import SpaceError, Trial
from trainables.sparse_training import dynamics
from trainables.training.optimizer import make_optimizer
from trainables.training.step import Masked, Stepper

RECIPE = {"dataset": "digits", "architecture": "mlp", "compression": 4, "epochs": 1, "lr": 0.1, "weight_decay": 0.01}
MOVEMENT = Trial(**RECIPE, pruner="movement", options={"start": 0.1, "end": 0.5})
EDGE_POPUP = Trial(**RECIPE, pruner="edge-popup", scope="layer")
NAMES = ("0.weight", "2.weight")


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 4)).double()


def batches(count):
    draw = torch.Generator().manual_seed(1)
    return [(torch.randn(8, 6, generator=draw).double(), torch.arange(8) % 4) for _ in range(count)]


def straight_through(weight, merit, mask):
    """The masked weight, whose gradient for `merit` is as if the mask were `merit`."""
    return weight * (mask.double() + merit - merit.detach())


def trained(trial, steps):
    model, rule = network(), dynamics(trial, 100)
    masks = {name: torch.ones_like(model.get_parameter(name), dtype=torch.bool) for name in NAMES}
    rule.start(model, masks)
    first = {name: rule.tensors[f"score/{name}"].detach().clone() for name in NAMES}
    optimizer = make_optimizer(model, trial, rule.learned)
    masked = Masked(model, optimizer, masks, rule, 0)
    step = Stepper(model, optimizer, masked, trial)
    for x, y in batches(steps):
        step(x, y)
    return model, masks, rule, masked, first


def by_autograd(steps, first, masks_of, weights_train):
    model = network()
    parameters = dict(model.named_parameters())
    scores = {name: nn.Parameter(first[name].clone()) for name in NAMES}
    frozen = () if weights_train else NAMES
    updated = [value for name, value in parameters.items() if name not in frozen]
    optimizer = torch.optim.SGD([*updated, *scores.values()], 0.1, momentum=0.9, weight_decay=0.01)
    masks = masks_of(0, scores)
    for number, (x, y) in enumerate(batches(steps), 1):
        optimizer.zero_grad()
        merits = {name: score if weights_train else score.abs() for name, score in scores.items()}
        seen = parameters | {n: straight_through(parameters[n], merits[n], masks[n]) for n in NAMES}
        nn.functional.cross_entropy(torch.func.functional_call(model, seen, x), y).backward()
        optimizer.step()
        masks = masks_of(number, scores)
    return parameters, scores, masks


def largest(values, count):
    threshold = values.flatten().sort(descending=True).values[count - 1]
    return values >= threshold


def test_movement_is_autograds():
    def masks_of(step, scores):
        left = min(1.0, 1 - (step - 10) / 40) if step < 50 else 0.0
        density = 0.25 + 0.75 * left**3
        both = torch.cat([score.detach().flatten() for score in scores.values()])
        kept = 100 - int((1 - density) * 100 + 1e-9)
        parts = largest(both, kept).split([60, 40]) if step > 10 else torch.ones(100, dtype=torch.bool).split([60, 40])
        return {name: part.view(scores[name].shape) for name, part in zip(NAMES, parts, strict=True)}

    model, masks, rule, masked, first = trained(MOVEMENT, 60)
    weights, scores, expected = by_autograd(60, first, masks_of, weights_train=True)
    for name in NAMES:
        assert torch.equal(masks[name], expected[name])
        assert torch.allclose(model.get_parameter(name), weights[name], rtol=0, atol=1e-12)
        assert torch.allclose(rule.tensors[f"score/{name}"], scores[name], rtol=0, atol=1e-12)
    masked.finish()
    assert sum(int((model.get_parameter(name) != 0).sum()) for name in NAMES) == 25


def test_edge_popup_is_autograds_and_leaves_the_weights_alone():
    def masks_of(step, scores):
        return {name: largest(score.detach().abs(), score.numel() // 4) for name, score in scores.items()}

    model, masks, rule, _, first = trained(EDGE_POPUP, 30)
    weights, scores, expected = by_autograd(30, first, masks_of, weights_train=False)
    start = {name: largest(first[name].abs(), first[name].numel() // 4) for name in NAMES}
    for name in NAMES:
        assert torch.equal(model.get_parameter(name), network().get_parameter(name))
        assert torch.allclose(rule.tensors[f"score/{name}"], scores[name], rtol=0, atol=1e-12)
        assert torch.equal(masks[name], expected[name])
        assert float(first[name].abs().max()) <= first[name].shape[1] ** -0.5
    assert any(not torch.equal(masks[name], start[name]) for name in NAMES)
    assert torch.allclose(model.get_parameter("0.bias"), weights["0.bias"], rtol=0, atol=1e-12)


def test_movement_ends_after_it_starts():
    with pytest.raises(SpaceError, match=r"pruner movement: start: 0\.6 is not allowed; it must be below end: 0\.5"):
        dynamics(MOVEMENT.model_copy(update={"options": {"start": 0.6, "end": 0.5}}), 10)
