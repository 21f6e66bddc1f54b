"""Optimizer of a trial, and its learning rate over the epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces import Trial


def make_optimizer(model: nn.Module, trial: Trial, further: Iterable[nn.Parameter] = ()) -> torch.optim.Optimizer:
    """Return the trial's optimizer of all parameters and of `further` ones.

    Weight decay is on all of them, as in the published programs. On a GPU the learning rate is a float32 tensor on the
    GPU: a CUDA graph reads it from there, and steps outside of a graph must use the same number.
    """
    parameters = [*model.parameters(), *further]
    device = parameters[0].device
    lr = torch.tensor(trial.lr, device=device) if device.type == "cuda" else trial.lr
    decay, on_gpu = trial.weight_decay, device.type == "cuda"
    if trial.optimizer in ("adam", "adamw"):
        kind = torch.optim.Adam if trial.optimizer == "adam" else torch.optim.AdamW  # AdamW decays beside the gradient
        return kind(parameters, lr=lr, weight_decay=decay, fused=True, capturable=on_gpu)
    if trial.optimizer == "rmsprop":  # torch has no fused one
        return torch.optim.RMSprop(parameters, lr, momentum=trial.momentum, weight_decay=decay, capturable=on_gpu)
    return torch.optim.SGD(
        parameters,
        lr=lr,
        momentum=trial.momentum,
        nesterov=trial.nesterov,
        weight_decay=trial.weight_decay,
        fused=True,
    )


def step_of(optimizer: torch.optim.Optimizer) -> Callable[[], None]:
    """Return `optimizer.step` without the profiler range that torch opens around it, whether a profiler runs or not.

    This range and that of `zero_grad` take 9 % of a step of `mlp`. Hooks of the optimizer are not called.
    """
    step: Any = type(optimizer).step
    plain = step.__wrapped__ if getattr(step, "hooked", False) else step

    def update() -> None:
        if isinstance(optimizer, torch.optim.SGD) and optimizer.defaults["momentum"]:
            _begin_late(optimizer)
        plain(optimizer)

    return update


def _begin_late(optimizer: torch.optim.Optimizer) -> None:
    """Set the momentum to zero for parameters whose first gradient comes in a later step, as with stochastic depth.

    torch's fused SGD (2.15) fails if some parameters of a step have a momentum buffer and others have none. Zero is
    the value with which momentum would begin.
    """
    state = optimizer.state
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    if not state or len(state) == len(weights):
        return
    for weight in weights:
        if weight.grad is not None and weight not in state:
            state[weight]["momentum_buffer"] = torch.zeros_like(weight)


def load_moments(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load the moments of a checkpoint, whatever device it was written on.

    The optimizer keeps its own settings, which fit the trial and this device, and ignores those of the checkpoint: a
    learning rate saved on a CPU is a number, but on a GPU it must be a tensor.
    """
    optimizer.load_state_dict({"state": state["state"], "param_groups": optimizer.state_dict()["param_groups"]})


class LearningRate:
    """Learning rate of a trial: a schedule changes it between epochs, a warm-up between the steps of the first epochs.

    The schedule runs on an optimizer of its own, in float64. Its rate is then written into the real optimizer.

    The warm-up is linear and ends at the full rate (Goyal et al. 2017, section 2.2). Drops of `step` count all epochs,
    as in that paper; a cosine covers the epochs after the warm-up (He et al. 2019, section 3.1).
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
        scheduled.step()  # has no effect, but torch warns if a schedule steps before its optimizer
        self._written = trial.lr

    def before_step(self, epoch: int, done: int) -> None:
        """Set the rate for the next step of `epoch` (from 1), of which `done` steps are made."""
        made = (epoch - 1) * self._steps_per_epoch + done
        if made < self._warm_steps:
            self._scale((made + 1) / self._warm_steps)

    def after_epoch(self, epoch: int) -> None:
        """Set the rate for the epoch after `epoch`."""
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
                group["lr"].fill_(rate)  # in place, because CUDA graphs read this memory
            else:
                group["lr"] = rate

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the schedule, between two epochs or in the middle of one."""
        return self._schedule.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state that `state_dict` returned."""
        self._schedule.load_state_dict(state)
        self._scheduled.param_groups[0]["lr"] = float(self._schedule.get_last_lr()[0])  # the schedule continues from it
        self._scale(1)
