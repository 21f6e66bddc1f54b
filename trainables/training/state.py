"""State of a training between two of its steps: everything that a checkpoint holds."""

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
from trainables.sparse_training import Dynamics, Latent
from trainables.training.cuda_graph import CapturedStep
from trainables.training.distributed_step import SharedStepper
from trainables.training.optimizer import LearningRate, load_moments, make_optimizer
from trainables.training.step import Average, Masked, Stepper


class TrainingError(RuntimeError):
    """The training loss is not finite."""


class Epoch:
    """Counts and sums of loss and hits over the batches of an epoch so far.

    Each worker of a team sums over its own part of the batches; `pool` adds up the sums on the first worker. All
    workers count the images of whole batches. Collectives of the first step may take `START`, because data readers
    start and cuDNN chooses its kernels; those of later steps may take `STEP`.
    """

    def __init__(self, number: int, state: Mapping[str, Any], team: Team) -> None:
        """Start epoch `number`, or continue it if `state` is not empty."""
        self.number, self.team = number, team
        self.batches: int = state.get("batches", 0)
        self.images: int = state.get("images", 0)
        self._in_step = False  # True after a step, until `pool` is called
        totals = [0.0, 0.0] if team.rank else state.get("totals", [])
        self._totals: Tensor | int = torch.tensor(totals, dtype=torch.float64) if state else 0
        self._random: Mapping[str, Tensor] = state.get("random", {})
        before: float = state.get("seconds", 0.0)
        self._started = time.perf_counter() - before

    @property
    def seconds(self) -> float:
        """Seconds spent on the epoch, without interruptions."""
        return time.perf_counter() - self._started

    def drawn(self, seed: int, *names: str | int) -> Drawn:
        """Return the random stream for the steps of this epoch, continued from the saved state."""
        self._drawn = Drawn(seed, *names, states=self._random)
        return self._drawn

    def add(self, found: Tensor, images: int) -> None:
        """Add a batch. Its sums stay on the device: reading a number per batch would make a GPU wait."""
        if isinstance(self._totals, Tensor):
            self._totals = self._totals.to(found.device)
        self._totals = self._totals + found
        self.batches += 1
        self.images += images
        if self.team.size > 1 and not self._in_step:
            self._in_step = True
            found.tolist()  # waits for the GPU, because NCCL's timeout starts when a collective is enqueued
            self.team.allow(STEP)

    def pool(self, over: bool) -> None:
        """Move the sums of all workers to the first and zero the others'; if the epoch is `over`, give them to all.

        All workers must call this at the same time.
        """
        if self.team.size > 1 and isinstance(self._totals, Tensor):
            self._totals = self.team.sum(self._totals) * (over or self.team.rank == 0)
            self.team.allow(START)
            self._in_step = False

    def state_dict(self) -> dict[str, Any]:
        """Return the state after at least one batch; call `pool` before."""
        assert isinstance(self._totals, Tensor)
        return {
            "batches": self.batches,
            "images": self.images,
            "totals": self._totals.tolist(),
            "random": self._drawn.states,
            "seconds": self.seconds,
        }

    def metrics(self) -> dict[str, float]:
        """Return the mean loss and accuracy over the epoch's batches.

        Raises:
            ValueError: if there were no batches.
            TrainingError: if the loss is not finite.
        """
        if not isinstance(self._totals, Tensor):
            raise ValueError("train: there are no batches")
        loss_sum, top1 = self._totals.tolist()
        if not torch.isfinite(self._totals).all():
            raise TrainingError(f"the training loss is {loss_sum / self.images} in epoch {self.number}")
        return {"train/loss": loss_sum / self.images, "train/top1": top1 / self.images}


T = TypeVar("T")
TOO_LARGE = "testing needs the memory of a CUDA graph"


@dataclass
class EpochProgress:
    """Progress of a training: the last finished epoch (1-based; 0 = none yet), and its results and times so far."""

    epoch: int = 0
    steps: int = 0  # optimizer steps
    best_top1: float = 0.0
    train_seconds: float = 0.0
    images: int = 0  # trained on in `image_seconds`, which leaves out the tests
    image_seconds: float = 0.0
    last: dict[str, float] = field(default_factory=dict)


