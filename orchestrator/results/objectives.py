"""What a search goes by: under which name a finished trial has it, and how figures and tables write it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.metrics import METRICS, Metric, at_end

if TYPE_CHECKING:
    from orchestrator.results.row import Row

Values = tuple[float, ...]  # of a trial, one per objective, as logged


@dataclass(frozen=True)
class Objective:
    """One metric to make large or small."""

    name: str

    @property
    def _metric(self) -> Metric:
        return METRICS.get(self.name, Metric(self.name))  # a store may hold objectives of another version

    @property
    def title(self) -> str:
        """The axis, with its unit."""
        return self._metric.title

    @property
    def scale(self) -> float:
        """From what is logged to the unit of the title."""
        return self._metric.scale

    @property
    def sign(self) -> int:
        """+1 if larger is better, else -1."""
        return 1 if self._metric.better == "maximize" else -1

    def of(self, row: Row) -> float | None:
        """A finished trial's value; one that was given up or failed has none that counts."""
        value = row.metrics.get(at_end(self.name)) if row.status == "finished" else None
        return value if value is not None and math.isfinite(value) else None


def undominated(places: Sequence[Values], objectives: Iterable[Objective]) -> list[int]:
    """Which places no other beats: none is at least as good in all objectives and better in one."""
    signs = [objective.sign for objective in objectives]
    merits = [tuple(sign * value for sign, value in zip(signs, place, strict=True)) for place in places]

    def beaten(mine: Values) -> bool:
        return any(other != mine and all(a >= b for a, b in zip(other, mine, strict=True)) for other in merits)

    return [number for number, mine in enumerate(merits) if not beaten(mine)]
