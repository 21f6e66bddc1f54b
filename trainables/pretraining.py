"""Trained weights that several trials start from: trained once, by whoever comes first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from safetensors.torch import load_file
from torch import Tensor

from search_spaces import Trial
from trainables.outbox import ended, read

WEIGHTS = "weights.safetensors"


class StageError(RuntimeError):
    """The dense training that a trial starts from failed."""


def stored(stage: Trial, storage: Path) -> bool:
    """Whether the trained weights of `stage` are there."""
    return (storage / stage.fingerprint / WEIGHTS).exists()


def trained_weights(stage: Trial, storage: Path, compute: Callable[[Trial], object]) -> dict[str, Tensor]:
    """The state of the model that `stage` trained, on the CPU; `compute` runs the stage if it is not there.

    A sweep computes its stages before the trials that need them. Who comes alone, or too early, does it here;
    of several that come at once one trains and the others wait for it.

    Raises:
        StageError: if the stage failed, now or before. What fails by itself is not tried by each trial again.
    """
    folder = storage / stage.fingerprint
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if not stored(stage, storage) and ended(folder) != "failed":
            compute(stage)
    if not stored(stage, storage):
        reason = next((e["tags"]["error"] for e, _ in read(folder) if "error" in e.get("tags", {})), "no weights")
        raise StageError(f"the dense training {stage.name} of {stage.epochs} epochs failed: {reason}")
    return load_file(folder / WEIGHTS)
