"""The command line of a sweep, read once: every option with its type."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from search_spaces import Space, SpaceError


@dataclass(frozen=True)
class Request:
    """What the user asks of a sweep besides its space. Options that were not given are None."""

    output: Path
    tracking_uri: str
    experiment: str | None  # None: the space's name
    command: str  # the command line as it was typed, passwords included
    data_root: Path | None = None
    storage: str = ""  # a path or an object store; "": in the output folder
    save_seconds: float = 60.0  # between two checkpoints of a trial
    budget: float | None = None  # seconds after which no trial starts
    address: str | None = None  # of a Ray cluster; None: Ray is started here
    local: bool = False  # one trial after the other in this process, without Ray
    dry_run: bool = False
    deliver_only: bool = False  # run no trial; send what ended trials have recorded
    force: bool = False  # run pruners on networks where their scores mean nothing
    show: bool = False  # open the report in the browser at the end
    audit: int = 2  # trials that the sweep audits at its end
    latency_alone: bool = False  # measure latencies again after the trials, each on a whole device
    scoring_images: int = 0  # inputs of a forward pass while scoring; 0: whole batches
    cpus_per_trial: float = 1  # of each worker
    gpus_per_trial: str | None = None  # a number as typed, or "auto"
    workers_per_trial: int | None = None
    max_concurrent: int | None = None  # trials at once; None: as many as fit

    def __post_init__(self) -> None:
        """Raise SpaceError if a count is below zero."""
        counts = (
            ("--scoring-images", self.scoring_images, "whole batches"),
            ("--audit", self.audit, "no audit"),
        )
        for flag, count, none in counts:
            if count < 0:
                raise SpaceError(f"{flag} is {count}; it must be at least 0 (0: {none})")

    def with_space(self, space: Space) -> Request:
        """Return the request with what the space says of resources, where the command line says nothing."""
        gpus, workers = self.gpus_per_trial, self.workers_per_trial
        if gpus is None and space.gpus_per_trial is not None:
            gpus = str(space.gpus_per_trial)
        return replace(
            self, gpus_per_trial=gpus, workers_per_trial=space.workers_per_trial if workers is None else workers
        )
