"""Plain PyTorch test of a network: a loop over the test set, without folding, compaction, graphs or memory formats."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pruners.float32 import ieee_float32
from trainables.datasets import Dataset

BATCH = 100  # images per batch


class TooLongError(RuntimeError):
    """Error for a test that takes longer than its limit."""


@dataclass(frozen=True)
class Hits:
    """Counts of images whose class is among the k highest logits: as computed, and the bounds that rounding allows."""

    fewest: int
    count: int
    most: int


@dataclass(frozen=True)
class Tested:
    """Test of a network on a set of images. `loss` is the mean cross-entropy."""

    images: int
    loss: float
    top1: Hits
    top5: Hits


def load_masked(model: nn.Module, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> nn.Module:
    """Load trained weights into `model`, multiply them by their masks, and put the model in eval mode.

    Raises:
        RuntimeError: if `weights` are not exactly those of the model.
        KeyError: if a mask belongs to no parameter.
    """
    model.load_state_dict(dict(weights), strict=True)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, mask in masks.items():
            parameters[name].copy_(parameters[name] * mask.to(parameters[name]))
    return model.eval()


@ieee_float32()
@torch.no_grad()
def test(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], rounding: float, seconds: float = float("inf")
) -> Tested:
    """Return loss and hits of `model` over `batches` of inputs (N, C, H, W) and class numbers (N,).

    Two logits of an image count as different if they differ by more than `rounding` times its largest one.

    Raises:
        TooLongError: if it takes longer than `seconds`.
        ValueError: if there are no images.
    """
    started = time.monotonic()
    losses, images, found = 0.0, 0, torch.zeros(2, 3, dtype=torch.int64)
    for x, y in batches:
        logits = model(x).double()
        losses += float(F.cross_entropy(logits, y, reduction="sum"))
        images += len(y)
        found += torch.stack([_hits(logits, y, k, rounding) for k in (1, 5)]).cpu()
        if time.monotonic() - started > seconds:
            raise TooLongError(f"testing it here takes longer than {seconds:.0f} s")
    if not images:
        raise ValueError("there are no test images")
    return Tested(images, losses / images, *(Hits(*row) for row in found.tolist()))


def _hits(logits: Tensor, y: Tensor, k: int, rounding: float) -> Tensor:
    """Return the fewest, computed and most hits among the k highest logits of each row, as three counts."""
    k = min(k, logits.shape[1])
    slack = rounding * logits.abs().amax(1, keepdim=True)
    own = logits.gather(1, y[:, None])
    # The image's own class counts among those that reach it: "at most k" for the fewest, "below k" for the most.
    surely = (logits >= own - slack).sum(1) <= k
    maybe = (logits > own + slack).sum(1) < k
    here = (logits.topk(k).indices == y[:, None]).any(1)
    return torch.stack([(surely & here).sum(), here.sum(), (maybe | here).sum()])


def test_images(data: Dataset, held_out: bool, device: torch.device) -> Iterable[tuple[Tensor, Tensor]]:
    """Yield the test images, or the held-out training images, in order, as (pixel / 255 - mean) / std.

    Raises:
        ValueError: if they do not match the dataset's recorded facts.
    """
    spec = data.spec
    half, classes = ("train", data.train_y) if held_out else ("test", data.test_y)
    rows = data.held_out if held_out else torch.arange(len(classes))
    if not held_out and len(rows) != spec.test_size:
        raise ValueError(f"'{spec.name}' has {len(rows)} test images and should have {spec.test_size}")
    mean, std = (torch.tensor(each, device=device).view(1, -1, 1, 1) for each in (spec.mean, spec.std))
    split = torch.split(rows, BATCH) if len(rows) else ()
    for batch, pixels in zip(split, data.plain(half, split, "cpu"), strict=True):  # type: ignore[arg-type]
        if pixels.dtype != torch.uint8 or pixels.shape[1:] != spec.input_shape:
            raise ValueError(f"'{spec.name}' has images {tuple(pixels.shape[1:])} of {pixels.dtype}")
        yield (pixels.to(device).contiguous().float() / 255 - mean) / std, classes[batch].to(device)
