"""Job of a sweep: the plan, and where and how to run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.live.trial_records import FetchedRecords, Records
from orchestrator.planning.plan import Plan
from orchestrator.planning.resources import Resources
from trainables.context import Place
from trainables.record.object_store import is_object_store, refused

WEIGHTS_MB = 1024.0  # of trained weights kept by one sweep, divided among its trials; so a large sweep keeps none


@dataclass(frozen=True)
class Job:
    """Plan of a sweep, with folders, resources and options to run it."""

    plan: Plan
    seconds: Mapping[str, float]  # expected seconds of each trial, by fingerprint
    output: Path
    data_root: Path | None
    tracking_uri: str
    experiment: str
    resources: Resources
    address: str | None
    local: bool
    command: str
    storage: str = ""  # path or object store of the trials' folders; default: in the output folder
    save_seconds: float = 60.0  # between two checkpoints of a trial
    scoring_images: int = 0  # inputs of a forward pass while scoring; 0: whole batches
    show: bool = False  # open the report in the browser at the end
    alone: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # see `Place.alone`
    audit: int = 0  # number of its trials that a sweep audits at its end
    budget: float | None = None  # seconds after which no trial starts, and running ones stop at a checkpoint

    @property
    def mirror(self) -> str:
        """Object store of the trials' folders; "" if they are on a path."""
        return self.storage if is_object_store(self.storage) else ""

    @property
    def folder(self) -> Path:
        """Folder in which the driver reads the trials' event logs."""
        return (self.output / "checkpoints" if self.mirror or not self.storage else Path(self.storage)).resolve()

    @property
    def place(self) -> Place:
        """Place of the trials, as far as the driver decides it. Paths are absolute, because workers run elsewhere."""
        return Place(
            storage=self.output.resolve() / ".scratch" if self.mirror else self.folder,
            mirror=self.mirror,
            save_seconds=self.save_seconds,
            scoring_images=self.scoring_images,
            cache=(self.output / "data").resolve(),
            data_root=self.data_root.resolve() if self.data_root else None,
            device="cuda" if self.resources.gpus else "cpu",
            threads=max(1, int(self.resources.cpus)),
            workers=self.resources.workers,
            alone=self.alone,
            shared_scores=frozenset() if self.mirror else self.plan.shared_scores,
            weights_mb=WEIGHTS_MB / max(1, len(self.plan.trials) + self.plan.to_choose),
        )

    def records(self) -> Records:
        """Return the reader of the trials' folders."""
        with refused(self.storage):
            return FetchedRecords(self.folder, self.mirror) if self.mirror else Records(self.folder)
