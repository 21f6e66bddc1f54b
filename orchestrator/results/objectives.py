"""Objectives of a search: the metric of a finished trial, its unit and direction, and the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.metrics import METRICS, Metric, at_end

if TYPE_CHECKING:
    from orchestrator.results.row import Row

Values = tuple[float, ...]  # of one trial, one per objective, as logged


@dataclass(frozen=True)
class Objective:
    """One metric to maximize or minimize."""

    name: str

    @property
    def _metric(self) -> Metric:
        return METRICS.get(self.name, Metric(self.name))  # a store may hold objectives of another version

    @property
    def title(self) -> str:
        """Return the axis label, with its unit."""
        return self._metric.title

    @property
    def scale(self) -> float:
        """Return the factor from the logged value to the unit of the title."""
        return self._metric.scale

    @property
    def sign(self) -> int:
        """Return +1 if larger is better, else -1."""
        return 1 if self._metric.better == "maximize" else -1

    def of(self, row: Row) -> float | None:
        """Return the value of a finished trial; None for any other status and for values that are not finite."""
        value = row.metrics.get(at_end(self.name)) if row.status == "finished" else None
        return value if value is not None and math.isfinite(value) else None


def undominated(places: Sequence[Values], objectives: Iterable[Objective]) -> list[int]:
    """Return the indices of the Pareto front: no other is at least as good in all objectives and better in one."""
    signs = [objective.sign for objective in objectives]
    merits = [tuple(sign * value for sign, value in zip(signs, place, strict=True)) for place in places]

    def beaten(mine: Values) -> bool:
        return any(other != mine and all(a >= b for a, b in zip(other, mine, strict=True)) for other in merits)

    return [number for number, mine in enumerate(merits) if not beaten(mine)]
