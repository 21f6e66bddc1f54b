"""Training a masked model, epoch by epoch, from wherever it stands."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import Trial
from trainables.dynamics import Dynamics
from trainables.masked import Masked
from trainables.randomness import seeded

Batches = Iterable[tuple[Tensor, Tensor]]


class TrainingError(RuntimeError):
    """Training went where no number means anything: a loss that is not finite."""


class StoppedError(Exception):
    """Training was asked to stop, and has: all that it computed is saved."""


@dataclass
class Progress:
    """Where training stands: the last finished epoch (1-based; 0 = none yet) and what it cost so far."""

    epoch: int = 0
    steps: int = 0  # of the optimizer
    best_top1: float = 0.0
    train_seconds: float = 0.0
    last: dict[str, float] = field(default_factory=dict)


def make_optimizer(model: nn.Module, trial: Trial) -> torch.optim.Optimizer:
    """The trial's optimizer over all parameters; weight decay on all of them, as in the published programs."""
    if trial.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=trial.lr, weight_decay=trial.weight_decay, fused=True)
    return torch.optim.SGD(
        model.parameters(),
        lr=trial.lr,
        momentum=trial.momentum,
        nesterov=trial.nesterov,
        weight_decay=trial.weight_decay,
        fused=True,
    )


def make_scheduler(optimizer: torch.optim.Optimizer, trial: Trial) -> torch.optim.lr_scheduler.LRScheduler:
    """The trial's learning rate, changed between epochs."""
    if trial.lr_schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(trial.epochs, 1))
    drops = trial.lr_drops if trial.lr_schedule == "step" else ()
    return torch.optim.lr_scheduler.MultiStepLR(optimizer, list(drops), trial.lr_factor)


def train(
    model: nn.Module,
    masks: dict[str, Tensor],
    trial: Trial,
    *,
    batches: Callable[[int], Batches],
    evaluate: Callable[[], dict[str, float]],
    validate: Callable[[], dict[str, float]] = dict,
    report: Callable[[dict[str, float], int], None],
    state: dict[str, Any] | None,
    save: Callable[[dict[str, Any]], None],
    save_seconds: float = 60.0,
    until: int | None = None,
    dynamics: Dynamics | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Progress:
    """Train `model` in place for the trial's epochs, going on from the checkpoint `state` if there is one.

    `batches(epoch)` gives an epoch's batches, the same whenever it is asked; `report(metrics, epoch)` receives
    what MLflow calls `train/…`, `test/…`, `validation/…` (where `validate` gives anything) and `time/…`;
    `save(state)` is called after an epoch when the last call is more than `save_seconds` ago. With `until`
    training pauses after that epoch, which is then always saved: going on from there is the same as never having
    paused. `stop` is asked after each epoch but the last.
    After pre-training, batches are asked for and dropout is drawn as if its epochs had been counted on: else
    fine-tuning would see the data in the very order in which pre-training began.
    Pruned weights are set to zero after each step, so gradients are those of the plain weights and momentum
    cannot bring them back. `dynamics` may change `masks`, in place; they are part of what is saved then.

    Raises:
        TrainingError: if an epoch's loss is not finite.
        StoppedError: once `stop` says so; the last epoch is saved.
    """
    optimizer = make_optimizer(model, trial)
    scheduler = make_scheduler(optimizer, trial)
    progress = Progress()
    if state is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        progress = Progress(**state["progress"])
        masks.update(state["masks"] if dynamics else {})
    masked = Masked(model, optimizer, masks, dynamics, progress.steps)
    saved = time.monotonic()
    until = trial.epochs if until is None else until
    while progress.epoch < until:
        epoch = progress.epoch + 1
        started = time.perf_counter()
        drawn = trial.pretrain_epochs + epoch
        metrics = _epoch(model, masked, optimizer, batches(drawn), trial.seed, drawn)
        scheduler.step()
        test, held_out = evaluate(), validate()
        seconds = time.perf_counter() - started
        progress.epoch, progress.steps = epoch, masked.steps
        progress.train_seconds += seconds
        progress.best_top1 = max(progress.best_top1, test["top1"])
        progress.last = test | {f"validation_{k}": v for k, v in held_out.items()}
        measured = {f"test/{k}": v for k, v in test.items()} | {f"validation/{k}": v for k, v in held_out.items()}
        report(metrics | measured | {"time/epoch_seconds": seconds}, epoch)
        paused = epoch == until < trial.epochs
        stopped = epoch < until and stop()
        if paused or stopped or (epoch < until and time.monotonic() - saved >= save_seconds):
            parts: dict[str, Any] = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
            changing = {"masks": dict(masks)} if dynamics else {}
            save({name: part.state_dict() for name, part in parts.items()} | {"progress": vars(progress)} | changing)
            saved = time.monotonic()
        if stopped:
            raise StoppedError
    return progress


def _epoch(
    model: nn.Module,
    masked: Masked,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    seed: int,
    epoch: int,
) -> dict[str, float]:
    model.train()
    totals: Tensor | int = 0
    count = 0
    with seeded(seed, "dropout", epoch):
        for x, y in batches:
            optimizer.zero_grad(set_to_none=True)
            logits = model(x)
            loss = F.cross_entropy(logits, y)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            masked.after_step()
            hits = (logits.detach().argmax(1) == y).sum()
            totals = totals + torch.stack([loss.detach().double() * len(y), hits.double()])
            count += len(y)
    if not isinstance(totals, Tensor):
        raise ValueError("train: there are no batches")
    loss_sum, top1 = totals.tolist()
    if not torch.isfinite(totals).all():
        raise TrainingError(f"the training loss is {loss_sum / count} in epoch {epoch}")
    return {"train/loss": loss_sum / count, "train/top1": top1 / count}
