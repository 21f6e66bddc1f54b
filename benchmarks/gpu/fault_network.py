"""A network that breaks its GPU's context: it reads where there is nothing."""

import torch
from torch import Tensor, nn


class Breaking(nn.Module):
    """A linear layer behind an index out of range, which a GPU notices when it is too late to raise an error."""

    def __init__(self, inputs: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) of images (N, C, H, W)."""
        if x.is_cuda:
            x = x.index_select(0, torch.full((len(x),), 10**9, device=x.device))
        logits: Tensor = self.linear(x.flatten(1))
        return logits


def build(input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Return the network."""
    channels, height, width = input_shape
    return Breaking(channels * height * width, num_classes)
