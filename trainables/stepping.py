"""One optimizer step on one batch: the piece of training that a graph captures and that workers share out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import Trial
from trainables.averaging import Average
from trainables.datasets.batches import micro_batches
from trainables.masked import Masked
from trainables.precision import autocast


class Stepper:
    """Moves the weights of a model in training mode by one batch at a time."""

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
        self._autocast = autocast(trial, next(model.parameters()).device)

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """One step on images `x` [B, C, H, W] of classes `y` [B]; returns what `gradients` does."""
        self._optimizer.zero_grad(set_to_none=True)
        found = self.gradients(x, y)
        self.move()
        return found

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

    def move(self) -> None:
        """Move the weights by their gradients, hold pruned ones at zero, and follow with the average."""
        self._optimizer.step()
        changed = self._masked.after_step()
        if self._average is not None:
            self._average.after_step()
            self._average.hold(changed)
