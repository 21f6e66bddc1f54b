"""Training step that several workers make together, each on its part of the batch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from pruners.gradients import call, passes
from trainables.datasets.batches import part_of, split_batch
from trainables.distributed.group import Team
from trainables.distributed.sync_layers import Share, whole_batches
from trainables.training.step import Stepper


class SharedStepper(Stepper):
    """Stepper that updates the weights of all workers as one worker would for the whole batch."""

    def __init__(self, team: Team, model: nn.Module, *others: Any) -> None:
        """Wait until all workers of `team` are ready. `others` are the remaining arguments of a `Stepper`."""
        super().__init__(model, *others)
        team.assemble()
        self._team, self._share = team, Share()
        self._together: nn.parallel.DistributedDataParallel | None = None

    def gradients(self, x: Tensor, y: Tensor) -> Tensor:
        """Add the gradients of the whole batch; return the sums of loss and hits over this worker's images alone.

        `x` are this worker's images, `y` the classes of the whole batch, so that all workers know its size. Gradients
        are reduced once, with the last micro-batch.
        """
        self._together = self._together or averaging(self._model, x)
        found: Tensor | int = 0
        with whole_batches(self._team, self._share):
            for images, classes, is_last in self._micro_batches(x, y):
                with nullcontext() if is_last else self._together.no_sync():
                    loss, hits = self._forward(self._together, images, classes, "sum")
                    # DDP averages gradients over workers; this factor makes it the mean over all images of the batch.
                    (loss * (self._team.size / len(y))).backward()  # type: ignore[no-untyped-call]
                found = found + torch.stack([loss.detach().double(), hits])
        assert isinstance(found, Tensor)
        return found

    def _micro_batches(self, x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor, bool]]:
        """Yield this worker's images and classes per micro-batch, and whether it is the last; set `_share` for each."""
        rows, count = torch.arange(len(y)), self._trial.accumulate
        wholes, parts = split_batch(rows, count), part_of(rows, self._team.part, count)
        sizes = [len(part) for part in parts]
        for number, (whole, part, images) in enumerate(zip(wholes, parts, torch.split(x, sizes), strict=True), 1):
            begin = int(part[0]) if len(part) else int(whole[0])
            self._share.start, self._share.count, self._share.total = begin - int(whole[0]), len(part), len(whole)
            yield images, y[begin : begin + len(part)], number == len(wholes)


def averaging(model: nn.Module, like: Tensor) -> nn.parallel.DistributedDataParallel:
    """Wrap `model` in DDP, so that a backward pass averages gradients over workers. `like` is an example input.

    Buffers are not broadcast: each worker's running statistics are already those of the whole batch.
    """
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    with passes(model, "train", noise=0):
        logits = call(model, weights, like.new_zeros(2, *like.shape[1:]))
        slopes = torch.autograd.grad(logits.sum(), list(weights.values()), allow_unused=True)
    unused = any(slope is None for slope in slopes)  # finding unused parameters costs time, so it is on only if needed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # newer versions of torch rename `broadcast_buffers`
        return nn.parallel.DistributedDataParallel(model, broadcast_buffers=False, find_unused_parameters=unused)
