"""Place where a trial runs: its folders, its share of the machine, and the setup of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from search_spaces import Trial
from search_spaces.phases import STRONG
from trainables import datasets
from trainables.datasets.strong_augmentation import StrongAugmentation
from trainables.distributed import ALONE, Team
from trainables.gpu.memory import indexed, keep_freed_memory, keep_to


@dataclass(frozen=True)
class Place:
    """Folders and resources of a trial. Nothing here changes its result."""

    storage: Path  # one folder per fingerprint: event log, checkpoint, artifacts
    cache: Path  # decoded datasets, one copy per node
    data_root: Path | None = None  # datasets that are already on disk; only read
    device: str = "cpu"
    threads: int = 1
    gpus: float = 0  # number of GPUs or fraction of one; limits the trial's GPU memory
    grow: bool = False  # a trial that runs out of GPU memory is tried again with more, and has not failed yet
    save_seconds: float = 60.0
    mirror: str = ""  # object store to which trials' folders are copied; "": trials are stored in `storage` only
    workers: int = 1  # that train a trial together, each with these threads and a GPU as given here
    team: Team = ALONE  # the workers, once they are started
    # Images per second of one worker, by fingerprint and machine, if similar trials were run before.
    alone: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    shared_scores: frozenset[str] = frozenset()  # keys (`Trial.scoring`) of scores that several trials need
    scoring_images: int = 0  # inputs of a forward pass while scoring, see `pruners.find`
    weights_mb: float = 16.0  # trained weights larger than this are not kept, except dense ones: other trials need them

    @property
    def pretrained(self) -> Path:
        """Folder of weights that networks start from."""
        return self.storage / "pretrained"

    @property
    def masks(self) -> Path:
        """Folder of masks that are given by the user instead of computed."""
        return self.storage / "masks"

    @property
    def scores(self) -> Path:
        """Folder of scores that several trials share."""
        return self.storage / "scores"


def make_ready(place: Place) -> torch.device:
    """Set torch up so that the same trial gives the same numbers; return the device to compute on, with its index.

    Raises:
        RuntimeError: if the device is a GPU that does not work.
    """
    torch.set_num_threads(place.threads)
    keep_freed_memory()
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    device = indexed(place.device)
    keep_to(place.gpus, device)
    return device


def images_of(trial: Trial, place: Place) -> datasets.Dataset:
    """Return the dataset that the trial is trained and tested on. Raises the errors of `datasets.load`."""
    return datasets.load(
        trial.dataset,
        place.data_root,
        place.cache,
        validation=trial.validation,
        digest=trial.data_digest,
        workers=place.threads,
        augment=trial.augment,
        strong=StrongAugmentation(**{name: getattr(trial, name) for name in STRONG}),
    )