class TrainingState:
    """Parts of a training: optimizer, learning rate, masks, averages and progress, new or from a checkpoint."""

    def __init__(
        self,
        model: nn.Module,
        masks: dict[str, Tensor],
        trial: Trial,
        steps_per_epoch: int,
        *,
        dynamics: Dynamics | None = None,
        state: dict[str, Any] | None = None,
        team: Team = ALONE,
        tell: Callable[[str, str], object] = lambda what, how: None,
    ) -> None:
        """Set up a training that changes `model` and `masks` in place; `state` is a checkpoint from `state_dict`.

        Pruned weights are set to zero after each step, so gradients are those of the plain weights, and momentum cannot
        bring them back. `dynamics` may change `masks` in place; the masks are then part of the saved state.
        On a GPU steps are captured in a CUDA graph if possible; `tell` receives the tag "stepped", which says how steps
        are made, or why not in a graph. If the trial averages its weights, the averages are tested, and the model ends
        with them.
        """
        self.model, self.trial, self.team = model, trial, team
        self._masks, self._dynamics = masks, dynamics
        self._latent = dynamics if isinstance(dynamics, Latent) else None
        if self._latent is not None:
            self._latent.start(model, masks)
        self._optimizer = make_optimizer(model, trial, self._latent.learned if self._latent else ())
        self.rate = LearningRate(self._optimizer, trial, steps_per_epoch)
        self.progress = EpochProgress()
        saved = state or {}
        if state is not None:
            model.load_state_dict(state["model"])
            load_moments(self._optimizer, state["optimizer"])
            self.rate.load_state_dict(state["scheduler"])
            self.progress = EpochProgress(**state["progress"])
            masks.update(state["masks"] if dynamics else {})
            if self._latent is not None:
                self._latent.load(state["latent"])
        self._begun: dict[str, Any] = saved.get("begun", {})
        self._masked = Masked(model, self._optimizer, masks, dynamics, self.progress.steps)
        held = {} if self._masked.keeps_pruned else masks
        self._average = Average(model, trial.ema, held, saved.get("average", {})) if trial.ema else None
        parts = model, self._optimizer, self._masked, trial, self._average
        step = SharedStepper(team, *parts) if team.size > 1 else Stepper(*parts)
        self._captured: CapturedStep | None = None
        if next(model.parameters()).is_cuda:
            stepped = partial(tell, "stepped")
            if team.size == 1:
                self._captured = CapturedStep(step, model, self._masked.changes, stepped)
            else:  # workers communicate within their steps
                stepped(f"step by step: {team.size} workers")
        self.step: Callable[[Tensor, Tensor], Tensor] = self._captured or step

    def next_epoch(self) -> Epoch:
        """Return the epoch after the last finished one, or continue it if the checkpoint was saved in its middle."""
        begun, self._begun = self._begun, {}
        return Epoch(self.progress.epoch + 1, begun, self.team)

    def state_dict(self, epoch: Epoch | None = None) -> dict[str, Any]:
        """Return plain values and tensors, some of them still in use; `epoch` is the unfinished epoch, if any."""
        self.progress.steps = self._masked.steps
        state = {
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scheduler": self.rate.state_dict(),
            "progress": vars(self.progress),
        }
        state |= {"masks": dict(self._masks)} if self._dynamics else {}
        state |= {"latent": dict(self._latent.tensors)} if self._latent else {}
        state |= {"average": self._average.state_dict()} if self._average else {}
        return state | ({"begun": epoch.state_dict()} if epoch else {})

    def tested(self, test: Callable[[], T]) -> T:
        """Return the result of `test` with the weights to be tested: the averages, if there are any, as seen forward.

        If CUDA graphs leave too little memory for it, they are dropped and `test` is called again. That is safe,
        because a test changes nothing.
        """
        with self._average.in_place() if self._average else nullcontext(), self._masked.seen_forward():
            try:
                return test()
            except RuntimeError as error:
                if not is_out_of_memory(error) or self._captured is None or not self._captured.release(TOO_LARGE):
                    raise
            return test()

    def finish(self) -> None:
        """Leave in the model for good what was tested."""
        if self._average:
            self._average.exchange()
        self._masked.finish()
