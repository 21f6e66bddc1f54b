"""What all checks share: a verdict with its figures, and trials that are run in the check's own process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import torch
from torch import Tensor

from search_spaces import Trial
from trainables.context import Place
from trainables.record.event_log import read
from trainables.run import TrialOutcome, run

Verdict = Literal["ok", "FAIL", "skipped", "reported"]
TRAINED = {"pruner": "snip", "mode": "train", "compression": 10.0}
GRAPH = "one CUDA graph"  # the tag `stepped` of a trial whose steps are captured
WEIGHTS_MB = 1e6  # the weights of every network are kept, to compare them


@dataclass(frozen=True)
class Result:
    """One row of the table. Figures that are "reported" are held to nothing."""

    check: str
    verdict: Verdict
    figures: str


def judged(check: str, good: bool, figures: str) -> Result:
    """Return a row that is ok or a FAIL."""
    return Result(check, "ok" if good else "FAIL", figures)


@dataclass(frozen=True)
class Ran:
    """A trial that was run: how it ended, and what it recorded."""

    outcome: TrialOutcome
    folder: Path
    metrics: dict[str, float] = field(default_factory=dict)  # the last value of each
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def stepped(self) -> str:
        return self.tags.get("stepped", "not stepped")

    @property
    def speed(self) -> str:
        return thousands(self.metrics.get("time/images_per_second", 0.0))

    @property
    def end(self) -> str:
        """How it ended, with the error if there was one."""
        return f"{self.outcome.end} {self.outcome.error[:120]}".strip()

    def tensors(self, file: str = "weights.safetensors") -> dict[str, Tensor]:
        from safetensors.torch import load_file

        found: dict[str, Tensor] = load_file(self.folder / file)
        return found


@dataclass(frozen=True)
class Setting:
    """Where the checks work, and how large what they try is."""

    folder: Path
    small: bool = False  # tiny, for a pretended GPU: its speed says nothing

    @property
    def dataset(self) -> str:
        return "digits" if self.small else "synthetic-32"

    @property
    def network(self) -> str:
        return "conv" if self.small else "resnet20"

    @property
    def cache(self) -> Path:
        return self.folder / "data"

    def trial(self, **fields: object) -> Trial:
        """Make a short trial of a network that is as small as the setting asks for."""
        base: dict[str, Any] = {"dataset": self.dataset, "architecture": self.network, "epochs": 2, "batch_size": 128}
        if self.small:
            base |= {"batch_size": 500, "samples_per_class": 2}
        return Trial.model_validate(base | TRAINED | fields)

    def run(self, trial: Trial, name: str, stop: Callable[[], bool] = lambda: False, **place: Any) -> Ran:
        """Run a trial on the GPU with a record of its own, `name`; `place` are fields of `Place`."""
        where: dict[str, Any] = {"device": "cuda", "weights_mb": WEIGHTS_MB} | place
        storage = self.folder / name
        outcome = run(trial, Place(storage, self.cache, **where), stop)
        folder = storage / trial.fingerprint
        found = Ran(outcome, folder)
        for event, _ in read(folder):
            found.metrics.update(event.get("metrics", {}))
            found.tags.update(event.get("tags", {}))
        return found


def thousands(images_per_second: float) -> str:
    """Write a speed."""
    return f"{images_per_second / 1000:.1f}k images/s"


@contextmanager
def step_by_step() -> Iterator[None]:
    """Inside, no graph can be captured, so that trials are trained one kernel after the other."""
    with patch("torch.cuda.graph", side_effect=RuntimeError("no graph was asked for")):
        yield


@contextmanager
def own_process() -> Iterator[ProcessPoolExecutor]:
    """Give a process that has no CUDA context yet, and ends with the block."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield pool


def moved(masks: dict[str, Tensor], others: dict[str, Tensor]) -> float:
    """Return the share of the weights kept by `masks` that `others` do not keep."""
    kept = sum(int(mask.sum()) for mask in masks.values())
    lost = sum(int((mask.cpu() & ~others[name].cpu()).sum()) for name, mask in masks.items())
    return lost / max(1, kept)


def unequal(some: dict[str, Tensor], others: dict[str, Tensor]) -> int:
    """Return how many numbers differ in any bit, -1 if the names do."""
    if some.keys() != others.keys():
        return -1
    return sum(int((_bits(some[name]) != _bits(others[name])).sum()) for name in some)


def apart(some: dict[str, Tensor], others: dict[str, Tensor]) -> float:
    """Return the largest difference of two scores, as a share of the largest score of their layer."""
    shares = [
        float((score.cpu() - others[name].cpu()).abs().max() / score.abs().max().cpu().clamp(min=1e-30))
        for name, score in some.items()
    ]
    return max(shares, default=0.0)


def _bits(tensor: Tensor) -> Tensor:
    return tensor.view(torch.int32) if tensor.dtype == torch.float32 else tensor


def imported(*packages: str) -> list[str]:
    """Return which of these packages this process has imported."""
    return [name for name in packages if name in sys.modules]
