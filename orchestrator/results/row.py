"""One cell of a report, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from search_spaces import Cell

Status = Literal["finished", "running", "failed", "interrupted", "stopped", "not run"]
STATUSES: tuple[Status, ...] = get_args(Status)
STATUS: dict[str, Status] = {
    "FINISHED": "finished",
    "RUNNING": "running",
    "SCHEDULED": "running",
    "KILLED": "interrupted",  # Ctrl-C, or a driver that died: the same command takes it up again
}


@dataclass(frozen=True)
class Row:
    """A cell and what came of it. Only a finished one has metrics that count."""

    cell: Cell
    status: Status = "not run"
    run_id: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    error: str = ""  # why it failed, or by what it was given up

    @property
    def collapsed(self) -> bool:
        """Whether input and output were left without a path of weights."""
        return self.status == "finished" and self.tags.get("collapsed") == "true"


def counts(rows: Sequence[Row]) -> Counter[str]:
    """How many rows have which status: those with a result first, those that nobody began last."""
    found = Counter(row.status for row in rows)
    return Counter({status: found[status] for status in STATUSES if found[status]})
