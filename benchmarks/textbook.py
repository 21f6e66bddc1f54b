"""What the benchmarks are measured against: the plain loop of a textbook, and of the published programs.

PIL transforms in a DataLoader, every weight × its mask in every forward pass, SGD, a number asked for in every
step, and the test set evaluated like the training set, after every epoch. Nothing of it is ours but the networks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from trainables.datasets.spec import DatasetSpec

LR, MOMENTUM, DECAY = 0.1, 0.9, 1e-4
TEST_BATCH = 256


class MaskedConv2d(nn.Conv2d):
    """A convolution of weight × mask."""

    mask: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, O, H', W']."""
        return self._conv_forward(x, self.weight * self.mask, self.bias)


class MaskedLinear(nn.Linear):
    """A linear layer of weight × mask."""

    mask: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """[N, I] -> [N, O]."""
        return F.linear(x, self.weight * self.mask, self.bias)


FORMS: dict[type, type] = {nn.Conv2d: MaskedConv2d, nn.Linear: MaskedLinear}


def masked(model: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    """`model`, changed in place: its layers multiply their weights by `masks` (ones where there is none)."""
    for name, module in model.named_modules():
        if type(module) in FORMS:
            weight = module.get_parameter("weight")
            module.register_buffer("mask", masks.get(f"{name}.weight", torch.ones_like(weight)).to(weight))
            module.__class__ = FORMS[type(module)]
    return model


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    """SGD as the published programs use it."""
    return torch.optim.SGD(model.parameters(), LR, MOMENTUM, weight_decay=DECAY)


def step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> float:
    """One step of training; returns the loss."""
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.item()


def epoch(model: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterable[Any]) -> float:
    """Train for an epoch; returns the sum of its losses."""
    model.train()
    return sum(step(model, optimizer, x, y) for x, y in batches)


def evaluate(model: nn.Module, batches: Iterable[Any]) -> tuple[float, int, int]:
    """Loss summed over the images, and how many are right at the first guess and among five."""
    model.eval()
    total, top1, top5 = 0.0, 0, 0
    with torch.no_grad():
        for x, y in batches:
            output = model(x)
            total += F.cross_entropy(output, y).item() * len(y)
            right = output.topk(5, dim=1).indices == y[:, None]
            top1 += int(right[:, :1].sum().item())
            top5 += int(right.sum().item())
    return total, top1, top5


class Pictures(torch.utils.data.Dataset[tuple[Any, int]]):
    """Images as torchvision's datasets give them: one PIL image at a time, transformed."""

    def __init__(self, spec: DatasetSpec, images: np.ndarray[Any, Any], classes: Iterable[int], augment: bool) -> None:
        """`images` are uint8 [N, C, H, W]."""
        from torchvision import transforms

        self.images, self.classes = np.ascontiguousarray(images.transpose(0, 2, 3, 1)), list(classes)
        altered = [transforms.RandomCrop(spec.input_shape[1], padding=4), transforms.RandomHorizontalFlip()]
        plain = [transforms.ToTensor(), transforms.Normalize(spec.mean, spec.std)]
        self.transform = transforms.Compose([*altered, *plain] if augment else plain)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.images[index])), self.classes[index]


def loader(pictures: Pictures, batch_size: int, workers: int, shuffle: bool = True) -> DataLoader[tuple[Any, int]]:
    """Their DataLoader."""
    return DataLoader(pictures, batch_size, shuffle=shuffle, num_workers=workers)
