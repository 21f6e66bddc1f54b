"""Training loop of a masked model, from the beginning or from a checkpoint."""

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
LONG = 5.0  # seconds: longer epochs can be stopped and saved before their end


class StoppedError(Exception):
    """Training was asked to stop and has stopped; its state is saved."""


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
    """Train `model` in place for the trial's epochs, continuing from the checkpoint `state` if there is one.

    `batches(epoch, skip)` returns an epoch's batches from number `skip` on, the same ones in every call.
    `report(metrics, epoch)` receives the metrics that MLflow calls `train/…`, `test/…`, `validation/…` (if `validate`
    returns any) and `time/…`. `save(state)` is called after an epoch, or in the middle of a long one, if the last call
    was at least `save_seconds` ago. With `until` training pauses after that epoch and always saves then. Continuing
    from any saved state gives the same result, bit for bit, as not pausing. `stop` is called after each epoch but the
    last, and about every `LONG` seconds within an epoch.
    Data order and dropout count the pre-training epochs too. Otherwise fine-tuning would see the data in the order in
    which pre-training began.
    Pruned weights are set to zero after each step, so gradients are those of the plain weights, and momentum cannot
    bring them back. `dynamics` may change `masks` in place; the masks are then part of the saved state.
    Each worker of a `team` calls this function, with the images of its part of the batches and the classes of whole
    batches; only the first worker's `report`, `save` and `stop` count.
    On a GPU steps are captured in a CUDA graph if possible; `tell` receives the tag "stepped", which says how steps are
    made, or why not in a graph.
    If the trial averages its weights, the averages are tested, and the model ends with them.

    Raises:
        TrainingError: if an epoch's loss is not finite.
        StoppedError: if `stop` returned True; the state is saved.
    """
    standing = TrainingState(model, masks, trial, steps_per_epoch, dynamics, state, team, tell)
    progress, rate, step = standing.progress, standing.rate, standing.step
    schedule, saved = CheckpointSchedule(team, LONG), time.monotonic()

    def keep(epoch: Epoch | None = None) -> None:
        nonlocal saved
        if epoch:
            epoch.pool(over=False)
        save(standing.state_dict(epoch))
        team.told()  # other workers wait here: saving to a remote store may take longer than a collective's timeout
        saved = time.monotonic()

    def leave_off(epoch: Epoch | None = None) -> None:
        """Save if it is due, and raise StoppedError if asked to stop: after an epoch, or in the middle of `epoch`."""
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
