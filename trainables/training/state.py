"""Where a training stands between two of its steps: all that a checkpoint holds."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from torch import Tensor, nn

from pruners.errors import is_out_of_memory
from search_spaces import Trial
from trainables.averaging import Average
from trainables.captured import Captured
from trainables.dynamics import Dynamics
from trainables.epoch import Epoch
from trainables.masked import Masked
from trainables.optimizer import LearningRate, load_moments, make_optimizer
from trainables.stepping import Stepper
from trainables.team import ALONE, Team
from trainables.team.stepping import SharedStepper

T = TypeVar("T")
TOO_LARGE = "testing needs the memory of a graph"


@dataclass
class Progress:
    """How far training is: the last finished epoch (1-based; 0 = none yet) and what it cost so far."""

    epoch: int = 0
    steps: int = 0  # of the optimizer
    best_top1: float = 0.0
    train_seconds: float = 0.0
    images: int = 0  # trained on, in `image_seconds`: without the tests
    image_seconds: float = 0.0
    last: dict[str, float] = field(default_factory=dict)


class Standing:
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
        self.progress = Progress()
        saved = state or {}
        if state is not None:
            model.load_state_dict(state["model"])
            load_moments(self._optimizer, state["optimizer"])
            self.rate.load_state_dict(state["scheduler"])
            self.progress = Progress(**state["progress"])
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
