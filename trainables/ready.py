"""A process made ready for a trial: the same for all workers of one."""

from __future__ import annotations

import torch

from search_spaces import Trial
from trainables import datasets
from trainables.allocation import keep_freed_memory
from trainables.gpu_share import keep_to
from trainables.place import Place


def make_ready(place: Place) -> torch.device:
    """Set torch up so that the same trial gives the same numbers; returns the device to compute on."""
    torch.set_num_threads(place.threads)
    keep_freed_memory()
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    device = torch.device(place.device)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())  # limits of memory are set for one GPU
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
        workers=0 if place.shared else place.threads,  # which a process with other trials' threads must not fork
    )
