"""Phases of a trial: data -> model -> scores -> masks -> training; each result is recorded in its event log."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pruners import Pruning, put_weights
from pruners.memory import WHOLE
from search_spaces import TRAINING, Trial, stage
from trainables.artifacts import Recorder, machine
from trainables.context import Place, images_of, make_ready
from trainables.datasets.resident import release_unused
from trainables.measures import MEASURES
from trainables.profiling import latency_setting
from trainables.record import checkpoint
from trainables.record.checkpoint import CHECKPOINT
from trainables.record.event_log import EventLog
from trainables.record.files import appears
from trainables.record.sync import Copy
from trainables.shared import masks as given_masks
from trainables.shared.scores import shared
from trainables.sparse_training import Dynamics
from trainables.training.iterative import REWIND, Report, prune_in_levels, rewind
from trainables.training.loop import EpochProgress
from trainables.training.precision import used
from trainables.training.trainer import Trainer, make_trainer, updates_weights
from trainables.training_cost import kept_macs, logged_metrics, scored_images, training_cost

Judge = Callable[[Mapping[str, float], int], str]  # metrics, epoch -> the rule that stops the trial early, or ""


class EarlyStoppingJudge:
    """Early stopping of one trial. Trainings before its own (dense, levels) are not compared with other trials."""

    def __init__(self, trial: Trial, judge: Judge | None) -> None:
        """Ask `judge` after each epoch; without one the trial is never stopped early."""
        self._epochs, self._judge = trial.epochs, judge
        self.epoch = 0
        self.stopped_early = ""  # when and by which rule the trial was stopped: "epoch 12 by …"

    def hear(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Pass the metrics of `epoch` to the judge, unless it is the last epoch, after which the trial ends anyway."""
        if self._judge is None or "train/loss" not in metrics or epoch >= self._epochs:
            return
        self.epoch = epoch
        rule = self._judge(metrics, epoch)
        self.stopped_early = f"epoch {epoch} by {rule}" if rule else ""


@dataclass(frozen=True)
class Attempt:
    """One attempt at a trial: its folder and event log, and the functions that may stop it."""

    trial: Trial
    place: Place
    folder: Path
    outbox: EventLog
    copy: Copy
    judged: EarlyStoppingJudge
    stop: Callable[[], bool]
    weights: Callable[[Trial], dict[str, Tensor]]  # returns the trained weights of the dense trial that it starts from


def compute(attempt: Attempt) -> None:
    """Compute the trial, from its checkpoint if there is one, and record the results in its event log.

    Raises:
        StoppedError: if the trial was asked to stop, or was stopped early; its state is saved.
    """
    trial, place, folder, outbox = attempt.trial, attempt.place, attempt.folder, attempt.outbox
    copy, judged = attempt.copy, attempt.judged
    started = time.perf_counter()
    recorder, on = _prepare(attempt)
    device, data = on.device, on.data
    saved = _saved(attempt, device)
    spent: float = saved.get("spent_seconds", 0.0)

    def seconds() -> float:
        return spent + time.perf_counter() - started

    def save(state: dict[str, Any]) -> None:
        recorded = outbox.sync()  # metrics must be on disk before a checkpoint that skips their epoch
        checkpoint.save(folder / CHECKPOINT, state | {"spent_seconds": seconds(), "recorded_bytes": recorded})
        copy.push()

    def report(metrics: dict[str, float], step: int) -> None:
        outbox.metrics(metrics, step)
        copy.push_soon()
        judged.hear(metrics, step)

    if trial.measure != TRAINING:
        recorder.measured(MEASURES[trial.measure].find(on, saved, save))
        _finish(attempt, seconds())
        return
    dynamics = on.dynamics()
    masks = recorder.stored_masks(device) if _suffice(dynamics, trial, saved) else None
    if masks is None and trial.levels and saved.get("level") == trial.levels:
        saved = {}  # their file is lost, and the checkpoint of the training after the last level cannot give them
    dense = stage(trial)
    if dense is not None and (masks is None or trial.pretrain_epochs):
        on.model.load_state_dict(attempt.weights(dense))
        outbox.tags({"stage": dense.fingerprint})
    if masks is None:
        before = seconds()
        if trial.mask:
            found = Pruning(given_masks.load(trial.mask, place, device), {})
        else:
            found = prune_in_levels(on, folder, saved, save, report) if trial.levels else _prune(attempt, on, dynamics)
            outbox.metrics({"time/prune_seconds": seconds() - before})
        masks = found.masks
        outbox.tags(_put_to_use(found, trial, on))
        if not dynamics:
            recorder.pruned(on.model, masks, found.scores, data.input_shape)
    progress = on.train(
        masks,
        state=_begin(on, folder, saved),
        save=lambda state: save(state | {"level": trial.levels}),
        report=_counting(report, on, masks) if dynamics else report,
        dynamics=dynamics,
        tell=lambda what, how: outbox.tags({what: how[:500]}),
    )
    if dynamics:
        recorder.pruned(on.model, masks, {}, data.input_shape)
    final = progress.last or on.test() | {f"validation_{key}": value for key, value in on.validate().items()}
    _log_training(attempt, on, progress, final)
    if predictions := on.predictions:  # of the test whose numbers are `final`: no other followed
        recorder.tested(predictions)
    recorder.trained(on.model, masks, data.input_shape, place.weights_mb)
    if device.type == "cuda":
        outbox.tags({"latency": latency_setting(place.gpus)})
    _finish(attempt, seconds())


