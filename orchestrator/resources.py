"""What one trial gets of a machine, and whether any machine can give it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from search_spaces import SpaceError

FRACTION = "a fraction of at most four decimals up to 1, or a whole number"


@dataclass(frozen=True)
class Resources:
    """What one trial gets, and how many may run at once (None: as many as fit)."""

    cpus: float = 1
    gpus: float = 0
    max_concurrent: int | None = None
    auto: bool = False  # each kind of trial gets the share of a GPU that it was measured to need; at most `gpus`

    def __str__(self) -> str:
        cpus = f"{self.cpus:g} CPU{'s' * (self.cpus != 1)}"
        if self.auto:
            return f"{cpus} and as much of a GPU as it needs"
        if not self.gpus:
            return f"{cpus} and no GPU"
        return f"{cpus} and {self.gpus:g} {'of a GPU' if self.gpus < 1 else 'GPU' + 's' * (self.gpus != 1)}"


def require_legal(resources: Resources) -> None:
    """Refuse what Ray would only refuse as "Tracked actor is not managed", or wait for without end.

    Raises:
        SpaceError: in one sentence.
    """
    cpus = resources.cpus
    if not 0 < cpus < math.inf or (cpus > 1 and cpus != int(cpus)) or round(cpus, 4) != cpus:
        raise SpaceError(f"--cpus-per-trial: {cpus:g} is not allowed; it must be above 0: {FRACTION}")
    gpus = resources.gpus
    if not 0 <= gpus < math.inf or (gpus > 1 and gpus != int(gpus)) or round(gpus, 4) != gpus:
        raise SpaceError(f"--gpus-per-trial: {gpus:g} is not allowed; it must be {FRACTION}")
    if resources.max_concurrent is not None and resources.max_concurrent < 1:
        raise SpaceError(f"--max-concurrent: {resources.max_concurrent} is not allowed; it must be at least 1")


def this_machine() -> dict[str, float]:
    """What Ray will find here."""
    return {"CPU": os.cpu_count() or 1, "GPU": torch.cuda.device_count()}


def require_somewhere(nodes: Sequence[Mapping[str, float]], resources: Resources) -> None:
    """Refuse to wait without end for what no node can ever give.

    Raises:
        SpaceError: naming the resource, what was asked and the most that a node has.
    """
    gpus = "auto" if resources.auto else f"{resources.gpus:g}"
    for flag, kind, asked, text in (
        ("--cpus-per-trial", "CPU", resources.cpus, f"{resources.cpus:g}"),
        ("--gpus-per-trial", "GPU", resources.gpus, gpus),
    ):
        most = max((node.get(kind, 0) for node in nodes), default=0)
        if asked > most:
            raise SpaceError(f"{flag}: {text} asked for, but no node has more than {most:g} {kind}s")


def usual_share(nodes: Iterable[Mapping[str, float]]) -> float:
    """Of a GPU for each trial, if nobody says otherwise: networks of CIFAR's size leave most of one idle."""
    return 0.25 if any(node.get("GPU", 0) for node in nodes) else 0


def concurrency(resources: Resources, node: Mapping[str, float]) -> int:
    """How many trials run on `node` at once."""
    fit = [node.get("CPU", 0) / resources.cpus]
    if resources.gpus:
        fit.append(node.get("GPU", 0) / resources.gpus)
    if resources.max_concurrent:
        fit.append(resources.max_concurrent)
    return int(min(fit))
