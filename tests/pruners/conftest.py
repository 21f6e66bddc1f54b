import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

sys.path.append(str(Path(__file__).parents[1] / "golden"))  # nets.py lies beside the numbers it belongs to


class SmallNet(nn.Module):
    """All that scoring could disturb: batch norm, dropout, a group, a buffer of its own, a frozen part."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.grouped = nn.Conv2d(6, 6, 3, padding=1, groups=3)
        self.frozen_norm = nn.BatchNorm2d(6)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(6 * 16, 5)
        self.register_buffer("steps", torch.zeros(1, dtype=torch.int64))
        self.frozen_norm.eval()
        self.grouped.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        self.steps += 1
        x = self.norm(self.first(x)).relu()
        x = self.frozen_norm(self.grouped(x)).relu()
        return self.head(self.drop(x.flatten(1)))


@pytest.fixture
def model() -> nn.Module:
    """Inputs (N, 3, 4, 4), 5 classes; 162 + 108 + 480 = 750 prunable weights, float32, in train mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SmallNet()


@pytest.fixture
def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(8, 3, 4, 4, generator=generator), torch.randint(5, (8,), generator=generator)) for _ in range(2)
    ]
