import torch
from torch import nn

from pruners import find


def test_uniform_and_different_for_every_seed():
    layer = nn.Linear(100, 100)
    scores = [find(layer, "random", 10, seed=seed).scores["weight"] for seed in (0, 1)]
    for score in scores:
        assert float(score.min()) >= 0 and float(score.max()) < 1
        assert abs(float(score.mean()) - 0.5) < 0.02
    assert not torch.equal(*scores)


def test_layers_do_not_repeat_each_other():
    model = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 10))
    first, second = find(model, "random", 10).scores.values()
    assert not torch.equal(first, second)
