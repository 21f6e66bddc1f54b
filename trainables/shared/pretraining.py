"""Trained weights that several trials start from: trained once, by whoever comes first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from search_spaces import Trial
from trainables.record.checkpoint import read_or_set_aside
from trainables.record.event_log import must_restart, read
from trainables.record.files import held

WEIGHTS = "weights.safetensors"


class StageError(RuntimeError):
    """The dense training that a trial starts from failed."""


def stored(stage: Trial, storage: Path) -> bool:
    """Whether the trained weights of `stage` are there."""
    return (storage / stage.fingerprint / WEIGHTS).exists()


def trained_weights(
    stage: Trial,
    storage: Path,
    compute: Callable[[Trial], str],
    bring: Callable[[Path], object] | None = None,
) -> dict[str, Tensor]:
    """The state of the model that `stage` trained, on the CPU.

    `compute` runs the stage if it is not there and returns its error, "" if there was none. A sweep computes its
    stages before the trials that need them; who comes alone, or too early, does it here. Of several that come
    at once one trains and the others wait for it. `bring` fills the stage's folder from an object store.

    Raises:
        StageError: if the stage failed, now or before. What fails by itself is not tried by each trial again.
    """
    folder = storage / stage.fingerprint
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder / ".lock"):
        weights = _read(folder)
        if weights is None and bring is not None:
            with held(folder / ".writer.lock"):
                bring(folder)
            weights = _read(folder)
        if weights is None:
            error = _error(folder) if must_restart(folder) else compute(stage)
            weights = _read(folder)
    if weights is None:
        raise StageError(f"the dense training {stage.name} of {stage.epochs} epochs failed: {error}")
    return weights


def _read(folder: Path) -> dict[str, Tensor] | None:
    return read_or_set_aside(folder / WEIGHTS, lambda: load_file(folder / WEIGHTS))


def _error(folder: Path) -> str:
    errors = [event["tags"]["error"] for event, _ in read(folder) if "error" in event.get("tags", {})]
    return errors[-1] if errors else "no error recorded"
