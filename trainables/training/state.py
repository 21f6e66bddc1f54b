"""Where a training stands between two of its steps: all that a checkpoint holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pruners.errors import is_out_of_memory
from search_spaces import Trial
from trainables.distributed import ALONE, START, STEP, Team
from trainables.randomness import Drawn
from trainables.sparse_training import Dynamics
from trainables.training.cuda_graph import Captured
from trainables.training.distributed_step import SharedStepper
from trainables.training.optimizer import LearningRate, load_moments, make_optimizer
from trainables.training.step import Average, Masked, Stepper


class TrainingError(RuntimeError):
    """Training went where no number means anything: a loss that is not finite."""


class Epoch:
    """The batches of an epoch so far: how many, and what they summed up to.

    Each worker of a team sums up what its own part of the batches gave; the sums of all are the first one's. All of
    them count the images of whole batches. Collectives of the first step may take `START`, as data readers start and
    cuDNN chooses its kernels; those of later ones `STEP`.
    """

    def __init__(self, number: int, state: Mapping[str, Any], team: Team) -> None:
        """Epoch `number`, from its beginning, or from the `state` that it had before."""
        self.number, self._team = number, team
        self.batches: int = state.get("batches", 0)
        self.images: int = state.get("images", 0)
        self._in_step = False  # whether workers have made a step since they last did something else
        totals = [0.0, 0.0] if team.rank else state.get("totals", [])
        self._totals: Tensor | int = torch.tensor(totals, dtype=torch.float64) if state else 0
        self._random: Mapping[str, Tensor] = state.get("random", {})
        before: float = state.get("seconds", 0.0)
        self._started = time.perf_counter() - before

    @property
    def seconds(self) -> float:
        """Since it began, without the time in which nobody worked on it."""
        return time.perf_counter() - self._started

    def drawn(self, seed: int, *names: str | int) -> Drawn:
        """What the steps of this epoch draw, from where they were."""
        self._drawn = Drawn(seed, *names, states=self._random)
        return self._drawn

    def add(self, found: Tensor, images: int) -> None:
        """A batch more. Its sums stay on the device: asking for a number each batch would make a GPU wait."""
        if isinstance(self._totals, Tensor):
            self._totals = self._totals.to(found.device)
        self._totals = self._totals + found
        self.batches += 1
        self.images += images
        if self._team.size > 1 and not self._in_step:
            self._in_step = True
            found.tolist()  # waits for a GPU: NCCL counts the time from when a collective was asked for
            self._team.allow(STEP)

    def pool(self, over: bool) -> None:
        """Give the sums of all workers to the first, the others beginning anew; to all of them if the epoch is `over`.

        All do that at once.
        """
        if self._team.size > 1 and isinstance(self._totals, Tensor):
            self._totals = self._team.sum(self._totals) * (over or self._team.rank == 0)
            self._team.allow(START)
            self._in_step = False

    def state_dict(self) -> dict[str, Any]:
        """Where it stands after at least one batch, `pool`ed."""
        assert isinstance(self._totals, Tensor)
        return {
            "batches": self.batches,
            "images": self.images,
            "totals": self._totals.tolist(),
            "random": self._drawn.states,
            "seconds": self.seconds,
        }

    def metrics(self) -> dict[str, float]:
        """Mean loss and accuracy over its batches.

        Raises:
            ValueError: if there were none.
            TrainingError: if the loss is not finite.
        """
        if not isinstance(self._totals, Tensor):
            raise ValueError("train: there are no batches")
        loss_sum, top1 = self._totals.tolist()
        if not torch.isfinite(self._totals).all():
            raise TrainingError(f"the training loss is {loss_sum / self.images} in epoch {self.number}")
        return {"train/loss": loss_sum / self.images, "train/top1": top1 / self.images}


T = TypeVar("T")
TOO_LARGE = "testing needs the memory of a graph"


@dataclass
class EpochProgress:
    """How far training is: the last finished epoch (1-based; 0 = none yet) and what it cost so far."""

    epoch: int = 0
    steps: int = 0  # of the optimizer
    best_top1: float = 0.0
    train_seconds: float = 0.0
    images: int = 0  # trained on, in `image_seconds`: without the tests
    image_seconds: float = 0.0
    last: dict[str, float] = field(default_factory=dict)


class TrainingState:
    """The parts of a training, from its beginning or from a checkpoint."""

    def __init__(
        self,
        model: nn.Module,
        masks: dict[str, Tensor],
        trial: Trial,
        steps_per_epoch: int,
        dynamics: Dynamics | None,
        state: dict[str, Any] | None,
        team: Team = ALONE,
        tell: Callable[[str, str], object] = lambda what, how: None,
    ) -> None:
        """`model` and `masks` are changed in place; `state` is what `state_dict` gave."""
        self._team = team
        self._model, self._masks, self._dynamics = model, masks, dynamics
        self._optimizer = make_optimizer(model, trial)
        self.rate = LearningRate(self._optimizer, trial, steps_per_epoch)
        self.progress = EpochProgress()
        saved = state or {}
        if state is not None:
            model.load_state_dict(state["model"])
            load_moments(self._optimizer, state["optimizer"])
            self.rate.load_state_dict(state["scheduler"])
            self.progress = EpochProgress(**state["progress"])
            masks.update(state["masks"] if dynamics else {})
        self._begun: dict[str, Any] = saved.get("begun", {})
        self._masked = Masked(model, self._optimizer, masks, dynamics, self.progress.steps)
        self._average = Average(model, trial.ema, masks, saved.get("average", {})) if trial.ema else None
        parts = model, self._optimizer, self._masked, trial, self._average
        step = SharedStepper(team, *parts) if team.size > 1 else Stepper(*parts)
        self._captured: Captured | None = None
        if next(model.parameters()).is_cuda:
            stepped = partial(tell, "stepped")
            if team.size == 1:
                self._captured = Captured(step, model, self._masked.changes, stepped)
            else:  # they speak with each other in their steps
                stepped(f"step by step: {team.size} workers")
        self.step: Callable[[Tensor, Tensor], Tensor] = self._captured or step

    def next_epoch(self) -> Epoch:
        """The epoch after the last finished one, or what is left of it."""
        begun, self._begun = self._begun, {}
        return Epoch(self.progress.epoch + 1, begun, self._team)

    def state_dict(self, epoch: Epoch | None = None) -> dict[str, Any]:
        """Plain values and tensors, some of them those in use; `epoch` is the one in the middle of which this is."""
        self.progress.steps = self._masked.steps
        state = {
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scheduler": self.rate.state_dict(),
            "progress": vars(self.progress),
        }
        state |= {"masks": dict(self._masks)} if self._dynamics else {}
        state |= {"average": self._average.state_dict()} if self._average else {}
        return state | ({"begun": epoch.state_dict()} if epoch else {})

    def tested(self, test: Callable[[], T]) -> T:
        """Return what `test` finds of the weights that are to be tested.

        Where captured graphs leave it too little memory they are given up, and it is called again: a test changes
        nothing, so that it may be.
        """
        with self._average.in_place() if self._average else nullcontext():
            try:
                return test()
            except RuntimeError as error:
                if not is_out_of_memory(error) or self._captured is None or not self._captured.release(TOO_LARGE):
                    raise
            return test()

    def finish(self) -> None:
        """Leave those weights to the model for good."""
        if self._average:
            self._average.exchange()
