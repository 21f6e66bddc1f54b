"""Small float64 networks for slow reference computations: plain, residual, transformer; and their data."""

import math

import torch
from torch import Tensor, nn


class Plain(nn.Module):
    """Strides, padding, dilation, groups, biases."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2)
        self.norm2 = nn.BatchNorm2d(8)
        self.third = nn.Conv2d(8, 6, (1, 2), dilation=(1, 2), bias=False)
        self.norm3 = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x)).relu()
        x = self.norm2(self.second(x)).relu()
        x = self.norm3(self.third(x)).relu()
        return self.head(x.mean((2, 3)))


class Residual(nn.Module):
    """An identity shortcut, and one with a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.a = nn.Conv2d(4, 8, 3, padding=1, bias=False)
        self.norm_a = nn.BatchNorm2d(8)
        self.b = nn.Conv2d(8, 4, 3, padding=1, bias=False)
        self.norm_b = nn.BatchNorm2d(4)
        self.c = nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False)
        self.norm_c = nn.BatchNorm2d(8)
        self.short = nn.Conv2d(4, 8, 1, stride=2, bias=False)
        self.norm_short = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = (x + self.norm_b(self.b(self.norm_a(self.a(x)).relu()))).relu()
        x = (self.norm_short(self.short(x)) + self.norm_c(self.c(x))).relu()
        return self.head(x.mean((2, 3)))


class Transformer(nn.Module):
    """Patches, attention with packed projections, an MLP, layer norms."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 3, stride=3)
        self.norm1 = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm2 = nn.LayerNorm(8)
        self.up = nn.Linear(8, 12)
        self.down = nn.Linear(12, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        x = x + self.down(nn.functional.gelu(self.up(self.norm2(x))))
        return self.head(x.mean(1))


NETWORKS = {"plain": Plain, "residual": Residual, "transformer": Transformer}


def network(name: str) -> nn.Module:
    """Return a network in eval mode, float64, with norms as after training."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model: nn.Module = NETWORKS[name]().double().eval()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
                nn.init.uniform_(module.weight, 0.3, 1.5)
                nn.init.normal_(module.bias, std=0.2)
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(std=0.2)
                module.running_var.uniform_(0.3, 1.5)
    return model


def data(count: int = 6, batches: int = 2) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(9)
    return [
        (
            torch.randn(count, 3, 6, 6, generator=generator, dtype=torch.float64),
            torch.randint(4, (count,), generator=generator),
        )
        for _ in range(batches)
    ]


def loss_of(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return the mean cross-entropy, written out."""
    logits = model(x)
    return (logits.logsumexp(1) - logits[torch.arange(len(y)), y]).mean()


def highest(scores: dict[str, Tensor], compression: float) -> dict[str, list[bool]]:
    """Return the masks of the n - floor((1 - 1/compression) n) highest of all scores, by sorting a list."""
    every = [(value, name, i) for name, score in scores.items() for i, value in enumerate(score.flatten().tolist())]
    every.sort(key=lambda entry: -entry[0])
    masks = {name: [False] * score.numel() for name, score in scores.items()}
    for _, name, i in every[: len(every) - math.floor((1 - 1 / compression) * len(every))]:
        masks[name][i] = True
    return masks


def flat(masks: dict[str, Tensor]) -> dict[str, list[bool]]:
    return {name: mask.flatten().tolist() for name, mask in masks.items()}
