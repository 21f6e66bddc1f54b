"""Job of a sweep: the plan, and where and how to run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.live.trial_records import FetchedRecords, Records
from orchestrator.planning.plan import Plan
from orchestrator.planning.resources import Resources
from orchestrator.running.request import Request
from trainables.context import Place
from trainables.record.object_store import is_object_store, refused

WEIGHTS_MB = 1024.0  # of trained weights kept by one sweep, divided among its trials; so a large sweep keeps none


@dataclass(frozen=True)
class Job:
    """Request of the user, its plan, and the resources of each trial."""

    request: Request
    plan: Plan
    experiment: str
    resources: Resources
    seconds: Mapping[str, float]  # expected seconds of each trial, by fingerprint
    alone: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # see `Place.alone`

    @property
    def mirror(self) -> str:
        """Object store of the trials' folders; "" if they are on a path."""
        return self.request.storage if is_object_store(self.request.storage) else ""

    @property
    def folder(self) -> Path:
        """Folder in which the driver reads the trials' event logs."""
        return (
            self.request.output / "checkpoints"
            if self.mirror or not self.request.storage
            else Path(self.request.storage)
        ).resolve()

    @property
    def place(self) -> Place:
        """Place of the trials, as far as the driver decides it. Paths are absolute, because workers run elsewhere."""
        return Place(
            storage=self.request.output.resolve() / ".scratch" if self.mirror else self.folder,
            mirror=self.mirror,
            save_seconds=self.request.save_seconds,
            scoring_images=self.request.scoring_images,
            cache=(self.request.output / "data").resolve(),
            data_root=self.request.data_root.resolve() if self.request.data_root else None,
            device="cuda" if self.resources.gpus else "cpu",
            threads=max(1, int(self.resources.cpus)),
            workers=self.resources.workers,
            alone=self.alone,
            shared_scores=frozenset() if self.mirror else self.plan.shared_scores,
            weights_mb=WEIGHTS_MB / max(1, len(self.plan.trials) + self.plan.to_choose),
        )

    def records(self) -> Records:
        """Return the reader of the trials' folders."""
        with refused(self.request.storage):
            return FetchedRecords(self.folder, self.mirror) if self.mirror else Records(self.folder)
