"""SRigL: the paper's steps done slowly, neuron by neuron, and layers whose weights cannot be shared evenly."""

from __future__ import annotations

import math

import pytest
import torch

from pruners import prune
from search_spaces import Trial
from trainables.architectures import build
from trainables.sparse_training import dynamics
from trainables.sparse_training.srigl import exchange_fan_in


def slowly(mask, weight, merit, fraction, salient):
    """Lasby et al. 2024, section 3.2, for counts that the neurons share evenly; sets of (neuron, input)."""
    rows, room = mask.shape
    size = {(i, j): abs(float(weight[i, j])) for i in range(rows) for j in range(room) if mask[i, j]}
    gain = {(i, j): float(merit[i, j]) for i in range(rows) for j in range(room)}
    count = len(size)
    leaving = int(fraction * count)
    largest = sorted(size, key=lambda place: -size[place])
    vital = set(largest[: count - leaving]) | set(sorted(gain, key=lambda place: -gain[place])[:leaving])
    each = [sum(place[0] == i for place in vital) for i in range(rows)]
    least = max(1, int(salient * (count // rows)))
    least = min(least, sorted(each, reverse=True)[math.ceil(count / room) - 1])
    alive = [i for i in range(rows) if each[i] >= least]
    fan_in = count // len(alive)
    assert fan_in * len(alive) == count
    staying = [place for place in largest if place[0] in alive][: count - leaving]
    found = set()
    for i in alive:
        own = [place for place in staying if place[0] == i][:fan_in]
        others = sorted((p for p in gain if p[0] == i and p not in own), key=lambda place: -gain[place])
        found |= {*own, *others[: fan_in - len(own)]}
    return found, alive


@pytest.mark.parametrize(("seed", "rows"), [(0, 7), (1, 8), (2, 6), (4, 8)])
def test_masks_are_those_of_the_paper(seed, rows):
    draw = torch.Generator().manual_seed(seed)
    mask = torch.zeros(8, 30, dtype=torch.bool)
    for row in mask:
        row[torch.randperm(30, generator=draw)[:21]] = True  # 168 weights: 21 in 8 rows, 24 in 7, 28 in 6
    weight, merit = torch.randn(8, 30, generator=draw), torch.rand(8, 30, generator=draw)
    weight[rows:] *= 0.01  # weak neurons
    merit[rows:] *= 0.01
    expected, alive = slowly(mask, weight * mask, merit, 0.3, 0.3)
    assert len(alive) == rows
    found = exchange_fan_in(mask, weight * mask, merit, 0.3, 0.3)
    assert {tuple(place) for place in found.nonzero().tolist()} == expected


@pytest.mark.parametrize("count", [0, 1, 5, 17, 40, 79, 80])
@pytest.mark.parametrize("salient", [0.0, 0.3, 1.0])
def test_a_layer_keeps_its_count_and_rows_differ_by_one_weight(count, salient):
    draw = torch.Generator().manual_seed(count)
    mask = torch.zeros(80, dtype=torch.bool)
    mask[torch.randperm(80, generator=draw)[:count]] = True
    weight, merit = torch.randn(8, 2, 5, generator=draw), torch.rand(8, 2, 5, generator=draw)
    found = exchange_fan_in(mask.view(8, 2, 5), weight, merit, 0.5, salient).flatten(1).sum(1)
    assert int(found.sum()) == count
    left = found[found > 0] if salient else found
    assert not len(left) or int(left.max()) - int(left.min()) <= 1


def test_it_starts_with_the_same_fan_in_in_every_row():
    model = build("resnet20", (3, 32, 32), 10, seed=0)
    masks = prune(model, "srigl", compression=10, seed=3)
    fans = {name: mask.flatten(1).sum(1) for name, mask in masks.items()}
    assert all(int(fan.max() - fan.min()) <= 1 for fan in fans.values())
    assert sum(int(fan.sum()) for fan in fans.values()) == sum(int(m.sum()) for m in prune(model, "set", 10).values())


def test_growth_at_random_is_structured_set():
    trial = Trial(dataset="digits", architecture="mlp", pruner="srigl", compression=4, options={"growth": "random"})
    model = torch.nn.Linear(6, 5)
    first, again = (dynamics(trial, 23).merits(4, model)["weight"] for _ in range(2))
    assert torch.equal(first, again) and float(first.min()) >= 0 and float(first.max()) < 1
