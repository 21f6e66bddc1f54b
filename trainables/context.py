"""Where a trial runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from search_spaces import Trial
from trainables import datasets
from trainables.distributed import ALONE, Team
from trainables.gpu.memory import indexed, keep_freed_memory, keep_to


@dataclass(frozen=True)
class Place:
    """Where a trial runs: nothing here changes its result."""

    storage: Path  # one folder per fingerprint: outbox, checkpoint, artifacts
    cache: Path  # decoded datasets, one copy per node
    data_root: Path | None = None  # datasets that are on disk already; only read
    device: str = "cpu"
    threads: int = 1
    gpus: float = 0  # its share of a GPU, or whole ones: what it may take of their memory
    grow: bool = False  # whether a trial that runs out of memory will get more: that is no failure yet
    save_seconds: float = 60.0
    mirror: str = ""  # the object store to which trials' folders are brought; none: `storage` is the place itself
    workers: int = 1  # that train a trial together, each with the threads and the GPU that are said here
    team: Team = ALONE  # those workers, once they are there
    # Images per second of one worker, by fingerprint and machine, where trials like it were run before.
    alone: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    shared_scores: frozenset[str] = frozenset()  # that several trials need, as `Trial.scoring` calls them
    scoring_images: int = 0  # inputs of a forward pass while scoring, see `pruners.find`
    weights_mb: float = 16.0  # trained weights larger than this are not kept; dense ones are: others start there

    @property
    def pretrained(self) -> Path:
        """The folder of weights that networks start from."""
        return self.storage / "pretrained"

    @property
    def masks(self) -> Path:
        """The folder of masks that are given, and not computed."""
        return self.storage / "masks"

    @property
    def scores(self) -> Path:
        """The folder of scores that several trials select by."""
        return self.storage / "scores"


def make_ready(place: Place) -> torch.device:
    """Set torch up so that the same trial gives the same numbers; return the device to compute on, with its number.

    Raises:
        RuntimeError: if it is a GPU that does not work.
    """
    torch.set_num_threads(place.threads)
    keep_freed_memory()
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    device = indexed(place.device)
    keep_to(place.gpus, device)
    return device


def images_of(trial: Trial, place: Place) -> datasets.Dataset:
    """What the trial is trained and tested on. Raises as `datasets.load` does."""
    return datasets.load(
        trial.dataset,
        place.data_root,
        place.cache,
        validation=trial.validation,
        digest=trial.data_digest,
        workers=place.threads,
        augment=trial.augment,
    )
