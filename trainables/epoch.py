"""How far training is in an epoch: what a checkpoint in the middle of one must hold."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainables.randomness import Drawn
from trainables.team import START, STEP, Team


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
