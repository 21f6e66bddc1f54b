"""Sources of an audit: test images and networks, and why some of them are not available."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from search_spaces import Trial
from trainables import datasets
from trainables.architectures import build


class UnavailableError(Exception):
    """Error for something that an audit needs and that is missing here, in one line. It is not a difference."""


@dataclass(frozen=True)
class Sources:
    """Datasets on this machine, and what an audit may run."""

    data_root: Path | None
    cache: Path  # decoded datasets; others that are found are decoded into it
    device: torch.device
    run_code: bool = False  # also run code that only the store has
    seconds: float = float("inf")  # most seconds for the test of one network
    _loaded: dict[tuple[str, float, str], datasets.Dataset] = field(default_factory=dict)

    def dataset(self, trial: Trial) -> datasets.Dataset:
        """Return the dataset of a trial if it is on this machine. Downloads nothing.

        Raises:
            UnavailableError: if it is not.
        """
        key = trial.dataset, trial.validation, trial.data_digest
        if key not in self._loaded:
            try:
                there = datasets.resolve(trial.dataset, self.data_root, self.cache, download=False)
                if there != trial.dataset:
                    raise UnavailableError(f"dataset '{trial.dataset}' is not here, only '{there}'")
                self._loaded[key] = datasets.load(
                    trial.dataset, self.data_root, self.cache, validation=trial.validation, digest=trial.data_digest
                )
            except (ValueError, OSError) as error:
                raise UnavailableError(" ".join(str(error).split())) from None
        return self._loaded[key]

    def network(self, trial: Trial, data: datasets.Dataset) -> nn.Module:
        """Return the trial's network as built, without the weights that it started from.

        Raises:
            UnavailableError: if it needs a package that is not installed, or code that may not be run.
        """
        if trial.architecture_code and not self.run_code and not _is_here(trial):
            raise UnavailableError(
                f"the file of '{trial.architecture}' is not here or differs from the code in the store; "
                "--run-code runs the stored code"
            )
        try:
            return build(trial.network.fresh, data.input_shape, data.num_classes, trial.seed)
        except (ValueError, ImportError, OSError) as error:
            raise UnavailableError(" ".join(str(error).split())) from None


def _is_here(trial: Trial) -> bool:
    """Return True if the architecture's file is on this machine with exactly the recorded code."""
    try:
        return Path(trial.architecture.rpartition(":")[0]).expanduser().read_text("utf-8") == trial.architecture_code
    except (OSError, ValueError):
        return False
