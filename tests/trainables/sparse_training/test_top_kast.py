"""Top-KAST: the paper's update done slowly, in plain tensors, with its two sets and its penalty."""

from __future__ import annotations

import math

import torch
from torch import nn

from search_spaces import Trial
from trainables.sparse_training import dynamics
from trainables.training.optimizer import make_optimizer
from trainables.training.step import Masked, Stepper

TRIAL = Trial(
    dataset="digits", architecture="mlp", pruner="top-kast", scope="layer", compression=5, epochs=1, lr=0.5,
    momentum=0.0, weight_decay=0.05, options={"interval": 3},
)  # fmt: skip


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 10, bias=False), nn.ReLU(), nn.Linear(10, 3, bias=False)).double()


def batches(count):
    draw = torch.Generator().manual_seed(1)
    return [(torch.randn(8, 6, generator=draw).double(), torch.arange(8) % 3) for _ in range(count)]


def top(weight, density):
    kept = weight.numel() - math.floor((1 - density) * weight.numel() + 1e-9)
    return weight.abs() >= weight.abs().flatten().sort(descending=True).values[kept - 1]


def slowly(steps):
    """Jayakumar et al. 2020, section 2: the loss of the weights in A, its gradient on B, the penalty of section 2.3."""
    theta = [w.detach().clone() for w in network().parameters()]
    first, second = [top(w, 0.2) for w in theta], [top(w, 0.4) for w in theta]
    for number, (x, y) in enumerate(batches(steps), 1):
        alpha = [(w * a).requires_grad_() for w, a in zip(theta, first, strict=True)]
        loss = nn.functional.cross_entropy((x @ alpha[0].T).relu() @ alpha[1].T, y)
        for i, slope in enumerate(torch.autograd.grad(loss, alpha)):
            penalty = 0.05 * theta[i] * torch.where(first[i], 1.0, 1 / 0.2)
            theta[i] = theta[i] - 0.5 * (slope + penalty) * second[i]
        if number % 3 == 0:
            first, second = [top(w, 0.2) for w in theta], [top(w, 0.4) for w in theta]
    return theta, first


def trained(steps, trial=TRIAL):
    model, rule = network(), dynamics(trial, 100)
    masks = {name: top(w.detach(), 0.2) for name, w in model.named_parameters()}
    rule.start(model, masks)
    optimizer = make_optimizer(model, trial, rule.learned)
    masked = Masked(model, optimizer, masks, rule, 0)
    step = Stepper(model, optimizer, masked, trial)
    for x, y in batches(steps):
        step(x, y)
    return model, masks, rule, masked


def test_weights_and_sets_are_those_of_the_paper():
    theta, first = slowly(60)
    model, masks, _, masked = trained(60)
    for weight, mask, expected, a in zip(model.parameters(), masks.values(), theta, first, strict=True):
        assert torch.allclose(weight, expected, rtol=0, atol=1e-12)
        assert torch.equal(mask, a)
    start = [top(w.detach(), 0.2) for w in network().parameters()]
    assert not all(torch.equal(mask, a) for mask, a in zip(masks.values(), start, strict=True))  # some have returned
    masked.finish()
    for weight, expected, a in zip(model.parameters(), theta, first, strict=True):
        assert torch.allclose(weight, expected * a, rtol=0, atol=1e-12)


def test_what_is_in_neither_set_rests_whatever_the_optimizer_does():
    for kind in ({"momentum": 0.9}, {"optimizer": "adam"}):
        model, _, rule, _ = trained(3, TRIAL.model_copy(update=kind))
        resting = {n: ~rule.tensors[f"backward/{n}"] for n, _ in model.named_parameters()}
        before = {n: w.detach().clone() for n, w in model.named_parameters()}
        rested = trained(5, TRIAL.model_copy(update=kind))[0]
        for name, weight in rested.named_parameters():
            assert torch.equal(weight[resting[name]], before[name][resting[name]])
            assert (weight[~resting[name]] != before[name][~resting[name]]).all()
