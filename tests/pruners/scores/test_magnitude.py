import torch
from torch import nn

from pruners import find


def test_by_hand():
    layer = nn.Linear(4, 1)
    layer.weight.data = torch.tensor([[-4.0, 1.0, 2.0, -3.0]])
    pruning = find(layer, "magnitude", 2)
    assert pruning.scores["weight"].tolist() == [[4.0, 1.0, 2.0, 3.0]]
    assert pruning.masks["weight"].tolist() == [[True, False, False, True]]
