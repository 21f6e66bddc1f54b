"""What all batches are made with: where they begin and end, which images are balanced, how pixels are scaled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor

Part = tuple[int, int]  # which part of each batch, and of how many
WHOLE: Part = (0, 1)
ImageBatch = tuple[Tensor, Tensor]  # images float32 [B, C, H, W], normalised; classes int64 [B]


def spans(n: int, batch_size: int) -> Iterator[tuple[int, int]]:
    """Starts and ends of batches that cover n images. The last may be smaller, but not a single image.

    Batch norm has no variance to divide by in a batch of one: torch refuses it where maps are 1x1, and
    elsewhere it trains on noise. Dropping the image would leave some unseen, so it joins the batch before.
    """
    edges = [*range(0, n, batch_size), n]
    if n % batch_size == 1 and len(edges) > 2:
        del edges[-2]
    return pairwise(edges)


def grouped(batches: Sequence[Tensor], most: int) -> list[list[Tensor]]:
    """Put consecutive batches into groups of at most `most` images; a larger batch is a group by itself."""
    groups: list[list[Tensor]] = []
    images = 0
    for batch in batches:
        if groups and images + len(batch) <= most:
            groups[-1].append(batch)
            images += len(batch)
        else:
            groups.append([batch])
            images = len(batch)
    return groups


def steps_per_epoch(n: int, batch_size: int) -> int:
    """How many batches n training images make."""
    return sum(1 for _ in spans(n, batch_size))


def micro_batches(batch: Tensor, count: int) -> tuple[Tensor, ...]:
    """A batch in `count` parts of about the same size, fewer if some would be single images: those have no variance."""
    return batch.tensor_split(min(count, max(1, len(batch) // 2)))


def part_of(batch: Tensor, part: Part, count: int = 1) -> tuple[Tensor, ...]:
    """One worker's part of each of the `count` micro-batches: as equal as they can be, and one may be empty."""
    number, of = part
    return tuple(micro.tensor_split(of)[number] for micro in micro_batches(batch, count))


def balanced(classes: Tensor, per_class: int) -> Tensor:
    """The places, ascending, of the first `per_class` of each class in `classes` (int64 [N])."""
    places = [(classes == c).nonzero()[:per_class, 0] for c in torch.unique(classes)]
    return torch.cat(places).sort().values


def normalise(x: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(x / 255 - mean) / std per channel of uint8 [B, C, H, W], bit for bit torchvision's ToTensor and Normalize."""
    largest, means, stds = _constants(tuple(mean), tuple(std), x.device)
    return x.float().div_(largest).sub_(means).div_(stds)


@cache  # to bring them to a GPU each time would wait for all that it has yet to do
def _constants(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, ...]:
    # A tensor of 255, because CUDA divides by a plain number by multiplying with its rounded inverse.
    return tuple(torch.tensor(row).view(-1, 1, 1).to(device) for row in ([255.0] * len(mean), mean, std))
