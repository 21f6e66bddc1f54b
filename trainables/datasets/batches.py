"""Functions that make batches: where they begin and end, their parts, balanced classes, normalised pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor

Part = tuple[int, int]  # index of a part of each batch, and the number of parts
WHOLE: Part = (0, 1)
ImageBatch = tuple[Tensor, Tensor]  # images float32 [B, C, H, W], normalised; classes int64 [B]


def spans(n: int, batch_size: int) -> Iterator[tuple[int, int]]:
    """Return starts and ends of batches that cover n images. The last may be smaller, but not a single image.

    Batch norm has no variance to divide by in a batch of one: torch rejects it if maps are 1x1, and otherwise it
    trains on noise. Dropping the image would leave some unseen, so it joins the batch before.
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
    """Return the number of batches that n training images make."""
    return sum(1 for _ in spans(n, batch_size))


def split_batch(batch: Tensor, count: int) -> tuple[Tensor, ...]:
    """Split a batch into `count` parts of about equal size, fewer if some would be single images without variance."""
    return batch.tensor_split(min(count, max(1, len(batch) // 2)))


def part_of(batch: Tensor, part: Part, count: int = 1) -> tuple[Tensor, ...]:
    """Return one worker's part of each of the `count` micro-batches: as equal as possible, and one may be empty."""
    number, of = part
    return tuple(micro.tensor_split(of)[number] for micro in split_batch(batch, count))


def balanced(classes: Tensor, per_class: int) -> Tensor:
    """Return the positions, ascending, of the first `per_class` images of each class in `classes` (int64 [N])."""
    places = [(classes == c).nonzero()[:per_class, 0] for c in torch.unique(classes)]
    return torch.cat(places).sort().values


def normalise(x: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return (x / 255 - mean) / std per channel of uint8 [B, C, H, W].

    Bit for bit equal to torchvision's ToTensor and Normalize.
    """
    largest, means, stds = _constants(tuple(mean), tuple(std), x.device)
    return x.float().div_(largest).sub_(means).div_(stds)


@cache  # copying them to a GPU each time would wait for all its pending work
def _constants(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, ...]:
    # 255 as a tensor: for a plain number CUDA multiplies with its rounded inverse.
    return tuple(torch.tensor(row).view(-1, 1, 1).to(device) for row in ([255.0] * len(mean), mean, std))
