"""He et al. 2019, equation 7: the filters nearest to the geometric median of their layer go."""

import math

import pytest
import torch
from reference_networks import network
from torch import nn, tensor

from pruners import PRUNERS, PruningError, find, prunable, prune
from pruners.granularity import FILTERS


def distances(filters):
    return [sum(math.dist(a, b) for b in filters) for a in filters]


@pytest.mark.parametrize("name", ["plain", "residual"])
def test_equals_distances_one_by_one(name):
    model = network(name)
    scores = find(model, "fpgm", 2, granularity="filter").scores
    for layer, weight in prunable(model).items():
        expected = distances(weight.detach().flatten(1).tolist())
        for score, distance in zip(scores[layer], expected, strict=True):
            assert score.flatten().tolist() == pytest.approx([distance] * score.numel(), rel=1e-12)


def lines():
    """Filters (0, 0), (3, 4), (6, 8), (0, 10) and readers of all sizes, which must not count."""
    model = nn.Sequential(nn.Linear(2, 4, bias=False), nn.Linear(4, 3)).double()
    model[0].weight.data = tensor([[0.0, 0.1], [3.0, 4.0], [6.0, 8.0], [0.0, 10.0]], dtype=torch.float64)
    model[1].weight.data = torch.arange(12.0, dtype=torch.float64).view(3, 4)
    return model


@pytest.mark.parametrize("granularity", FILTERS)
def test_what_is_nearest_to_the_others_goes_whatever_its_size(granularity):
    masks = prune(lines(), "fpgm", 20 / 15, granularity=granularity)
    assert masks["0.weight"].any(1).tolist() == [True, False, True, True]


def test_the_masks_of_the_published_program():
    # he-y/filter-pruning-geometric-median 44fbab4, get_filter_similar with a norm rate of 1: the int(n rate) filters
    # of the smallest column sums of scipy's cdist; here two of twelve.
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = nn.Sequential(nn.Conv2d(3, 12, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12 * 16, 4)).double()
    sums = torch.tensor(distances(model[0].weight.detach().flatten(1).tolist()))
    masks = prune(model, "fpgm", kappa=2 / 12, granularity="filter")
    assert sorted(sums.argsort()[:2].tolist()) == [
        i for i, kept in enumerate(masks["0.weight"].flatten(1).any(1)) if not kept
    ]


def test_pruned_filters_are_no_neighbours():
    model = lines()
    model[0].weight.data[2] = 0
    scores = PRUNERS["fpgm"].score(model, (), mode="eval", generator=torch.Generator())["0.weight"][:, 0].tolist()
    rows = model[0].weight.tolist()
    assert scores == pytest.approx([sum(math.dist(row, rows[j]) for j in (0, 1, 3)) for row in rows])


def test_single_weights_are_refused():
    for granularity in ("weight", "2:4"):
        with pytest.raises(
            PruningError, match=f"'{granularity}' is not allowed: choose filter, filter-mean, filter-max"
        ):
            prune(lines(), "fpgm", 2, granularity=granularity)
