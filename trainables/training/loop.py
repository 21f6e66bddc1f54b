"""Training loop of a masked model, from the beginning or from a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from trainables.distributed.checkpoint_schedule import CheckpointSchedule
from trainables.training.state import Epoch, EpochProgress, TrainingError, TrainingState

BatchSource = Iterable[tuple[Tensor, Tensor]]
LONG = 5.0  # seconds: longer epochs can be stopped and saved before their end


class StoppedError(Exception):
    """Training was asked to stop and has stopped; its state is saved."""


@dataclass(frozen=True)
class TrainingData:
    """Batches of a training, and the tests after each epoch."""

    batches: Callable[[int, int], BatchSource]  # (epoch, skip) -> batches from number `skip` on, the same in every call
    evaluate: Callable[[], dict[str, float]]  # on the test set
    validate: Callable[[], dict[str, float]] = dict  # on held-out images; {} if none are held out


@dataclass(frozen=True)
class Callbacks:
    """Functions that a training calls on its way."""

    report: Callable[[dict[str, float], int], None]  # (metrics, epoch), after each epoch
    save: Callable[[dict[str, Any]], None]  # (checkpoint)
    stop: Callable[[], bool] = lambda: False  # True: save and stop
    save_seconds: float = 60.0  # between two checkpoints, at least


def train(training: TrainingState, data: TrainingData, callbacks: Callbacks, until: int | None = None) -> EpochProgress:
    """Train for the trial's epochs, from the beginning or from the checkpoint that `training` was made from.

    `report` receives the metrics that MLflow calls `train/…`, `test/…`, `validation/…` (if `validate` returns any) and
    `time/…`. `save` is called after an epoch, or in the middle of a long one, if the last call was at least
    `save_seconds` ago. With `until` training pauses after that epoch and always saves then. Continuing from any saved
    state gives the same result, bit for bit, as not pausing. `stop` is called after each epoch but the last, and about
    every `LONG` seconds within an epoch.
    Data order and dropout count the pre-training epochs too. Otherwise fine-tuning would see the data in the order in
    which pre-training began.
    Each worker of a team calls this function, with the images of its part of the batches and the classes of whole
    batches; only the first worker's callbacks count.

    Raises:
        TrainingError: if an epoch's loss is not finite.
        StoppedError: if `stop` returned True; the state is saved.
    """
    model, trial, team = training.model, training.trial, training.team
    progress, rate, step = training.progress, training.rate, training.step
    schedule, saved = CheckpointSchedule(team, LONG), time.monotonic()

    def keep(epoch: Epoch | None = None) -> None:
        nonlocal saved
        if epoch:
            epoch.pool(over=False)
        callbacks.save(training.state_dict(epoch))
        team.told()  # other workers wait here: saving to a remote store may take longer than a collective's timeout
        saved = time.monotonic()

    def leave_off(epoch: Epoch | None = None) -> None:
        """Save if it is due, and raise StoppedError if asked to stop: after an epoch, or in the middle of `epoch`."""
        stopped, due = schedule.agree(callbacks.stop(), time.monotonic() - saved >= callbacks.save_seconds)
        if due:
            keep(epoch)
        if stopped:
            raise StoppedError

    until = trial.epochs if until is None else until
    while progress.epoch < until:
        epoch = training.next_epoch()
        drawn = trial.pretrain_epochs + epoch.number
        schedule.begin()
        model.train()
        dropout = epoch.drawn(trial.seed, "dropout", drawn)
        for x, y in data.batches(drawn, epoch.batches):
            if epoch.batches and schedule.is_due():
                leave_off(epoch)
                schedule.begin()
            rate.before_step(epoch.number, epoch.batches)
            with dropout.piece():
                epoch.add(step(x, y), len(y))
        epoch.pool(over=True)
        metrics = epoch.metrics()
        progress.images += epoch.images
        progress.image_seconds += epoch.seconds
        rate.after_epoch(epoch.number)
        test, held_out = training.tested(lambda: (data.evaluate(), data.validate()))
        progress.epoch = epoch.number
        progress.train_seconds += epoch.seconds
        progress.best_top1 = max(progress.best_top1, test["top1"])
        progress.last = test | {f"validation_{k}": v for k, v in held_out.items()}
        measured = {f"test/{k}": v for k, v in test.items()} | {f"validation/{k}": v for k, v in held_out.items()}
        callbacks.report(metrics | measured | {"time/epoch_seconds": epoch.seconds}, progress.epoch)
        if progress.epoch < until:
            leave_off()
        elif until < trial.epochs:
            keep()
    training.finish()
    return progress


__all__ = ["Callbacks", "EpochProgress", "StoppedError", "TrainingData", "TrainingError", "TrainingState", "train"]
