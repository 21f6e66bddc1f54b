"""One optimizer step on one batch: the piece of training that a CUDA graph captures and that workers share out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import Trial
from trainables.averaging import Average
from trainables.datasets.batches import micro_batches
from trainables.masked import Masked
from trainables.precision import arithmetic, autocast


class Stepper:
    """Train a model by one batch at a time.

    A step is `compute`, which a CUDA graph can hold, and then `finish`, which may change masks and runs on the host.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        masked: Masked,
        trial: Trial,
        average: Average | None = None,
    ) -> None:
        self._model, self._optimizer, self._masked, self._average = model, optimizer, masked, average
        self._trial = trial
        device = next(model.parameters()).device
        self._autocast, self._arithmetic = autocast(trial, device), arithmetic(trial, device)

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Make one step on images `x` [B, C, H, W] of classes `y` [B]; return what `gradients` does."""
        found = self.compute(x, y)
        self.finish()
        return found

    def compute(self, x: Tensor, y: Tensor) -> Tensor:
        """Move the weights, hold pruned ones at zero and follow with the average; return what `gradients` does.

        All of it happens on the device. On a GPU nothing waits for a number, so a CUDA graph can hold it.
        """
        self._optimizer.zero_grad(set_to_none=True)
        with self._arithmetic():
            found = self.gradients(x, y)
        self._optimizer.step()
        self._masked.hold()
        if self._average is not None:
            self._average.after_step()
        return found

    def finish(self) -> None:
        """Count the step, and change the masks where they are due."""
        changed = self._masked.after_step()
        if self._average is not None:
            self._average.hold(changed)

    def gradients(self, x: Tensor, y: Tensor) -> Tensor:
        """Add the batch's gradients to those there are; returns float64 [2]: its summed loss, and its hits (top-1).

        In micro-batches their gradients add up to those of the mean loss of the whole batch; batch norm sees each
        by itself.
        """
        found: Tensor | int = 0
        count = self._trial.accumulate
        for images, classes in zip(micro_batches(x, count), micro_batches(y, count), strict=True):
            loss, hits = self._forward(self._model, images, classes, "mean")
            share = len(classes) / len(y)
            (loss if share == 1 else loss * share).backward()  # type: ignore[no-untyped-call]
            found = found + torch.stack([loss.detach().double() * len(classes), hits])
        assert isinstance(found, Tensor)
        return found

    def _forward(self, network: nn.Module, x: Tensor, y: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
        """The loss that is to be made small, and float64 hits (top-1): both of no dimension."""
        with self._autocast():
            logits = network(x)
        if logits.dtype == torch.bfloat16:
            logits = logits.float()
        loss = F.cross_entropy(logits, y, reduction=reduction, label_smoothing=self._trial.label_smoothing)
        return loss, (logits.detach().argmax(1) == y).sum().double()
