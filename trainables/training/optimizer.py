"""What moves the weights: the trial's optimizer, and its learning rate over the epochs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from search_spaces import Trial


def make_optimizer(model: nn.Module, trial: Trial) -> torch.optim.Optimizer:
    """Return the trial's optimizer of all parameters; weight decay on all of them, as in the published programs.

    On a GPU its learning rate is a float32 tensor there, in every step: a CUDA graph reads it from that place, and a
    step outside of a graph must not see another number than one inside.
    """
    device = next(model.parameters()).device
    lr = torch.tensor(trial.lr, device=device) if device.type == "cuda" else trial.lr
    if trial.optimizer == "adam":
        decay, on_gpu = trial.weight_decay, device.type == "cuda"
        return torch.optim.Adam(model.parameters(), lr=lr, weight_decay=decay, fused=True, capturable=on_gpu)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=lr,
        momentum=trial.momentum,
        nesterov=trial.nesterov,
        weight_decay=trial.weight_decay,
        fused=True,
    )
    if trial.momentum:
        optimizer.register_step_pre_hook(_begin_late)
    return optimizer


def _begin_late(optimizer: torch.optim.Optimizer, *_: object) -> None:
    """Give momentum of zero to parameters whose first gradient comes in a later step, as with stochastic depth.

    torch's fused SGD (2.15) fails where some parameters of a step have a momentum and others have none. Zero is what
    they would begin with.
    """
    state = optimizer.state
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    if not state or len(state) == len(weights):
        return
    for weight in weights:
        if weight.grad is not None and weight not in state:
            state[weight]["momentum_buffer"] = torch.zeros_like(weight)


def load_moments(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Go on with the moments of a checkpoint, of any kind of device.

    The settings are the optimizer's own, as the trial and this device want them, and not those of the checkpoint: a
    learning rate from a CPU is no tensor on a GPU.
    """
    optimizer.load_state_dict({"state": state["state"], "param_groups": optimizer.state_dict()["param_groups"]})


class LearningRate:
    """The trial's learning rate: its schedule changes it between epochs, a warm-up between the steps of the first.

    The schedule runs on an optimizer of its own, in float64, and its rate is then written into the real one.

    The warm-up is linear and ends at the full rate (Goyal et al. 2017, section 2.2). Drops of `step` count all epochs,
    as there; a cosine takes the epochs after the warm-up (He et al. 2019, section 3.1).
    """

    def __init__(self, optimizer: torch.optim.Optimizer, trial: Trial, steps_per_epoch: int) -> None:
        self._optimizer, self._trial = optimizer, trial
        self._warm_steps = trial.warmup_epochs * steps_per_epoch
        self._steps_per_epoch = steps_per_epoch
        self._schedule: torch.optim.lr_scheduler.LRScheduler
        self._scheduled = scheduled = torch.optim.SGD([torch.zeros(())], lr=trial.lr)
        if trial.lr_schedule == "cosine":
            epochs = max(trial.epochs - trial.warmup_epochs, 1)
            self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(scheduled, epochs)
        else:
            drops = trial.lr_drops if trial.lr_schedule == "step" else ()
            self._schedule = torch.optim.lr_scheduler.MultiStepLR(scheduled, list(drops), trial.lr_factor)
        scheduled.step()  # nothing to step: torch warns of a schedule that steps before its optimizer
        self._written = trial.lr

    def before_step(self, epoch: int, done: int) -> None:
        """To be called in `epoch` (from 1) after `done` of its steps."""
        made = (epoch - 1) * self._steps_per_epoch + done
        if made < self._warm_steps:
            self._scale((made + 1) / self._warm_steps)

    def after_epoch(self, epoch: int) -> None:
        """To be called at the end of `epoch`."""
        if epoch > self._trial.warmup_epochs or self._trial.lr_schedule != "cosine":
            self._schedule.step()
        self._scale(1)

    def _scale(self, factor: float) -> None:
        rate = float(self._schedule.get_last_lr()[0]) * factor
        if rate == self._written:
            return
        self._written = rate
        for group in self._optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)  # in its place, from which graphs read
            else:
                group["lr"] = rate

    def state_dict(self) -> dict[str, Any]:
        """Where it stands, between two epochs or in the middle of one."""
        return self._schedule.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._schedule.load_state_dict(state)
        self._scheduled.param_groups[0]["lr"] = float(self._schedule.get_last_lr()[0])  # schedules go on from it
        self._scale(1)
