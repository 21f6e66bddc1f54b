"""What moves the weights: the trial's optimizer, and its learning rate over the epochs."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from search_spaces import Trial


def make_optimizer(model: nn.Module, trial: Trial) -> torch.optim.Optimizer:
    """The trial's optimizer over all parameters; weight decay on all of them, as in the published programs."""
    if trial.optimizer == "adam":
        on_gpu = next(model.parameters()).is_cuda  # where its steps may be captured in a graph
        decay = trial.weight_decay
        return torch.optim.Adam(model.parameters(), lr=trial.lr, weight_decay=decay, fused=True, capturable=on_gpu)
    return torch.optim.SGD(
        model.parameters(),
        lr=trial.lr,
        momentum=trial.momentum,
        nesterov=trial.nesterov,
        weight_decay=trial.weight_decay,
        fused=True,
    )


class LearningRate:
    """The trial's learning rate: its schedule changes it between epochs, a warm-up between the steps of the first.

    The warm-up is linear and ends at the full rate (Goyal et al. 2017, section 2.2). Drops of `step` count all epochs,
    as there; a cosine takes the epochs after the warm-up (He et al. 2019, section 3.1).
    """

    def __init__(self, optimizer: torch.optim.Optimizer, trial: Trial, steps_per_epoch: int) -> None:
        self._optimizer, self._trial = optimizer, trial
        self._warm_steps = trial.warmup_epochs * steps_per_epoch
        self._steps_per_epoch = steps_per_epoch
        self._schedule: torch.optim.lr_scheduler.LRScheduler
        if trial.lr_schedule == "cosine":
            epochs = max(trial.epochs - trial.warmup_epochs, 1)
            self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
        else:
            drops = trial.lr_drops if trial.lr_schedule == "step" else ()
            self._schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(drops), trial.lr_factor)

    def before_step(self, epoch: int, done: int) -> None:
        """To be called in `epoch` (from 1) after `done` of its steps."""
        made = (epoch - 1) * self._steps_per_epoch + done
        if made < self._warm_steps:
            self._scale((made + 1) / self._warm_steps)

    def after_epoch(self, epoch: int) -> None:
        """To be called at the end of `epoch`."""
        warming = epoch <= self._trial.warmup_epochs
        if warming:
            self._scale(1)  # torch's schedules compute a rate from the one before
        if not warming or self._trial.lr_schedule != "cosine":
            self._schedule.step()

    def _scale(self, factor: float) -> None:
        for group, full in zip(self._optimizer.param_groups, self._schedule.get_last_lr(), strict=True):
            group["lr"] = full * factor

    def state_dict(self) -> dict[str, Any]:
        """Where it stands, between two epochs or in the middle of one."""
        return self._schedule.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._schedule.load_state_dict(state)
