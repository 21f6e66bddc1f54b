"""Training a masked model, epoch by epoch, from wherever it stands."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn

from search_spaces import Trial
from trainables.distributed import ALONE, Team
from trainables.distributed.checkpoint_schedule import CheckpointSchedule
from trainables.sparse_training import Dynamics
from trainables.training.state import Epoch, EpochProgress, TrainingError, TrainingState

BatchSource = Iterable[tuple[Tensor, Tensor]]
LONG = 5.0  # seconds: an epoch that lasts longer may be stopped, and saved, in its middle


class StoppedError(Exception):
    """Training was asked to stop, and has: all that it computed is saved."""


def train(
    model: nn.Module,
    masks: dict[str, Tensor],
    trial: Trial,
    *,
    batches: Callable[[int, int], BatchSource],
    steps_per_epoch: int,
    evaluate: Callable[[], dict[str, float]],
    validate: Callable[[], dict[str, float]] = dict,
    report: Callable[[dict[str, float], int], None],
    state: dict[str, Any] | None,
    save: Callable[[dict[str, Any]], None],
    save_seconds: float = 60.0,
    until: int | None = None,
    dynamics: Dynamics | None = None,
    stop: Callable[[], bool] = lambda: False,
    team: Team = ALONE,
    tell: Callable[[str, str], object] = lambda what, how: None,
) -> EpochProgress:
    """Train `model` in place for the trial's epochs, going on from the checkpoint `state` if there is one.

    `batches(epoch, skip)` gives an epoch's batches from the one numbered `skip` on, the same whenever they are
    asked for; `report(metrics, epoch)` receives what MLflow calls `train/…`, `test/…`, `validation/…` (where
    `validate` gives anything) and `time/…`; `save(state)` is called after an epoch, or in the middle of a long one,
    when the last call is more than `save_seconds` ago. With `until` training pauses after that epoch, which is then
    always saved: going on from any saved state is the same, bit for bit, as never having paused. `stop` is asked
    after each epoch but the last, and about every `LONG` seconds within one.
    After pre-training, batches are asked for and dropout is drawn as if its epochs had been counted on: else
    fine-tuning would see the data in the very order in which pre-training began.
    Pruned weights are set to zero after each step, so gradients are those of the plain weights and momentum
    cannot bring them back. `dynamics` may change `masks`, in place; they are part of what is saved then.
    Of a `team` each worker calls this, with the images of its own part of the batches and the classes of the whole
    ones; `report`, `save` and `stop` are the first's.
    On a GPU steps are captured in a graph, where they can be; `tell` hears whether they are, or why not, as how they
    are "stepped".
    Where the trial averages its weights, the averages are tested, and are what the model ends with.

    Raises:
        TrainingError: if an epoch's loss is not finite.
        StoppedError: once `stop` says so; where training stands is saved.
    """
    standing = TrainingState(model, masks, trial, steps_per_epoch, dynamics, state, team, tell)
    progress, rate, step = standing.progress, standing.rate, standing.step
    schedule, saved = CheckpointSchedule(team, LONG), time.monotonic()

    def keep(epoch: Epoch | None = None) -> None:
        nonlocal saved
        if epoch:
            epoch.pool(over=False)
        save(standing.state_dict(epoch))
        team.told()  # that it is saved: into a store far away that may take longer than any time-out
        saved = time.monotonic()

    def leave_off(epoch: Epoch | None = None) -> None:
        """Save if it is time, and stop if that is asked for: after an epoch, or in the middle of `epoch`."""
        stopped, due = schedule.agree(stop(), time.monotonic() - saved >= save_seconds)
        if due:
            keep(epoch)
        if stopped:
            raise StoppedError

    until = trial.epochs if until is None else until
    while progress.epoch < until:
        epoch = standing.next_epoch()
        drawn = trial.pretrain_epochs + epoch.number
        schedule.begin()
        model.train()
        dropout = epoch.drawn(trial.seed, "dropout", drawn)
        for x, y in batches(drawn, epoch.batches):
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
        test, held_out = standing.tested(lambda: (evaluate(), validate()))
        progress.epoch = epoch.number
        progress.train_seconds += epoch.seconds
        progress.best_top1 = max(progress.best_top1, test["top1"])
        progress.last = test | {f"validation_{k}": v for k, v in held_out.items()}
        measured = {f"test/{k}": v for k, v in test.items()} | {f"validation/{k}": v for k, v in held_out.items()}
        report(metrics | measured | {"time/epoch_seconds": epoch.seconds}, progress.epoch)
        if progress.epoch < until:
            leave_off()
        elif until < trial.epochs:
            keep()
    standing.finish()
    return progress


__all__ = ["EpochProgress", "StoppedError", "TrainingError", "train"]
