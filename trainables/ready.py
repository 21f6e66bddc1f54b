"""A process made ready for a trial: the same for all workers of one."""

from __future__ import annotations

import torch

from search_spaces import Trial
from trainables import datasets
from trainables.allocation import keep_freed_memory
from trainables.gpu_share import indexed, keep_to
from trainables.place import Place


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
