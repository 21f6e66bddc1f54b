"""STR: weights and gradients are those of autograd for the paper's equation; what is left after the thresholds."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from search_spaces import Trial
from trainables.sparse_training import dynamics
from trainables.training.optimizer import make_optimizer
from trainables.training.step import Masked, Stepper

TRIAL = Trial(
    dataset="digits", architecture="mlp", pruner="str", compression=4, epochs=1, lr=0.1, weight_decay=0.01,
    options={"initial": -2.0, "end": 0.5},
)  # fmt: skip


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 3)).double()


def batches(count):
    draw = torch.Generator().manual_seed(1)
    return [(torch.randn(8, 6, generator=draw).double(), torch.arange(8) % 3) for _ in range(count)]


def by_autograd(steps):
    """Train with the equation itself, w = sign(w) relu(|w| - sigmoid(s)), differentiated by autograd."""
    model = network()
    weights = dict(model.named_parameters())
    s = {name: nn.Parameter(torch.full((1, 1), -2.0).double()) for name in ("0.weight", "2.weight")}
    optimizer = torch.optim.SGD([*weights.values(), *s.values()], 0.1, momentum=0.9, weight_decay=0.01)
    for x, y in batches(steps):
        optimizer.zero_grad()
        seen = dict(weights)
        for name, threshold in s.items():
            seen[name] = weights[name].sign() * torch.relu(weights[name].abs() - torch.sigmoid(threshold))
        nn.functional.cross_entropy(torch.func.functional_call(model, seen, x), y).backward()
        optimizer.step()
    return model.state_dict(), s


def trained(steps):
    model = network()
    rule = dynamics(TRIAL, 2 * 20)  # thresholds until step 20
    masks = {name: torch.ones_like(w, dtype=torch.bool) for name, w in model.named_parameters() if w.dim() > 1}
    rule.start(model, masks)
    optimizer = make_optimizer(model, TRIAL, rule.learned)
    masked = Masked(model, optimizer, masks, rule, 0)
    step = Stepper(model, optimizer, masked, TRIAL)
    for x, y in batches(steps):
        step(x, y)
    return model, masks, rule, masked


def test_weights_and_thresholds_are_those_of_autograd():
    expected, thresholds = by_autograd(19)
    model, _, rule, _ = trained(19)
    for name, weight in model.state_dict().items():
        assert torch.allclose(weight, expected[name], rtol=0, atol=1e-12)
    for name, s in thresholds.items():
        assert rule.tensors[f"s/{name}"].item() == pytest.approx(s.item(), abs=1e-12)
        assert abs(s.item() + 2) > 1e-3  # learned


def test_the_weights_that_exceed_their_threshold_most_are_left():
    expected, thresholds = by_autograd(20)
    model, masks, _, masked = trained(20)
    excess = {name: expected[name].abs() - torch.sigmoid(s) for name, s in thresholds.items()}
    values = torch.cat([e.flatten() for e in excess.values()])
    lowest = values.sort(descending=True).values[90 - 67 - 1]  # 90 - floor(3/4 of 90) are kept
    for name, e in excess.items():
        assert torch.equal(masks[name], e >= lowest)
        kept = (expected[name].sign() * e.relu()) * masks[name]
        assert torch.allclose(model.get_parameter(name), kept, rtol=0, atol=1e-12)
        with masked.seen_forward():
            assert torch.allclose(model.get_parameter(name), kept, rtol=0, atol=1e-12)  # no threshold any more


def test_what_is_left_trains_on_in_its_masks():
    model, masks, rule, _ = trained(20)
    before = {name: model.get_parameter(name).clone() for name in masks}
    fixed, later, _, _ = trained(30)
    assert all(torch.equal(masks[name], later[name]) for name in masks)
    for name, mask in masks.items():
        assert (fixed.get_parameter(name)[~mask] == 0).all()
        assert (fixed.get_parameter(name)[mask] != before[name][mask]).all()  # those that were at zero too
    assert all(float(on) == 0 for name, on in rule.tensors.items() if name.startswith("on/"))
