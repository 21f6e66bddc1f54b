import torch
from torch import nn

from pruners import prunable


def test_convolutions_and_linear_layers_only():
    model = nn.Sequential(
        nn.Conv1d(1, 1, 1),
        nn.ConvTranspose2d(1, 1, 1),
        nn.BatchNorm2d(1),
        nn.GroupNorm(1, 1),
        nn.Embedding(2, 2),
        nn.Conv3d(1, 1, 1),
        nn.Linear(1, 1),
    )
    assert list(prunable(model)) == ["0.weight", "1.weight", "5.weight", "6.weight"]


def test_a_shared_weight_counts_once_under_its_parameter_name():
    embedding, head = nn.Embedding(4, 3), nn.Linear(3, 4)
    head.weight = embedding.weight
    model = nn.Sequential(embedding, head, head)
    assert list(prunable(model)) == ["0.weight"]
    assert prunable(model)["0.weight"] is head.weight


def test_order_is_the_models():
    class Swapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.b = nn.Linear(1, 1)
            self.a = nn.Linear(1, 1)

        def forward(self, x):
            return self.b(self.a(x))

    assert list(prunable(Swapped())) == ["b.weight", "a.weight"]


def test_weights_are_the_models_own():
    layer = nn.Linear(2, 2)
    assert prunable(layer) == {"weight": layer.weight}
    assert isinstance(prunable(layer)["weight"], torch.nn.Parameter)
