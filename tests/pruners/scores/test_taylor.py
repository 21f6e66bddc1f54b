"""Molchanov et al. 2019: (w dL/dw)² per batch, averaged; the importance of a filter is the sum over its weights."""

import pytest
import torch
from by_hand import LOG3, batch, two_weights
from reference_networks import NETWORKS, data, flat, highest, loss_of, network
from torch import nn, tensor

from pruners import find, prunable, prune

EVERY = 11


def expected(model, batches):
    """Scores of every eleventh weight, by central differences of the loss."""
    step, found = 1e-5, {}
    for name, weight in prunable(model).items():
        found[name] = score = torch.zeros(len(range(0, weight.numel(), EVERY)), dtype=torch.float64)
        for number, place in enumerate(range(0, weight.numel(), EVERY)):
            value = float(weight.data.view(-1)[place])
            for x, y in batches:
                ends = []
                for moved in (value + step, value - step):
                    weight.data.view(-1)[place] = moved
                    with torch.no_grad():
                        ends.append(float(loss_of(model, x, y)))
                weight.data.view(-1)[place] = value
                score[number] += (value * (ends[0] - ends[1]) / (2 * step)) ** 2 / len(batches)
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_equals_finite_differences_and_sorting(name):
    model, batches = network(name), data()
    reference = expected(model, batches)
    scores = find(model, "taylor", 2, batches).scores
    for layer, score in scores.items():
        torch.testing.assert_close(score.flatten()[::EVERY], reference[layer], rtol=1e-5, atol=1e-12)
    for compression in (2, 10):
        assert flat(prune(model, "taylor", compression, batches)) == highest(scores, compression)


def test_by_hand_effects_of_two_batches_do_not_cancel():
    # Slopes are (-1/4, 1/4) for label 0 and (3/4, -3/4) for label 1.
    scores = find(two_weights(), "taylor", 2, [batch(0), batch(1)]).scores["weight"]
    mean = (1 / 16 + 9 / 16) / 2
    assert scores.flatten().tolist() == pytest.approx([(1 + LOG3) ** 2 * mean, mean])


def test_by_hand_a_filter_is_the_sum_of_its_weights():
    model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.Linear(3, 2, bias=False)).double()
    model[0].weight.data = tensor([[3.0, 0.0], [2.0, 2.0], [1.0, 1.0]], dtype=torch.float64)
    model[1].weight.data = tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    # All hidden units have the same slope s, so (w s)² adds up to 9 s², 8 s² and 2 s² for inputs of one.
    data = [(torch.ones(1, 2, dtype=torch.float64), tensor([1]))]
    masks = prune(model, "taylor", 10 / 7, data, granularity="filter")
    assert masks["0.weight"].any(1).tolist() == [True, True, False]
    masks = prune(model, "taylor", 10 / 4, data, granularity="filter")
    assert masks["0.weight"].any(1).tolist() == [True, False, False]


def test_one_batch_gives_the_masks_of_snip(model, batches):
    ours, snip = (prune(model.double(), name, 5, batches[:1], mode="eval") for name in ("taylor", "snip"))
    assert flat(ours) == flat(snip)