def _saved(attempt: Attempt, device: torch.device) -> dict[str, Any]:
    """Return the trial's last checkpoint; {} if there is none, or if the record lacks epochs that it skips.

    Those epochs are then computed again, and recorded again.
    """
    outbox = attempt.outbox
    saved = checkpoint.load(attempt.folder / CHECKPOINT, device, lambda name: outbox.tags({"damaged": name})) or {}
    return saved if appears(lambda: outbox.read_again() >= saved.get("recorded_bytes", 0)) else {}


def _suffice(dynamics: Dynamics | None, trial: Trial, saved: Mapping[str, Any]) -> bool:
    """Return True if a trial can go on from its recorded masks, if there are any.

    With dynamics only the final masks are recorded. Weights that a pruner updated are not: they are computed again with
    the masks, unless a checkpoint of the training has them.
    """
    return dynamics is None and ("model" in saved or not updates_weights(trial))


def _put_to_use(found: Pruning, trial: Trial, on: Trainer) -> dict[str, str]:
    """Put updated weights into the model; return tags that say so, and how scores were computed.

    Whole batches on a CPU are not told, as that is nearly always the case.
    """
    tags = {"scored": found.how} if found.how and (on.device.type != "cpu" or found.how != WHOLE) else {}
    if updates_weights(trial):
        put_weights(on.model, found.weights)
        tags["weights_updated"] = "true"
    return tags


def _counting(report: Report, on: Trainer, masks: Mapping[str, Tensor]) -> Report:
    """Return `report` with the multiply-accumulates that an epoch kept, for masks that change during training."""
    kept = kept_macs(on.model, on.data.input_shape)

    def counted(metrics: dict[str, float], epoch: int) -> None:
        report(metrics | {f"train/{name}": value for name, value in kept(masks).items()}, epoch)

    return counted


def _log_training(attempt: Attempt, on: Trainer, progress: EpochProgress, final: dict[str, float]) -> None:
    trial, outbox = attempt.trial, attempt.outbox
    outbox.metrics({f"final/{key}": value for key, value in final.items()})
    outbox.metrics({"best/top1": max(progress.best_top1, final["top1"])})
    if trial.levels:
        outbox.metrics({"level/top1": final["top1"], "level/compression": trial.compression}, trial.levels)
    outbox.metrics({"time/train_seconds": progress.train_seconds})
    outbox.metrics(_speed(attempt.place, trial, on.device, progress))
    scored = scored_images(trial, on.data.num_classes)
    outbox.metrics(training_cost(trial, logged_metrics(attempt.folder), len(on.data.rows), scored))


def _speed(place: Place, trial: Trial, device: torch.device, progress: EpochProgress) -> dict[str, float]:
    """Return metrics of training speed, and the scaling efficiency of several workers if the speed of one is known."""
    if not progress.images:
        return {}
    speed = progress.images / progress.image_seconds
    alone = place.alone.get(trial.fingerprint, {}).get(machine(device))
    efficiency = {"time/scaling_efficiency": speed / (place.workers * alone)} if alone else {}
    return {"time/images_per_second": speed} | efficiency


def _finish(attempt: Attempt, seconds: float) -> None:
    """Record the end of the trial and remove its checkpoints, which are no longer needed."""
    attempt.outbox.metrics({"time/total_seconds": seconds})
    attempt.outbox.end("finished")
    for file in (CHECKPOINT, REWIND):
        checkpoint.remove(attempt.folder / file)


def _prepare(attempt: Attempt) -> tuple[Recorder, Trainer]:
    """Load the trial's model and data onto its device, and start their record."""
    trial, place, outbox = attempt.trial, attempt.place, attempt.outbox
    device = make_ready(place)
    recorder = Recorder(trial, attempt.folder, outbox)
    recorder.begun(device)
    outbox.tags({"workers": str(place.workers)})
    data = images_of(trial, place)
    release_unused(data.spec)
    outbox.tags({"data_path": data.spec.path, "input_shape": "x".join(map(str, data.input_shape))})
    if trial.precision != "float32" or device.type == "cuda":
        outbox.tags({"precision": used(trial, device)})

    def stop() -> bool:
        return bool(attempt.judged.stopped_early) or attempt.stop()

    on = make_trainer(trial, data, device, place.save_seconds, stop, place.pretrained, place.team, place.scoring_images)
    return recorder, on


def _prune(attempt: Attempt, on: Trainer, dynamics: Dynamics | None) -> Pruning:
    """Return the masks with which training begins, for the current weights; none for the dense trial."""
    if on.trial.pruner == "dense":
        return Pruning({}, {})
    compression = dynamics.compression if dynamics else on.trial.compression
    share = partial(shared, on.trial, attempt.place, on.model)
    return on.find(compression, ablation=on.trial.ablation, share=share)


def _begin(on: Trainer, folder: Path, saved: dict[str, Any]) -> dict[str, Any] | None:
    """Return the state from which the trial's own training continues; None to train the model as it is now."""
    if "model" in saved and saved.get("level", 0) == on.trial.levels:  # not a checkpoint of an earlier level
        return saved
    if on.trial.ablation == "reinitialize":
        on.reinitialize()
    elif on.trial.levels:
        return rewind(on, folder)
    return None
