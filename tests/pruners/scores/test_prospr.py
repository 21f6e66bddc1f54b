"""Alizadeh et al. 2022, section 3: gradients with respect to the mask, through steps of SGD."""

import math

import pytest
import torch
from by_hand import LOG3, batch, two_weights
from torch import nn

from pruners import PRUNERS, find, prune

BATCH = batch(0)


def score(model, batches, masks=None, **options):
    generator = torch.Generator().manual_seed(0)
    return PRUNERS["prospr"].score(model, batches, mode="eval", generator=generator, masks=masks, **options)


def test_by_hand_one_step():
    # g = (-1/4, 1/4), H = 3/16 (1, -1; -1, 1). A rate of 2 log 3 moves the logits log 9 apart: p = (9/10, 1/10).
    # dL(w_1)/dc = w (I - rate H) g_1 with g_1 = (-1, 1)/10, and H g_1 = 3/16 (-2, 2)/10.
    scores = score(two_weights(), [BATCH], steps=1, inner_lr=2 * LOG3)["weight"]
    slope = 1 / 10 - 2 * LOG3 * 3 / 80
    assert scores.flatten().tolist() == pytest.approx([(1 + LOG3) * slope, slope])


def test_no_step_is_snip():
    snip = find(two_weights(), "snip", 1, [BATCH], mode="eval").scores["weight"]
    assert torch.equal(score(two_weights(), [BATCH], steps=0, inner_lr=1.0)["weight"], snip)


def test_agrees_with_finite_differences_through_biases_and_batch_norm(model, batches):
    model, batches = model.double(), [(x.double(), y) for x, y in batches]
    scores = score(model, batches, steps=3, inner_lr=0.1)

    def trained(gate):
        """The loss after three steps from weights of which one is scaled by `gate`."""
        import copy

        net = copy.deepcopy(model).eval()
        net.requires_grad_()
        net.head.weight.data[2, 7] *= gate
        for step in range(4):
            x, y = batches[step % 2]
            loss = nn.functional.cross_entropy(net(x), y)
            if step < 3:
                slopes = torch.autograd.grad(loss, list(net.parameters()))
                for parameter, slope in zip(net.parameters(), slopes, strict=True):
                    parameter.data -= 0.1 * slope
        return float(loss.detach())

    difference = abs(trained(1 + 1e-4) - trained(1 - 1e-4)) / 2e-4
    assert float(scores["head.weight"][2, 7]) == pytest.approx(difference, rel=1e-4)


def test_the_pruned_do_not_grow_during_the_steps():
    # Without the second weight the logits are (1 + log 3, 0): training moves the first alone.
    masks = {"weight": torch.tensor([[True], [False]])}
    scores = score(two_weights(), [BATCH], masks, steps=1, inner_lr=1.0)["weight"]
    wrong = 1 / (1 + 3 * math.e)  # probability of class 1, so g = (-wrong, wrong), and only w_0 takes its step
    later = 1 / (1 + 3 * math.e * math.exp(wrong))
    slope = later * (1 - wrong * (1 - wrong))  # (I - H) g with H's row of the first weight
    assert float(scores[0]) == pytest.approx((1 + LOG3) * slope)


def test_a_later_iteration_holds_what_was_pruned_at_zero_through_the_steps(model, batches):
    alive = prune(model, "random", 2)
    prospr = PRUNERS["prospr"]
    asked = {"mode": "eval", "generator": torch.Generator(), **prospr.options}
    found = find(model, "prospr", 4, batches, mode="eval", alive=alive).scores
    held = prospr.score(model, batches, masks=alive, **asked)
    assert all(torch.equal(found[name], score) for name, score in held.items())


def test_momentum_by_hand_two_steps():
    # mil-ad/prospr a921779, prospr/prospr.py: the first velocity is a copy of the gradient without its graph, so that
    # the first step moves the weights and carries no gradient; later ones are momentum * v + g.
    scores = score(two_weights(), [BATCH], steps=2, inner_lr=0.5, momentum=0.9)["weight"]
    w = torch.tensor([1 + LOG3, 1.0], dtype=torch.float64)
    label = torch.tensor([1.0, 0.0], dtype=torch.float64)

    def slope(at):
        return torch.softmax(at, 0) - label

    def curvature(at):
        p = torch.softmax(at, 0)
        return torch.diag(p) - torch.outer(p, p)

    first = w - 0.5 * slope(w)
    second = first - 0.5 * (0.9 * slope(w) + slope(first))
    through = torch.eye(2, dtype=torch.float64) - 0.5 * curvature(first)
    expected = (w * (through @ slope(second))).abs()
    assert scores.flatten().tolist() == pytest.approx(expected.tolist())


def test_without_momentum_the_first_step_carries_a_gradient():
    # dL(w_1)/dc = w (I - rate H) g_1 (see above); a first velocity that is a constant leaves w g_1.
    plain = score(two_weights(), [BATCH], steps=1, inner_lr=1.0)["weight"]
    with_velocity = score(two_weights(), [BATCH], steps=1, inner_lr=1.0, momentum=0.9)["weight"]
    assert (plain < with_velocity).all()


def test_the_options_are_the_published_program_s():
    # mil-ad/prospr a921779, cli.py: --inner-steps 3, --inner-lr 0.1, --inner-momentum 0 (its README has 0.5 and 0.9).
    assert PRUNERS["prospr"].options == {"steps": 3, "inner_lr": 0.1, "momentum": 0.0}
    assert PRUNERS["prospr"].mode == "train"
