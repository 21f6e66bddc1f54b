"""Trainer of a trial, shared by all its phases: model and data, and how they are trained, tested and scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pruners import Pruner, Pruning, find, lookup
from search_spaces import Trial
from trainables import datasets
from trainables.architectures import build
from trainables.datasets.batches import ImageBatch, steps_per_epoch
from trainables.distributed import ALONE, Team
from trainables.randomness import derive
from trainables.record.predictions import Predictions
from trainables.sparse_training import Dynamics, dynamics
from trainables.training.compacted import CompactedTraining, smaller
from trainables.training.evaluation import PredictionRecorder, evaluate
from trainables.training.fast_paths import PLAIN, FastPaths, compacted_differs, fast_paths
from trainables.training.loop import Callbacks, EpochProgress, TrainingData, TrainingState, train
from trainables.training.precision import cudnn_benchmark


@dataclass(frozen=True)
class Trainer:
    """Trainer of a trial: holds its model and data, and trains, tests and scores the model."""

    trial: Trial
    model: nn.Module
    data: datasets.Dataset
    device: torch.device
    save_seconds: float
    stop: Callable[[], bool]  # called after each epoch of any training, and within long ones
    weights: Path | None  # folder of pretrained weights
    team: Team  # workers that train together; the first alone does scoring, and tests between trainings
    scoring_images: int = 0  # inputs of a forward pass while scoring, see `pruners.find`
    fast: FastPaths = PLAIN  # forms in which the model is trained and evaluated
    _recorder: PredictionRecorder = field(default_factory=PredictionRecorder)

    def restart(self) -> None:
        """Reset the model to the weights that it was built with."""
        shape, classes = self.data.input_shape, self.data.num_classes
        again = build(self.trial.network, shape, classes, self.trial.seed, self.weights)
        self.model.load_state_dict(again.state_dict())

    def reinitialize(self) -> None:
        """Give the model new initial weights from the same distribution (Frankle et al. 2021, section 5)."""
        shape, classes, seed = self.data.input_shape, self.data.num_classes, derive(self.trial.seed, "reinitialize")
        self.model.load_state_dict(build(self.trial.network.fresh, shape, classes, seed).state_dict())

    def test(self, team: Team = ALONE) -> dict[str, float]:
        """Return loss and accuracies on the test set; pass a `team` only if all of its workers call this now."""
        batches = self.data.test_batches(self.device, blind=self._blind, part=team.part)
        return evaluate(self._fixed(), batches, team, self._recorder)

    @property
    def predictions(self) -> Predictions | None:
        """Return the predictions of the last test, whether within a training or not; None without any."""
        return self._recorder.result(self.data.spec.name, self.data.test_digest)

    def validate(self, team: Team = ALONE) -> dict[str, float]:
        """Return loss and accuracy on the held-out training images as `test` does; {} if none are held out."""
        if not len(self.data.held_out):
            return {}
        batches = self.data.validation_batches(self.device, blind=self._blind, part=team.part)
        found = evaluate(self._fixed(), batches, team)
        return {key: found[key] for key in ("loss", "top1")}

    def train(
        self,
        masks: dict[str, Tensor],
        *,
        state: dict[str, Any] | None,
        save: Callable[[dict[str, Any]], None],
        report: Callable[[dict[str, float], int], None] = lambda metrics, epoch: None,
        until: int | None = None,
        dynamics: Dynamics | None = None,
        compact: bool = True,
        tell: Callable[[str, str], object] = lambda what, how: None,
    ) -> EpochProgress:
        """Train the model in place; see `trainables.training.loop.train`.

        If `compact` is set and the masks leave a smaller network that trains alike, that network is trained instead.
        Checkpoints hold the whole network in any case. `tell` receives the tag "trained", which says which network was
        trained and why, and the tag "plain" with the fast forms that are not used and why.
        """
        trial, team, instead = self.trial, self.team, None
        if self.fast.tag:
            tell("plain", self.fast.tag)
        team.order(
            lambda: {
                "trial": trial.model_dump_json(),
                "model": self.model.state_dict(),
                "masks": masks,
                "state": state,
                "until": until,
                "changing": dynamics is not None,
                "compact": compact,
            }
        )
        if masks and compact and not dynamics:
            if state:
                self.model.load_state_dict(state["model"])
            instead, how = self._smaller(masks, state)
            tell("trained", how)
        on = self if instead is None else replace(self, model=instead, fast=PLAIN if instead.blind else self.fast)
        fast = on.fast.training(on._network, quick=team.size == 1)  # a team replaces batch norm by a synchronized one
        with fast, cudnn_benchmark(trial.cudnn_benchmark):
            training = TrainingState(
                on.model,
                masks if instead is None else instead.masks,
                trial,
                self._steps_per_epoch,
                dynamics=dynamics,
                state=instead.narrow(state) if instead and state else state,
                team=team,
                tell=tell,
            )
            data = TrainingData(on._batches, lambda: on.test(team), lambda: on.validate(team))
            kept = (lambda state: save(instead.widen(state))) if instead else save
            progress = train(training, data, Callbacks(report, kept, self.stop, self.save_seconds), until)
        if instead:
            instead.finish()
        return progress

    def _batches(self, epoch: int, skip: int) -> Iterator[ImageBatch]:
        return self.data.train_batches(
            self.trial.seed,
            epoch,
            self.trial.batch_size,
            self.device,
            skip=skip,
            blind=self._blind,
            part=self.team.part,
            micro=self.trial.accumulate,
        )

    def _smaller(self, masks: dict[str, Tensor], state: dict[str, Any] | None) -> tuple[CompactedTraining | None, str]:
        """Return the network to train in the model's place under `masks`, or None; and a line on that."""
        shape = self.data.input_shape
        instead, how = smaller(self.model, masks, shape, state)
        if instead is None:
            return None, how
        fast = PLAIN if instead.blind else self.fast
        if why := compacted_differs(instead, masks, self._fresh, fast, shape):
            return None, f"whole: the smaller network would train differently: {why}"
        return instead, how

    def _fresh(self) -> nn.Module:
        """Build the network anew, with random weights."""
        return build(self.trial.network.fresh, self.data.input_shape, self.data.num_classes, self.trial.seed)

    @property
    def _network(self) -> nn.Module:
        return self.model.net if isinstance(self.model, CompactedTraining) else self.model

    def _fixed(self) -> nn.Module:
        """Return the network in the form that is evaluated: its batch norms folded where possible."""
        self.model.eval()
        return self.fast.evaluated(self._network)

    @property
    def _blind(self) -> bool:
        """True if the model gives the same logits for all inputs."""
        return isinstance(self.model, CompactedTraining) and self.model.blind

    def dynamics(self) -> Dynamics | None:
        """Return the method that changes the trial's masks during training; None if they do not change."""
        return dynamics(self.trial, self._steps_per_epoch)

    @property
    def _steps_per_epoch(self) -> int:
        return steps_per_epoch(len(self.data.rows), self.trial.batch_size)

    def find(
        self,
        compression: float | Fraction,
        alive: Mapping[str, Tensor] | None = None,
        ablation: str = "none",
        at_once: bool = False,
        share: Callable[[Callable[[], dict[str, Tensor]]], dict[str, Tensor]] | None = None,
    ) -> Pruning:
        """Return the trial's masks at `compression`, or at its kappa, within `alive`, for the current weights.

        `at_once` prunes in a single step, whatever the trial's schedule. For `share` see `pruners.find`.
        """
        trial, pruner = self.trial, pruner_of(self.trial)
        return find(
            self.model,
            pruner,
            compression=None if trial.kappa else compression,
            kappa=trial.kappa,
            batches=self._scoring_batches(pruner),
            redraw=partial(self._scoring_batches, pruner),
            scope=trial.scope,
            granularity=trial.granularity,
            schedule="oneshot" if at_once else trial.schedule,
            iterations=1 if at_once else trial.iterations,
            mode=trial.mode,
            seed=trial.seed,
            options=pruner.recorded(trial.options),
            ablation=ablation,
            alive=alive or None,
            share=share,
            images_at_once=self.scoring_images,
        )

    def _scoring_batches(self, pruner: Pruner, draw: int = 0) -> list[ImageBatch]:
        """Return the batches for scoring; one black image, for its shape, if the pruner needs no data."""
        if pruner.needs_data:
            return self.data.scoring_batches(self.trial.seed, self.trial.samples_per_class, self.device, draw)
        return [(torch.zeros(1, *self.data.input_shape), torch.zeros(1, dtype=torch.int64))]


def make_trainer(
    trial: Trial,
    data: datasets.Dataset,
    device: torch.device,
    save_seconds: float,
    stop: Callable[[], bool] = lambda: False,
    weights: Path | None = None,
    team: Team = ALONE,
    scoring_images: int = 0,
) -> Trainer:
    """Return the trainer of `trial`, with its untrained model; `weights` is the folder of pretrained weights."""
    model = build(trial.network, data.input_shape, data.num_classes, trial.seed, weights)
    fast = fast_paths(trial, data.input_shape, data.num_classes, device)
    model = fast.laid_out(model).to(device)
    return Trainer(trial, model, data, device, save_seconds, stop, weights, team, scoring_images, fast)


def updates_weights(trial: Trial) -> bool:
    """Return True if the trial trains on from weights that its pruner has updated, and not from rewound or new ones."""
    if trial.pruner == "dense" or trial.mask or trial.levels or trial.ablation == "reinitialize":
        return False
    return pruner_of(trial).update is not None


def pruner_of(trial: Trial) -> Pruner:
    """Return the trial's pruner; a user's own pruner is built from the code in the trial's record."""
    return lookup(trial.pruner, trial.code)
