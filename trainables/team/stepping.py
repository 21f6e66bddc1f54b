"""A step that several workers make together, each on its part of the batch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from pruners.gradients import call, passes
from trainables.datasets.batches import micro_batches, part_of
from trainables.stepping import Stepper
from trainables.team.team import Team
from trainables.team.whole_batch import Share, whole_batches


class SharedStepper(Stepper):
    """Moves the weights of all workers alike, as one worker would move them for the whole batch."""

    def __init__(self, team: Team, model: nn.Module, *others: Any) -> None:
        """What comes after the team is what a `Stepper` takes."""
        super().__init__(model, *others)
        self._team, self._share = team, Share()
        self._together: nn.Module | None = None

    def gradients(self, x: Tensor, y: Tensor) -> Tensor:
        """Add the whole batch's gradients, from this worker's part of it; returns the sums over that part alone."""
        self._together = self._together or averaging(self._model, x)
        total = int(self._team.sum(torch.tensor(len(y))))
        found: Tensor | int = 0
        with whole_batches(self._team, self._share):
            for images, classes in self._micro_batches(x, y, total):
                loss, hits = self._forward(self._together, images, classes, "sum")
                # Gradients are averaged over workers: so that is of the mean over all images, whoever has how many.
                (loss * (self._team.size / total)).backward()  # type: ignore[no-untyped-call]
                found = found + torch.stack([loss.detach().double(), hits])
        assert isinstance(found, Tensor)
        return found

    def _micro_batches(self, x: Tensor, y: Tensor, total: int) -> Iterator[tuple[Tensor, Tensor]]:
        """This worker's parts of a batch's micro-batches, where the batch has `total` images."""
        rows, count = torch.arange(total), self._trial.accumulate
        parts = part_of(rows, self._team.part, count)
        sizes = [len(part) for part in parts]
        for whole, part, images, classes in zip(
            micro_batches(rows, count), parts, torch.split(x, sizes), torch.split(y, sizes), strict=True
        ):
            self._share.start = int((whole < part[0]).sum()) if len(part) else 0
            self._share.count, self._share.total = len(part), len(whole)
            yield images, classes


def averaging(model: nn.Module, like: Tensor) -> nn.Module:
    """`model` such that a backward pass leaves it with the mean of all workers' gradients. Inputs are `like` this."""
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    with passes(model, "train", noise=0):
        logits = call(model, weights, like.new_zeros(2, *like.shape[1:]))
        slopes = torch.autograd.grad(logits.sum(), list(weights.values()), allow_unused=True)
    unused = any(slope is None for slope in slopes)  # costs time, so torch wants to be told
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # newer versions of torch have another name for the buffers
        return nn.parallel.DistributedDataParallel(model, broadcast_buffers=False, find_unused_parameters=unused)
