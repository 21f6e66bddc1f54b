"""Trained dense weights that several trials start from: trained once, by the first process that needs them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from search_spaces import Trial
from trainables.record.checkpoint import read_or_set_aside
from trainables.record.event_log import ended, must_restart, read
from trainables.record.files import appears, held

WEIGHTS = "weights.safetensors"


class StageError(RuntimeError):
    """Error: the dense training that a trial starts from failed."""


def stored(stage: Trial, storage: Path) -> bool:
    """Return True if the trained weights of `stage` are in `storage`."""
    return (storage / stage.fingerprint / WEIGHTS).exists()


def trained_weights(
    stage: Trial,
    storage: Path,
    compute: Callable[[Trial], str],
    bring: Callable[[Path], object] | None = None,
) -> dict[str, Tensor]:
    """Return the state of the model that `stage` trained, on the CPU.

    `compute` runs the stage if its weights are missing and returns its error, "" if there was none. A sweep computes
    its stages before the trials that need them; a trial that runs alone, or too early, computes the stage here. If
    several need it at once, one trains and the others wait. `bring` fills the stage's folder from an object store.

    Raises:
        StageError: if the stage failed, now or before. Trials do not repeat a stage that failed by itself.
    """
    folder = storage / stage.fingerprint
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder / ".lock"):
        weights = _read(folder)
        if weights is None and bring is not None:
            with held(folder / ".writer.lock"):
                bring(folder)
            weights = _read(folder)
        spoiled = (folder / f"{WEIGHTS}.damaged").exists()
        if weights is None and not spoiled and ended(folder) == "finished" and appears((folder / WEIGHTS).exists):
            weights = _read(folder)  # another node trained them; training them again takes longer than to wait
        if weights is None:
            error = _error(folder) if must_restart(folder) else compute(stage) or "it left no weights"
            weights = _read(folder)
    if weights is None:
        raise StageError(f"the dense training {stage.name} of {stage.epochs} epochs failed: {error}")
    return weights


def _read(folder: Path) -> dict[str, Tensor] | None:
    return read_or_set_aside(folder / WEIGHTS, lambda: load_file(folder / WEIGHTS))


def _error(folder: Path) -> str:
    errors = [event["tags"]["error"] for event, _ in read(folder) if "error" in event.get("tags", {})]
    return errors[-1] if errors else "no error recorded"
