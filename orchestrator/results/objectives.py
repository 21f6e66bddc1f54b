"""What a search goes by: under which name a finished trial has it, and how figures and tables write it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from search_spaces.search import OBJECTIVES

if TYPE_CHECKING:
    from orchestrator.results.row import Row

# Metrics by the name that they have once a trial is over.
FINAL = {"validation/top1": "final/validation_top1", "validation/loss": "final/validation_loss"}
TITLES = {
    "validation/top1": "validation accuracy (%)",
    "validation/loss": "validation loss",
    "model/compression": "compression",
    "model/params_kept": "parameters kept",
    "model/params_compacted": "parameters, compacted",
    "model/macs_kept": "MACs kept",
    "model/macs_compacted": "MACs, compacted",
    "model/latency_ms": "testing time (ms)",
    "model/peak_mb": "peak memory (MB)",
    "model/file_mb": "file size (MB)",
    "time/train_seconds": "training time (s)",
}
Values = tuple[float, ...]  # of a trial, one per objective, as logged


@dataclass(frozen=True)
class Objective:
    """One metric to make large or small."""

    name: str

    @property
    def title(self) -> str:
        """The axis, with its unit."""
        return TITLES.get(self.name, self.name)

    @property
    def scale(self) -> float:
        """From what is logged to the unit of the title."""
        return 100 if self.name == "validation/top1" else 1

    @property
    def sign(self) -> int:
        """+1 if larger is better, else -1."""
        return 1 if OBJECTIVES.get(self.name) == "maximize" else -1

    def of(self, row: Row) -> float | None:
        """A finished trial's value; one that was given up or failed has none that counts."""
        value = row.metrics.get(FINAL.get(self.name, self.name)) if row.status == "finished" else None
        return value if value is not None and math.isfinite(value) else None


def undominated(places: Sequence[Values], objectives: Iterable[Objective]) -> list[int]:
    """Which places no other beats: none is at least as good in all objectives and better in one."""
    signs = [objective.sign for objective in objectives]
    merits = [tuple(sign * value for sign, value in zip(signs, place, strict=True)) for place in places]

    def beaten(mine: Values) -> bool:
        return any(other != mine and all(a >= b for a, b in zip(other, mine, strict=True)) for other in merits)

    return [number for number, mine in enumerate(merits) if not beaten(mine)]
