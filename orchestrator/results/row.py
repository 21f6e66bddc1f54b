"""Row of a report: one cell, its status and its result."""

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
    "KILLED": "interrupted",  # Ctrl-C, or a driver that died: the same command resumes it
}


@dataclass(frozen=True)
class Row:
    """A cell, its status and its run. Only the metrics of a finished row are results."""

    cell: Cell
    status: Status = "not run"
    run_id: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    error: str = ""  # why it failed, or the rule that stopped it

    @property
    def collapsed(self) -> bool:
        """Return True if no path of weights is left from input to output."""
        return self.status == "finished" and self.tags.get("collapsed") == "true"


def counts(rows: Sequence[Row]) -> Counter[str]:
    """Count the rows by status, in the order of STATUSES: finished first, not run last."""
    found = Counter(row.status for row in rows)
    return Counter({status: found[status] for status in STATUSES if found[status]})
