"""Wang et al. 2023, section 4: the saliency of a mask for the distance that noise on the weights makes."""

import copy
import math

import pytest
import torch
from torch import nn

from pruners import PRUNERS, PruningError, find

SCORE = PRUNERS["ntk-sap"].score


def inputs(*shape):
    return [(torch.full(shape, math.nan), torch.full(shape[:1], math.nan))]  # neither values nor labels are read


def draw(seed):
    return torch.Generator().manual_seed(seed)


def chain(a, b):
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)).double()
    model[0].weight.data.fill_(a)
    model[1].weight.data.fill_(b)
    return model


@pytest.mark.parametrize("epsilon", [0.01, 0.5])
def test_by_hand_two_linear_layers(epsilon):
    # f = (m1 a)(m2 b) x, so the distance is (m1 m2 x)^2 D^2 with D = (a + e1)(b + e2) - a b; both slopes 2 x^2 D^2.
    scores = SCORE(chain(3.0, -0.5), inputs(1, 1), mode="eval", generator=draw(4), resamplings=1, epsilon=epsilon)
    a, b, e1, e2, x = (float(torch.randn(1, 1, generator=g)) for g in [draw(4)] for _ in range(5))
    a, b, e1, e2 = 3 * a, 0.5 * b, epsilon * e1, epsilon * e2  # |3| and |-0.5| are the layers' sizes
    expected = 2 * x**2 * ((a + e1) * (b + e2) - a * b) ** 2
    assert [float(score) for score in scores.values()] == pytest.approx([expected] * 2, rel=1e-5)


def test_one_layer_scores_the_trace_of_its_kernel():
    # f = (m w) x: the expected slope is 2 epsilon^2 x_i^2, and E x_i^2 = 1; 4 N outputs and inputs share it.
    layer = nn.Linear(3, 2, bias=False).double()
    score = SCORE(layer, inputs(500, 3), mode="eval", generator=draw(0), resamplings=400, epsilon=0.1)["weight"]
    torch.testing.assert_close(score / (400 * 500), torch.full((2, 3), 2 * 0.1**2).double(), rtol=0.25, atol=0)


def test_only_the_size_of_the_weights_matters(model):
    mixed = copy.deepcopy(model)
    for weight in (mixed.first.weight, mixed.head.weight):
        weight.data = -weight.data.flatten().flip(0).view(weight.shape)
    first, second = (
        SCORE(net, inputs(4, 3, 4, 4), mode="eval", generator=draw(1), resamplings=2, epsilon=0.01)
        for net in (model, mixed)
    )
    for key in first:
        torch.testing.assert_close(first[key], second[key], rtol=1e-4, atol=1e-9)


def test_running_statistics_of_the_model_do_not_matter(model):
    model.norm.running_mean.fill_(100.0)
    shifted = SCORE(model, inputs(4, 3, 4, 4), mode="eval", generator=draw(1), resamplings=1, epsilon=0.01)
    model.norm.running_mean.fill_(0.0)
    plain = SCORE(model, inputs(4, 3, 4, 4), mode="eval", generator=draw(1), resamplings=1, epsilon=0.01)
    assert all(torch.equal(plain[key], shifted[key]) for key in plain)


def test_the_pruned_score_nothing_and_are_not_revived(model, batches):
    masks = {key: torch.arange(w.numel()).view(w.shape) % 2 == 0 for key, w in model.named_parameters() if w.ndim > 1}
    scores = SCORE(model, batches, mode="eval", generator=draw(0), masks=masks, resamplings=1, epsilon=0.01)
    assert all((scores[key][~mask] == 0).all() for key, mask in masks.items())
    assert not PRUNERS["ntk-sap"].revives
    found = find(model, "ntk-sap", 4, batches, iterations=2).scores
    assert sum(int((score == 0).sum()) for score in found.values()) >= 750 / 2  # what the first iteration pruned


def test_options_reach_the_score(model, batches):
    once = find(model, "ntk-sap", 4, batches, iterations=1, options={"resamplings": 1}).scores
    often = find(model, "ntk-sap", 4, batches, iterations=1).scores
    assert sum(float(s.sum()) for s in often.values()) > 2 * sum(float(s.sum()) for s in once.values())


def test_weights_are_drawn_anew_for_every_scoring_batch():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))

    def score(*sizes, **options):
        batches = [batch for size in sizes for batch in inputs(size, 3)]
        return SCORE(net, batches, mode="eval", generator=draw(2), resamplings=2, epsilon=0.01, **options)["0.weight"]

    for count, split in [(5, (2, 3)), (4, (2, 2)), (3, (3,)), (1, (1,))]:  # the last one is not left alone
        assert torch.equal(score(count, scoring_batch=2), score(*split))
    assert torch.equal(score(2, 3, scoring_batch=8), score(5))
    assert not torch.equal(score(2, 3), score(5))


@pytest.mark.parametrize(("option", "least"), [("resamplings", 1), ("epsilon", 1e-12), ("scoring_batch", 0)])
def test_options_have_a_least_value(option, least):
    wrong = {"resamplings": 0, "epsilon": 0.0, "scoring_batch": -1}[option]
    with pytest.raises(PruningError, match=rf"Option '{option}' is {wrong}; it must be at least"):
        PRUNERS["ntk-sap"].settings(options={option: wrong})
    assert PRUNERS["ntk-sap"].settings(options={option: least}).options[option] == least
